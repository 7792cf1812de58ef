"""Intervals: right where the answer is known, wide where the data are few, and never a number without a reason."""

import math

import numpy as np
import pytest
from scipy import stats

from grannfield.analysis.uncertainty import (
    Estimate,
    block_bootstrap,
    clopper_pearson,
    segments,
    self_distance,
    standard_error,
    t_interval,
)


def test_estimate_is_a_number_or_a_reason():
    assert Estimate(1.0, (0.5, 2.0), 3).reason == ""
    bound = Estimate.missing("below detection", interval=(0.0, 2.0))
    assert math.isnan(bound.value)
    assert bound.interval == (0.0, 2.0)
    for arguments in [
        (math.nan, (0.0, 1.0), 3),
        (1.0, (0.0, 2.0), 3, "too short"),
        (math.inf, (0.0, math.inf), 3),
        (1.0, (2.0, 3.0), 3),
        (1.0, (0.0, 2.0), 0),
        (1.0, (2.0, 0.0), 3),
        (1.0, (math.nan, 2.0), 3),
    ]:
        with pytest.raises(ValueError, match=r"interval|value"):
            Estimate(*arguments)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 10), (1, 50), (0, 0)])
def test_clopper_pearson_is_the_exact_binomial_interval(k, n):
    low, high = clopper_pearson(k, n)
    if n == 0:
        assert (low, high) == (0.0, 1.0)
        return
    exact = stats.binomtest(k, n).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="6 of 5"):
        clopper_pearson(6, 5)


@pytest.mark.parametrize("seed", [0])
def test_t_interval_holds_the_mean_95_times_in_100(seed):
    samples = np.random.default_rng(seed).normal(1.0, 2.0, size=(2000, 4))
    held = [low < 1.0 < high for low, high in map(t_interval, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    assert t_interval([1.0]) == (-math.inf, math.inf)
    assert standard_error([1.0]) == math.inf


def correlated(generator, n_runs, n, time):
    """Ornstein-Uhlenbeck noise of unit variance around zero, correlated over `time` samples."""
    keep = math.exp(-1 / time)
    x = np.empty((n_runs, n))
    x[:, 0] = generator.normal(size=n_runs)
    for k in range(1, n):
        x[:, k] = keep * x[:, k - 1] + math.sqrt(1 - keep**2) * generator.normal(size=n_runs)
    return x


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("moving", [True, False])
def test_block_bootstrap_sees_correlation_that_single_frames_hide(seed, moving):
    runs = correlated(np.random.default_rng(seed), 120, 400, time=10)

    def coverage(block):
        held = 0
        for k, x in enumerate(runs):
            low, high = block_bootstrap(len(x), lambda i, x=x: x[i].mean(), block=block, seed=k, moving=moving, n_resamples=200)
            held += low <= 0.0 <= high
        return held / len(runs)

    assert coverage(block=50) >= 0.9
    assert coverage(block=1) < 0.6


def test_bootstrap_of_one_block_knows_nothing():
    low, high = block_bootstrap(10, lambda i: i.mean(), block=6, seed=0)
    assert (low, high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="block of 11"):
        block_bootstrap(10, lambda i: i.mean(), block=11, seed=0)


def test_bootstrap_repeats_with_its_seed_and_takes_arrays():
    x = np.arange(60.0).reshape(30, 2) % 11
    statistic = lambda i: x[i].mean(axis=0)  # noqa: E731
    first = block_bootstrap(30, statistic, block=3, seed=5)
    again = block_bootstrap(30, statistic, block=3, seed=5)
    np.testing.assert_array_equal(first, again)
    assert (first[0] <= x.mean(axis=0)).all()
    assert (x.mean(axis=0) <= first[1]).all()


@pytest.mark.parametrize(("reference", "scored"), [(100, 10), (100, 33), (100, 50), (100, 5000), (7, 3), (2, 1)])
def test_segments_are_disjoint_and_never_longer_than_either(reference, scored):
    pieces = segments(reference, scored)
    frames = np.concatenate(pieces)
    assert len(pieces) >= 2
    assert len(np.unique(frames)) == len(frames)
    assert frames.max() < reference
    assert {len(piece) for piece in pieces} == {min(scored, reference // 2)}


@pytest.mark.parametrize("seed", [0])
def test_self_distance_falls_with_the_root_of_the_length(seed):
    x = np.random.default_rng(seed).normal(size=(2000, 500))
    floor = {n: self_distance(2000, n, lambda i: x[i].mean(axis=0), lambda a, b: float(np.abs(a - b).mean())) for n in (25, 400)}
    expected = 2 / math.sqrt(math.pi)  # mean |a - b| of two normal means, times sqrt(n)
    for n, found in floor.items():
        assert found.value * math.sqrt(n) == pytest.approx(expected, rel=0.1)
        assert found.interval[0] < expected / math.sqrt(n) < found.interval[1]
