"""Drift: whole cells that move are told from frameworks that recoil."""

import numpy as np
import pytest

from grannfield import units
from grannfield.analysis.drift import cell_motion, drift_share
from grannfield.trajectory import Trajectory

LI = 3
Z = np.array([3, 3, 3, 3, 15, 15, 16, 16, 16, 16])


def walk(seed, n_frames=400, drift=0.0, conserving=False):
    """Li that walk at random, a framework that shakes, recoils if asked to, and drifts."""
    generator = np.random.default_rng(seed)
    pos = generator.normal(scale=0.05, size=(n_frames, len(Z), 3))
    pos[:, Z == LI] += np.cumsum(generator.normal(scale=0.1, size=(n_frames, 4, 3)), axis=0)
    if conserving:
        mass = units.masses(Z)
        pos -= np.einsum("fnx,n->fx", pos, mass / mass.sum())[:, None]
    pos += drift * np.arange(n_frames)[:, None, None]
    return Trajectory(z=Z, pos=pos, cell=8 * np.eye(3), time=20.0 * np.arange(n_frames))


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize(("drift", "low", "high"), [(0.0, 0.0, 0.05), (1.0, 0.95, 1.0)])
def test_drift_share(seed, drift, low, high):
    found = drift_share(walk(seed, drift=drift), LI)
    assert low <= found.value <= high
    assert found.n == 4
    assert found.interval[0] <= found.value <= found.interval[1]


@pytest.mark.parametrize("seed", range(3))
def test_recoil_is_no_drift(seed):
    found = cell_motion(walk(seed, conserving=True), LI)
    assert found.label == "recoil only"
    assert found.displacement < 1e-9 < found.recoil
    assert found.speed_A_per_ps.interval[0] == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_a_drifting_cell_is_found_with_its_speed(seed):
    found = cell_motion(walk(seed, drift=0.01, conserving=True), LI)
    assert found.label == "moves as a whole"
    speed = 0.01 * np.sqrt(3) / 0.020  # Å/ps
    assert found.displacement == pytest.approx(speed * 0.020 * 399, rel=1e-6)
    assert found.speed_A_per_ps.interval[0] < speed < found.speed_A_per_ps.interval[1]


def test_one_frame_and_ions_alone():
    one = Trajectory(z=Z, pos=np.zeros((1, 10, 3)), cell=8 * np.eye(3), time=[0.0])
    assert cell_motion(one, LI).speed_A_per_ps.reason == "too short"
    assert drift_share(one, LI).reason == "too short"
    alone = Trajectory(z=[3], pos=np.zeros((5, 1, 3)), cell=8 * np.eye(3), time=np.arange(5.0))
    assert cell_motion(alone, LI).label == "recoil only"
