"""Stored scores of several models laid out in the same cells: material, temperature, replica; higher is better."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grannfield.analysis.equivalence import compare
from grannfield.analysis.ranking import Cells
from grannfield.analysis.uncertainty import BELOW_DETECTION, TOO_FEW_TEMPERATURES, TOO_SHORT, UNDEFINED, Estimate
from grannfield.report.columns import COLUMNS, Column
from grannfield.report.results import Results
from grannfield.report.verdicts import estimate_of, own_number

NOT_COMPARABLE = {
    TOO_SHORT, TOO_FEW_TEMPERATURES, UNDEFINED, "no reference", "no force field", "no windows", "no runs", "not batched",
    "not determined", "not measured under xdist",
}  # fmt: skip
"""Reasons that lie in what was asked of a model, not in what it did; every other one is a failure, and a failure ranks last."""
Key = tuple[float, int]
"""Temperature in K and replica."""


@dataclass
class Entry:
    """A model in one material and column: numbers where there are any, NaN for a failure."""

    value: float
    half: float = 0.0
    """Larger half-width of its 95% interval."""
    runs: dict[Key, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Layout:
    """One column of several models in the same cells."""

    cells: Cells
    models: tuple[str, ...]
    materials: tuple[str, ...]
    left_out: dict[str, str]
    """Why the other models are not in it, by label."""
    kind: str = "runs"
    """What a cell is: "runs" (or blocks of frames), or "scores" of whole materials where single runs are not stored."""


def oriented(column: Column, value: float, own: Estimate | None) -> float | None:
    """A value as higher-is-better: where closer is better, minus the distance from the reference's own; None without one.

    >>> oriented(COLUMNS["diffusivity"], 1e-5, Estimate(1e-4, n=1))
    -1.0
    """
    if column.better != "closer":
        return value if column.better == "higher" else -value
    if own is None or own.reason or (column.log10 and min(value, own.value) <= 0):
        return None
    return -abs(math.log10(value / own.value) if column.log10 else value - own.value)


def entry(one: Results, metric: str, material: str) -> Entry | str:
    """What a model has in a column and material, or why it cannot be compared there."""
    score, column = one.scores.get((metric, material)), COLUMNS[metric]
    if score is None:
        return "not run"
    own = own_number(one, metric, material) if column.better == "closer" else None
    if column.better == "closer" and (own is None or own.reason):
        return "no number of the reference to be close to"
    found = estimate_of(score)
    if found.reason in NOT_COMPARABLE:
        return found.reason
    if found.reason == BELOW_DETECTION and own is not None and not _far(found, own, column):
        return f"{found.reason}, with a bound that allows the reference's number"
    runs = runs_of(score.parts, column, own)
    value = None if found.reason else oriented(column, found.value, own)
    if value is None:  # its runs must show the failure, or they would make it look good
        return Entry(math.nan, runs=runs if any(map(math.isnan, runs.values())) else {})
    low, high = (_scaled(column, end, found.value) for end in found.interval)
    return Entry(value, max(abs(low), abs(high)), runs)


def _far(found: Estimate, own: Estimate, column: Column) -> bool:
    return compare(found, own, column.margin or 1e-9, log10=column.log10).label == "different"


def _may_be_right(run: dict[str, Any], own: Estimate | None, column: Column) -> bool:
    """Whether a run without a value has a bound that allows the reference's number."""
    if run.get("reason") != BELOW_DETECTION or own is None:
        return False
    low, high = run.get("interval") or (None, None)
    interval = (-math.inf if low is None else low, math.inf if high is None else high)
    return not _far(Estimate.missing(BELOW_DETECTION, interval=interval), own, column)


def _scaled(column: Column, end: float, value: float) -> float:
    """How far an end of an interval is from the value, on the column's scale."""
    if not column.log10:
        return end - value
    return math.log10(end / value) if end > 0 and value > 0 else -math.inf


def runs_of(parts: dict[str, Any], column: Column, own: Estimate | None) -> dict[Key, float]:
    """The scores of single runs, oriented, NaN for a failed one; only those that can be compared."""
    found: dict[Key, float] = {}
    at = parts.get("temperature_K") if column.better == "closer" else None
    for run in parts.get("by_run") or []:
        if not {"temperature_K", "replica", "value"} <= set(run) or (at is not None and run["temperature_K"] != at):
            continue
        if run["value"] is None and (run.get("reason") in NOT_COMPARABLE or _may_be_right(run, own, column)):
            continue
        value = math.nan if run["value"] is None else oriented(column, float(run["value"]), own)
        temperature = run["temperature_K"]  # None for frames that are not of one run
        found[math.inf if temperature is None else float(temperature), int(run["replica"])] = math.nan if value is None else value
    return found


def layout(results: Sequence[Results], metric: str) -> Layout | str:
    """A column of several models in the cells that all of them have, or why there is no such thing.

    Materials: those that at least half of the models (and two) can be compared on; a model that lacks one of them is left out.
    Single runs where all models have some of the same temperature and replica; else the material's score, with the variance of
    its interval. A failure counts as worse than the worst number in its material by all that lies between worst and best.
    """
    found = {one.label: {m: entry(one, metric, m) for m in one.materials} for one in results}
    names = sorted({m for row in found.values() for m in row})
    comparable = {m: [k for k, row in found.items() if isinstance(row.get(m), Entry)] for m in names}
    materials = tuple(m for m in names if len(comparable[m]) >= max(2, len(found) / 2))
    if not materials:
        return "fewer than two models can be compared"
    models = tuple(k for k in found if all(k in comparable[m] for m in materials))
    left_out: dict[str, str] = {}
    for label, row in found.items():
        why = [f"{m}: {row.get(m, 'not run')}" for m in materials if not isinstance(row.get(m, "not run"), Entry)]
        left_out |= {label: "; ".join(why)} if why else {}
    if len(models) < 2:
        return "fewer than two models can be compared"
    values, variance = [], []
    for m in materials:
        entries = [one for k in models if isinstance(one := found[k][m], Entry)]
        by_temperature, known = _material(entries, COLUMNS[metric])
        values.append(by_temperature)
        variance.append(known)
    kind = "scores" if all(one[0].shape[1] == len(one) == 1 for one in values) else "runs"
    return Layout(Cells(values, np.array(variance)), models, materials, left_out, kind)


def _material(rows: list[Entry], column: Column) -> tuple[list[np.ndarray], np.ndarray]:
    """The cells of a material by temperature, [k, replicas] each, without gaps, and the variance [k] that no runs show."""
    shared = sorted(set.intersection(*(set(row.runs) for row in rows)))
    if not shared:
        known = np.array([0.0 if math.isnan(row.value) else (row.half / 1.96) ** 2 for row in rows])
        return [filled(np.array([[row.value] for row in rows]), column.margin or 0.0)], known
    table = filled(np.array([[row.runs[key] for key in shared] for row in rows]), column.margin or 0.0)
    temperatures = sorted({t for t, _ in shared})
    columns = [[i for i, key in enumerate(shared) if key[0] == t] for t in temperatures]
    return [table[:, index] for index in columns], np.zeros(len(rows))


def filled(table: np.ndarray, margin: float) -> np.ndarray:
    """Scores [k, cells] with a penalty for NaN: below the worst by the spread of the numbers, at least by the margin.

    >>> filled(np.array([[1.0, 3.0], [2.0, np.nan]]), 0.1).tolist()
    [[1.0, 3.0], [2.0, -1.0]]
    """
    numbers = table[np.isfinite(table)]
    if not len(numbers):
        return np.zeros(table.shape)
    worst, best = float(numbers.min()), float(numbers.max())
    step = max(best - worst, margin, 0.05 * abs(float(np.median(numbers))), 1e-12)
    return np.where(np.isfinite(table), table, worst - step)


def seed_of(results: Sequence[Results]) -> int:
    """A seed from the contents: the same results are always resampled in the same way."""
    text = json.dumps([[one.label, *key, repr(s.value), s.interval] for one in results for key, s in sorted(one.scores.items())])
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
