"""The engine against known answers, with Lennard-Jones argon in place of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from grannfield import units
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated, nose_hoover, nose_hoover_invariant, rescale, velocity_verlet
from grannfield.md.state import MDState, initial_state, kinetic_energy, kinetic_temperature
from grannfield.neighbors import brute_force, images_needed
from grannfield.testing import LennardJones

LATTICE = 5.4


def argon(repeat: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos and cell of a face-centred cubic crystal of 4 repeat³ atoms."""
    base = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[range(repeat)] * 3), axis=-1).reshape(-1, 1, 3)
    pos = (base + corners).reshape(-1, 3) * LATTICE
    return np.full(len(pos), 18), pos, np.eye(3) * repeat * LATTICE


def started(temperature: float, seeds: list[int]) -> tuple[MDState, Evaluate]:
    state = initial_state(*argon(), temperature, seeds)
    evaluate = Evaluate(LennardJones(), state)
    return evaluated(state, evaluate), evaluate


def test_nve_energy_error_falls_as_the_timestep_squared() -> None:
    errors = []
    for timestep in (8.0, 4.0, 2.0):
        state, evaluate = started(60.0, [1])
        energy = []
        for _ in range(round(800 / timestep)):
            state = velocity_verlet(state, evaluate, timestep)
            energy.append(float(state.energy + kinetic_energy(state.vel, state.mass)))
        errors.append(np.std(energy))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)


def test_velocity_verlet_moves_atoms_as_ase_does() -> None:
    """Same start, same steps, other code: units and algorithm agree."""
    from ase import Atoms
    from ase import units as ase_units
    from ase.md.verlet import VelocityVerlet

    from grannfield.calculator import GraNNFieldCalculator

    state, evaluate = started(60.0, [1])
    atoms = Atoms(numbers=state.z.numpy(), positions=state.pos[0].numpy(), cell=state.cell[0].numpy(), pbc=True)
    atoms.set_masses(state.mass[:, 0].numpy())
    atoms.set_velocities(state.vel[0].numpy() / ase_units.fs)
    atoms.calc = GraNNFieldCalculator(LennardJones())
    with VelocityVerlet(atoms, 4.0 * ase_units.fs) as dynamics:
        dynamics.run(50)
    for _ in range(50):
        state = velocity_verlet(state, evaluate, 4.0)
    # ASE's constants are CODATA 2014, ours 2018: they differ by 2e-8.
    np.testing.assert_allclose(state.pos[0].numpy(), atoms.positions, atol=1e-6)
    assert float(state.energy[0]) == pytest.approx(atoms.get_potential_energy(), abs=1e-8)


def test_velocity_verlet_is_reversible() -> None:
    start, evaluate = started(60.0, [1])
    state = start
    for _ in range(50):
        state = velocity_verlet(state, evaluate, 4.0)
    state = state.moved(vel=-state.vel)
    for _ in range(50):
        state = velocity_verlet(state, evaluate, 4.0)
    torch.testing.assert_close(state.pos, start.pos, rtol=0, atol=1e-9)


def test_initial_velocities_are_maxwell_boltzmann_at_rest() -> None:
    state = initial_state(*argon(), 300.0, list(range(200)))
    assert float((state.mass * state.vel).sum(dim=1).abs().max()) < 1e-12
    torch.testing.assert_close(kinetic_temperature(state), torch.full((200,), 300.0, dtype=torch.float64))
    one = state.vel.flatten().numpy() / np.sqrt(units.BOLTZMANN * 300 * units.ACCELERATION / float(state.mass[0]))
    assert stats.kstest(one[::7], "norm").pvalue > 0.01


def test_nose_hoover_conserves_its_invariant_and_the_momentum() -> None:
    drifts = []
    for timestep in (8.0, 4.0):
        state, evaluate = started(60.0, [1])
        start = nose_hoover_invariant(state, 60.0, 100.0)
        for _ in range(round(1600 / timestep)):
            state = nose_hoover(state, evaluate, timestep, 60.0, 100.0)
        drifts.append(abs(float(nose_hoover_invariant(state, 60.0, 100.0) - start)))
        assert float((state.mass * state.vel).sum(dim=1).abs().max()) < 1e-10
    assert drifts[0] < 1e-3 and drifts[1] < 0.5 * drifts[0]


def test_nose_hoover_gives_the_canonical_distribution_of_kinetic_energy() -> None:
    """2 K / kT is chi-squared with 3n-3 degrees of freedom; samples lie more than two autocorrelation times apart."""
    temperature, replicas, skip, apart, samples, timestep = 70.0, 50, 300, 30, 12, 8.0
    field = LennardJones(cutoff=5.2, switch=4.4)
    state = initial_state(*argon(), 2 * temperature, list(range(replicas)))  # half of it goes into the crystal's springs
    images = images_needed(state.cell, field.cutoff, np.ones(3, bool))

    def evaluate(pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        graph = brute_force(state.z.numpy(), pos, state.cell, field.cutoff, capacity=24, images=images)
        assert graph.overflow is not None and not graph.overflow.any()
        prediction = field.predict(graph)
        return prediction.energy, prediction.forces.view(pos.shape)

    moving = evaluated(state, evaluate)
    series = []
    for step in range(skip + apart * samples):
        moving = nose_hoover(moving, evaluate, timestep, temperature, 50.0)
        if step >= skip:
            series.append((2 * kinetic_energy(moving.vel, moving.mass) / (units.BOLTZMANN * temperature)).numpy())
    values = np.array(series)
    centred = values - values.mean()
    correlation = np.array([(centred[: len(values) - lag] * centred[lag:]).mean() / centred.var() for lag in range(100)])
    autocorrelation_time = 1 + 2 * correlation[1 : int(np.argmax(correlation < 0))].sum()
    thinned = values[apart - 1 :: apart].ravel()
    assert 2 * autocorrelation_time < apart and len(thinned) >= 500
    degrees = state.degrees_of_freedom
    assert stats.kstest(thinned, stats.chi2(degrees).cdf).pvalue > 0.01
    assert thinned.var() == pytest.approx(2 * degrees, rel=0.25)


def test_rescale_sets_the_temperature_exactly() -> None:
    state, _ = started(60.0, [1, 2])
    torch.testing.assert_close(kinetic_temperature(rescale(state, 45.0)), torch.full((2,), 45.0, dtype=torch.float64))


def test_replicas_in_a_batch_equal_single_runs() -> None:
    together, evaluate = started(60.0, [3, 4])
    for _ in range(100):
        together = nose_hoover(together, evaluate, 4.0, 60.0, 100.0)
    for r, seed in enumerate([3, 4]):
        alone, evaluate = started(60.0, [seed])
        for _ in range(100):
            alone = nose_hoover(alone, evaluate, 4.0, 60.0, 100.0)
        torch.testing.assert_close(together.pos[r], alone.pos[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(together.vel[r], alone.vel[0], rtol=0, atol=1e-12)
