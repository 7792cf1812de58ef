"""Stored scores replaced by what their evidence gives today."""

from __future__ import annotations

from pathlib import Path

from grannfield.evidence.again import made_again
from grannfield.evidence.compare import Cell, compared
from grannfield.evidence.kept import evidence_of
from grannfield.files import locked
from grannfield.report.results import Results, read_results


def rescored(one: Results, reports: Path) -> tuple[Path, list[Cell]]:
    """Write a model's results with every score made again that can be; the others stay as they were.

    Returns the file and what became of each cell. NotKept, before anything is written, where the preset is another one today.
    """
    again = made_again(evidence_of(one, reports))
    cells = compared(one, again, set(one.scores))
    with locked(reports / "store" / "results" / one.path(Path()).stem, wait=True):
        latest = read_results(one.path(reports))  # another process may have added to it meanwhile
        for score in again.scores.values():
            if not score.error:
                latest.add(score)
        latest.reference |= again.reference
        return latest.write(reports), cells
