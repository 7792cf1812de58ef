"""Figures of the study: coverage, widths, and what is claimed against what is true."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grannfield.calibrate.coverage import HOLDS, WIDEST, Row
from grannfield.calibrate.tables import QUANTITIES
from grannfield.files import write_atomically

COLOURS = {
    "grannfield": ("#0072B2", "o"),
    "pymatgen max": ("#D55E00", "v"),
    "pymatgen": ("#E69F00", "^"),
    "gemdat": ("#009E73", "s"),
    "kinisi": ("#CC79A7", "D"),
}
"""Okabe and Ito's colours, which the colour-blind tell apart, and a marker for print."""
OTHER = ("#000000", "x")


def write_figures(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """coverage, width and spread, each as SVG and PNG; ImportError without matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "grannfield"  # the same figure is the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters, not their outlines: a third of the size, and searchable
    written = []
    for name, draw in (("coverage", _coverage), ("width", _width), ("spread", _spread)):
        figure = Figure(layout="constrained")
        draw(figure, rows)
        for ending in ("svg", "png"):
            path = folder / f"{name}.{ending}"
            content = io.BytesIO()
            metadata = {"Date": None} if ending == "svg" else {"Software": None}
            figure.savefig(content, format=ending, dpi=150, metadata=metadata)  # type: ignore[arg-type]
            write_atomically(path, content.getvalue())
            written.append(path)
    return written


def _panels(figure: Any, rows: Sequence[Row], width: float, same_scale: bool) -> list[tuple[Any, str, list[str]]]:
    """One row of axes per quantity, with the conditions of each from top to bottom."""
    present = [q for q in QUANTITIES if any(row.quantity == q for row in rows)]
    names = {q: list(dict.fromkeys(row.condition for row in rows if row.quantity == q)) for q in present}
    heights = [len(names[q]) + 1.5 for q in present]
    figure.set_size_inches(width, 1.0 + 0.36 * sum(heights))
    axes = figure.subplots(len(present), 1, squeeze=False, gridspec_kw={"height_ratios": heights}, sharex=same_scale)[:, 0]
    for axis, quantity in zip(axes, present, strict=True):
        axis.set_yticks(range(len(names[quantity])), names[quantity])
        axis.set_ylim(len(names[quantity]) - 0.5, -0.5)
        axis.set_title(QUANTITIES[quantity], loc="left", fontsize="medium")
        for k in range(1, len(names[quantity])):
            axis.axhline(k - 0.5, color="0.9", linewidth=0.8, zorder=0)
    return list(zip(axes, present, [names[q] for q in present], strict=True))


def _places(rows: Sequence[Row], quantity: str, conditions: Sequence[str]) -> list[tuple[Row, float, str, str]]:
    """Rows of a quantity with their height, colour and marker: estimators side by side."""
    estimators = _estimators(rows)
    found = []
    for row in rows:
        if row.quantity == quantity:
            shift = (estimators.index(row.estimator) - (len(estimators) - 1) / 2) * 0.8 / max(len(estimators), 3)
            found.append((row, conditions.index(row.condition) + shift, *COLOURS.get(row.estimator, OTHER)))
    return found


def _estimators(rows: Sequence[Row]) -> list[str]:
    """Those that occur, in the order of the colours."""
    present = dict.fromkeys(row.estimator for row in rows)
    return [name for name in COLOURS if name in present] + [name for name in present if name not in COLOURS]


def _plain_ticks(axis: Any) -> None:
    """Powers of ten as such, and 0.2, 0.5, 2, 5 where a logarithmic axis spans less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    names = _estimators(rows)
    handles = [
        Line2D([], [], color=COLOURS.get(n, OTHER)[0], marker=COLOURS.get(n, OTHER)[1], linestyle="none", label=n) for n in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), frameon=False)


def _coverage(figure: Any, rows: Sequence[Row]) -> None:
    for axis, quantity, conditions in _panels(figure, rows, 8.0, True):
        axis.axvspan(*HOLDS, color="0.85", zorder=0, linewidth=0)
        axis.axvline(0.95, color="0.5", linewidth=0.8, zorder=1)
        for row, y, colour, marker in _places(rows, quantity, conditions):
            bars = [[row.coverage - row.coverage_low], [row.coverage_high - row.coverage]]
            face = "white" if row.no_interval == 1 else colour
            axis.errorbar(row.coverage, y, xerr=bars, fmt=marker, color=colour, markersize=5, markerfacecolor=face, zorder=2)
        axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel(
        "share of 95% intervals that contain the truth (bars: binomial 95%)\ngrey: 90-98%; hollow: states no interval"
    )
    _legend(figure, rows)


def _width(figure: Any, rows: Sequence[Row]) -> None:
    for axis, quantity, conditions in _panels(figure, rows, 8.0, False):
        axis.axvline(1.0, color="0.5", linewidth=0.8, zorder=1)
        if quantity == "D":
            axis.axvline(WIDEST, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        for row, y, colour, marker in _places(rows, quantity, conditions):
            if 0 < row.width_ratio < math.inf:
                axis.plot(row.width_ratio, y, color=colour, marker=marker, markersize=6, linestyle="none", zorder=2)
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, 0.25), max(high, 4.0))
        _plain_ticks(axis.xaxis)
    axis.set_xlabel(f"median width of the interval / 95% range of the values\nline: ideal; dashed: {WIDEST}, our limit for D")
    _legend(figure, rows)


def _spread(figure: Any, rows: Sequence[Row]) -> None:
    """Claimed against true, in units of the truth (decades for -log10 sigma): on the diagonal an error bar means what it says."""
    present = [q for q in QUANTITIES if any(row.quantity == q for row in rows)]
    figure.set_size_inches(4.2 * len(present), 4.6)
    for axis, quantity in zip(figure.subplots(1, len(present), squeeze=False)[0], present, strict=True):
        points = []
        for row in rows:
            unit = 1.0 if quantity == "neg_log_sigma" else abs(row.truth)
            if row.quantity == quantity and row.spread > 0 and 0 < row.width < math.inf:
                points.append((row.spread / unit, row.width / unit, *COLOURS.get(row.estimator, OTHER)))
        for x, y, colour, marker in points:
            axis.plot(x, y, color=colour, marker=marker, markersize=6, linestyle="none", alpha=0.85)
        axis.set_xscale("log")
        axis.set_yscale("log")
        shown = axis.get_xlim(), axis.get_ylim()
        axis.axline((1.0, 1.0), (10.0, 10.0), color="0.5", linewidth=0.8, zorder=0)
        axis.set(xlim=shown[0], ylim=shown[1])
        for side in (axis.xaxis, axis.yaxis):
            _plain_ticks(side)
        unit_text = "decades" if quantity == "neg_log_sigma" else "relative to the truth"
        axis.set_xlabel(f"true spread of the values, 95% ({unit_text})")
        axis.set_ylabel("median claimed width of the 95% interval")
        axis.set_title(QUANTITIES[quantity], loc="left", fontsize="medium")
    _legend(figure, rows)
