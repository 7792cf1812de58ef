"""The store gives back what it was given, and says plainly when it cannot."""

import h5py
import numpy as np
import pytest

from grannfield.data import store
from grannfield.data.store import StoreError, read_attributes, read_trajectory, write_trajectory
from grannfield.trajectory import Trajectory


def trajectory(n_frames=40, n_atoms=6, scale=1.0, seed=0, **changes):
    random = np.random.default_rng(seed)
    values = {
        "z": random.integers(1, 80, n_atoms),
        "pos": random.normal(0, 5, (n_frames, n_atoms, 3)),
        "cell": np.diag([7.0, 8.0, 9.0]),
        "time": 10.0 * np.arange(n_frames),
        "temperature": random.normal(1000, 50, n_frames),
        "energy": random.normal(-200, 1, n_frames),
        "forces": scale * random.normal(0, 1, (n_frames, n_atoms, 3)),
        "source": "a test",
    }
    return Trajectory(**(values | changes))


def test_round_trip(tmp_path):
    made = trajectory()
    path = write_trajectory(tmp_path / "new folder" / "run.h5", made, {"maker": "nobody", "seed": 3})
    found = read_trajectory(path)
    assert np.array_equal(found.z, made.z)
    assert np.abs(found.pos - made.pos).max() < 1e-6
    assert np.array_equal(found.cell, made.cell) and np.array_equal(found.time, made.time)
    assert np.array_equal(found.energy, made.energy)
    assert np.abs(found.temperature - made.temperature).max() < 1e-3
    assert np.std(found.forces - made.forces) < 0.3e-3  # eV/Å, what float16 costs
    assert found.labelled.all() and (found.kind, found.source) == ("time", "a test")
    assert read_attributes(path) == {"maker": "nobody", "seed": 3}
    assert [entry.name for entry in path.parent.iterdir()] == ["run.h5"]


def test_round_trip_without_labels_and_with_a_varying_cell(tmp_path):
    cell = np.diag([7.0, 8.0, 9.0]) * np.linspace(1, 1.1, 40)[:, None, None]
    made = trajectory(cell=cell, temperature=None, energy=None, forces=None, kind="frames", source="")
    path = write_trajectory(tmp_path / "run.h5", made)
    found = read_trajectory(path)
    assert np.array_equal(found.cell, cell) and found.kind == "frames" and not found.labelled.any()
    assert found.temperature is None and found.energy is None and found.forces is None and found.source == str(path)


def test_partial_labels_and_a_mask_narrower_than_the_labels(tmp_path):
    made = trajectory()
    energy, forces = made.energy.copy(), made.forces.copy()
    energy[5:], forces[5:] = np.nan, np.nan
    mask = np.arange(40) < 3
    found = read_trajectory(write_trajectory(tmp_path / "run.h5", trajectory(energy=energy, forces=forces, labelled=mask)))
    assert np.array_equal(found.labelled, mask) and np.isnan(found.forces[5:]).all()


@pytest.mark.parametrize("scale", [1.0, 999.0, 1e3, 1e5, 1e30])
def test_large_forces_neither_overflow_nor_lose(tmp_path, scale):
    made = trajectory(forces=np.full((40, 6, 3), scale))
    found = read_trajectory(write_trajectory(tmp_path / "run.h5", made))
    assert np.allclose(found.forces, scale, rtol=5e-4 if scale < store.FLOAT16_LIMIT else 1e-6)
    assert found.labelled.all()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_trajectory(tmp_path / "run.h5", trajectory())
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store, "_replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_trajectory(path, trajectory(seed=1))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_attributes_that_are_not_json(tmp_path):
    with pytest.raises(StoreError, match=r"run\.h5.*not JSON"):
        write_trajectory(tmp_path / "run.h5", trajectory(), {"model": object()})
    assert not list(tmp_path.iterdir())


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_trajectory(tmp_path / "absent.h5")
    text = tmp_path / "text.h5"
    text.write_text("Lattice=...")
    with pytest.raises(StoreError, match=r"text\.h5 is not an HDF5 file"):
        read_trajectory(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["pos"] = np.zeros(3)
    with pytest.raises(StoreError, match="of another kind"):
        read_trajectory(tmp_path / "other.h5")


def test_a_later_version_asks_for_an_upgrade(tmp_path):
    path = write_trajectory(tmp_path / "run.h5", trajectory())
    with h5py.File(path, "a") as file:
        file.attrs["version"] = store.VERSION + 1
    with pytest.raises(StoreError, match=r"format version 4.*upgrade"):
        read_trajectory(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_truncated(tmp_path, share):
    path = write_trajectory(tmp_path / "run.h5", trajectory(400))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StoreError, match=r"run\.h5"):
        read_trajectory(path)


def test_flipped_bytes_never_pass_silently(tmp_path):
    path = write_trajectory(tmp_path / "run.h5", trajectory(2000))
    content, whole = path.read_bytes(), read_trajectory(path)
    noticed = 0
    for place in np.random.default_rng(1).integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            found = read_trajectory(path)
        except StoreError as problem:
            noticed += "run.h5" in str(problem)
        else:  # bytes that mean nothing (padding) may change, numbers may not
            assert np.array_equal(found.pos, whole.pos) and np.array_equal(found.forces, whole.forces)
    assert noticed > 50
