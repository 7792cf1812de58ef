"""A call: piece after piece until all are done, in other hands, or the time is up."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from grannfield import provenance
from grannfield.files import FolderBusy
from grannfield.interrupt import sigterm_as_interrupt
from grannfield.progress import Whole, session_of
from grannfield.reproduce.clock import OutOfTime, cut_off_after
from grannfield.reproduce.forecast import seconds_left
from grannfield.reproduce.hands import in_hand, taken
from grannfield.reproduce.plan import Piece
from grannfield.reproduce.work import LEAST_S, Work

MARGIN_S = 10.0
"""Kept at the end of a call, or a tenth of it, for writing what was cut off."""
LOOK_S = 2.0
"""Between two looks at what other calls have finished."""
Status = Literal["done", "in hand", "begun", "open", "waits", "failed"]
Ended = Literal["done", "failed", "cut off", "interrupted"]


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
    if taken(work.state.folder, piece.name):
        return "in hand"
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
    if piece.kind == "md" and work.removed(piece.model):
        found.append(f"for weights: they were removed when all was done; delete {work.checkpoint(piece.model).parent}")
    if piece.kind == "score" and work.missing_for_scores:
        found.append(f"for an installation: pip install {' '.join(work.missing_for_scores)}")
    return found


def finished(work: Work, plan: list[Piece]) -> set[str]:
    """Names of the pieces that are done."""
    return {piece.name for piece in plan if work.done(piece)}


def run(work: Work, plan: list[Piece], wanted: list[Piece], begin: float, minutes: float | None, retry: bool = False) -> Outcome:
    """Work on the wanted pieces of a plan, in order, until `minutes` after `begin` (of the monotonic clock).

    A piece that fails does not stop the others; an interruption by the user does. Other calls may do the same: what one has in
    hand the others leave to it, and wait for it where there is nothing else.
    """
    call = Call(work, plan, wanted, None if minutes is None else begin + 60 * minutes - min(MARGIN_S, 6 * minutes), retry)
    with sigterm_as_interrupt(), call.shown():
        try:
            while not call.outcome.cut and call.step():
                pass
        except KeyboardInterrupt:  # between two pieces
            call.outcome.interrupted = True
    return call.outcome


@dataclass
class Call:
    """One call while it lasts."""

    work: Work
    plan: list[Piece]
    wanted: list[Piece]
    end: float | None
    retry: bool
    outcome: Outcome = field(default_factory=Outcome)
    whole: Whole | None = None
    waiting: str = ""
    """What was last said to be waited for."""

    def __post_init__(self) -> None:
        self.finished = finished(self.work, self.plan)
        self.numbers = {piece.name: number for number, piece in enumerate(self.wanted, 1)}

    @property
    def left(self) -> float | None:
        """Seconds until the end."""
        return None if self.end is None else self.end - time.monotonic()

    def step(self) -> bool:
        """Do the first piece that can be done, or wait a little; False when there is neither."""
        self.look()
        for piece in self.open():
            if self._too_late(piece):
                self.outcome.postponed.append(piece.name)
                continue
            try:
                with in_hand(self.work.state.folder, piece.name):
                    self.do(piece)
                return True
            except FolderBusy:
                continue
        return self.waited()

    def open(self) -> Iterator[Piece]:
        """Wanted pieces that wait for nothing and were not tried in this call."""
        over = {*self.finished, *self.outcome.failed, *self.outcome.postponed}
        for piece in self.wanted:
            failed = bool(self.work.state.failure(piece.name)) and not self.retry
            if not (piece.name in over or failed or reasons(self.work, piece, self.finished)):
                yield piece

    def look(self) -> None:
        """Take over what other calls have done, and put notes in the place of weights that nobody needs any more."""
        self.work.state.refresh()
        self.finished |= {piece.name for piece in self.plan if piece.name not in self.finished and self.work.done(piece)}
        for _, row in groupby(self.plan, key=lambda piece: (piece.kind != "speed", piece.model)):
            pieces = list(row)
            if pieces[0].kind == "train" and self.work.shed(pieces):
                print(f"{pieces[0].model}: all is done; its weights, too large to be kept, are removed", flush=True)
        if self.whole is not None:
            for name in self.finished & self.whole.costs.keys():
                del self.whole.costs[name]
            self.whole.finished = sum(piece.name in self.finished for piece in self.wanted)

    def _too_late(self, piece: Piece) -> bool:
        """Whether too little time is left to begin a piece; nothing is too large for a call that has done nothing yet.

        A model whose weights are not kept is begun where the call suffices for all of its pieces.
        """
        left, work = self.left, self.work
        if left is None:
            return False
        least = LEAST_S[piece.kind] + (work.scale.speed_seconds if piece.kind == "speed" else 0.0)
        if piece.kind == "train" and not work.begun(piece) and self.outcome.done and work.scale.sheds(piece.model):
            row = [one for one in self.plan if one.model == piece.model and one.kind != "speed"]
            least = max(least, sum(one.seconds for one in seconds_left(work, row)))
        return left < least

    def do(self, piece: Piece) -> None:
        """Work on a piece that is in hand, unless another call has done it just before."""
        work, name = self.work, piece.name
        if work.done(piece):
            self.finished.add(name)
            return
        print(_heading(work, piece, self.numbers[name], len(self.wanted), self.left), flush=True)
        if self.whole is not None:
            work.expected_s = self.whole.costs.get(name, work.expected_s) * self.whole.slowness
            self.whole.begin(name)
        ended = sit(work, piece, self.left)
        if ended == "done":
            self.finished.add(name)
            self.outcome.done.append(name)
            if self.whole is not None:
                self.whole.end()
        elif ended == "failed":
            self.outcome.failed.append(name)
            print(f"  failed: {work.state.failure(name)}", flush=True)
        else:
            self.outcome.cut, self.outcome.interrupted = name, ended == "interrupted"

    def waited(self) -> bool:
        """Wait a little if a wanted piece needs one that another call has in hand; False if there is nothing to wait for."""
        folder, over = self.work.state.folder, {*self.finished, *self.outcome.failed, *self.outcome.postponed}
        needed = dict.fromkeys(name for piece in self.wanted if piece.name not in over for name in piece.needs)
        elsewhere = [name for name in needed if name not in over and taken(folder, name)]
        if not elsewhere or (self.left is not None and self.left < LOOK_S + min(LEAST_S.values())):
            return False
        if self.waiting != elsewhere[0]:
            self.waiting = elsewhere[0]
            print(f"waiting for {self.waiting}, which another call has in hand", flush=True)
        time.sleep(LOOK_S)
        return True

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Bars and lines say from here on what they are part of, and how long all of it will take."""
        over = self.finished
        todo = [piece for piece in self.wanted if piece.name not in over and not self.work.state.failure(piece.name)]
        self.whole = session_of({one.piece.name: one.seconds for one in seconds_left(self.work, todo)})
        if self.whole is not None:
            self.whole.total, self.whole.finished = len(self.wanted), len(self.wanted) - len(todo)
        try:
            yield
        finally:
            session_of(None)


def sit(work: Work, piece: Piece, left: float | None) -> Ended:
    """Work on one piece for at most `left` seconds and note what came of it."""
    begin = time.monotonic()
    work.state.begin(piece.name, provenance.stamp(work.device))
    ended: Ended = "done"
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
        text += f", {work.scale.allowance(piece.model)}"
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
