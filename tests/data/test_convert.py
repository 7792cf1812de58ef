"""Raw runs become the files that are shipped, with nothing beyond NumPy and h5py."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest

from grannfield.data.convert import main, read_npz, thin
from grannfield.data.reference import parse_reference
from grannfield.data.store import read_attributes, read_trajectory
from grannfield.trajectory import TrajectoryError


@pytest.fixture
def archive(tmp_path):
    random = np.random.default_rng(0)
    pos = random.normal(size=(101, 4, 3)).astype(np.float32)
    arrays = {
        "pos": pos, "forces": pos.astype(np.float16), "energy": random.normal(size=101), "cell": 9 * np.eye(3),
        "temperature": np.full(101, 900, np.float32), "z": np.array([3, 3, 16, 15]), "timestep_fs": np.array(2.0),
    }  # fmt: skip
    np.savez(tmp_path / "run.npz", **arrays)
    return tmp_path / "run.npz", arrays


def test_the_command_writes_a_thinned_run(archive, tmp_path):
    path, arrays = archive
    target = tmp_path / "out" / "surrogate_900K.h5"
    main([str(path), str(target), "--kind", "surrogate", "--maker", "X", "--temperature", "900", "--seed", "7"])
    found = read_trajectory(target)
    assert np.abs(found.pos - arrays["pos"][::5]).max() <= 2**-16
    assert np.abs(found.forces - arrays["forces"][::5]).max() <= 2**-12
    assert found.timestep == 10.0 and found.source == "Li2P1S1 at 900 K, surrogate: X"
    assert read_attributes(target)["timestep_fs"] == 2.0


def test_the_block_describes_the_file(archive, tmp_path, capsys):
    path, _ = archive
    target = tmp_path / "surrogate_900K.h5"
    main([str(path), str(target), "--kind", "surrogate", "--maker", "X", "--temperature", "900", "--ramp", "1"])
    text = '[[reference]]\nname = "r"\nkind = "surrogate"\nmaker = "X"\nthermostat = "none"\n' + capsys.readouterr().out
    reference = parse_reference(tomllib.loads(text)["reference"][0], tmp_path, "material.toml", "Li2PS")
    run = reference.run(900)
    assert run.trajectory().n_frames == 21 and run.ramp_ps == 1.0 and run.seed == -1


def test_what_cannot_be_converted(archive, tmp_path):
    path, arrays = archive
    with pytest.raises(ValueError, match="cannot be thinned to 5 fs"):
        thin(read_npz(path), 5.0)
    np.savez(tmp_path / "less.npz", **{key: value for key, value in arrays.items() if key != "forces"})
    with pytest.raises(TrajectoryError, match=r"less\.npz.*forces"):
        read_npz(tmp_path / "less.npz")
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrajectoryError, match=r"cut\.npz is not a readable"):
        read_npz(tmp_path / "cut.npz")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "absent.npz")


def test_training_data_need_only_numpy_and_h5py():
    code = (
        "import sys\n"
        "for name in ('ase', 'pymatgen', 'spglib', 'scipy', 'torch', 'pandas'): sys.modules[name] = None\n"
        "from grannfield.data import convert, dataset, extxyz, material, symmetry\n"
        "m = material.load_material('LGPS')\n"
        "print(len(dataset.frames(m, m.reference(), 'train', limit=10)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "10", done.stderr
