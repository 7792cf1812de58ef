"""LAMMPS dumps, DeePMD sets and ASE files: what is understood, what is refused and how; formats recognised; units doubted."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vasp_files import write_dump

from grannfield.data.extxyz import write_extxyz
from grannfield.data.formats import FORMATS, ImplausibleUnits, IncompleteFile, read, recognise, studied
from grannfield.data.formats.plausible import TRIALS, complaint, frequency, kinetic_temperature, work
from grannfield.data.formats.units import units_of
from grannfield.data.material import load_material
from grannfield.trajectory import Trajectory, TrajectoryError

DFT = Path(__file__).parents[2].parent / "shared" / "dft"


@pytest.fixture(scope="module")
def shipped():
    """The first 40 frames of the shipped run of Li4GeS4."""
    material = load_material("Li4GeS4")
    return material.trajectory(material.reference().run(1000.0))[:40]


@pytest.fixture(scope="module")
def run(shipped):
    """The same sheared, in a box as LAMMPS turns it, with some atoms outside."""
    shear = np.array([[1, 0, 0], [0.2, 1, 0], [-0.15, 0.1, 1]])
    cell = np.diag(np.linalg.norm(shipped.cell[0], axis=1)) @ shear
    pos = (np.asarray(shipped.pos) @ np.linalg.inv(shipped.cell)) @ cell + np.array([0.5, -3.0, 1.0])
    return Trajectory(z=shipped.z, pos=pos, cell=cell, time=shipped.time, forces=shipped.forces)


def wrapped(run):
    """Where a wrapped file of the run starts."""
    return run.pos - np.floor(run.pos[0] @ np.linalg.inv(run.cell[0])) @ run.cell[0]


@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize("keys", [("x", "y", "z"), ("xs", "ys", "zs"), ("xu", "yu", "zu"), ("xsu", "ysu", "zsu")])
def test_dumps_of_a_tilted_box(tmp_path, run, keys, flags):
    path = write_dump(tmp_path / "d", run, keys, flags=flags, origin=None if "s" in keys[0] else (2.0, -1.0, 0.3))
    found = read(path, timestep=10.0, units="metal")
    expected = run.pos if "u" in keys[0] or flags else wrapped(run)
    assert np.allclose(found.pos, expected, atol=1e-8) and np.allclose(found.cell, run.cell, atol=1e-12)
    assert np.array_equal(found.z, run.z) and np.allclose(found.forces, run.forces, atol=1e-10) and found.timestep == 10.0


def test_types_of_a_dump_need_species(tmp_path, run):
    path = write_dump(tmp_path / "d", run, element=False)
    with pytest.raises(TrajectoryError, match=r"by type \(1, 2, 3\) and names no elements; give them"):
        read(path)
    assert np.array_equal(read(path, species=("Li", "S", "Ge"), units="metal").z, run.z)
    with pytest.raises(TrajectoryError, match="has atoms of type 3, but 2 species are given: Li, S"):
        read(path, species=("Li", "S"))


def test_units_and_time_that_a_dump_states(tmp_path, run):
    path = write_dump(tmp_path / "d", run)
    text = path.read_text().replace("ITEM: TIMESTEP\n", "ITEM: TIME\n@\nITEM: TIMESTEP\n")
    for frame in range(run.n_frames):
        text = text.replace("@", f"{0.02 * frame:g}", 1)
    path.write_text("ITEM: UNITS\nmetal\n" + text)
    assert np.isclose(read(path).timestep, 20.0)
    path.write_text("ITEM: UNITS\nlj\n" + text)
    with pytest.raises(TrajectoryError, match="in LAMMPS units 'lj'; metal, real and electron are read"):
        read(path)
    real = replace(run, forces=np.asarray(run.forces) / units_of("real").force)
    text = write_dump(path, real).read_text()
    path.write_text("ITEM: UNITS\nreal\n" + text)
    assert np.allclose(read(path).forces, run.forces, atol=1e-8)


def test_energies_come_from_the_log(tmp_path, run, shipped):
    path = write_dump(tmp_path / "d", run)
    found = studied(path, timestep=10.0)
    assert not found.trajectory.labelled.any() and any("a log file with PotEng gives them" in note for note in found.notes)
    rows = "".join(f"{10 * f:8d} {1000.0:10.2f} {energy:.10f} {0.0}\n" for f, energy in enumerate(shipped.energy) if f != 3)
    log = tmp_path / "log.lammps"
    log.write_text(
        f"LAMMPS (2 Aug 2023)\n   Step          Temp          PotEng         Press\n{rows}Loop time of 1.2 on 1 procs\n"
    )
    found = studied(path, timestep=10.0, log=log, units="metal")
    assert found.trajectory.labelled.tolist() == [f != 3 for f in range(run.n_frames)]
    assert np.allclose(np.delete(found.trajectory.energy, 3), np.delete(shipped.energy, 3))
    assert found.contents.unlabelled == {3: "log.lammps has no energy for its step"}
    log.write_text("   Step          Temp\n 1 2\n")
    with pytest.raises(TrajectoryError, match="no table with the columns Step and PotEng"):
        read(path, log=log)


def test_a_frame_written_twice_at_a_restart_is_taken_once(tmp_path, run):
    first, second = write_dump(tmp_path / "a", run[:10]), tmp_path / "b"
    write_dump(second, run[9:20])
    text = second.read_text()
    for frame in range(10, -1, -1):
        text = text.replace(f"ITEM: TIMESTEP\n{10 * frame}\n", f"ITEM: TIMESTEP\n{10 * (frame + 9)}\n")
    first.write_text(first.read_text() + text)
    found = studied(first, timestep=10.0)
    assert found.trajectory.n_frames == 20 and np.allclose(found.trajectory.pos, wrapped(run)[:20], atol=1e-8)
    assert any("taken once" in note for note in found.notes)


def test_a_dump_with_a_gap_says_where(tmp_path, run):
    path = write_dump(tmp_path / "d", run[:6])
    path.write_text(path.read_text().replace("ITEM: TIMESTEP\n50\n", "ITEM: TIMESTEP\n90\n"))
    with pytest.raises(TrajectoryError, match="time step changes from 10 fs to 50 fs at frame 5"):
        read(path, timestep=10.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.replace("pp pp pp", "pp pp ff"), r"frame 0 is not periodic \(pp pp ff\)"),
        (lambda t: t.replace(" id ", " tag "), "no column id"),
        (lambda t: t.replace(" x y z ", " q y z "), "hold no positions"),
        (lambda t: t.replace("element", "kind"), "neither a column element nor a column type"),
        (lambda t: t.replace(" Ge ", " Xx "), "'Xx' is not a chemical symbol"),
        (lambda t: t.replace("ITEM: TIMESTEP\n10", "ITEM: FRAME\n10"), "has the line 'ITEM: FRAME'"),
        (lambda t: t[:5] + t[40:], "has the line|lists atoms before its step"),
    ],
)
def test_dumps_that_cannot_be_read(tmp_path, run, damage, message):
    path = write_dump(tmp_path / "d", run[:2])
    path.write_text(damage(path.read_text()))
    with pytest.raises(TrajectoryError, match=message) as caught:
        read(path, format="lammps-dump")
    assert caught.value.args[0].count("\n") == 0


def test_a_dump_that_was_cut_off(tmp_path, run):
    path = write_dump(tmp_path / "d", run)
    text = path.read_text()
    for end in (1, 20, 900, 2500):
        path.write_text(text[:-end])
        with pytest.warns(IncompleteFile, match=r"was cut short in frame 39 .*the 39 before it are kept"):
            assert read(path, timestep=10.0).n_frames == 39
    path.write_text(text[:300])
    with pytest.raises(TrajectoryError, match="holds no complete frame"):
        read(path)


def deepmd(folder, run, types=True, cuts=(0.5,)):
    """A DeePMD set of a trajectory, split into sets."""
    kinds = sorted(set(run.z.tolist()), key=run.z.tolist().index)
    folder.mkdir()
    (folder / "type.raw").write_text("\n".join(str(kinds.index(a)) for a in run.z.tolist()) + "\n")
    edges = [0, *(int(cut * run.n_frames) for cut in cuts), run.n_frames]
    for k, (a, b) in enumerate(pairwise(edges)):
        part = folder / f"set.{k:03d}"
        part.mkdir()
        np.save(part / "coord.npy", run.pos[a:b].reshape(b - a, -1))
        np.save(part / "box.npy", np.asarray(run.cell)[a:b].reshape(b - a, 9))
        if run.energy is not None:
            np.save(part / "energy.npy", np.asarray(run.energy)[a:b])
        if run.forces is not None:
            np.save(part / "force.npy", np.asarray(run.forces)[a:b].reshape(b - a, -1))
    return folder


def test_deepmd_sets_and_what_they_lack(tmp_path, shipped):
    path = deepmd(tmp_path / "set", shipped)
    with pytest.raises(TrajectoryError, match=r"4 of type 0, 16 of type 1, 16 of type 2\) and no type_map\.raw; say which"):
        read(path)
    kinds = [{3: "Li", 16: "S", 32: "Ge"}[a] for a in dict.fromkeys(shipped.z.tolist())]
    found = read(path, species=kinds)
    assert found.kind == "frames" and found.n_frames == 40 and found.labelled.all()
    assert (
        np.array_equal(found.z, shipped.z)
        and np.allclose(found.forces, shipped.forces)
        and np.allclose(found.energy, shipped.energy)
    )
    assert read(path / "set.000" / "coord.npy", format="deepmd", species=kinds).n_frames == 40
    (path / "type_map.raw").write_text("\n".join(kinds))
    assert np.array_equal(read(path).z, shipped.z)
    with pytest.raises(TrajectoryError, match=r"type_map\.raw says .* leave them out"):
        read(path, species=kinds[::-1])
    assert read(path, timestep=10.0).kind == "time"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: np.save(p / "set.000/coord.npy", np.zeros((20, 9))), r"coord\.npy has the shape \(20, 9\); \[frames, 108\]"),
        (lambda p: np.save(p / "set.000/energy.npy", np.zeros(19)), "energy has 19 frames"),
        (lambda p: (p / "set.001/energy.npy").unlink(), r"energy\.npy is in set\.000 alone"),
        (lambda p: (p / "set.001/box.npy").unlink(), r"box\.npy is missing"),
        (lambda p: (p / "set.000/coord.npy").write_bytes(b"\x93NUMPY"), "not a readable NumPy array"),
        (lambda p: (p / "type.raw").write_text("Li\nLi\n"), r"type\.raw should hold numbers"),
        (lambda p: (p / "type.raw").unlink(), r"type\.raw is missing"),
        (lambda p: (p / "nopbc").touch(), "molecules in vacuum"),
        (lambda p: np.save(p / "set.000/real_atom_types.npy", np.zeros((20, 36))), "mixed set"),
        (lambda p: [shutil.rmtree(one) for one in p.glob("set.*")], r"holds no set\.000"),
        (lambda p: np.save(p / "set.000/coord.npy", np.array([{}], dtype=object)), "not a readable NumPy array"),
    ],
)
def test_deepmd_sets_that_cannot_be_read(tmp_path, shipped, damage, message):
    path = deepmd(tmp_path / "set", shipped)
    damage(path)
    with pytest.raises(TrajectoryError, match=message):
        read(path, species=("Li", "Ge", "S"))


def test_a_folder_of_deepmd_sets_names_them(tmp_path, shipped):
    for name in "ab":
        deepmd(tmp_path / name, shipped)
    with pytest.raises(TrajectoryError, match=r"holds 2 DeePMD sets \(a, b\)"):
        read(tmp_path)


def atoms_of(run, **info):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    for f in range(run.n_frames):
        atoms = Atoms(run.z, run.pos[f], cell=run.cell[f], pbc=True, info=info)
        results = {"energy": float(run.energy[f]), "forces": np.asarray(run.forces[f])}
        atoms.calc = SinglePointCalculator(atoms, **results)
        yield atoms


@pytest.mark.parametrize("name", ["r.traj", "r.db", "r.extxyz"])
def test_ase_files_free_energy_momenta_and_nan(tmp_path, shipped, name):
    """NaN keeps its place in time without labels; the energy is the one that the forces are the derivative of."""
    from ase.db import connect
    from ase.io import write

    frames = []
    for f, atoms in enumerate(atoms_of(shipped[:5])):
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.5
        if f == 2:
            atoms.calc.results["forces"] = np.full((36, 3), np.nan)
        atoms.set_momenta(np.random.default_rng(f).normal(size=(36, 3)))
        frames.append(atoms)
    path = tmp_path / name
    if name.endswith("db"):
        with connect(str(path), use_lock_file=False) as file:
            for atoms in frames:
                file.write(atoms)
    else:
        write(path, frames)
    found = studied(path, timestep=10.0)
    assert found.format == name.partition(".")[2]
    assert found.trajectory.labelled.tolist() == [True, True, False, True, True]
    assert found.contents.unlabelled == {2: "NaN or infinity in forces"}
    assert np.allclose(np.delete(found.trajectory.energy, 2), np.delete(shipped.energy[:5], 2) - 0.5)
    expected = frames[0].get_temperature() * 36 / 35
    assert name == "r.extxyz" or np.isclose(found.trajectory.temperature[0], expected)


def test_an_ase_trajectory_that_was_cut_off(tmp_path, shipped):
    """ase keeps the places of the frames near the front, so that those before the end can be had."""
    from ase.io import write

    path = tmp_path / "r.traj"
    write(path, list(atoms_of(shipped)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with pytest.warns(IncompleteFile, match=r"was cut short in frame 2\d .*before it are kept"):
        found = read(path, timestep=10.0)
    assert np.array_equal(found.pos, shipped.pos[: found.n_frames])
    path.write_bytes(content[:200])
    with pytest.raises(TrajectoryError, match=r"frame 0 cannot be read"):
        read(path)


def test_frames_that_are_not_periodic_are_refused(tmp_path, shipped):
    path = write_extxyz(tmp_path / "r.xyz", shipped[:3])
    path.write_text(path.read_text().replace('pbc="T T T"', 'pbc="T T F"'))
    with pytest.raises(TrajectoryError, match="frame 0 is not periodic in all directions; set pbc"):
        read(path)


def test_formats_are_recognised_by_content(tmp_path, shipped):
    from grannfield.data.store import write_trajectory

    assert recognise(write_trajectory(tmp_path / "x", shipped))[1] == "h5"
    found = read(tmp_path / "x")
    assert np.allclose(found.forces, shipped.forces) and found.timestep == 10.0
    assert recognise(write_extxyz(tmp_path / "y", shipped))[1] == "extxyz"
    np.savez(tmp_path / "z.npz", a=1)
    assert recognise(tmp_path / "z.npz")[1] == "npz"
    (tmp_path / "w").write_text("hello\n")
    with pytest.raises(TrajectoryError, match=r"its format is not recognised; name it \(one of vasprun.*ase convert w out"):
        read(tmp_path / "w")
    with pytest.raises(TrajectoryError, match="no format 'vaspxml'; there are: db, deepmd"):
        read(tmp_path / "w", format="vaspxml")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read(tmp_path / "absent")
    (tmp_path / "v").touch()
    (tmp_path / "u.gz").write_bytes(b"no gzip")
    for name, message in (("v", "is empty"), ("u.gz", "cannot be decompressed")):
        with pytest.raises(TrajectoryError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("form", FORMATS)
def test_every_reader_refuses_what_it_cannot_read_in_one_line(tmp_path, form):
    """Noise, and the beginning of something else, under every format's name."""
    for content in (b"\x00\xff" * 700, b"12\nabc def\n1 2 3\n", b"<modeling><atominfo>", b"ITEM: TIMESTEP\n0\n", b"x\n1.0\n"):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            read(path, format=form)
        assert "file" in str(caught.value) or "type.raw" in str(caught.value)
        assert "\n" not in str(caught.value).strip()


def other_units(run, name):
    units = units_of(name)
    return replace(
        run, pos=run.pos / units.length, cell=run.cell / units.length, energy=run.energy / units.energy,
        forces=np.asarray(run.forces) / units.force,
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TRIALS if name != "metal"])
def test_units_that_cannot_be_are_refused_and_named(tmp_path, shipped, name):
    """A set in any of these units is found out against the material's reference, and read rightly in those units."""
    path = deepmd(tmp_path / "set", other_units(shipped, name))
    (path / "type_map.raw").write_text("\n".join({3: "Li", 16: "S", 32: "Ge"}[a] for a in dict.fromkeys(shipped.z.tolist())))
    with pytest.raises(ImplausibleUnits, match=r"units that would fit: .*say which") as caught:
        studied(path, like=shipped)
    named = str(caught.value).partition("fit: ")[2]
    found = read(path, units=name)
    assert np.allclose(found.pos, shipped.pos) and np.allclose(found.forces, shipped.forces, atol=1e-6)
    exact = {"atomic": "atomic", "gromacs": "gromacs", "real": "real"}
    assert exact.get(name, "") in named


def test_a_set_in_hartree_and_bohr_is_refused_without_any_reference(shipped):
    assert "atomic (Bohr, Ha, Ha/Bohr)" in complaint(other_units(shipped, "atomic"))
    assert complaint(shipped) == ""


def test_units_can_be_insisted_on(tmp_path, shipped):
    path = write_extxyz(tmp_path / "r.xyz", other_units(shipped, "gromacs"))
    with pytest.raises(ImplausibleUnits, match=r"units that would fit: gromacs \(nm"):
        read(path)
    found = studied(path, units="metal")
    assert any("units were given as metal" in note for note in found.notes)
    with pytest.raises(TrajectoryError, match="no units 'imperial'; there are metal"):
        read(path, units="imperial")


def test_the_tests_of_units_are_right_for_the_shipped_runs():
    """Work, vibrations and kinetic temperature of what we know to be in Å, eV and fs."""
    for name in ("LGPS", "Li3PS4", "Li4GeS4"):
        material = load_material(name)
        run = material.trajectory(material.reference().run(1000.0))
        slope, correlation = work(run)
        assert 0.9 < slope < 1.1 and correlation > 0.99
        assert 7 < frequency(run) < 10
        assert 900 < kinetic_temperature(run) < 1100
        assert complaint(run) == ""


def test_a_wrong_time_step_is_not_taken_for_wrong_units(tmp_path, shipped):
    path = write_extxyz(tmp_path / "r.xyz", shipped)
    with pytest.raises(TrajectoryError, match=r"is the time between frames 9\.\d* fs, not 2 fs"):
        read(path, timestep=2.0)


@pytest.mark.skipif(not DFT.is_dir(), reason="the public DFT sets are not here")
@pytest.mark.parametrize("folder", sorted(p.name for p in DFT.glob("*") if p.is_dir()) if DFT.is_dir() else [])
def test_real_dft_sets_are_plausible_and_found_out_in_other_units(folder):
    found = read(DFT / folder, species=("Li", "Ge", "P", "S") if "LiGePS" in folder else None)
    material = load_material("LGPS")
    like = material.trajectory(material.reference().run(1000.0))[:200]
    assert found.kind == "frames" and found.labelled.all() and complaint(found, like) == ""
    for name in ("atomic", "real", "gromacs", "Å,Ha,Ha/Bohr"):
        assert complaint(other_units(found, name), like)
