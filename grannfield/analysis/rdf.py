"""Radial distribution functions, their distance from a reference, and the verdict on the structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from grannfield import units
from grannfield.analysis.distances import chunks, image_distances, images, nearest_vectors, pairs
from grannfield.analysis.uncertainty import Estimate, block_bootstrap, clipped, self_distance
from grannfield.trajectory import Trajectory

FRAME_INTERVAL = 20.0
"""fs between the frames that enter a g(r): `trajectory.production().every(FRAME_INTERVAL)`."""
R_MAX = 6.0
BIN_WIDTH = 0.1
MAE_THRESHOLD = 0.02
"""Largest mean error of g(r) that the paper calls stable."""
FLOOR_FACTOR = 1.5
FUSION_FRACTION = 0.75
"""Below this share of the first reference distance two atoms have fused; at 1000 K no bond is compressed so far."""
EDGE_TOLERANCE = 1e-9
"""In bins: distances on a bin edge up to rounding all fall into the upper bin, however they were computed."""
N_BLOCKS = 8
"""Blocks of a production for the bootstrap: fewer, longer blocks keep the correlation in, more make the width sure."""

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """The radial distribution functions of every frame, so that any stretch of a run can be averaged later."""

    r: np.ndarray
    """[B] Å, centres of the bins."""
    frames: dict[Pair | None, np.ndarray]
    """[F, B] g(r) of each frame, for each unordered pair of atomic numbers (z_a <= z_b) and None for all atoms."""

    @property
    def n_frames(self) -> int:
        return len(self.frames[None])

    @property
    def pairs(self) -> list[Pair]:
        return [pair for pair in self.frames if pair is not None]

    def mean(self, pair: Pair | None = None) -> np.ndarray:
        """g(r) [B] averaged over frames; of all atoms when no pair is named."""
        return self.frames[pair].mean(axis=0)


@dataclass(frozen=True)
class Verdict:
    """What a g(r) says about a run, with the two numbers it rests on."""

    label: Literal["stable", "fusion", "lattice mismatch"]
    mae: float
    floor: float
    threshold: float
    """max(0.02, 1.5 x floor): the MAE below which the run is stable."""
    detail: str = ""


def radial_distribution(trajectory: Trajectory, r_max: float = R_MAX, bin_width: float = BIN_WIDTH) -> RadialDistribution:
    """Density of atoms at a distance r from an atom, relative to the mean density; exact beyond half the cell.

    g_ab(r) = (number of b within the shell, all periodic images, averaged over a) / (shell volume x N_b/V). The images
    of an atom itself are counted and the density is N_b/V, so that a cell and its replica have the same g(r). Bins of
    bin_width from 0 to r_max, in Å; atoms may lie far outside the cell, the cell may be skewed and change from frame
    to frame. Every frame given is used, ordered or not. ValueError when r_max is not a multiple of bin_width.

    >>> lattice = Trajectory(z=[3], pos=np.zeros((1, 1, 3)), cell=4.05 * np.eye(3), time=[0.0])
    >>> g = radial_distribution(lattice).mean()
    >>> float(g.argmax() * BIN_WIDTH), round(float(4 / 3 * np.pi * (4.1**3 - 4.0**3) / 4.05**3 * g[40]), 9)
    (4.0, 6.0)
    """
    n_bins = round(r_max / bin_width)
    if n_bins < 1 or abs(n_bins * bin_width - r_max) > 1e-9:
        raise ValueError(f"r_max {r_max} Å should be a multiple of the bin width {bin_width} Å")
    i, j, kind, names = pairs(trajectory.z)
    counts = np.zeros((trajectory.n_frames, len(names), n_bins))
    for frames in chunks(trajectory.n_frames, len(i)):
        counts[frames] = _pair_counts(trajectory.pos[frames], trajectory.cell[frames], i, j, kind, counts[frames].shape, r_max)
    own = _self_counts(trajectory.cell, n_bins, r_max)
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    per_volume = np.abs(np.linalg.det(trajectory.cell))[:, None] / shell
    number = {int(a): int((trajectory.z == a).sum()) for a in np.unique(trajectory.z)}
    n = trajectory.n_atoms
    frames_of: dict[Pair | None, np.ndarray] = {None: per_volume * (2 * counts.sum(axis=1) + n * own) / n**2}
    for k, (a, b) in enumerate(names):
        ordered = counts[:, k] if a != b else 2 * counts[:, k] + number[a] * own
        frames_of[a, b] = per_volume * ordered / (number[a] * number[b])
    return RadialDistribution(0.5 * (edges[1:] + edges[:-1]), frames_of)


def _pair_counts(
    pos: np.ndarray,
    cell: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    kind: np.ndarray,
    shape: tuple[int, ...],
    r_max: float,
) -> np.ndarray:
    """Unordered pairs i < j of each kind in each bin, all images: [F, kinds, B]."""
    n_bins = shape[-1]
    vectors = nearest_vectors(pos, cell, i, j)
    row = (np.arange(shape[0])[:, None] * shape[1] + kind) * n_bins
    counts = np.zeros(int(np.prod(shape)))
    for distance in image_distances(vectors, cell, r_max):
        bins = _bin(distance, n_bins, r_max)
        counts += np.bincount((row + bins)[bins < n_bins], minlength=counts.size)
    return counts.reshape(shape)


def _self_counts(cell: np.ndarray, n_bins: int, r_max: float) -> np.ndarray:
    """Images of one atom around itself in each bin: [F, B]."""
    lengths = np.linalg.norm(images(cell, r_max)[1:] @ cell, axis=-1)  # [F, M]
    bins = _bin(lengths, n_bins, r_max)
    index = np.arange(len(cell))[:, None] * n_bins + bins
    return np.bincount(index[bins < n_bins], minlength=len(cell) * n_bins).reshape(len(cell), n_bins).astype(float)


def _bin(distance: np.ndarray, n_bins: int, r_max: float) -> np.ndarray:
    return np.minimum((distance * (n_bins / r_max) + EDGE_TOLERANCE).astype(np.int64), n_bins)


def rdf_mae(g: np.ndarray, g_ref: np.ndarray) -> float:
    """Mean absolute difference of two radial distribution functions [B], all bins weighing the same.

    >>> rdf_mae(np.array([0.0, 1.0]), np.array([0.0, 1.5]))
    0.25
    """
    g, g_ref = np.asarray(g), np.asarray(g_ref)
    if g.shape != g_ref.shape:
        raise ValueError(f"g(r) of {g.shape} and {g_ref.shape} bins cannot be compared: use the same r_max and bin width")
    return float(np.abs(g - g_ref).mean())


def mae_from_reference(
    scored: RadialDistribution, reference: RadialDistribution, pair: Pair | None = None, *, seed: int = 0
) -> Estimate:
    """Distance of a run's g(r) from the reference's: the mean over bins of |g - g_ref|; n counts scored frames.

    Interval: bootstrap over 8 blocks of the scored frames. The reference is taken as it is; its own noise is what
    `half_floor` measures. Redrawn blocks are noisier than the run itself, so the interval reaches further up than down;
    its lower end is therefore widened by as much as the upper one, down to 0.
    """
    frames, target = _frames(scored, pair), _frames(reference, pair).mean(axis=0)
    blocks = [block.mean(axis=0) for block in np.array_split(frames, min(N_BLOCKS, len(frames)))]
    means = np.array(blocks)
    weights = np.array([len(block) for block in np.array_split(frames, len(blocks))], dtype=float)
    value = rdf_mae(frames.mean(axis=0), target)
    statistic: Callable[[np.ndarray], float] = lambda index: rdf_mae(  # noqa: E731  (a one-line formula)
        np.average(means[index], axis=0, weights=weights[index]), target
    )
    _, high = clipped(block_bootstrap(len(means), statistic, block=1, seed=seed))
    low = max(0.0, 2 * value - high)
    return Estimate(value, (low, max(high, value)), n=len(frames), note=f"frames; bootstrap over {len(means)} blocks")


def half_floor(reference: RadialDistribution, n_scored: int, pair: Pair | None = None) -> Estimate:
    """Distance of a reference's g(r) from its own, half against half, at the length of the run it is to judge.

    `n_scored` is the number of scored frames, at the same interval as the reference's. When they are fewer than half
    the reference's F frames, the reference is cut into k = F // n_scored disjoint consecutive segments of n_scored
    frames (at most 12, spread evenly) and the floor is the mean MAE over all pairs of segments; otherwise it is the
    MAE between the two halves of F // 2 frames. n counts segments. See `self_distance` for the interval.
    """
    frames = _frames(reference, pair)
    return self_distance(len(frames), n_scored, lambda index: frames[index].mean(axis=0), rdf_mae)


def close_pairs(scored: RadialDistribution, reference: RadialDistribution) -> list[tuple[Pair, float]]:
    """Pairs of species seen nearer than 0.75 of the first reference distance, with the distance in Å.

    The first reference distance is the lower edge of the first bin in which the reference's pair g(r) is not zero; a
    scored bin counts when it lies below the limit entirely. Pairs absent from the reference are left out.
    """
    half_bin = 0.5 * (reference.r[1] - reference.r[0])
    found = []
    for pair in reference.pairs:
        seen = np.flatnonzero(reference.mean(pair) > 0)
        if not len(seen) or pair not in scored.frames:
            continue
        limit = FUSION_FRACTION * (reference.r[seen[0]] - half_bin)
        near = np.flatnonzero((scored.mean(pair) > 0) & (scored.r + half_bin <= limit + 1e-9))
        if len(near):
            found.append((pair, float(scored.r[near[0]])))
    return found


def verdict(mae: float, floor: float, fused: bool, scored: RadialDistribution, reference: RadialDistribution) -> Verdict:
    """What the structure of a run is called: stable, fusion or lattice mismatch.

    Stable when mae < max(0.02, 1.5 x floor); otherwise fusion when a fusion event occurred (`fused`, from
    `fusion.first_failure`) or a pair comes nearer than 0.75 of the first reference distance; otherwise lattice
    mismatch. ValueError for a mae or floor that is not finite.
    """
    if not (np.isfinite(mae) and np.isfinite(floor)):
        raise ValueError(f"a verdict needs two numbers, not mae {mae} and floor {floor}")
    threshold = max(MAE_THRESHOLD, FLOOR_FACTOR * floor)
    if mae < threshold:
        return Verdict("stable", mae, floor, threshold)
    near = close_pairs(scored, reference)
    detail = ", ".join(f"{units.symbol(a)}-{units.symbol(b)} at {r:.2f} Å" for (a, b), r in near)
    return Verdict("fusion" if fused or near else "lattice mismatch", mae, floor, threshold, detail)


def _frames(distribution: RadialDistribution, pair: Pair | None) -> np.ndarray:
    if pair not in distribution.frames:
        raise ValueError(f"there is no g(r) of the pair {pair}; there are {distribution.pairs}, and None for all atoms")
    return distribution.frames[pair]
