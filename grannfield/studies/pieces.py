"""A study as small pieces of work that any call may take some of, and the report that is made of what is there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from grannfield import provenance
from grannfield.files import locked, write_atomically
from grannfield.progress import duration, session_of
from grannfield.reproduce.clock import OutOfTime, cut_off_after

FORMAT = 1


@dataclass(frozen=True)
class Piece:
    """One piece of work; whether it is done is read from what it has made."""

    name: str
    seconds: float
    """About what it takes."""
    done: Callable[[], bool]
    do: Callable[[], object]
    needs: tuple[str, ...] = ()
    """Names of the pieces before it."""


class Study(Protocol):
    """A question, the work behind it, and what is known of the answer so far."""

    @property
    def name(self) -> str:
        """Of its report."""
        ...

    def pieces(self) -> list[Piece]:
        """In the order in which they are taken up."""
        ...

    def report(self, failed: dict[str, str]) -> dict[str, Any]:
        """What the pieces that are done say; `failed`: pieces that broke in this call, and why."""
        ...


@dataclass
class Outcome:
    """What became of a call."""

    total: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by piece."""
    cut: str = ""
    """The piece that was being worked on when time was up or the user interrupted."""
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        return len(self.done) == self.total


def work_on(pieces: Sequence[Piece], minutes: float | None = None) -> Outcome:
    """Do what is not done, in order, for at most so long; a piece that fails does not stop those that do not need it."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    outcome = Outcome(len(pieces), done=[piece.name for piece in pieces if piece.done()])
    left = [piece for piece in pieces if piece.name not in outcome.done]
    whole = session_of({piece.name: piece.seconds for piece in left})
    for number, piece in enumerate(left, 1):
        if any(name not in outcome.done for name in piece.needs):
            continue
        if end is not None and end - time.monotonic() <= 0:
            break
        print(f"{piece.name} ({number} of {len(left)}), about {duration(piece.seconds)}", flush=True)
        if whole is not None:
            whole.begin(piece.name)
        if not _sit(piece, None if end is None else end - time.monotonic(), outcome):
            break
        if whole is not None:
            whole.end()
    session_of(None)
    return outcome


def _sit(piece: Piece, seconds: float | None, outcome: Outcome) -> bool:
    """Work on one piece; whether the call goes on after it."""
    try:
        with cut_off_after(seconds):
            piece.do()
    except KeyboardInterrupt as problem:
        outcome.cut, outcome.interrupted = piece.name, not isinstance(problem, OutOfTime)
        return False
    except Exception as problem:  # whatever breaks in one model: the others go on, and the report says so
        outcome.failed[piece.name] = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        print(f"  failed: {outcome.failed[piece.name]}", flush=True)
        return True
    outcome.done.append(piece.name)
    return True


def study_in(study: Study, state: Path, reports: Path, device: str, minutes: float | None = None) -> tuple[Outcome, Path]:
    """Work on a study and write its report, complete or not; FolderBusy when another process works in the state."""
    with locked(state):
        write_atomically(state / ".gitignore", "*\n")  # neither data nor weights of a study belong into a repository
        outcome = work_on(study.pieces(), minutes)
        return outcome, write_report(study, reports, device, outcome)


def write_report(study: Study, reports: Path, device: str, outcome: Outcome) -> Path:
    """reports/studies/<name>.json: what is known, of which data and weights, made by what and when."""
    found = {"format": FORMAT, "study": study.name, "complete": outcome.complete}
    found |= {"pieces": {"done": len(outcome.done), "of": outcome.total}, "failed": outcome.failed}
    found |= study.report(outcome.failed) | {"provenance": provenance.stamp(device)}
    path = report_path(reports, study.name)
    write_atomically(path, json.dumps(finite(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def report_path(reports: Path, name: str) -> Path:
    return reports / "studies" / f"{name}.json"


def read_report(path: Path) -> dict[str, Any]:
    """A study's report; ValueError, naming the file and the cure, for one that is damaged or from a later version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        number = int(found["format"])
        if found["study"] != path.stem:
            raise KeyError(path.stem)
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(
            f"{path} is no report of a study ({problem!r}); delete it and run `grannfield study {path.stem}` again"
        ) from None
    if number > FORMAT:
        raise ValueError(f"{path} has format {number}; this version reads up to {FORMAT}: upgrade grannfield")
    report: dict[str, Any] = found
    return report


def finite(value: Any) -> Any:
    """The same as JSON may have it: NaN and infinity become None, NumPy's numbers Python's."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return None if value != value or abs(value) == float("inf") else float(f"{value:.6g}")
    return value
