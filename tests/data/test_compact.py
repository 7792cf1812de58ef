"""Compact trajectories: rounded once, exact after that, small, and the same as what they were made from in everything else."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from grannfield.data import compact
from grannfield.data.checksum import sha256_of_arrays
from grannfield.data.store import StoreError, read_attributes, read_rounding, read_trajectory, write_trajectory
from grannfield.trajectory import Trajectory


def vibrating(n_frames=300, n_atoms=24, seed=0, drift=0.0, interval=10.0):
    """Atoms that vibrate with two periods of a lattice's, some of them wandering across the cell, as unwrapped positions."""
    random = np.random.default_rng(seed)
    time = interval * np.arange(n_frames)
    home, phase = 8 * random.random((n_atoms, 3)), 2 * np.pi * random.random((2, n_atoms, 3))
    wave = sum(
        0.15 * np.sin(2 * np.pi * time[:, None, None] / period + p) for period, p in zip((90.0, 230.0), phase, strict=True)
    )
    pos = home + wave + drift * np.arange(n_frames)[:, None, None] * random.normal(size=(n_atoms, 3))
    z = np.repeat([3, 15, 16], n_atoms // 3)
    return Trajectory(
        z=z, pos=pos, cell=8 * np.eye(3), time=100.0 + time, temperature=700 + 30 * random.normal(size=n_frames),
        energy=-200 + 0.3 * random.normal(size=n_frames),
    )  # fmt: skip


FINE = compact.Rounding(10)


def again(tmp_path, run, rounding=FINE, **attributes):
    return read_trajectory(write_trajectory(tmp_path / "run.h5", run, attributes, compactly=rounding))


def test_round_trip(tmp_path):
    run = vibrating()
    found = again(tmp_path, run, seed=7)
    assert np.abs(found.pos - run.pos).max() <= 2.0**-11
    assert np.abs(found.energy - run.energy).max() <= 2.0**-21
    assert np.abs(found.temperature - run.temperature).max() <= 2.0**-12
    assert np.array_equal(found.time, run.time) and np.array_equal(found.z, run.z) and np.array_equal(found.cell, run.cell)
    assert found.kind == "time" and not found.labelled.any() and found.forces is None
    assert read_attributes(tmp_path / "run.h5") == {"seed": 7}


@pytest.mark.parametrize("rounding", [compact.MOTION, compact.CONSTANT_ENERGY, FINE])
def test_a_file_says_how_finely_it_is_rounded(tmp_path, rounding):
    run = vibrating()
    found = again(tmp_path, run, rounding)
    off = np.abs(found.pos - run.pos)
    assert 0.9 * 2.0**-rounding.position_bits / 2 < off.max() <= 2.0**-rounding.position_bits / 2
    assert read_rounding(tmp_path / "run.h5") == rounding
    assert read_rounding(write_trajectory(tmp_path / "plain.h5", run)) is None


def test_files_of_earlier_versions_are_read(tmp_path):
    """Version 2 kept positions to 2^-10 Å and did not say so."""
    packed = compact.packed_positions(compact.fixed_point(vibrating(40).pos, 10), vibrating(40).z)
    content, layout = compact.to_bytes(packed | {"z": vibrating(40).z, "cell": 8 * np.eye(3), "clock": np.array([0.0, 10.0])})
    stored, header = {"packed": np.frombuffer(content, dtype=np.uint8)}, {"kind": "time", "source": "old", "layout": layout}
    text = json.dumps({"attributes": {}, **header})
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "grannfield trajectory", "version": 2, "header": text})
        file.attrs["sha256"] = sha256_of_arrays(stored, text)
        file["packed"] = stored["packed"]
    assert np.abs(read_trajectory(path).pos - vibrating(40).pos).max() <= 2.0**-11
    assert read_rounding(path) == FINE


def test_nothing_is_lost_by_storing_twice(tmp_path):
    once = again(tmp_path, vibrating())
    twice = again(tmp_path, once)
    assert np.array_equal(once.pos, twice.pos) and np.array_equal(once.energy, twice.energy)
    assert np.array_equal(once.temperature, twice.temperature)


def test_small(tmp_path):
    """A third of the plain file at least, whatever the atoms do; a fifth for real runs."""
    run = vibrating(1000)
    size = {
        bits: write_trajectory(tmp_path / "run.h5", run, compactly=bits and compact.Rounding(bits)).stat().st_size
        for bits in (None, 10, 7)
    }
    assert size[10] < 0.33 * size[None] and size[7] < size[10]


@pytest.mark.parametrize("drift", [0.05, 3.0, 200.0])
def test_atoms_that_leave_the_cell(tmp_path, drift):
    """Unwrapped positions far outside the cell, and steps too large for a byte, are exact after rounding all the same."""
    run = vibrating(80, drift=drift)
    assert np.abs(again(tmp_path, run).pos - run.pos).max() <= 2.0**-11


def test_a_sudden_jump_and_few_frames(tmp_path):
    run = vibrating(60)
    pos = run.pos.copy()
    pos[30:, 5] += 1e4
    for frames in (60, 9, 2, 1):
        part = Trajectory(z=run.z, pos=pos[:frames], cell=run.cell[0], time=run.time[:frames])
        assert np.abs(again(tmp_path, part).pos - part.pos).max() <= 2.0**-11


def test_cells_that_change(tmp_path):
    run = vibrating(50)
    cell = run.cell * (1 + 0.01 * np.sin(np.arange(50)))[:, None, None]
    moved = Trajectory(z=run.z, pos=run.pos, cell=cell, time=run.time)
    assert np.array_equal(again(tmp_path, moved).cell, cell)


def test_unknown_temperatures_stay_unknown(tmp_path):
    """NaN cannot be rounded: such a series is kept as it is, never as a number."""
    run = vibrating(30)
    temperature = run.temperature.copy()
    temperature[4] = np.nan
    found = again(tmp_path, Trajectory(z=run.z, pos=run.pos, cell=run.cell[0], time=run.time, temperature=temperature))
    assert np.isnan(found.temperature[4]) and np.isfinite(np.delete(found.temperature, 4)).all()


def test_too_far_out_is_stored_plainly(tmp_path):
    run = vibrating(30)
    far = Trajectory(z=run.z, pos=1e12 + run.pos, cell=run.cell[0], time=run.time)
    with h5py.File(write_trajectory(tmp_path / "far.h5", far, compactly=FINE)) as file:
        assert file.attrs["version"] == 1 and "pos" in file


def test_labels_and_unordered_frames_are_not_rounded(tmp_path):
    """A reference's positions and forces are labels; unordered frames have no steps to predict."""
    run = vibrating(30)
    frames = Trajectory(z=run.z, pos=run.pos, cell=run.cell[0], time=np.arange(30.0), kind="frames")
    found = again(tmp_path, frames)
    assert found.kind == "frames" and np.array_equal(found.pos, run.pos.astype(np.float32))
    with h5py.File(write_trajectory(tmp_path / "plain.h5", run)) as file:
        assert file.attrs["version"] == 1


def test_damage_is_seen(tmp_path):
    path = write_trajectory(tmp_path / "run.h5", vibrating(), compactly=FINE)
    with h5py.File(path, "a") as file:
        content = file["packed"][()]
        content[len(content) // 2] ^= 1
        file["packed"][...] = content
    with pytest.raises(StoreError, match="SHA-256"):
        read_trajectory(path)


def test_prediction_is_of_the_past_alone():
    """Steps of a pure vibration are foretold to rounding from the eight before them, exactly as the decoder will."""
    steps = np.rint(100 * np.sin(np.arange(200)[:, None] * 0.4 + np.arange(6))).astype(np.int64)
    coefficients = compact.coefficients_of(steps)
    left = steps - compact.predicted_steps(steps, coefficients)
    assert np.abs(left[compact.ORDER :]).max() <= 3 < np.abs(steps).max()
    changed = steps.copy()
    changed[150:] += 1000
    assert np.array_equal(
        compact.predicted_steps(changed, coefficients)[:151], compact.predicted_steps(steps, coefficients)[:151]
    )


def test_bytes_of_every_width():
    arrays = {
        "a": np.array([-1, 2]),
        "b": np.array([2**40]),
        "c": np.array([300, -300]),
        "d": np.zeros((2, 0)),
        "e": np.array([0.1]),
    }
    found = compact.from_bytes(*compact.to_bytes(arrays))
    assert all(np.array_equal(found[name], array) and found[name].shape == array.shape for name, array in arrays.items())
    assert found["a"].dtype == np.int8 and found["b"].dtype == np.int64 and found["c"].dtype == np.int16
