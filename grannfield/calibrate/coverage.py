"""From what an estimator said of many trajectories to whether its intervals hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from grannfield.analysis.uncertainty import Estimate, clopper_pearson

HOLDS = (0.90, 0.98)
"""Share of 95% intervals that must contain the truth."""
WIDEST = 1.3
"""Of the median width of intervals for D over the ideal."""
LOST = 0.05
"""Greatest share "below detection" where each ion hops at least ENOUGH_HOPS times."""
ENOUGH_HOPS = 20.0
IDEAL = (2.5, 97.5)
"""Percentiles of an estimator's own values: an interval that knew the spread would be as wide as what lies between them."""
LEAST = 100
"""Values, for their percentiles to count as the best of a condition."""


@dataclass(frozen=True)
class Said:
    """What an estimator said of one trajectory or set."""

    number: int
    quantity: str
    value: float
    """NaN without one."""
    low: float
    high: float
    reason: str
    seconds: float

    @classmethod
    def of(cls, number: int, quantity: str, estimate: Estimate, seconds: float) -> Said:
        return cls(number, quantity, estimate.value, *estimate.interval, estimate.reason, seconds)

    @property
    def informs(self) -> bool:
        """Whether there is an interval at all: at least one end says something (a D is positive anyway)."""
        floor = 0.0 if self.quantity == "D" else -math.inf
        return self.low > floor or self.high < math.inf

    def covers(self, truth: float) -> bool:
        return self.informs and self.low <= truth <= self.high


@dataclass(frozen=True)
class Row:
    """A line of coverage.csv."""

    estimator: str
    condition: str
    quantity: str
    n: int
    coverage: float
    coverage_low: float
    """Clopper-Pearson 95% of the coverage."""
    coverage_high: float
    width_ratio: float
    """Median width of the intervals of values over the 2.5-97.5 percentile range of these values; NaN where fewer than half
    of the trajectories have a value, because what is above detection then says little of the spread."""
    width_ratio_best: float
    """The same over the narrowest such range of the unbiased estimators of the condition."""
    bias: float
    """Median relative error for D and Ea, median error for -log10 sigma."""
    below_detection: float
    """Share with a bound instead of a value."""
    no_interval: float
    """Share without any interval, counted as not covering."""
    hops_per_ion: float
    verdict: str
    seconds: float
    """Mean per trajectory or set, generation not included."""
    truth: float
    width: float
    """The median width itself."""
    spread: float
    """The percentile range itself."""


def row(estimator: str, condition: str, said: Sequence[Said], truth: float, hops_per_ion: float) -> Row:
    """The line of one estimator, condition and quantity; ValueError without anything said."""
    if not said:
        raise ValueError(f"{estimator} said nothing about {condition}")
    n, quantity = len(said), said[0].quantity
    held = sum(one.covers(truth) for one in said)
    low, high = clopper_pearson(held, n)
    valued = [one for one in said if not math.isnan(one.value)]
    spread = width = bias = math.nan
    if len(valued) > 1 and len(valued) >= n / 2:
        values = np.array([one.value for one in valued])
        spread = float(np.diff(np.percentile(values, IDEAL))[0])
        width = float(np.median([one.high - one.low if one.informs else math.inf for one in valued]))
        bias = float(np.median(values) - truth) / (1.0 if quantity == "neg_log_sigma" else truth)
    return Row(
        estimator, condition, quantity, n, held / n, low, high,
        width_ratio=width / spread if spread > 0 else math.nan,
        width_ratio_best=math.nan,
        bias=bias,
        below_detection=(n - len(valued)) / n,
        no_interval=sum(not one.informs for one in said) / n,
        hops_per_ion=hops_per_ion,
        verdict=verdict(held, n),
        seconds=float(np.mean([one.seconds for one in said])),
        truth=truth,
        width=width,
        spread=spread,
    )  # fmt: skip


def verdict(held: int, n: int) -> str:
    """Whether the coverage is 90-98%; outside, whether its Clopper-Pearson interval excludes that or n is too small to tell.

    >>> verdict(940, 1000), verdict(20, 1000), verdict(1000, 1000), verdict(60, 60)
    ('holds', 'too narrow', 'too wide', 'may hold')
    """
    low, high = clopper_pearson(held, n)
    if high < HOLDS[0]:
        return "too narrow"
    if low > HOLDS[1]:
        return "too wide"
    return "holds" if HOLDS[0] <= held / n <= HOLDS[1] else "may hold"


def against_best(rows: Iterable[Row]) -> list[Row]:
    """The rows with `width_ratio_best`: widths over the narrowest spread of an estimator that is right in the middle.

    Right: its median is off by less than a tenth of its spread, and its spread rests on at least 100 values.
    """
    rows = list(rows)
    best: dict[tuple[str, str], float] = {}
    for one in rows:
        valued = one.n * (1 - one.below_detection)
        if valued >= LEAST and one.spread > 0 and abs(offset(one)) < 0.1 * one.spread:
            key = (one.condition, one.quantity)
            best[key] = min(best.get(key, math.inf), one.spread)
    return [replace(one, width_ratio_best=one.width / best.get((one.condition, one.quantity), math.nan)) for one in rows]


def offset(one: Row) -> float:
    """Median error in the quantity's own unit, as far as the row tells it."""
    return one.bias * (1.0 if one.quantity == "neg_log_sigma" else one.truth)


def failures(one: Row) -> list[str]:
    """What a row of ours does not keep of what is wanted."""
    found = []
    if "hold" not in one.verdict:
        shown = f"coverage {one.coverage:.3f} [{one.coverage_low:.3f}, {one.coverage_high:.3f}] of n={one.n}"
        found.append(f"{shown} is outside {HOLDS[0]:.2f}-{HOLDS[1]:.2f}: {one.verdict}")
    if one.quantity == "D" and one.width_ratio > WIDEST:
        found.append(f"median width {one.width_ratio:.2f} x ideal, {WIDEST} is the limit")
    if one.quantity == "D" and one.hops_per_ion >= ENOUGH_HOPS and one.below_detection > LOST:
        found.append(f"{one.below_detection:.1%} below detection although each ion hops {one.hops_per_ion:g} times")
    return [f"{one.estimator}, {one.condition}, {one.quantity}: {text}" for text in found]
