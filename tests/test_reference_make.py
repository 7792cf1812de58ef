"""`grannfield reference`: runs entered as references, cut off and continued, refused where something is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from grannfield.cli import main
from grannfield.data.compact import LABELLED
from grannfield.data.entries import enter, listed, run_entry
from grannfield.data.material import load_material, reference_at
from grannfield.data.store import read_attributes, read_rounding, read_trajectory, write_trajectory
from grannfield.files import locked
from grannfield.reference import make as module
from grannfield.reference.adopt import add
from grannfield.trajectory import Trajectory

ROOT = Path(__file__).parents[1]
SHORT = ["--ps", "0.06", "--ramp-ps", "0.02", "--keep-every", "0"]
WAVES = "tests.waves:Waves"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of datasets, of this test alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("GRANNFIELD_DATASETS", raising=False)
    monkeypatch.chdir(ROOT)
    return tmp_path / "grannfield" / "datasets"


class Killed(BaseException):
    """What no part of the program catches."""


def killed(*_: object) -> None:
    raise Killed


def made(*arguments: str, call: str = WAVES) -> int:
    return main(["reference", "make", "--material", "Li3PS4", "--calculator", call, *SHORT, "--kind", "analytic", *arguments])


def same(a: Trajectory, b: Trajectory) -> bool:
    keys = ("z", "pos", "cell", "time", "temperature", "energy", "forces", "labelled")
    return all(np.array_equal(getattr(a, key), getattr(b, key)) for key in keys)


def test_a_finished_run_is_a_reference_that_everything_finds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made("--temperatures", "300,400", "--name", "waves", "--maker", "standing waves", "--licence", "MIT") == 0
    said = capsys.readouterr().out
    assert "waves (analytic: standing waves) of beta-Li3PS4" in said and "300 K, seed 300: made" in said and "2" in said
    material = load_material("Li3PS4")
    reference = material.reference("waves")
    assert reference.label == "analytic force field: standing waves" and reference.temperatures == (300.0, 400.0)
    assert reference.thermostat.startswith("Nosé-Hoover chain of length 3, damping 100 fs, NVT, 2 fs steps")
    run = reference.run(400.0)
    assert (run.seed, run.ramp_ps, run.length_ps, run.interval_fs) == (400, 0.02, 0.06, 10.0)
    trajectory = material.trajectory(run)
    assert trajectory.n_frames == 6 and trajectory.time[0] == 10.0 and trajectory.labelled.all()
    about = read_attributes(run.path)
    assert about["made_by"] == WAVES and about["made_on"][0]["versions"]["numpy"] == np.__version__
    assert not list((data / "Li3PS4" / ".making").iterdir())
    assert main(["materials"]) == 0 and "analytic force field: standing waves" in capsys.readouterr().out


def test_runs_that_are_there_are_not_made_again_unless_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--temperatures", "300", "--name", "waves", "--repeats", "2")
    assert made(*arguments) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (data / "Li3PS4").glob("*.h5")}
    text = (data / "Li3PS4" / "references.toml").read_text()
    capsys.readouterr()
    assert made(*arguments) == 0
    assert capsys.readouterr().out.count(": there, ") == 2
    assert before == {path.name: path.stat().st_mtime_ns for path in (data / "Li3PS4").glob("*.h5")}
    old = read_trajectory(load_material("Li3PS4").reference("waves").run(300.0).path)
    assert made(*arguments, "--again") == 0
    runs = load_material("Li3PS4").reference("waves").repeats(300.0)
    assert [run.seed for run in runs] == [300, 10300] and len(list((data / "Li3PS4").glob("*.h5"))) == 2
    assert same(old, runs[0].trajectory()) and not same(old, runs[1].trajectory())
    assert (data / "Li3PS4" / "references.toml").read_text().count("[[reference.run]]") == text.count("[[reference.run]]") == 2


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        (f"{WAVES}(type_map=[3, 16])", (), "does not know P"),
        (f"{WAVES}(forces_times=27.2)", (), "are not the gradient of its energy"),
        (f"{WAVES}(breaks_after=0)", (), "NaN or infinite energy"),
        (f"{WAVES}(amplitude='a')", (), "cannot evaluate 32 atoms of the material"),
        (WAVES, ("--name", "surrogate-sevennet-0"), "has a reference 'surrogate-sevennet-0' .* choose another --name"),
        (WAVES, ("--name", "../x"), "no slashes"),
        (WAVES, ("--temperatures", "hot"), "should be numbers in K"),
        (WAVES, ("--temperatures", "-3"), "temperature must be positive"),
        (WAVES, ("--interval", "5"), "no multiple of the timestep"),
        (WAVES, ("--ps", "inf"), "must be finite"),
        (WAVES, ("--seed", "-2000"), "negative"),
        (WAVES, ("--repeats", "0"), "at least 1"),
        (WAVES, ("--kind", "aimd"), "needs --maker"),
        (WAVES, ("--device", "cuda"), "is told in its call"),
        (WAVES, ("--material", "table salt"), "table salt"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    call: str, arguments: tuple[str, ...], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(*arguments, call=call) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and re.search(said, errors[0]), errors
    assert not list(data.rglob("*.npz")) and not list(data.rglob("*.h5"))


def test_what_was_fitted_is_never_aimd(capsys: pytest.CaptureFixture[str]) -> None:
    for maker in (["--model", "tests/models/small.py:Field"], ["--calculator", "tests.waves:Networked"]):
        arguments = ["reference", "make", "--material", "LGPS", *maker, *SHORT, "--kind", "aimd", "--maker", "PBE"]
        assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "tests.waves:Networked is a fitted potential" in said


def test_doubts_about_a_calculator_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    name = iter("abcd")
    for call, arguments, doubts in (
        (f"{WAVES}(noise=0.0001)", (), ["does not repeat itself .* not bit for bit"]),
        (f"{WAVES}(forces_times=1.05)", (), ["are not the gradient of its energy"]),
        (f"{WAVES}(forces_times=2)", ("--accept-forces",), ["are not the gradient of its energy"]),
        (WAVES, (), []),
    ):
        assert made("--temperatures", "300", "--name", next(name), *arguments, call=call) == 0
        notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
        assert len(notes) == len(doubts) and all(re.search(*both) for both in zip(doubts, notes, strict=True))


def test_an_explosion_is_reported_and_not_entered(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--temperatures", "300", "--name", "waves")
    for _ in range(2):  # the second time from what is there
        assert made(*arguments, call=f"{WAVES}(breaks_after=30)") == 1
        assert "300 K, seed 300: failed, non-finite" in capsys.readouterr().out
    assert not (data / "Li3PS4" / "references.toml").exists() and not list(data.rglob("*.h5"))
    assert made(*arguments) == 2
    assert "waves_300K_300 holds a run with other settings or weights; delete it" in capsys.readouterr().err
    assert made(*arguments, "--again") == 0
    assert load_material("Li3PS4").reference("waves").temperatures == (300.0,)


@pytest.mark.parametrize("thermostat", ["langevin", "rescale", "nve"])
def test_the_entry_says_what_held_the_temperature(thermostat: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert made("--temperatures", "300", "--name", "waves", "--thermostat", thermostat) == 0
    held = load_material("Li3PS4").reference("waves").thermostat
    assert held.startswith({"langevin": "Langevin", "rescale": "stochastic velocity", "nve": "none, NVE"}[thermostat])
    assert made("--temperatures", "400", "--name", "waves") == 2
    assert "whose thermostat is" in capsys.readouterr().err


def test_a_run_in_other_hands_is_left_to_them(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(data / "Li3PS4" / ".making" / "waves_300K_300"):
        assert made("--temperatures", "300,400", "--name", "waves") == 1
    said = capsys.readouterr().out
    assert "300 K, seed 300: elsewhere, another process has it in hand" in said and "400 K, seed 400: made" in said
    assert load_material("Li3PS4").reference("waves").temperatures == (400.0,)


def test_a_kill_between_file_and_entry_leaves_one_of_each(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "enter", killed)
        with pytest.raises(Killed):
            made("--temperatures", "300", "--name", "waves")
    assert len(list(data.rglob("*.h5"))) == 1 and not (data / "Li3PS4" / "references.toml").exists()
    assert made("--temperatures", "300", "--name", "waves") == 0
    (path,) = data.rglob("*.h5")
    assert load_material("Li3PS4").reference("waves").run(300.0).path.samefile(path)


def test_what_a_kill_after_the_entry_leaves_is_cleared_away(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            made("--temperatures", "300", "--name", "waves")
    making = data / "Li3PS4" / ".making"
    assert len(list(data.rglob("*.h5"))) == 1 and list(making.rglob("*.npz"))
    assert made("--temperatures", "300", "--name", "waves") == 0
    assert not list(making.iterdir()) and len(list(data.rglob("*.h5"))) == 1


def test_finished_runs_are_added_to_the_shipped_datasets(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the shipped surrogate is extended: into the material.toml, whose other lines stay as they are."""
    here, there = tmp_path / "made", tmp_path / "datasets"
    shutil.copytree(ROOT / "datasets" / "Li3PS4", there / "Li3PS4", ignore=shutil.ignore_patterns(".*"))
    before = (there / "Li3PS4" / "material.toml").read_text(encoding="utf-8")
    entry = ("--name", "surrogate-sevennet-0", "--kind", "surrogate", "--maker", "SevenNet-0 (11Jul2024)", "--into", str(here))
    assert made("--temperatures", "300,400", *entry) == 0
    assert main(["reference", "add", str(here), "--into", str(there)]) == 0
    after = (there / "Li3PS4" / "material.toml").read_text(encoding="utf-8")
    assert after.startswith(before.rstrip()) and after.count("[[reference.run]]") == before.count("[[reference.run]]") + 2
    reference = listed(there / "Li3PS4", "Li3PS4")["surrogate-sevennet-0"]
    ours = reference_at(here, load_material("Li3PS4"))
    for temperature in (300.0, 400.0):
        assert same(reference.run(temperature).trajectory(), ours.run(temperature).trajectory())
    assert main(["reference", "add", str(here), "--into", str(there)]) == 0
    assert capsys.readouterr().out.count("there already") == 2
    assert (there / "Li3PS4" / "material.toml").read_text(encoding="utf-8") == after
    assert main(["reference", "add", str(tmp_path / "nowhere"), "--into", str(there)]) == 2


def test_a_reference_of_the_same_name_by_another_maker_is_not_added_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, maker in (("a", "one"), ("b", "another")):
        assert made("--temperatures", "300", "--name", "waves", "--maker", maker, "--into", str(tmp_path / folder)) == 0
    assert main(["reference", "add", str(tmp_path / "a"), "--into", str(tmp_path / "b")]) == 2
    assert "whose maker is 'another', and these runs' is 'one'" in capsys.readouterr().err


def test_a_potentials_run_is_packed_when_it_is_added(tmp_path: Path) -> None:
    """Whoever stored it plainly; once, also where no seed tells one run from another; others are copied as they are."""
    here, there = tmp_path / "made", tmp_path / "datasets"
    run = load_material("Li3PS4").reference().run(1000.0).trajectory()[:40]
    about = {"maker": "M", "thermostat": "none", "start_temperature": 100.0, "drop": 0.3}
    values = {"temperature": 1000.0, "ramp_ps": 0.0, "length_ps": 0.4, "interval_fs": 10.0}
    for kind in ("surrogate", "aimd"):
        path = write_trajectory(here / "Li3PS4" / f"{kind}.h5", run)
        enter(path.parent, {"name": kind, "kind": kind, **about}, run_entry(path, values))
    for state in ("added", "there"):
        assert [one.path is not None for one in add(here, there)] == [state == "added"] * 2
    packed, plain = (listed(there / "Li3PS4", "Li3PS4")[kind].runs for kind in ("surrogate", "aimd"))
    assert (len(packed), len(plain)) == (1, 1)
    assert read_rounding(packed[0].path) == LABELLED and read_rounding(plain[0].path) is None
    assert plain[0].path.read_bytes() == (here / "Li3PS4" / "aimd.h5").read_bytes()
    assert np.abs(packed[0].trajectory().pos - run.pos).max() <= 2.0**-15
    assert sorted(path.name for path in (there / "Li3PS4").iterdir()) == [".lock", "aimd.h5", "references.toml", "surrogate.h5"]
