"""A call: piece after piece until all are done or the time is up."""

from __future__ import annotations

import gc
import time
import traceback
from dataclasses import dataclass, field
from typing import Literal

from grannfield import provenance
from grannfield.reproduce.clock import OutOfTime, cut_off_after
from grannfield.reproduce.plan import Piece
from grannfield.reproduce.work import Work

MARGIN_S = 10.0
"""Kept at the end of a call, or a tenth of it, for writing what was cut off."""
Status = Literal["done", "begun", "open", "waits", "failed"]


@dataclass
class Outcome:
    """What became of a call."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cut: str = ""
    """The piece that was being worked on when time was up, or the user interrupted."""
    postponed: list[str] = field(default_factory=list)
    """Pieces for which too little time was left."""
    interrupted: bool = False
    """By the user."""


def status(work: Work, piece: Piece, done: set[str]) -> Status:
    """Of a piece, given the names of those that are done."""
    if piece.name in done:
        return "done"
    if work.state.failure(piece.name):
        return "failed"
    if reasons(work, piece, done):
        return "waits"
    return "begun" if work.begun(piece) else "open"


def reasons(work: Work, piece: Piece, done: set[str]) -> list[str]:
    """What a piece waits for, in words."""
    found = []
    if lacking := [name for name in piece.needs if name not in done]:
        found.append(f"for {lacking[0]}" + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""))
    if piece.kind == "score" and work.missing_for_scores:
        found.append(f"for an installation: pip install {' '.join(work.missing_for_scores)}")
    return found


def finished(work: Work, plan: list[Piece]) -> set[str]:
    """Names of the pieces that are done."""
    return {piece.name for piece in plan if work.done(piece)}


def run(work: Work, plan: list[Piece], wanted: list[Piece], begin: float, minutes: float | None, retry: bool = False) -> Outcome:
    """Work on the wanted pieces of a plan, in order, until `minutes` after `begin` (of the monotonic clock).

    A piece that fails does not stop the others; an interruption by the user does.
    """
    outcome, done = Outcome(), finished(work, plan)
    end = None if minutes is None else begin + 60 * minutes - min(MARGIN_S, 6 * minutes)
    for number, piece in enumerate(wanted, 1):
        if piece.name in done or reasons(work, piece, done) or (work.state.failure(piece.name) and not retry):
            continue
        left = None if end is None else end - time.monotonic()
        if left is not None and left < work.least_s(piece):
            outcome.postponed.append(piece.name)
            continue
        print(_heading(work, piece, number, len(wanted), left), flush=True)
        ended = sit(work, piece, left)
        if ended == "done":
            done.add(piece.name)
            outcome.done.append(piece.name)
        elif ended == "failed":
            outcome.failed.append(piece.name)
            print(f"  failed: {work.state.failure(piece.name)}", flush=True)
        else:
            outcome.cut, outcome.interrupted = piece.name, ended == "interrupted"
            break
    return outcome


def sit(work: Work, piece: Piece, left: float | None) -> Literal["done", "failed", "cut off", "interrupted"]:
    """Work on one piece for at most `left` seconds and note what came of it."""
    begin = time.monotonic()
    work.state.begin(piece.name, provenance.stamp(work.device))
    ended: Literal["done", "failed", "cut off", "interrupted"] = "done"
    error = ""
    try:
        with cut_off_after(left):
            work.do(piece)
    except OutOfTime:
        ended = "cut off"
    except KeyboardInterrupt:
        ended = "interrupted"
    except Exception as problem:  # whatever breaks in one model: the others go on
        ended, error = "failed", _described(problem)
    work.state.end(piece.name, time.monotonic() - begin, ended, error)
    _free(work.device)
    return ended


def _heading(work: Work, piece: Piece, number: int, total: int, left: float | None) -> str:
    spent = work.state.of(piece.name)["seconds"]
    text = f"{piece.name} ({number} of {total})"
    if piece.kind == "train":
        text += f", {work.scale.train_minutes[piece.model]:g} min of training"
    if spent:
        text += f", {duration(spent)} spent before"
    return text if left is None else f"{text}; {duration(left)} left"


def _described(problem: Exception) -> str:
    """An exception in one line, with the place it came from."""
    what = traceback.format_exception_only(problem)[-1].strip().splitlines()[0]
    frames = traceback.extract_tb(problem.__traceback__)
    return f"{what} ({frames[-1].filename.rpartition('grannfield/')[2]}:{frames[-1].lineno})" if frames else what


def _free(device: str) -> None:
    """Give a GPU's memory back to the next piece, which may be another model."""
    if device.startswith("cuda"):
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(42), duration(200), duration(9000)
    ('42 s', '3.3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
