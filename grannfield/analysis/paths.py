"""Where the mobile ions go: their density in the framework's frame, and how far it is from a reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import entr

from grannfield import units
from grannfield.analysis.diffusion import framework_drift, mobile_atoms
from grannfield.analysis.matched import matched
from grannfield.analysis.uncertainty import Estimate, standard_error, t_quantile
from grannfield.trajectory import Trajectory

SPACING = 0.3
"""Å between grid points: finer than a site (about 1 Å wide at 1000 K), coarse enough to be filled."""
CHANNEL_FRACTION = 0.01
"""A voxel belongs to the reference's channels from this share of the reference's largest density."""
SMOOTHING = 0.3
"""Å. Width of the Gaussian that blurs densities before they are compared: a voxel, and less than ions vibrate at 800 K
(0.4 to 0.6 Å), so that sites keep their shape; the halves of a reference of 7 ps then share 77-88% of their density
instead of 46-67%, and 0.4-1.4% of it lies outside the other's channels instead of 12-34%."""
EXCLUDED_RADIUS = 1.5
"""Å about a framework atom that no ion enters: nearer than that would be a fusion event (0.75 x 2.1 Å of Li-S)."""
MOST_COUNTS = 100_000_000
"""Voxels counted (frames x ions x operations), which bounds the memory to 400 MB; longer runs are thinned evenly."""
CENTRES = ("P", "Ge")
"""Atoms that stay on their sites as long as the material is itself; they tie the density to the ideal cell."""
MAX_DENOMINATOR = 12
EDGE_TOLERANCE = 1e-6
"""In voxels: a coordinate on a voxel edge up to rounding always falls into the upper voxel."""


@dataclass(frozen=True, eq=False)
class IonDensity:
    """Where the mobile ions were in every frame, on the grid of the ideal cell and averaged over its symmetry."""

    voxels: np.ndarray
    """[F, n, G] flat voxel index of each ion under each of the G symmetry operations."""
    shape: tuple[int, int, int]
    cell: np.ndarray
    """[3, 3] Å, the ideal cell, which the grid divides."""
    accessible: np.ndarray
    """[M] bool: voxels in which an ion would not sit on a framework atom."""

    @property
    def n_frames(self) -> int:
        return len(self.voxels)

    @property
    def n_ions(self) -> int:
        return int(self.voxels.shape[1])

    def probability(self, frames: np.ndarray | None = None, ions: np.ndarray | None = None) -> np.ndarray:
        """Share of the density in each voxel [M], over all frames and ions or those of index arrays; sums to 1."""
        chosen = self.voxels if frames is None else self.voxels[frames]
        chosen = chosen if ions is None or len(ions) == self.n_ions else chosen[:, ions]
        return np.bincount(chosen.ravel(), minlength=math.prod(self.shape)) / chosen.size

    def grid(self) -> np.ndarray:
        """Share of the density in each voxel, [A, B, C] along the lattice vectors."""
        return self.probability().reshape(self.shape)

    @cached_property
    def kernel(self) -> np.ndarray:
        """Fourier transform of the smoothing Gaussian on the grid; sampled in space, so that nothing becomes negative."""
        axes = np.meshgrid(*(np.fft.fftfreq(n) for n in self.shape), indexing="ij")
        fractional = np.stack(axes, axis=-1).reshape(-1, 3)
        nearest = np.full(len(fractional), np.inf)
        for image in product((-1, 0, 1), repeat=3):
            nearest = np.minimum(nearest, (((fractional + image) @ self.cell) ** 2).sum(axis=1))
        gaussian = np.exp(-0.5 * nearest / SMOOTHING**2)
        return np.fft.rfftn((gaussian / gaussian.sum()).reshape(self.shape))

    def smoothed(self, values: np.ndarray) -> np.ndarray:
        """A function on the voxels [M] blurred by a Gaussian of 0.3 Å; its sum is kept."""
        blurred = np.fft.irfftn(np.fft.rfftn(values.reshape(self.shape)) * self.kernel, s=self.shape, axes=(0, 1, 2)).ravel()
        return np.maximum(blurred, 0.0) if values.min() >= 0 else blurred  # rounding leaves -1e-20

    def parts(self, frames: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
        """What each group of ions adds to the density, as counted [g, M] and smoothed [g, M], in one array [g, 2M]."""
        counted = [self.probability(frames, group) * (len(group) / self.n_ions) for group in groups]
        return np.array([np.concatenate([c, self.smoothed(c)]) for c in counted], dtype=np.float32)

    @cached_property
    def gas(self) -> np.ndarray:
        """Smoothed density [M] of ions that are anywhere in the accessible volume."""
        return self.smoothed(self.accessible / max(1, self.accessible.sum()))


@dataclass(frozen=True)
class PathComparison:
    """How alike the paths of the ions are in a run and in its reference, beside the reference against itself.

    All densities are smoothed. Values and floors are means over pairs of stretches of equal length; the interval of a value is
    that of its difference from the floor, which is zero on average for two runs of the same motion (`matched`).
    """

    overlap: Estimate
    """Sum over voxels of min(p, q): 1 for the same density, 0 for densities that never meet; n counts frames."""
    jensen_shannon: Estimate
    """Jensen-Shannon distance (base 2): 0 the same, 1 apart."""
    outside: Estimate
    """Share of the ions outside the reference's channels (below 1% of the maximum of the reference's density)."""
    overlap_floor: Estimate
    jensen_shannon_floor: Estimate
    outside_floor: Estimate
    random_motion: Estimate
    """How far the density has gone from the reference's (0) to a gas's in all the accessible volume (1)."""


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
    kept = slice(None, None, 1 + trajectory.n_frames * int(mobile.sum()) * len(rotations) // MOST_COUNTS)
    fractional = mobile_fractional(trajectory[kept], mobile_z, ideal_pos, centres)
    flat = np.empty((*fractional.shape[:2], len(rotations)), dtype=np.int32)
    for g, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        image = np.floor((fractional @ rotation.T + translation) * shape + EDGE_TOLERANCE).astype(np.int64) % shape
        flat[..., g] = np.ravel_multi_index(tuple(np.moveaxis(image, -1, 0)), shape)
    return IonDensity(
        flat, shape, np.asarray(ideal_cell), _accessible(shape, np.asarray(ideal_cell), np.asarray(ideal_pos)[~mobile])
    )


def mobile_fractional(
    trajectory: Trajectory, mobile_z: int, ideal_pos: np.ndarray, centres: Sequence[str] = CENTRES
) -> np.ndarray:
    """Fractional coordinates [F, n, 3], unwrapped, of the mobile ions in the frame of the ideal structure."""
    pos = trajectory.pos[:, mobile_atoms(trajectory.z, mobile_z)]
    return (pos - framework_origin(trajectory, mobile_z, ideal_pos, centres)[:, None]) @ np.linalg.inv(trajectory.cell)


def _accessible(shape: tuple[int, int, int], cell: np.ndarray, framework: np.ndarray) -> np.ndarray:
    """Voxels [M] whose centres are farther than 1.5 Å from every framework atom [n, 3]."""
    if not len(framework):
        return np.ones(math.prod(shape), dtype=bool)
    folded = (framework @ np.linalg.inv(cell)) % 1.0
    images = (folded[:, None] + np.array(list(product((-1, 0, 1), repeat=3)))).reshape(-1, 3) @ cell
    centres = (np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=1) + 0.5) / shape @ cell
    distance, _ = cKDTree(images).query(centres, distance_upper_bound=EXCLUDED_RADIUS)
    return ~np.isfinite(distance)


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


def compare_paths(scored: IonDensity, reference: IonDensity) -> PathComparison:
    """How alike the ions' densities of a run and its reference are, at equal length, with the reference's own floor.

    Densities are smoothed by 0.3 Å: without it 7 ps of 20 ions fill the grid so thinly that the halves of one run share
    only half of their density. Intervals: `matched`; that of `random_motion`: `gas_share`. ValueError for different grids.
    """
    if scored.shape != reference.shape:
        raise ValueError(f"grids {scored.shape} and {reference.shape} differ: use the same cell, symmetry and spacing")
    if scored.n_ions != reference.n_ions:
        raise ValueError(f"{scored.n_ions} and {reference.n_ions} mobile ions: a run is compared with one of the same structure")

    def statistic(run: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted, p = np.split(run.astype(np.float64), 2, axis=1)
        own_counted, q = np.split(own.astype(np.float64), 2, axis=1)
        out = np.array([[outside_channels(x, y) for y in q] for x in (*counted, *own_counted)])
        return np.array([*_alike(p, q), out[:2].mean()]), np.array([*_alike(q[:1], q[1:]), 0.5 * (out[2, 1] + out[3, 0])])

    found = matched(
        scored.n_frames, scored.parts, reference.n_frames, reference.parts, reference.n_ions, statistic,
        note=f"densities smoothed by {SMOOTHING:g} Å",
    )  # fmt: skip
    within_unit = lambda e: replace(e, interval=(max(0.0, e.interval[0]), min(1.0, e.interval[1])))  # noqa: E731
    values, floors = ([within_unit(getattr(m, name)) for m in found] for name in ("value", "floor"))
    return PathComparison(
        overlap=values[0],
        jensen_shannon=values[1],
        outside=values[2],
        overlap_floor=floors[0],
        jensen_shannon_floor=floors[1],
        outside_floor=floors[2],
        random_motion=gas_share(scored, reference),
    )


def gas_share(scored: IonDensity, reference: IonDensity) -> Estimate:
    """How far a density p has gone from the reference's q (0) to that of a gas u in all the accessible volume (1).

    The coefficient c of p = (1-c) q + c u by least squares, c = <p - q, u - q'> / <u - q, u - q'>, with q and q' the two
    halves of the reference, so that noise does not count, in both orders. Below 0: more ordered than the reference.
    It is a mean over the ions of either run, and so is its interval, t quantile; n counts ions.
    """
    frames = np.array_split(np.arange(reference.n_frames), 2)
    halves = [reference.smoothed(reference.probability(half)) for half in frames]
    own, other = np.zeros(scored.n_ions), np.zeros(reference.n_ions)
    for (q, rest), half in zip((halves, halves[::-1]), frames, strict=True):
        weight = (reference.gas - rest) / float((reference.gas - q) @ (reference.gas - rest))
        felt = reference.smoothed(weight)  # the blur is symmetric: as well of the weights as of the density
        own += 0.5 * felt[scored.voxels].mean(axis=(0, 2))
        other += 0.5 * felt[reference.voxels[half]].mean(axis=(0, 2))
    value, n = float(own.mean() - other.mean()), scored.n_ions
    spread = math.hypot(standard_error(own), standard_error(other))
    half_width = t_quantile(n - 1) * spread if n > 1 else math.inf
    return Estimate(value, (value - half_width, value + half_width), n, note="ions of the run and of the reference")


def _alike(ps: np.ndarray, qs: np.ndarray) -> tuple[float, float]:
    """Mean overlap and mean Jensen-Shannon distance of all pairs of densities [P, M] and [Q, M]."""
    entropy = lambda x: float(entr(x).sum()) / math.log(2)  # noqa: E731
    own, other = [entropy(p) for p in ps], [entropy(q) for q in qs]
    shared, apart = [], []
    for p, h_p in zip(ps, own, strict=True):
        for q, h_q in zip(qs, other, strict=True):
            shared.append(overlap(p, q))
            apart.append(math.sqrt(max(0.0, entropy(0.5 * (p + q)) - 0.5 * (h_p + h_q))))
    return float(np.mean(shared)), float(np.mean(apart))


def _denominator(fraction: float) -> int:
    """Smallest denominator of a translation, 1 for one that is no simple fraction and fits no grid."""
    for denominator in range(1, MAX_DENOMINATOR + 1):
        if abs(fraction * denominator - round(fraction * denominator)) < 1e-4 * denominator:
            return denominator
    return 1
