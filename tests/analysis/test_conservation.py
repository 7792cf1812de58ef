"""Energy drift and curl: planted lines are found, intervals cover, rotations and gradients are told apart."""

import numpy as np
import pytest

from grannfield.analysis.conservation import asymmetry, energy_drift, total_energy
from grannfield.units import BOLTZMANN

N_ATOMS, INTERVAL = 32, 4.0


def series(seed, frames, slope, wander=0.0, memory=0.8):
    """Total energy in eV: a line, noise that forgets as memory^t, and a random walk."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=frames)
    for t in range(1, frames):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    walk = np.cumsum(generator.normal(size=frames)) * wander
    return slope * N_ATOMS * INTERVAL * np.arange(frames) + 1e-3 * noise + walk


@pytest.mark.parametrize("wander", [0.0, 1e-3])
def test_planted_drift_is_found_and_its_interval_covers(wander):
    """300 runs: a drift of 1 meV/atom/ps lies in at least 90% of the nominally 95% intervals, whether the energy is noisy or
    wanders; noise alone is never taken for such a drift."""
    slope, hits, width = 1e-6, 0, []
    for seed in range(300):
        found = energy_drift([series(seed, 250, slope, wander)], INTERVAL, N_ATOMS).drift
        low, high = found.interval
        hits += low <= slope <= high
        width.append(high - low)
    assert hits / 300 > 0.9, hits / 300
    if not wander:
        assert np.median(width) < slope, "a drift of 1 meV/atom/ps must stand out in 1 ps"


def test_runs_are_averaged():
    runs = [series(seed, 250, slope) for seed, slope in enumerate((1e-6, 3e-6))]
    found = energy_drift(runs, INTERVAL, N_ATOMS)
    assert found.drift.value == pytest.approx(2e-6, rel=0.2)
    assert found.by_run == pytest.approx((1e-6, 3e-6), rel=0.3)
    assert found.drift.n == 500
    assert found.swing == pytest.approx(1e-3 / N_ATOMS, rel=0.2)


def test_too_little_and_broken_input():
    assert energy_drift([np.zeros(10)], INTERVAL, N_ATOMS).drift.reason == "too short"
    assert energy_drift([], INTERVAL, N_ATOMS).drift.reason == "too short"
    with pytest.raises(ValueError, match="not finite"):
        energy_drift([np.full(100, np.nan)], INTERVAL, N_ATOMS)
    with pytest.raises(ValueError, match="should be"):
        asymmetry(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="not finite"):
        asymmetry(np.full((2, 2), np.nan), np.ones((2, 2)))
    assert asymmetry(np.zeros((2, 2)), np.zeros((2, 2))).share.reason == "undefined"


def test_kinetic_energy_counts_3n_minus_3_degrees_of_freedom():
    assert total_energy(np.zeros(1), np.array([300.0]), 10)[0] == pytest.approx(0.5 * 27 * BOLTZMANN * 300.0)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_share_of_a_known_jacobian(share):
    """Random matrices of which `share` (Frobenius norm) is antisymmetric: the estimate and its interval, 300 times."""
    generator, hits = np.random.default_rng(0), 0
    n, frames, directions = 24, 8, 4
    for _ in range(300):
        forward, backward = np.empty((2, frames, directions))
        for f in range(frames):
            m = generator.normal(size=(n, n))
            s, a = m + m.T, m - m.T
            jacobian = np.sqrt(1 - share**2) * s / np.linalg.norm(s) + share * a / np.linalg.norm(a)
            u, v = generator.normal(size=(2, directions, n))
            forward[f], backward[f] = np.einsum("da,ab,db->d", u, jacobian, v), np.einsum("da,ab,db->d", v, jacobian, u)
        found = asymmetry(forward, backward).share
        hits += found.interval[0] - 1e-12 <= share <= found.interval[1] + 1e-12
    assert hits / 300 > 0.9, hits / 300
    assert found.value == pytest.approx(share, rel=0.35, abs=1e-12) and found.n == frames * directions


def test_floor_is_what_changes_with_the_step():
    wide = np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]])
    fine = np.array([[1.0, 2.0]]), np.array([[1.0, 2.002]])
    found = asymmetry(*wide, fine=fine)
    assert found.floor == pytest.approx(0.002 / np.sqrt(4 + 16))
    assert found.share.value == 0.0


def stiff_and_rotating(generator, share, frames=8, directions=2, n=96):
    """Products with Jacobians of three stiff modes and many soft ones, and a diffuse rotation of `share` of both."""
    symmetric, odd = np.empty((2, frames, directions))
    for f in range(frames):
        u, v = generator.normal(size=(2, directions, n))
        stiffness = np.append(-generator.lognormal(0, 0.7, 3), 0.05 * generator.normal(size=n - 3))
        modes = np.linalg.qr(generator.normal(size=(n, n)))[0]
        symmetric[f] = ((u @ modes) * stiffness * (v @ modes)).sum(axis=1)
        rotation = generator.normal(size=(n, n))
        odd[f] = np.einsum("da,ab,db->d", u, rotation - rotation.T, v)
    of_stiffness = 3 * np.exp(2 * 0.7**2) + (n - 3) * 0.05**2
    odd *= np.sqrt(share**2 / (1 - share**2) * of_stiffness / (2 * n * (n - 1)))
    return symmetric + odd, symmetric - odd


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_stiff_bonds_do_not_hide_that_forces_are_no_gradient(share):
    """200 times: long tails of the products neither take its coverage from the interval nor bring it down to zero."""
    generator = np.random.default_rng(1)
    found = [asymmetry(*stiff_and_rotating(generator, share)).share.interval for _ in range(200)]
    assert min(low for low, _ in found) > 0 and np.median([low for low, _ in found]) > 0.4 * share
    assert np.mean([low <= share <= high for low, high in found]) > 0.83


def test_an_interval_does_not_begin_between_zero_and_the_floor():
    generator = np.random.default_rng(2)
    forward, backward = stiff_and_rotating(generator, 1e-3)
    coarse = asymmetry(forward, backward, fine=(forward * 1.01, backward * 0.99))
    assert coarse.floor > 1e-3 and coarse.share.interval[0] == 0.0 < coarse.share.value
    sharp = asymmetry(forward, backward, fine=(forward, backward))
    assert sharp.floor == 0.0 < sharp.share.interval[0] < 1e-3 < sharp.share.interval[1]


def test_nothing_everything_and_one_frame():
    generator = np.random.default_rng(3)
    some = generator.normal(size=(8, 2))
    assert asymmetry(some, some).share.interval == (0.0, 0.0)
    assert asymmetry(some, -some).share.interval == (1.0, 1.0)
    assert asymmetry(some[:1], -0.5 * some[:1]).share.interval == (0.0, 1.0)
    once = np.where(np.arange(8)[:, None] == 3, 0.5, 1.0) * some
    low, high = asymmetry(some, once).share.interval  # all of it in one frame
    assert low < 1e-6 and high > 0.999
