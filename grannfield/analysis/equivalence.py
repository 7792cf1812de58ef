"""Verdicts by test: whether two measured numbers are the same, differ, or cannot be told apart yet.

The test is on the 95% interval of the difference. Inside the margin: indistinguishable. Zero outside, also of the interval
widened by a tenth, and the difference itself beyond the margin: different. Anything else: undecided. The tenth keeps the false
alarms of a model against itself at 3% of 1,000 repeats; without it they are 3.6-5.7% where one of the two errors is much the
larger. Taking 95% where two one-sided tests at 5% would take 90% makes
"indistinguishable" the harder to earn: an error of at most 2.5% on each side (Schuirmann, J. Pharmacokinet. Biopharm. 15, 657
(1987), https://doi.org/10.1007/BF01068419).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from grannfield.analysis.uncertainty import Estimate

Label = Literal["indistinguishable", "different", "undecided"]
GUARD = 1.1
"""Zero must lie outside an interval this much wider for a difference to be called one."""
NO_BOUND = "has neither a value nor a bound"


@dataclass(frozen=True)
class Comparison:
    """The verdict on a - b, or on log10(a/b): what the data allow to say of two numbers."""

    label: Label
    difference: Estimate
    """With its 95% interval; without a value where a or b has none, the interval then holding what their bounds allow."""
    margin: float
    """Largest difference that does not matter, on the scale of `difference`."""
    detail: str = ""
    """Why nothing could be decided, where a number is missing."""


def compare(a: Estimate, b: Estimate, margin: float, *, log10: bool = False) -> Comparison:
    """Compare two independent numbers; ratios instead of differences, in powers of ten, with `log10`.

    The interval of the difference takes from each number the half-width on the side that matters (`difference_of`). A number
    without a value but with a bound, such as a diffusivity below detection, is different when everything its bound allows is
    further from the other's interval than the margin, never indistinguishable; without a bound, nothing is decided.
    ValueError for a margin that is not positive and finite.

    >>> diffusivity, reference = Estimate(5e-5, (4e-5, 6e-5), 20), Estimate(5.2e-5, (4.5e-5, 6e-5), 20)
    >>> compare(diffusivity, reference, 0.15, log10=True).label
    'indistinguishable'
    >>> compare(Estimate.missing("below detection", interval=(0.0, 1e-6)), reference, 0.15, log10=True).label
    'different'
    >>> compare(Estimate(0.30, (0.1, 0.5), 6), Estimate(0.35, (0.3, 0.4), 6), 0.025).label
    'undecided'
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"a margin of {margin} decides nothing: a positive, finite number is needed")
    first, second = (logarithm(x) for x in (a, b)) if log10 else (a, b)
    gap = difference_of(first, second)
    low, high = gap.interval
    if gap.reason:
        beyond = low > margin or high < -margin
        return Comparison("different" if beyond else "undecided", gap, margin, gap.detail)
    if -margin < low and high < margin:
        return Comparison("indistinguishable", gap, margin)
    low, high = _guarded(gap)
    outside = low > 0 or high < 0
    return Comparison("different" if outside and abs(gap.value) > margin else "undecided", gap, margin)


def no_worse(a: Estimate, floor: Estimate, margin: float, better: Literal["higher", "lower"]) -> Comparison:
    """Compare a score with the score that the reference itself gets, half against half: only being worse is a difference.

    A run is held against the whole reference, which is less noisy than a half, so that a perfect model may come out better than
    the floor. Indistinguishable: the interval ends within the margin on the worse side. Different: worse, zero outside and the
    difference beyond the margin. ValueError for a margin that is not positive and finite.

    >>> floor = Estimate(0.02, (0.018, 0.022), 4)
    >>> no_worse(Estimate(0.008, (0.006, 0.01), 4), floor, 0.02, "lower").label
    'indistinguishable'
    >>> no_worse(Estimate(0.08, (0.07, 0.09), 4), floor, 0.02, "lower").label
    'different'
    """
    two_sided = compare(a, floor, margin)
    gap = two_sided.difference
    worst = gap.interval[1] if better == "lower" else -gap.interval[0]
    if gap.reason:
        label: Label = "undecided" if worst < 0 else two_sided.label
    elif worst < margin:
        label = "indistinguishable"
    else:
        worse = gap.value > 0 if better == "lower" else gap.value < 0
        label = "different" if two_sided.label == "different" and worse else "undecided"
    return Comparison(label, gap, margin, two_sided.detail)


def difference_of(a: Estimate, b: Estimate) -> Estimate:
    """a - b with its 95% interval, for independent a and b whose intervals need not be symmetric.

    low = a - b - sqrt((a - a_low)² + (b_high - b)²) and high likewise: the half-widths that pull the same way, in quadrature.
    Exact for normal numbers of known spread, wide rather than narrow for Student's t. Zou and Donner, Statist. Med. 27, 1693
    (2008), https://doi.org/10.1002/sim.3095. Where a value is missing, all that the two intervals allow.

    >>> difference_of(Estimate(1.0, (0.7, 1.6), 9), Estimate(0.0, (-0.8, 0.4), 9)).interval
    (0.5, 2.0)
    """
    n = min(a.n, b.n)
    for name, one in (("the first", a), ("the second", b)):
        if one.reason and not any(map(math.isfinite, one.interval)):
            return Estimate.missing(one.reason, f"{name} {NO_BOUND}: {one.reason}", n=n)
    if a.reason or b.reason:
        reason = a.reason or b.reason
        low, high = a.interval[0] - b.interval[1], a.interval[1] - b.interval[0]
        return Estimate.missing(reason, f"only a bound: {reason}", n=n, interval=(_ascending(low, -1), _ascending(high, 1)))
    value = a.value - b.value
    below = math.hypot(a.value - a.interval[0], b.interval[1] - b.value)
    above = math.hypot(a.interval[1] - a.value, b.value - b.interval[0])
    return Estimate(value, (value - below, value + above), n=n, note="95% interval of the difference, Zou and Donner")


def logarithm(a: Estimate) -> Estimate:
    """log10 of a positive number and its interval; without a value where the number is not positive.

    >>> logarithm(Estimate(100.0, (10.0, 1000.0), 5)).interval
    (1.0, 3.0)
    >>> logarithm(Estimate.missing("below detection", interval=(0.0, 0.01))).interval
    (-inf, -2.0)
    """
    low, high = (math.log10(x) if x > 0 else -math.inf for x in a.interval)
    if a.reason or a.value <= 0:
        open_below = (-math.inf, math.inf if high == -math.inf else high)
        bounds = (low, high) if math.isfinite(low) and a.reason else open_below
        return Estimate.missing(a.reason or "not positive", a.detail or f"{a.value:g} has no logarithm", n=a.n, interval=bounds)
    return Estimate(math.log10(a.value), (low, high), a.n, note=a.note)


def shares(comparisons: Iterable[Comparison]) -> dict[Label, float]:
    """How often each verdict fell: of a model against itself, the share called different is the rate of false alarms.

    >>> same = Estimate(1.0, (0.999, 1.001), 50)
    >>> shares([compare(same, same, 0.1)] * 3)
    {'indistinguishable': 1.0, 'different': 0.0, 'undecided': 0.0}
    """
    labels = [comparison.label for comparison in comparisons]
    if not labels:
        raise ValueError("no comparisons were given, so that no share can be stated")
    order: tuple[Label, ...] = ("indistinguishable", "different", "undecided")
    return {label: labels.count(label) / len(labels) for label in order}


def _guarded(gap: Estimate) -> tuple[float, float]:
    low, high = gap.interval
    return gap.value - GUARD * (gap.value - low), gap.value + GUARD * (high - gap.value)


def _ascending(end: float, sign: int) -> float:
    """An end of an interval that may have come out as infinity minus infinity."""
    return sign * math.inf if math.isnan(end) else end
