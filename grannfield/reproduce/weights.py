"""The weights of a training: whether they are there and final, and what remains of those that are too large to be kept.

The largest models do not fit into a folder that is carried from machine to machine: when everything that needs their weights has
been made, a note takes the place of the file. It says what they were and what was made with them, so that nothing is done again
for their lack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grannfield.files import write_atomically
from grannfield.reproduce.state import StateError

NOTE = "removed.json"
"""Beside where the weights were."""


def story_of(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says of how it came to be, None where there is none; StateError, naming it, when it cannot be read."""
    if not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            story: dict[str, Any] = json.loads(file.metadata()["grannfield"])["provenance"]
            return story
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as problem:
        raise StateError(f"{path} cannot be read ({problem}); delete {path.parent} to train again") from problem


def trained(path: Path) -> bool:
    """Whether a checkpoint is the end of its training's whole budget."""
    story = story_of(path)
    return story is not None and "whole_budget" in story


def removed(folder: Path) -> dict[str, Any] | None:
    """The note about weights that were removed when all was done, None where they were not; StateError for a damaged note."""
    path = folder / NOTE
    if not path.exists():
        return None
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {"identity", "scored", "runs", "provenance"} <= set(note):
            return note
        problem = "parts of it are missing"
    except (ValueError, OSError, TypeError) as found:
        problem = str(found)
    raise StateError(f"{path} cannot be read ({problem}); delete {folder} to train again")


def remove(path: Path, note: dict[str, Any]) -> None:
    """Leave a note in the place of a checkpoint."""
    about = {"why": "too large to be kept; all that needs these weights was made before"}
    write_atomically(path.parent / NOTE, json.dumps(about | note | {"provenance": story_of(path)}, indent=1, ensure_ascii=False))
    path.unlink()
