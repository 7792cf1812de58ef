"""Survival of runs: known curves, competing causes, and intervals that cover."""

import numpy as np
import pytest

from grannfield.analysis.fusion import Failure
from grannfield.analysis.survival import NOT_REACHED, survival, survival_curve
from grannfield.analysis.uncertainty import clopper_pearson

REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23, -6, -9, -10, -11, -17, -19, -20, -25, -32, -32, -34, -35]
"""Weeks of remission under 6-mercaptopurine (negative: censored), Freireich et al., Blood 21, 699 (1963)."""


def outcome(times, causes, horizon):
    failures = [None if c == "" else Failure(t, 0, c) for t, c in zip(times, causes, strict=True)]
    return survival(failures, [horizon if c else t for t, c in zip(times, causes, strict=True)])


def test_the_textbook_curve():
    time, cause = np.abs(REMISSION).astype(float), ["melt" if t > 0 else "" for t in REMISSION]
    curve = survival_curve(time, cause)
    at = {float(t): float(s) for t, s in zip(curve.time, curve.survival, strict=True)}
    expected = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448, 35: 0.448}
    assert {t: round(at[t], 3) for t in expected} == expected
    found = outcome(time, cause, 35.0)
    assert found.median_time.value == 23
    assert 10 <= found.median_time.interval[0] <= 16 and found.median_time.interval[1] == np.inf
    assert found.mean_time.value == pytest.approx(23.29, abs=0.01)
    greenwood = 2.83  # its standard error by Greenwood's formula
    assert 1.0 < (found.mean_time.interval[1] - found.mean_time.interval[0]) / (2 * 1.96 * greenwood) < 1.5


def test_ties_and_runs_that_cease_to_be_watched_at_a_failure():
    """A run censored at 2 is at risk at 2: 3 of 4 survive it, the tie of two at 3 leaves none of two."""
    curve = survival_curve(np.array([2.0, 2.0, 3.0, 3.0]), ["fusion", "", "melt", "fusion"])
    assert curve.time.tolist() == [0, 2, 3] and curve.at_risk.tolist() == [4, 4, 2] and curve.failed.tolist() == [0, 1, 2]
    assert curve.survival.tolist() == [1.0, 0.75, 0.0]


@pytest.mark.parametrize("seed", range(3))
def test_without_censoring_it_is_one_minus_the_distribution(seed):
    time = np.random.default_rng(seed).integers(1, 30, size=40).astype(float)  # with ties
    curve = survival_curve(time, ["melt"] * 40)
    np.testing.assert_allclose(curve.survival, [(time > t).mean() for t in curve.time], atol=1e-12)
    assert outcome(time, ["melt"] * 40, 30.0).mean_time.value == pytest.approx(time.mean())
    for k, t in enumerate(curve.time):  # and the interval is Clopper and Pearson's
        n_left = int((time > t).sum())
        np.testing.assert_allclose((curve.low[k], curve.high[k]), clopper_pearson(n_left, 40), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_causes_compete(seed):
    """Incidences add up to 1 - S, and each tends to its share where rates are constant: 2 of 3 here."""
    generator = np.random.default_rng(seed)
    fusion, melt, watched = generator.exponential(1.0, 4000), generator.exponential(2.0, 4000), generator.uniform(1, 9, 4000)
    time = np.minimum(np.minimum(fusion, melt), watched)
    cause = np.where(time == fusion, "fusion", np.where(time == melt, "melt", ""))
    curve = survival_curve(time, list(cause))
    assert set(curve.incidence) == {"fusion", "melt"}
    np.testing.assert_allclose(sum(curve.incidence.values()), 1 - curve.survival, atol=1e-9)
    k = int(np.searchsorted(curve.time, 2.0)) - 1
    assert curve.incidence["fusion"][k] == pytest.approx(2 / 3 * (1 - np.exp(-1.5 * 2.0)), abs=0.03)


@pytest.mark.parametrize("censored", [False, True])
@pytest.mark.parametrize("n", [5, 20])
def test_intervals_cover_exponential_failures(n, censored):
    """Nominal 95%, n = 500 sets of runs: at least 93%, binomial error allowed; wide rather than narrow by construction."""
    repeats, generator, horizon, mean_life = 500, np.random.default_rng(0), 1000.0, 700.0
    covered = {"survival": 0, "mean": 0, "median": 0}
    for _ in range(repeats):
        life = generator.exponential(mean_life, n)
        watched = np.append(generator.uniform(300, horizon, n - 1), horizon) if censored else np.full(n, horizon)
        failures = [Failure(t, 0, "melt") if t < w else None for t, w in zip(life, watched, strict=True)]
        found = survival(failures, watched)
        k = int(np.searchsorted(found.curve.time, 400.0, "right")) - 1
        covered["survival"] += found.curve.low[k] <= np.exp(-400 / mean_life) <= found.curve.high[k]
        low, high = found.mean_time.interval
        covered["mean"] += low <= mean_life * (1 - np.exp(-horizon / mean_life)) <= high
        low, high = found.median_time.interval
        covered["median"] += low <= mean_life * np.log(2) <= high
    assert all(count >= 0.93 * repeats for count in covered.values()), covered


def test_few_runs_have_no_interval_but_the_share_has():
    found = outcome([300.0, 1000.0, 1000.0, 1000.0], ["fusion", "", "", ""], 1000.0)
    assert np.isnan(found.curve.low).all() and found.mean_time.interval == (-np.inf, np.inf)
    assert found.mean_time.value == 825.0 and found.failed.interval == clopper_pearson(1, 4)
    assert found.median_time.reason == NOT_REACHED


def test_all_or_none_failed():
    none = outcome([1000.0] * 8, [""] * 8, 1000.0)
    assert none.mean_time.value == 1000 and none.mean_time.interval[1] == 1000 and 400 < none.mean_time.interval[0] < 800
    assert none.curve.low[0] == pytest.approx(clopper_pearson(8, 8)[0]) and none.median_time.interval[1] == np.inf
    every = outcome([0.0] * 8, ["runaway"] * 8, 1000.0)
    assert every.mean_time.value == 0 and every.mean_time.interval[0] == 0 and every.median_time.value == 0
    assert 0 < every.mean_time.interval[1] < 600 and every.curve.survival.tolist() == [0.0]


def test_survival_counts_runs_times_and_causes():
    runs = [None, Failure(30.0, 3, "fusion"), Failure(-10.0, 1, "melt"), None, Failure(50.0, 5, "overflow")]
    s = survival(runs, [100.0, 100.0, 100.0, 80.0, 100.0])
    assert s.failed.value == 0.6 and s.failed.n == 5
    assert s.failed.interval == clopper_pearson(3, 5)
    assert s.failure_times == (0.0, 30.0, 50.0), "a failure in the ramp is one at the start"
    assert s.censored_times == (80.0, 100.0)
    assert s.causes == {"fusion": 1, "melt": 1, "overflow": 1}
    assert s.horizon == 100 and s.mean_time.interval[0] < s.mean_time.value < s.mean_time.interval[1]


def test_what_makes_no_curve_is_refused():
    with pytest.raises(ValueError, match="one of each"):
        survival([], [])
    with pytest.raises(ValueError, match="positive and finite"):
        survival([None], [0.0])
