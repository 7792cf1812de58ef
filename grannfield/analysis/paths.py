"""Where the mobile ions go: their density in the framework's frame, and how far it is from a reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield import units
from grannfield.analysis.diffusion import framework_drift, mobile_atoms, mobile_displacements, msd_all_origins
from grannfield.analysis.uncertainty import (
    TOO_SHORT,
    Estimate,
    block_bootstrap,
    clipped,
    clopper_pearson,
    self_distance,
)
from grannfield.trajectory import Trajectory

SPACING = 0.3
"""Å between grid points: finer than a site (about 1 Å wide at 1000 K), coarse enough to be filled."""
CHANNEL_FRACTION = 0.01
"""A voxel belongs to the reference's channels from this share of the reference's largest density."""
N_BLOCKS = 8
CENTRES = ("P", "Ge")
"""Atoms that stay on their sites as long as the material is itself; they tie the density to the ideal cell."""
MAX_DENOMINATOR = 12
EDGE_TOLERANCE = 1e-6
"""In voxels: a coordinate on a voxel edge up to rounding always falls into the upper voxel."""


@dataclass(frozen=True, eq=False)
class IonDensity:
    """Where the mobile ions were in every frame, on the grid of the ideal cell and averaged over its symmetry."""

    voxels: np.ndarray
    """[F, n x G] flat voxel index of each ion under each of the G symmetry operations."""
    shape: tuple[int, int, int]

    @property
    def n_frames(self) -> int:
        return len(self.voxels)

    def probability(self, frames: np.ndarray | None = None) -> np.ndarray:
        """Share of the density in each voxel [M], over all frames or those of an index array; sums to 1."""
        chosen = self.voxels if frames is None else self.voxels[frames]
        return np.bincount(chosen.ravel(), minlength=math.prod(self.shape)) / chosen.size

    def grid(self) -> np.ndarray:
        """Share of the density in each voxel, [A, B, C] along the lattice vectors."""
        return self.probability().reshape(self.shape)


@dataclass(frozen=True)
class PathComparison:
    """How alike the paths of the ions are in a run and in its reference, beside the reference against itself."""

    overlap: Estimate
    """Sum over voxels of min(p, q): 1 for the same density, 0 for densities that never meet; n counts frames."""
    jensen_shannon: Estimate
    """Jensen-Shannon distance (base 2): 0 the same, 1 apart."""
    outside: Estimate
    """Share of the density outside the reference's channels (below 1% of the reference's maximum)."""
    overlap_floor: Estimate
    jensen_shannon_floor: Estimate
    outside_floor: Estimate


def grid_shape(
    cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray, spacing: float = SPACING
) -> tuple[int, int, int]:
    """Divisions of a cell [3, 3] into voxels of about `spacing` Å that its symmetry operations map onto each other.

    Axes that a rotation mixes get the same number, and each number is a multiple of the denominators of the
    translations along its axis. A translation that is no simple fraction (an origin off the symmetry elements) fits no
    grid; the average is then exact in space and to one voxel on the grid. rotations [G, 3, 3] integers and
    translations [G, 3], fractional, as spglib gives them.

    >>> grid_shape(np.diag([8.0, 8.0, 12.1]), np.eye(3, dtype=int)[None], np.array([[0.0, 0.0, 0.5]]))
    (27, 27, 40)
    """
    mixed = (np.abs(rotations).sum(axis=0) > 0) | np.eye(3, dtype=bool)
    mixed = np.linalg.matrix_power((mixed | mixed.T).astype(int), 3) > 0
    lengths = np.linalg.norm(cell, axis=1)
    step = [math.lcm(*(_denominator(x) for x in translations[:, axis])) for axis in range(3)]
    shape = []
    for axis in range(3):
        together = np.flatnonzero(mixed[axis])
        multiple = math.lcm(*(step[other] for other in together))
        shape.append(max(1, round(float(lengths[together].mean()) / spacing / multiple)) * multiple)
    return shape[0], shape[1], shape[2]


def framework_origin(
    trajectory: Trajectory, mobile_z: int, ideal_pos: np.ndarray, centres: Sequence[str] = CENTRES
) -> np.ndarray:
    """Mean displacement [F, 3] in Å of the framework from its ideal sites, up to whole lattice vectors.

    ideal_pos [N, 3] Å, atoms in the trajectory's order. The change with time is the mean over the whole framework
    (`framework_drift`). The constant is the displacement of the tetrahedron centres from their own sites, averaged over
    the run: ligands of a turned tetrahedron sit nearer to another image of their site than to their own, centres do
    not, so that any stretch of a run gives the same frame. Without such centres all framework atoms serve; without a
    framework nothing is removed. ValueError when ideal_pos does not fit.
    """
    if np.shape(ideal_pos) != (trajectory.n_atoms, 3):
        raise ValueError(f"ideal positions {np.shape(ideal_pos)} should be [{trajectory.n_atoms}, 3], in the trajectory's order")
    framework = ~mobile_atoms(trajectory.z, mobile_z)
    drift = framework_drift(trajectory, mobile_z)
    if not framework.any():
        return drift
    anchors = framework & np.isin(trajectory.z, [units.number(name) for name in centres])
    anchors = anchors if anchors.any() else framework
    mean = (trajectory.pos[:, anchors] - drift[:, None]).mean(axis=0)
    cell = trajectory.cell[0]
    shift = (mean - np.asarray(ideal_pos)[anchors]) @ np.linalg.inv(cell)
    first_guess = np.angle(np.exp(2j * np.pi * shift).mean(axis=0)) / (2 * np.pi)  # a mean that knows of periodicity
    rest = shift - first_guess
    return drift + (first_guess + (rest - np.rint(rest)).mean(axis=0)) @ cell


def ion_density(
    trajectory: Trajectory,
    mobile_z: int,
    ideal_pos: np.ndarray,
    ideal_cell: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    spacing: float = SPACING,
    centres: Sequence[str] = CENTRES,
) -> IonDensity:
    """Density of the mobile ions on a grid in the framework's frame, folded into the cell and symmetrised.

    The framework's displacement from the ideal structure (`framework_origin`) is removed, so that runs that started
    elsewhere are compared in the same frame; x -> R x + t of every operation is applied to the fractional coordinates
    before binning. Use production frames every 20 fs. rotations [G, 3, 3], translations [G, 3]: the ideal cell's
    space group, fractional; identity and zero for none. Raises TrajectoryError for unordered frames.
    """
    trajectory.require_time()
    rotations, translations = np.asarray(rotations, dtype=int), np.asarray(translations, dtype=np.float64)
    shape = grid_shape(np.asarray(ideal_cell), rotations, translations, spacing)
    mobile = mobile_atoms(trajectory.z, mobile_z)
    pos = trajectory.pos[:, mobile] - framework_origin(trajectory, mobile_z, ideal_pos, centres)[:, None]
    fractional = pos @ np.linalg.inv(trajectory.cell)
    images = np.einsum("gxy,fny->fngx", rotations, fractional) + translations
    voxel = np.floor(images * np.array(shape) + EDGE_TOLERANCE).astype(np.int64) % np.array(shape)
    flat = np.ravel_multi_index(tuple(np.moveaxis(voxel, -1, 0)), shape)
    return IonDensity(flat.reshape(trajectory.n_frames, -1).astype(np.int32), shape)


def overlap(p: np.ndarray, q: np.ndarray) -> float:
    """Density two distributions share: the sum of min(p, q), 1 when they are the same and 0 when they never meet.

    >>> overlap(np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5]))
    0.5
    """
    return float(np.minimum(p, q).sum())


def jensen_shannon_distance(p: np.ndarray, q: np.ndarray) -> float:
    """Square root of the Jensen-Shannon divergence in bits of two distributions, a metric from 0 (same) to 1 (apart).

    Endres and Schindelin, IEEE Trans. Inf. Theory 49, 1858 (2003), https://doi.org/10.1109/TIT.2003.813506.

    >>> jensen_shannon_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = 0.5 * (p + q)
    divergence = 0.0
    for side in (p, q):
        seen = side > 0
        divergence += 0.5 * float((side[seen] * np.log2(side[seen] / middle[seen])).sum())
    return math.sqrt(min(1.0, max(0.0, divergence)))


def outside_channels(p: np.ndarray, reference: np.ndarray) -> float:
    """Share of a density p [M] where the reference's density [M] is below 1% of its maximum.

    >>> outside_channels(np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.1, 0.0]))
    0.2
    """
    return float(p[reference < CHANNEL_FRACTION * reference.max()].sum())


def compare_paths(scored: IonDensity, reference: IonDensity, *, seed: int = 0) -> PathComparison:
    """How alike the ions' densities of a run and its reference are, with the reference's own half against half.

    Intervals: bootstrap over 8 blocks of the scored frames, widened to be as long above the value as below, since
    redrawn blocks always look less alike. Floors: pairs of reference segments as long as the run, never longer than
    half (`self_distance`); that of `outside` looks both ways, and is large while 1% of the reference's maximum is less
    than one visit, as in the first tens of ps. ValueError for different grids.
    """
    if scored.shape != reference.shape:
        raise ValueError(f"grids {scored.shape} and {reference.shape} differ: use the same cell, symmetry and spacing")
    pieces = np.array_split(np.arange(scored.n_frames), min(N_BLOCKS, scored.n_frames))
    blocks = np.array([scored.probability(piece) for piece in pieces])
    weights = np.array([len(piece) for piece in pieces], dtype=float)
    q = reference.probability()

    def statistic(index: np.ndarray) -> np.ndarray:
        p = np.average(blocks[index], axis=0, weights=weights[index])
        return np.array([overlap(p, q), jensen_shannon_distance(p, q), outside_channels(p, q)])

    values = statistic(np.arange(len(blocks)))
    low, high = block_bootstrap(len(blocks), statistic, block=1, seed=seed, n_resamples=300)
    reach = np.maximum(values - low, high - values)
    note = f"frames; bootstrap over {len(blocks)} blocks"
    found = [
        Estimate(float(v), clipped((v - h, v + h), 0.0, 1.0), scored.n_frames, note=note)
        for v, h in zip(np.clip(values, 0.0, 1.0), reach, strict=True)
    ]
    if found[2].value == 0.0:  # no redraw can show what no block did: 0 of 8 blocks bounds it
        found[2] = Estimate(0.0, clopper_pearson(0, len(blocks)), scored.n_frames, note=f"frames; none in {len(blocks)} blocks")
    symmetric = lambda p, q: 0.5 * (outside_channels(p, q) + outside_channels(q, p))  # noqa: E731
    floors = [
        self_distance(reference.n_frames, scored.n_frames, reference.probability, distance)
        for distance in (overlap, jensen_shannon_distance, symmetric)
    ]
    return PathComparison(*found, *floors)


def drift_share(trajectory: Trajectory, mobile_z: int, *, seed: int = 0) -> Estimate:
    """Share of the mobile ions' squared displacement that is the framework drifting and not the ions diffusing.

    MSD(framework's mean) / (MSD(framework's mean) + MSD(ions relative to it)), both over all time origins at a lag of
    half the run; 0 for a framework at rest, 1 when everything moves together. n counts ions, the interval is a
    bootstrap over ions: the drift itself is taken as it happened.
    """
    moved = mobile_displacements(trajectory, mobile_z)
    lag = (len(moved) - 1) // 2
    n_ions = moved.shape[1]
    if lag < 1:
        return Estimate.missing(TOO_SHORT, f"{len(moved)} frames", n=n_ions)
    drift = float(msd_all_origins(framework_drift(trajectory, mobile_z)[:, None])[lag].sum())
    ions = msd_all_origins(moved)[lag].sum(axis=1)
    share = lambda index: drift / max(drift + float(ions[index].mean()), 1e-300)  # noqa: E731
    interval = clipped(block_bootstrap(n_ions, share, block=1, seed=seed), 0.0, 1.0)
    return Estimate(share(np.arange(n_ions)), interval, n_ions, note=f"ions, lag {lag} frames")


def _denominator(fraction: float) -> int:
    """Smallest denominator of a translation, 1 for one that is no simple fraction and fits no grid."""
    for denominator in range(1, MAX_DENOMINATOR + 1):
        if abs(fraction * denominator - round(fraction * denominator)) < 1e-4 * denominator:
            return denominator
    return 1
