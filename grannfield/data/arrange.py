"""A trajectory made elsewhere, with the axes and the order of atoms of the material's own structure.

The density of the ions is compared in the frame of the ideal structure, which the centres of the tetrahedra tie to the run:
a run must have its cell turned the same way and those atoms in the same order. Neither changes an energy, a distance or a
displacement; forces turn with the axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np

from grannfield.data.structure import Structure
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import formula, number, symbol

LENGTH_TOLERANCE = 0.08
"""Relative, between lattice vectors of the run and of the ideal cell."""
ANGLE_TOLERANCE = 5.0
"""Degrees."""
SITE_TOLERANCE = 1.0
"""Å rms between mean positions of anchors and ideal sites, which are 3 Å apart and more."""

BETTER = 0.1
"""Å by which another order or other axes must fit better before they replace those of the file."""


@dataclass(frozen=True, eq=False)
class Arranged:
    """The trajectory in the material's own axes and order, and what that took."""

    trajectory: Trajectory
    notes: tuple[str, ...]


def arranged(trajectory: Trajectory, structure: Structure, anchors: tuple[str, ...], short: str) -> Arranged:
    """The same frames with the axes and atoms of the material; TrajectoryError when its composition is another.

    `anchors`: elements that stay on their sites, such as the centres of tetrahedra. Of ordered frames they are matched to
    the ideal sites by their mean positions; of unordered ones, whose sites nobody compares, only the order of the elements
    is made the same.
    """
    _same_composition(trajectory, structure.z, short)
    if trajectory.kind == "frames":
        if np.array_equal(trajectory.z, structure.z):
            return Arranged(trajectory, ())
        return Arranged(_picked(trajectory, _by_element(trajectory.z, structure.z)), (_sorted_note(structure.z),))
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for axes in _axes(np.asarray(trajectory.cell[0]), structure.cell):
        order, rms = _order_on_sites(trajectory, axes, structure, anchors)
        if best is None or rms < best[0] - BETTER:
            best = rms, axes, order
    if best is None:
        order = _by_element(trajectory.z, structure.z)
        return Arranged(_picked(trajectory, order), (_other_cell(trajectory, structure),))
    return _applied(trajectory, structure, *best)


def _applied(trajectory: Trajectory, structure: Structure, rms: float, axes: np.ndarray, order: np.ndarray) -> Arranged:
    notes = []
    if not np.array_equal(order, np.arange(len(order))):
        notes.append(_sorted_note(structure.z))
        trajectory = _picked(trajectory, order)
    turned = _turned(trajectory, axes, structure.cell)
    if turned is not trajectory:
        notes.append("axes turned into those of the material's structure, forces with them")
    if rms > SITE_TOLERANCE:
        notes.append(
            f"its framework lies {rms:.1f} Å rms from the material's ideal sites: another polymorph or a melt? "
            "the columns of Li density compare unlike things then"
        )
    return Arranged(turned, tuple(notes))


def _sorted_note(z: np.ndarray) -> str:
    return f"atoms put into the order of the material's structure ({', '.join(dict.fromkeys(symbol(int(a)) for a in z))})"


def _other_cell(trajectory: Trajectory, structure: Structure) -> str:
    shape = lambda cell: "/".join(f"{x:.2f}" for x in np.linalg.norm(cell, axis=1))  # noqa: E731
    return (
        f"its cell ({shape(trajectory.cell[0])} Å) is another setting than the material's ({shape(structure.cell)} Å): "
        "the columns of Li density compare unlike things"
    )


def _same_composition(trajectory: Trajectory, z: np.ndarray, short: str) -> None:
    found, wanted = np.sort(trajectory.z), np.sort(z)
    if np.array_equal(found, wanted):
        return
    multiple, rest = divmod(len(found), len(wanted))
    if rest == 0 and multiple > 1 and np.array_equal(found, np.repeat(wanted, multiple)):
        raise TrajectoryError(
            f"{trajectory.source} holds {formula(found)}, {multiple} cells of {short} ({formula(wanted)}); a reference has the "
            "material's own cell: give the supercell a material.toml of its own (see datasets/README.md)"
        )
    raise TrajectoryError(
        f"{trajectory.source} holds {formula(found)}, {short} is {formula(wanted)}; name another material, or correct the "
        "species if they were given"
    )


def _picked(trajectory: Trajectory, order: np.ndarray) -> Trajectory:
    forces = None if trajectory.forces is None else trajectory.forces[:, order]
    return replace(trajectory, z=trajectory.z[order], pos=trajectory.pos[:, order], forces=forces)


def _by_element(z: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[N] which atom of z goes to each place of `wanted`, atoms of one element in their own order."""
    order = np.empty(len(z), dtype=int)
    order[np.argsort(wanted, kind="stable")] = np.argsort(z, kind="stable")
    return order


def _axes(cell: np.ndarray, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Integer matrices that turn the lattice vectors of a cell into some of the same lengths and angles as the wanted ones.

    The identity comes first, then exchanged and reversed axes of the same handedness.
    """
    same_hand = np.sign(np.linalg.det(cell)) == np.sign(np.linalg.det(wanted))
    signed = [np.diag(signs)[list(order)] for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
    signed.sort(key=lambda matrix: -np.trace(matrix))
    for matrix in signed:
        if (np.linalg.det(matrix) > 0) == same_hand and _alike(matrix @ cell, wanted):
            yield matrix


def _alike(cell: np.ndarray, wanted: np.ndarray) -> bool:
    lengths, others = np.linalg.norm(cell, axis=1), np.linalg.norm(wanted, axis=1)
    if np.abs(lengths / others - 1).max() > LENGTH_TOLERANCE:
        return False
    angles = [
        np.degrees(np.arccos(np.clip((c @ c.T / np.outer(n, n))[[0, 0, 1], [1, 2, 2]], -1, 1)))
        for c, n in ((cell, lengths), (wanted, others))
    ]
    return bool(np.abs(angles[0] - angles[1]).max() < ANGLE_TOLERANCE)


def _order_on_sites(
    trajectory: Trajectory, axes: np.ndarray, structure: Structure, anchors: tuple[str, ...]
) -> tuple[np.ndarray, float]:
    """Which atom goes to each place of the structure, and how far the anchors then lie from their sites, Å rms.

    The anchors are matched to the ideal sites, whatever the origin; other atoms keep their own order within an element.
    """
    mean = np.asarray(trajectory.pos).mean(axis=0) @ np.linalg.inv(axes @ np.asarray(trajectory.cell[0]))
    order = _by_element(trajectory.z, structure.z)
    elements = [number(name) for name in anchors if number(name) in structure.z]
    if not elements:
        return order, 0.0
    best = (_apart(mean[order], structure, elements)[1], order)
    rarest = min(elements, key=lambda a: int(np.count_nonzero(structure.z == a)))
    for site in structure.fractional[structure.z == rarest]:
        found = _matched(mean, site - mean[trajectory.z == rarest][0], order, structure, trajectory.z, elements)
        rms = _apart(mean[found], structure, elements)[1]
        if rms < best[0] - BETTER:  # the order it has is kept unless another fits better
            best = rms, found
    return best[1], best[0]


def _matched(
    mean: np.ndarray, shift: np.ndarray, order: np.ndarray, structure: Structure, z: np.ndarray, elements: list[int]
) -> np.ndarray:
    """The order with each anchor on the site nearest to it after a shift, one atom to a site."""
    from scipy.optimize import linear_sum_assignment

    chosen = order.copy()
    for _ in range(2):  # with one anchor on its site, then with the mean of all of them
        for element in elements:
            places, atoms = np.flatnonzero(structure.z == element), np.flatnonzero(z == element)
            apart = mean[atoms][None] + shift - structure.fractional[places][:, None]
            apart -= np.rint(apart)
            rows, picks = linear_sum_assignment(np.square(apart @ structure.cell).sum(axis=2))
            chosen[places[rows]] = atoms[picks]
        shift = -_apart(mean[chosen], structure, elements)[0]
    return chosen


def _apart(mean: np.ndarray, structure: Structure, elements: list[int]) -> tuple[np.ndarray, float]:
    """Fractional mean [3] and rms in Å of what is left of it, between anchors and the sites of their numbers."""
    anchors = np.isin(structure.z, elements)
    apart = mean[anchors] - structure.fractional[anchors]
    guess = np.angle(np.exp(2j * np.pi * apart).mean(axis=0)) / (2 * np.pi)  # a mean that knows of periodicity
    rest = apart - guess
    rest -= np.rint(rest)
    rms = float(np.sqrt(np.square((rest - rest.mean(axis=0)) @ structure.cell).sum(axis=1).mean()))
    return guess + rest.mean(axis=0), rms


def _turned(trajectory: Trajectory, axes: np.ndarray, wanted: np.ndarray) -> Trajectory:
    """Lattice vectors exchanged by `axes`, then everything turned so that they point as the wanted ones do."""
    cell = axes @ np.asarray(trajectory.cell)
    u, _, v = np.linalg.svd(np.linalg.inv(cell[0]) @ wanted)
    rotation = u @ v
    if np.abs(rotation - np.eye(3)).max() < 1e-5:  # a box as LAMMPS turns it is often off by 1e-4
        return trajectory if np.array_equal(axes, np.eye(3)) else replace(trajectory, cell=cell)
    forces = None if trajectory.forces is None else trajectory.forces @ rotation
    return replace(trajectory, cell=cell @ rotation, pos=trajectory.pos @ rotation, forces=forces)
