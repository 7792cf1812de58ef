"""reports/redundancy.md: which columns rank the models alike, so that one of them would do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from grannfield.analysis.correlation import FEWEST_FOR_REDUNDANT, FEWEST_MODELS, REDUNDANT, Agreement, agreement
from grannfield.report.columns import COLUMNS
from grannfield.report.paired import entry
from grannfield.report.results import Results
from grannfield.report.table import Cell, Page, Table, measured
from grannfield.report.tiers import presets

ABOUT = f"""From the stored results alone. Spearman's rank correlation of two columns over (model,
material) cells where both have numbers: models are ranked within each material and preset, the ranks pooled; every column is
turned so that higher is better (closer to the reference, where that is the aim), so that +1 means "the same models come first".
Interval: 95%, by the number of models, as if the materials repeated each other. No number below {FEWEST_MODELS} models.
Redundant: the interval of |rho| begins at {REDUNDANT} or above, of at least {FEWEST_FOR_REDUNDANT} models.
What made the reference is left out."""


@dataclass(frozen=True)
class Pair:
    """Two columns and how they agree."""

    first: str
    second: str
    found: Agreement

    @property
    def sentence(self) -> str:
        """Of a redundant pair, in plain words."""
        one, other = COLUMNS[self.first].title, COLUMNS[self.second].title
        rho, (low, high) = self.found.rho, self.found.rho.interval
        numbers = f"rho {rho.value:.2f} [{low:.2f}, {high:.2f}], n={rho.n} cells of {self.found.n_models} models"
        if rho.value > 0:
            return f"{other} ranks the models as {one} does ({numbers}): one of the two would do."
        return f"{other} ranks the models in the reverse order of {one} ({numbers}): being good at one costs the other."


def pairs(results: Sequence[Results]) -> list[Pair]:
    """All pairs of columns, in the order of the board."""
    table: dict[str, dict[tuple[str, str, str], float]] = {metric: {} for metric in COLUMNS}
    for preset, group in presets(results).items():
        for one in group:
            for metric, material in one.scores:
                found = entry(one, metric, material)
                if not isinstance(found, str) and math.isfinite(found.value):
                    table[metric][preset, material, one.label] = found.value
    made = []
    for first, second in combinations(COLUMNS, 2):
        shared = sorted(set(table[first]) & set(table[second]))
        x, y = (np.array([table[metric][key] for key in shared]) for metric in (first, second))
        made.append(Pair(first, second, agreement(x, y, [f"{m} {p}" for p, m, _ in shared], [k for *_, k in shared])))
    return made


def redundancy(results: Sequence[Results]) -> Page:
    """A page with the redundant columns in words, and the correlation of all pairs that have one."""
    found = pairs(results)
    known = [pair for pair in found if not pair.found.rho.reason]
    known.sort(key=lambda pair: -abs(pair.found.rho.value))
    counts = Counter(pair.found.rho.reason for pair in found if pair.found.rho.reason)
    words = "; ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
    notes = (f"Pairs without a number: {words}.",) if words else ()
    columns = ("Spearman's rho", "models", "redundant")
    table = Table(
        "All pairs with a number", "", ("column", "other column"), columns if known else (), tuple(map(_row, known)), notes
    )
    said = tuple(("", pair.sentence) for pair in found if pair.found.redundant)
    foot = (("Redundant columns", said or (("", "None that these results would show."),)),)
    more = tuple({"column": f"{p.first}, {p.second}", "part": "rho", "reason": p.found.rho.reason, "source": "measured"}
                 for p in found if p.found.rho.reason)  # fmt: skip
    return Page("redundancy", "Columns that say the same", (ABOUT,), (table,), foot, more)


def _row(pair: Pair) -> tuple[Cell, ...]:
    rho, (low, high) = pair.found.rho, pair.found.rho.interval
    first, other = (COLUMNS[metric].title for metric in (pair.first, pair.second))
    record = {"column": f"{pair.first}, {pair.second}", "part": "rho", "value": rho.value, "low": low, "high": high, "n": rho.n,
              "verdict": "redundant" if pair.found.redundant else "", "source": "measured", "note": rho.note}  # fmt: skip
    correlation = Cell((measured(rho.value, rho.interval),), str(rho.n), records=(record,))
    marked = Cell(("redundant",)) if pair.found.redundant else Cell()
    return Cell((first,)), Cell((other,)), correlation, Cell((str(pair.found.n_models),)), marked
