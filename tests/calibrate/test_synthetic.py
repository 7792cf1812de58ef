"""Synthetic trajectories have the diffusivity they claim, and random numbers of their own."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest

from grannfield.analysis.diffusion import framework_drift, mobile_displacements
from grannfield.calibrate import walks
from grannfield.calibrate.synthetic import (
    CAGE,
    CONDITIONS,
    MEMORY,
    MOBILE_Z,
    N_IONS,
    PURPOSES,
    at,
    condition,
    generators,
    trajectory,
)
from grannfield.calibrate.temperatures import SETS, TemperatureSet, trajectories
from grannfield.units import BOLTZMANN, CM2_PER_S

LONG = ("free", "caged", "correlated", "backjump", "heterogeneous", "anisotropic", "drifting")


def slope_of(c, seed, runs=30, n_ions=300):
    """D in Å²/fs and its standard error, from the growth of the mean squared displacement between half a run and all of it."""
    big = replace(c, n_ions=n_ions, interval=c.duration / 20)
    found = []
    for rng in np.random.SeedSequence(seed).spawn(runs):
        moved = big.walk(big, np.random.default_rng(rng))
        squares = (moved**2).sum(axis=2).mean(axis=1)
        found.append((squares[20] - squares[10]) / (6 * c.duration / 2))
    return np.mean(found), np.std(found, ddof=1) / math.sqrt(runs)


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_ensemble_diffuses_as_the_condition_claims(name):
    c = condition(name)
    found, error = slope_of(c, seed=3)
    assert error < 0.08 * c.diffusivity  # else the next line says nothing
    assert abs(found - c.diffusivity) < 4 * error


def test_a_very_long_walk_with_returns_follows_the_persistent_walk():
    c = at("backjump", hops=3000, duration=3_500_000.0)
    found, error = slope_of(c, seed=1, runs=20, n_ions=100)
    assert error < 0.05 * c.diffusivity
    assert abs(found - c.diffusivity) < 4 * error
    assert c.diffusivity == pytest.approx(c.rate * walks.HOP**2 / 6 / 3)


def test_half_of_all_hops_are_followed_by_one_straight_back_within_a_picosecond():
    hops = walks.returning(30 / 35_000, 500, 35_000.0, 0.5, 400.0, np.random.default_rng(0))
    order = np.lexsort((hops.start, hops.ion))
    ion, step, start, end = hops.ion[order], hops.step[order], hops.start[order], (hops.start + hops.flight)[order]
    same = ion[1:] == ion[:-1]
    cosine = (step[1:] * step[:-1]).sum(axis=1)[same] / walks.HOP**2
    assert cosine.mean() == pytest.approx(-0.5, abs=0.02)
    soon = (start[1:] - end[:-1])[same] < 1000.0
    assert (cosine[soon] == -1).mean() > 2 * (cosine[~soon] == -1).mean()
    assert (start[1:] >= end[:-1] - 1e-6)[same].all()  # an ion hops again only when it has arrived


def test_the_rate_of_hops_is_the_stated_one():
    c = condition("caged")
    hops = walks.single(c.rate, 2000, c.duration, np.random.default_rng(2))
    inside = hops.start >= 0
    assert inside.sum() / 2000 == pytest.approx(c.hops, rel=0.02)
    assert hops.flight.min() >= walks.FLIGHTS[0] and hops.flight.max() <= walks.FLIGHTS[1]


def test_strings_move_neighbours_together():
    rng = np.random.default_rng(4)
    hops = walks.strings(24 / 35_000, 20, 350_000.0, (2, 3, 4), rng)
    moved = np.diff(walks.path(hops, 20, 101, 3_500.0), axis=0)
    square = (moved**2).mean()
    neighbours = [(moved * np.roll(moved, shift, axis=1)).mean() / square for shift in (1, 2, 3, 4)]
    np.testing.assert_allclose(neighbours, [2 / 3, 1 / 3, 1 / 9, 0.0], atol=0.06)


def test_environments_make_ions_unequal():
    rng = np.random.default_rng(5)
    equal = walks.environments((24 / 35_000,) * 2, 10_000.0, 3000, 35_000.0, rng)
    unequal = walks.environments((43.2 / 35_000, 4.8 / 35_000), 10_000.0, 3000, 35_000.0, rng)
    counts = [np.bincount(hops.ion[hops.start >= 0], minlength=3000) for hops in (equal, unequal)]
    assert counts[0].mean() == pytest.approx(24, rel=0.03) and counts[1].mean() == pytest.approx(24, rel=0.03)
    assert counts[0].var() == pytest.approx(counts[0].mean(), rel=0.1)  # Poisson
    mean_rate, stay, length = 19.2, 10_000.0, 35_000.0  # of a random telegraph with this amplitude and memory stay/2
    x = 2 * length / stay
    assert counts[1].var() == pytest.approx(24 + mean_rate**2 * 2 * (x - 1 + math.exp(-x)) / x**2, rel=0.1)


def test_vibration_is_stationary_with_its_width_and_memory():
    x = walks.vibration(400, 2000, 50.0, 0.3, 200.0, np.random.default_rng(0))
    assert x[0].std() == pytest.approx(0.3, rel=0.03) and x[-1].std() == pytest.approx(0.3, rel=0.03)
    for lag in (1, 4, 40):
        msd = ((x[lag:] - x[:-lag]) ** 2).sum(axis=2).mean()
        assert msd == pytest.approx(6 * 0.3**2 * (1 - math.exp(-50.0 * lag / 200.0)), rel=0.03)


def test_flights_take_their_time_whatever_the_frames():
    hops = walks.Hops(np.array([0, 0]), np.array([-50.0, 480.0]), np.array([100.0, 300.0]), np.array([[2.0, 0, 0], [0, 3.0, 0]]))
    fine, coarse = walks.path(hops, 1, 81, 10.0), walks.path(hops, 1, 5, 200.0)
    np.testing.assert_allclose(coarse, fine[::20], atol=1e-12)
    np.testing.assert_allclose(fine[-1, 0], [1.0, 3.0, 0.0])  # half of the first flight is over at the first frame


def test_hops_too_frequent_for_their_flights_are_refused():
    with pytest.raises(ValueError, match="lower the rate"):
        trajectory(at("caged", hops=400), 0)


def test_a_trajectory_is_what_a_run_leaves():
    run, truth = trajectory("short", seed=0)
    assert run.duration == 7000.0 and 20.0 <= run.timestep <= 50.0
    assert (run.z == MOBILE_Z).sum() == N_IONS and set(run.z[run.z != MOBILE_Z]) == {15, 16}
    assert (run.temperature == 1000.0).all()
    assert truth.diffusivity_cm2_per_s == pytest.approx(3 * walks.HOP**2 / 6 / 7000.0 * CM2_PER_S)
    assert {len(np.unique(trajectory("free", 0, k)[0].cell[0].round(3))) for k in range(8)} == {4, 7}  # both cells occur


@pytest.mark.parametrize("name", LONG)
def test_long_conditions_hop_often_enough_that_below_detection_counts_against_the_estimator(name):
    assert condition(name).hops >= 20


def test_drift_moves_the_whole_cell_and_not_the_ions_in_it():
    drifting, _ = trajectory("drifting", seed=1)
    assert np.linalg.norm(framework_drift(drifting, MOBILE_Z)[-1]) > 4.0
    c = replace(condition("drifting"), n_ions=200)
    squares = [(mobile_displacements(trajectory(c, 2, k)[0], MOBILE_Z)[-1] ** 2).sum(axis=1).mean() for k in range(20)]
    expected = 6 * c.diffusivity * c.duration + 6 * CAGE**2
    assert np.mean(squares) == pytest.approx(expected, abs=4 * np.std(squares, ddof=1) / math.sqrt(20) + 0.02 * expected)


@pytest.mark.parametrize("name", ["free", "correlated", "backjump"])
def test_the_same_seed_gives_the_same_trajectory_and_any_other_another(name):
    first = trajectory(name, 7, 2)[0].pos
    np.testing.assert_array_equal(first, trajectory(name, 7, 2)[0].pos)
    for other in (trajectory(name, 7, 3)[0].pos, trajectory(name, 8, 2)[0].pos):
        assert abs(first - other).min() > 0


def test_no_two_purposes_share_random_numbers():
    names = [*CONDITIONS, *SETS]
    assert len({zlib.crc32(name.encode()) for name in names}) == len(names)
    seen = [
        rng.integers(2**63)
        for seed in (0, 1, 2**40)
        for name in names
        for keys in ([(k,) for k in range(4)] if name in CONDITIONS else [(k, run) for k in range(3) for run in range(3)])
        for rng in generators(seed, name, *keys, count=PURPOSES)
    ]
    assert len(set(seen)) == len(seen)


def test_sets_follow_their_arrhenius_line_exactly():
    for one in SETS.values():
        ln_d = [math.log(one.condition(t).diffusivity) for t in one.temperatures]
        slope = np.polyfit([1 / t for t in one.temperatures], ln_d, 1)[0]
        assert -slope * BOLTZMANN == pytest.approx(one.truth.activation_energy, rel=1e-9)


def test_runs_of_a_set_are_independent_and_vibrate_by_their_temperature():
    one = TemperatureSet("pair", "two runs", (500.0, 1000.0), replicas=2, duration=7000.0, interval=20.0)
    runs, truth = trajectories(one, seed=0)
    assert [t for t, _ in runs] == [500.0, 500.0, 1000.0, 1000.0]
    assert abs(runs[0][1].pos - runs[1][1].pos).min() > 0
    assert one.condition(500.0).cage == pytest.approx(CAGE / math.sqrt(2))
    assert truth.neg_log_sigma == pytest.approx(SETS["five temperatures"].truth.neg_log_sigma)
    assert runs[0][1].timestep < MEMORY


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(LookupError, match="'wobbly'; there are free, caged"):
        trajectory("wobbly", 0)
    with pytest.raises(LookupError, match="there are five temperatures"):
        trajectories("wobbly", 0)
