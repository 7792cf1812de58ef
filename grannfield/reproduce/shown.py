"""What a state looks like: its pieces, what is left of them and what that costs, and the end of a call."""

from __future__ import annotations

from collections.abc import Sequence

from grannfield.reproduce.forecast import OWN, disk_of, seconds_left
from grannfield.reproduce.hands import others_at_work
from grannfield.reproduce.plan import KINDS, Piece
from grannfield.reproduce.run import Outcome, duration, finished, reasons, status
from grannfield.reproduce.sizes import described, of_model
from grannfield.reproduce.state import RUNNING
from grannfield.reproduce.work import Work

RANGE = (0.5, 2.0)
"""Factors between which the time of an estimate is expected, and of what was measured:"""
KNOWN_RANGE = (0.8, 1.3)


def listed(work: Work, plan: list[Piece], wanted: list[Piece]) -> str:
    """Every piece with what became of it, and the size of the state."""
    done = finished(work, plan)
    rows = [("piece", "status", "spent", "note")]
    for piece in wanted:
        record, how = work.state.of(piece.name), status(work, piece, done)
        rows.append((piece.name, how, duration(record["seconds"]) if record["sittings"] else "", _note(work, piece, how, done)))
    lines = [f"{work.scale.what}; {BUDGET[work.scale.budget]}; state in {work.state.folder}", *aligned(rows)]
    if work.state.folder.exists():
        lines += [*_by_model(work, wanted), described(work)]
    if others_at_work(work.state.folder):
        lines.append(f"another process is working in {work.state.folder} now")
    return "\n".join([*lines, f"{len(done & {piece.name for piece in wanted})} of {len(wanted)} pieces done"])


BUDGET = {
    "time": "equal time for all models",
    "samples": "equal numbers of frames for all models",
    "epochs": "the epochs of Table 1 for each model",
}


def _note(work: Work, piece: Piece, how: str, done: set[str]) -> str:
    record = work.state.of(piece.name)
    last = record["sittings"][-1]["ended"] if record["sittings"] else ""
    if how == "failed":
        return f"{work.state.failure(piece.name)} (--retry)"
    if how == "waits":
        return "; ".join(reasons(work, piece, done))
    if how == "done" and piece.kind == "train" and (note := work.removed(piece.model)):
        return f"weights removed on {note.get('removed', '?')}: {note.get('why', '')}"
    if how not in ("done", "in hand") and last == "done":
        return "was done with other weights, code or hardware; to be done again"
    where = ", ".join(dict.fromkeys(one["hardware"] for one in record["sittings"])) or _effort(work, piece)
    return f"{where}; killed" if how == "begun" and last == RUNNING else where


def _effort(work: Work, piece: Piece) -> str:
    """What an untouched piece will take."""
    preset = work.scale.suite
    if piece.kind == "train":
        return f"{work.scale.allowance(piece.model)} on {work.scale.training}"
    return {
        "speed": f"{work.scale.speed_seconds:g} s of MD steps and as much of training steps, at Table 1's size",
        "md": f"{preset.ramp_ps + preset.length_ps:g} ps, {preset.replicas} run{'s' * (preset.replicas > 1)}",
        "score": f"{preset.test_frames} frames, observables, speed",
    }[piece.kind]


def _by_model(work: Work, wanted: Sequence[Piece]) -> list[str]:
    """What each model takes of the disk."""
    rows = []
    for model in dict.fromkeys(piece.model for piece in wanted if piece.kind != "speed"):
        parts = of_model(work, model, wanted)
        if sum(parts.values()):
            rows.append((work.scale.label(model), *(f"{size * 1e-3:.0f}" for size in (*parts.values(), sum(parts.values())))))
    return [*aligned([("kB", "weights", "curve", "MD runs", "results", "unfinished", "in all"), *rows])] if rows else []


def forecast(work: Work, plan: list[Piece], wanted: list[Piece]) -> str:
    """Pieces, time left with where it is known from, and disk; nothing is done."""
    done = finished(work, plan)
    expected = seconds_left(work, [piece for piece in wanted if piece.name not in done])
    rows = [("model", "kind", "pieces", "done", "time left", "known from", "MB")]
    total = low = high = disk = 0.0
    for model in dict.fromkeys(piece.model for piece in wanted):
        for kind in KINDS:
            mine = [piece for piece in wanted if (piece.model, piece.kind) == (model, kind)]
            left = [one for one in expected if (one.piece.model, one.piece.kind) == (model, kind)]
            if not mine:
                continue
            seconds, size = sum(one.seconds for one in left), sum(disk_of(work, one.piece) for one in left)
            span = KNOWN_RANGE if {one.source for one in left} <= {OWN, "the budget"} else RANGE
            total, low, high, disk = total + seconds, low + span[0] * seconds, high + span[1] * seconds, disk + size
            source = ", ".join(dict.fromkeys(one.source for one in left))
            rows.append((model, kind, str(len(mine)), str(len(mine) - len(left)), duration(seconds) if left else "-", source,
                         f"{size * 1e-6:.2f}" if left else ""))  # fmt: skip
    between = f"{duration(low)} to {duration(high)}"
    return "\n".join([
        f"{work.scale.what}; {BUDGET[work.scale.budget]}; state in {work.state.folder}", *aligned(rows),
        f"{len(expected)} of {len(wanted)} pieces are left: about {duration(total)} ({between}) for one call on "
        f"{work.machine}; about {disk * 1e-6:.1f} MB more on disk",
        "nothing was done (--forecast)",
    ])  # fmt: skip


def summary(work: Work, plan: list[Piece], wanted: list[Piece], outcome: Outcome, command: str) -> str:
    """The end of a call: what was done, and as the last line how far the plan is and how to go on."""
    done = finished(work, plan)
    states = {piece.name: status(work, piece, done) for piece in wanted}
    by = {how: [name for name, state in states.items() if state == how] for how in ("done", "failed", "waits", "in hand")}
    parts = [f"{len(by['done'])} of {len(wanted)} pieces done"]
    if outcome.cut:
        parts.append(f"{outcome.cut} cut off after {duration(work.state.of(outcome.cut)['seconds'])}, kept")
    elif outcome.postponed:
        parts.append(f"too little time was left to begin {outcome.postponed[0]}")
    if by["failed"]:
        parts.append(f"failed: {', '.join(by['failed'])} (again with --retry)")
    if by["in hand"]:
        parts.append(f"another call has in hand: {', '.join(by['in hand'])}")
    rest = [name for name in states if name not in by["done"] + by["failed"] + by["in hand"]]
    if rest and by["waits"] == rest:
        parts.append("the others wait: see --list")
    elif rest:
        parts.append(f"go on with: {command}")
    return f"{described(work)}\n{'; '.join(parts)}"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of texts as lines, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
