"""`python -m grannfield.reproduce.watched ARGUMENTS`: a command of grannfield that ends when the one who started it does.

Whoever starts it holds the other end of its standard input, and lets go of it by ending, however that comes about: a suite that
went on after its call was killed would compute beside the next call.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

PATIENCE_S = 60.0
"""For what was asked to end, to keep what it has."""


def main() -> None:
    """Become the command: it ends this process with its exit code."""
    # A copy, which nobody who puts something else in the place of standard input (pytest does) can close.
    threading.Thread(target=end_with, args=(os.dup(0),), daemon=True).start()
    runpy.run_module("grannfield.cli", run_name="__main__", alter_sys=True)


def end_with(held: int) -> None:
    """Wait until the other end of a pipe is let go, then end this process as a batch system does."""
    while os.read(held, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
