"""Force MAE and RDF MAE of every model in every material, with their intervals (Fig. 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from grannfield.figures.colours import BAND, QUIET, REFERENCE
from grannfield.figures.sheet import SMALL, TWO_COLUMNS, Sheet, constrained, cut
from grannfield.figures.shown import Shown, formula_text
from grannfield.report.columns import COLUMNS
from grannfield.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "force MAE and RDF MAE with intervals per model and material (Fig. 4)"
METRICS = ("force_mae", "rdf_mae")
PAPER_LIMIT = 0.02


def sheets(shown: Shown) -> Iterator[Sheet]:
    """One figure: a row of panels for each of the two errors, a column for each material."""
    if not shown.results:
        return
    counts = []
    for label in shown.labels:
        n = [shown.score(label, m, f) for m in METRICS for f in shown.formulas]
        counts.append(f"{label}: n = {', '.join('n/a' if s is None or not s.n else str(s.n) for s in n)}")
    yield Sheet(
        "errors", "errors", "Errors of forces and of g(r)",
        f"Bars: {COLUMNS['force_mae'].title} ({COLUMNS['force_mae'].unit}; {COLUMNS['force_mae'].about}) and "
        f"{COLUMNS['rdf_mae'].title}; lines: 95% intervals. Dashed: the paper's limit of {PAPER_LIMIT:g}; grey: the reference's "
        "floor, half against half, at each model's length (line) with its interval (band). Words stand for bars that the "
        f"physics gave none of. n counts frames (forces, then g(r), in the order of the materials): {'; '.join(counts)}. "
        f"{shown.conditions()}",
        "; ".join(_alt(shown, label) for label in shown.labels),
        lambda figure: _draw(figure, shown), reference=shown.reference,
    )  # fmt: skip


def _alt(shown: Shown, label: str) -> str:
    words = []
    for formula in shown.formulas:
        texts = [_short(shown.score(label, metric, formula)) for metric in METRICS]
        words.append(f"{formula_text(formula)} force MAE {texts[0]} meV/Å, RDF MAE {texts[1]}")
    return f"{label}: {', '.join(words)}"


def _short(score: Score | None) -> str:
    return "not run" if score is None else f"{score.value:.3g}" if score.outcome == "number" else f"n/a ({score.reason})"


def _draw(figure: Figure, shown: Shown) -> None:
    n = len(shown.labels)
    constrained(figure, TWO_COLUMNS, 0.9 + 2 * max(0.75, 0.2 * n + 0.3))
    axes = figure.subplots(2, len(shown.formulas), squeeze=False, sharey=True, sharex="row")
    for row, metric in zip(axes, METRICS, strict=True):
        for axis, formula in zip(row, shown.formulas, strict=True):
            _panel(axis, shown, metric, formula)
        for axis in row:
            axis.set_xlim(left=0)
            axis.set_xlabel(COLUMNS[metric].heading.removesuffix(" ↓"))
    for axis, formula in zip(axes[0], shown.formulas, strict=True):
        axis.set_title(formula_text(formula))
    axes[0, 0].set_yticks(range(n), [cut(label) for label in shown.labels])
    axes[0, 0].set_ylim(n - 0.4, -0.6)
    for row in axes:
        for tick, label in zip(row[0].get_yticklabels(), shown.labels, strict=True):
            tick.set_color(shown.styles[label].colour)


def _panel(axis: Axes, shown: Shown, metric: str, formula: str) -> None:
    """Bars of one error in one material."""
    if metric == "rdf_mae":
        axis.axvline(PAPER_LIMIT, color=REFERENCE, linewidth=0.6, linestyle="dashed", zorder=0)
    for k, label in enumerate(shown.labels):
        score = shown.score(label, metric, formula)
        if metric == "rdf_mae" and score is not None:
            _floor(axis, k, score)
        if score is None or score.outcome != "number":
            text = "not run" if score is None else f"{'error' if score.error else 'n/a'}: {score.reason}"[:36]
            axis.text(0.02, k, text, transform=axis.get_yaxis_transform(), va="center", fontsize=SMALL, color=REFERENCE)
            continue
        axis.barh(k, score.value, height=0.56, color=shown.styles[label].colour, alpha=0.85, zorder=2)
        low, high = score.interval or (math.nan, math.nan)
        if math.isfinite(low) and math.isfinite(high):
            axis.errorbar(
                score.value, k, xerr=[[score.value - low], [high - score.value]], color=REFERENCE, linewidth=0.8, zorder=3
            )


def _floor(axis: Axes, k: int, score: Score) -> None:
    """What the reference scores against itself at the model's length."""
    floor = score.parts.get("floor") or {}
    if not isinstance(floor.get("value"), float):
        return
    low, high = floor.get("interval") or (None, None)
    if low is not None and high is not None:
        axis.fill_betweenx([k - 0.42, k + 0.42], max(0.0, low), high, color=BAND, alpha=0.5, linewidth=0, zorder=1)
    axis.plot([floor["value"]] * 2, [k - 0.42, k + 0.42], color=QUIET, linewidth=1.0, zorder=4)
