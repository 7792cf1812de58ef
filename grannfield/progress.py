"""Progress of anything that takes more than a few seconds: live bars on a terminal, a line now and then in a log file.

Environment variable GRANNFIELD_PROGRESS: `bar`, `lines` or `none`; without it bars where standard error is a terminal and rich is
installed, lines elsewhere.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVERY_S = 30.0
"""Seconds between two lines of a log,"""
SHARE, SHARE_S = 0.1, 5.0
"""or this share of the work, but no more often than this."""
REFRESH_S = 0.2
"""Between two drawings of a bar: they are drawn by the work itself, no thread takes time from it."""
NARROW = 64
"""Columns of a terminal below which there is no room for the bar beside its numbers."""
PRIOR_S = 30.0
"""Seconds of work after which measured speed counts as much as the forecast."""


class Whole:
    """A session made of jobs whose cost is roughly known beforehand: how many are done, and how long the rest will take.

    The forecast is corrected by what the finished jobs took.

    >>> whole = Whole({"forces": 10.0, "motion": 100.0})
    >>> whole.begin("forces", now=0.0)
    >>> whole.end(now=20.0)
    >>> whole.left(now=20.0)
    125.0
    """

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs, self.finished = dict(costs), 0
        self.total = len(costs)
        self.spent = self.expected = 0.0
        self.running, self.since = 0.0, math.nan

    def begin(self, job: str, now: float | None = None) -> None:
        """A job starts; one that is not known costs nothing."""
        self.running, self.since = self.costs.pop(job, 0.0), time.monotonic() if now is None else now

    def end(self, now: float | None = None) -> None:
        """The running job is done."""
        if not math.isnan(self.since):
            self.spent += (time.monotonic() if now is None else now) - self.since
            self.expected += self.running
        self.finished, self.running, self.since = min(self.total, self.finished + 1), 0.0, math.nan

    @property
    def slowness(self) -> float:
        """What finished jobs took, over what they were to take."""
        return (PRIOR_S + self.spent) / (PRIOR_S + self.expected)

    def left(self, piece: float = 0.0, now: float | None = None) -> float:
        """Seconds to the end, where the running piece of work needs at least `piece` more."""
        elapsed = 0.0 if math.isnan(self.since) else (time.monotonic() if now is None else now) - self.since
        here = max(self.running * self.slowness - elapsed, piece if math.isfinite(piece) else 0.0, 0.0)
        return here + sum(self.costs.values()) * self.slowness

    def text(self, piece: float = 0.0) -> str:
        """Where the session stands, in a few words."""
        return f"{self.finished}/{self.total} jobs, about {duration(self.left(piece))} left"


class _State:
    whole: Whole | None = None
    mode = ""
    """As the program wishes; the environment variable goes before it."""
    prefix = ""
    """Before each line: which of several processes is speaking."""
    display: _Display | None = None


def session_of(costs: dict[str, float] | None) -> Whole | None:
    """Say what the bars from now on are part of: expected seconds by job; None: of nothing."""
    _State.whole = None if costs is None else Whole(costs)
    return _State.whole


def show_as(mode: str, prefix: str = "") -> None:
    """How progress is shown from now on: "bar", "lines", "none", or "" for what suits standard error."""
    _State.mode, _State.prefix = mode, prefix


def shown_as() -> str:
    """ "bar", "lines" or "none", as the environment, the program and standard error say, in this order."""
    asked = os.environ.get("GRANNFIELD_PROGRESS", "") or _State.mode
    if asked in ("lines", "none"):
        return asked
    if asked == "bar" or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb"):
        try:
            import rich  # noqa: F401
        except ImportError:
            return "lines"
        return "bar"
    return "lines"


def duration(seconds: float) -> str:
    """Seconds as a reader says them.

    >>> duration(42.3), duration(250), duration(9000), duration(float("inf"))
    ('42 s', '4 min', '2.5 h', '?')
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Work:
    """How far one piece of work is."""

    def __init__(self, total: float, label: str, unit: str) -> None:
        self.total, self.label, self.unit, self.extra = max(float(total), 1e-9), label, unit, ""
        self.done = self.kept = 0.0
        self.start = time.monotonic()

    def add(self, amount: float, now: float) -> None:
        if self.done == 0.0 and now - self.start < 0.01:
            self.kept = amount  # of an earlier call: it says nothing about the speed of this one
        self.done = min(self.total, self.done + amount)

    def left(self, now: float) -> float:
        made = self.done - self.kept
        return (now - self.start) * (self.total - self.done) / made if made > 0 else math.inf

    def text(self, now: float) -> str:
        digits = 1 if self.total < 20 else 0
        numbers = f"{self.done / self.total:4.0%}  {self.done:.{digits}f}/{self.total:.{digits}f} {self.unit}"
        left = "" if math.isinf(self.left(now)) else f", {duration(self.left(now))} left"
        return f"{numbers}{left}{f'  {self.extra}' if self.extra else ''}"


class _Silent:
    """Nothing at all."""

    def update(self, amount: float = 1) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        pass

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines(_Silent):
    """A line now and then, for log files and where rich is not installed."""

    def __init__(self, total: float, label: str, unit: str) -> None:
        self.work = _Work(total, label, unit)
        self.printed, self.shown, self.spoken = self.work.start, 0.0, False

    def update(self, amount: float = 1) -> None:
        now = time.monotonic()
        self.work.add(amount, now)
        step, passed = (self.work.done - self.shown) / self.work.total, now - self.printed
        if passed >= EVERY_S or (step >= SHARE and passed >= SHARE_S):
            self.printed, self.shown, self.spoken = now, self.work.done, True
            self._say(f"{self.work.label}: {self.work.text(now).strip()}", self.work.left(now))

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        self.work.extra = text

    def close(self) -> None:
        now = time.monotonic()
        if self.spoken and self.work.done >= self.work.total:
            self._say(f"{self.work.label}: done in {duration(now - self.work.start)}", 0.0)

    @staticmethod
    def _say(text: str, left: float) -> None:
        whole = f" [{_State.whole.text(left)}]" if _State.whole else ""
        print(writable(f"{_State.prefix}{text}{whole}"), file=sys.stderr, flush=True)


class _Bar(_Silent):
    """One line of the live display."""

    def __init__(self, display: _Display, total: float, label: str, unit: str) -> None:
        self.display, self.work = display, _Work(total, label, unit)
        self.task = display.add(label)

    def update(self, amount: float = 1) -> None:
        self.work.add(amount, time.monotonic())
        self.display.draw(self)

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        self.work.extra = text

    def refresh(self) -> None:
        self.display.draw(self, at_once=True)

    def close(self) -> None:
        self.display.remove(self.task)


class _Display:
    """The live display of a terminal: a line for the session, and one for each piece of work under way in it."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        console = Console(stderr=True) if console is None else console
        cut: Any = "ellipsis" if console.encoding.startswith("utf") else "crop"
        text = TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow=cut))
        columns = [TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow=cut))]
        columns += [BarColumn(bar_width=20)] if console.width >= NARROW else []  # type: ignore[list-item]
        self.rich = Progress(*columns, text, console=console, auto_refresh=False, transient=True)
        self.rich.start()
        console.show_cursor(True)  # it would stay hidden after a kill
        self.session = self.add("whole session") if _State.whole else None
        self.drawn = 0.0

    def add(self, label: str) -> Any:
        return self.rich.add_task(writable(label), total=1.0, text="")

    def draw(self, bar: _Bar, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now - self.drawn < REFRESH_S:
            return
        self.drawn = now
        work, whole = bar.work, _State.whole
        self.rich.update(bar.task, completed=work.done / work.total, text=writable(work.text(now)))
        if self.session is not None and whole:
            share = whole.finished / max(1, whole.total)
            self.rich.update(self.session, completed=share, text=whole.text(work.left(now)))
        self.rich.refresh()

    def remove(self, task: Any) -> None:
        self.rich.remove_task(task)

    def close(self) -> None:
        self.rich.stop()


def writable(text: str) -> str:
    """A text in what standard error can show: other characters become question marks."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


@contextmanager
def progress(total: float, label: str, unit: str) -> Iterator[Any]:
    """A bar with `update(amount)` and `set_postfix_str(text)`; bars inside others are lines of one display."""
    mode, opened = shown_as(), False
    bar: _Silent
    if mode == "none":
        bar = _Silent()
    elif mode == "lines":
        bar = _Lines(total, label, unit)
    else:
        if _State.display is None:
            _State.display, opened = _Display(), True
        bar = _Bar(_State.display, total, label, unit)
    try:
        yield bar
    finally:
        bar.close()
        if opened and _State.display is not None:
            _State.display.close()
            _State.display = None
