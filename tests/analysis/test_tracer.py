"""The headline diffusivity: unbiased, with intervals that hold for ions that hop, hop together, hop rarely or not at all."""

import numpy as np
import pytest

from grannfield.analysis.diffusion import diffusion, diffusion_of_runs, mobile_displacements
from grannfield.analysis.tracer import (
    brownian_covariance,
    diffusivity,
    gls_weights,
    headline_lags,
    long_run_variance,
    mean_squares,
)
from grannfield.calibrate.synthetic import at, trajectory
from grannfield.trajectory import TrajectoryError

LI = 3
STEP = 20.0


def brownian(seed, n_ions=20, n_frames=351, d=5e-4):
    """Displacements [F, n, 3] in Å and times of free ions, D in Å²/fs."""
    steps = np.random.default_rng(seed).normal(size=(n_frames, n_ions, 3)) * np.sqrt(2 * d * STEP)
    return np.cumsum(steps, axis=0), STEP * np.arange(n_frames)


def of(condition, n, seed=0):
    """Estimates of n trajectories of a condition, as shares of the truth."""
    found = []
    for number in range(n):
        run, truth = trajectory(condition, seed, number)
        one = diffusion(run, LI).diffusivity_cm2_per_s
        found.append([x / truth.diffusivity_cm2_per_s for x in (one.value, *one.interval)])
    return np.array(found).T


def test_the_covariance_is_that_of_all_pairs_of_increments():
    """Summed the slow way: cov(x_s,p² , x_t,q²) = 2 k² for k shared frames, unit variance per frame."""
    frames, lags = 9, (1, 2, 4)
    increments = [np.array([[s <= k < s + m for k in range(frames - 1)] for s in range(frames - m)], float) for m in lags]
    expected = [[2 * ((a @ b.T) ** 2).mean() for b in increments] for a in increments]
    np.testing.assert_allclose(brownian_covariance(frames, lags), expected)


def test_the_line_is_unbiased_and_better_than_ordinary_least_squares():
    lags = headline_lags(351, STEP)
    weights = np.array(gls_weights(351, lags))
    x = np.array(lags) - np.mean(lags)
    squares = np.array([mean_squares(brownian(seed)[0], lags).mean(axis=1) for seed in range(150)]) / (6 * STEP) / 5e-4
    best, ordinary = squares @ weights, squares @ (x / (x @ x))
    assert best.mean() == pytest.approx(1.0, abs=0.05)
    assert best.std() < 0.8 * ordinary.std()
    assert weights @ (3.0 + 2.0 * np.array(lags)) == pytest.approx(2.0)  # a line with any intercept comes back


@pytest.mark.parametrize("window", [0, 5])
def test_the_long_run_variance_is_the_weighted_sum_of_correlations(window):
    x = np.random.default_rng(0).normal(size=(60, 2)).cumsum(axis=0)
    e = x - x.mean(axis=0)
    lagged = [(e[k:] * e[: len(e) - k]).sum(axis=0) / len(e) for k in range(window + 1)]
    expected = lagged[0] + sum(2 * (1 - k / (window + 1)) * lagged[k] for k in range(1, window + 1))
    np.testing.assert_allclose(long_run_variance(x, window), expected / len(x))


@pytest.mark.parametrize("condition", ["caged", "correlated", "slow", "short"])
def test_intervals_hold_and_are_not_wide(condition):
    """120 of each here; `grannfield calibrate` does a thousand. 0.88 is 3.5 binomial deviations below 95%."""
    value, low, high = of(condition, 120)
    assert np.mean((low <= 1) & (high >= 1)) >= 0.88
    assert np.median(high - low) < 1.5 * np.diff(np.percentile(value, [2.5, 97.5]))[0]
    assert abs(value.mean() - 1) < 0.1


def test_ions_that_hop_together_are_worth_fewer():
    alone, together = (of(condition, 40) for condition in ("caged", "correlated"))
    assert np.median(np.log(together[2] / together[1])) > 1.25 * np.median(np.log(alone[2] / alone[1]))


def test_rare_hops_are_bounded_from_above():
    value, _low, high = of("rare", 60)
    below = np.isnan(value)
    assert 0.4 < below.mean() < 0.95
    assert np.mean(high >= 1) >= 0.93
    assert np.median(high[below]) < 4.0


def test_nothing_below_detection_where_every_ion_hops():
    value, *_ = of(at("caged", hops=20.0), 40)
    assert not np.isnan(value).any()


def test_several_runs_are_one_sample():
    runs = [trajectory("caged", 1, number)[0] for number in range(4)]
    one = diffusion(runs[0], LI).diffusivity_cm2_per_s
    all_of_them, along = diffusion_of_runs(runs, LI)
    singles = [diffusion(run, LI).diffusivity_cm2_per_s.value for run in runs]
    assert all_of_them.value == pytest.approx(np.mean(singles))
    assert all_of_them.n == 80 and all_of_them.dof > one.dof
    assert np.log(all_of_them.interval[1] / all_of_them.interval[0]) < 0.75 * np.log(one.interval[1] / one.interval[0])
    assert all_of_them.value == pytest.approx(np.mean([along[axis].value for axis in "abc"]), rel=0.2)
    assert diffusion_of_runs(runs[:1], LI)[0] == one


def test_runs_in_which_nothing_moved_count_too():
    moving, time = brownian(0)
    together = diffusivity([(moving, time), (0 * moving, time)])
    assert together.value == pytest.approx(diffusivity([(moving, time)]).value / 2)


@pytest.mark.parametrize("n_ions", [1, 2, 4])
def test_few_ions_still_have_an_interval(n_ions):
    held, ratio = [], []
    for seed in range(100):
        one = diffusivity([brownian(seed, n_ions)])
        held.append(one.interval[0] <= 5e-5 <= one.interval[1])
        ratio.append(np.inf if one.reason else one.interval[1] / one.interval[0])
        assert one.reason or 1 <= one.dof < 10
    assert np.mean(held) >= 0.86
    assert np.median(ratio) > 1.5


def test_stillness_is_a_bound_that_time_lowers():
    """No hop seen: three events of 3 Å could have been missed, hardly more."""
    bounds = []
    for n_frames in (301, 3001):
        moved, time = brownian(0, n_frames=n_frames, d=0.0)
        one = diffusivity([(moved, time)])
        assert one.reason == "below detection" and one.interval[0] == 0.0
        bounds.append(one.interval[1])
    assert bounds[0] / bounds[1] == pytest.approx(10.0, rel=0.15)
    assert bounds[0] == pytest.approx(3.69 * 9 / (6 * 20 * 6000.0) * 0.1, rel=0.25)


def test_what_cannot_be_fitted_says_so():
    moved, time = brownian(0, n_frames=4)
    with pytest.raises(TrajectoryError, match="store frames more often"):
        diffusivity([(moved, 150.0 * time)])
    assert diffusivity([brownian(0, n_frames=200)]).reason == "too short"
    assert diffusivity([brownian(0, n_frames=1)]).reason == "too short"


def test_a_moving_frame_is_no_diffusion():
    run, _ = trajectory("drifting", 3)
    framework = run.pos[:, run.z != LI].mean(axis=1)
    assert np.linalg.norm(framework[-1] - framework[0]) > 5
    still = mobile_displacements(run, LI)
    assert diffusion(run, LI).diffusivity_cm2_per_s == diffusivity([(still, run.time)])
