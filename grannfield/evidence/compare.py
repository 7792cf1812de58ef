"""A stored cell beside the same cell made again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from grannfield.report.results import Results
from grannfield.score import Score

ROUNDING = 1e-9
"""Relative difference that another processor's order of summation may leave; on the same machine there is none."""
TINY = 1e-12
"""Difference below which a number that should be zero is."""
COMPARED = ("value", "interval", "n", "verdict", "reason", "detail", "note", "unit", "better", "parts")
"""Fields of a score that its evidence determines. Dates, hardware and versions of the one who recomputes are not among them."""
CANNOT, ALTERED = "grannfield.evidence.files.NotKept: ", "grannfield.evidence.files.Altered: "
"""How an error cell begins whose evidence is not there, or is not the one that was recorded."""


@dataclass(frozen=True)
class Cell:
    """What became of one cell."""

    model: str
    material: str
    metric: str
    outcome: Literal["same", "different", "cannot"]
    detail: str = ""
    """Where it differs, stored value first; or why it cannot be made again."""
    own: bool = False
    """Whether it is the reference's own number."""
    unsound: bool = False
    """Whether there is no number to compare with, since the evidence was altered or its benchmark fails on it."""
    beside: bool = False
    """Whether it is no cell of the board but a look at what stands behind some: weights, or frames evaluated again."""


def compared(stored: Results, again: Results, wanted: set[tuple[str, str]]) -> list[Cell]:
    """Every wanted cell of stored results, and the reference's own number beside it, against what was made again."""
    cells = []
    for own, old, new in ((False, stored.scores, again.scores), (True, stored.reference, again.reference)):
        for key in sorted(old):
            if key in wanted:
                cells.append(_cell(stored.label, old[key], new.get(key), own, again.scores.get(key)))
    return cells


def _cell(label: str, old: Score, new: Score | None, own: bool, beside: Score | None) -> Cell:
    who = (label, old.material, old.metric)
    if new is None:
        said = beside.reason if own and beside is not None and beside.error else "its benchmark gave no such number"
        return _without(who, said, own)
    if old.error:
        return Cell(*who, "cannot", f"an error is stored, which left nothing behind: {old.reason}", own)
    if new.error:
        return _without(who, new.reason, own)
    found = list(differences(described(old), described(new)))
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        return Cell(*who, "different", found[0] + more, own)
    return Cell(*who, "same", own=own)


def _without(who: tuple[str, str, str], said: str, own: bool) -> Cell:
    """A cell that could not be made again."""
    if said.startswith(CANNOT):
        return Cell(*who, "cannot", said.removeprefix(CANNOT), own)
    return Cell(*who, "different", said.removeprefix(ALTERED), own, unsound=True)


def described(score: Score) -> dict[str, Any]:
    """What evidence determines of a score, as JSON would keep it."""
    values = score.to_dict()
    return {name: values[name] for name in COMPARED}


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Every place at which two JSON values differ by more than rounding, value first, old before new.

    >>> list(differences({"value": 0.5, "n": 3}, {"value": 0.5 + 1e-13, "n": 4}))
    ['n: 3 stored, 4 recomputed']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{where}.{key}" if where else str(key)
            if key not in old or key not in new:
                yield f"{place}: {'recomputed' if key in new else 'stored'} only"
            else:
                yield from differences(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif not _same(old, new):
        yield f"{where}: {_short(old)} stored, {_short(new)} recomputed"


def _same(old: Any, new: Any) -> bool:
    numbers = isinstance(old, int | float) and isinstance(new, int | float) and not isinstance(old, bool)
    return math.isclose(old, new, rel_tol=ROUNDING, abs_tol=TINY) if numbers else type(old) is type(new) and old == new


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
