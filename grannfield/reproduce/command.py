"""`grannfield reproduce`: what it takes and what it prints."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.reproduce.plan import Piece
    from grannfield.reproduce.run import Outcome
    from grannfield.reproduce.work import Work

HELP = "the paper's experiment in small pieces, resumable: speed, training, MD and scores of each model"
DESCRIPTION = """Measure, train, move and score the models, piece by piece. A call does what is not done yet until its minutes
are up, and leaves everything in the state folder, from which the next call goes on: after a Ctrl-C, after a kill, and on
another machine that the folder was copied to. Speed, training and MD need torch, NumPy, h5py and safetensors only; scoring
needs the whole installation and waits where there is none. The exit code is 0 when the time is up or all is done, 1 when a
piece failed, 2 for a mistake on the command line, 130 after Ctrl-C."""
EPILOG = """Pieces are called speed:MODEL, train:MODEL, md:MODEL:MATERIAL:TEMPERATURE and score:MODEL; --list shows them all.
MD needs the trained model, a score needs the MD.

examples:
  grannfield reproduce --list
  grannfield reproduce --minutes 30 --device cuda --only speed
  grannfield reproduce --minutes 30 --models schnet,cgcnn
  grannfield reproduce --only train:schnet,md:schnet --only score
"""
DEFAULT_STATE = Path("reports/reproduce")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--models", default="all", metavar="A,B", help="registered models (default all)")
    parser.add_argument("--scale", default="tiny", metavar="SCALE", help="how much is done of each (default tiny)")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so many; a piece is cut off (default: no limit)")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help=f"default {DEFAULT_STATE}")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN",
        help="only pieces of these kinds, or whose names begin so; several with commas or by repeating",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and velocities (default 0)")
    parser.add_argument("--retry", action="store_true", help="try again what has failed")
    parser.add_argument("--list", action="store_true", help="show the pieces, what has become of them, and what they need")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError for one that makes no sense, FolderBusy when another call is at work."""
    begin = time.monotonic()
    from grannfield.files import locked
    from grannfield.reproduce.plan import chosen, plan_of
    from grannfield.reproduce.run import run as work_on
    from grannfield.reproduce.scales import SCALES
    from grannfield.reproduce.state import State
    from grannfield.reproduce.work import Work

    if options.scale not in SCALES:
        raise ValueError(f"no scale is called {options.scale!r}; there is {', '.join(SCALES)}")
    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"--minutes must be positive; it is {options.minutes:g}")
    _check_device(options.device)
    scale = SCALES[options.scale]
    named = _items([options.models])
    plan = plan_of(scale, None if named == ["all"] else named)
    wanted = chosen(plan, _items(options.only))
    settings = {"scale": options.scale, "seed": options.seed, **scale.as_plan()}
    if options.list:
        show(Work(State(options.state, settings), scale, options.seed, options.device), plan, wanted)
        return 0
    with locked(options.state):
        work = Work(State(options.state, settings), scale, options.seed, options.device)
        work.state.claim()
        outcome = work_on(work, plan, wanted, begin, options.minutes, options.retry)
        print(summary(work, plan, wanted, outcome, options))
    return 130 if outcome.interrupted else int(bool(outcome.failed))


def show(work: Work, plan: list[Piece], wanted: list[Piece]) -> None:
    """Every piece with what became of it, and the size of the state."""
    from grannfield.reproduce.run import duration, finished, reasons, status
    from grannfield.reproduce.work import busy

    done = finished(work, plan)
    rows = [("piece", "status", "spent", "note")]
    for piece in wanted:
        record, how = work.state.of(piece.name), status(work, piece, done)
        if how == "failed":
            note = f"{work.state.failure(piece.name)} (--retry)"
        elif how == "waits":
            note = "; ".join(reasons(work, piece, done))
        elif how != "done" and record["sittings"] and record["sittings"][-1]["ended"] == "done":
            note = "was done with other weights, code or hardware; to be done again"
        else:
            note = ", ".join(dict.fromkeys(one["hardware"] for one in record["sittings"])) or _effort(work, piece)
        rows.append((piece.name, how, duration(record["seconds"]) if record["sittings"] else "", note))
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    print(f"{work.scale.what}; state in {work.state.folder}")
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True)).rstrip())
    if work.state.folder.exists():
        print(size_of(work))
    if busy(work.state.folder):
        print(f"another process is working in {work.state.folder} now")
    print(f"{len(done & {piece.name for piece in wanted})} of {len(wanted)} pieces done")


def _effort(work: Work, piece: Piece) -> str:
    """What an untouched piece will take."""
    preset = work.scale.suite
    return {
        "speed": f"{work.scale.speed_seconds:g} s of MD steps and as much of training steps, at Table 1's size",
        "train": f"{work.scale.train_minutes[piece.model]:g} min on {work.scale.training}",
        "md": f"{preset.ramp_ps + preset.length_ps:g} ps, {preset.replicas} run{'s' * (preset.replicas > 1)}",
        "score": f"{preset.test_frames} frames, observables, speed",
    }[piece.kind]


def size_of(work: Work) -> str:
    """How large the state is, and what of it counts."""
    sizes = work.state.sizes()
    parts = ", ".join(f"{part} {size * 1e-6:.1f}" for part, size in sizes.items() if size >= 5e4)
    return f"state: {sum(sizes.values()) * 1e-6:.1f} MB" + (f" ({parts})" if parts else "")


def summary(work: Work, plan: list[Piece], wanted: list[Piece], outcome: Outcome, options: argparse.Namespace) -> str:
    """The end of a call: what was done, and as the last line how far the plan is and how to go on."""
    from grannfield.reproduce.run import duration, finished, status

    done = finished(work, plan)
    states = {piece.name: status(work, piece, done) for piece in wanted}
    by = {how: [name for name, state in states.items() if state == how] for how in ("done", "failed", "waits")}
    parts = [f"{len(by['done'])} of {len(wanted)} pieces done"]
    if outcome.cut:
        parts.append(f"{outcome.cut} cut off after {duration(work.state.of(outcome.cut)['seconds'])}, kept")
    elif outcome.postponed:
        parts.append(f"too little time was left to begin {outcome.postponed[0]}")
    if by["failed"]:
        parts.append(f"failed: {', '.join(by['failed'])} (again with --retry)")
    rest = [name for name in states if name not in by["done"] + by["failed"]]
    if rest and by["waits"] == rest:
        parts.append("the others wait: see --list")
    elif rest:
        parts.append(f"go on with: {command_line(options)}")
    return f"{size_of(work)}\n{'; '.join(parts)}"


def command_line(options: argparse.Namespace) -> str:
    """The command as it was typed, but for --retry."""
    words = ["grannfield", "reproduce"]
    defaults = {"models": "all", "scale": "tiny", "minutes": None, "state": DEFAULT_STATE, "device": "cpu", "seed": 0}
    for name, default in defaults.items():
        value = getattr(options, name)
        if value != default:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    if patterns := _items(options.only):
        words += ["--only", ",".join(patterns)]
    return shlex.join(words)


def _items(values: list[str]) -> list[str]:
    return list(dict.fromkeys(item.strip() for value in values for item in value.split(",") if item.strip()))


def _check_device(device: str) -> None:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch {torch.__version__} sees no GPU here; leave out --device")
    if not device.startswith(("cpu", "cuda")):
        raise ValueError(f"--device {device}: use cpu, cuda or cuda:N")
