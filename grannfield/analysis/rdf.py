"""Radial distribution functions, exact beyond half the cell, and their distances from a reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.distances import chunks, image_distances, images, nearest_vectors, pairs
from grannfield.analysis.uncertainty import Estimate, self_distance, t_quantile
from grannfield.trajectory import Trajectory

FRAME_INTERVAL = 20.0
"""fs between the frames that enter a g(r): `trajectory.production().every(FRAME_INTERVAL)`."""
R_MAX = 6.0
BIN_WIDTH = 0.1
EDGE_TOLERANCE = 1e-9
"""In bins: distances on a bin edge up to rounding all fall into the upper bin, however they were computed."""
N_BLOCKS = 8
"""Blocks of a production for the jackknife: fewer, longer blocks keep the correlation in, more make the width sure."""

Pair = tuple[int, int]
Distance = Callable[[np.ndarray, np.ndarray], float]
"""How far two radial distribution functions [B] are apart: `rdf_mae`, `rdf_wasserstein`."""


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """The radial distribution functions of every frame, so that any stretch of a run can be averaged later."""

    r: np.ndarray
    """[B] Å, centres of the bins."""
    frames: dict[Pair | None, np.ndarray]
    """[F, B] g(r) of each frame, for each unordered pair of atomic numbers (z_a <= z_b) and None for all atoms."""
    time: np.ndarray
    """[F] fs, on the trajectory's clock."""
    number: dict[int, int]
    """Atoms of each atomic number."""
    volume: np.ndarray
    """[F] Å³."""

    @property
    def n_frames(self) -> int:
        return len(self.frames[None])

    @property
    def bin_width(self) -> float:
        """Å; the first bin begins at 0."""
        return 2 * float(self.r[0])

    @property
    def pairs(self) -> list[Pair]:
        return [pair for pair in self.frames if pair is not None]

    def mean(self, pair: Pair | None = None) -> np.ndarray:
        """g(r) [B] averaged over frames; of all atoms when no pair is named."""
        return self.frames[pair].mean(axis=0)


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
    constant = trajectory.cell.strides[0] == 0
    own = _self_counts(trajectory.cell[:1] if constant else trajectory.cell, n_bins, r_max)
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    volume = np.abs(np.linalg.det(trajectory.cell))
    per_volume = volume[:, None] / shell
    number = {int(a): int((trajectory.z == a).sum()) for a in np.unique(trajectory.z)}
    n = trajectory.n_atoms
    by_pair: dict[Pair | None, np.ndarray] = {None: per_volume * (2 * counts.sum(axis=1) + n * own) / n**2}
    for k, (a, b) in enumerate(names):
        ordered = counts[:, k] if a != b else 2 * counts[:, k] + number[a] * own
        by_pair[a, b] = per_volume * ordered / (number[a] * number[b])
    return RadialDistribution(0.5 * (edges[1:] + edges[:-1]), by_pair, trajectory.time, number, volume)


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
    shifts = images(cell, r_max)[1:]
    counts = np.zeros((len(cell), n_bins))
    for frames in chunks(len(cell), len(shifts)):
        bins = _bin(np.linalg.norm(shifts @ cell[frames], axis=-1), n_bins, r_max)  # [F, M]
        index = np.arange(len(bins))[:, None] * n_bins + bins
        counts[frames] = np.bincount(index[bins < n_bins], minlength=counts[frames].size).reshape(-1, n_bins)
    return counts


def _bin(distance: np.ndarray, n_bins: int, r_max: float) -> np.ndarray:
    return np.minimum((distance * (n_bins / r_max) + EDGE_TOLERANCE).astype(np.int64), n_bins)


def rdf_mae(g: np.ndarray, g_ref: np.ndarray) -> float:
    """Mean absolute difference of two radial distribution functions [B], all bins weighing the same.

    It stops growing once a peak has left its place: how far it went is what `rdf_wasserstein` tells.

    >>> rdf_mae(np.array([0.0, 1.0]), np.array([0.0, 1.5]))
    0.25
    """
    g, g_ref = _alike(g, g_ref)
    return float(np.abs(g - g_ref).mean())


def rdf_wasserstein(g: np.ndarray, g_ref: np.ndarray, bin_width: float = BIN_WIDTH) -> float:
    """Mean distance in Å over which pairs must be moved to turn one radial distribution function [B] into another.

    W = ∫_0^r_max |P(r) - P_ref(r)| dr, P(r) = ∫_0^r g(s) s² ds / (r_max³/3): the pairs within r over those that the mean
    density puts within r_max. It is the Wasserstein-1 (earth mover's) distance of the pair distances min(r, r_max), so a pair
    that leaves the range counts as moved to its edge and not as lost. A peak with the share m of the pairs, shifted by d,
    gives m x d, on and on; zero for equals, the same both ways. Bins of `bin_width` Å from 0 on, pairs at their centres.
    Villani, Optimal Transport (2009), https://doi.org/10.1007/978-3-540-71050-9.

    >>> shell = np.diff(np.arange(61.0) ** 3) * 0.1**3 / 3
    >>> here, there = np.zeros(60), np.zeros(60)
    >>> here[20], there[25] = 0.1 * 6**3 / 3 / shell[20], 0.1 * 6**3 / 3 / shell[25]  # a tenth of the pairs, by 0.5 Å
    >>> round(rdf_wasserstein(here, there), 9)
    0.05
    """
    g, g_ref = _alike(g, g_ref)
    edges = np.arange(len(g) + 1) / len(g)
    moved = np.abs(np.cumsum((g - g_ref) * np.diff(edges**3)))
    return float(bin_width * (moved[:-1].sum() + 0.5 * moved[-1]))


def _alike(g: np.ndarray, g_ref: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    g, g_ref = np.asarray(g), np.asarray(g_ref)
    if g.shape != g_ref.shape:
        raise ValueError(f"g(r) of {g.shape} and {g_ref.shape} bins cannot be compared: use the same r_max and bin width")
    return g, g_ref


def distance_from_reference(
    scored: RadialDistribution,
    reference: RadialDistribution,
    pair: Pair | None = None,
    *,
    distance: Distance = rdf_mae,
) -> Estimate:
    """Distance of a run's g(r) from the reference's, by default the mean over bins of |g - g_ref|; n counts scored frames.

    Interval: jackknife over 8 blocks of the scored frames, t quantile: what the mean of many such runs would be, covered by
    95-99% of them, where redrawing blocks is twice as wide because redrawn runs are noisier than runs. The reference is taken
    as it is; its own noise is what `half_floor` measures. Unbounded for a single frame.
    """
    frames, target = frames_of(scored, pair), frames_of(reference, pair).mean(axis=0)
    value = distance(frames.mean(axis=0), target)
    blocks = [block for block in np.array_split(np.arange(len(frames)), N_BLOCKS) if len(block)]
    if len(blocks) < 2:
        return Estimate(value, n=len(frames), note="frames; no interval from one")
    total, k = frames.sum(axis=0), len(blocks)
    without = np.array([distance((total - frames[b].sum(axis=0)) / (len(frames) - len(b)), target) for b in blocks])
    half = t_quantile(k - 1) * math.sqrt((k - 1) / k * float(((without - without.mean()) ** 2).sum()))
    return Estimate(value, (max(0.0, value - half), value + half), len(frames), note=f"frames; jackknife over {k} blocks")


def half_floor(
    reference: RadialDistribution, n_scored: int, pair: Pair | None = None, *, distance: Distance = rdf_mae
) -> Estimate:
    """Distance of a reference's g(r) from its own, half against half, at the length of the run it is to judge.

    `n_scored` is the number of scored frames, at the same interval as the reference's. When they are fewer than half
    the reference's F frames, the reference is cut into k = F // n_scored disjoint consecutive segments of n_scored
    frames (at most 12, spread evenly) and the floor is the mean distance over all pairs of segments; otherwise it is the
    distance between the two halves of F // 2 frames. n counts segments. See `self_distance` for the interval.
    """
    frames = frames_of(reference, pair)
    return self_distance(len(frames), n_scored, lambda index: frames[index].mean(axis=0), distance)


def frames_of(distribution: RadialDistribution, pair: Pair | None) -> np.ndarray:
    """g(r) [F, B] of each frame; ValueError for a pair of species that the atoms do not make."""
    if pair not in distribution.frames:
        raise ValueError(f"there is no g(r) of the pair {pair}; there are {distribution.pairs}, and None for all atoms")
    return distribution.frames[pair]
