"""What a reference trajectory looks like at rest in its own heat: the limits from which failure is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield import units
from grannfield.analysis.diffusion import framework_drift, mobile_atoms
from grannfield.analysis.distances import chunks, closest_approach, image_distances, nearest_vectors, pairs
from grannfield.trajectory import Trajectory, TrajectoryError

COORDINATION = 4
BOND_SEARCH = 5.0
"""Å within which the four ligands of a reference tetrahedron are looked for."""
MELT_WINDOW = 10_000.0
"""fs over which framework atoms are compared with their own mean position: long, so that a slow melt shows."""
MELT_INTERVAL = 20.0
SPACING_FRAMES = 20


@dataclass(frozen=True)
class Thresholds:
    """What the reference looks like, from which the failure of other runs is judged."""

    closest: dict[tuple[int, int], float]
    """Å, smallest distance of each pair of species (z_a <= z_b) in the reference."""
    bond: dict[int, float]
    """Å, mean distance of the 4 nearest ligands, for each atomic number that centres a tetrahedron."""
    ligand_z: int
    lindemann: float
    """Mean Lindemann ratio of the reference's framework (NaN without a framework)."""
    spacing: float
    """Å, mean nearest-neighbour distance within the framework (NaN without one)."""
    window: float
    """fs over which Lindemann ratios are taken, in the reference and in the runs it judges."""


def reference_thresholds(
    reference: Trajectory, mobile_z: int, centres: Sequence[str] = ("P", "Ge"), ligand: str = "S"
) -> Thresholds:
    """The reference's smallest distances, bond lengths and framework motion; every frame given is used.

    Centres that the material does not have are passed over. The Lindemann ratio is the mean of `lindemann` over the
    frames whose window is full; the window is 10 ps, or half the reference where that is shorter. Raises
    TrajectoryError without mobile ions, for unordered frames, or for fewer than 3, and ValueError when a centre has
    fewer than 4 ligands within 5 Å.
    """
    reference.require_time()
    if reference.n_frames < 3:
        raise TrajectoryError(f"a reference of {reference.n_frames} frames sets no limits; at least 3 are needed")
    i, j, kind, names = pairs(reference.z)
    closest = {
        pair: closest_approach(reference.pos, reference.cell, i[kind == k], j[kind == k])
        for k, pair in enumerate(names)
        if (kind == k).any()
    }
    ligand_z = units.number(ligand)
    sparse = reference.every(MELT_INTERVAL) if reference.duration > 3 * MELT_INTERVAL else reference
    present = [units.number(name) for name in centres if (reference.z == units.number(name)).any()]
    bond = {centre: _mean_bond(sparse, centre, ligand_z) for centre in present}
    spacing = _framework_spacing(sparse[:: max(1, sparse.n_frames // SPACING_FRAMES)], mobile_z)
    window = min(MELT_WINDOW, sparse.duration / 2)
    full = int(np.ceil(window / sparse.timestep))
    ratio = float(lindemann(sparse, mobile_z, spacing, window)[full:].mean())
    return Thresholds(closest, bond, ligand_z, ratio, spacing, window)


def lindemann(trajectory: Trajectory, mobile_z: int, spacing: float, window: float = MELT_WINDOW) -> np.ndarray:
    """Lindemann ratio [F] of the framework: rms displacement about the mean position over the neighbour distance.

    delta(t) = sqrt(<|u - <u>|²>) / spacing, with u the framework displacement after removal of its drift; the inner
    mean is over the trailing window (fs) that ends at t (all frames so far while the run is shorter), the outer one
    over the window and the framework atoms. A long window shows a slow melt, a trailing one dates it. Tetrahedra that
    turn count. NaN without framework atoms.
    """
    framework = ~mobile_atoms(trajectory.z, mobile_z)
    n_frames = trajectory.n_frames
    if not framework.any():
        return np.full(n_frames, np.nan)
    u = trajectory.pos[:, framework] - framework_drift(trajectory, mobile_z)[:, None]
    u = u - u.mean(axis=0)
    width = max(1, round(window / trajectory.timestep)) if n_frames > 1 else 1
    start = np.maximum(np.arange(n_frames) - width + 1, 0)
    length = np.arange(n_frames) - start + 1
    mean = _window_sums(u, start) / length[:, None, None]
    square = _window_sums((u**2).sum(axis=2), start) / length[:, None]
    variance = (square - (mean**2).sum(axis=2)).mean(axis=1)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)) / spacing)


def _mean_bond(trajectory: Trajectory, centre_z: int, ligand_z: int) -> float:
    """Mean distance in Å from a kind of centre to its 4 nearest ligands."""
    centres, ligands = np.flatnonzero(trajectory.z == centre_z), np.flatnonzero(trajectory.z == ligand_z)
    name = f"{units.symbol(centre_z)} and {units.symbol(ligand_z)}"
    if not len(ligands):
        raise ValueError(f"{name} form no tetrahedra: there is no {units.symbol(ligand_z)}; name another ligand")
    i, j = np.repeat(centres, len(ligands)), np.tile(ligands, len(centres))
    vectors = nearest_vectors(trajectory.pos, trajectory.cell, i, j)
    shape = (trajectory.n_frames, len(centres), -1)
    by_image = [d.reshape(shape) for d in image_distances(vectors, trajectory.cell, BOND_SEARCH)]
    nearest = np.sort(np.concatenate(by_image, axis=2), axis=2)[..., :COORDINATION]
    if nearest.shape[2] < COORDINATION or nearest.max() > BOND_SEARCH:
        raise ValueError(f"{name} form no tetrahedra: fewer than 4 ligands within {BOND_SEARCH} Å; name other centres")
    return float(nearest.mean())


def _framework_spacing(trajectory: Trajectory, mobile_z: int) -> float:
    """Mean distance in Å from a framework atom to the nearest other one (its own images included)."""
    framework = np.flatnonzero(~mobile_atoms(trajectory.z, mobile_z))
    if not len(framework):
        return float("nan")
    i, j = (index.ravel() for index in np.meshgrid(framework, framework, indexing="ij"))
    reach = float(np.linalg.norm(trajectory.cell, axis=-1).min(axis=1).max()) * (1 + 1e-9)  # up to the own image
    nearest = []
    for frames in chunks(trajectory.n_frames, len(i)):
        cell = trajectory.cell[frames]
        closest = np.full((len(cell), len(i)), np.inf)
        for distance in image_distances(nearest_vectors(trajectory.pos[frames], cell, i, j), cell, reach):
            np.minimum(closest, np.where(distance > 1e-6, distance, np.inf), out=closest)
        nearest.append(closest.reshape(len(cell), len(framework), -1).min(axis=2))
    return float(np.concatenate(nearest).mean())


def _window_sums(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    return total[1:] - total[start]
