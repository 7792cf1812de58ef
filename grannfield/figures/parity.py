"""Parity of forces per element and axis, and of energies: counts of predicted against reference values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.analysis.errors import AXES
from grannfield.curves import Curves
from grannfield.curves.kinds import EnergyParity, ForceParity, Parity
from grannfield.figures.colours import REFERENCE
from grannfield.figures.sheet import FONT, FOOT, SMALL, TWO_COLUMNS, Sheet, cut, not_available, stem
from grannfield.figures.shown import Shown, formula_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "energy and force parity per element and component (S1-S11 c-n)"
GAP = 6
"""Empty cells between the histograms of a block, in bins."""
TINY = 5.5
"""Points, inside histograms."""
COLOUR_MAP = "viridis"


def sheets(shown: Shown) -> Iterator[Sheet]:
    """One figure per model: a column of panels for each material."""
    for label in shown.labels:
        formulas = [f for f in shown.formulas if f in shown.one(label).materials]
        found = {formula: shown.curves(label, formula) for formula in formulas}
        told = "; ".join(f"{formula_text(f)}: {_told(one)}" for f, one in found.items())
        yield Sheet(
            "parity", stem("parity", label), f"Energies and forces of {label} against the reference's",
            "Top: energies per atom, each side less its own mean (one offset is not determined), coloured by temperature; R² is "
            "of these. Below: counts of force components, reference across and prediction upwards, for each element (rows) and "
            "axis (columns), on a logarithmic colour scale; a row's histograms reach to the force written at its left, which "
            f"99.9% of components do not exceed. Grey: equality. R² with its 95% interval and n in figures.json and on the "
            f"board. {told}.",
            "; ".join(f"{formula_text(f)}: {_alt(one)}" for f, one in found.items()),
            lambda figure, label=label, found=found: _draw(figure, shown, label, found),  # type: ignore[misc]
            model=label, reference=shown.reference,
        )  # fmt: skip


def _told(curves: Curves) -> str:
    p = curves.parity
    if p is None:
        return f"n/a: {curves.missing.get('parity', 'not run')}"
    rows = []
    for element in dict.fromkeys(e for e, _ in p.forces):
        parts = [p.forces[element, axis] for axis in AXES if (element, axis) in p.forces]
        words = ", ".join(f"{axis} {_interval(one.r2)}" for axis, one in zip(AXES, parts, strict=False))
        rows.append(f"{element} (n = {parts[0].n} components each) R² {words}")
    return f"n = {p.n} frames ({p.held_out}); {'; '.join(rows)}"


def _interval(of: tuple[float, float, float]) -> str:
    return f"{of[0]:.3f} [{of[1]:.3f}, {of[2]:.3f}]" if np.isfinite(of[0]) else "n/a"


def _alt(curves: Curves) -> str:
    if curves.parity is None:
        return "n/a"
    values = [one.r2[0] for one in curves.parity.forces.values()]
    return f"force R² between {min(values):.3f} and {max(values):.3f} over elements and axes"


def _draw(figure: Figure, shown: Shown, label: str, found: dict[str, Curves]) -> None:
    elements = max([len({e for e, _ in one.parity.forces}) for one in found.values() if one.parity], default=3)
    left, right, top, between, energy, gap = 0.62, 0.1, 0.5, 0.52, 1.3, 0.55
    columns = max(1, len(found))
    block = (TWO_COLUMNS - left - right - (columns - 1) * gap) / columns
    tall = block / 3 * elements
    height = top + energy + between + tall + 0.22 + FOOT
    figure.set_size_inches(TWO_COLUMNS, height)
    for k, (formula, curves) in enumerate(found.items()):
        x = (left + k * (block + gap)) / TWO_COLUMNS
        upper = figure.add_axes((x, 1 - (top + energy) / height, block / TWO_COLUMNS, energy / height))
        upper.set_title(formula_text(formula))
        parity = curves.parity
        if parity is None:
            not_available(upper, curves.missing.get("parity", "not run"))
            upper.set(xticks=[], yticks=[])
            continue
        _energies(upper, parity.energy, k == 0)
        own = len({e for e, _ in parity.forces}) / elements
        lower = figure.add_axes((x, 1 - (top + energy + between + tall * own) / height, block / TWO_COLUMNS, tall * own / height))
        _forces(lower, parity)
    figure.suptitle(cut(label, 80), color=shown.styles[label].colour, y=1 - 0.05 / height, va="top")


def _energies(axis: Axes, energy: EnergyParity, named: bool) -> None:
    """Energies, hotter runs redder."""
    own, other = 1e3 * energy.predicted, 1e3 * energy.reference
    reach = 1.08 * float(max(np.abs(own).max(), np.abs(other).max(), 1e-9))
    axis.plot([-reach, reach], [-reach, reach], color="0.6", linewidth=0.6, zorder=1)
    kelvin = np.unique(energy.temperature[np.isfinite(energy.temperature)])
    colours = dict(zip(kelvin, ("#5b8db8", "#c9a227", "#b2421f", "#6a3d9a", "#333333"), strict=False))
    for temperature in [*kelvin, *([] if len(kelvin) else [np.nan])]:
        chosen = energy.temperature == temperature if len(kelvin) else np.ones(len(own), dtype=bool)
        axis.scatter(
            other[chosen], own[chosen], s=2.5, color=colours.get(temperature, "#333333"), linewidths=0, rasterized=True, zorder=2,
            label=f"{temperature:g} K" if len(kelvin) else None,
        )  # fmt: skip
    spread = float(((other - other.mean()) ** 2).sum())
    r2 = f"{1 - float(((own - other) ** 2).sum()) / spread:.3f}" if spread > 0 else "n/a"
    axis.text(0.97, 0.04, f"R² {r2}\nn = {len(own)}", transform=axis.transAxes, ha="right", va="bottom", fontsize=SMALL)
    if len(kelvin):
        axis.legend(fontsize=TINY, markerscale=2, handletextpad=0.0, borderpad=0.0, labelspacing=0.2, loc="upper left")
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axis.set_xlabel("reference (meV/atom)", labelpad=1)
    if named:
        axis.set_ylabel("predicted\n(meV/atom)", labelpad=1)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(_three())


def _three() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3, symmetric=True)


def _forces(axis: Axes, parity: Parity) -> None:
    """All histograms of a material as one picture: elements from top to bottom, axes from left to right."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm

    elements = list(dict.fromkeys(e for e, _ in parity.forces))
    picture, corners = tiled(parity, elements)
    axis.imshow(
        np.ma.masked_less(picture, 1), origin="upper", cmap=COLOUR_MAP, norm=LogNorm(1, max(2, np.nanmax(picture))),
        interpolation="nearest", aspect="equal",
    )  # fmt: skip
    boxes, diagonals = [], []
    for (element, name), (row, column) in corners.items():
        x, y, size = column - 0.5, row - 0.5, parity.forces[element, name].counts.shape[0]
        boxes.append([(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)])
        diagonals.append([(x, y + size), (x + size, y)])
        axis.text(x + 4, y + 4, f"{parity.forces[element, name].r2[0]:.3f}", fontsize=TINY + 0.5, va="top")
        if row == 0:
            axis.text(x + size / 2, y - 2, f"F{name}", ha="center", va="bottom", fontsize=FONT - 1)
        if name == AXES[0]:
            _row_name(axis, element, parity.forces[element, name], x, y + size / 2)
    axis.add_collection(LineCollection(boxes, colors=REFERENCE, linewidths=0.5))
    axis.add_collection(LineCollection(diagonals, colors="0.6", linewidths=0.5))
    axis.set(xlim=(-1.5, picture.shape[1] + 0.5), ylim=(picture.shape[0] + 0.5, -1.5))
    axis.set_axis_off()


def _row_name(axis: Axes, element: str, one: ForceParity, x: float, y: float) -> None:
    axis.text(x - 3, y, f"{element}\n±{one.edges[-1]:.2g}\neV/Å", ha="right", va="center", fontsize=SMALL, linespacing=1.1)
    axis.text(
        x + one.counts.shape[0] - 2, y + one.counts.shape[0] / 2 - 2, f"n={_short(one.n)}", ha="right", va="bottom", fontsize=TINY
    )


def _short(n: int) -> str:
    """A count in three characters or so.

    >>> _short(950), _short(12000), _short(3_200_000)
    ('950', '12k', '3.2M')
    """
    return str(n) if n < 1000 else f"{n / 1e3:.3g}k" if n < 1_000_000 else f"{n / 1e6:.2g}M"


def tiled(parity: Parity, elements: list[str]) -> tuple[np.ndarray, dict[tuple[str, str], tuple[int, int]]]:
    """Counts of all histograms in one picture, reference to the right, prediction upwards; where each begins (row, column)."""
    size = next(iter(parity.forces.values())).counts.shape[0]
    step = size + GAP
    picture = np.zeros((len(elements) * step - GAP, len(AXES) * step - GAP))
    corners = {}
    for i, element in enumerate(elements):
        for j, axis in enumerate(AXES):
            picture[i * step : i * step + size, j * step : j * step + size] = parity.forces[element, axis].counts.T[::-1]
            corners[element, axis] = i * step, j * step
    return picture, corners
