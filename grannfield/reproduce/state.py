"""The state folder: which plan it belongs to, and what has been spent on each piece where.

    plan.json      scale, seed and budget: a call with others is refused
    pieces.json    seconds, sittings (date, hardware, versions) and errors of each piece
    reports/       what the pieces make: checkpoints/, store/ (MD runs, predictions), speed/, results/, tables

Whether a piece is done is read from what it has made, not from pieces.json. Several calls may be at work in one state: notes are
changed under a lock, on what stands in the file then, and nothing here is remembered as truer than the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grannfield.files import write_atomically
from grannfield.reproduce.hands import NOTES, in_hand

FORMAT = 2
"""Format 1 knew one budget, that of time: what a plan of it does not say has the value that it had then."""
RUNNING = "killed, or still running"
"""How a sitting has ended as long as nobody has said otherwise."""
Record = dict[str, Any]


class StateError(ValueError):
    """A state folder cannot be read, or belongs to another plan."""


class State:
    """The folder of one plan; nothing is written before `claim`."""

    def __init__(self, folder: Path, plan: dict[str, Any], earlier: dict[str, Any] | None = None) -> None:
        self.folder, self.plan, self.reports = folder, plan, folder / "reports"
        self.earlier = earlier or {}
        """What a plan that was written before a part of it existed is to be read as."""
        self._agree()
        self.pieces: dict[str, Record] = read(self.folder / "pieces.json") or {}

    def _agree(self) -> bool:
        """Whether the folder is marked with this plan; StateError, saying what differs, where it is another's."""
        stored = read(self.folder / "plan.json")
        if stored is None:
            return False
        there, here = _filled(stored, self.earlier), self.plan
        if there.get("budget") != here.get("budget"):  # the rest differs for this reason
            there, here = ({key: plan.get(key) for key in ("scale", "budget", "seed")} for plan in (there, here))
        if differing := list(_differences(there, here)):
            what = "; ".join(differing)
            raise StateError(f"{self.folder} holds another plan: {what}. Take the settings it was made with, or another --state")
        return True

    def claim(self) -> None:
        """Mark the folder as belonging to the plan, if nobody has; StateError when another call was faster with another one."""
        with in_hand(self.folder, NOTES, wait=True):
            if not self._agree():
                self._write("plan.json", self.plan)

    def of(self, name: str) -> Record:
        """What is known of a piece: `seconds` in all, `sittings`, and what its kind keeps."""
        return self.pieces.get(name, {"seconds": 0.0, "sittings": []})

    def failure(self, name: str) -> str:
        """Why the last sitting failed; empty when it did not."""
        sittings = self.of(name)["sittings"]
        return str(sittings[-1].get("error", "")) if sittings else ""

    def begin(self, name: str, stamp: dict[str, Any]) -> None:
        """Note that a piece is being worked on: should the process be killed, this is what remains."""
        self.note(name, lambda record: record["sittings"].append({**stamp, "seconds": 0.0, "ended": RUNNING}))

    def end(self, name: str, seconds: float, ended: str, error: str = "") -> None:
        """Note how the sitting that was begun has ended."""

        def change(record: Record) -> None:
            record["sittings"][-1] |= {"seconds": round(seconds, 2), "ended": ended} | ({"error": error} if error else {})
            record["seconds"] = round(record["seconds"] + seconds, 2)

        self.note(name, change)

    def note(self, name: str, change: Callable[[Record], object]) -> None:
        """Change what is known of a piece, beside whatever other calls have noted meanwhile."""
        with in_hand(self.folder, NOTES, wait=True):
            self.refresh()
            change(self.pieces.setdefault(name, {"seconds": 0.0, "sittings": []}))
            self._write("pieces.json", self.pieces)

    def refresh(self) -> None:
        """Take over what other calls have noted."""
        self.pieces = read(self.folder / "pieces.json") or {}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False)
        write_atomically(self.folder / name, text + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """A file of a state without its format, None where there is none; StateError, naming it, when it cannot be read."""
    if not path.exists():
        return None
    advice = "move it away (what the pieces have made is kept and recognised)"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as problem:
        raise StateError(f"{path} cannot be read ({problem}); {advice}") from problem
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise StateError(f"{path} is no file of a plan; {advice}")
    if content.pop("format") > FORMAT:
        raise StateError(f"{path} was written by a later version; upgrade grannfield")
    if path.name == "pieces.json" and not all(_is_record(record) for record in content.values()):
        raise StateError(f"{path} does not describe pieces; {advice}")
    return content


def _is_record(record: Any) -> bool:
    if not (isinstance(record, dict) and isinstance(record.get("seconds"), (int, float))):
        return False
    sittings = record.get("sittings")
    return isinstance(sittings, list) and all(isinstance(one, dict) for one in sittings)


def _filled(stored: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """A plan with what it does not say taken from `earlier`, level by level.

    >>> _filled({"seed": 0, "preset": {"batch": 4}}, {"budget": "time", "preset": {"batch": 8, "rounds": 5}})
    {'seed': 0, 'preset': {'batch': 4, 'rounds': 5}, 'budget': 'time'}
    """
    found = dict(stored)
    for key, value in earlier.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _filled(found[key], value)
        elif key not in found and not isinstance(value, dict):
            found[key] = value
    return found


def _differences(stored: Any, asked: Any, where: str = "") -> Iterator[str]:
    """Where two nested dictionaries differ, in words."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*stored, *asked]):
            yield from _differences(stored.get(key), asked.get(key), f"{where}.{key}" if where else str(key))
    elif stored != asked:
        yield f"{where} is {stored!r} there and {asked!r} here"
