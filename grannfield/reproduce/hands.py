"""Whose hands a piece is in, where several calls work on one state side by side.

A call is present in a state as long as it lasts, and holds each piece while it works on it. All of this are locks of the system,
which end with the process however it ends: a killed call leaves nothing that would have to be cleared away.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grannfield.files import FolderBusy, locked

HANDS = ".hands"
"""Folder of a state for the locks of its pieces."""
NOTES = ":notes"
"""What is held while pieces.json is read, changed and written; no piece is called so."""
PATIENCE_S = 2.0
"""For one who only looks whether a state is in use: looking takes the lock for an instant."""


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Be one of the calls at work in a state; FolderBusy beside a call of an earlier version, which wants it for itself."""
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE_S
    with open(folder / ".lock", "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except OSError as problem:
                if time.monotonic() > end:
                    said = f"another process has taken {folder} for itself; wait for it, or choose another folder"
                    raise FolderBusy(said) from problem
                time.sleep(0.05)
        yield


def others_at_work(folder: Path) -> bool:
    """Whether a call that is not this one is present in a state."""
    if not folder.exists():
        return False
    try:
        with locked(folder):
            return False
    except FolderBusy:
        return True


@contextmanager
def in_hand(folder: Path, name: str, wait: bool = False) -> Iterator[None]:
    """Hold a piece of a state; FolderBusy when another call has it."""
    with locked(folder / HANDS / name, wait):
        yield


def taken(folder: Path, name: str) -> bool:
    """Whether a call is working on a piece now."""
    return others_at_work(folder / HANDS / name)
