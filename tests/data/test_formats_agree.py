"""One trajectory of 1,000 frames in every format, written by ase, pymatgen, dpdata and as VASP and LAMMPS do, read back alike."""

import time

import numpy as np
import pytest
from vasp_files import write_dump, write_outcar, write_vasprun

from grannfield.data.extxyz import write_extxyz
from grannfield.data.formats import read
from grannfield.data.material import load_material
from grannfield.trajectory import Trajectory

FLOAT32 = 5e-7
"""Å: half the distance between float32 numbers from 8 to 16 Å, which is what storing may cost."""


@pytest.fixture(scope="module")
def run():
    """The shipped LGPS run of 1,000 frames and 50 atoms, its first frame inside the cell and its box as LAMMPS turns it."""
    material = load_material("LGPS")
    shipped = material.trajectory(material.reference().run(1000.0))
    q, r = np.linalg.qr(shipped.cell[0].T)
    turn = q * np.sign(np.diag(r))
    cell = np.tril(shipped.cell[0] @ turn)
    pos = np.asarray(shipped.pos) @ turn
    pos = pos - np.floor(pos[0] @ np.linalg.inv(cell)) @ cell
    made = Trajectory(
        z=shipped.z, pos=pos, cell=cell, time=shipped.time, energy=shipped.energy, forces=np.asarray(shipped.forces) @ turn
    )  # fmt: skip
    assert made.n_frames == 1000 and made.n_atoms == 50
    assert np.abs(made.pos @ np.linalg.inv(cell) - 0.5).max() > 0.6  # atoms leave the cell
    return made


def as_atoms(run, wrap=False):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    for f in range(run.n_frames):
        atoms = Atoms(run.z, run.pos[f], cell=run.cell[f], pbc=True)
        if wrap:
            atoms.wrap()
        atoms.calc = SinglePointCalculator(atoms, energy=float(run.energy[f]), forces=run.forces[f])
        yield atoms


def as_dpdata(run):
    dpdata = pytest.importorskip("dpdata")
    from grannfield.units import symbol

    elements = list(dict.fromkeys(run.z.tolist()))
    return dpdata.LabeledSystem(
        data={
            "atom_names": [symbol(a) for a in elements],
            "atom_numbs": [int(np.sum(run.z == a)) for a in elements],
            "atom_types": np.array([elements.index(a) for a in run.z.tolist()]),
            "orig": np.zeros(3),
            "cells": np.array(run.cell),
            "coords": np.array(run.pos),
            "energies": np.array(run.energy),
            "forces": np.array(run.forces),
        }
    )


def by_ase(name, **options):
    def write(folder, run):
        from ase.io import write as ase_write

        ase_write(folder / name, list(as_atoms(run, wrap=True)), **options)
        return folder / name

    return write


def ase_database(folder, run):
    from ase.db import connect

    with connect(str(folder / "run.db"), use_lock_file=False) as file:
        for f, atoms in enumerate(as_atoms(run)):
            file.write(atoms, time=float(run.time[f]))
    return folder / "run.db"


def pymatgen_xdatcar(folder, run):
    from pymatgen.core import Lattice
    from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory

    from grannfield.units import symbol

    fractional = (run.pos @ np.linalg.inv(run.cell)) % 1.0
    made = PymatgenTrajectory(
        [symbol(int(a)) for a in run.z], fractional, lattice=Lattice(run.cell[0]), constant_lattice=True, time_step=10.0
    )
    made.write_Xdatcar(folder / "XDATCAR", significant_figures=8)
    return folder / "XDATCAR"


def dpdata_npy(folder, run):
    as_dpdata(run).to("deepmd/npy", folder / "system", set_size=300, prec=np.float64)
    return folder / "system"


def dpdata_raw(folder, run):
    as_dpdata(run).to("deepmd/raw", folder / "system")
    return folder / "system"


def dpdata_extxyz(folder, run):
    as_dpdata(run).to("extxyz", folder / "run.xyz")
    return folder / "run.xyz"


def dpdata_dump(folder, run):
    made = as_dpdata(run)
    for f in range(run.n_frames):
        made.to("lammps/dump", folder / "one.dump", frame_idx=f, timestep=10 * f)
        with open(folder / "run.dump", "a", encoding="utf-8") as file:
            file.write((folder / "one.dump").read_text(encoding="utf-8"))
    return folder / "run.dump"


WRITERS = {
    "ase extxyz": by_ase("run.extxyz"),
    "ase extxyz.gz": by_ase("run.extxyz.gz", format="extxyz"),
    "ase traj": by_ase("run.traj"),
    "ase db": ase_database,
    "ase XDATCAR": by_ase("XDATCAR", format="vasp-xdatcar"),
    "pymatgen XDATCAR": pymatgen_xdatcar,
    "dpdata npy": dpdata_npy,
    "dpdata raw": dpdata_raw,
    "dpdata extxyz": dpdata_extxyz,
    "dpdata dump": dpdata_dump,
    "own extxyz": lambda folder, run: write_extxyz(folder / "run.xyz", run),
    "vasprun.xml": lambda folder, run: write_vasprun(folder / "vasprun.xml", run),
    "OUTCAR": lambda folder, run: write_outcar(folder / "OUTCAR", run),
    "dump wrapped": lambda folder, run: write_dump(folder / "run.dump", run),
    "dump flags": lambda folder, run: write_dump(folder / "run.dump", run, flags=True),
    "dump xu": lambda folder, run: write_dump(folder / "run.dump", run, ("xu", "yu", "zu")),
    "dump xs": lambda folder, run: write_dump(folder / "run.dump", run, ("xs", "ys", "zs"), origin=(1.0, -2.0, 3.0)),
    "dump xsu": lambda folder, run: write_dump(folder / "run.dump", run, ("xsu", "ysu", "zsu")),
}
LABELLESS = {"ase XDATCAR", "pymatgen XDATCAR", "dpdata dump"}
POSITIONS = {"OUTCAR": 5.1e-6, "ase XDATCAR": 1e-6, "dpdata dump": 1e-6}
"""Å: decimals that a format has; the others keep a float32's."""


@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_gives_the_same_arrays(tmp_path, run, writer):
    path = WRITERS[writer](tmp_path, run)
    start = time.process_time()
    timed = writer in ("vasprun.xml", "OUTCAR", "ase db", "own extxyz")
    found = read(path, timestep=None if timed else 10.0, species=("Li", "Ge", "P", "S") if writer == "dpdata dump" else None)
    seconds = time.process_time() - start
    assert found.kind == "time" and np.allclose(found.time, run.time) and np.array_equal(found.z, run.z)
    assert np.abs(found.pos - run.pos).max() <= POSITIONS.get(writer, FLOAT32)
    assert np.abs(found.cell - run.cell).max() < (5e-7 if writer == "ase XDATCAR" else 1e-7)
    if writer not in LABELLESS:
        assert np.abs(found.forces - run.forces).max() < (6e-7 if writer == "OUTCAR" else 2e-8)
        has_energy = "dump" not in writer
        assert found.labelled.all() == has_energy
        assert not has_energy or np.abs(found.energy - run.energy).max() < 1e-7
    assert seconds < 20, "1,000 frames of 50 atoms should be read in seconds"
