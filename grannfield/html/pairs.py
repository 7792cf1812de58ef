"""Two models held against each other in the cells they share, for every pair on the board: differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from grannfield.analysis.ranking import Gap, gap_of
from grannfield.html.packs import rounded
from grannfield.report.columns import COLUMNS, Column
from grannfield.report.kinship import SELF
from grannfield.report.origins import kinship_of
from grannfield.report.paired import layout
from grannfield.report.results import Results

LEVEL = 0.05
"""Of a false alarm in one pair and column, not corrected for their number."""


def pair_verdict(gap: Gap, column: Column) -> str:
    """Indistinguishable inside the margin; different when zero is outside and the difference beyond the margin; else undecided.

    >>> from grannfield.report.columns import COLUMNS
    >>> pair_verdict(Gap(0.2, 0.01, 9, 0.0001, (0.18, 0.22)), COLUMNS["force_r2"])
    'different'
    """
    low, high = gap.interval
    margin = column.margin or 0.0
    if column.margin is not None and -margin < low and high < margin:
        return "indistinguishable"
    return "different" if gap.p < LEVEL and abs(gap.difference) > margin else "undecided"


def pairs_of(results: Sequence[Results]) -> dict[str, dict[str, Any]]:
    """By "a,b" (places in the list) and column: first less second, oriented so that more is better, or the reason for none.

    A list: difference, low, high, p, verdict, cells, materials, "runs" or "scores". Pairs of different presets, whose runs differ
    in length, and what made the reference have no entry: the page says so.
    """
    itself = [any(kinship_of(one, material) == SELF for material in one.materials) for one in results]
    found: dict[str, dict[str, Any]] = {}
    for a, b in combinations(range(len(results)), 2):
        if results[a].protocol.get("preset") != results[b].protocol.get("preset") or itself[a] or itself[b]:
            continue
        both = [results[a], results[b]]
        found[f"{a},{b}"] = {m: _column(both, column) for m, column in COLUMNS.items() if not column.measured_on}
    return found


def _column(both: list[Results], column: Column) -> list[Any] | str:
    laid = layout(both, column.metric)
    if isinstance(laid, str):
        return laid
    gap = gap_of(laid.cells, 0, 1)
    if not gap.resolvable or not all(map(math.isfinite, gap.interval)):
        return "these cells do not say how large a difference could be"
    numbers = rounded([gap.difference, *gap.interval, gap.p], 3)
    return [*numbers, pair_verdict(gap, column), laid.cells.n_cells, len(laid.materials), laid.kind]
