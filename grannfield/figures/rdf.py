"""Radial distribution functions: all models with their verdicts, and every pair of one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.curves import Curves
from grannfield.curves.kinds import Rdf
from grannfield.figures.colours import REFERENCE, verdict_colour
from grannfield.figures.sheet import FONT, SMALL, Sheet, cut, grid, not_available, pages, stacked, stem
from grannfield.figures.shown import Shown, formula_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "g(r) of every model with its verdicts (Fig. 3), and of all pairs of species per model (S12-S22)"
PER_PAGE = 6
COLUMNS = 4
CONDITIONS = "Bins of 0.1 Å, production frames 20 fs apart and before any failure"


def sheets(shown: Shown) -> Iterator[Sheet]:
    """g(r) of all atoms for models x materials, then all pairs of each model."""
    parts = pages(shown.labels, PER_PAGE)
    for k, labels in enumerate(parts):
        found = {(label, formula): shown.curves(label, formula) for label in labels for formula in shown.formulas}
        page = str(k + 1) if len(parts) > 1 else ""
        yield Sheet(
            "verdicts", stem("verdicts", page), "g(r) of all atoms and its verdict",
            "g(r) of all atoms, model (colour) and reference at the same temperature (black), of the worst run of each model "
            "among those with enough frames before any failure: a failed one first, then the one farthest off. "
            "The verdict is by the rule of the column "
            f"RDF MAE: stable below max(0.02, 1.5 x floor). {CONDITIONS}; n counts frames. {shown.conditions(labels)}",
            "; ".join(_alt(key, one) for key, one in found.items()),
            lambda figure, labels=labels, found=found: _verdicts(figure, shown, labels, found),  # type: ignore[misc]
            reference=shown.reference,
        )  # fmt: skip
    for label in shown.labels:
        formulas = [f for f in shown.formulas if f in shown.one(label).materials]
        of_model = {formula: shown.curves(label, formula) for formula in formulas}
        told = "; ".join(f"{formula_text(f)}: {_frames(one)}" for f, one in of_model.items())
        yield Sheet(
            "rdf", stem("rdf", label), f"g(r) of {label}",
            f"g(r) of all atoms and of all pairs of species, {label} (colour) and reference at the same temperature (black), one "
            f"above the other where there are several temperatures; repeats of a temperature are averaged by their frames. "
            f"{CONDITIONS}. {told}. {shown.conditions([label])}",
            f"Radial distribution functions of {label} beside the reference's in {', '.join(map(formula_text, of_model))}.",
            lambda figure, label=label, of_model=of_model: _pairs(figure, shown, label, of_model),  # type: ignore[misc]
            model=label, reference=shown.reference,
        )  # fmt: skip


def _frames(curves: Curves) -> str:
    used = {(r.temperature, r.replica) for r in curves.rdf or ()}
    notes = [f"{n.temperature:g} K n = {n.spread_frames} frames" for n in curves.runs if (n.temperature, n.replica) in used]
    return ", ".join(notes) or f"n/a: {curves.missing.get('rdf', 'not run')}"


def _alt(key: tuple[str, str], curves: Curves) -> str:
    worst = worst_run(curves)
    return f"{key[0]} in {formula_text(key[1])}: {'n/a' if worst is None else worst.verdict}"


def worst_run(curves: Curves) -> Rdf | None:
    """g(r) of all atoms of the run with the worst verdict; None without one."""
    whole = [one for one in curves.rdf or () if one.pair == "all"]
    return max(whole, key=lambda one: (one.verdict != "stable", float(np.abs(one.g - one.g_reference).mean())), default=None)


def _verdicts(figure: Figure, shown: Shown, labels: list[str], found: dict[tuple[str, str], Curves]) -> None:
    axes = grid(
        figure, len(labels), len(shown.formulas), panel_height=1.1, left=0.72, gap=(0.36, 0.12), sharex=True, sharey="col"
    )
    for row, label in zip(axes, labels, strict=True):
        for axis, formula in zip(row, shown.formulas, strict=True):
            worst = worst_run(found[label, formula])
            if worst is None:
                not_available(axis, found[label, formula].missing.get("rdf", "not run"), 34)
                continue
            axis.plot(worst.r, worst.g_reference, color=REFERENCE, linewidth=0.8)
            axis.plot(worst.r, worst.g, color=shown.styles[label].colour, linewidth=1.1)
            mae = float(np.abs(worst.g - worst.g_reference).mean())
            n = next((x.spread_frames for x in found[label, formula].runs if (x.temperature, x.replica) == worst[:2]), 0)
            colour, weight = verdict_colour(worst.verdict), "bold"
            axis.text(
                0.97, 0.97, worst.verdict, transform=axis.transAxes, va="top", ha="right", color=colour, fontsize=FONT,
                fontweight=weight,
            )  # fmt: skip
            words = f"{worst.temperature:g} K\nMAE {mae:.3f}\nn = {n}"
            axis.text(0.97, 0.8, words, transform=axis.transAxes, va="top", ha="right", fontsize=SMALL)
        row[0].set_ylabel(f"{stacked(label)}\ng(r)", color=shown.styles[label].colour)
    for axis, formula in zip(axes[0], shown.formulas, strict=True):
        axis.set_title(formula_text(formula))
    for axis in axes[-1]:
        axis.set_xlabel("r (Å)")
        axis.set_xlim(0, 6)
    _few_ticks(axes)
    for axis in axes[0]:
        axis.set_ylim(top=1.3 * axis.get_ylim()[1])  # room for the words above the curves


def _few_ticks(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in axes.ravel():
        axis.yaxis.set_major_locator(MaxNLocator(3))
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axis.set_ylim(bottom=0)


def averaged(curves: Curves) -> dict[tuple[str, float], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By pair and temperature: r, g of all runs there weighted by their frames, and the reference's."""
    frames = {(note.temperature, note.replica): note.spread_frames for note in curves.runs}
    groups: dict[tuple[str, float], list[Rdf]] = {}
    for one in curves.rdf or ():
        groups.setdefault((one.pair, one.temperature), []).append(one)
    found = {}
    for key, runs in groups.items():
        weights = np.array([max(1, frames.get((one.temperature, one.replica), 1)) for one in runs], dtype=float)
        g = np.average([one.g for one in runs], axis=0, weights=weights)
        found[key] = runs[0].r, g, runs[0].g_reference
    return found


def _pairs(figure: Figure, shown: Shown, label: str, of_model: dict[str, Curves]) -> None:
    """Blocks of small panels, one for each material, four in a row."""
    names = {f: list(dict.fromkeys(r.pair for r in one.rdf or ())) for f, one in of_model.items()}
    rows = {f: max(1, -(-len(pairs) // COLUMNS)) for f, pairs in names.items()}
    axes = grid(figure, max(1, sum(rows.values())), COLUMNS, panel_height=0.92, left=0.62, top=0.3, gap=(0.28, 0.2), sharex=True)
    first = 0
    for formula, curves in of_model.items():
        block = axes[first : first + rows[formula]]
        first += rows[formula]
        block[0, 0].set_ylabel(f"{formula_text(formula)}\ng(r)")
        for axis in block.ravel()[max(1, len(names[formula])) :]:
            axis.set_axis_off()
        if not names[formula]:
            not_available(block[0, 0], curves.missing.get("rdf", "not run"), 24)
        means = averaged(curves)
        for axis, pair in zip(block.ravel(), names[formula], strict=False):
            _stacked(axis, pair, {t: means[p, t] for p, t in means if p == pair}, shown.styles[label].colour)
    for k in range(COLUMNS):
        shown_here = [axis for axis in axes[:, k] if axis.axison]
        if shown_here:
            shown_here[-1].set_xlabel("r (Å)")
            shown_here[-1].tick_params(labelbottom=True)
    axes[0, 0].set_xlim(0, 6)
    figure.suptitle(cut(label, 80), color=shown.styles[label].colour, y=1 - 0.04 / figure.get_figheight(), va="top")


def _stacked(axis: Axes, pair: str, means: dict[float, Any], colour: str) -> None:
    """g(r) at each temperature, one above the other."""
    from matplotlib.ticker import MaxNLocator

    step = 1.05 * max(float(max(g.max(), other.max())) for _, g, other in means.values())
    for k, (temperature, (r, g, other)) in enumerate(sorted(means.items())):
        shift = k * step if len(means) > 1 else 0.0
        axis.plot(r, other + shift, color=REFERENCE, linewidth=0.7)
        axis.plot(r, g + shift, color=colour, linewidth=0.9)
        if len(means) > 1 and pair == "all":
            axis.text(0.1, shift + 0.12 * step, f"{temperature:g} K", fontsize=SMALL, va="bottom")
        if len(means) == 1 and pair == "all":
            axis.text(0.1, 0.12 * step, f"{temperature:g} K", fontsize=SMALL, va="bottom")
    axis.set_title("all atoms" if pair == "all" else pair, fontsize=FONT - 0.5, pad=2, loc="right")
    axis.set_ylim(0, None)
    axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
