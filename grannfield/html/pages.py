"""Tables beside the board: the paper's, the tiers, the deviations from the published arithmetic, the legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.html.about import Contracts
from grannfield.html.parts import Table
from grannfield.report import deviations
from grannfield.report.board import legend, row_name
from grannfield.report.columns import COLUMNS
from grannfield.report.contract import finding, measured_symmetry, short
from grannfield.report.paper import TITLES
from grannfield.report.results import Results
from grannfield.report.table1 import table1
from grannfield.report.table2 import table2
from grannfield.report.tiers import NOT_RESOLVABLE, Tiers, presets
from grannfield.score import significant

if TYPE_CHECKING:
    from pandas import DataFrame

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "closer": "closer is better"}
BADGES = {
    "stable": "mean |g - g_ref| below max(0.02, 1.5 x floor) in every run, and no failure",
    "fusion": "atoms came nearer than 0.75 of the smallest reference distance of their pair",
    "lattice mismatch": "not fused, but g(r) is farther from the reference's than that limit",
    "cold": "no failure, but the crystal has come to rest and flies as a whole: forces that do not add up to zero push it",
    "indistinguishable": "the 95% interval of the difference from the reference's own number lies inside the margin",
    "different": "zero lies outside that interval, and the difference beyond the margin",
    "undecided": "neither: more data would tell",
    "n/a": "the physics gave no number; the cell says why",
    "error": "the harness or the model broke: a fault to be mended, not a result",
}


def of_frame(caption: str, frame: DataFrame, note: str = "") -> dict[str, Any]:
    """A table of texts as a page shows it."""
    rows = [[str(text).replace("<br>", "; ") for text in row] for row in frame.itertuples(index=False)]
    return {"caption": caption, "head": [str(name).strip() for name in frame.columns], "rows": rows, "note": note}


def paper_tables(results: list[Results], contracts: Contracts) -> list[dict[str, Any]]:
    """The paper's Tables 1 and 2, ours beside the published."""
    speed = "Speeds are of the machine named in each row; the paper's of an RTX 4090."
    sigma = "n/a says why there is no number: at least three temperatures with resolved D are needed."
    first, second = table1(results, contracts), table2(results)
    return [
        of_frame("Table 1: models, epochs within the budget, speed", first, speed),
        of_frame("Table 2: -log10(sigma/(mS/cm)) at 300 K", second, sigma),
    ]


def tier_tables(found: Sequence[Tiers], results: Sequence[Results]) -> list[dict[str, Any]]:
    """For each preset, a row for each column: tier and P(rank 1) of every model, the smallest gap that can be seen."""
    names = {one.label: row_name(one) for one in results}
    made = []
    for preset in dict.fromkeys(one.preset for one in found):
        group = [one for one in found if one.preset == preset]
        models = list(dict.fromkeys(name for one in group for name in one.models))
        rows = [
            [one.title, *(tier_text(one, model) or "–" for model in models), _gap(one), _cells(one)]
            for one in group
            if one.models
        ]
        head = ["column", *(names.get(model, model) for model in models), "smallest gap", "from"]
        note = f"Nothing to compare: {group[0].note}." if group and not rows else ""
        made.append({"caption": f"Preset {preset}", "head": head, "rows": rows, "note": note})
    left = [one.label for one in results if all(one not in group for group in presets(results).values())]
    if left:
        made.append({"caption": "Without a rank", "head": [], "rows": [], "note": f"Made the reference: {', '.join(left)}."})
    return made


def tier_text(one: Tiers, label: str) -> str:
    """A model's tier in a column and how likely it is the best; empty where it has none."""
    if one.ranking is None or label not in one.models:
        return ""
    k = one.models.index(label)
    share = one.ranking.p_first[k]
    p = "" if np.isnan(share) else f", P(rank 1) {share:.2f}"
    return (f"tier {one.ranking.tier[k]} of {one.ranking.tier.max()}" if one.ranking.resolved else NOT_RESOLVABLE) + p


def _gap(one: Tiers) -> str:
    return significant(one.ranking.smallest_gap) if one.ranking and np.isfinite(one.ranking.smallest_gap) else "none"


def _cells(one: Tiers) -> str:
    return f"{one.n_cells} {one.kind}, {one.n_materials} material{'s' * (one.n_materials > 1)}" if one.ranking else ""


def deviation_table(contracts: Contracts) -> Table:
    """All models in both behaviours: what `grannfield check` measured; a claim that does not hold is marked."""
    rows = []
    for name, both in contracts.items():
        for behaviour in deviations.BEHAVIOURS:
            if behaviour in both:
                one = both[behaviour]
                cells = [_finding(finding(one, check)) for check in deviations.COLUMNS]
                rows.append(
                    [TITLES.get(name, name), behaviour, f"{one.get('n_parameters', 0):,}", *cells, measured_symmetry(one)]
                )
    return Table("", ["model", "behaviour", "parameters", *deviations.COLUMNS.values(), "symmetry measured"], rows)


def _finding(found: dict[str, Any]) -> str:
    """A measured error, with what it means for the claim."""
    if not found:
        return ""
    if found["verdict"] in ("n/a", "ERROR"):
        return "n/a" if found["verdict"] == "n/a" else "error"
    text = short(found)
    return {"FAIL": f"✕ {text}", "not judged": f"({text})"}.get(found["verdict"], text)


def deviations_about() -> str:
    """What the table of the deviations shows."""
    about = deviations.ABOUT.partition("\n\n")[2]
    return about.replace("**Bold**: a claim", "✕: a claim").replace(
        "In brackets: measured, but not\nclaimed", "Not claimed: measured only"
    )


def deviation_lists(contracts: Contracts) -> list[dict[str, Any]]:
    """What every model's default behaviour mends, in words."""
    made = []
    for name, both in contracts.items():
        latest = both.get("default") or both.get("published") or {}
        differences = [str(text) for text in latest.get("differences") or ["none: both behaviours are the same"]]
        made.append({"title": TITLES.get(name, name), "differences": differences})
    return made


def legend_texts() -> list[str]:
    """How to read a number, a verdict and a tier, as the Markdown board says it."""
    return [text.lstrip("- ").replace("`", "").replace("*", "") for text in legend(()).split("\n") if text.strip()]


def margin_texts() -> dict[str, str]:
    return {metric: f"±{c.margin:g}{' of log10' if c.log10 else ''}" for metric, c in COLUMNS.items() if c.margin is not None}
