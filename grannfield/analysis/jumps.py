"""Moves of the mobile ions from site to site: how often, along which ways, how often straight back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import stats

from grannfield.analysis.matched import FEWEST_IONS, matched, mean_over_pairs
from grannfield.analysis.sites import Sites
from grannfield.analysis.uncertainty import (
    BELOW_DETECTION,
    LEVEL,
    TOO_SHORT,
    UNDEFINED,
    Estimate,
    clopper_pearson,
    t_interval,
    t_quantile,
)

RESIDENCE = 100.0
"""fs, a period of vibration: an ion that returns sooner has not moved."""
COARSEST = 100.0
"""fs between frames, beyond which an ion at 1000 K may pass a site unseen."""
FEWEST_JUMPS = 20
"""In the run and in the reference, for their ways to be compared."""
LEAST_BUNCHING = 0.2
N_BLOCKS = 8
THINNINGS = 8


@dataclass(frozen=True, eq=False)
class Jumps:
    """Moves of n ions between sites in F frames."""

    ion: np.ndarray
    """[J]"""
    frame: np.ndarray
    """[J] when the ion arrived in the core of its new site."""
    move: np.ndarray
    """[J, 5] origin, target, and by how many cells the target lies away."""
    way: np.ndarray
    """[J, 5] the move that represents all that are the same by symmetry, there or back (`Sites.moves`)."""
    sites: Sites
    n_frames: int
    n_ions: int
    timestep: float
    """fs."""

    @property
    def observed(self) -> float:
        """Ion-ps in which a jump would have been seen: one that comes at the very end cannot be told from a visit."""
        return self.n_ions * max(0.0, (self.n_frames - 1) * self.timestep - RESIDENCE) * 1e-3

    @cached_property
    def _successive(self) -> np.ndarray:
        """Indices [K] of jumps that the same ion follows by the next in the list."""
        return np.flatnonzero(self.ion[1:] == self.ion[:-1])

    @cached_property
    def _returns(self) -> np.ndarray:
        """[K] bool: the next jump of the same ion undoes the jump."""
        first, then = self.move[self._successive], self.move[self._successive + 1]
        return (first[:, 0] == then[:, 1]) & (first[:, 2:] == -then[:, 2:]).all(axis=1)

    def vectors(self) -> np.ndarray:
        """Displacements [J, 3] in Å from site to site."""
        fractional = self.sites.fractional
        found: np.ndarray = (fractional[self.move[:, 1]] + self.move[:, 2:] - fractional[self.move[:, 0]]) @ self.sites.cell
        return found

    def rate(self) -> Estimate:
        """Jumps per ion and ps; n counts jumps.

        Interval: that of a Poisson count, for a count divided by how much more (or less) than Poisson's the counts of single
        ions scatter, or those of 8 blocks of time where these show that ions move together; its level that of Student's t for
        as many ions or blocks. Jumps straight back, and sites that are left sooner than others, come in bunches; an ion that
        must rest between jumps makes them regular. Without a jump: 0, with the upper end for which none was seen 1 time in 40.
        Garwood, Biometrika 28, 437 (1936), https://doi.org/10.1093/biomet/28.3-4.437.
        """
        if self.observed <= 0:
            return Estimate.missing(TOO_SHORT, f"{self.n_frames} frames of {self.timestep:g} fs")
        n = len(self.ion)
        if not n:
            high = float(stats.gamma.ppf((1 + LEVEL) / 2, 1)) / self.observed
            return Estimate(0.0, (0.0, high), 1, note="no jump in the whole run")
        bunching, dof = self.bunching()
        effective, tail = n / bunching, float(stats.norm.sf(t_quantile(dof)))
        ends = stats.gamma.ppf(tail, effective), stats.gamma.isf(tail, effective + 1)
        rate = n / self.observed
        note = f"jumps; counts scatter {bunching:.1f} times Poisson's"
        return Estimate(rate, (float(rate * ends[0] / effective), float(rate * ends[1] / effective)), n, note=note)

    def bunching(self) -> tuple[float, int]:
        """Variance of the counts of ions over their mean, 1 for independent jumps, and its degrees of freedom.

        That of blocks of time instead, where it is larger than independent ions would show once in 100 runs.
        """
        per_ion = np.bincount(self.ion, minlength=self.n_ions)
        per_block = np.bincount(self.frame * N_BLOCKS // self.n_frames, minlength=N_BLOCKS)
        ions = float(per_ion.var(ddof=1) / per_ion.mean()) if self.n_ions >= FEWEST_IONS else 1.0
        ions = max(LEAST_BUNCHING, ions) if len(self.ion) > self.n_ions else max(1.0, ions)  # few counts show no regularity
        blocks, dof = float(per_block.var(ddof=1) / per_block.mean()), N_BLOCKS - 1
        if blocks > ions and blocks > max(1.0, ions) * stats.chi2.isf(0.01, dof) / dof:
            return blocks, dof
        return ions, (self.n_ions - 1 if self.n_ions >= FEWEST_IONS else 10**6)

    def back_share(self) -> Estimate:
        """Share of jumps that the ion's next jump undoes; n counts jumps that have a next."""
        n, k = len(self._returns), int(self._returns.sum())
        if not n:
            return Estimate.missing(BELOW_DETECTION, "no ion jumped twice")
        return Estimate(k / n, clopper_pearson(k, n), n, note="jumps followed by another of the same ion")

    def correlation(self) -> Estimate:
        """Correlation factor f = (1 + <cos>)/(1 - <cos>), <cos> the mean cosine between an ion's successive jumps.

        1 for a random walk, 0 where every jump is undone. Le Claire and Lidiard, Phil. Mag. 1, 518 (1956),
        https://doi.org/10.1080/14786435608238133: exact where all ways are alike, else a measure of memory.
        """
        if len(self._successive) < 2:
            return Estimate.missing(BELOW_DETECTION, "fewer than 2 pairs of successive jumps")
        unit = self.vectors() / np.linalg.norm(self.vectors(), axis=1, keepdims=True)
        cosine = (unit[self._successive] * unit[self._successive + 1]).sum(axis=1)
        factor = lambda c: (1 + c) / max(1 - c, 1e-9)  # noqa: E731
        low, high = max(-1.0, t_interval(cosine)[0]), min(1.0, t_interval(cosine)[1])
        mean = float(cosine.mean())
        return Estimate(factor(mean), (factor(low), factor(high)), len(cosine), note="pairs of successive jumps")

    def mean_length(self) -> Estimate:
        """Mean distance in Å between the sites of a jump."""
        if not len(self.ion):
            return Estimate.missing(BELOW_DETECTION, "no jumps")
        lengths = np.linalg.norm(self.vectors(), axis=1)
        return Estimate(float(lengths.mean()), t_interval(lengths), len(lengths), note="jumps")

    def graph(self) -> list[dict[str, object]]:
        """Ways distinct by symmetry, most used first: orbits, length in Å, jumps, share with its exact interval."""
        if not len(self.ion):
            return []
        ways, counts = np.unique(self.way, axis=0, return_counts=True)
        names, lengths = self.sites.names, self.sites.length(ways)
        found = []
        for k in np.argsort(-counts, kind="stable"):
            ends = sorted(names[self.sites.orbit[site]] for site in ways[k, :2])
            low, high = clopper_pearson(int(counts[k]), int(counts.sum()))
            share = {"share": float(counts[k] / counts.sum()), "interval": [low, high]}
            found.append({"way": "-".join(ends), "length_A": round(float(lengths[k]), 2), "jumps": int(counts[k])} | share)
        return found


@dataclass(frozen=True)
class GraphComparison:
    """How alike the ways of the ions are in a run and in its reference, beside the reference against itself."""

    overlap: Estimate
    """Sum over ways distinct by symmetry of min(p, q) of the shares of jumps: 1 the same, 0 no way in common; its interval is
    that of its difference from the floor."""
    floor: Estimate
    new: Estimate
    """Share of the run's jumps along ways that the reference never used; n counts jumps."""


def find_jumps(fractional: np.ndarray, sites: Sites, timestep: float) -> Jumps:
    """Moves of ions with fractional coordinates [F, n, 3], unwrapped, in the frame of the sites; `timestep` fs.

    An ion belongs to the last site whose core it entered: what happens between cores, as vibration on the border, is no
    jump. A visit of less than 100 fs from which the ion returns whence it came is none either; a visit in passing is.
    Each core is entered before the next, so that ways never skip a site unless the ion crosses its core between frames.
    """
    fractional = np.asarray(fractional, dtype=np.float64)
    n_frames, n_ions = fractional.shape[:2]
    shortest = math.ceil(RESIDENCE / timestep) if timestep > 0 else 1
    where, cells = sites.in_core(fractional)
    ions, frames, moves = [], [], []
    for ion in range(n_ions):
        seen = np.flatnonzero(where[:, ion] >= 0)
        entry, state = _visits(seen, np.column_stack([where[seen, ion], cells[seen, ion]]), n_frames, shortest)
        ions.append(np.full(max(0, len(entry) - 1), ion))
        frames.append(entry[1:])
        moves.append(np.column_stack([state[:-1, 0], state[1:, 0], np.diff(state[:, 1:], axis=0)]))
    move = np.concatenate(moves).astype(np.int64).reshape(-1, 5)
    way = sites.moves(move[:, 0], move[:, 1], move[:, 2:]) if len(move) else move
    return Jumps(np.concatenate(ions), np.concatenate(frames), move, way, sites, n_frames, n_ions, timestep)


def compare_graphs(scored: Jumps, reference: Jumps, *, seed: int = 0) -> GraphComparison | Estimate:
    """How alike the ways of a run and its reference are, at equal length and with equally many jumps.

    In each comparison all stretches are thinned to the count of the poorest, so that a run which merely jumps less often is
    not called different; intervals: `matched`. The reason where there is no number: frames too far apart, or fewer than 20
    jumps on either side.
    """
    for name, one in (("the run", scored), ("the reference", reference)):
        if one.timestep > COARSEST:
            return Estimate.missing(UNDEFINED, f"frames {one.timestep:g} fs apart in {name}, {COARSEST:g} fs are needed")
        if len(one.ion) < FEWEST_JUMPS:
            return Estimate.missing(BELOW_DETECTION, f"{len(one.ion)} jumps in {name}, {FEWEST_JUMPS} are needed", n=len(one.ion))
    ways, index = np.unique(np.concatenate([scored.way, reference.way]), axis=0, return_inverse=True)
    index = np.asarray(index).ravel()
    own, other = index[: len(scored.way)], index[len(scored.way) :]
    generator = np.random.default_rng(seed)

    def parts(jumps: Jumps, way: np.ndarray, frames: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
        group_of = np.empty(jumps.n_ions, dtype=int)
        for g, group in enumerate(groups):
            group_of[group] = g
        chosen = (jumps.frame >= frames[0]) & (jumps.frame <= frames[-1])
        flat = group_of[jumps.ion[chosen]] * len(ways) + way[chosen]
        return np.bincount(flat, minlength=len(groups) * len(ways)).reshape(len(groups), -1)

    def statistic(run: np.ndarray, itself: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = np.concatenate([run, itself]).astype(np.int64)
        fewest = max(1, int(counts.sum(axis=1).min()))
        thinned = np.array([_thinned(c, fewest, generator) for c in counts]) / fewest
        quantity = lambda p, q: np.array([np.minimum(p, q).sum(axis=-1).mean()])  # noqa: E731
        return mean_over_pairs(thinned[:2], thinned[2:], quantity)

    (found,) = matched(
        scored.n_frames, lambda f, g: parts(scored, own, f, g), reference.n_frames, lambda f, g: parts(reference, other, f, g),
        reference.n_ions, statistic, seed=seed, note="as many jumps as in the poorest",
    )  # fmt: skip
    unit = lambda e: replace(e, interval=(max(0.0, e.interval[0]), min(1.0, e.interval[1])))  # noqa: E731
    n = len(own)
    strange = int((~np.isin(own, other)).sum())
    new = Estimate(strange / n, clopper_pearson(strange, n), n, note="jumps")
    return GraphComparison(unit(found.value), unit(found.floor), new)


def _thinned(counts: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """Counts [8, W] of n of the jumps counted [W], drawn without replacement eight times."""
    if counts.sum() <= n:
        return np.tile(counts, (THINNINGS, 1))
    return generator.multivariate_hypergeometric(counts, n, size=THINNINGS)


def _visits(seen: np.ndarray, states: np.ndarray, n_frames: int, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """Entry frames [V] and states [V, 4] (site and cell) of the visits that count, from the states at the frames `seen`."""
    changed = np.ones(len(seen), dtype=bool)
    changed[1:] = (states[1:] != states[:-1]).any(axis=1)
    kept: list[tuple[int, tuple[int, ...]]] = []
    for entry, state in zip(seen[changed].tolist(), map(tuple, states[changed].tolist()), strict=True):
        if len(kept) > 1 and kept[-2][1] == state and entry - kept[-1][0] < shortest:
            kept.pop()  # back where it came from
        else:
            kept.append((entry, state))
    while len(kept) > 1 and n_frames - kept[-1][0] < shortest:
        kept.pop()  # whether it stays is not known
    return np.array([entry for entry, _ in kept], dtype=int), np.array([state for _, state in kept], dtype=int).reshape(-1, 4)
