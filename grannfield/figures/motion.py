"""How far and how fast the mobile ions move: mean squared displacements, and D against temperature."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.curves import Curves
from grannfield.curves.kinds import ArrheniusCurve, Line, Point
from grannfield.figures.colours import BAND, REFERENCE, Style
from grannfield.figures.sheet import SMALL, Sheet, grid, not_available, pages, stacked, stem
from grannfield.figures.shown import Shown, formula_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "mean squared displacements, and Arrhenius plots with intervals and the reference's band"
PER_PAGE = 6
DASHES: tuple[Any, ...] = ((0, (1, 1.5)), (0, (2, 1)), (0, (4, 1.2)), (0, (6, 1, 1, 1)), "solid")
"""Of the reference, from cold to hot."""


def sheets(shown: Shown) -> Iterator[Sheet]:
    """Two figures of models x materials."""
    for k, labels in enumerate(parts := pages(shown.labels, PER_PAGE)):
        found = {(label, formula): shown.curves(label, formula) for label in labels for formula in shown.formulas}
        page = str(k + 1) if len(parts) > 1 else ""
        yield Sheet(
            "msd", stem("msd", page), "Mean squared displacement of the mobile ions",
            "Mean squared displacement against lag, all time origins, framework drift removed, production before any failure, "
            "lags up to half of it; colour: one line a run, darker when hotter; black: reference at the same temperature, "
            "dashed when colder; bands: 95% intervals by the spread between ions. n: mobile ions, and production of each run. "
            f"{'; '.join(_msd_told(key, one) for key, one in found.items())}. {shown.conditions(labels)}",
            "; ".join(f"{k[0]} in {formula_text(k[1])}: {'n/a' if one.msd is None else 'drawn'}" for k, one in found.items()),
            lambda figure, labels=labels, found=found: _draw_msd(figure, shown, labels, found),  # type: ignore[misc]
            reference=shown.reference,
        )  # fmt: skip
        yield Sheet(
            "arrhenius", stem("arrhenius", page), "Diffusivity against temperature",
            "D of the mobile ion, all runs at a temperature together (95% intervals; n counts ions), and the Arrhenius line with "
            "its 95% band where there are at least 3 usable temperatures. Black and grey: the reference. Triangles: upper "
            "bounds, where too little moved. Ea and -log10 sigma(300 K) with 95% intervals. "
            f"{'; '.join(_d_told(key, one) for key, one in found.items())}. {shown.conditions(labels)}",
            "; ".join(_d_alt(key, one) for key, one in found.items()),
            lambda figure, labels=labels, found=found: _draw_arrhenius(figure, shown, labels, found),  # type: ignore[misc]
            reference=shown.reference,
        )  # fmt: skip


def _msd_told(key: tuple[str, str], curves: Curves) -> str:
    if curves.msd is None:
        return f"{key[0]}, {formula_text(key[1])}: n/a"
    ps = {(n.temperature, n.replica): n.production_ps for n in curves.runs}
    runs = ", ".join(f"{m.temperature:g} K {ps.get((m.temperature, m.replica), 0):.1f} ps" for m in curves.msd)
    ions = "" if curves.paths is None else f"n = {curves.paths.n_ions}, "
    return f"{key[0]}, {formula_text(key[1])}: {ions}{runs}"


def _d_told(key: tuple[str, str], curves: Curves) -> str:
    a = curves.arrhenius
    name = f"{key[0]}, {formula_text(key[1])}"
    if a is None:
        return f"{name}: n/a"
    return f"{name}: " + ", ".join(
        f"{p.temperature:g} K n = {p.n}" if not p.reason else f"{p.temperature:g} K n/a" for p in a.points
    )


def _d_alt(key: tuple[str, str], curves: Curves) -> str:
    a = curves.arrhenius
    usable = [p for p in a.points if not p.reason] if a is not None else []
    line = "with a line" if a is not None and a.line is not None else "no line"
    return f"{key[0]} in {formula_text(key[1])}: D at {len(usable)} temperatures, {line}"


def _draw_msd(figure: Figure, shown: Shown, labels: list[str], found: dict[tuple[str, str], Curves]) -> None:
    axes = grid(figure, len(labels), len(shown.formulas), panel_height=1.05, left=0.72, top=0.55, gap=(0.38, 0.28))
    looks = looks_of({m.temperature for one in found.values() for m in one.msd or ()})
    for row, label in zip(axes, labels, strict=True):
        for axis, formula in zip(row, shown.formulas, strict=True):
            _msd_panel(axis, found[label, formula], shown.styles[label].colour, looks)
        row[0].set_ylabel(f"{stacked(label)}\nMSD (Å²)", color=shown.styles[label].colour)
    _titles(axes, shown, "lag (ps)")
    _temperatures(figure, looks)


def looks_of(temperatures: set[float]) -> dict[float, tuple[float, Any]]:
    """How opaque a model's line is at each temperature and how the reference's is dashed, stronger when hotter."""
    known = sorted(temperatures)
    places = np.linspace(0, 1, len(known)) if len(known) > 1 else np.ones(1)
    return {t: (0.4 + 0.6 * float(x), DASHES[round(float(x) * (len(DASHES) - 1))]) for t, x in zip(known, places, strict=False)}


def _temperatures(figure: Figure, looks: dict[float, tuple[float, Any]]) -> None:
    """The key: a grey line for models and a black one for the reference at each temperature."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    own = [Line2D([], [], color="#b04a5a", alpha=alpha, linewidth=1.4) for alpha, _ in looks.values()]
    others = [Line2D([], [], color=REFERENCE, linestyle=dash, linewidth=0.8) for _, dash in looks.values()]
    pairs: Any = list(zip(own, others, strict=True))
    if pairs:
        names = [f"{t:g} K: model, reference" for t in looks]
        figure.legend(
            pairs, names, handler_map={tuple: HandlerTuple(ndivide=None)}, loc="upper center", ncols=min(3, len(names)),
            bbox_to_anchor=(0.5, 1.0), borderpad=0.2, handlelength=4,
        )  # fmt: skip


def _titles(axes: np.ndarray, shown: Shown, below: str) -> None:
    for axis, formula in zip(axes[0], shown.formulas, strict=True):
        axis.set_title(formula_text(formula))
    for axis in axes[-1]:
        axis.set_xlabel(below)


def _msd_panel(axis: Axes, curves: Curves, colour: str, looks: dict[float, tuple[float, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    if curves.msd is None:
        not_available(axis, curves.missing.get("msd", "not run"), 34)
        axis.set(xticks=[], yticks=[])
        return
    drawn: set[float] = set()
    for m in sorted(curves.msd, key=lambda m: (m.temperature, -m.lag_ps[-1])):
        alpha, dash = looks[m.temperature]
        axis.plot(m.lag_ps, m.msd, color=colour, alpha=alpha, linewidth=1.0)
        axis.fill_between(m.lag_ps, m.msd - m.error, m.msd + m.error, color=colour, alpha=0.16 * alpha, linewidth=0)
        if m.reference_msd is not None and m.temperature not in drawn:
            axis.plot(m.lag_ps, m.reference_msd, color=REFERENCE, linewidth=0.8, linestyle=dash)
            low, high = m.reference_msd - m.reference_error, m.reference_msd + m.reference_error
            axis.fill_between(m.lag_ps, low, high, color=REFERENCE, alpha=0.08, linewidth=0)
            drawn.add(m.temperature)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.yaxis.set_major_locator(MaxNLocator(3))


def _draw_arrhenius(figure: Figure, shown: Shown, labels: list[str], found: dict[tuple[str, str], Curves]) -> None:
    axes = grid(figure, len(labels), len(shown.formulas), panel_height=1.35, left=0.9, gap=(0.14, 0.14), sharex=True, sharey=True)
    low, high = _limits([one.arrhenius for one in found.values() if one.arrhenius is not None])
    for row, label in zip(axes, labels, strict=True):
        for axis, formula in zip(row, shown.formulas, strict=True):
            curves = found[label, formula]
            if curves.arrhenius is None:
                not_available(axis, curves.missing.get("arrhenius", "not run"), 34)
                continue
            _arrhenius_panel(axis, curves.arrhenius, shown.styles[label])
        row[0].set_ylabel(f"{stacked(label)}\nD (cm²/s)", color=shown.styles[label].colour)
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylim(low, high)
    _titles(axes, shown, "1000 K / T")


def _limits(found: list[ArrheniusCurve]) -> tuple[float, float]:
    """Ends of the axis of D: all points with room, whatever the bands do."""
    values = [
        x for one in found for p in (*one.points, *one.reference_points) for x in (p.value, p.high) if np.isfinite(x) and x > 0
    ]
    if not values:
        return 1e-7, 1e-3
    return min(values) / 300, max(values) * 20


def _arrhenius_panel(axis: Axes, curve: ArrheniusCurve, style: Style) -> None:
    for line, colour, band, alpha in (
        (curve.reference_line, REFERENCE, BAND, 0.5),
        (curve.line, style.colour, style.colour, 0.2),
    ):
        if line is not None:
            axis.fill_between(
                1e3 / line.temperature, np.maximum(line.low, 1e-30), line.high, color=band, alpha=alpha, linewidth=0
            )
            axis.plot(1e3 / line.temperature, line.diffusivity, color=colour, linewidth=0.9)
    _points(axis, curve.reference_points, Style(REFERENCE, "o", "solid"), 3.0, 0.008)
    _points(axis, curve.points, style, 4.0, -0.008)
    own = _numbers(curve.line, curve.no_line)
    axis.text(0.04, 0.04, f"model: {own}", transform=axis.transAxes, fontsize=SMALL - 0.5, color=style.colour)
    other = _numbers(curve.reference_line, curve.no_reference_line)
    axis.text(0.98, 0.98, f"reference: {other}", transform=axis.transAxes, fontsize=SMALL - 0.5, ha="right", va="top")
    axis.set_xlim(0.75, 3.4)


def _numbers(line: Line | None, why: str) -> str:
    """Ea and -log10 sigma with their intervals, or why there are none, in short lines."""
    if line is None:
        return textwrap.fill(textwrap.shorten(f"n/a, {why}", 84, placeholder=" ..."), 30)
    e, s = line.activation_energy, line.neg_log_sigma
    return f"Ea {e[0]:.2f} [{e[1]:.2f}, {e[2]:.2f}] eV\n-log σ {s[0]:.1f} [{s[1]:.1f}, {s[2]:.1f}], n = {line.n}"


def _points(axis: Axes, points: list[Point], style: Style, size: float, shift: float) -> None:
    """Values with intervals; bounds as triangles that point down."""
    for p in points:
        x = 1e3 / p.temperature + shift
        if p.reason:
            if np.isfinite(p.high) and p.high > 0:
                axis.plot(x, p.high, marker="v", color=style.colour, markersize=size, linestyle="none", markerfacecolor="white")
            continue
        low, high = (abs(end - p.value) if np.isfinite(end) else 0.0 for end in (p.low, p.high))
        axis.errorbar(
            x, p.value, yerr=[[min(low, 0.999 * p.value)], [high]], color=style.colour, marker=style.marker, markersize=size,
            elinewidth=0.8, linestyle="none",
        )  # fmt: skip
