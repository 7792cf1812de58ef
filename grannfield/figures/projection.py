"""A crystal seen along one lattice vector: where atoms, densities and ways come to lie on paper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield import units
from grannfield.data.material import Material
from grannfield.figures.colours import ELEMENTS, QUIET, REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("a", "b", "c")
LIGANDS = 4
SIZES = {"Li": 5.0, "P": 9.0, "Ge": 11.0, "S": 9.0}
"""Areas of atoms in square points."""
LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Isolines, as shares of the largest projected density of the reference."""


@dataclass(frozen=True, eq=False)
class View:
    """The plane on which a cell is seen along its shortest lattice vector."""

    cell: np.ndarray
    """[3, 3] Å."""
    along: int
    across: int
    """Lattice vector that lies horizontally."""
    up: int

    @classmethod
    def of(cls, cell: np.ndarray) -> View:
        """Along the shortest vector, the longer of the others upright unless that makes the picture too tall."""
        lengths = np.linalg.norm(cell, axis=1).round(6)
        along = int(lengths.argmin())
        first, second = (k for k in range(3) if k != along)
        across, up = (first, second) if lengths[first] >= lengths[second] else (second, first)
        return cls(np.asarray(cell, dtype=float), along, across, up)

    @property
    def axes(self) -> np.ndarray:
        """[3, 2] Å Cartesian to paper."""
        w = self.cell[self.along] / np.linalg.norm(self.cell[self.along])
        first = self.cell[self.across] - (self.cell[self.across] @ w) * w
        first = first / np.linalg.norm(first)
        second = np.cross(w, first)
        second = second * np.sign(second @ self.cell[self.up])
        return np.stack([first, second], axis=1)

    def onto(self, pos: np.ndarray) -> np.ndarray:
        """[..., 2] Å of positions [..., 3] Å."""
        return np.asarray(pos @ self.axes)

    def outline(self) -> np.ndarray:
        """[5, 2] Å, the cell."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], dtype=float)
        return corners @ self.onto(self.cell[[self.across, self.up]])

    def summed(self, density: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """[U, V] a density [A, B, C] summed along the view, as the mean of its planes (times weights)."""
        planes = np.moveaxis(density, (self.across, self.up, self.along), (0, 1, 2))
        return np.asarray(planes.mean(axis=2) if weights is None else planes @ weights)

    def places(self, shape: tuple[int, int], margin: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y [U + 2m, V + 2m] in Å of voxel centres, `margin` voxels beyond the cell."""
        fractions = [(np.arange(-margin, n + margin) + 0.5) / n for n in shape]
        grid = np.stack(np.meshgrid(*fractions, indexing="ij"), axis=-1) @ self.onto(self.cell[[self.across, self.up]])
        return grid[..., 0], grid[..., 1]


def frame(axes: Axes, view: View, margin: float = 0.4, below: float = 0.8) -> None:
    """The cell's outline, equal scales, no ticks, a bar of 5 Å and the names of the lattice vectors."""
    outline = view.outline()
    axes.plot(*outline.T, color=REFERENCE, linewidth=0.6, zorder=5)
    low, high = outline.min(axis=0) - margin, outline.max(axis=0) + margin
    axes.set(xlim=(low[0], high[0]), ylim=(low[1] + margin - max(below, margin), high[1]), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def scale_bar(axes: Axes, view: View, fontsize: float) -> None:
    """5 Å and the lattice vectors, below the cell."""
    outline = view.outline()
    low, high = outline.min(axis=0), outline.max(axis=0)
    y = low[1] - 0.9
    axes.plot([low[0], low[0] + 5], [y, y], color=REFERENCE, linewidth=1.2, clip_on=False, solid_capstyle="butt")
    axes.text(low[0] + 5.3, y, "5 Å", va="center", ha="left", fontsize=fontsize)
    words = f"{NAMES[view.across]}→ {NAMES[view.up]}↑ along {NAMES[view.along]}"
    axes.text(high[0], y, words, va="center", ha="right", fontsize=fontsize, color=QUIET)


def wrapped(values: np.ndarray, margin: int) -> np.ndarray:
    """A periodic picture [U, V] continued by `margin` voxels on all sides."""
    return np.pad(values, margin, mode="wrap")


def isolines(
    axes: Axes, view: View, values: np.ndarray, top: float, *, filled: str = "", colour: str = "", width: float = 0.6
) -> None:
    """A picture [U, V] as filled steps in a colour map, as lines, or both; levels are shares of `top`."""
    margin = 3
    x, y = view.places((values.shape[0], values.shape[1]), margin)
    z = wrapped(values, margin) / top
    if filled:
        steps = [*LEVELS, max(1.0, float(z.max())) + 1e-9]
        clipped(axes, view, axes.contourf(x, y, z, levels=steps, cmap=filled, vmin=0.0, vmax=1.1, zorder=1))
    if colour:
        clipped(axes, view, axes.contour(x, y, z, levels=list(LEVELS), colors=colour, linewidths=width, zorder=3))


def clipped(axes: Axes, view: View, artist: Any) -> None:
    """Show only what lies within the cell."""
    from matplotlib.patches import Polygon

    artist.set_clip_path(Polygon(view.outline(), transform=axes.transData))


def tetrahedra(material: Material) -> list[np.ndarray]:
    """[4, 3] Å corners of every rigid unit, in one piece about its centre."""
    if material.tetrahedra is None:
        return []
    structure, (centres, ligand) = material.structure, material.tetrahedra
    ligands = structure.pos[structure.z == units.number(ligand)]
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) @ structure.cell
    everywhere = (ligands[:, None] + shifts).reshape(-1, 3)
    found = []
    for name in centres:
        for centre in structure.pos[structure.z == units.number(name)]:
            nearest = np.linalg.norm(everywhere - centre, axis=1).argsort()[:LIGANDS]
            found.append(everywhere[nearest])
    return found


def images(view: View, pos: np.ndarray, margin: float = 0.02) -> np.ndarray:
    """[m, 3] Å of all images of positions that lie in the cell or on its border."""
    fractional = (pos @ np.linalg.inv(view.cell)) % 1.0
    shifts = np.array(list(product((-1, 0, 1), repeat=3)))
    spread = (fractional[:, None] + shifts).reshape(-1, 3)
    inside = ((spread > -margin) & (spread < 1 + margin)).all(axis=1)
    return np.asarray(spread[inside] @ view.cell)


def atoms(axes: Axes, view: View, material: Material, size: float = 1.0, mobile: bool = True) -> None:
    """The ideal structure: filled tetrahedra and dots, mobile ions as open circles."""
    from matplotlib.collections import PolyCollection

    structure, ligand = material.structure, material.tetrahedra[1] if material.tetrahedra else ""
    hulls = [_hull(view.onto(corners + shift)) for corners in tetrahedra(material) for shift in _shifts(view, corners)]
    axes.add_collection(PolyCollection(hulls, facecolors="#9ecae1", edgecolors="#6a8fa8", linewidths=0.4, alpha=0.35, zorder=2))
    for z in np.unique(structure.z):
        name = units.symbol(int(z))
        if name == material.mobile_ion and not mobile:
            continue
        where = view.onto(images(view, structure.pos[structure.z == z]))
        open_circle = name == material.mobile_ion
        order = 4.0 if name == ligand else 4.5
        axes.scatter(
            where[:, 0], where[:, 1], s=SIZES.get(name, 8.0) * size, zorder=order, linewidths=0.5, label=name,
            facecolors="white" if open_circle else ELEMENTS.get(name, "#999999"),
            edgecolors=ELEMENTS.get(name, "#999999") if open_circle else "#444444",
        )  # fmt: skip


def _shifts(view: View, corners: np.ndarray) -> np.ndarray:
    """[m, 3] Å of the lattice vectors that bring a unit's centre into the cell or onto its border."""
    centre = corners.mean(axis=0) @ np.linalg.inv(view.cell)
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) - np.floor(centre)
    there = centre + shifts
    inside = ((there > -0.02) & (there < 1.02)).all(axis=1)
    return np.asarray(shifts[inside] @ view.cell)


def _hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of points [n, 2] in order."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # seen edge on
        return points


def pieces(view: View, way: np.ndarray) -> list[np.ndarray]:
    """A way [P, 3] Å, unwrapped, as pieces [p, 2] inside the cell: cut where it leaves, continued on the other side."""
    inverse = np.linalg.inv(view.cell)
    cells = np.floor(way @ inverse).astype(int)
    breaks = np.flatnonzero((np.diff(cells, axis=0) != 0).any(axis=1))
    found = []
    for start, stop in zip([0, *(breaks + 1)], [*(breaks + 1), len(way)], strict=True):
        low, high = max(0, start - 1), min(len(way), stop + 1)  # with a step beyond the border, which clipping cuts
        found.append(view.onto(way[low:high] - cells[start] @ view.cell))
    return found
