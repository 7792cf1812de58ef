"""The ASE calculator against `predict`, ASE's own finite differences, and short motion of argon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from grannfield.calculator import GraNNFieldCalculator
from grannfield.forcefield import ForceField, UnsupportedElement, create, save
from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.testing import LennardJones


class Counting(LennardJones):
    """Lennard-Jones that knows how often it was asked."""

    calls = 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(z, graph, edge_vec)


class Direct(ForceField):
    """No energy gradient: unit forces along z."""

    conservative = False

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        forces = torch.zeros(len(z), 3)
        forces[:, 2] = 1
        return torch.zeros(len(z)), forces


def network() -> ForceField:
    torch.manual_seed(0)
    return create("schnet", hidden_channels=8, num_filters=8, num_interactions=2, num_gaussians=6, cutoff=4.0)


def argon(repeat: int = 2, rattle: float = 0.1, seed: int = 0) -> Atoms:
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=seed)
    return atoms


def skewed() -> Atoms:
    rng = np.random.default_rng(1)
    cell = np.array([[3.6, 0, 0], [0.7, 3.8, 0], [-0.5, 0.6, 4.0]])
    return Atoms("LiS2", scaled_positions=rng.uniform(size=(3, 3)), cell=cell, pbc=True)


@pytest.mark.parametrize("field", [network(), LennardJones(sigma=2.0)], ids=["schnet", "lj"])
def test_the_numbers_are_those_of_predict(field: ForceField) -> None:
    atoms = skewed()
    atoms.calc = GraNNFieldCalculator(field, dtype=torch.float64)
    graph = neighbor_graph(atoms.numbers, atoms.positions, atoms.cell.array, field.cutoff)
    expected = atoms.calc.field.predict(graph, stress=True)
    assert expected.stress is not None and expected.atomic_energies is not None
    assert atoms.get_potential_energy() == float(expected.energy[0]) == atoms.get_potential_energy(force_consistent=True)
    assert np.array_equal(atoms.get_forces(), expected.forces.numpy()) and atoms.get_forces().dtype == np.float64
    assert np.array_equal(atoms.get_potential_energies(), expected.atomic_energies.numpy())
    assert np.array_equal(atoms.get_stress(), full_3x3_to_voigt_6_stress(expected.stress[0].numpy()))
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert np.abs(atoms.get_stress()).min() > 1e-6


def test_forces_and_stress_are_ases_finite_differences() -> None:
    """The sign and the Voigt order of the stress, too."""
    atoms = skewed()
    atoms.calc = GraNNFieldCalculator(network(), dtype=torch.float64)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces - calculate_numerical_forces(atoms, eps=1e-4)).max() < 1e-5 * np.abs(forces).max()
    assert np.abs(stress - calculate_numerical_stress(atoms, eps=1e-5)).max() < 1e-5 * np.abs(stress).max()


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False), (False, False, False)])
def test_mixed_and_no_periodicity(pbc: tuple[bool, bool, bool]) -> None:
    atoms = skewed()
    atoms.pbc = pbc
    atoms.calc = GraNNFieldCalculator(network(), dtype=torch.float64)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 1e-3
    assert np.abs(forces - calculate_numerical_forces(atoms, eps=1e-4)).max() < 1e-5 * np.abs(forces).max()
    energy = atoms.get_potential_energy()
    atoms.positions[0] += 3 * np.array(pbc) @ atoms.cell.array
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_a_cluster_without_a_cell() -> None:
    field = LennardJones()
    atoms = Atoms("Ar3", positions=[[0, 0, 0], [3.8, 0, 0], [0, 4.1, 0]])
    atoms.calc = GraNNFieldCalculator(field)
    assert not atoms.cell.array.any()
    pairs = [np.linalg.norm(atoms.positions[i] - atoms.positions[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    alone = [
        float(field.predict(neighbor_graph([18, 18], [[0, 0, 0], [r, 0, 0]], np.eye(3), 7.0, False)).energy[0]) for r in pairs
    ]
    assert atoms.get_potential_energy() == pytest.approx(sum(alone), rel=1e-12)


def test_atoms_far_outside_the_cell() -> None:
    atoms, moved = argon(), argon()
    rng = np.random.default_rng(2)
    moved.positions += rng.integers(-50, 51, (len(atoms), 3)) @ atoms.cell.array
    for a in (atoms, moved):
        a.calc = GraNNFieldCalculator(LennardJones())
    assert moved.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(moved.get_forces(), atoms.get_forces(), atol=1e-10)
    np.testing.assert_allclose(moved.get_stress(), atoms.get_stress(), atol=1e-12)


def test_nothing_is_computed_twice() -> None:
    field, atoms = Counting(), argon(1)
    atoms.calc = GraNNFieldCalculator(field)
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    assert field.calls == 1
    first = atoms.get_forces()
    changes = (
        lambda: atoms.positions.__iadd__(np.eye(4, 3) * 0.1),
        lambda: atoms.set_cell(atoms.cell * 1.01),
        lambda: setattr(atoms, "pbc", False),
    )
    for n, change in enumerate(changes, start=2):
        change()
        atoms.get_forces(), atoms.get_potential_energy()
        assert field.calls == n
    assert not np.allclose(atoms.get_forces(), first)


def test_unknown_elements_and_missing_files_are_refused(tmp_path: Path) -> None:
    field, atoms = network(), skewed()
    field.elements = (3, 15)
    atoms.calc = GraNNFieldCalculator(field)
    with pytest.raises(UnsupportedElement, match="schnet does not know S; it knows Li, P"):
        atoms.get_potential_energy()
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        GraNNFieldCalculator(tmp_path / "none.safetensors")


def test_a_checkpoint_is_a_calculator(tmp_path: Path) -> None:
    field = network()
    save(field, tmp_path / "field.safetensors")
    energies = []
    for calc in (GraNNFieldCalculator(field), GraNNFieldCalculator(str(tmp_path / "field.safetensors"))):
        atoms = skewed()
        atoms.calc = calc
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1] and not calc.field.training
    atoms.calc = GraNNFieldCalculator(tmp_path / "field.safetensors", dtype=torch.float64)
    assert atoms.get_potential_energy() != energies[0]
    assert atoms.get_potential_energy() == pytest.approx(energies[0], abs=1e-5)


def test_direct_forces_come_without_stress() -> None:
    atoms = skewed()
    atoms.calc = GraNNFieldCalculator(Direct(4.0))
    assert np.array_equal(atoms.get_forces(), np.tile([0.0, 0.0, 1.0], (3, 1)))
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_energy_is_conserved_in_nve() -> None:
    """Velocity Verlet on argon at 40 K: the total energy moves thousands of times less than the kinetic energy does."""
    atoms = argon()
    atoms.calc = GraNNFieldCalculator(LennardJones())
    momenta = np.random.default_rng(3).normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses()[0] * units.kB * 40)
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    total, kinetic = [], []

    def record() -> None:
        total.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())

    dynamics = VelocityVerlet(atoms, timestep=4 * units.fs)
    dynamics.attach(record, interval=1)
    dynamics.run(100)
    assert np.ptp(total) < 2e-3 * np.ptp(kinetic) and np.ptp(kinetic) > 0.02
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10


def test_fire_finds_the_crystal_again() -> None:
    atoms, crystal = argon(rattle=0.2), argon(rattle=0.0)
    for a in (atoms, crystal):
        a.calc = GraNNFieldCalculator(LennardJones())
    lowest = crystal.get_potential_energy()
    assert atoms.get_potential_energy() > lowest + 0.05
    assert FIRE(atoms, logfile=None).run(fmax=1e-4, steps=300)
    assert atoms.get_potential_energy() == pytest.approx(lowest, abs=1e-5)
