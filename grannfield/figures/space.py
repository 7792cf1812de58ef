"""Where the mobile ions go: their ways over their density, and slices of the density, model beside reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.curves import Curves
from grannfield.curves.space import best_of_reference
from grannfield.data.material import Material, load_material
from grannfield.figures.colours import REFERENCE
from grannfield.figures.projection import View, atoms, clipped, frame, isolines, pieces, scale_bar
from grannfield.figures.sheet import FONT, SMALL, TWO_COLUMNS, Sheet, constrained, cut, not_available, pages, stem
from grannfield.figures.shown import Shown, formula_text
from grannfield.score import NotAvailable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "ways of the mobile ions (S23-S25) and slices of their density, model beside reference"
COLUMNS = 4
PER_PAGE = 11
"""Models on a page, beside the reference."""
BELOW = 1.6
"""Å left free below the cell, for the scale."""
SLAB = 0.75
"""Å on either side of a slice's plane."""


def sheets(shown: Shown) -> Iterator[Sheet]:
    """For each material: ways over projected densities, and slices; the reference first on every page."""
    for formula in shown.formulas:
        who = [one.label for one in shown.results if formula in one.materials]
        parts = pages(who, PER_PAGE)
        for k, labels in enumerate(parts):
            page = str(k + 1) if len(parts) > 1 else ""
            yield from _of_material(shown, formula, labels, page)


def _of_material(shown: Shown, formula: str, labels: list[str], page: str) -> Iterator[Sheet]:
    curves = {label: shown.curves(label, formula) for label in labels}
    name = formula_text(formula)
    told = "; ".join(_told(label, one) for label, one in curves.items())
    symmetric = "symmetrised over the space group, smoothed by 0.3 Å"
    yield Sheet(
        "paths", stem("paths", formula, page), f"Ways of the mobile ions in {name}",
        f"Ways of all mobile ions (lines, means over 100 fs, in the framework's frame, the longest run without its failure) over "
        f"their density in the same runs (shades: 20, 40, 60 and 80% of the maximum of each, {symmetric}), projected along the "
        f"shortest lattice vector; dots and blue units: the ideal framework. {told}.",
        f"Projections of {name}: where lithium goes in each model and in the reference.",
        lambda figure: _draw(figure, shown, formula, curves, _ways), material=formula, reference=shown.reference,
    )  # fmt: skip
    yield Sheet(
        "density", stem("density", formula, page), f"Density of the mobile ions in {name}",
        f"Slice of {2 * SLAB:g} Å about the plane that holds most of the reference's ions: the model's density (shades) and "
        f"the reference's at the same temperature (black isolines), both at 20, 40, 60 and 80% of the reference's maximum in "
        f"the slice, {symmetric}. The overlap of what is drawn is sum min(p, q) over the whole cell, from runs of unequal "
        f"length: the board has it at equal length, with its floor. {told}.",
        f"Slices through {name}: density of lithium in each model with the reference's isolines.",
        lambda figure: _draw(figure, shown, formula, curves, _slice), material=formula, reference=shown.reference,
    )  # fmt: skip


def _told(label: str, curves: Curves) -> str:
    if curves.density is None:
        return f"{label}: n/a"
    d = curves.density
    return f"{label}: {d.temperature:g} K, n = {d.frames} frames beside {d.reference_frames}"


def _draw(figure: Figure, shown: Shown, formula: str, curves: dict[str, Curves], panel: Any) -> None:
    material = load_material(formula)
    view = View.of(material.structure.cell)
    sides = np.ptp(view.outline(), axis=0) + np.array([0.8, 2.4])
    columns = min(COLUMNS, len(curves) + 1)
    rows = -(-(len(curves) + 1) // columns)
    width = TWO_COLUMNS * columns / COLUMNS
    constrained(figure, width, 0.25 + rows * (0.42 + (width / columns - 0.1) * sides[1] / sides[0]))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[len(curves) + 1 :]:
        spare.set_axis_off()
    usual = Counter(one.density.temperature for one in curves.values() if one.density is not None)
    _reference_panel(axes[0], shown, formula, view, partial(panel, axes[0], material, view), usual)
    for axis, (label, one) in zip(axes[1:], curves.items(), strict=False):
        colour = shown.styles[label].colour
        axis.set_title(cut(label, 22), color=colour)
        if one.density is None or one.paths is None:
            axis.set(xticks=[], yticks=[])
            not_available(axis, one.missing.get("density", "") or one.missing.get("paths", "not kept"))
            continue
        overlap = f", overlap {one.density.overlap:.2f}" if panel is _slice else ""
        axis.set_title(f"{cut(label, 22)}\n{one.density.temperature:g} K{overlap}", color=colour, fontsize=FONT - 0.5)
        panel(axis, material, view, one.density.model, one.density.reference, one.paths.model, colour)


def _reference_panel(axis: Axes, shown: Shown, formula: str, view: View, panel: Any, usual: Counter[float]) -> None:
    """The reference at the temperature of most panels."""
    axis.set_title("reference", color=REFERENCE)
    try:
        own = shown.reference_curves(formula)
    except (NotAvailable, LookupError, ValueError, OSError) as problem:
        axis.set(xticks=[], yticks=[])
        not_available(axis, str(problem))
        return
    temperature = max(own.density, key=lambda t: (usual[t], t == best_of_reference(own)))
    axis.set_title(f"reference\n{temperature:g} K", color=REFERENCE, fontsize=FONT - 0.5)
    density = own.density[temperature]
    panel(density, density, own.paths[temperature][1], REFERENCE)
    scale_bar(axis, view, SMALL)


def _ways(
    axis: Axes, material: Material, view: View, density: np.ndarray, reference: np.ndarray, ways: np.ndarray, colour: str
) -> None:
    """Ways of the ions over their projected density."""
    from matplotlib.collections import LineCollection

    projected = view.summed(density)
    isolines(axis, view, projected, float(projected.max()), filled="Greys")
    found = [piece for way in ways for piece in pieces(view, way)]
    lines = LineCollection(found, colors=colour, linewidths=0.45, alpha=0.8, zorder=3)
    axis.add_collection(lines)
    clipped(axis, view, lines)
    frame(axis, view, below=BELOW)
    atoms(axis, view, material, 0.45, mobile=False)


def _slice(
    axis: Axes, material: Material, view: View, density: np.ndarray, reference: np.ndarray, ways: np.ndarray, colour: str
) -> None:
    """A slab of the density, with the reference's isolines."""
    weights = slab(view, reference)
    other = view.summed(reference, weights)
    own = view.summed(density, weights)
    top = float(other.max())
    isolines(axis, view, own, top, filled="Greens")
    isolines(axis, view, other, top, colour=REFERENCE, width=0.5)
    frame(axis, view, below=BELOW)


def slab(view: View, reference: np.ndarray) -> np.ndarray:
    """[W] weights of the planes within 0.75 Å of the one that holds most of the reference's ions; they add up to 1."""
    planes = np.moveaxis(reference, view.along, 0)
    densest = int(planes.sum(axis=(1, 2)).argmax())
    n = len(planes)
    height = abs(np.linalg.det(view.cell)) / np.linalg.norm(np.cross(view.cell[view.across], view.cell[view.up]))
    distance = np.abs((np.arange(n) - densest + n / 2) % n - n / 2) * height / n
    inside = (distance <= SLAB + 1e-9).astype(float)
    return np.asarray(inside / inside.sum())
