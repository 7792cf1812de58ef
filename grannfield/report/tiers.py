"""reports/tiers.md: which models can be told apart, by column and overall, and how likely each is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from grannfield.analysis.ranking import Ranking, overall, ranking
from grannfield.report.board import TOP
from grannfield.report.columns import COLUMNS
from grannfield.report.formats import markdown, write_table
from grannfield.report.kinship import SELF
from grannfield.report.origins import kinship_of
from grannfield.report.paired import Layout, layout, seed_of
from grannfield.report.results import Results
from grannfield.score import significant

OVERALL = tuple(metric for metric in TOP if not COLUMNS[metric].measured_on)
"""Columns of the overall tiers; speed depends on the machine and says nothing of trust."""
NOT_RESOLVABLE = "not resolvable"
ABOUT = """Written by `grannfield report` from the stored results alone. All models of a table ran under the same preset and are
compared in the same cells: material, temperature, seed (or block of frames). **Tier**: within one, no model is told from the
best of it; paired differences, all pairs corrected together (Holm), so that at most 5% of tables of equal models show two tiers.
**P**: share of 1,000 resamples over materials, temperatures and seeds in which the model is first. **Smallest gap**: the
difference that would just have been told apart (median over pairs), in the column's unit; powers of ten for D; the distance from
the reference where closer is better. A failed run counts as worse than the worst number of its material. *Not resolvable*: one
tier, nothing is told apart. Materials enter as a sample of materials: where models rank differently on each, more seeds do not
help. What made the reference is left out."""


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
            groups.setdefault(str(one.protocol.get("preset", "")), []).append(one)
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


def beside_names(found: Iterable[Tiers]) -> dict[str, str]:
    """What stands beside a model's name on the board: its overall tier, where there is more than one."""
    return {
        label: f"tier {tier} of {one.ranking.tier.max()}"
        for one in found
        if not one.metric and one.ranking is not None and one.ranking.resolved
        for label, tier in zip(one.models, one.ranking.tier, strict=True)
    }


def write_tiers(folder: Path, found: Sequence[Tiers], names: Mapping[str, str]) -> list[Path]:
    """Write tiers.md, .csv and .tex below a reports folder; `names` are what tables call a model, by label."""
    frame = pd.DataFrame([row for one in found for row in _rows(one, names)], columns=HEADINGS)
    parts = [f"# Which models can be told apart\n\n{ABOUT}\n"]
    for preset in dict.fromkeys(one.preset for one in found):
        parts.append(_section(preset, [one for one in found if one.preset == preset], names))
    return write_table(folder / "tiers", frame, "\n".join(parts))


HEADINGS = [
    "preset",
    "column",
    "model",
    "mean, higher is better",
    "tier",
    "P(rank 1)",
    "cells",
    "materials",
    "smallest gap",
    "note",
]


def _rows(one: Tiers, names: Mapping[str, str]) -> list[list[str]]:
    if one.ranking is None:
        return [[one.preset, one.title, "", "", NOT_RESOLVABLE, "", "", "", "", one.note]]
    r = one.ranking
    counts = [str(one.n_cells), str(one.n_materials), _gap(r), one.note]
    rows = []
    for k in np.argsort(-r.mean, kind="stable"):
        tier = str(r.tier[k]) if r.resolved else NOT_RESOLVABLE
        model = names.get(one.models[k], one.models[k])
        rows.append([one.preset, one.title, model, significant(float(r.mean[k])), tier, _share(r.p_first[k]), *counts])
    return rows


def _gap(found: Ranking) -> str:
    return significant(found.smallest_gap) if math.isfinite(found.smallest_gap) else "none"


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.2f}"


def _section(preset: str, found: Sequence[Tiers], names: Mapping[str, str]) -> str:
    """The models of a preset: a row for each column."""
    models = list(dict.fromkeys(name for one in found for name in one.models))
    title = f"## Preset `{preset}`\n"
    if not models:
        return f"{title}\nNothing to compare: {found[0].note if len(found) == 1 else 'fewer than two models can be compared'}.\n"
    rows = []
    for one in found:
        row = {"column": f"**{one.title}**" if not one.metric else one.title}
        row |= {names.get(model, model): _cell(one, model) for model in models}
        n = f"{one.n_cells} {one.kind} in {one.n_materials} material{'s' * (one.n_materials > 1)}" if one.ranking else ""
        rows.append(row | {"smallest gap": _gap(one.ranking) if one.ranking else "", "cells": n})
    notes = [f"- {one.title}: {one.note}" for one in found if one.note]
    return f"{title}\n{markdown(pd.DataFrame(rows))}\n" + "\n".join(notes) + "\n"


def _cell(one: Tiers, name: str) -> str:
    if one.ranking is None or name not in one.models:
        return ""
    k = one.models.index(name)
    share = _share(one.ranking.p_first[k])
    return (f"tier {one.ranking.tier[k]}" if one.ranking.resolved else NOT_RESOLVABLE) + (f" (P {share})" if share else "")
