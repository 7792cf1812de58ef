"""Being stopped: Ctrl-C and SIGTERM as one thing, and the command that goes on from there."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it before it kills."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Within it SIGTERM ends work as Ctrl-C does: what can be kept is written first. Only in a main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise Terminated(f"signal {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def this_command(arguments: Sequence[str] | None = None) -> str:
    """The command line of this process, fit to be pasted into a shell.

    >>> this_command(["/usr/lib/python3/site-packages/pytest/__main__.py", "benchmarks", "-k", "rdf or forces"])
    "python -m pytest benchmarks -k 'rdf or forces'"
    >>> this_command(["/opt/bin/grannfield", "bench", "--preset", "quick"])
    'grannfield bench --preset quick'
    """
    program, *rest = sys.argv if arguments is None else arguments
    path = Path(program)
    words = ["python", "-m", path.parent.name] if path.name == "__main__.py" else [path.name]
    return shlex.join([*words, *rest])


def how_to_go_on(arguments: Sequence[str] | None = None) -> str:
    """What an interrupted command says last."""
    place = os.getcwd()
    return f"interrupted; what was done is kept; the same command goes on from there, in {place}:\n  {this_command(arguments)}"
