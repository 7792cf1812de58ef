"""Proxies: which cheap number of a force field tells beforehand how its dynamics will turn out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.checksum import sha256_of_file
from grannfield.report.columns import COLUMNS
from grannfield.report.origins import references_of
from grannfield.report.paired import entry, seed_of
from grannfield.report.results import Results, all_results
from grannfield.report.scale import named
from grannfield.report.tiers import presets
from grannfield.studies.agreement import METHOD, SOURCE, Found, Rows, agreements, holm_adjusted
from grannfield.studies.pieces import Piece

CHEAP = (
    "force_r2", "force_mae", "force_mae_high", "force_slope", "force_cosine", "energy_rank", "nve_drift", "force_curl",
)  # fmt: skip
"""Columns that need no run of MD under the thermostat."""
STABLE, MISMATCH, FAILED = 2.0, 1.0, 0.0
SCALE = """2 stable: no run failed, and the g(r) of each is within max(0.02, 1.5 x floor) of the reference's; \
1 lattice mismatch: no run failed, g(r) is further off; 0 failed: a run had a failure event (fusion, broken tetrahedron, \
runaway, melt, NaN)"""
Level = Callable[[Results, str], float | None]


def dynamics(one: Results, material: str) -> float | None:
    """The dynamics of a model in a material on the ordered scale; None where it was not run, or the harness broke.

    A run too short for g(r) that did not fail says nothing.
    """
    failed, rdf = (one.scores.get((metric, material)) for metric in ("failed_share", "rdf_mae"))
    if failed is None or failed.outcome != "number":
        return None
    if failed.value > 0:
        return FAILED
    if rdf is None or rdf.outcome != "number":
        return None
    return STABLE if rdf.verdict.startswith("stable") else MISMATCH


def of_column(metric: str) -> Level:
    """A column as a level: higher is better, NaN for a model that failed in it, None where nothing can be compared."""

    def level(one: Results, material: str) -> float | None:
        found = entry(one, metric, material)
        return None if isinstance(found, str) else found.value

    return level


OUTCOMES: dict[str, tuple[str, Level]] = {
    "dynamics": (f"outcome of the dynamics on an ordered scale: {SCALE}", dynamics),
    "rdf_mae": ("g(r) MAE; a model without one because its runs failed ranks last", of_column("rdf_mae")),
    "failed_share": ("share of failed runs", of_column("failed_share")),
}
"""What is to be predicted, the headline first."""


def laid_out(results: Sequence[Results]) -> tuple[list[tuple[str, str]], list[str], dict[tuple[str, str, str], Results]]:
    """Cells (preset, material), labels of models, and whose results fill which cell; what is the reference is left out."""
    groups = presets(results).items()
    found = {(preset, m, named(one)): one for preset, group in groups for one in group for m in one.materials}
    cells = sorted({(preset, material) for preset, material, _ in found})
    return cells, sorted({label for *_, label in found}), found


def rows(results: Sequence[Results], first: Level, second: Level) -> Rows:
    """Two levels of all models, in the cells and models of `laid_out`."""
    cells, labels, found = laid_out(results)
    x, y = np.full((2, len(cells), len(labels)), np.nan)
    known = np.zeros(x.shape, dtype=bool)
    for c, (preset, material) in enumerate(cells):
        for m, label in enumerate(labels):
            one = found.get((preset, material, label))
            pair = (None, None) if one is None else (first(one, material), second(one, material))
            if pair[0] is not None and pair[1] is not None:
                x[c, m], y[c, m], known[c, m] = *pair, True
    return Rows(x, y, known)


def report(results: Sequence[Results]) -> dict[str, Any]:
    """Agreement of every cheap column with every outcome, over the models of these results: a function of results alone."""
    cells, labels, _ = laid_out(results)
    units, seed = [label.partition("@")[0] for label in labels], seed_of(results)
    names = [(outcome, metric) for outcome in OUTCOMES for metric in CHEAP]
    made = [rows(results, of_column(metric), OUTCOMES[outcome][1]) for outcome, metric in names]
    found, drawn = agreements(made, units, seed)
    adjusted = holm_adjusted([one.p for one in found])
    best = {outcome: best_shares([n for n, (o, _) in enumerate(names) if o == outcome], drawn, found) for outcome in OUTCOMES}
    table = [
        {"outcome": outcome, "metric": metric, "title": COLUMNS[metric].title, "tau": one.tau.parts(), "p": one.p}
        | {"p_holm": adjusted[n], "models": one.n_models, "best_share": best[outcome].get(n)}
        for n, ((outcome, metric), one) in enumerate(zip(names, found, strict=True))
    ]
    return {
        "question": "which cheap metric puts the models in the order of their dynamics",
        "reference": references_of(results),
        "method": METHOD, "source": SOURCE, "outcomes": {name: about for name, (about, _) in OUTCOMES.items()},
        "tests": sum(math.isfinite(one.p) for one in found), "models": labels, "units": len(set(units)),
        "cells": [{"preset": preset, "material": material} for preset, material in cells],
        "levels": levels(results), "table": table,
    }  # fmt: skip


def best_shares(chosen: list[int], drawn: np.ndarray, found: Sequence[Found]) -> dict[int, float]:
    """Share of the resamples in which each of the rows has the highest tau, equal ones sharing; rows without a tau have none."""
    usable = [n for n in chosen if not found[n].tau.reason]
    if not usable or not len(drawn):
        return {}
    tau = np.where(np.isfinite(drawn[:, usable]), drawn[:, usable], -np.inf)
    some = tau[np.isfinite(tau).any(axis=1)]
    if not len(some):
        return {}
    top = some >= some.max(axis=1, keepdims=True) - 1e-12
    shares = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return dict(zip(usable, map(float, shares), strict=True))


def levels(results: Sequence[Results]) -> list[dict[str, Any]]:
    """Where each model stands on the scale of the dynamics: what the headline rests on."""
    _, _, found = laid_out(results)
    return [
        {"model": label, "preset": preset, "material": material, "dynamics": dynamics(one, material)}
        for (preset, material, label), one in sorted(found.items())
    ]


@dataclass(frozen=True)
class Proxies:
    """The question put to the results below a folder; there is nothing to run."""

    reports: Path
    name: str = "proxies"

    def pieces(self) -> list[Piece]:
        return []

    def report(self, failed: dict[str, str]) -> dict[str, Any]:
        return of_reports(self.reports)


def of_reports(reports: Path) -> dict[str, Any]:
    """The report on all results under a folder, with the hash of each; ValueError when there is none."""
    results = all_results(reports)
    if not results:
        raise ValueError(f"{reports / 'results'} holds no results; make some: grannfield bench --reports {reports}")
    files = {path.name: sha256_of_file(path) for path in sorted((reports / "results").glob("*.json"))}
    return report(results) | {"results_sha256": files}
