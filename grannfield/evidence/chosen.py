"""From what a user writes to stored cells: model, material and metric, with the nearest name where there is none."""

from __future__ import annotations

from pathlib import Path

from grannfield.data.material import load_material
from grannfield.data.table import suggestion
from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results, all_results


def chosen_results(reports: Path, model: str = "") -> list[Results]:
    """All stored results, or those of one model; FileNotFoundError or LookupError that names those there are."""
    found = all_results(reports)
    if not found:
        raise FileNotFoundError(f"{reports / 'results'} holds no results; score a model: grannfield bench --model schnet")
    labels = {one.label.lower(): one for one in found}
    if not model:
        return found
    if model.lower() not in labels:
        raise LookupError(
            f"no results of a model {model!r} in {reports / 'results'}; {suggestion(model, [o.label for o in found])}"
        )
    return [labels[model.lower()]]


def chosen_material(one: Results, material: str) -> str:
    """Formula of a material a model was scored on; LookupError names those there are."""
    try:
        formula = load_material(material).formula
    except LookupError:
        formula = material
    known = [formula for _, formula in one.scores]
    if formula not in known:
        raise LookupError(f"{one.label} was not scored on {material!r}; {suggestion(material, sorted(set(known)))}")
    return formula


def chosen_metric(one: Results, metric: str, formula: str = "") -> str:
    """Name of a column that a model has a score in; LookupError for one there is not, or that was not run."""
    if metric not in COLUMNS:
        raise LookupError(f"there is no metric {metric!r}; {suggestion(metric, list(COLUMNS))}")
    where = sorted(material for name, material in one.scores if name == metric)
    if not where or (formula and formula not in where):
        on = f" on {formula}" if formula else ""
        there = f"; it was on {', '.join(where)}" if where else f"; run it: grannfield bench --model {one.label} -k {metric}"
        raise LookupError(f"{metric} of {one.label} was not run{on}{there}")
    return metric
