"""Progress on a terminal, in a log, without rich, and in terminals that can do little."""

from __future__ import annotations

import io
import re
import sys

import pytest

from grannfield import progress as module
from grannfield.progress import Whole, progress, session_of, show_as, shown_as


class Screen(io.TextIOWrapper):
    """Standard error with an encoding, and a terminal if so wished."""

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.delenv("GRANNFIELD_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return now


def on(monkeypatch: pytest.MonkeyPatch, terminal: bool, encoding: str = "utf-8", columns: int = 100) -> Screen:
    screen = Screen(terminal, encoding)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


def piece(clock: list[float], steps: int, seconds: float, label: str = "schnet LGPS 1000 K") -> None:
    with progress(steps, label, "frames") as bar:
        for _ in range(steps):
            clock[0] += seconds
            bar.update(1)
            bar.set_postfix_str("998 K", refresh=False)


def test_a_log_gets_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    screen = on(monkeypatch, terminal=False)
    piece(clock, 1000, 1.0)  # a thousand seconds, 10% every hundred
    lines = screen.text.splitlines()
    assert 33 <= len(lines) <= 35
    assert lines[0] == "schnet LGPS 1000 K: 3%  30/1000 frames, 16 min left  998 K"
    assert lines[-1] == "schnet LGPS 1000 K: done in 17 min"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", screen.text), "control characters in a log"


def test_a_log_gets_a_line_every_tenth_of_shorter_work(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """And none of what takes a second."""
    screen = on(monkeypatch, terminal=False)
    piece(clock, 100, 1.0)
    said = [int(line.split("%")[0].split(":")[1]) for line in screen.text.splitlines()[:-1]]
    assert said == list(range(10, 101, 10))
    before = len(screen.text)
    piece(clock, 100, 0.01)
    assert len(screen.text) == before


def test_the_time_left_does_not_count_what_an_earlier_call_did(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    screen = on(monkeypatch, terminal=False)
    with progress(100, "MD", "ps") as bar:
        bar.update(50)
        for _ in range(4):
            clock[0] += 10
            bar.update(1)
    assert "54/100 ps, 8 min left" in screen.text  # 46 ps at 10 s each


def test_a_session_stands_before_each_piece(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    screen = on(monkeypatch, terminal=False)
    try:
        whole = session_of({"a": 100.0, "b": 100.0, "c": 100.0})
        assert whole is not None
        whole.begin("a")
        clock[0] += 100
        whole.end()
        whole.begin("b")
        piece(clock, 50, 1.0)
        assert "[1/3 jobs, about 3 min left]" in screen.text.splitlines()[0]
    finally:
        session_of(None)


def test_what_is_left_of_a_session_follows_what_its_jobs_took() -> None:
    whole = Whole({"a": 10.0, "b": 10.0, "c": 10.0})
    assert whole.left(now=0.0) == 30.0
    whole.begin("a", now=0.0)
    assert whole.left(piece=90.0, now=4.0) == 90.0 + 20.0
    whole.end(now=130.0)
    assert whole.slowness == pytest.approx((30 + 130) / (30 + 10)) and whole.left(now=130.0) == pytest.approx(80.0)
    whole.begin("b", now=130.0)
    whole.end(now=130.0)
    whole.begin("c", now=130.0)
    whole.end(now=130.0)
    assert whole.left(now=200.0) == 0.0 and whole.finished == 3


def test_bars_on_a_terminal_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    pytest.importorskip("rich")
    screen = on(monkeypatch, terminal=True)
    with progress(4, "outer", "jobs") as outer:
        clock[0] += 1
        outer.update(1)
        piece(clock, 5, 1.0, "inner [x]")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.text)
    assert " 25%  1.0/4.0 jobs" in plain and "inner [x]" in plain and "100%  5.0/5.0 frames" in plain and "━" in plain
    assert screen.text.count("\x1b[?25h") >= screen.text.count("\x1b[?25l"), "the cursor stays visible, whatever happens"
    assert module._State.display is None


@pytest.mark.parametrize(("encoding", "columns"), [("ascii", 100), ("latin-1", 40), ("utf-8", 20)])
def test_poor_terminals(monkeypatch: pytest.MonkeyPatch, clock: list[float], encoding: str, columns: int) -> None:
    pytest.importorskip("rich")
    screen = on(monkeypatch, terminal=True, encoding=encoding, columns=columns)
    piece(clock, 10, 1.0, "Å — a long name of a model on a material 1000 K")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.text)
    drawn = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert drawn and max(map(len, drawn)) <= columns


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    screen = on(monkeypatch, terminal=True)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert shown_as() == "lines"
    piece(clock, 100, 1.0)
    assert "done in" in screen.text and "\x1b" not in screen.text


def test_quiet_and_the_environment(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    screen = on(monkeypatch, terminal=True)
    try:
        show_as("none")
        piece(clock, 100, 1.0)
        assert screen.text == ""
        show_as("lines", "gw1: ")
        piece(clock, 100, 1.0)
        assert screen.text.startswith("gw1: schnet LGPS")
        monkeypatch.setenv("GRANNFIELD_PROGRESS", "none")
        assert shown_as() == "none"
        monkeypatch.setenv("GRANNFIELD_PROGRESS", "lines")
        show_as("none")
        assert shown_as() == "lines"
    finally:
        show_as("")
    monkeypatch.delenv("GRANNFIELD_PROGRESS")
    monkeypatch.setenv("TERM", "dumb")
    assert shown_as() == "lines"
