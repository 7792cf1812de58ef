"""Survival of MD runs: how long they stay the material, how surely that is known, and what ends them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from grannfield.analysis.fusion import CAUSES, Failure
from grannfield.analysis.uncertainty import LEVEL, Estimate, clopper_pearson

FEWEST_RUNS = 5
"""Runs below which a survival curve has no interval: only the share of failed runs has one."""
DRAWS = 2000
"""Of the beta variables, for the interval of the restricted mean."""
NOT_REACHED = "not reached"
"""More than half of the runs survived as long as they were watched, so that their median has only a lower bound."""


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """The share of runs still without a failure after each of the times [K] at which a run ended or ceased to be watched."""

    time: np.ndarray
    """fs, ascending; the first is 0. Values hold from their time up to the next one."""
    at_risk: np.ndarray
    """Runs that were still going just before that time."""
    failed: np.ndarray
    """Runs that failed at that time."""
    survival: np.ndarray
    low: np.ndarray
    """Lower end of the 95% interval; NaN for fewer than 5 runs."""
    high: np.ndarray
    incidence: dict[str, np.ndarray]
    """Share of runs that failed by that time of each cause that occurred; they add up to 1 - survival."""

    def restricted_mean(self, horizon: float, seed: int = 0) -> tuple[float, float, float]:
        """Area in fs below the curve from 0 to a horizon in fs, and the ends of its 95% interval: (area, low, high).

        The beta variables of the band (see `survival_curve`) drawn together for all times, the areas below their products
        taken: of the curve that falls as soon as it can for the lower end, as late as it can for the upper one. The area below
        the band itself would err on the same side at all times at once, and cover in 99% and more.
        """
        width = np.diff(np.append(np.minimum(self.time, horizon), horizon))
        area = float((self.survival * width).sum())
        steps = [n - k for n, d in zip(self.at_risk, self.failed, strict=True) for k in range(d)]  # ties one after the other
        left, number = np.append(self.at_risk[1:], 0), np.cumsum(self.failed)
        logs = np.log(np.random.default_rng(seed).random((DRAWS, len(steps) + 1)))
        product = np.concatenate([np.zeros((DRAWS, 1)), np.cumsum(logs[:, :-1] / np.array(steps), axis=1)], axis=1)[:, number]
        early = np.where(left > 0, np.exp(product + logs[:, number] / np.maximum(left, 1)), 0.0) @ width
        tail = 50 * (1 - LEVEL)
        low, high = np.percentile(early, tail), np.percentile(np.exp(product) @ width, 100 - tail)
        return area, min(float(low), area), max(float(high), area)


@dataclass(frozen=True)
class Survival:
    """How many of a set of runs failed, when, and of what."""

    failed: Estimate
    """Share of runs that failed, Clopper-Pearson interval; n counts runs."""
    mean_time: Estimate
    """fs, mean time without a failure up to `horizon`: the area below the survival curve. n counts runs."""
    median_time: Estimate
    """fs after which half of the runs have failed, or the time that it exceeds."""
    horizon: float
    """fs, the longest time that a run was meant to be watched."""
    curve: SurvivalCurve
    failure_times: tuple[float, ...]
    """fs, sorted, of the runs that failed; 0 for those that failed before production began."""
    censored_times: tuple[float, ...]
    """fs, sorted lengths of the runs that did not fail as long as they were watched."""
    causes: dict[str, int] = field(default_factory=dict)


def survival(failures: Sequence[Failure | None], durations: Sequence[float]) -> Survival:
    """Survival of runs from their first failures and the lengths in fs to which they were, or were to be, watched.

    A run without a failure is right-censored at its length. The restricted mean, unlike the median, exists for every set of
    runs, and unlike the share of failures it tells early from late ones. Anything with `time` and `cause` is a failure.
    ValueError for unequal numbers, no run, or a length that is not positive and finite.

    >>> s = survival([None, Failure(500.0, 250, "fusion")], [1000.0, 1000.0])
    >>> s.failed.value, s.failure_times, s.censored_times, s.mean_time.value
    (0.5, (500.0,), (1000.0,), 750.0)
    """
    if len(failures) != len(durations) or not failures:
        raise ValueError(f"{len(failures)} outcomes and {len(durations)} durations: one of each per run is needed")
    if not all(0 < length < math.inf for length in durations):
        raise ValueError(f"runs of {list(durations)} fs: every length should be positive and finite")
    time = np.array([length if f is None else max(0.0, f.time) for f, length in zip(failures, durations, strict=True)])
    cause = ["" if failure is None else str(failure.cause) for failure in failures]
    curve, horizon, n = survival_curve(time, cause), max(max(durations), float(time.max())), len(failures)
    number = sum(c != "" for c in cause)
    counts = {c: cause.count(c) for c in (*CAUSES, *sorted(set(cause) - set(CAUSES) - {""}))}
    return Survival(
        Estimate(number / n, clopper_pearson(number, n), n, note="runs"),
        _mean_time(curve, horizon, n),
        _median_time(curve, n),
        horizon,
        curve,
        tuple(sorted(float(t) for t, c in zip(time, cause, strict=True) if c)),
        tuple(sorted(float(t) for t, c in zip(time, cause, strict=True) if not c)),
        {c: k for c, k in counts.items() if k},
    )


def survival_curve(time: np.ndarray, cause: Sequence[str]) -> SurvivalCurve:
    """The product-limit curve of runs that ended at `time` [n] of a `cause`, "" where they were only watched so long.

    S(t) = prod over failure times t_i <= t of (1 - d_i/n_i), with d_i failures among n_i runs at risk; a run that ceases to be
    watched at a time is still at risk then. Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958),
    https://doi.org/10.1080/01621459.1958.10501452. Causes compete, so the share that failed of one is the sum of
    S(t_i-) d_ic/n_i (Aalen and Johansen, Scand. J. Stat. 5, 141 (1978)): one minus a product limit that takes the other causes
    for censoring would count runs that had failed already.

    Interval: beta products by the method of moments, which is Clopper and Pearson's where nothing is censored and therefore
    says something true also when no run, or every run, has failed, where the log-log interval has no value. Fay, Brittain and
    Proschan, Biostatistics 14, 723 (2013), https://doi.org/10.1093/biostatistics/kxt016. NaN for fewer than 5 runs.

    >>> survival_curve(np.array([1.0, 2.0, 2.0, 3.0]), ["melt", "melt", "", ""]).survival.tolist()
    [1.0, 0.75, 0.5, 0.5]
    """
    time, causes = np.asarray(time, dtype=np.float64), np.asarray(cause, dtype=object)
    grid = np.unique(np.append(time, 0.0))
    at_risk = (time >= grid[:, None]).sum(axis=1)
    here = time == grid[:, None]
    failed = (here & (causes != "")).sum(axis=1)
    with np.errstate(invalid="ignore"):
        factor = 1 - failed / at_risk
    s = np.cumprod(factor)
    before = np.append(1.0, s[:-1])
    incidence = {str(c): np.cumsum(before * (here & (causes == c)).sum(axis=1) / at_risk) for c in sorted(set(cause) - {""})}
    low, high = _beta_products(at_risk, failed, (time > grid[:, None]).sum(axis=1))
    if len(time) < FEWEST_RUNS:
        low, high = np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    return SurvivalCurve(grid, at_risk, failed, s, np.minimum(low, s), np.maximum(high, s), incidence)


def _beta_products(at_risk: np.ndarray, failed: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends [K] of the interval of S after each time, from the runs at risk, failed, and left after it [K].

    The survival at the k-th failure is distributed as a product of beta variables, d failures among n at risk giving
    Beta(n - d + 1, d); before the next failure among the m left, it lies between that product and the product times Beta(m, 1).
    """
    first, second = np.ones(len(failed)), np.ones(len(failed))
    some = failed > 0
    a, b = (at_risk - failed + 1.0)[some], failed[some].astype(float)
    first[some], second[some] = a / (a + b), a * (a + 1) / ((a + b) * (a + b + 1))
    first, second = first.cumprod(), second.cumprod()
    tail = (1 - LEVEL) / 2
    high = _beta_quantile(first, second, 1 - tail)
    low = _beta_quantile(first * left / (left + 1), second * left / (left + 2), tail)
    return np.where(left > 0, low, 0.0), high


def _beta_quantile(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Quantiles [K] of the beta variables that have these first and second moments [K]; 1 where the first moment is 1."""
    found: np.ndarray = first.copy()
    variance = second - first**2
    spread = variance > 1e-14  # none where nothing has failed, or nothing is left
    mean = first[spread]
    common = mean * (1 - mean) / variance[spread] - 1
    found[spread] = stats.beta.ppf(share, mean * common, (1 - mean) * common)
    return found


def _mean_time(curve: SurvivalCurve, horizon: float, n: int) -> Estimate:
    area, low, high = curve.restricted_mean(horizon)
    note = f"runs; restricted to {horizon * 1e-3:g} ps"
    if n < FEWEST_RUNS:
        return Estimate(area, n=n, note=f"{note}; no interval from fewer than {FEWEST_RUNS}")
    return Estimate(area, (low, high), n, note=f"{note}; drawn beta products")


def _median_time(curve: SurvivalCurve, n: int) -> Estimate:
    """The first time at which half have failed, or the reason why it is not known, with the times that the interval allows."""
    reached = curve.survival <= 0.5
    first = curve.time[np.argmax(reached)] if reached.any() else curve.time[-1]
    if n < FEWEST_RUNS:
        low, high = -math.inf, math.inf
    else:
        low = float(curve.time[np.argmax(curve.low <= 0.5)]) if (curve.low <= 0.5).any() else float(curve.time[-1])
        high = float(curve.time[np.argmax(curve.high < 0.5)]) if (curve.high < 0.5).any() else math.inf
    if reached.any():
        return Estimate(float(first), (min(low, float(first)), max(high, float(first))), n, note="runs")
    return Estimate.missing(NOT_REACHED, f"more than half survived {first * 1e-3:g} ps", n=n, interval=(low, high))
