"""Survival of the runs: the share still without a failure, with its band and what ended the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from grannfield.curves import Curves
from grannfield.figures.colours import VERDICTS
from grannfield.figures.sheet import SMALL, Sheet, grid, not_available, pages, stacked, stem
from grannfield.figures.shown import Shown, formula_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "survival (Kaplan-Meier with bands) and causes of failure"
PER_PAGE = 6


def sheets(shown: Shown) -> Iterator[Sheet]:
    """Models x materials."""
    for k, labels in enumerate(parts := pages(shown.labels, PER_PAGE)):
        found = {(label, formula): shown.curves(label, formula) for label in labels for formula in shown.formulas}
        yield Sheet(
            "survival", stem("survival", str(k + 1) if len(parts) > 1 else ""), "Survival of MD runs",
            "Share of runs still without a failure event (Kaplan-Meier, all temperatures together) and its 95% band (beta "
            "products; none for fewer than 5 runs); ticks: runs that ended without a failure. n counts runs; the mean time "
            f"without a failure is restricted to the planned length. Cold: no failure, but the crystal is at "
            f"rest and flies as a whole. {shown.conditions(labels)}",
            "; ".join(_alt(key, one) for key, one in found.items()),
            lambda figure, labels=labels, found=found: _draw(figure, shown, labels, found),  # type: ignore[misc]
            reference=shown.reference,
        )  # fmt: skip


def _alt(key: tuple[str, str], curves: Curves) -> str:
    band = curves.survival
    if band is None:
        return f"{key[0]} in {formula_text(key[1])}: n/a"
    cold = f", {band.cold} cold" if band.cold else ""
    return f"{key[0]} in {formula_text(key[1])}: {sum(band.causes.values())} of {band.n} runs failed{cold}"


def _draw(figure: Figure, shown: Shown, labels: list[str], found: dict[tuple[str, str], Curves]) -> None:
    axes = grid(
        figure, len(labels), len(shown.formulas), panel_height=0.95, left=0.76, gap=(0.14, 0.14), sharex=True, sharey=True
    )
    for row, label in zip(axes, labels, strict=True):
        for axis, formula in zip(row, shown.formulas, strict=True):
            _panel(axis, found[label, formula], shown.styles[label].colour)
        row[0].set_ylabel(f"{stacked(label)}\nsurvival", color=shown.styles[label].colour)
    lengths = [one.survival.horizon_ps for one in found.values() if one.survival is not None]
    axes[0, 0].set_xlim(0, 1.02 * max(lengths, default=1.0))
    for axis, formula in zip(axes[0], shown.formulas, strict=True):
        axis.set_title(formula_text(formula))
    for axis in axes[-1]:
        axis.set_xlabel("time (ps)")
    axes[0, 0].set_ylim(-0.04, 1.62)
    axes[0, 0].set_yticks([0, 0.5, 1])


def _panel(axis: Axes, curves: Curves, colour: str) -> None:
    band = curves.survival
    if band is None:
        not_available(axis, curves.missing.get("survival", "not run"), 34)
        return
    time = np.append(band.time_ps, band.horizon_ps)
    steps = lambda values: np.append(values, values[-1])  # noqa: E731
    if np.isfinite(band.low).all():
        axis.fill_between(time, steps(band.low), steps(band.high), step="post", color=colour, alpha=0.2, linewidth=0)
    axis.plot(time, steps(band.survival), drawstyle="steps-post", color=colour, linewidth=1.3)
    at = np.interp(band.censored_ps, band.time_ps, band.survival)
    axis.plot(band.censored_ps, at, marker="|", color=colour, linestyle="none", markersize=6)
    causes = ", ".join(f"{n} {cause}" for cause, n in band.causes.items()) or "no failure"
    causes += f", {band.cold} cold" if band.cold else ""
    low, high = band.mean_ps[1:]
    interval = f" [{low:.1f}, {high:.1f}]" if np.isfinite([low, high]).all() else ""
    axis.text(
        0.03, 0.97, f"{causes}\nmean {band.mean_ps[0]:.1f} ps{interval}, n = {band.n}", transform=axis.transAxes, va="top",
        fontsize=SMALL, color=VERDICTS["fusion"] if band.causes or band.cold else VERDICTS["stable"],
    )  # fmt: skip
