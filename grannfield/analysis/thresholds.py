"""What a reference trajectory looks like at rest in its own heat: the limits from which failure is judged."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from grannfield import units
from grannfield.analysis.diffusion import framework_drift, mobile_atoms
from grannfield.analysis.distances import chunks, closest_approach, image_distances, nearest_vectors, pairs
from grannfield.trajectory import Trajectory, TrajectoryError

FUSION_FRACTION = 0.75
"""Below this share of the smallest reference distance two atoms have fused; at 1000 K no bond is compressed so far."""
COORDINATION = 4
BOND_SEARCH = 5.0
"""Å within which the four ligands of a reference tetrahedron are looked for."""
MELT_WINDOW = 10_000.0
"""fs over which framework atoms are compared with their own mean position: long, so that a slow melt shows."""
MELT_INTERVAL = 20.0
ORIGIN_TIME = 500.0
"""fs at the beginning of a run from which framework atoms are found to have wandered: long enough to average vibration."""
WANDER_TIME = 200.0
"""fs over which wandering is averaged."""
WANDER_ORIGINS = 64
"""At most, spread evenly over a reference, from which its own wandering is averaged."""
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
    wander: float = 0.0
    """Root mean square of the reference's own `wander` ratio over time and origins; 0 for a reference too short to tell."""

    def fused_below(self, pair: tuple[int, int]) -> float:
        """Distance in Å below which a pair of species has fused: 0.75 x its smallest distance in the reference, and not more
        than its covalent bond; 0 for a pair that the reference does not have.

        Ions of like charge keep so far apart that 0.75 of it is no fusion: 4.3 Å for Ge and Ge in LGPS, which are neighbours at
        4.1 Å in Li4GeS4. Atoms further apart than a bond are not in each other, whatever else is wrong with them.
        """
        return min(FUSION_FRACTION * self.closest.get(pair, 0.0), covalent_bond(*pair))

    @property
    def rotating_z(self) -> int | None:
        """The ligands of tetrahedra, which turn without melting; None for a material without tetrahedra."""
        return self.ligand_z if self.bond else None


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
    limits = Thresholds(closest, bond, ligand_z, ratio, spacing, window)
    return replace(limits, wander=_usual_wander(sparse, mobile_z, spacing, limits.rotating_z))


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
    u = u - u[0]  # not the mean of all frames: no value may depend on later ones, not even by rounding
    width = max(1, round(window / trajectory.timestep)) if n_frames > 1 else 1
    start = np.maximum(np.arange(n_frames) - width + 1, 0)
    length = np.arange(n_frames) - start + 1
    mean = _window_sums(u, start) / length[:, None, None]
    square = _window_sums((u**2).sum(axis=2), start) / length[:, None]
    variance = (square - (mean**2).sum(axis=2)).mean(axis=1)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)) / spacing)


def wander(trajectory: Trajectory, mobile_z: int, spacing: float, rotating_z: int | None = None) -> np.ndarray:
    """How far the framework has wandered from where it began [F], rms over its atoms, over the neighbour distance.

    w(t) = sqrt(<|u(t) - u_0|²>) / spacing, with u as in `lindemann`, u_0 its mean over the first 500 fs, and |u - u_0|² averaged
    over the 200 fs that end at t; NaN before the first 700 fs are over. Unlike the Lindemann ratio of a window it does not
    forget, so that it grows with a slow melt of any speed. Atoms of `rotating_z`, the ligands of tetrahedra that turn, are left
    out: they trade places without melting, and fall off with a failure of its own. Every value rests on earlier frames only.
    """
    found = np.full(trajectory.n_frames, np.nan)
    u, origin, width = _bodies(trajectory, mobile_z, rotating_z)
    if u.shape[1] and len(u) >= origin + width:
        found[origin + width - 1 :] = np.sqrt(_mean_square_from(u, origin, width)) / spacing
    return found


def _usual_wander(reference: Trajectory, mobile_z: int, spacing: float, rotating_z: int | None) -> float:
    """Root mean square of `wander` over time and over runs begun anywhere in the reference; 0 where it is too short.

    A few soft modes carry the centres of a small crystal, so that from one origin alone the value says little: where the run
    happens to begin at the end of such a swing it is twice what it is elsewhere.
    """
    u, origin, width = _bodies(reference, mobile_z, rotating_z)
    last = len(u) - origin - width
    if not u.shape[1] or last < 0:
        return 0.0
    begins = np.unique(np.linspace(0, last, min(WANDER_ORIGINS, last // width + 1)).astype(int))
    squares = [_mean_square_from(u[begin:], origin, width) for begin in begins]
    return float(np.sqrt(np.concatenate(squares).mean()) / spacing)


def _bodies(trajectory: Trajectory, mobile_z: int, rotating_z: int | None) -> tuple[np.ndarray, int, int]:
    """Displacements of the framework atoms that do not turn [F, N, 3], and the frames of an origin and of an average."""
    bodies = ~mobile_atoms(trajectory.z, mobile_z) & (trajectory.z != (rotating_z or 0))
    step = trajectory.timestep
    origin, width = (max(1, round(time / step)) if step > 0 else 1 for time in (ORIGIN_TIME, WANDER_TIME))
    return trajectory.pos[:, bodies] - framework_drift(trajectory, mobile_z)[:, None], origin, width


def _mean_square_from(u: np.ndarray, origin: int, width: int) -> np.ndarray:
    """Mean squared distance in Å² from the mean of the first frames, averaged over the frames `width` that end at each later."""
    square = ((u - u[:origin].mean(axis=0)) ** 2).sum(axis=2).mean(axis=1)
    total = np.cumsum(np.concatenate([[0.0], square]))
    return np.asarray(np.maximum((total[width:] - total[:-width])[origin:] / width, 0.0))


@cache
def _covalent_radii() -> dict[int, float]:
    text = resources.files("grannfield.analysis").joinpath("covalent_radii.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")][1:]
    return {int(number): float(radius) for number, _, radius in rows}


def covalent_bond(z_a: int, z_b: int) -> float:
    """Length in Å of a single bond of two elements, the sum of their covalent radii; infinite where one is not known.

    >>> round(covalent_bond(32, 32), 2), covalent_bond(3, 118)
    (2.4, inf)
    """
    radii = _covalent_radii()
    return radii.get(z_a, np.inf) + radii.get(z_b, np.inf)


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
