"""The interruption at the end of a call's time."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from grannfield.reproduce import clock
from grannfield.reproduce.clock import OutOfTime, cut_off_after


def work_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_work_is_interrupted_when_its_time_is_up_and_signals_are_as_before() -> None:
    def own(number: int, frame: object) -> None:
        raise AssertionError("nobody has set this alarm")

    before = signal.signal(signal.SIGALRM, own)
    try:
        begin = time.monotonic()
        with pytest.raises(OutOfTime), cut_off_after(0.1):
            work_for(20)
        assert 0.1 <= time.monotonic() - begin < 10
        with cut_off_after(0.1):
            pass
        assert signal.getsignal(signal.SIGALRM) is own and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        work_for(0.2)  # no alarm is left
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_alarm_that_was_set_before_still_comes() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(OutOfTime), cut_off_after(0.05):
            work_for(20)
        assert not rung
        work_for(1.0)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interruption_that_nothing_can_catch_comes_again_at_once() -> None:
    """Python throws away what is raised in a destructor; the next alarm of its own would come half a minute later."""
    entered: list[float] = []

    class Slow:
        def __del__(self) -> None:
            entered.append(time.monotonic())
            work_for(20)  # the alarm ends this, and nothing else

    def forget_and_work() -> None:
        Slow()
        work_for(20)

    before, begin = sys.unraisablehook, time.monotonic()
    with pytest.raises(OutOfTime), cut_off_after(0.2):
        forget_and_work()
    assert len(entered) == 1 and time.monotonic() - begin < 10
    assert sys.unraisablehook is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_interruption_that_was_swallowed_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "AGAIN_S", 0.1)
    swallowed = False

    def deaf_once() -> None:
        nonlocal swallowed
        try:
            work_for(20)
        except OutOfTime:
            swallowed = True
        work_for(20)

    with pytest.raises(OutOfTime), cut_off_after(0.05):
        deaf_once()
    assert swallowed


def test_it_is_kept_apart_from_the_users_own() -> None:
    assert issubclass(OutOfTime, KeyboardInterrupt)  # what keeps its state at Ctrl-C keeps it here
    with pytest.raises(KeyboardInterrupt) as caught, cut_off_after(20):
        signal.raise_signal(signal.SIGINT)
    assert caught.type is KeyboardInterrupt


def test_without_a_limit_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with cut_off_after(None):
        assert signal.getsignal(signal.SIGALRM) is before


def test_only_the_main_thread_can_be_cut_off() -> None:
    found: list[BaseException] = []

    def other() -> None:
        try:
            with cut_off_after(1.0):
                pass
        except RuntimeError as problem:
            found.append(problem)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "only the main thread" in str(found[0])
