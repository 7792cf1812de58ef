"""What two measurements of the same cell say about a loss: a shift with its standard error, or pairs for an exact test.

Shifts are counted as losses: positive is worse. Errors of forces and speeds are compared as ratios (their logarithms), everything
else as differences on the column's own scale.

- Stretches of the same frames, or runs from the same seeds at the same temperatures, are paired: t-test of the differences within
  temperatures, from five pairs on.
- Failures and survival: runs paired by temperature and replica; the sign of each difference is equally likely when nothing has
  changed, which makes the test exact however few runs there are.
- Everything else: the two 95% intervals, as independent normal errors, widened by a tenth (`analysis.equivalence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special, stats

from grannfield.analysis.equivalence import GUARD
from grannfield.analysis.uncertainty import Estimate
from grannfield.report.columns import COLUMNS, Column
from grannfield.report.paired import Key, oriented, runs_of
from grannfield.report.results import Results
from grannfield.report.verdicts import estimate_of, own_number
from grannfield.score import Score

RATIO = {"force_mae": 0.02, "force_mae_high": 0.02, "ns_per_day": 0.03, "ns_per_day_batched": 0.03}
"""Columns compared as ratios, and the share that is too little to matter."""
EXACT = ("failed_share", "survival_ps")
SPEED = ("ns_per_day", "ns_per_day_batched")
TOLERANCE = {"energy_rank": 0.005, "rdf_wasserstein": 0.002, "framework_drift": 0.002}
"""Losses that are too small to matter in columns without a margin, in the column's unit."""
OF_MARGIN = 0.2
"""Of a column's margin, in the others: what is ignored must be well below what two models may differ by."""
FEWEST_PAIRS = 5
MOST_EXACT = 30
"""Pairs up to which all signs are gone through; beyond, so many random ones:"""
DRAWS = 100_000


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much worse a number has become, and how well that is known."""

    delta: float
    """Loss on the test's scale: ln of a ratio, decimal logarithm or the column's unit."""
    se: float
    dof: float
    how: str
    pairs: np.ndarray | None = None
    """Differences of single runs, positive where it is worse, of an exact test."""
    tolerance: float = 0.0

    @property
    def p_loss(self) -> float:
        """Probability of so large a loss where there is none beyond the tolerance."""
        return self._p(self.delta, 1)

    @property
    def p_gain(self) -> float:
        return self._p(-self.delta, -1)

    @property
    def interval(self) -> tuple[float, float]:
        """95%, of the loss; unbounded for an exact test."""
        if self.pairs is not None or not math.isfinite(self.se):
            return -math.inf, math.inf
        half = float(special.ndtri(0.975) if math.isinf(self.dof) else special.stdtrit(self.dof, 0.975)) * self.se
        return self.delta - half, self.delta + half

    def _p(self, loss: float, sign: int) -> float:
        if self.pairs is not None:
            return sign_flips(sign * self.pairs)
        if self.se <= 0:
            return 0.0 if loss > self.tolerance else 1.0
        return upper_tail((loss - self.tolerance) / self.se, self.dof)


def tolerance(column: Column) -> float:
    """The largest loss that is no loss, on the scale of the test."""
    if column.metric in EXACT:
        return 0.0
    if column.metric in RATIO:
        return RATIO[column.metric]
    return OF_MARGIN * column.margin if column.margin is not None else TOLERANCE.get(column.metric, 0.0)


def sign_flips(losses: np.ndarray) -> float:
    """P(sum of losses at least as large) when each sign is equally likely; 1 without a difference.

    >>> sign_flips(np.array([1.0, 1.0, 1.0, 0.0])), sign_flips(np.array([1.0, -1.0]))
    (0.125, 0.75)
    """
    losses = np.asarray(losses, float)
    losses = losses[losses != 0]
    if not len(losses):
        return 1.0
    seen, size = losses.sum(), np.abs(losses)
    if np.ptp(size) == 0:
        return float(stats.binom.sf(round((seen / size[0] + len(size)) / 2) - 1, len(size), 0.5))
    if len(size) <= MOST_EXACT:  # all sums of one half beside all sums of the other
        halves = [np.sort(_all_signs(len(half)) @ half) for half in np.array_split(size, 2)]
        reached = np.searchsorted(halves[1], seen - 1e-9 * size.sum() - halves[0], side="left")
        return float((len(halves[1]) - reached).sum() / 2.0 ** len(size))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWS, len(size)))
    return float(((signs @ size >= seen - 1e-9 * size.sum()).sum() + 1) / (DRAWS + 1))


@cache
def _all_signs(n: int) -> np.ndarray:
    """[2^n, n] of ±1."""
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def upper_tail(t: float, dof: float) -> float:
    """P(T > t) of Student's t, of the normal distribution for infinite dof.

    >>> round(upper_tail(2.0, 10), 5), round(upper_tail(1.96, math.inf), 4)
    (0.03669, 0.025)
    """
    return float(special.ndtr(-t) if math.isinf(dof) else special.stdtr(dof, -t))


def evidence_on(old: Results, new: Results, metric: str, material: str) -> Evidence | str:
    """What the two scores of a cell say, or why they say nothing."""
    column, key = COLUMNS[metric], (metric, material)
    a, b = old.scores[key], new.scores[key]
    own = [own_number(one, metric, material) if column.better == "closer" else None for one in (old, new)]
    runs = [runs_of(score.parts, column, mine) for score, mine in zip((a, b), own, strict=True)]
    shared = sorted(set(runs[0]) & set(runs[1]))
    if metric in EXACT:
        return of_runs(runs[0], runs[1], shared)
    numbers = [k for k in shared if math.isfinite(runs[0][k]) and math.isfinite(runs[1][k])]
    if len(numbers) >= FEWEST_PAIRS:
        return of_pairs(column, numbers, *([one[k] for k in numbers] for one in runs))
    return of_intervals(column, (a, b), own)


def of_runs(old: dict[Key, float], new: dict[Key, float], shared: Sequence[Key]) -> Evidence | str:
    """Failures, or times without one, of runs from the same seeds."""
    if not shared:
        return "no single runs are stored"
    pairs = np.array([old[k] - new[k] for k in shared])
    smallest = 0.5 ** len(shared)
    limit = f"; {len(shared)} runs cannot show less than p = {smallest:.2g}" if smallest > 1e-3 else ""
    return Evidence(float(pairs.mean()), math.nan, math.nan, f"exact, {len(shared)} runs{limit}", pairs)


def of_pairs(column: Column, keys: Sequence[Key], old: Sequence[float], new: Sequence[float]) -> Evidence:
    """Differences of paired numbers, higher is better, within temperatures that have several."""
    a, b = np.array(old), np.array(new)
    losses = np.log(b / a) if column.metric in RATIO else a - b  # errors are oriented as negative numbers
    groups = [[i for i, key in enumerate(keys) if key[0] == t] for t in dict.fromkeys(key[0] for key in keys)]
    if min(map(len, groups)) < 2:
        groups = [list(range(len(keys)))]
    means = [losses[one].mean() for one in groups]
    squares = sum(float(((losses[one] - mean) ** 2).sum()) for one, mean in zip(groups, means, strict=True))
    dof = len(losses) - len(groups)
    weights = np.array([len(one) for one in groups]) / len(losses)
    se = math.sqrt(squares / dof * float(sum(w**2 / len(one) for w, one in zip(weights, groups, strict=True))))
    delta = float(weights @ np.array(means))
    return Evidence(delta, se, dof, f"paired, {len(losses)} pairs", tolerance=tolerance(column))


def of_intervals(column: Column, scores: tuple[Score, Score], own: Sequence[Estimate | None]) -> Evidence | str:
    """Two numbers with their intervals, as independent."""
    old, new = (_scaled(column, estimate_of(score), mine) for score, mine in zip(scores, own, strict=True))
    if isinstance(new, str):
        return new
    if isinstance(old, str):
        return old
    (a, half_a), (b, half_b) = old, new
    if a == b:
        return Evidence(0.0, 0.0, math.inf, "the same number", tolerance=tolerance(column))
    if not (math.isfinite(half_a) and math.isfinite(half_b)):
        return "no interval"
    se = GUARD * math.hypot(half_a, half_b) / float(special.ndtri(0.975))
    return Evidence(a - b, se, math.inf, "two intervals", tolerance=tolerance(column))


def _scaled(column: Column, found: Estimate, own: Estimate | None) -> tuple[float, float] | str:
    """A number as higher-is-better on the test's scale, with its larger half-width; or why there is none.

    A bound far below the reference's number counts as the number it allows at best.
    """
    value, (low, high) = found.value, found.interval
    if found.reason:
        if not (column.log10 and own is not None and not own.reason and 0 < high < own.value):
            return found.reason
        value = low = high
    better = oriented(column, value, own)
    if better is None:
        return "no number of the reference to be close to"
    if column.metric in RATIO and not value > 0:
        return "not positive"
    if column.metric in RATIO or column.log10:
        log = math.log if column.metric in RATIO else math.log10
        halves = [abs(log(end / value)) if end > 0 and value > 0 else math.inf for end in (low, high)]
        return (-math.log(value) if column.metric in RATIO else better), max(halves)
    return better, max(value - low, high - value)
