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
