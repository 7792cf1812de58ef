"""Which models can be told apart: paired differences over the same cells, Holm's correction, tiers, P(rank 1).

A cell is one run: a material, a temperature, a replica. Every model is scored in the same cells, and a difference between two
models is the mean over materials of the mean over temperatures of the mean over replicas of the differences in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from grannfield.analysis.uncertainty import LEVEL, UNBOUNDED

N_RESAMPLES = 1000
ROUNDING = 1e-9
"""Of a number, what arithmetic may change."""
INTERVAL_DOF = 10
"""Degrees of freedom granted to a variance that is known from an interval alone."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Scores of k models in the same cells, without gaps, higher being better."""

    values: Sequence[Sequence[np.ndarray]]
    """[material][temperature], each [k, replicas]."""
    variance: np.ndarray
    """[materials, k]: of a material's score where no runs show it (0 where they do)."""

    @property
    def n_models(self) -> int:
        return len(self.values[0][0])

    @property
    def n_cells(self) -> int:
        return sum(one.shape[1] for material in self.values for one in material)

    def by_material(self) -> np.ndarray:
        """Mean over temperatures and replicas, [materials, k]."""
        return np.array([np.mean([one.mean(1) for one in material], axis=0) for material in self.values])

    def scaled(self) -> Cells:
        """The same in units of the spread between models and of what is known of their error, rms over materials."""
        means = self.by_material()
        error = np.where(np.isfinite(self.variance), self.variance, 0.0)
        spread = float(np.sqrt(((means - means.mean(1, keepdims=True)) ** 2 + error).mean()))
        if spread <= ROUNDING * float(np.abs(means).max(initial=0.0)):  # equal models differ by rounding, which is no unit
            spread = 1.0
        return Cells([[one / spread for one in material] for material in self.values], self.variance / spread**2)


@dataclass(frozen=True)
class Gap:
    """The difference of two models, with its standard error; p is of the hypothesis that there is none."""

    difference: float
    error: float
    dof: float
    p: float
    interval: tuple[float, float]

    @property
    def resolvable(self) -> bool:
        """Whether the cells say anything of the difference."""
        return math.isfinite(self.error) and self.dof > 0


@dataclass(frozen=True, eq=False)
class Ranking:
    """k models in tiers: within one, none is told from the best of it."""

    mean: np.ndarray
    """[k], higher is better."""
    tier: np.ndarray
    """[k], 1 is the best; all 1 where nothing can be told apart."""
    p_first: np.ndarray
    """[k]: share of the resamples in which a model has the best mean; NaN where there is nothing to resample."""
    p: np.ndarray
    """[k, k] of the pairs, after Holm's correction."""
    smallest_gap: float
    """Median over pairs of the difference that would just have been told apart; infinite where none would be."""

    @property
    def resolved(self) -> bool:
        return bool(self.tier.max() > 1)


def gap_of(cells: Cells, a: int, b: int) -> Gap:
    """Model a against model b.

    Variance: that of the hierarchical bootstrap over materials, temperatures and replicas, each level's own part taken with its
    degrees of freedom (n-1) and added; a part that also shows on the level above is thus counted twice, which errs on the wide
    side and gives many degrees of freedom where only the runs scatter, two for three materials where the materials disagree
    (Welch and Satterthwaite). With differences all the same, such as 1 of 1 against 0 of 1 in all n cells, p is that of n
    tosses of a coin.
    """
    by_material, within = _differences(cells, a, b)
    return gap_from(float(by_material.mean()), [_of_mean(by_material), *within], cells.n_cells)


def overall_gap(columns: Sequence[Cells], a: int, b: int) -> Gap:
    """Model a against model b by the mean of several columns over the same materials, each scaled to its own spread.

    The columns' scatter within materials comes from the same runs: it is added as if it went together.
    """
    found = [_differences(cells, a, b) for cells in columns]
    by_material = np.mean([differences for differences, _ in found], axis=0)
    within = [[(v, dof) for v, dof in parts if dof > 0 and v > 0] for _, parts in found]
    error = float(np.mean([math.sqrt(sum(v for v, _ in parts)) for parts in within]))
    dof = min((effective_dof(parts) for parts in within if parts), default=0.0)
    return gap_from(float(by_material.mean()), [_of_mean(by_material), (error**2, dof)], min(c.n_cells for c in columns))


def overall(columns: Sequence[Cells], seed: int) -> Ranking:
    """Tiers by several columns together; ValueError unless all have the same models and number of materials."""
    shapes = {cells.by_material().shape for cells in columns}
    if len(shapes) != 1 or shapes.copy().pop()[1] < 2:
        raise ValueError(f"columns of [materials, models] {sorted(shapes)}: one shape with at least two models is needed")
    scaled = [cells.scaled() for cells in columns]
    k = scaled[0].n_models
    gaps = {(a, b): overall_gap(scaled, a, b) for a in range(k) for b in range(a)}
    drawn = np.mean([resampled(cells, seed) for cells in scaled], axis=0)
    return in_tiers(np.mean([cells.by_material().mean(0) for cells in scaled], axis=0), gaps, shares_of_first(drawn))


def _differences(cells: Cells, a: int, b: int) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """a - b [materials], and the parts of the variance of their mean from within the materials, with degrees of freedom."""
    by_temperature = [np.array([(one[a] - one[b]).mean() for one in material]) for material in cells.values]
    m = len(by_temperature)
    parts = [((one[a] + one[b]) / m**2, float(INTERVAL_DOF)) for one in cells.variance if one[a] + one[b] > 0]
    for material, means in zip(cells.values, by_temperature, strict=True):
        parts += [_of_mean(means, 1 / m)] + [_of_mean(one[a] - one[b], 1 / (m * len(means))) for one in material]
    return np.array([means.mean() for means in by_temperature]), parts


def gap_from(difference: float, parts: Sequence[tuple[float, float]], n_cells: int) -> Gap:
    """A difference with the parts of its variance, each with degrees of freedom (0: this level says nothing)."""
    known = [(v, dof) for v, dof in parts if dof > 0]
    total = sum(v for v, _ in known)
    if not known or math.isinf(total):
        return Gap(difference, math.inf, 0.0, 1.0, UNBOUNDED)
    if total <= (1e-12 * difference) ** 2:
        p = min(1.0, 2.0 ** (1 - n_cells)) if difference else 1.0
        return Gap(difference, 0.0, float(n_cells), p, (difference, difference) if p < 1 - LEVEL else UNBOUNDED)
    dof = effective_dof([(v, dof) for v, dof in known if v > 0])
    error = math.sqrt(total)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, dof)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, dof))
    return Gap(difference, error, dof, p, (difference - half, difference + half))


def _of_mean(values: np.ndarray, weight: float = 1.0) -> tuple[float, float]:
    """Variance of `weight` times the mean of values, and its degrees of freedom."""
    n = len(values)
    return (weight**2 * float(np.var(values, ddof=1)) / n, n - 1.0) if n > 1 else (0.0, 0.0)


def effective_dof(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own, by Welch and Satterthwaite.

    >>> effective_dof([(1.0, 5), (1.0, 5)])
    10.0
    """
    total = sum(v for v, _ in parts)
    return 1.0 if math.isinf(total) else 1 / sum((v / total) ** 2 / dof for v, dof in parts)


def holm(p: np.ndarray) -> np.ndarray:
    """p values of several hypotheses, raised so that the chance of even one false alarm is kept: Holm (1979).

    >>> [float(x) for x in holm(np.array([0.01, 0.04, 0.03]))]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    raised = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    found = np.empty(len(p))
    found[order] = raised
    return found


def ranking(cells: Cells, seed: int) -> Ranking:
    """Tiers of k models by one column, and how often each comes first; ValueError for fewer than two.

    The p values of all k(k-1)/2 pairs are corrected together, since it is the data that choose which model is held to be the
    best. Tier 1: the best and all that are not told from it; tier 2: the same among the rest; and so on.
    """
    k = cells.n_models
    if k < 2:
        raise ValueError(f"{k} model has no rank: at least two are needed")
    gaps = {(a, b): gap_of(cells, a, b) for a in range(k) for b in range(a)}
    first = shares_of_first(resampled(cells, seed)) if cells.n_cells > 1 or cells.variance.any() else np.full(k, math.nan)
    return in_tiers(cells.by_material().mean(0), gaps, first)


def in_tiers(mean: np.ndarray, gaps: dict[tuple[int, int], Gap], first: np.ndarray) -> Ranking:
    """A ranking from the means [k] of the models and the gaps of all pairs (a, b), b < a."""
    k = len(mean)
    p = np.ones((k, k))
    for (a, b), raised in zip(gaps, holm(np.array([gap.p for gap in gaps.values()])), strict=True):
        p[a, b] = p[b, a] = raised
    tier, left, number = np.ones(k, dtype=int), list(np.argsort(-mean, kind="stable")), 0
    while left:
        number += 1
        inside = [j for j in left if j == left[0] or p[left[0], j] > 1 - LEVEL]
        tier[inside] = number
        left = [j for j in left if j not in inside]
    spoken = [gap for gap in gaps.values() if gap.resolvable and gap.error > 0]
    limits = [float(stats.t.isf((1 - LEVEL) / (2 * len(gaps)), gap.dof)) * gap.error for gap in spoken]
    first = first if any(gap.resolvable for gap in gaps.values()) else np.full(k, math.nan)
    return Ranking(mean, tier, first, p, float(np.median(limits)) if limits else math.inf)


def resampled(cells: Cells, seed: int, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """Mean of each model [n_resamples, k] in redrawn cells, the same for all models.

    Materials are drawn with replacement, temperatures within each, replicas within each; where no runs show the scatter of a
    material's score, it is drawn from a normal of the variance known. Columns that share a seed share the materials drawn.
    """
    generator, inner = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    m = len(cells.values)
    chosen = generator.integers(m, size=(n_resamples, m))
    total = np.zeros((n_resamples, cells.n_models))
    for number, material in enumerate(cells.values):
        drawn = _material(material, inner, (n_resamples, m))
        spread = np.sqrt(np.where(np.isfinite(cells.variance[number]), cells.variance[number], 0.0))
        drawn = drawn + inner.standard_normal(drawn.shape) * spread
        total += (drawn * (chosen == number)[..., None]).sum(1)
    return total / m


def _material(temperatures: Sequence[np.ndarray], generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Redrawn means of one material, [*shape, k]."""
    n = len(temperatures)
    chosen = generator.integers(n, size=(*shape, n))
    found = np.zeros((*shape, len(temperatures[0])))
    for number, values in enumerate(temperatures):
        replicas = values.shape[1]
        for slot in range(n):
            redrawn = values[:, generator.integers(replicas, size=(*shape, replicas))].mean(-1)
            found += np.moveaxis(redrawn, 0, -1) * (chosen[..., slot] == number)[..., None]
    return found / n


def shares_of_first(drawn: np.ndarray) -> np.ndarray:
    """How often each model is the best of a row of [n, k]; a tie is shared.

    >>> [float(x) for x in shares_of_first(np.array([[1.0, 0.0], [1.0, 1.0]]))]
    [0.75, 0.25]
    """
    best = drawn == drawn.max(1, keepdims=True)
    share: np.ndarray = (best / best.sum(1, keepdims=True)).mean(0)
    return share
