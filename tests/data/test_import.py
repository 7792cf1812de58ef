"""`grannfield data import`: a file becomes a reference that the suite finds, and nothing is written when anything is wrong."""

import json
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vasp_files import NELM, write_outcar, write_vasprun

from grannfield.analysis.paths import compare_paths, ion_density
from grannfield.cli import main
from grannfield.data.arrange import arranged
from grannfield.data.dataset import frames
from grannfield.data.extxyz import write_extxyz
from grannfield.data.formats import read
from grannfield.data.join import joined
from grannfield.data.material import load_material
from grannfield.data.symmetry import space_group_operations
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import number

SHARED = Path(__file__).parents[2].parent / "shared" / "dft"
SET = SHARED / "LiGePS-init.system"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user's data folder of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GRANNFIELD_DATASETS", raising=False)
    return tmp_path / "home" / "grannfield" / "datasets"


@pytest.fixture(scope="module")
def shipped():
    """The shipped run of Li4GeS4: 1,000 frames 10 fs apart at 1000 K."""
    material = load_material("Li4GeS4")
    return material.trajectory(material.reference().run(1000.0))


def data_import(*words):
    return main(["data", "import", *map(str, words)])


def refused(capsys, *words):
    """The one line that a command is refused with."""
    assert data_import(*words) == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("grannfield: ") and "\n" not in text
    return text


def listed(home, formula="Li4GeS4"):
    path = home / formula
    return sorted(file.name for file in path.iterdir() if file.name != ".lock") if path.is_dir() else []


def test_a_vasprun_becomes_a_reference_to_train_on_and_to_score_against(tmp_path, home, shipped, capsys):
    path = write_vasprun(tmp_path / "vasprun.xml", shipped[:300], electronic={7: NELM, 40: NELM})
    assert data_import(path, "--material", "Li4GeS4", "--name", "pbe", "--drop", "0.1", "--thermostat", "Nosé") == 0
    text = capsys.readouterr().out
    for part in (
        "VASP vasprun.xml", "300 of 36 atoms", "2.99 ps, a frame every 10 fs", "298 of 300 frames",
        "2 electrons not converged (NELM steps reached) (step 8, 41)", "690.6 Å³", "Li-S", "forces float16",
        "'pbe' (AIMD: VASP 6.3.0)",
        "pytest benchmarks/ --model schnet --material Li4GeS4 --reference pbe",
    ):  # fmt: skip
        assert part in text, part
    material = load_material("Li4GeS4")
    reference = material.reference("pbe")
    assert (reference.kind, reference.maker, reference.thermostat, reference.drop) == ("aimd", "VASP 6.3.0", "Nosé", 0.1)
    assert reference.temperatures == (1000.0,)
    stored = material.trajectory(reference.run(1000.0))
    assert np.abs(stored.pos - stored.pos[0] - (shipped.pos[:300] - shipped.pos[0])).max() < 2e-6  # float32, twice
    assert np.abs(stored.forces[~np.isnan(stored.forces)] - shipped.forces[:300][~np.isnan(stored.forces)]).max() < 1e-6
    assert stored.labelled.sum() == 298 and stored.timestep == 10.0
    assert len(frames(material, reference, "train")) > 50 and len(frames(material, reference, "test")) > 20
    assert listed(home) == ["pbe_1000K.h5", "references.toml"]


def test_what_nobody_said_is_asked_for_or_not_claimed(tmp_path, home, shipped, capsys):
    path = write_extxyz(tmp_path / "run.xyz", shipped[:50])
    words = (path, "--material", "Li4GeS4", "--name", "mine")
    path.write_text(path.read_text().replace("temperature=", "warmth="))
    assert "says nothing of its temperature; give the thermostat's" in refused(capsys, *words)
    assert listed(home) == []
    assert data_import(*words, "--temperature", 1000) == 0
    assert "it does not say what made it" in capsys.readouterr().out
    assert load_material("Li4GeS4").reference("mine").label == "origin not stated: run.xyz"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "a/b"), "the name 'a/b' should be letters"),
        (("--name", "surrogate-SevenNet-0"), "has a reference 'surrogate-SevenNet-0' elsewhere; choose another name"),
        (("--material", "LGPS"), r"holds Li16S16Ge4, LGPS is Li20P4S24Ge2"),
        (("--material", "LiGeS"), "no material 'LiGeS'"),
        (("--temperature", "8OO"), "--temperature '8OO' should be K"),
        (("--temperature", "800,900"), "names 2 temperatures for 1 runs"),
        (("--temperature", "-5"), "a temperature of -5 K is not positive"),
        (("--timestep", "2", "--temperature", "1000"), "is the time between frames"),
        (("--timestep", "40", "--temperature", "1000", "--interval", "50"), "cannot be thinned to 50 fs"),
        (("--skip", "0.6"), "is 0.49 ps long; 0.6 ps of it cannot be skipped"),
        (("--drop", "30"), "drop = 30 is the share of each run"),
        (("--replace", "--repeat"), "contradict each other"),
        (("--labels", "energy"), "should be two names"),
        (("--units", "atomic"), ""),
    ],
)
def test_mistakes_on_the_command_line_write_nothing(tmp_path, home, shipped, capsys, words, message):
    path = write_extxyz(tmp_path / "run.xyz", shipped[:50])
    given = {"--material": "Li4GeS4", "--name": "mine", "--temperature": "1000"}
    flags = [word for word in words if word in ("--replace", "--repeat")]
    pairs = [word for word in words if word not in flags]
    given |= dict(zip(pairs[::2], pairs[1::2], strict=True))
    words = [item for pair in given.items() for item in pair]
    if message:
        assert message in refused(capsys, path, *words, *flags)
    else:
        assert data_import(path, *words) in (0, 2)
        capsys.readouterr()
        shutil.rmtree(home, ignore_errors=True)
    assert listed(home) == []


def test_the_time_between_frames_is_checked_against_the_temperature(tmp_path, shipped, capsys):
    """Without forces a wrong time step shows in the speed of the atoms alone."""
    path = write_extxyz(tmp_path / "run.xyz", replace(shipped[:50], energy=None, forces=None, labelled=None, temperature=None))
    words = (path, "--material", "Li4GeS4", "--name", "mine", "--temperature", 1000)
    text = refused(capsys, *words, "--timestep", 2)
    assert re.search(r"would move as at 2\d{4} K, not 1000 K; frames 9\.\d fs apart would fit", text)
    text = refused(capsys, *words, "--timestep", 20.0, "--temperature", 1500)
    assert "is the time step (between two frames, not two MD steps), or the temperature, wrong?" in text
    assert data_import(*words) == 0


def test_temperatures_are_added_replaced_and_repeated(tmp_path, home, shipped, capsys):
    runs = [write_outcar(tmp_path / f"OUTCAR{k}", shipped[k : k + 250]) for k in (0, 300, 600)]
    words = ("--material", "Li4GeS4", "--name", "pbe")
    assert data_import(*runs[:2], *words, "--temperature", "1000,900") == 0
    reference = load_material("Li4GeS4").reference("pbe")
    assert reference.temperatures == (900.0, 1000.0)
    first = reference.run(1000.0).sha256
    capsys.readouterr()
    assert "has a run at 1000 K already (pbe_1000K.h5); --replace puts this" in refused(capsys, runs[2], *words)
    assert "has the maker 'VASP 6.3.0', not 'PBE'" in refused(capsys, runs[2], *words, "--maker", "PBE")
    assert "has the kind 'aimd', not 'surrogate'" in refused(capsys, runs[2], *words, "--kind", "surrogate")
    assert "differ by more than their case" in refused(capsys, runs[2], *words[:3], "PBE")
    assert data_import(runs[2], *words, "--repeat") == 0
    reference = load_material("Li4GeS4").reference("pbe")
    assert [run.path.name for run in reference.repeats(1000.0)] == ["pbe_1000K.h5", "pbe_1000K-2.h5"]
    assert "which one goes is not clear" in refused(capsys, runs[2], *words, "--replace")
    assert data_import(runs[2], *words, "--temperature", 900, "--replace") == 0
    material = load_material("Li4GeS4")
    reference = material.reference("pbe")
    assert len(reference.runs) == 3 and reference.run(1000.0).sha256 == first
    assert all(material.trajectory(run).n_frames == 250 for run in reference.runs)
    assert len([name for name in listed(home) if name.endswith(".h5")]) == 3  # the replaced one is gone


def test_one_bad_path_of_several_writes_nothing(tmp_path, home, shipped, capsys):
    good = write_outcar(tmp_path / "OUTCAR", shipped[:30])
    assert "there is no such file" in refused(
        capsys, good, tmp_path / "absent", "--material", "Li4GeS4", "--name", "pbe", "--temperature", "1000,900"
    )
    assert listed(home) == []


def test_a_truncated_file_is_imported_with_a_warning(tmp_path, shipped, capsys):
    path = write_vasprun(tmp_path / "vasprun.xml", shipped[:30])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert data_import(path, "--material", "Li4GeS4", "--name", "pbe") == 0
    text = capsys.readouterr().out
    assert "WARNING: " in text and "was cut short in step" in text


def test_pieces_of_a_run_are_joined(tmp_path, shipped, capsys):
    """As restarts leave them: put back into the cell, the last frame of one the first of the next."""
    run = shipped[:300]
    cell = run.cell[0]
    folders = []
    for k, (a, b) in enumerate(((0, 100), (99, 200), (200, 300))):
        piece = run[a:b]
        inside = replace(piece, pos=piece.pos - np.floor(piece.pos[0] @ np.linalg.inv(cell)) @ cell)
        folders.append(tmp_path / f"run{k}")
        folders[-1].mkdir()
        write_vasprun(folders[-1] / "vasprun.xml", inside)
    words = ("--material", "Li4GeS4", "--name", "pbe", "--join")
    assert data_import(*folders, *words, "--interval", 20, "--skip", "0.5") == 0
    material = load_material("Li4GeS4")
    stored = material.trajectory(material.reference("pbe").run(1000.0))
    expected = run.pos[50::2]
    assert stored.n_frames == 125 and stored.timestep == 20.0 and stored.time[0] == 0.0
    assert np.abs(stored.pos - stored.pos[0] - (expected - expected[0])).max() < 3e-6
    capsys.readouterr()
    again = ("--material", "Li4GeS4", "--name", "other", "--join")
    assert "does not go on where" in refused(capsys, folders[0], folders[2], *again)


def test_pieces_that_do_not_belong_together(shipped):
    run = shipped[:20]
    with pytest.raises(TrajectoryError, match="frame every 20 fs"):
        joined([run, shipped[20:40:2]])
    with pytest.raises(TrajectoryError, match="no order in time"):
        joined([run, run[[3, 1]]])
    with pytest.raises(TrajectoryError, match="other atoms"):
        joined([run, replace(run, z=run.z[::-1])])
    mixed = joined([run, replace(shipped[20:40], energy=None, forces=None, labelled=None)])
    assert mixed.labelled.sum() == 20 and mixed.n_frames == 40 and np.isnan(mixed.forces[30]).all()


@pytest.mark.parametrize("name", ["LGPS", "Li3PS4", "Li4GeS4"])
def test_the_shipped_runs_are_in_order_already(name):
    material = load_material(name)
    run = material.trajectory(material.reference().run(1000.0))
    assert arranged(run, material.structure, material.tetrahedra[0], name).trajectory is run


@pytest.mark.parametrize("name", ["LGPS", "Li3PS4", "Li4GeS4"])
def test_any_order_of_atoms_and_any_setting_of_the_axes(name):
    """Atoms shuffled, axes exchanged, everything turned and moved: the Li density comes out as before."""
    material = load_material(name)
    structure, group = material.structure, space_group_operations(material)
    run = material.trajectory(material.reference().run(1000.0)).production(0.3)[::2]
    random = np.random.default_rng(3)
    order = random.permutation(run.n_atoms)
    q, _ = np.linalg.qr(random.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    axes = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    other = replace(
        run, z=run.z[order], pos=(run.pos[:, order] + [1.0, -2.0, 0.5]) @ q, forces=run.forces[:, order] @ q,
        cell=(axes @ run.cell) @ q,
    )  # fmt: skip
    found = arranged(other, structure, material.tetrahedra[0], name)
    assert np.array_equal(found.trajectory.z, structure.z)
    assert np.abs(found.trajectory.cell - run.cell).max() < 0.01
    assert np.allclose(np.linalg.norm(found.trajectory.forces, axis=2).sum(), np.linalg.norm(run.forces, axis=2).sum())
    densities = [
        ion_density(
            one, number(material.mobile_ion), structure.pos, structure.cell, group.rotations, group.translations,
            centres=material.tetrahedra[0],
        )
        for one in (run, found.trajectory)
    ]  # fmt: skip
    found = compare_paths(*densities)
    assert found.overlap.value > max(0.9, found.overlap_floor.value + 0.05)


def test_compositions_that_are_not_the_materials(shipped):
    material = load_material("Li4GeS4")
    double = replace(
        shipped[:3], z=np.tile(shipped.z, 2), pos=np.tile(shipped.pos[:3], (1, 2, 1)), forces=None, energy=None, labelled=None
    )  # fmt: skip
    with pytest.raises(TrajectoryError, match=r"2 cells of Li4GeS4 .*give the supercell a material\.toml of its own"):
        arranged(double, material.structure, ("Ge",), "Li4GeS4")
    other = replace(shipped, cell=shipped.cell * np.array([1.0, 1.0, 1.3]))
    notes = arranged(other, material.structure, ("Ge",), "Li4GeS4").notes
    assert any("another setting" in note for note in notes)


def test_two_imports_at_once_both_arrive(tmp_path, home, shipped):
    path = write_extxyz(tmp_path / "run.xyz", shipped[:50])
    words = [sys.executable, "-m", "grannfield.cli", "data", "import", str(path), "--material", "Li4GeS4"]
    both = [subprocess.Popen([*words, "--name", name], stdout=subprocess.DEVNULL) for name in ("one", "two")]
    assert [one.wait(60) for one in both] == [0, 0]
    names = [reference.name for reference in load_material("Li4GeS4").references]
    assert {"one", "two"} < set(names)


def test_a_kill_at_any_moment_leaves_the_references_whole(tmp_path, home, shipped):
    """Killed while it reads, writes or enters: what was there stays readable, and the same command works afterwards."""
    path = write_extxyz(tmp_path / "run.xyz", shipped[:200])
    assert data_import(path, "--material", "Li4GeS4", "--name", "first") == 0
    program = (
        "import sys; from grannfield.data import importing as i; import os, signal\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
        "{}\n"
        "from grannfield.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["data", "import", str(path), "--material", "Li4GeS4", "--name", "second"]
    for where in ("i.write_trajectory = stop", "i.run_entry = stop", "i.enter = stop"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(where), *words], capture_output=True, timeout=120, check=False
        )
        assert done.returncode == -signal.SIGKILL
        assert [r.name for r in load_material("Li4GeS4").references][1:] == ["first"]
    assert data_import(*words[2:]) == 0
    material = load_material("Li4GeS4")
    assert material.trajectory(material.reference("second").runs[0]).n_frames == 200
    assert not list(home.rglob("*.part"))


def test_help_teaches(capsys):
    for words, parts in (
        (["data", "--help"], ["import", "fetch", "grannfield data import run/vasprun.xml"]),
        (["data", "import", "--help"], ["vasprun", "deepmd", "atomic = Bohr, Ha, Ha/Bohr", "--join", "examples:"]),
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        text = capsys.readouterr().out
        assert left.value.code == 0 and all(part in text for part in parts)


needs_set = pytest.mark.skipif(not SET.is_dir(), reason=f"{SET} is not here")


@needs_set
def test_the_public_lgps_set_is_imported_whole(home, capsys):
    words = (SET, "--material", "LGPS", "--name", "dft", "--kind", "aimd", "--maker", "PBE")
    text = refused(capsys, *words)
    assert "20 of type 0, 2 of type 1, 4 of type 2, 24 of type 3" in text and "as species Li,Ge,P,S" in text
    assert "holds Li20P2S24Ge4, LGPS is Li20P4S24Ge2" in refused(capsys, *words, "--species", "Li,P,Ge,S")
    assert data_import(*words, "--species", "Li,Ge,P,S") == 0
    material = load_material("LGPS")
    reference = material.reference("dft")
    stored = material.trajectory(reference.runs[0])
    assert stored.n_frames == 590 and stored.kind == "frames" and stored.labelled.all()
    assert reference.temperatures == () and "unordered frames" in reference.absence(1000.0)
    original = read(SET, species=("Li", "Ge", "P", "S"))
    assert np.abs(stored.pos - original.pos).max() < 1e-6 and np.abs(stored.forces - original.forces).max() < 2e-3
    assert np.array_equal(stored.energy, original.energy)
    assert len(frames(material, reference, "train", column="random")) > 400
    with pytest.raises(ValueError, match="use its random split"):
        frames(material, reference, "test", column="windows")


@needs_set
@pytest.mark.parametrize("calculator", ["lj", "sevennet"])
def test_the_suite_scores_forces_as_a_direct_loop_does(tmp_path, home, calculator):
    """Eight frames spread over the public set: force MAE of the suite and of a loop over ase, to 1 meV/Å (to 0.2)."""
    spec = "ase.calculators.lj:LennardJones(sigma=2.0, epsilon=0.05, rc=4.0, smooth=True)"
    if calculator == "sevennet":
        pytest.importorskip("sevenn")
        spec = 'sevenn.calculator:SevenNetCalculator("sevennet-0", device="cpu")'
    chosen = np.linspace(0, 589, 8).astype(int)
    part = tmp_path / "eight"
    shutil.copytree(SET, part, copy_function=lambda a, b: shutil.copyfile(a, b))
    for file in (part / "set.000").iterdir():
        np.save(file, np.load(file)[chosen])
    words = ("--species", "Li,Ge,P,S", "--material", "LGPS", "--name", "eight", "--kind", "aimd", "--maker", "PBE")
    assert data_import(part, *words) == 0
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/test_forces.py", "--calculator", f"it={spec}", "--material", "LGPS",
         "--reference", "eight", "--reports", str(tmp_path / "reports"), "-q", "-p", "no:cacheprovider"],
        cwd=root, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = (tmp_path / "reports" / "results").glob("*.json")
    scores = {one["metric"]: one for one in json.loads(results.read_text())["scores"]}
    direct = np.mean([np.abs(theirs - forces) for theirs, forces in direct_loop(spec, part)]) * 1e3
    assert abs(scores["force_mae"]["value"] - direct) < 0.2
    if calculator == "sevennet":
        assert 30 < direct < 40


def direct_loop(spec, folder):
    """(calculated, reference) forces of every frame of a DeePMD set, by ase alone."""
    from ase import Atoms

    from grannfield.plugin import find_calculator, open_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what would make it faster
        calculator = open_model(find_calculator(f"it={spec}")).calculator
    names = np.array(["Li", "Ge", "P", "S"])[np.loadtxt(folder / "type.raw", dtype=int)]
    arrays = (np.load(folder / "set.000" / f"{name}.npy") for name in ("coord", "box", "force"))
    for pos, box, force in zip(*arrays, strict=True):
        atoms = Atoms(names, pos.reshape(-1, 3), cell=box.reshape(3, 3), pbc=True, calculator=calculator)
        yield atoms.get_forces(), force.reshape(-1, 3)


def test_unordered_frames_say_why_motion_cannot_be_compared(tmp_path, shipped):
    made = replace(shipped[:60], temperature=None)
    path = write_extxyz(tmp_path / "set.xyz", Trajectory(
        z=made.z, pos=made.pos, cell=made.cell, time=np.arange(60), energy=made.energy, forces=made.forces, kind="frames"
    ))  # fmt: skip
    assert data_import(path, "--material", "Li4GeS4", "--name", "set", "--kind", "surrogate", "--maker", "it") == 0
    reference = load_material("Li4GeS4").reference("set")
    assert reference.runs[0].kind == "frames" and "holds unordered frames" in reference.absence(1000.0)
