"""VASP's files: the energy that belongs to the forces, steps without labels, files cut short, time beside an XDATCAR."""

import gzip
import lzma
import warnings
from pathlib import Path

import numpy as np
import pytest
from vasp_files import NELM, outcar_head, outcar_step, write_outcar, write_vasprun

from grannfield.data.formats import IncompleteFile, read, recognise, studied
from grannfield.data.material import load_material
from grannfield.trajectory import Trajectory, TrajectoryError


@pytest.fixture(scope="module")
def run():
    """Six frames of the shipped Li4GeS4 run, 10 fs apart, whose elements stand in three blocks."""
    material = load_material("Li4GeS4")
    shipped = material.trajectory(material.reference().run(1000.0))[:6]
    cell = np.asarray(shipped.cell[0])
    order = np.argsort(shipped.z, kind="stable")
    pos = np.asarray(shipped.pos)[:, order]
    pos = pos - np.floor(pos[0] @ np.linalg.inv(cell)) @ cell
    return Trajectory(
        z=shipped.z[order], pos=pos, cell=cell, time=shipped.time - shipped.time[0], energy=shipped.energy,
        forces=np.asarray(shipped.forces)[:, order],
    )  # fmt: skip


def growing(run):
    """The same in a cell that grows, as at constant pressure."""
    scale = (1 + 0.002 * np.arange(run.n_frames))[:, None, None]
    return Trajectory(
        z=run.z, pos=run.pos * scale, cell=run.cell * scale, time=run.time, energy=run.energy, forces=run.forces
    )  # fmt: skip


def test_free_energy_time_step_and_temperature(tmp_path, run):
    for path, decimals in (
        (write_vasprun(tmp_path / "vasprun.xml", run, entropy=0.7), 1e-6),
        (write_outcar(tmp_path / "OUTCAR", run), 6e-6),
    ):
        found = studied(path)
        made = found.trajectory
        assert made.kind == "time" and made.timestep == 10.0
        assert np.allclose(made.energy, run.energy, atol=1e-7)  # not e_0_energy, which lies 0.35 eV above
        assert np.abs(made.pos - run.pos).max() < decimals and np.abs(made.forces - run.forces).max() < 1e-6
        assert np.allclose(made.temperature, 1000.0, atol=0.02)
        assert found.contents.target == 1000.0 and found.contents.maker == "VASP 6.3.0"
        assert any("free energy TOTEN" in note for note in found.notes)


def test_ase_and_pymatgen_find_the_same_in_our_test_files(tmp_path, run):
    from ase.io import read as ase_read
    from pymatgen.io.vasp.outputs import Vasprun

    path = write_vasprun(tmp_path / "vasprun.xml", run)
    frames = ase_read(path, index=":", format="vasp-xml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of potentials that are not there
        steps = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False).ionic_steps
    ours = read(path)
    fractional = ours.pos @ np.linalg.inv(ours.cell)
    for f, (atoms, step) in enumerate(zip(frames, steps, strict=True)):
        assert np.array_equal(atoms.numbers, ours.z)
        assert np.allclose(atoms.calc.results["free_energy"], ours.energy[f]) and step["e_fr_energy"] == ours.energy[f]
        assert np.array_equal(step["forces"], ours.forces[f]) and np.allclose(atoms.calc.results["forces"], ours.forces[f])
        assert np.allclose((step["structure"].frac_coords - fractional[f] + 0.5) % 1, 0.5, atol=1e-8)
    outcar = ase_read(write_outcar(tmp_path / "OUTCAR", run), index=":", format="vasp-out")
    ours = read(tmp_path / "OUTCAR")
    for f, atoms in enumerate(outcar):
        assert np.isclose(atoms.calc.results["free_energy"], ours.energy[f])
        assert np.allclose(atoms.calc.results["forces"], ours.forces[f]) and np.allclose(atoms.cell, ours.cell[f])


@pytest.mark.parametrize("name", ["OUTCAR_example_1", "vasprun_dfpt.xml", "vasprun_pstress.xml"])
def test_real_files_that_come_with_ase(name):
    """vasprun_pstress.xml: VASP adds PSTRESS x V to e_fr_energy, not to TOTEN."""
    import ase.test
    from ase.io import read as ase_read

    path = Path(ase.test.__file__).parent / "testdata" / "vasp" / name
    if not path.is_file():
        pytest.skip("this ase came without its test data")
    theirs = ase_read(path, format="vasp-out" if "OUTCAR" in name else "vasp-xml")
    ours = read(path)
    assert ours.n_frames == 1 and ours.labelled.all() and np.array_equal(ours.z, theirs.numbers)
    assert np.isclose(ours.energy[0], theirs.calc.results["free_energy"], atol=1e-7)
    assert np.allclose(ours.forces[0], theirs.calc.results["forces"]) and np.allclose(ours.cell[0], theirs.cell)
    apart = (ours.pos[0] - theirs.positions) @ np.linalg.inv(ours.cell[0])
    assert np.abs(apart - np.rint(apart)).max() < 1e-7


def test_dpdata_finds_the_same_in_our_test_files(tmp_path, run):
    dpdata = pytest.importorskip("dpdata")
    write_vasprun(tmp_path / "vasprun.xml", run)
    write_outcar(tmp_path / "OUTCAR", run)
    for name, form in (("vasprun.xml", "vasp/xml"), ("OUTCAR", "vasp/outcar")):
        theirs, ours = dpdata.LabeledSystem(str(tmp_path / name), fmt=form), read(tmp_path / name)
        assert np.allclose(theirs["energies"], ours.energy, atol=1e-7)
        sizes = np.linalg.norm(theirs["forces"], axis=2), np.linalg.norm(ours.forces, axis=2)  # dpdata turns the axes
        assert np.allclose(*sizes, atol=1e-6)


@pytest.mark.parametrize("write", [write_vasprun, write_outcar])
def test_unconverged_steps_keep_their_place_without_labels(tmp_path, run, write):
    found = studied(write(tmp_path / "file", run, electronic={2: NELM, 4: NELM - 1}))
    assert found.trajectory.labelled.tolist() == [True, True, False, True, True, True]
    assert found.trajectory.timestep == 10.0 and np.isnan(found.trajectory.forces[2]).all()
    assert found.contents.unlabelled == {2: "electrons not converged (NELM steps reached)"}


def test_vasp_6_says_that_a_step_is_unconverged(tmp_path, run):
    steps = [outcar_step(run, f, converged=f != 1) for f in range(3)]
    path = tmp_path / "OUTCAR"
    path.write_text(outcar_head(run) + "".join(steps), encoding="utf-8")
    assert read(path).labelled.tolist() == [True, False, True]


@pytest.mark.parametrize("write", [write_vasprun, write_outcar])
def test_forces_that_overflow_their_column_are_no_labels(tmp_path, run, write):
    path = write(tmp_path / "file", run)
    text = path.read_text()
    wrong = f"{run.forces[3, 0, 0]:16.8f}" if write is write_vasprun else f"{run.forces[3, 0, 0]:14.6f}"
    assert text.count(wrong) == 1
    path.write_text(text.replace(wrong, "*" * len(wrong)))
    found = studied(path)
    assert found.trajectory.labelled.tolist() == [True, True, True, False, True, True]
    assert found.contents.unlabelled == {3: "energy or forces are not numbers"}


@pytest.mark.parametrize("write", [write_vasprun, write_outcar])
def test_numbers_that_touch_and_compressed_files(tmp_path, run, write):
    far = Trajectory(
        z=run.z, pos=run.pos, cell=run.cell, time=run.time, energy=run.energy, forces=run.forces * -1000.0
    )  # fmt: skip
    plain = read(write(tmp_path / "file", far), units="metal")
    for ending, module in ((".gz", gzip), (".xz", lzma)):
        packed = tmp_path / f"file{ending}"
        packed.write_bytes(module.compress((tmp_path / "file").read_bytes()))
        assert np.array_equal(read(packed, units="metal").forces, plain.forces)
    assert np.abs(plain.forces - far.forces).max() < 1e-6


@pytest.mark.parametrize("write", [write_vasprun, write_outcar])
@pytest.mark.parametrize("pack", [False, True])
def test_a_run_that_was_cut_off_gives_its_complete_steps(tmp_path, run, write, pack):
    path = write(tmp_path / "file", run)
    content = path.read_bytes()
    whole = read(path)
    for cut in (0.45, 0.6, 0.8, 0.9):
        part = content[: int(cut * len(content))]
        target = path.with_name("part.gz" if pack else "part")
        target.write_bytes(gzip.compress(content)[: int(cut * len(gzip.compress(content)))] if pack else part)
        with pytest.warns(IncompleteFile, match=r"was cut short in step \d.*complete steps are kept"):
            found = read(target)
        assert 0 < found.n_frames < 6 and found.labelled.all()
        assert np.array_equal(found.forces, whole.forces[: found.n_frames])
    target.write_bytes(content[: len(content) // 12] if write is write_vasprun else content[: content.index(b"POSITION") + 900])
    with pytest.raises(TrajectoryError, match=r"no complete step: it was cut short in step 1|lists no atoms"):
        read(target, format="vasprun" if write is write_vasprun else "outcar")


def test_an_energy_cut_in_the_middle_of_its_digits_is_no_energy(tmp_path, run):
    path = write_outcar(tmp_path / "OUTCAR", run)
    text = path.read_text()
    path.write_text(text[: text.rindex("  free  energy   TOTEN") + 38])
    with pytest.warns(IncompleteFile, match=r"step 6 \(it ends inside a line\)"):
        assert read(path).n_frames == 5


def test_steps_of_the_machine_learned_force_field_are_no_dft(tmp_path, run):
    """VASP writes a step of density functional theory after the machine-learned step at the same place: one step, labelled."""
    text = [outcar_head(run), outcar_step(run, 0), outcar_step(run, 1, learned=True), outcar_step(run, 2, learned=True)]
    text += [outcar_step(run, 2), outcar_step(run, 3, learned=True)]
    path = tmp_path / "OUTCAR"
    path.write_text("".join(text), encoding="utf-8")
    found = studied(path)
    assert found.trajectory.n_frames == 4 and found.trajectory.labelled.tolist() == [True, False, True, False]
    assert np.abs(found.trajectory.pos - run.pos[:4]).max() < 6e-6
    assert set(found.contents.unlabelled.values()) == {
        "made by VASP's machine-learned force field, not by density functional theory"
    }
    path = write_vasprun(tmp_path / "vasprun.xml", run, electronic={1: 0, 3: 0})
    path.write_text(path.read_text().replace("</incar>", ' <i type="logical" name="ML_LMLFF"> T  </i>\n </incar>'))
    assert read(path).labelled.tolist() == [True, False, True, False, True, True]


def test_an_outcar_without_positions_names_the_file_that_has_them(tmp_path, run):
    path = tmp_path / "OUTCAR"
    without = outcar_step(run, 1)
    without = without[: without.index(" POSITION")] + without[without.index("  FREE ENERGIE") :]
    path.write_text(outcar_head(run, nwrite=0) + outcar_step(run, 0) + without, encoding="utf-8")
    with pytest.raises(TrajectoryError, match=r"step 2 lists no positions, as with NWRITE = 0; read the vasprun\.xml"):
        read(path)


def test_a_relaxation_has_no_time(tmp_path, run):
    for path in (
        write_vasprun(tmp_path / "vasprun.xml", run, potim=0.5, ibrion=2),
        write_outcar(tmp_path / "OUTCAR", run, potim=0.5, ibrion=2),
    ):
        found = studied(path)
        assert found.trajectory.kind == "frames" and any("IBRION = 2 is no molecular dynamics" in note for note in found.notes)


def test_a_cell_that_varies(tmp_path, run):
    npt = growing(run)
    for path in (write_vasprun(tmp_path / "vasprun.xml", npt), write_outcar(tmp_path / "OUTCAR", npt, potim=10.0)):
        found = read(path)
        assert np.abs(found.cell - npt.cell).max() < 1e-7 and np.abs(found.pos - npt.pos).max() < 6e-6


def xdatcar(folder, run, numbers=None, scale=1.0, header_every=True):
    from vasp_files import blocks

    kinds = blocks(run.z)
    fractional = (run.pos @ np.linalg.inv(run.cell)) % 1.0
    out = []
    for f in range(run.n_frames):
        if f == 0 or header_every:
            rows = "\n".join("".join(f"{x:14.8f}" for x in row) for row in run.cell[f] / scale)
            out.append(
                f"LGPS\n  {scale}\n{rows}\n {' '.join(name for name, _ in kinds)}\n {' '.join(str(n) for _, n in kinds)}\n"
            )
        out.append(f"Direct configuration={(numbers or range(1, 99))[f]:6d}\n")
        out += ["".join(f"{x:12.8f}" for x in row) + "\n" for row in fractional[f]]
    (folder / "XDATCAR").write_text("".join(out), encoding="utf-8")
    return folder / "XDATCAR"


def test_xdatcar_of_constant_and_of_varying_volume(tmp_path, run):
    path = xdatcar(tmp_path, run, header_every=False)
    assert np.abs(read(path, timestep=10.0).pos - run.pos).max() < 2e-7
    npt = growing(run)
    found = read(xdatcar(tmp_path, npt, scale=2.0), timestep=10.0)
    assert np.abs(found.pos - npt.pos).max() < 2e-7 and np.abs(found.cell - npt.cell).max() < 1e-7
    assert found.energy is None and not found.labelled.any()


@pytest.mark.parametrize(
    ("incar", "numbers", "timestep"),
    [
        ("POTIM = 2.0\nNBLOCK = 5\nIBRION = 0", range(1, 7), 10.0),
        ("POTIM = 2.0 ; NBLOCK = 5", range(5, 31, 5), 10.0),
        ("POTIM = 2.0 # fs\n! NBLOCK = 5", range(1, 7), 2.0),
        ("POTIM = 2.0", range(1, 60, 10), 20.0),  # somebody kept every tenth frame
    ],
)
def test_time_of_an_xdatcar_stands_beside_it(tmp_path, run, incar, numbers, timestep):
    path = xdatcar(tmp_path, run, numbers=list(numbers))
    assert read(path).kind == "frames"
    (tmp_path / "INCAR").write_text(incar + "\n", encoding="utf-8")
    assert read(path).timestep == timestep
    (tmp_path / "INCAR").write_text(incar + "\nIBRION = 2\n", encoding="utf-8")
    if "IBRION" not in incar:
        assert read(path).kind == "frames"
    (tmp_path / "INCAR").unlink()
    write_vasprun(tmp_path / "vasprun.xml", run, potim=3.0)
    assert read(path).timestep % 3.0 == 0


def test_an_xdatcar_that_was_cut_off(tmp_path, run):
    path = xdatcar(tmp_path, run)
    text = path.read_text()
    for end in (3, 30, 700):
        path.write_text(text[:-end])
        with pytest.warns(IncompleteFile, match="frame 6"):
            assert read(path, timestep=10.0).n_frames == 5
    path.write_text(text.replace(" S ", " 16 ").replace(" Ge", " 4"))
    with pytest.raises(TrajectoryError, match=r"VASP 4 wrote no elements|do not fit the numbers"):
        read(path)


def test_the_best_file_of_a_folder(tmp_path, run):
    with pytest.raises(TrajectoryError, match="is a folder without type"):
        recognise(tmp_path)
    xdatcar(tmp_path, run)
    assert recognise(tmp_path)[1] == "xdatcar"
    write_outcar(tmp_path / "OUTCAR", run)
    assert recognise(tmp_path)[1] == "outcar"
    packed = tmp_path / "vasprun.xml.gz"
    packed.write_bytes(gzip.compress(write_vasprun(tmp_path / "v", run).read_bytes()))
    assert recognise(tmp_path) == (packed, "vasprun")
