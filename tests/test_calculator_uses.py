"""The calculator in ASE's hands: optimisers, filters, NEB, phonons, MD, copies and other processes; and its refusals."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons
from torch import Tensor

from grannfield.calculator import GraNNFieldCalculator
from grannfield.data.material import load_material
from grannfield.forcefield import ForceField, UnsupportedElement, registered, save
from grannfield.graph import AtomGraph
from grannfield.testing import LennardJones
from tests.models.small import small

CONSERVATIVE = sorted(name for name, cls in registered().items() if cls.conservative)
DIRECT = sorted(set(registered()) - set(CONSERVATIVE))


class Counting(LennardJones):
    """Lennard-Jones that knows how often it was asked."""

    calls = 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(z, graph, edge_vec)


class Broken(LennardJones):
    """Energies that are no numbers."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * float("nan")


def argon(a: float = 5.4, repeat: int = 1, rattle: float = 0.0, field: ForceField | None = None) -> Atoms:
    atoms = bulk("Ar", "fcc", a=a, cubic=True) * (repeat, repeat, repeat)
    if rattle:
        atoms.rattle(rattle, seed=0)
    atoms.calc = GraNNFieldCalculator(LennardJones() if field is None else field)
    return atoms


def li3ps4() -> Atoms:
    s = load_material("Li3PS4").structure
    atoms = Atoms(s.z, positions=s.pos, cell=s.cell, pbc=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_the_lists_of_models_are_what_they_say() -> None:
    assert len(CONSERVATIVE) + len(DIRECT) == 11 and "forcenet" in DIRECT


@pytest.mark.parametrize("kind", [UnitCellFilter, FrechetCellFilter])
@pytest.mark.parametrize("optimiser", [BFGS, FIRE])
def test_cells_relax_to_the_crystal(kind: Any, optimiser: Any) -> None:
    """From a strained and rattled crystal back to the lattice constant where the energy is lowest, whatever the path."""
    atoms = argon(a=5.5, rattle=0.05)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.01, 0], [0, 1.005, 0], [0, 0, 0.996]]), scale_atoms=True)
    assert optimiser(kind(atoms), logfile=None).run(fmax=2e-4, steps=400)
    lattice = np.linspace(5.0, 5.6, 601)
    energies = [argon(a).get_potential_energy() for a in lattice[::20]]
    curve = np.polyfit(lattice[::20][np.argmin(energies) - 3 :][:7], energies[np.argmin(energies) - 3 :][:7], 4)
    stationary = [x.real for x in np.roots(np.polyder(curve)) if abs(x.imag) < 1e-9 and 5.0 < x.real < 5.6]
    best = min(stationary, key=lambda x: np.polyval(curve, x))
    assert atoms.get_volume() ** (1 / 3) == pytest.approx(best, abs=3e-3)
    assert np.abs(atoms.get_stress()).max() < 1e-5
    assert atoms.get_potential_energy() == pytest.approx(float(np.polyval(curve, best)), abs=2e-5)


@pytest.mark.parametrize("optimiser", [BFGS, FIRE])
def test_a_network_is_relaxed_too(optimiser: Any) -> None:
    """The shipped SchNet on rattled Li3PS4: energy falls, and forces to less than half."""
    atoms = li3ps4()
    atoms.calc = GraNNFieldCalculator("schnet", dtype="float64")
    start, norm = atoms.get_potential_energy(), np.linalg.norm(atoms.get_forces())
    optimiser(atoms, logfile=None).run(fmax=1e-3, steps=15)
    assert atoms.get_potential_energy() < start and np.linalg.norm(atoms.get_forces()) < 0.5 * norm


def test_a_barrier_by_neb() -> None:
    """An atom squeezes between four fixed ones from one side to the other: the saddle is their centre, the barrier known."""
    corners = [[0, 2.4, 2.4], [0, -2.4, 2.4], [0, 2.4, -2.4], [0, -2.4, -2.4]]  # 3.39 Å from the centre, less than sigma
    field = LennardJones()

    def at(x: float) -> Atoms:
        from ase.constraints import FixAtoms

        atoms = Atoms("Ar5", positions=[[x, 0, 0], *corners], constraint=FixAtoms([1, 2, 3, 4]))
        atoms.calc = GraNNFieldCalculator(field)
        return atoms

    first = at(-2.0)
    BFGS(first, logfile=None).run(fmax=1e-4)
    last = first.copy()
    last.positions[0, 0] *= -1
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images[1:]:
        image.calc = GraNNFieldCalculator(field)
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate()
    assert FIRE(band, logfile=None).run(fmax=1e-3, steps=200)
    energies = [image.get_potential_energy() for image in images]
    assert images[2].positions[0] == pytest.approx([0, 0, 0], abs=1e-2)
    assert energies[2] == pytest.approx(at(0.0).get_potential_energy(), abs=1e-6)
    assert energies[2] - energies[0] > 0.01 and energies[0] == pytest.approx(energies[4], abs=1e-6)


def test_phonons_of_argon(tmp_path: Path) -> None:
    """Finite displacements: three acoustic branches start at zero, none is imaginary, and the top is argon's 8 meV or so."""
    atoms = bulk("Ar", "fcc", a=5.25)
    phonons = Phonons(atoms, GraNNFieldCalculator(LennardJones()), supercell=(3, 3, 3), delta=0.02, name=str(tmp_path / "phonon"))
    phonons.run()
    phonons.read(acoustic=True)
    zone = phonons.band_structure([[0, 0, 0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]) * 1e3
    assert np.abs(zone[0]).max() < 0.02 and (zone[1:] > 1.0).all() and 5.0 < zone.max() < 12.0


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_energy_is_conserved_by_a_network(precision: str) -> None:
    """NVE of Li3PS4 by a random SchNet: what moves between kinetic and potential energy stays in the sum."""
    atoms = li3ps4()
    atoms.calc = GraNNFieldCalculator(small("schnet"), dtype=precision)
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses() * units.kB * 300)[:, None])
    total, kinetic = [], []
    dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
    dynamics.attach(lambda: (total.append(atoms.get_total_energy()), kinetic.append(atoms.get_kinetic_energy())))
    dynamics.run(40)
    assert np.ptp(kinetic) > 0.02 and np.ptp(total) < 0.02 * np.ptp(kinetic)


def test_langevin_reaches_its_temperature() -> None:
    """Mean kinetic temperature of 32 argon atoms over 400 steps, of a spread of T sqrt(2/(3N x independent)) about 3%."""
    atoms = argon(repeat=2)
    dynamics = Langevin(atoms, 4 * units.fs, temperature_K=60, friction=0.05 / units.fs, rng=np.random.default_rng(1))
    temperatures: list[float] = []
    dynamics.run(100)
    dynamics.attach(lambda: temperatures.append(atoms.get_temperature()))
    dynamics.run(400)
    assert np.mean(temperatures) == pytest.approx(60, rel=0.12) and np.std(temperatures) > 1


def test_what_does_not_matter_is_not_computed_again_and_what_matters_is() -> None:
    field = Counting()
    atoms = argon(field=field)
    first = atoms.get_forces()
    atoms.get_stress(), atoms.get_potential_energies()
    atoms.set_initial_magnetic_moments([1.0] * 4)
    atoms.set_initial_charges([0.5] * 4)
    atoms.set_velocities(np.ones((4, 3)))
    twin = atoms.copy()
    atoms.calc.get_property("energy", twin)
    assert field.calls == 1
    first[:] = 7.0  # an array that was handed out is the user's own
    assert np.abs(atoms.get_forces()).max() < 1e-10 and field.calls == 1
    for n, change in enumerate(
        (
            lambda: atoms.set_atomic_numbers([18, 18, 18, 36]),
            lambda: atoms.set_pbc([True, True, False]),
            lambda: atoms.set_cell(atoms.cell.array * 1.001),
            lambda: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 1e-9),
        ),
        start=2,
    ):
        change()
        atoms.get_potential_energy(), atoms.get_forces()
        assert field.calls == n
    before = atoms.calc.results["energy"]
    assert before == atoms.get_potential_energy()


def test_a_failed_calculation_leaves_nothing_behind() -> None:
    atoms = argon(field=LennardJones())
    atoms.get_potential_energy()
    atoms.positions[0] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match=r"the position of atom 0 is \[nan, nan, nan\]"):
            atoms.get_potential_energy()
    assert atoms.calc.results == {}
    with pytest.raises(CalculationFailed, match="Broken: energy nan eV and forces of 4 atoms are not all finite"):
        argon(field=Broken()).get_forces()


def test_cells_without_meaning_are_refused() -> None:
    for cell, pbc, message in (
        (np.diag([0.01, 0.01, 0.01]), True, "images within 7 Å of an atom: is it in Å"),
        (np.zeros((3, 3)), True, "a lattice vector of no length"),
        (np.diag([5.0, 5.0, 0.0]), [False, False, True], "a lattice vector of no length"),
        (np.array([[5.0, 0, 0], [0, 5.0, 0], [5.0, 5.0, 0]]), True, "lie in a plane"),
        (np.diag([5.0, np.inf, 5.0]), True, "is not finite"),
    ):
        atoms = Atoms("Ar", cell=cell, pbc=pbc)
        atoms.calc = GraNNFieldCalculator(LennardJones())
        with pytest.raises(ValueError, match=message):
            atoms.get_potential_energy()
    atoms = Atoms("Ar", cell=np.diag([3.0, 3.0, 3.0]), pbc=True)  # thinner than the cut-off, and meant
    atoms.calc = GraNNFieldCalculator(LennardJones())
    assert np.isfinite(atoms.get_potential_energy())


def test_unknown_elements_are_named() -> None:
    field = small("schnet")
    field.elements = (3, 15, 16)
    atoms = li3ps4()
    atoms.calc = GraNNFieldCalculator(field)
    atoms.get_forces()
    atoms.numbers[0] = 92
    with pytest.raises(UnsupportedElement, match="does not know U; it knows Li, P, S"):
        atoms.get_forces()


@pytest.mark.parametrize("name", DIRECT)
def test_direct_models_have_no_stress_and_say_why(name: str) -> None:
    atoms = li3ps4()
    atoms.calc = GraNNFieldCalculator(small(name))
    assert "stress" not in atoms.calc.implemented_properties
    with pytest.raises(PropertyNotImplementedError, match="predicts forces directly; it has no energy gradient and so no stress"):
        atoms.get_stress()
    assert atoms.get_forces().shape == (32, 3)
    with pytest.raises(PropertyNotImplementedError):
        FrechetCellFilter(atoms).get_forces()


def test_stress_needs_a_periodic_crystal() -> None:
    atoms = argon()
    atoms.pbc = [True, False, True]
    with pytest.raises(PropertyNotImplementedError, match=r"periodic in all directions; pbc is \[True, False, True\]"):
        atoms.get_stress()


def test_precisions_and_a_field_that_is_not_changed(caplog: pytest.LogCaptureFixture) -> None:
    field = small("schnet", dtype=torch.float32)
    forces = {}
    for precision in (None, "float32", torch.float64, "tf32"):
        atoms = li3ps4()
        atoms.calc = GraNNFieldCalculator(field, dtype=precision)
        forces[str(precision)] = atoms.get_forces()
        assert field.dtype == torch.float32 and not field.tf32
    largest = np.abs(forces["torch.float64"]).max()
    assert np.array_equal(forces["None"], forces["float32"])
    assert 0 < np.abs(forces["float32"] - forces["torch.float64"]).max() < 1e-5 * largest
    assert 1e-6 * largest < np.abs(forces["tf32"] - forces["torch.float64"]).max() < 2e-2 * largest
    with pytest.raises(ValueError, match="float32, tf32"):
        GraNNFieldCalculator(field, dtype="half")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no GPU here"):
            GraNNFieldCalculator(field, device="cuda")


def test_names_and_folders_are_taken(tmp_path: Path) -> None:
    field = small("schnet")
    save(field, tmp_path / "best.safetensors")
    energies = []
    for named in (tmp_path, str(tmp_path), str(tmp_path / "best.safetensors")):
        atoms = li3ps4()
        atoms.calc = GraNNFieldCalculator(named)
        energies.append(atoms.get_potential_energy())
    assert len(set(energies)) == 1
    assert GraNNFieldCalculator("schnet").field.n_parameters == 494_209


@pytest.mark.parametrize("name", sorted(registered()))
def test_copies_and_pickles_are_the_same_field(name: str) -> None:
    atoms = li3ps4()
    atoms.calc = GraNNFieldCalculator(small(name))
    forces = atoms.get_forces()
    for twin in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        assert twin.field is not atoms.calc.field and twin.implemented_properties == atoms.calc.implemented_properties
        assert np.array_equal(twin.results["forces"], forces)
        other = li3ps4()
        other.positions[0] += 0.1
        other.calc = twin
        assert not np.array_equal(other.get_forces(), forces)
        other.positions[0] -= 0.1
        assert np.allclose(other.get_forces(), forces, atol=1e-12, rtol=0)
    assert np.array_equal(atoms.get_forces(), forces)


def _energy(atoms: Atoms) -> float:
    """In another process."""
    return float(atoms.get_potential_energy())


def test_atoms_with_the_calculator_go_to_another_process() -> None:
    """Spawned, as on every system: nothing is inherited, all is pickled."""
    atoms = argon(rattle=0.1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_energy, [atoms])[0] == atoms.get_potential_energy()
