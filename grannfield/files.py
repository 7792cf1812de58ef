"""Files that a kill or a second process cannot spoil."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FolderBusy(RuntimeError):
    """Another process is working in a folder."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def compact_json(value: Any) -> str:
    """JSON in one line, the same for equal values; ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"))


def json_lines(rows: Iterable[Any], indent: str = "  ") -> str:
    """A list with a line for each of its entries: one that changes is a line that changes."""
    text = ",\n".join(indent + compact_json(row) for row in rows)
    return f"[\n{text}\n{indent[:-1]}]" if text else "[]"


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process alone; when another has it, wait for it or raise FolderBusy.

    The lock ends with the process, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as problem:
            raise FolderBusy(f"another process is working in {folder}; wait for it, or choose another folder") from problem
        yield
