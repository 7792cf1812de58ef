"""How far a number can be trusted: intervals, and the reason when there is no number.

All intervals are 95%. Those of D, Ea and sigma are calibrated on motion whose D is known (`grannfield calibrate`), the others
tested on synthetic data where they are made; where a small sample leaves a choice they are wide rather than narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Confidence level of every interval."""
UNBOUNDED = (-math.inf, math.inf)
"""The interval of a number about which the data say nothing."""

TOO_SHORT = "too short"
BELOW_DETECTION = "below detection"
TOO_FEW_TEMPERATURES = "fewer than 3 usable temperatures"
EXPLODED = "exploded"
FUSED = "fused"
UNDEFINED = "undefined"
"""The formula has no value for these data, such as an R² of a reference that never changes."""


@dataclass(frozen=True)
class Estimate:
    """A number measured from n samples with its 95% interval, or the reason why there is none.

    The value is NaN exactly when `reason` is given. An interval without a value is a bound, as for a diffusivity that
    is "below detection". Raises ValueError for a value outside its interval, or a number without samples.

    >>> Estimate(0.3, (0.1, 0.6), n=20).value
    0.3
    >>> Estimate.missing("below detection", "0.4 Å²", interval=(0.0, 1e-6)).reason
    'below detection'
    """

    value: float
    interval: tuple[float, float] = UNBOUNDED
    n: int = 0
    """Sample size behind the value; `note` says of what."""
    reason: str = ""
    detail: str = ""
    note: str = ""
    dof: float = math.inf
    """Degrees of freedom behind the interval, where they are few enough to matter."""

    def __post_init__(self) -> None:
        low, high = self.interval
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"interval ({low}, {high}) should be ascending and without NaN; use ±inf for an open end")
        if math.isfinite(self.value) == bool(self.reason) or math.isinf(self.value):
            raise ValueError(f"value {self.value} with reason {self.reason!r}: give a finite value, or NaN with a reason")
        if not self.reason and not (low <= self.value <= high and self.n >= 1):
            raise ValueError(f"value {self.value} should lie in its interval ({low}, {high}) and have n >= 1, not {self.n}")

    def parts(self, factor: float = 1.0) -> dict[str, Any]:
        """What a results file keeps of a number that stands beside another, times a factor.

        >>> Estimate(0.3, (0.1, 0.6), n=20).parts(10)
        {'value': 3.0, 'interval': [1.0, 6.0], 'n': 20, 'reason': ''}
        """
        value = None if self.reason else self.value * factor
        return {"value": value, "interval": [end * factor for end in self.interval], "n": self.n, "reason": self.reason}

    @classmethod
    def missing(cls, reason: str, detail: str = "", *, n: int = 0, interval: tuple[float, float] = UNBOUNDED) -> Estimate:
        """No number, for this reason; `interval` holds a bound where there is one."""
        return cls(math.nan, interval, n, reason, detail)


def clopper_pearson(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a probability of which k of n independent trials came true.

    Never narrower than its level, for any n; (0, 1) for n = 0. ValueError unless 0 <= k <= n.
    Clopper and Pearson, Biometrika 26, 404 (1934), https://doi.org/10.1093/biomet/26.4.404.

    >>> [round(x, 3) for x in clopper_pearson(0, 10)]
    [0.0, 0.308]
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share: 0 <= k <= n is needed")
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def t_quantile(dof: float, level: float = LEVEL) -> float:
    """Half-width of a two-sided interval in standard errors, by Student's t; infinite without degrees of freedom.

    >>> round(t_quantile(1), 2), t_quantile(0)
    (12.71, inf)
    """
    return float(stats.t.ppf(0.5 + level / 2, dof)) if dof > 0 else math.inf


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent values [n]; infinite for n = 1."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf


def t_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The interval of the mean of independent values [n], by Student's t; unbounded for n = 1.

    >>> [round(x, 3) for x in t_interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"the mean of {values!r} has no interval: a row of finite numbers is needed")
    if len(values) == 1:
        return UNBOUNDED
    half = t_quantile(len(values) - 1, level) * standard_error(values)
    return float(values.mean() - half), float(values.mean() + half)


def mean_of_runs(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over runs with the mean of their intervals, no narrower than a typical run's; n adds up.

    The first run without a number speaks for all: a mean over the others would flatter the model.

    >>> mean_of_runs([Estimate(1.0, (0.0, 2.0), 5), Estimate(2.0, (1.0, 3.0), 5)]).interval
    (0.5, 2.5)
    """
    for estimate in estimates:
        if estimate.reason:
            return estimate
    low, high = (float(np.mean([e.interval[side] for e in estimates])) for side in (0, 1))
    return Estimate(
        float(np.mean([e.value for e in estimates])), (low, high), sum(e.n for e in estimates), note=estimates[0].note
    )


def block_bootstrap(
    n: int,
    statistic: Callable[[np.ndarray], np.ndarray | float],
    *,
    block: int,
    seed: int,
    moving: bool = True,
    n_resamples: int = 1000,
    level: float = LEVEL,
) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of a statistic of n time-correlated samples, by redrawing whole blocks of neighbours.

    `statistic` takes an index array into the samples (with repetition) and returns a number or an array; the ends
    come back with its shape. `block` should exceed the correlation time. Moving blocks start anywhere and wrap
    around (Politis and Romano, 1992), so that every sample weighs the same; otherwise blocks start at multiples of
    their length and an incomplete last one is left out. The percentile interval of few blocks is too narrow, so its
    two arms are stretched by t_{m-1}/1.96 sqrt(m/(m-1)) for m = n // block blocks, and it always contains the value of
    the data themselves. Fewer than two blocks: unbounded. ValueError for a block that is not in 1..n.
    Künsch, Ann. Statist. 17, 1217 (1989), https://doi.org/10.1214/aos/1176347265.

    >>> x = np.arange(100.0) % 7
    >>> low, high = block_bootstrap(100, lambda index: x[index].mean(), block=7, seed=0)
    >>> bool(low < x.mean() < high)
    True
    """
    if not 1 <= block <= n:
        raise ValueError(f"a block of {block} samples should hold between 1 and all {n} samples")
    value = np.asarray(statistic(np.arange(n)), dtype=np.float64)
    n_blocks = n // block
    if n_blocks < 2:
        return np.full(value.shape, -math.inf), np.full(value.shape, math.inf)
    generator = np.random.default_rng(seed)
    starts = np.arange(n) if moving else np.arange(n_blocks) * block
    draws = generator.choice(starts, size=(n_resamples, n_blocks))
    offsets = np.arange(block)
    drawn = np.array([statistic(((start[:, None] + offsets) % n).ravel()) for start in draws], dtype=np.float64)
    drawn = np.where(np.isnan(drawn), value, drawn)
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    stretch = t_quantile(n_blocks - 1, level) / float(stats.norm.ppf(0.5 + level / 2))
    stretch *= math.sqrt(n_blocks / (n_blocks - 1))
    return value - stretch * np.maximum(value - low, 0.0), value + stretch * np.maximum(high - value, 0.0)


def clipped(interval: tuple[np.ndarray, np.ndarray], low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """An interval cut to the values its quantity can take, such as 0 to infinity for an error."""
    return float(np.clip(interval[0], low, high)), float(np.clip(interval[1], low, high))


def segments(n_reference: int, n_scored: int, at_most: int = 12) -> list[np.ndarray]:
    """Disjoint stretches of a reference as long as a scored run, evenly spread, as index arrays; at least two.

    A scored run longer than half the reference gets the two halves. ValueError for a reference of one frame.

    >>> [len(s) for s in segments(100, 30)], [len(s) for s in segments(100, 70)]
    ([30, 30, 30], [50, 50])
    """
    if n_reference < 2 or n_scored < 1:
        raise ValueError(f"{n_reference} reference and {n_scored} scored frames: 2 and 1 are the least that compare")
    length = min(n_scored, n_reference // 2)
    count = min(n_reference // length, at_most)
    starts = np.rint(np.linspace(0, n_reference - length, count)).astype(int)
    return [np.arange(start, start + length) for start in starts]


def self_distance(
    n_reference: int,
    n_scored: int,
    summary: Callable[[np.ndarray], np.ndarray],
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> Estimate:
    """How far a reference is from itself at equal length: the floor below which a difference means nothing.

    `summary` maps frame indices to an array (a g(r), a density), `distance` compares two of them. The reference is cut
    into k disjoint segments as long as the scored run (`segments`: never longer than half the reference, at most 12,
    evenly spread); the floor is the mean distance of all k(k-1)/2 pairs. Since a scored run is compared with the
    *whole* reference, which is less noisy than a segment, this floor is on the high side. Interval: delete-one
    jackknife over segments for k >= 3; for the two halves, over 5 blocks of each; t quantile.
    """
    pieces = segments(n_reference, n_scored)
    summaries = [summary(piece) for piece in pieces]
    k = len(pieces)
    table = np.zeros((k, k))
    for a in range(k):
        for b in range(a):
            table[a, b] = table[b, a] = distance(summaries[a], summaries[b])
    value = float(table.sum() / (k * (k - 1)))
    if k > 2:
        left_out = [(table.sum() - 2 * table[a].sum()) / ((k - 1) * (k - 2)) for a in range(k)]
    else:
        left_out = _without_blocks(pieces, summary, distance)
    half = jackknife_half_width(np.array(left_out))
    note = f"mean over {k * (k - 1) // 2} pairs of reference segments of {len(pieces[0])} frames"
    return Estimate(value, (max(0.0, value - half), value + half), n=k, note=note)


def _without_blocks(
    pieces: list[np.ndarray],
    summary: Callable[[np.ndarray], np.ndarray],
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> list[float]:
    distances = []
    for this, other in ((0, 1), (1, 0)):
        blocks = [block for block in np.array_split(pieces[this], 5) if len(block)]
        kept = [np.setdiff1d(pieces[this], block) for block in blocks] if len(blocks) > 1 else []
        distances += [distance(summary(frames), summary(pieces[other])) for frames in kept]
    return distances


def jackknife_half_width(left_out: np.ndarray) -> float:
    """Of the 95% interval of a number, from what it is without each of the parts in turn [N]; infinite for a single part."""
    n = len(left_out)
    if n < 2:
        return math.inf
    return t_quantile(n - 1) * math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
