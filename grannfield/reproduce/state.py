"""The state folder: which plan it belongs to, and what has been spent on each piece where.

    plan.json      scale and seed: a call with others is refused
    pieces.json    seconds, sittings (date, hardware, versions) and errors of each piece
    reports/       what the pieces make: checkpoints/, store/ (MD runs, predictions), speed/, results/, tables

Whether a piece is done is read from what it has made, not from pieces.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grannfield.files import write_atomically

FORMAT = 1
PARTS = {
    "checkpoints": ("reports/checkpoints/*/best.safetensors",),
    "MD runs": ("reports/store/md/*/run-*.h5",),
    "unfinished work": ("reports/checkpoints/*/last.safetensors", "reports/store/md/*/partial/*"),
    "predictions": ("reports/store/predictions/*",),
}
"""What takes the space, by what it is."""


class StateError(ValueError):
    """A state folder cannot be read, or belongs to another plan."""


class State:
    """The folder of one plan; nothing is written before `claim`."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self.folder, self.plan, self.reports = folder, plan, folder / "reports"
        stored = self._read("plan.json")
        if stored is not None and (differing := list(_differences(stored, plan))):
            raise StateError(
                f"{folder} holds another plan: {'; '.join(differing)}. Take the settings it was made with, or another --state"
            )
        self.pieces: dict[str, dict[str, Any]] = self._read("pieces.json") or {}

    def claim(self) -> None:
        """Mark the folder as belonging to the plan."""
        self._write("plan.json", self.plan)

    def of(self, name: str) -> dict[str, Any]:
        """What is known of a piece: `seconds` in all, `sittings`, and what its kind keeps."""
        return self.pieces.get(name, {"seconds": 0.0, "sittings": []})

    def failure(self, name: str) -> str:
        """Why the last sitting failed; empty when it did not."""
        sittings = self.of(name)["sittings"]
        return str(sittings[-1].get("error", "")) if sittings else ""

    def begin(self, name: str, stamp: dict[str, Any]) -> None:
        """Note that a piece is being worked on: should the process be killed, this is what remains."""
        record = self.of(name)
        record["sittings"] = [*record["sittings"], {**stamp, "seconds": 0.0, "ended": "killed, or still running"}]
        self.pieces[name] = record
        self.write()

    def end(self, name: str, seconds: float, ended: str, error: str = "") -> None:
        """Note how the sitting that was begun has ended."""
        record = self.of(name)
        record["sittings"][-1] |= {"seconds": round(seconds, 2), "ended": ended} | ({"error": error} if error else {})
        record["seconds"] = round(record["seconds"] + seconds, 2)
        self.write()

    def write(self) -> None:
        self._write("pieces.json", self.pieces)

    def sizes(self) -> dict[str, int]:
        """Bytes by part, the rest as `other`."""
        found = {
            part: sum(path.stat().st_size for pattern in patterns for path in self.folder.glob(pattern) if path.is_file())
            for part, patterns in PARTS.items()
        }
        total = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return found | {"other": total - sum(found.values())}

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
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
        if name == "pieces.json" and not all(_is_record(record) for record in content.values()):
            raise StateError(f"{path} does not describe pieces; {advice}")
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False)
        write_atomically(self.folder / name, text + "\n")


def _is_record(record: Any) -> bool:
    if not (isinstance(record, dict) and isinstance(record.get("seconds"), (int, float))):
        return False
    sittings = record.get("sittings")
    return isinstance(sittings, list) and all(isinstance(one, dict) for one in sittings)


def _differences(stored: Any, asked: Any, where: str = "") -> Iterator[str]:
    """Where two nested dictionaries differ, in words."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*stored, *asked]):
            yield from _differences(stored.get(key), asked.get(key), f"{where}.{key}" if where else str(key))
    elif stored != asked:
        yield f"{where} is {stored!r} there and {asked!r} here"
