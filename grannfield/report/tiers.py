"""reports/tiers.md: which models can be told apart, by column and overall, and how likely each is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grannfield.analysis.ranking import Ranking, overall, ranking
from grannfield.report.board import TOP
from grannfield.report.columns import COLUMNS
from grannfield.report.kinship import SELF
from grannfield.report.origins import kinship_of
from grannfield.report.paired import Layout, layout, seed_of
from grannfield.report.results import Results
from grannfield.report.scale import named, of_materials, scale_of
from grannfield.report.table import Cell, Page, Table, significant

OVERALL = tuple(metric for metric in TOP if not COLUMNS[metric].measured_on)
"""Columns of the overall tiers; speed depends on the machine and says nothing of trust."""
NOT_RESOLVABLE = "not resolvable"
NOT_TOLD = "–"
"""In a cell, for not resolvable."""
ABOUT = """From the stored results alone. All models of a table ran under the same preset and are compared in the same cells: \
material, temperature, seed (or block of frames). A model with results of several presets stands in several tables.

Tier: within one, no model is told from the best of it; paired differences, all pairs corrected together (Holm), so that at \
most 5% of tables of equal models show two tiers; – where it is not resolvable: one tier, nothing is told apart. P: share of \
1,000 resamples over materials, temperatures and seeds in which the model is first. Smallest gap: the difference that would \
just have been told apart (median over pairs), in the column's unit; powers of ten for D; the distance from the reference \
where closer is better. A failed run counts as worse than the worst number of its material. Materials enter as a sample of \
materials: where models rank differently on each, more seeds do not help. What made the reference is left out."""


@dataclass(frozen=True, eq=False)
class Tiers:
    """One column, or the overall (metric ""), of the models under one preset."""

    preset: str
    metric: str
    models: tuple[str, ...]
    ranking: Ranking | None
    n_cells: int = 0
    n_materials: int = 0
    kind: str = "runs"
    """What a cell is: a run (or block of frames), or a material's score with its interval where runs were not stored."""
    note: str = ""

    @property
    def title(self) -> str:
        return COLUMNS[self.metric].title if self.metric else "overall"


def tiers(results: Sequence[Results]) -> list[Tiers]:
    """Tiers of every preset, overall first; models of different presets are never compared: their runs differ in length."""
    found = []
    for preset, group in presets(results).items():
        seed = seed_of(group)
        layouts = {metric: layout(group, metric) for metric, column in COLUMNS.items() if not column.measured_on}
        found.append(_overall(preset, group, {m: layouts[m] for m in OVERALL}, seed))
        for metric, laid in layouts.items():
            if isinstance(laid, str):
                found.append(Tiers(preset, metric, (), None, note=laid))
                continue
            note = "; ".join(f"without {name} ({why})" for name, why in laid.left_out.items())
            made = ranking(laid.cells, seed)
            found.append(Tiers(preset, metric, laid.models, made, laid.cells.n_cells, len(laid.materials), laid.kind, note))
    return found


def presets(results: Sequence[Results]) -> dict[str, list[Results]]:
    """Models by preset, those that are the reference left out."""
    groups: dict[str, list[Results]] = {}
    for one in results:
        if not any(kinship_of(one, material) == SELF for material in one.materials):
            group = groups.setdefault(scale_of(one), [])
            if all(named(one) != named(other) for other in group):  # a copy of a file is no second model
                group.append(one if named(one) == one.label else of_materials(one, one.materials))
    return {preset: groups[preset] for preset in sorted(groups)}


def _overall(preset: str, group: Sequence[Results], laid: dict[str, Layout | str], seed: int) -> Tiers:
    whole = {m: one for m, one in laid.items() if not isinstance(one, str) and not one.left_out}
    materials = max((one.materials for one in whole.values()), key=len, default=())
    used = {m: one for m, one in whole.items() if one.materials == materials}
    if not used:
        return Tiers(preset, "", (), None, note="no column in which all models can be compared")
    note = f"mean of {', '.join(COLUMNS[m].title for m in used)}, each in units of its spread"
    cells = [one.cells for one in used.values()]
    smallest = min(used.values(), key=lambda one: one.cells.n_cells)
    names, n = tuple(one.label for one in group), smallest.cells.n_cells
    return Tiers(preset, "", names, overall(cells, seed), n, len(materials), smallest.kind, note)


def beside_names(found: Iterable[Tiers], shown: Iterable[Results] | None = None) -> dict[str, str]:
    """What stands beside a model's name on the board: its overall tier, where there is more than one.

    shown: the results on the board; tiers under another preset than the one shown there say nothing of it.
    """
    presets = None if shown is None else {(one.label, scale_of(one)) for one in shown}
    return {
        label: f"tier {tier} of {one.ranking.tier.max()}"
        for one in found
        if not one.metric and one.ranking is not None and one.ranking.resolved
        for label, tier in zip(one.models, one.ranking.tier, strict=True)
        if presets is None or (label, one.preset) in presets
    }


def tiers_page(found: Sequence[Tiers], names: Mapping[str, str]) -> Page:
    """A table of each preset, a row for each model; `names` are what tables call a model, by label."""
    by_preset = {preset: [one for one in found if one.preset == preset] for preset in dict.fromkeys(t.preset for t in found)}
    tables = [table for preset, own in by_preset.items() for table in _sections(preset, own, names)]
    more = tuple(record for one in found for record in _records(one, names))
    return Page("tiers", "Which models can be told apart", tuple(ABOUT.split("\n\n")), tuple(tables), (), more)


def _records(one: Tiers, names: Mapping[str, str]) -> list[dict[str, Any]]:
    column = one.metric or "overall"
    base: dict[str, Any] = {"preset": one.preset, "column": column, "part": "tier", "source": "measured", "note": one.note}
    if one.ranking is None:
        return [base | {"reason": NOT_RESOLVABLE, "detail": one.note}]
    r, rows = one.ranking, []
    for k in np.argsort(-r.mean, kind="stable"):
        model = base | {"model": names.get(one.models[k], one.models[k]), "n": one.n_cells}
        tier = {"value": int(r.tier[k])} if r.resolved else {"reason": NOT_RESOLVABLE}
        rows += [model | tier, model | {"part": "P(rank 1)", "value": float(r.p_first[k])}]
        rows.append(model | {"part": "mean, higher is better", "value": float(r.mean[k])})
    return [*rows, base | {"part": "smallest gap", "value": float(r.smallest_gap), "n": one.n_cells}]


def _gap(found: Ranking) -> str:
    return significant(found.smallest_gap) if math.isfinite(found.smallest_gap) else "none"


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.2f}"


def _sections(preset: str, found: Sequence[Tiers], names: Mapping[str, str]) -> list[Table]:
    """The models of a preset, best overall first: a table for each group of columns in which they can be compared."""
    title = f"Preset {preset or 'unknown'}"
    compared = [one for one in found if one.ranking is not None]
    if not compared:
        return [Table(title, "", ("model",), (), (), (f"Nothing to compare: {_why(found)}.",))]
    models = _ordered(compared)
    groups: dict[str, list[Tiers]] = {}
    for one in compared:
        groups.setdefault(COLUMNS[one.metric].group if one.metric else "overall", []).append(one)
    silent = [one.title for one in found if one.ranking is None]
    tables = [_section(f"{title}: {group[0].lower()}{group[1:]}", own, models, names) for group, own in groups.items()]
    last = (f"Preset {preset}: fewer than two models can be compared in {', '.join(silent)}.",) if silent else ()
    return [*tables[:-1], replace(tables[-1], notes=(*tables[-1].notes, *last))]


def _ordered(compared: Sequence[Tiers]) -> list[str]:
    """Labels by the first of these rankings, those that are not in it last."""
    first = compared[0]
    found = [first.models[k] for k in np.argsort(-first.ranking.mean, kind="stable")] if first.ranking is not None else []
    return list(dict.fromkeys([*found, *(name for one in compared for name in one.models)]))


def _section(title: str, compared: Sequence[Tiers], models: Sequence[str], names: Mapping[str, str]) -> Table:
    rows = [(Cell((names.get(name, name),)), *(Cell(_lines(one, name)) for one in compared)) for name in models]
    gaps = [Cell((_gap(one.ranking),)) for one in compared if one.ranking is not None]
    sizes = [Cell((f"{one.n_cells} {one.kind}, {one.n_materials} material{'s' * (one.n_materials > 1)}",)) for one in compared]
    rows += [(Cell(("smallest gap",)), *gaps), (Cell(("cells",)), *sizes)]
    notes = tuple(f"{one.title}: {one.note}." for one in compared if one.note)
    return Table(title, "", ("model",), tuple(one.title for one in compared), tuple(rows), notes)


def _why(found: Sequence[Tiers]) -> str:
    return found[0].note if len(found) == 1 else "fewer than two models can be compared"


def _lines(one: Tiers, name: str) -> tuple[str, ...]:
    """Tier and P(rank 1) of a model in a column, a dash where nothing is told apart."""
    if one.ranking is None or name not in one.models:
        return ("left out",)
    k = one.models.index(name)
    share = _share(one.ranking.p_first[k])
    tier = f"tier {one.ranking.tier[k]}" if one.ranking.resolved else NOT_TOLD
    return (tier, f"P {share}") if share else (tier,)
