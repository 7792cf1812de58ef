"""Extended XYZ in and out, unwrapping, and what is refused."""

import numpy as np
import pytest

from grannfield.data.extxyz import continuous, read_extxyz, write_extxyz
from grannfield.trajectory import Trajectory, TrajectoryError

CELL = np.array([[6.0, 0, 0], [1.0, 7, 0], [0.5, 0.3, 8]])


def walk(n_frames=30, labels=True, seed=0):
    random = np.random.default_rng(seed)
    pos = random.uniform(0, 6, (1, 4, 3)) + np.cumsum(random.normal(0.05, 0.3, (n_frames, 4, 3)), axis=0)
    made = {"energy": random.normal(size=n_frames), "forces": random.normal(size=pos.shape)} if labels else {}
    return Trajectory(z=[3, 16, 15, 3], pos=pos, cell=CELL, time=2.0 * np.arange(n_frames), **made)


def write_wrapped(path, made):
    fractional = made.pos @ np.linalg.inv(made.cell)
    write_extxyz(path, Trajectory(z=made.z, pos=(fractional % 1) @ made.cell, cell=made.cell, time=made.time))


def test_round_trip(tmp_path):
    made = walk()
    found = read_extxyz(write_extxyz(tmp_path / "run.xyz", made))
    for key in ("z", "pos", "cell", "time", "energy", "forces"):
        assert np.allclose(getattr(found, key), getattr(made, key), atol=1e-9), key
    assert found.kind == "time" and found.timestep == 2.0 and found.labelled.all()


def test_ase_reads_what_we_write(tmp_path):
    from ase.io import read

    made = walk(3)
    atoms = read(write_extxyz(tmp_path / "run.xyz", made), index=1)
    assert np.isclose(atoms.get_potential_energy(), made.energy[1])
    assert np.allclose(atoms.get_forces(), made.forces[1]) and atoms.pbc.all()


def test_wrapped_positions_are_unwrapped(tmp_path):
    made = walk()
    write_wrapped(tmp_path / "run.xyz", made)
    found = read_extxyz(tmp_path / "run.xyz")
    assert np.allclose(found.pos - found.pos[0], made.pos - made.pos[0], atol=1e-8)


def test_continuous_positions_stay_bit_for_bit():
    made = walk()
    assert np.abs(made.pos).max() > 7  # some atom has left the cell
    assert continuous(made.pos, made.cell, "x") is made.pos


def test_frames_too_far_apart_to_unwrap(tmp_path):
    pos = np.zeros((2, 1, 3))
    pos[1, 0, 0] = 3.5
    write_extxyz(tmp_path / "run.xyz", Trajectory(z=[3], pos=pos, cell=6 * np.eye(3), time=[0.0, 1.0]))
    with pytest.raises(TrajectoryError, match="wrapped=False"):
        read_extxyz(tmp_path / "run.xyz")
    assert read_extxyz(tmp_path / "run.xyz", wrapped=False).pos[1, 0, 0] == 3.5


def test_time_comes_from_the_argument_the_frames_or_nowhere(tmp_path):
    path = write_extxyz(tmp_path / "run.xyz", walk(5))
    assert read_extxyz(path, timestep=0.5).timestep == 0.5
    text = path.read_text()
    path.write_text("\n".join(line.split(" time=")[0] for line in text.splitlines()) + "\n")
    assert read_extxyz(path).kind == "frames"
    path.write_text(text.replace("time=", "timestep_fs=4.0 moment="))
    assert read_extxyz(path).timestep == 4.0
    path.write_text(text.replace("time=4.0", "moment=4.0"))
    with pytest.raises(TrajectoryError, match="frame 2 has no time"):
        read_extxyz(path)
    assert read_extxyz(path, timestep=3.0).timestep == 3.0
    with pytest.raises(TrajectoryError, match="not positive"):
        read_extxyz(path, timestep=-1.0)


def test_labels_on_some_frames_and_under_other_names(tmp_path):
    made = walk(4)
    energy, forces = made.energy.copy(), made.forces.copy()
    energy[1], forces[1] = np.nan, np.nan
    partly = Trajectory(z=made.z, pos=made.pos, cell=CELL, time=made.time, energy=energy, forces=forces)
    path = write_extxyz(tmp_path / "run.xyz", partly)
    assert read_extxyz(path).labelled.tolist() == [True, False, True, True]
    path.write_text(path.read_text().replace("energy=", "REF_energy=").replace("forces:R", "REF_forces:R"))
    assert not read_extxyz(path).labelled.any()
    assert read_extxyz(path, labels=("REF_energy", "REF_forces")).labelled.sum() == 3


def test_a_varying_cell(tmp_path):
    made = walk(4)
    cell = CELL * np.array([1, 1.01, 1.02, 1.03])[:, None, None]
    path = write_extxyz(tmp_path / "run.xyz", Trajectory(z=made.z, pos=made.pos, cell=cell, time=made.time))
    assert np.allclose(read_extxyz(path).cell, cell)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "is empty"),
        (lambda lines: [line.replace("S ", "Xx ", 1) for line in lines], "'Xx' is no element"),
        (lambda lines: lines[:-2], "frame 2 cannot be read"),
        (lambda lines: [*lines[:-2], "S 1.0 2.0"], "frame 2 cannot be read"),
        (lambda lines: [x.replace(x.split()[1], "nan") if x[0] == "P" else x for x in lines], "frame 0.*NaN"),
        (lambda lines: [*lines[:6], "3", *lines[7:11], *lines[12:]], "frame 1 holds Li1P1S1, frame 0 Li2P1S1"),
        (lambda lines: [*lines[:8], lines[9], lines[8], *lines[10:]], "frame 1 lists its atoms in another order"),
        (lambda lines: [line.split('" ')[1] if "Lattice" in line else line for line in lines], "frame 0 has no cell"),
    ],
)  # fmt: skip
def test_errors_name_the_file_and_the_frame(tmp_path, damage, message):
    path = write_extxyz(tmp_path / "run.xyz", walk(3, labels=False))
    lines = damage(path.read_text().splitlines())
    path.write_text("\n".join(lines) + ("\n" if lines else ""))
    with pytest.raises(TrajectoryError, match=message) as caught:
        read_extxyz(path)
    assert "run.xyz" in str(caught.value)


def test_infinite_forces_keep_their_place_without_labels_and_missing_file(tmp_path):
    path = write_extxyz(tmp_path / "run.xyz", walk(2))
    lines = path.read_text().splitlines()
    lines[-1] = lines[-1].rsplit(" ", 1)[0] + " inf"
    path.write_text("\n".join(lines) + "\n")
    assert read_extxyz(path).labelled.tolist() == [True, False]
    with pytest.raises(FileNotFoundError, match="absent"):
        read_extxyz(tmp_path / "absent.xyz")
