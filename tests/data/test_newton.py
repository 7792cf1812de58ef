"""Positions from forces: exact after one rounding, far smaller than without, by the weights that Newton's equation demands."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from grannfield.data import compact, newton
from grannfield.data.store import read_attributes, read_trajectory, write_trajectory
from grannfield.trajectory import Trajectory
from grannfield.units import ACCELERATION, masses

Z = np.repeat([3, 15, 16], 8)
H = 10.0


def bound(n_frames=400, friction=0.0, seed=0, stiff=(0.8, 5.0, 2.0)):
    """Atoms of three species, each between springs of its own and one of three dimensions, with exact accelerations.

    With friction all are slowed and pushed in turns, as by a thermostat: the integral of small leaps of 1/50 of a frame.
    """
    random = np.random.default_rng(seed)
    mass, home = masses(Z)[:, None], 8 * random.random((len(Z), 3))
    spring = np.repeat(stiff, 8)[:, None] * random.uniform(0.5, 1.5, (len(Z), 3))
    pos, vel, small = home + random.normal(0, 0.1, home.shape), random.normal(0, 0.01, home.shape), H / 50
    kept, pulled = [], []
    for leap in range(50 * n_frames):
        force = -spring * (pos - home)
        if leap % 50 == 0:
            kept.append(pos)
            pulled.append(force)
        xi = friction * np.sin(leap * small / 300)
        vel = vel * (1 - xi * small) + small * ACCELERATION * force / mass
        pos = pos + small * vel
    labels = {"energy": random.normal(size=n_frames), "forces": np.stack(pulled), "source": "springs"}
    return Trajectory(z=Z, pos=np.stack(kept), cell=8 * np.eye(3), time=H * np.arange(n_frames), **labels)


def stored(tmp_path, run, rounding=compact.LABELLED, name="run.h5"):
    return write_trajectory(tmp_path / name, run, {"seed": 3}, compactly=rounding)


def test_rounded_once_and_then_the_same_bytes(tmp_path):
    run = bound()
    found = read_trajectory(stored(tmp_path, run))
    assert np.abs(found.pos - run.pos).max() <= 2.0**-16 and np.abs(found.forces - run.forces).max() <= 2.0**-12
    assert np.abs(found.energy - run.energy).max() <= 2.0**-21 and found.labelled.all() and found.source == "springs"
    again = stored(tmp_path, found, name="again.h5")
    assert again.read_bytes() == (tmp_path / "run.h5").read_bytes() and read_attributes(again) == {"seed": 3}


def test_forces_say_most_of_where_atoms_go(tmp_path):
    """Against the plain file and against positions foretold from the past alone."""
    run = bound()
    units, forces = compact.fixed_point(run.pos, 15), compact.fixed_point(run.forces, 11)
    size = [len(compact.to_bytes(a)[0]) for a in (newton.packed_motion(units, forces, Z), compact.packed_positions(units, Z))]
    assert size[0] < 0.55 * size[1]
    assert stored(tmp_path, run).stat().st_size < 0.55 * stored(tmp_path, run, None, "plain.h5").stat().st_size


def test_weights_are_those_of_the_equation_of_motion():
    """Their sum is h² / m, for each species its own, as it must be for a force that does not change."""
    run = bound()
    packed = newton.packed_motion(compact.fixed_point(run.pos, 15), compact.fixed_point(run.forces, 11), Z)
    for element in (3, 15, 16):
        expected = H**2 * ACCELERATION / masses(np.array([element]))[0] * 2.0 ** (15 - 11)
        assert packed[f"weights-{element}"].sum() / 2.0**newton.WEIGHT_SHIFT == pytest.approx(expected, rel=2e-3)


def test_one_friction_for_all_atoms_is_found():
    run = bound(friction=2e-3)
    forces = compact.fixed_point(run.forces, 11)
    packed = newton.packed_motion(compact.fixed_point(run.pos, 15), forces, Z)
    found = -2 * np.cumsum(packed["friction"]) / 2.0**newton.FRICTION_SHIFT / H
    expected = 2e-3 * np.sin(run.time[1:-1] / 300)
    assert np.corrcoef(found, expected)[0, 1] > 0.95 and np.ptp(found) == pytest.approx(np.ptp(expected), rel=0.3)
    assert np.array_equal(newton.unpacked_motion(packed, forces, Z), compact.fixed_point(run.pos, 15))


@pytest.mark.parametrize("frames", [3, 4, 12])
def test_few_frames_and_forces_that_mean_nothing(tmp_path, frames):
    random = np.random.default_rng(frames)
    run = bound(12)[:frames]
    wild = replace(run, pos=run.pos + random.normal(0, 1e3, run.pos.shape), forces=random.normal(0, 300, run.pos.shape))
    for one in (run, wild, replace(run, forces=0 * run.forces)):
        found = read_trajectory(stored(tmp_path, one))
        assert np.abs(found.pos - one.pos).max() <= 2.0**-16 and np.abs(found.forces - one.forces).max() <= 2.0**-12


@pytest.mark.parametrize("what", ["no forces", "one unlabelled", "too large", "unordered", "two frames"])
def test_what_has_no_forces_everywhere_is_stored_plainly(tmp_path, what):
    run = bound(20)
    forces, mask = run.forces.copy(), np.ones(20, dtype=bool)
    forces[4], mask[4] = np.nan, False
    changed = {
        "no forces": replace(run, forces=None, labelled=None),
        "one unlabelled": replace(run, forces=forces, labelled=mask),
        "too large": replace(run, forces=1e4 * run.forces),
        "unordered": replace(run, kind="frames"),
        "two frames": run[:2],
    }[what]
    path = stored(tmp_path, changed)
    with h5py.File(path) as file:
        assert file.attrs["version"] == 1 and "pos" in file
    assert np.array_equal(read_trajectory(path).pos, changed.pos.astype(np.float32))


def test_a_frame_that_is_not_to_be_learnt_from_stays_so(tmp_path):
    mask = np.arange(20) != 7
    assert np.array_equal(read_trajectory(stored(tmp_path, replace(bound(20), labelled=mask))).labelled, mask)
