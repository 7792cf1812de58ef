"""The end of a call's time, as an interruption of the main thread: the same path as Ctrl-C, under a name of its own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 30.0
"""After so long the interruption comes again: torch may have answered the first by taking another way (a CUDA graph that could
not be captured, say). Long enough to write the largest state in between."""


SOON_S = 0.01
"""After so long it comes again where Python threw it away: nothing leaves a destructor or the callback of a weak reference."""


class OutOfTime(KeyboardInterrupt):
    """The time of a call is up. What keeps its state at Ctrl-C keeps it here."""


@contextmanager
def cut_off_after(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime in what runs inside for longer than `seconds` (never for None); afterwards signals are as before.

    Works in the main thread, which is where Python handles signals, on systems with SIGALRM (Linux, macOS); RuntimeError
    elsewhere.
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only the main thread can be interrupted by the clock")
    ringing = True

    def ring(number: int, frame: FrameType | None) -> None:
        if ringing:
            raise OutOfTime

    def lost(problem: sys.UnraisableHookArgs) -> None:
        if ringing and problem.exc_type is OutOfTime:
            signal.setitimer(signal.ITIMER_REAL, SOON_S, AGAIN_S)
        else:
            others(problem)

    others, sys.unraisablehook = sys.unraisablehook, lost
    begin = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN_S)
    try:
        try:
            yield
        finally:
            ringing = False  # an alarm up to here still raises, one from here on is too late to cut anything off
    finally:
        sys.unraisablehook = others
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - begin)), interval)
