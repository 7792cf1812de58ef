"""reports/redundancy.md: which columns rank the models alike, so that one of them would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from grannfield.analysis.correlation import FEWEST_FOR_REDUNDANT, FEWEST_MODELS, REDUNDANT, Agreement, agreement
from grannfield.report.columns import COLUMNS
from grannfield.report.formats import markdown, write_table
from grannfield.report.paired import entry
from grannfield.report.results import Results
from grannfield.report.tiers import presets
from grannfield.score import significant

ABOUT = f"""Written by `grannfield report` from the stored results alone. Spearman's rank correlation of two columns over (model,
material) cells where both have numbers: models are ranked within each material and preset, the ranks pooled; every column is
turned so that higher is better (closer to the reference, where that is the aim), so that +1 means "the same models come first".
Interval: 95%, by the number of models, as if the materials repeated each other. No number below {FEWEST_MODELS} models.
**Redundant**: the interval of |rho| begins at {REDUNDANT} or above, of at least {FEWEST_FOR_REDUNDANT} models.
What made the reference is left out."""
HEADINGS = ["column", "other column", "rho", "low", "high", "cells", "models", "redundant", "note"]


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
            return f"**{other}** ranks the models as **{one}** does ({numbers}): one of the two would do."
        return f"**{other}** ranks the models in the reverse order of **{one}** ({numbers}): being good at one costs the other."


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


def write_redundancy(folder: Path, results: Sequence[Results]) -> list[Path]:
    """Write redundancy.md, .csv and .tex below a reports folder."""
    found = pairs(results)
    frame = pd.DataFrame([_row(pair) for pair in found], columns=HEADINGS)
    redundant = [f"- {pair.sentence}" for pair in found if pair.found.redundant]
    numbers = frame[[not pair.found.rho.reason for pair in found]]
    text = ["# Columns that say the same", ABOUT, "## Redundant columns"]
    text.append("\n".join(redundant) or "None that these results would show.")
    if len(numbers):
        text += ["## All pairs with a number", markdown(numbers).rstrip()]
    reasons = [pair.found.rho.reason for pair in found if pair.found.rho.reason]
    if reasons:
        counts = "; ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
        text.append(f"Pairs without a number: {counts}.")
    return write_table(folder / "redundancy", numbers, "\n\n".join(text).rstrip() + "\n")


def _row(pair: Pair) -> list[str]:
    rho, marked = pair.found.rho, "redundant" if pair.found.redundant else ""
    numbers = ["", "", ""] if rho.reason else [significant(x) for x in (rho.value, *rho.interval)]
    titles = [COLUMNS[metric].title for metric in (pair.first, pair.second)]
    return [*titles, *numbers, str(rho.n), str(pair.found.n_models), marked, rho.reason or rho.note]
