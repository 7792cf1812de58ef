"""Where scatter comes from: one-way random-effects analysis of variance of numbers in groups.

Model: x_ij = mu + a_i + e_ij, a_i ~ N(0, between²) for the group (a training), e_ij ~ N(0, within²) for the member (a run).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import optimize, stats

from grannfield.analysis.uncertainty import LEVEL, UNDEFINED, Estimate

FORMULA = """one-way random-effects analysis of variance; within: exact chi-square interval of the mean square; share \
between²/(between² + within²): exact F interval, from the two ratios t = between²/within² at which \
H(t) = sum_i w_i (x_i - x_w)²/((k-1) MS_within), w_i = n_i/(1 + n_i t), is the quantile of F with k-1 and N-k degrees of \
freedom; between: the share's and the chi-square interval of the mean square between groups together, each at 97.5%"""
SOURCE = (
    "Wald, Ann. Math. Statist. 11, 96 (1940), https://doi.org/10.1214/aoms/1177731946; Sahai and Ageel, The Analysis of Variance "
    "(2000), https://doi.org/10.1007/978-1-4612-1344-4"
)
MOST_RATIO = 1e9
"""Largest between²/within² that is looked for."""


@dataclass(frozen=True)
class Components:
    """Standard deviations between and within groups; n counts numbers, and k groups."""

    k: int
    n: int
    mean: float
    between: Estimate
    """Standard deviation of the groups' true means."""
    within: Estimate
    """Standard deviation inside a group."""
    share: Estimate
    """Of the variance of a single number, what lies between groups."""
    total: Estimate
    """Standard deviation of all numbers; an interval only where no number shares a group with another, or all do."""
    f: float
    """Mean square between over mean square within; NaN where there is none."""
    p: float
    """Probability of so large an f where the groups do not differ."""


def components(groups: Sequence[Sequence[float]]) -> Components:
    """The variance components of numbers in groups; ValueError for no number at all, or one that is not finite.

    Groups without a number are left out. With one group, or one number in each, what cannot be told apart is "undefined".

    >>> found = components([[1.0, 1.2, 0.8], [2.0, 2.2, 1.8], [3.1, 2.9, 3.0]])
    >>> round(found.within.value, 3), round(found.between.value, 2), round(found.share.value, 2)
    (0.173, 0.99, 0.97)
    """
    rows = [np.asarray(group, dtype=float) for group in groups if len(group)]
    everything = np.concatenate(rows) if rows else np.empty(0)
    if not len(everything) or not np.isfinite(everything).all():
        raise ValueError(f"no variance of {everything.tolist()}: finite numbers are needed")
    k, n = len(rows), len(everything)
    sizes, means = np.array([len(row) for row in rows]), np.array([row.mean() for row in rows])
    inside = float(sum(((row - row.mean()) ** 2).sum() for row in rows))
    mean, free = float(everything.mean()), n - k
    total = spread(everything) if 1 in (k, int(sizes.max())) else _no_interval(everything)
    within = deviation(inside, free, n) if free else Estimate.missing(UNDEFINED, "one number in each group", n=n)
    if k < 2 or not free or inside <= 0:
        why = "one group" if k < 2 else "one number in each group" if not free else "no scatter inside the groups"
        nothing = Estimate.missing(UNDEFINED, why, n=n)
        return Components(k, n, mean, nothing, within, nothing, total, math.nan, math.nan)
    outside = float((sizes * (means - mean) ** 2).sum())
    f = outside / (k - 1) / (inside / free)
    typical = float(n - (sizes**2).sum() / n) / (k - 1)  # the size of balanced groups
    ratio = max(0.0, (f - 1) / typical)
    low, high = (_share(t) for t in ratio_interval(means, sizes, inside / free, free))
    share = Estimate(_share(ratio), (min(low, _share(ratio)), max(high, _share(ratio))), n, note=f"{k} groups")
    between = _between(ratio, inside / free, outside, means, sizes, free, typical)
    return Components(k, n, mean, between, within, share, total, f, float(stats.f.sf(f, k - 1, free)))


def ratio_interval(means: np.ndarray, sizes: np.ndarray, within: float, free: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of between²/within² from group means [k] of sizes [k] and the mean square within (see FORMULA).

    With equal sizes n it is ((f/F_upper - 1)/n, (f/F_lower - 1)/n), cut at zero.
    """
    k = len(means)

    def h(t: float) -> float:
        weights = sizes / (1 + sizes * t)
        centre = (weights * means).sum() / weights.sum()
        return float((weights * (means - centre) ** 2).sum() / (k - 1) / within)

    ends = []
    for quantile in ((1 + level) / 2, (1 - level) / 2):
        wanted = float(stats.f.ppf(quantile, k - 1, free))
        if h(0.0) <= wanted:
            ends.append(0.0)
        elif h(MOST_RATIO) >= wanted:
            ends.append(math.inf)
        else:
            ends.append(float(optimize.brentq(lambda t, w=wanted: h(t) - w, 0.0, MOST_RATIO, xtol=1e-12, rtol=1e-10)))
    return ends[0], ends[1]


def _between(
    ratio: float, within: float, outside: float, means: np.ndarray, sizes: np.ndarray, free: int, typical: float
) -> Estimate:
    """The standard deviation between groups. E = within² + n between² has a chi-square interval, t = between²/within² an exact
    one; between² = E t/(1 + n t) grows with both, so that their ends at 97.5% each bound it at 95% at least (equal sizes)."""
    k, both = len(means), 1 - (1 - LEVEL) / 2
    chi = stats.chi2.ppf([(1 + both) / 2, (1 - both) / 2], k - 1)
    ends = [
        math.sqrt(outside / one * (1 / typical if math.isinf(t) else t / (1 + typical * t)))
        for one, t in zip(chi, ratio_interval(means, sizes, within, free, both), strict=True)
    ]
    value = math.sqrt(ratio * within)
    note = "95% at least" if len(set(sizes.tolist())) == 1 else "approximate: groups of unequal size"
    return Estimate(value, (min(ends[0], value), max(ends[1], value)), len(means), note=note)


def _share(ratio: float) -> float:
    return 1.0 if math.isinf(ratio) else ratio / (1 + ratio)


def deviation(squares: float, free: int, n: int) -> Estimate:
    """A standard deviation from a sum of squares with its degrees of freedom, with the exact interval of normal numbers.

    >>> [round(x, 2) for x in deviation(8.0, 2, 3).interval]
    [1.04, 12.57]
    """
    upper, lower = stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], free)
    value = math.sqrt(squares / free)
    return Estimate(value, (math.sqrt(squares / upper), math.sqrt(squares / lower)), n, dof=free)


def spread(values: Sequence[float] | np.ndarray) -> Estimate:
    """The standard deviation of independent numbers with its interval; "undefined" for a single one."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return Estimate.missing(UNDEFINED, "a single number has no scatter", n=len(x))
    return deviation(float(((x - x.mean()) ** 2).sum()), len(x) - 1, len(x))


def _no_interval(values: np.ndarray) -> Estimate:
    return Estimate(float(values.std(ddof=1)), n=len(values), note="numbers of one group hang together")


def clustering(failed: Sequence[int], sizes: Sequence[int]) -> float:
    """Probability that chance alone gathers failures in few groups as much as they are, given their number.

    Failed of size runs in each group; exact: every choice of the runs that fail is as likely. Gathered: sum failed²/size. 1 where
    none or all failed. ValueError unless 0 <= failed <= size.

    >>> clustering([3, 0, 0], [3, 3, 3]), clustering([1, 1, 1], [3, 3, 3])
    (0.03571428571428571, 1.0)
    """
    if len(failed) != len(sizes) or any(not 0 <= f <= n for f, n in zip(failed, sizes, strict=True)):
        raise ValueError(f"{list(failed)} failed of {list(sizes)} runs: no more failures than runs are needed")
    total = sum(failed)
    gathered = sum(f * f / n for f, n in zip(failed, sizes, strict=True) if n)
    ways = 0
    for counts in product(*(range(min(n, total) + 1) for n in sizes)):
        if sum(counts) == total and sum(c * c / n for c, n in zip(counts, sizes, strict=True) if n) >= gathered - 1e-12:
            ways += math.prod(math.comb(n, c) for n, c in zip(sizes, counts, strict=True))
    return ways / math.comb(sum(sizes), total)
