"""What a g(r) says about a run: stable, fused, or another lattice; by rule, by test, and with the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from grannfield import units
from grannfield.analysis.equivalence import Comparison, no_worse
from grannfield.analysis.rdf import (
    BIN_WIDTH,
    Distance,
    Pair,
    RadialDistribution,
    frames_of,
    half_floor,
    rdf_mae,
    rdf_wasserstein,
)
from grannfield.analysis.thresholds import FUSION_FRACTION, covalent_bond
from grannfield.analysis.uncertainty import Estimate

MAE_THRESHOLD = 0.02
"""Largest mean error of g(r) that the paper calls stable; also the margin of the test."""
FLOOR_FACTOR = 1.5
BLOCK_TIME = 800.0
"""fs; correlations of the total g(r) of the shipped references are over after 0.4 to 0.8 ps."""
MOST_BLOCKS = 8
FEWEST_BLOCKS = 4
"""Blocks of a run below which there are too few exchanges to say anything."""
SIGNIFICANT = 0.05
SHELL_WIDTH = 1.5
"""Å beyond the first peak of a g(r) within which the end of its shell is looked for."""

Label = Literal["stable", "fusion", "lattice mismatch"]


@dataclass(frozen=True)
class Verdict:
    """What a g(r) says about a run, with the two numbers it rests on."""

    label: Label
    mae: float
    floor: float
    threshold: float
    """max(0.02, 1.5 x floor): the MAE below which the run is stable."""
    paper: Label
    """The same with the fixed threshold of 0.02, as in the paper."""
    detail: str = ""


@dataclass(frozen=True)
class ClosePair:
    """Two species nearer than atoms of the reference can come."""

    pair: Pair
    distance: float
    """Å, centre of the first bin that is not empty."""
    limit: float
    """Å."""
    since: float
    """fs, the first frame in which it was seen."""


@dataclass(frozen=True)
class ShellChange:
    """What became of the first coordination shell of one species around another; in Å, but for the neighbours."""

    pair: Pair
    distance: float
    """Mean distance of the reference's neighbours in the shell."""
    shift: float
    """How much further away as many neighbours are in the run."""
    width: float
    """Standard deviation of these distances in the reference."""
    broadening: float
    neighbours: float
    """Of the second species around the first, in the reference."""
    change: float
    """In the number of neighbours within the reference's shell."""
    wasserstein: float
    """Distance of the pair's whole g(r) from the reference's, `rdf_wasserstein`."""
    floor: float
    """The same of the reference, half against half."""

    @property
    def text(self) -> str:
        name = "-".join(units.symbol(a) for a in self.pair)
        moved = f"shell {self.shift:+.2f} Å from {self.distance:.2f}, width {self.broadening:+.2f} from {self.width:.2f}"
        return f"{name}: {moved}, neighbours {self.change:+.1f} of {self.neighbours:.1f}, moved {self.wasserstein:.3f} Å"


@dataclass(frozen=True)
class Significance:
    """Whether a run's structure differs from the reference's, by exchanging blocks of time between them."""

    comparison: Comparison
    """Excess of the MAE over the reference's floor, margin 0.02, `no_worse`; "different" only if p is at most 0.05."""
    p: float
    """Share of exchanges that give a larger distance; 1 where the runs are too short to tell."""


def close_pairs(scored: RadialDistribution, reference: RadialDistribution) -> list[ClosePair]:
    """Pairs of species seen nearer than 0.75 of the first reference distance, and than a covalent bond.

    The first reference distance is the lower edge of the first bin in which the reference's pair g(r) is not zero; a
    scored bin counts when it lies below the limit entirely. Pairs absent from the reference are left out.
    """
    half_bin = 0.5 * reference.bin_width
    found = []
    for pair in reference.pairs:
        seen = np.flatnonzero(reference.mean(pair) > 0)
        if not len(seen) or pair not in scored.frames:
            continue
        limit = min(FUSION_FRACTION * float(reference.r[seen[0]] - half_bin), covalent_bond(*pair))
        near = (scored.frames[pair] > 0) & (scored.r + half_bin <= limit + 1e-9)
        if near.any():
            first = int(np.argmax(near.any(axis=1)))
            distance = float(scored.r[np.argmax(near.any(axis=0))])
            found.append(ClosePair(pair, distance, limit, float(scored.time[first])))
    return found


def verdict(mae: float, floor: float, fused: bool, scored: RadialDistribution, reference: RadialDistribution) -> Verdict:
    """What the structure of a run is called: stable, fusion or lattice mismatch.

    Stable when mae < max(0.02, 1.5 x floor); otherwise fusion when a fusion event occurred (`fused`, from
    `fusion.first_failure`) or a pair comes nearer than 0.75 of the first reference distance; otherwise lattice
    mismatch. The paper's verdict follows the same rule with 0.02. ValueError for a mae or floor that is not finite.
    """
    if not (np.isfinite(mae) and np.isfinite(floor)):
        raise ValueError(f"a verdict needs two numbers, not mae {mae} and floor {floor}")
    threshold = max(MAE_THRESHOLD, FLOOR_FACTOR * floor)
    near = close_pairs(scored, reference) if mae >= MAE_THRESHOLD else []
    failing: Label = "fusion" if fused or near else "lattice mismatch"
    paper: Label = "stable" if mae < MAE_THRESHOLD else failing
    if mae < threshold:
        return Verdict("stable", mae, floor, threshold, paper)
    if failing == "fusion":
        detail = "; ".join(
            f"{units.symbol(one.pair[0])}-{units.symbol(one.pair[1])} at {one.distance:.2f} Å (limit {one.limit:.2f}) "
            f"since {one.since * 1e-3:.2f} ps"
            for one in near
        )
    else:
        detail = "; ".join(change.text for change in shell_changes(scored, reference)[:3])
    return Verdict(failing, mae, floor, threshold, paper, detail)


def shell_changes(scored: RadialDistribution, reference: RadialDistribution) -> list[ShellChange]:
    """First coordination shells of every pair of species, most changed first: by the excess of W over the reference's own.

    The shell ends at the lowest g(r) within 1.5 Å beyond the reference's first peak. As many nearest neighbours as the
    reference has in it are looked at in both, so that a shell which opens counts as moved and not as lost. Pairs without a
    peak that ends within r_max, or without pairs, have none.
    """
    found = []
    moved = partial(rdf_wasserstein, bin_width=reference.bin_width)
    for pair in reference.pairs:
        g = reference.mean(pair)
        end = shell_end(g, reference.bin_width) if pair in scored.frames else None
        if end is None:
            continue
        own, run = _neighbours(reference, pair), _neighbours(scored, pair)
        number = float(own[:end].sum())
        (distance, width), (there, spread) = (_nearest(mass, reference.r, number) for mass in (own, run))
        change = float(run[:end].sum()) - number
        floor = half_floor(reference, scored.n_frames, pair, distance=moved).value if reference.n_frames > 1 else 0.0
        w = moved(scored.mean(pair), g)
        found.append(ShellChange(pair, distance, there - distance, width, spread - width, number, change, w, floor))
    return sorted(found, key=lambda one: one.floor - one.wasserstein)


def shell_end(g: np.ndarray, bin_width: float = BIN_WIDTH) -> int | None:
    """Bins that belong to the first shell of a g(r) [B]; None where no peak above 1 ends within the range.

    >>> shell_end(np.array([0, 0, 0.2, 3, 5, 3, 0.4, 0.1, 0.5, 1, 1, 1]))
    8
    """
    smooth = np.convolve(np.pad(g, 1, mode="edge"), np.ones(3) / 3, "valid")
    rising, falling = np.diff(smooth, prepend=0.0) > 0, np.diff(smooth, append=np.inf) < 0
    peaks = np.flatnonzero(rising & falling & (smooth > 1))
    if not len(peaks):
        return None
    first = int(peaks[0])
    return first + int(np.argmin(smooth[first : first + 1 + max(1, round(SHELL_WIDTH / bin_width))])) + 1


def _neighbours(distribution: RadialDistribution, pair: Pair) -> np.ndarray:
    """Mean number [B] of neighbours of the second species around the first in each bin."""
    edges = distribution.bin_width * np.arange(len(distribution.r) + 1)
    per_volume = (distribution.frames[pair] / distribution.volume[:, None]).mean(axis=0)
    return np.asarray(per_volume * distribution.number[pair[1]] * 4 / 3 * np.pi * np.diff(edges**3))


def _nearest(mass: np.ndarray, r: np.ndarray, number: float) -> tuple[float, float]:
    """Mean and standard deviation in Å of the distances of the `number` nearest neighbours."""
    taken = np.clip(number - (np.cumsum(mass) - mass), 0.0, mass)
    if taken.sum() <= 0:
        return float(r[-1]), 0.0
    mean = float((taken * r).sum() / taken.sum())
    return mean, float(np.sqrt((taken * (r - mean) ** 2).sum() / taken.sum()))


def significance(
    mae: Estimate,
    floor: Estimate,
    groups: Sequence[tuple[Sequence[RadialDistribution], RadialDistribution]],
    *,
    distance: Distance = rdf_mae,
    seed: int = 0,
) -> Significance:
    """Is the distance of runs from their references more than the references' own noise?

    `groups`: for each temperature its runs and the reference they are held against; mae and floor are what is shown, means over
    all of them. The label is that of `no_worse` with a margin of 0.02: "indistinguishable" when the interval of mae - floor
    ends below it. "different" needs p <= 0.05 as well, see `exchange_test`.
    """
    comparison = no_worse(mae, floor, MAE_THRESHOLD, "lower")
    p = exchange_test(groups, distance=distance, seed=seed)
    if comparison.label == "different" and p > SIGNIFICANT:
        comparison = Comparison("undecided", comparison.difference, comparison.margin, f"p {p:.2f} by exchange of blocks")
    return Significance(comparison, p)


def exchange_test(
    groups: Sequence[tuple[Sequence[RadialDistribution], RadialDistribution]],
    *,
    distance: Distance = rdf_mae,
    n_exchanges: int = 1000,
    seed: int = 0,
) -> float:
    """Probability p of so large a mean distance between runs and references that differ by chance alone.

    Runs and reference of a temperature are cut into blocks of one length, at least 0.8 ps; if the structure is the same, so
    that blocks of either could have come from the other, every assignment of blocks to runs and reference is as likely as the
    true one. p = (1 + number of random assignments with at least the true distance) / (1 + their number): at most 5% of equal
    pairs have p <= 0.05 as long as blocks do not remember each other. 1 where fewer than 4 blocks of a run, or of the
    reference, can be had. Fisher, The Design of Experiments (1935); Phipson and Smyth,
    Stat. Appl. Genet. Mol. Biol. 9, 39 (2010), https://doi.org/10.2202/1544-6115.1585.
    """
    generator = np.random.default_rng(seed)
    seen, drawn, number = 0.0, np.zeros(n_exchanges), 0
    for runs, reference in groups:
        length = _block_length((*runs, reference))
        parts = [_blocks(run, length) for run in (*runs, reference)]
        if min(len(part) for part in parts) < FEWEST_BLOCKS:
            return 1.0
        every, ends = np.concatenate(parts), np.cumsum([0, *(len(part) for part in parts)])
        assigned = [np.arange(len(every))] + [generator.permutation(len(every)) for _ in range(n_exchanges)]
        for k, order in enumerate(assigned):
            means = [every[order[a:b]].mean(axis=0) for a, b in pairwise(ends)]
            total = sum(distance(mean, means[-1]) for mean in means[:-1])
            if k == 0:
                seen += total
            else:
                drawn[k - 1] += total
        number += len(runs)
    return float((1 + (drawn >= seen * (1 - 1e-12)).sum()) / (1 + n_exchanges))


def _block_length(distributions: Sequence[RadialDistribution]) -> int:
    """Frames that last 0.8 ps, and no fewer than make 8 blocks of the shortest run."""
    first = distributions[0]
    spacing = float(first.time[1] - first.time[0]) if first.n_frames > 1 else 0.0
    lasting = math.ceil(BLOCK_TIME / spacing) if spacing > 0 else 1
    return max(1, lasting, min(one.n_frames for one in distributions) // MOST_BLOCKS)


def _blocks(distribution: RadialDistribution, length: int) -> np.ndarray:
    """Mean g(r) of consecutive blocks of `length` frames: [blocks, B]."""
    frames = frames_of(distribution, None)
    whole = len(frames) // length
    return frames[: whole * length].reshape(whole, length, frames.shape[1]).mean(axis=1)


def as_parts(one: Any) -> dict[str, Any]:
    """A close pair or a changed shell for a results file: symbols for atomic numbers."""
    return {**vars(one), "pair": "-".join(units.symbol(a) for a in one.pair)}
