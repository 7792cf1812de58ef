"""MD made elsewhere, scored by the suite: one worked example in three formats, and every way to describe it wrongly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grannfield.data.extxyz import write_extxyz
from grannfield.data.material import load_material
from grannfield.data.store import write_trajectory
from grannfield.given import GivenRuns, given_runs
from grannfield.given.run import GivenRun
from grannfield.harness import Bench, ReferenceData, Subject
from grannfield.plugin import Named
from grannfield.presets import PRESETS
from grannfield.report.columns import COLUMNS
from grannfield.report.results import read_results
from grannfield.runs import ScoredRun
from grannfield.trajectory import Trajectory
from grannfield.units import masses

REPOSITORY = Path(__file__).parents[1]
MATERIAL = load_material("Li3PS4")
REFERENCE = MATERIAL.reference()

DUMPS = """label = "as-dump"
material = "Li3PS4"
timestep_fs = 2             # of the MD; the dump numbers its steps
species = ["Li", "P", "S"]

[[run]]
file = "1000K.lammpstrj"
temperature = 1000
[[run]]
file = "1200K.lammpstrj"
temperature = 1200
"""
XYZ = """label = "as-xyz"
material = "Li3PS4"
conservative = true
kin = ["MPtrj"]

[[run]]
file = "1000K.xyz"
temperature = 1000
[[run]]
file = "1200K.xyz"
temperature = 1200
"""
TRAJ = """label = "as-traj"
material = "beta-Li3PS4"
interval_fs = 20
[[run]]
file = "1000K.traj"
temperature = 1000
[[run]]
file = "1200K.traj"
temperature = 1200
"""


def motion(temperature: float = 1000, frames: int = 500, rattle: float = 0.05) -> Trajectory:
    """A run of another model: the reference's with every atom a little beside its place, a frame every 20 fs."""
    found = MATERIAL.trajectory(REFERENCE.run(temperature)).every(20)[:frames]
    random = np.random.default_rng(int(temperature))
    shaken = np.asarray(found.pos, float) + rattle * random.standard_normal(found.pos.shape)
    return replace(found, pos=shaken, energy=None, forces=None, labelled=None)


def wrapped(run: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the cell, and how many cells each atom has gone through."""
    flags = np.floor(run.pos @ np.linalg.inv(run.cell))
    return run.pos - flags @ run.cell, flags.astype(int)


def write_dump(path: Path, run: Trajectory, with_flags: bool, seed: int = 0) -> None:
    """A dump as LAMMPS writes it: types for elements, atoms in any order, a along x, b in xy, the box not at the origin."""
    low, random = np.array([-1.5, 0.25, 3.0]), np.random.default_rng(seed)
    box = np.linalg.cholesky(run.cell[0] @ run.cell[0].T)
    places, flags = wrapped(run)
    places = places @ np.linalg.inv(run.cell[0]) @ box + low
    xy, xz, yz = box[1, 0], box[2, 0], box[2, 1]
    tilts = np.array([[0, xy, xz, xy + xz], [0, yz, 0, 0], [0, 0, 0, 0]])
    begin, end = low + tilts.min(axis=1), low + np.diag(box) + tilts.max(axis=1)
    bounds = "\n".join(f"{a:.12f} {b:.12f} {t:.12f}" for a, b, t in zip(begin, end, (xy, xz, yz), strict=True))
    types = {int(z): n for n, z in enumerate(dict.fromkeys(sorted(run.z)), 1)}
    with open(path, "w", encoding="utf-8") as file:
        for f in range(run.n_frames):
            file.write(f"ITEM: TIMESTEP\n{10 * f + 100}\nITEM: NUMBER OF ATOMS\n{run.n_atoms}\n")
            file.write(f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{bounds}\nITEM: ATOMS id type x y z{' ix iy iz' * with_flags}\n")
            for i in random.permutation(run.n_atoms):
                place = " ".join(f"{x:.12f}" for x in places[f, i])
                file.write(f"{i + 1} {types[int(run.z[i])]} {place} {' '.join(map(str, flags[f, i])) if with_flags else ''}\n")


def write_ase(path: Path, run: Trajectory) -> None:
    from ase import Atoms
    from ase.io import write

    places, _ = wrapped(run)
    write(path, [Atoms(numbers=run.z, positions=p, cell=c, pbc=True) for p, c in zip(places, run.cell, strict=True)])


def shuffled(run: Trajectory) -> Trajectory:
    order = np.random.default_rng(5).permutation(run.n_atoms)
    return replace(run, z=run.z[order], pos=run.pos[:, order])


def by_site(run: Trajectory) -> Trajectory:
    """The elements in another order, the atoms of each in their own."""
    order = np.argsort(-run.z, kind="stable")
    return replace(run, z=run.z[order], pos=run.pos[:, order])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same two runs as LAMMPS dumps, as extended XYZ and as ASE trajectories, each with its few lines of TOML."""
    dumps, xyz, traj = found = [tmp_path_factory.mktemp("given") / name for name in ("dumps", "xyz", "traj")]
    for folder, text in zip(found, (DUMPS, XYZ, TRAJ), strict=True):
        folder.mkdir()
        (folder / "trajectories.toml").write_text(text)
    for temperature in (1000, 1200):
        run = motion(temperature)
        write_dump(dumps / f"{temperature}K.lammpstrj", run, with_flags=temperature == 1000)
        write_extxyz(xyz / f"{temperature}K.xyz", by_site(run))
        write_ase(traj / f"{temperature}K.traj", run)
    return found


def bench(folder: Path, *arguments: str, command: str = "pytest") -> subprocess.CompletedProcess[str]:
    start = ["pytest", str(REPOSITORY / "benchmarks")] if command == "pytest" else ["grannfield.cli", "bench"]
    line = [sys.executable, "-m", *start, "-q", "-p", "no:cacheprovider", "--reports", str(folder), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, cwd=folder)


def test_one_motion_in_three_formats_has_the_same_numbers(folders: list[Path], tmp_path: Path) -> None:
    """The worked example: three folders, one command, three rows of the board."""
    given = [word for folder in folders for word in ("--trajectories", str(folder))]
    done = bench(tmp_path, *given)
    assert done.returncode == 0, done.stdout
    results = [read_results(tmp_path / "results" / f"as-{name}.json") for name in ("dump", "xyz", "traj")]
    rows = [{key: score.to_dict() for key, score in one.scores.items()} for one in results]
    assert {material for _, material in rows[0]} == {"Li3PS4"}
    for metric in ("rdf_mae", "failed_share", "diffusivity", "density_overlap", "framework_drift"):
        values = [row[metric, "Li3PS4"]["value"] for row in rows]
        assert values == pytest.approx([values[0]] * 3, rel=1e-8), metric
        intervals = [row[metric, "Li3PS4"]["interval"] for row in rows]
        assert np.allclose(np.array(intervals), intervals[0], rtol=1e-6), metric
    rdf = rows[0]["rdf_mae", "Li3PS4"]
    assert 0.005 < rdf["value"] < 0.1 and rdf["n"] == 2 * 350 and rdf["parts"]["by_run"][1]["temperature_K"] == 1200
    assert rows[0]["failed_share", "Li3PS4"]["n"] == 2
    assert rows[0]["neg_log_sigma", "Li3PS4"]["reason"] == "fewer than 3 usable temperatures"
    for metric in ("force_r2", "force_r2_random", "force_mae", "energy_rank", "energy_r2"):
        assert all(row[metric, "Li3PS4"]["reason"] == "no force field" for row in rows)
    made_on = rdf["provenance"]["runs_made_on"]
    assert [one["made"] for one in made_on] == ["elsewhere"] * 2 and list(made_on[0]["files"]) == ["1000K.lammpstrj"]
    assert results[0].protocol["described"] == "MD made elsewhere (Li3PS4: 10 ps at 1000 K, 10 ps at 1200 K)"
    assert rows[1]["rdf_mae", "Li3PS4"]["provenance"]["kinship"] == "kin: same training set (MPtrj, declared)"
    assert results[1].model["conservative"] is True and "conservative" not in results[0].model
    board = (tmp_path / "leaderboard.md").read_text()
    assert "MD made elsewhere, by what is not stated; no force field was given; 1000K.lammpstrj `" in board
    needing = [c for c in COLUMNS.values() if c.group in ("Forces and energies", "Energy conservation", "Speed")]
    assert board.count("n/a: no force field") == 3 * len(needing) >= 3 * 7
    assert "| as-dump" not in (tmp_path / "table1.md").read_text()
    assert {path.stem for path in (tmp_path / "results").iterdir()} == {"as-dump", "as-xyz", "as-traj"}


def test_models_and_motion_stand_side_by_side(folders: list[Path], tmp_path: Path) -> None:
    shown = bench(tmp_path, "--trajectories", str(folders[0]), "--model", "schnet", "--collect-only", "-k", "rdf").stdout
    assert "test_rdf[as-dump-Li3PS4]" in shown and "test_rdf[schnet-Li10GeP2S12]" in shown


@pytest.mark.parametrize("command", ["pytest", "bench"])
def test_a_wrong_description_stops_the_session_in_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "trajectories.toml").write_text('material = "Li3PS4"\n[[run]]\nfile = "a.xyz"\ntemprature = 1000\n')
    done = bench(tmp_path, "--trajectories", str(tmp_path), command=command)
    assert done.returncode == 4
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(lines) == 1 and "[[run]] a.xyz: unknown key 'temprature'; did you mean 'temperature'?" in lines[0]


def described(folder: Path, text: str, run: Trajectory | None = None) -> GivenRuns:
    """What is described by a text, beside a run.h5."""
    if run is not None:
        write_trajectory(folder / "run.h5", run)
    (folder / "trajectories.toml").write_text(text)
    return given_runs(folder)


RUN = 'material = "Li3PS4"\ntemperature = 1000\n'


def only(given: GivenRuns) -> GivenRun:
    (found,) = given.read(MATERIAL)
    return found


def scored(folder: Path, given: GivenRuns) -> list[ScoredRun]:
    subject = Subject(Named(str(folder), given.label, given.path, kind="trajectories"), None, given)
    return Bench(PRESETS["smoke"], 0, "cpu", folder / "store").runs(subject, ReferenceData(MATERIAL, REFERENCE))


def test_the_start_of_a_run_is_left_out_as_stated(tmp_path: Path) -> None:
    run = motion(frames=200)
    default = scored(tmp_path, described(tmp_path, RUN + '[[run]]\nfile = "run.h5"\n', run))[0]
    assert default.production is not None and default.production.n_frames == 140 and default.watched == 4000
    text = RUN + 'ramp_ps = 1\nequilibration_ps = 0.6\n[[run]]\nfile = "run.h5"\n'
    given = described(tmp_path, text)
    found = scored(tmp_path, given)[0].production
    assert found is not None and found.n_frames == 200 - 50 - 30 and found.time[0] == 600
    assert np.allclose(found.pos, run.pos[80:], atol=1e-5)
    assert given.label == tmp_path.name


def test_pieces_are_one_run_and_a_pattern_is_several(tmp_path: Path) -> None:
    run = motion(frames=60)
    for n, part in enumerate((run[:31], run[30:])):  # the frame of the restart is in both
        write_trajectory(tmp_path / f"part-{n}.h5", replace(part, time=part.time - part.time[0]))
    whole = only(described(tmp_path, RUN + '[[run]]\npieces = ["part-0.h5", "part-1.h5"]\n')).trajectory
    assert whole.n_frames == 60 and np.allclose(whole.pos, run.pos, atol=1e-5)
    assert len(described(tmp_path, RUN + '[[run]]\nfile = "part-*.h5"\n').read(MATERIAL)) == 2


def test_atoms_in_another_order_are_put_on_their_sites(tmp_path: Path) -> None:
    run = motion(frames=60)
    found = only(described(tmp_path, RUN + '[[run]]\nfile = "run.h5"\n', shuffled(run)))
    assert np.array_equal(found.trajectory.z, MATERIAL.structure.z)
    phosphorus = run.z == 15
    assert np.allclose(found.trajectory.pos[:, phosphorus], run.pos[:, phosphorus], atol=1e-5)
    assert "atoms put into the order of the material's structure" in found.notes[0]


def test_the_failure_scan_is_the_suites_own(tmp_path: Path) -> None:
    run = motion(frames=200)
    pos = np.array(run.pos)
    lithium = np.flatnonzero(run.z == 3)[:2]
    pos[150:, lithium[1]] = pos[150:, lithium[0]] + [0.5, 0, 0]
    text = RUN + '[[run]]\nfile = "run.h5"\n'
    (found,) = scored(tmp_path, described(tmp_path, text, replace(run, pos=pos)))
    assert found.failure is not None and found.failure.cause == "fusion" and found.failure.time == pytest.approx(3000)
    assert found.production is not None and found.production.time[-1] < 3000


def test_a_run_that_broke_off_counts_as_failed(tmp_path: Path) -> None:
    text = RUN + '[[run]]\nfile = "run.h5"\nended = "non-finite"\nlength_ps = 10\n'
    (found,) = scored(tmp_path, described(tmp_path, text, motion(frames=200)))
    assert found.failure is not None and found.failure.cause == "non-finite" and found.failure.time == pytest.approx(4000)
    assert found.production is not None and found.production.n_frames == 50, "30% of the planned 10 ps are left out"
    assert found.ending == "non-finite at 4.00 ps, 1000 K: the file ends there, says trajectories.toml"


def test_a_description_that_cannot_be_is_refused(tmp_path: Path) -> None:
    write_trajectory(tmp_path / "run.h5", motion(frames=30))
    one = '[[run]]\nfile = "run.h5"\n'
    for text, message in (
        ('material = "LiPS"\ntemperature = 1000\n' + one, r"\[\[run\]\] run.h5: no material 'LiPS'"),
        ('material = "Li3PS4"\n' + one, "the key 'temperature' is missing; add it"),
        ("temperature = 1000\n" + one, "the key 'material' is missing"),
        (RUN, r"has no \[\[run\]\]; each names a file"),
        (RUN + "run = 3\n", "run = 3 should be a list"),
        (RUN + "[[run]]\nseed = 1\n", 'give either file = "NAME", or pieces'),
        (RUN + '[[run]]\nfile = "none.xyz"\n', "there is no .*none.xyz; paths count from the folder"),
        (RUN + '[[run]]\nfile = "*.xyz"\n', r"no file fits .*\*.xyz"),
        (RUN + one + one, "names run.h5 more than once"),
        (RUN + one + "temperature = -5\n", "temperature = -5 should be positive"),
        (RUN + one + "interval_fs = nan\n", "interval_fs = nan should be positive"),
        (RUN + one + 'ended = "crash"\n', "ended = 'crash' is not one of \"complete\", 'fusion'"),
        (RUN + one + 'ended = "melt"\n', "needs length_ps, the length it was meant to have"),
        (RUN + 'lable = "x"\n' + one, "unknown key 'lable'; did you mean 'label'"),
        ("material = \n", "is not valid TOML"),
    ):
        with pytest.raises((ValueError, LookupError, FileNotFoundError), match=message) as caught:
            described(tmp_path, text)
        assert "\n" not in str(caught.value.args[0])
    with pytest.raises(FileNotFoundError, match=r"there is no .*elsewhere/trajectories.toml; write one: material = "):
        given_runs(tmp_path / "elsewhere")


def supercell(run: Trajectory) -> Trajectory:
    shift = run.cell[0][0]
    twice = np.concatenate([run.pos, run.pos + shift], axis=1)
    return replace(run, z=np.tile(run.z, 2), pos=twice, cell=run.cell[0] * [[2], [1], [1]], temperature=None)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda run: run[:1], "", "holds 1 frame; a run needs 2, and 20 after equilibration"),
        (lambda run: replace(run, kind="frames"), "", "says nothing about time; add interval_fs"),
        (lambda run: run, "interval_fs = 2\n", "the frames of run.h5 are 20 fs apart as it says itself, not 2 fs"),
        (lambda run: run, "ramp_ps = 5\n", "ramp_ps = 5 leaves nothing of 0.58 ps"),
        (lambda run: replace(run, z=np.where(run.z == 15, 32, run.z)), "", "holds Li12S16Ge4, beta-Li3PS4 is Li12P4S16"),
        (supercell, "", r"is a supercell of 2 cells of beta-Li3PS4 \(Li24P8S32\)"),
        (lambda run: replace(run, pos=run.pos / 0.529177, cell=run.cell / 0.529177), "", "units"),
        (lambda run: run, "temperature = 500\n", r"temperature = 500, but the atoms of run.h5 move at 1\d\d\d K; correct"),
    ],
    ids=["one frame", "no time", "interval", "ramp", "elements", "supercell", "units", "temperature"],
)
def test_a_run_that_is_not_as_described_is_refused(tmp_path: Path, change: object, more: str, message: str) -> None:
    run = change(motion(frames=30))  # type: ignore[operator]
    head = 'material = "Li3PS4"\n' + ("" if "temperature" in more else "temperature = 1000\n")
    given = described(tmp_path, head + '[[run]]\nfile = "run.h5"\n' + more, run)
    with pytest.raises(ValueError, match=message) as caught:
        given.read(MATERIAL)
    assert "run.h5" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["run.lammpstrj", "run.xyz"])
def test_positions_that_are_no_numbers_are_named_with_the_cure(tmp_path: Path, name: str) -> None:
    path, run = tmp_path / name, motion(frames=30)
    if name == "run.xyz":
        write_extxyz(path, run)
    else:
        write_dump(path, run, True)
    lines = path.read_text().splitlines()
    head, tail = lines[-3].split()[: 1 if name == "run.xyz" else 2], lines[-3].split()[-3:]
    lines[-3] = " ".join([*head, "nan", "nan", "nan", *(tail if name != "run.xyz" else [])])
    path.write_text("\n".join(lines) + "\n")
    given = described(tmp_path, RUN + f'interval_fs = 20\nspecies = ["Li", "P", "S"]\n[[run]]\nfile = "{name}"\n')
    with pytest.raises(ValueError, match=r'frame 29.*if the run exploded there, say ended = "non-finite" and length_ps'):
        given.read(MATERIAL)


def test_a_dump_without_any_time_step_asks_for_one(tmp_path: Path) -> None:
    write_dump(tmp_path / "run.lammpstrj", motion(frames=30), True)
    text = RUN + 'species = ["Li", "P", "S"]\n[[run]]\nfile = "run.lammpstrj"\n'
    with pytest.raises(ValueError, match=r"add interval_fs, .*, or timestep_fs, those between two MD steps"):
        described(tmp_path, text).read(MATERIAL)
    found = only(described(tmp_path, "timestep_fs = 2\n" + text))
    assert found.trajectory.timestep == 20 and found.run(0.3, 2.0).protocol.timestep == 2


def test_the_centre_of_mass_that_drifts_is_seen(tmp_path: Path) -> None:
    run = motion(frames=100, rattle=0)
    still = np.asarray(run.pos) - (masses(run.z) @ run.pos / masses(run.z).sum())[:, None]
    moving = replace(run, pos=still + 1e-3 * run.time[:, None, None] * np.array([0.6, 0.8, 0.0]))
    found = only(described(tmp_path, RUN + '[[run]]\nfile = "run.h5"\n', moving)).run(0.3, 2.0)
    assert found.drift == pytest.approx(1.0, abs=1e-3) and found.internal_temperature == pytest.approx(1000, rel=0.1)
