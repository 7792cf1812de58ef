"""Langevin dynamics and velocity rescaling against the canonical ensemble, in systems whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from grannfield import units
from grannfield.md.integrators import evaluated
from grannfield.md.simulate import Protocol, simulate
from grannfield.md.state import MDState, drift_velocity, initial_state, kinetic_energy
from grannfield.md.stochastic import generator, langevin, stochastic_invariant, stochastic_rescaling
from grannfield.testing import LennardJones
from tests.md.test_integrators import argon

THERMOSTATS = pytest.mark.parametrize("move", [langevin, stochastic_rescaling])
Move = Callable[..., MDState]
TEMPERATURE = 60.0
KT = units.BOLTZMANN * TEMPERATURE


def free(pos: Tensor) -> tuple[Tensor, Tensor]:
    """No forces."""
    return torch.zeros(len(pos), dtype=torch.float64), torch.zeros_like(pos)


class Crystal:
    """Argon's lattice with bonds of 0.01 d² + 0.3 d⁴ eV between nearest neighbours, d Å longer than at rest."""

    def __init__(self, pos: Tensor, cell: Tensor) -> None:
        images = torch.tensor([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)], dtype=torch.float64) @ cell
        apart = pos.view(1, -1, 1, 3) + images.view(1, 1, -1, 3) - pos.view(-1, 1, 1, 3)
        i, j, image = (torch.linalg.vector_norm(apart, dim=-1) - 5.4 / math.sqrt(2)).abs().lt(1e-6).nonzero(as_tuple=True)
        assert len(i) == 12 * len(pos)
        self.j, self.shift = j.view(-1, 12), images[image].view(-1, 12, 3)

    def __call__(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        apart = pos[:, self.j] + self.shift - pos.unsqueeze(2)
        r = torch.linalg.vector_norm(apart, dim=-1, keepdim=True)
        d = r - 5.4 / math.sqrt(2)
        energy = 0.5 * (0.01 * d**2 + 0.3 * d**4).sum(dim=(1, 2, 3))
        return energy, (apart / r * (0.02 * d + 1.2 * d**3)).sum(dim=2)


def crystal(replicas: int) -> tuple[MDState, Crystal]:
    z, pos, cell = argon()
    evaluate = Crystal(torch.from_numpy(pos), torch.from_numpy(cell))
    state = initial_state(z, pos, cell, 1.6 * TEMPERATURE, list(range(replicas)))  # some of it goes into the bonds
    return evaluated(state, evaluate), evaluate


@THERMOSTATS
def test_energies_of_a_crystal_are_canonical(move: Move) -> None:
    """2 K / kT is chi-squared with 3n - 3 degrees of freedom; -sum u.F, u from rest, has the mean (3n - 3) kT (virial)."""
    replicas, skip, apart, samples = 40, 300, 60, 15
    state, evaluate = crystal(replicas)
    start, g = state.pos, state.degrees_of_freedom
    kinetic, virial = [], []
    for step in range(skip + apart * samples):
        state = move(state, evaluate, 4.0, TEMPERATURE, 50.0, step)
        if step >= skip and step % 10 == 0:
            virial.append(-((state.pos - start) * state.forces).sum(dim=(1, 2)) / KT)
        if step >= skip and (step - skip) % apart == apart - 1:
            kinetic.append(2 * kinetic_energy(state.vel, state.mass) / KT)
    values = torch.stack(kinetic).numpy()
    n = values.size
    assert stats.kstest(values.ravel(), stats.chi2(g).cdf).pvalue > 0.01
    assert abs(values.mean() - g) < 4 * math.sqrt(2 * g / n)
    assert abs(values.var() - 2 * g) < 4 * math.sqrt((8 * g * g + 48 * g) / n)
    each = torch.stack(virial).mean(dim=0).numpy()  # replicas are independent: their spread gives the error
    error = float(each.std(ddof=1)) / math.sqrt(replicas)
    assert error < 0.02 * g and abs(each.mean() - g) < 4 * error


def test_langevin_samples_a_double_well_of_two_unequal_atoms() -> None:
    """The vector between Li and S in a quartic double well in each direction, against its Boltzmann distribution."""
    a, b = 0.05, 0.02

    def well(pos: Tensor) -> tuple[Tensor, Tensor]:
        d = pos[:, 1] - pos[:, 0]
        force = 2 * b * d - 4 * a * d**3
        return (a * d**4 - b * d**2).sum(dim=1), torch.stack([-force, force], dim=1)

    state = initial_state(np.array([3, 16]), np.zeros((2, 3)), np.eye(3) * 9, 300.0, list(range(100)))
    state, kt, seen = evaluated(state, well), units.BOLTZMANN * 300.0, []
    for step in range(2400):
        state = langevin(state, well, 4.0, 300.0, 100.0, step)
        if step >= 300 and step % 300 == 0:
            seen.append(state.pos[:, 1] - state.pos[:, 0])
    found = torch.stack(seen).numpy().ravel()
    grid = np.linspace(-3, 3, 2001)
    density = np.exp(-(a * grid**4 - b * grid**2) / kt)
    whole = integrate.cumulative_simpson(density, x=grid, initial=0)
    assert len(found) == 2100 and stats.kstest(found, lambda x: np.interp(x, grid, whole / whole[-1])).pvalue > 0.01
    assert float(drift_velocity(state).abs().max()) < 1e-12


def test_langevin_positions_of_oscillators_are_exact_at_any_time_step() -> None:
    """BAOAB's known error for a harmonic oscillator: none in the positions, a factor 1 - (omega dt)²/4 in the velocities."""
    state = initial_state(np.full(40, 3), np.zeros((40, 3)), np.eye(3) * 9, TEMPERATURE, list(range(20)))
    spring = float(state.mass[0]) / units.ACCELERATION / 10.0**2  # omega dt = 1 in steps of 10 fs

    def springs(pos: Tensor) -> tuple[Tensor, Tensor]:
        away = pos - pos.mean(dim=1, keepdim=True)
        return 0.5 * spring * away.square().sum(dim=(1, 2)), -spring * away

    state, seen = evaluated(state, springs), []
    for step in range(600):
        state = langevin(state, springs, 10.0, TEMPERATURE, 30.0, step)
        if step >= 60 and step % 15 == 0:
            seen.append((2 * state.energy / KT, 2 * kinetic_energy(state.vel, state.mass) / KT))
    potential, kinetic = (torch.stack(x).numpy() / state.degrees_of_freedom for x in zip(*seen, strict=True))
    tolerance = 4 * math.sqrt(2 / (state.degrees_of_freedom * potential.size))
    assert tolerance < 0.02
    assert abs(potential.mean() - 1) < tolerance and abs(kinetic.mean() - 0.75) < tolerance


@pytest.mark.parametrize(("move", "rate"), [(langevin, 2.0), (stochastic_rescaling, 1.0)])
def test_the_kinetic_energy_relaxes_at_the_rate_of_the_damping(move: Move, rate: float) -> None:
    """Free atoms twice too hot: the mean excess falls as exp(-rate t / damping)."""
    state = initial_state(*argon(1), 2 * TEMPERATURE, list(range(400)))
    g = state.degrees_of_freedom
    for step in range(20):
        state = move(state, free, 2.0, TEMPERATURE, 50.0, step)
    excess = (2 * kinetic_energy(state.vel, state.mass) / KT).numpy() / g - 1
    assert abs(excess.mean() - math.exp(-rate * 40 / 50)) < 4 * excess.std() / 20
    torch.testing.assert_close(stochastic_invariant(state), torch.full((400,), g * KT, dtype=torch.float64))


def test_langevin_leaves_the_motion_of_the_whole_alone() -> None:
    """Forces that do not add up to zero show as a drift, which no friction may hide."""
    state = initial_state(*argon(1), TEMPERATURE, [1, 2])
    wind = torch.tensor([[0.01, 0.0, 0.002]], dtype=torch.float64)
    state = state.moved(vel=state.vel + wind)
    for step in range(50):
        state = langevin(state, free, 2.0, TEMPERATURE, 20.0, step)
    torch.testing.assert_close(drift_velocity(state), wind.expand(2, 3), rtol=0, atol=1e-14)


def test_rescaling_at_once_draws_the_kinetic_energy_from_its_distribution() -> None:
    state, seen = initial_state(*argon(1), TEMPERATURE, list(range(100))), []
    for step in range(10):
        state = stochastic_rescaling(state, free, 1.0, TEMPERATURE, 0.01, step)
        seen.append(2 * kinetic_energy(state.vel, state.mass) / KT)
    assert stats.kstest(torch.cat(seen).numpy(), stats.chi2(9).cdf).pvalue > 0.01


@THERMOSTATS
def test_energy_less_the_heat_given_is_conserved_to_the_square_of_the_timestep(move: Move) -> None:
    errors = []
    for timestep in (8.0, 4.0, 2.0):
        state, evaluate = crystal(20)
        series = []
        for step in range(round(800 / timestep)):
            state = move(state, evaluate, timestep, TEMPERATURE, 100.0, step)
            series.append(stochastic_invariant(state))
        errors.append(float(torch.stack(series).std(dim=0).mean()))
        assert float((state.mass * state.vel).sum(dim=1).abs().max()) < 1e-10
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3) and errors[1] / errors[2] == pytest.approx(4, rel=0.3)
    assert errors[2] < 0.01 * KT * 93


@THERMOSTATS
def test_a_replica_moves_as_it_would_alone(move: Move) -> None:
    def moved(seeds: list[int]) -> MDState:
        state, evaluate = initial_state(*argon(), TEMPERATURE, seeds), crystal(1)[1]
        state = evaluated(state, evaluate)
        for step in range(40):
            state = move(state, evaluate, 4.0, TEMPERATURE, 50.0, step)
        return state

    together = moved([5, 6, 7])
    for r, seed in enumerate([5, 6, 7]):
        alone = moved([seed])
        assert torch.equal(together.pos[r], alone.pos[0]) and torch.equal(together.heat[r], alone.heat[0])
    assert not torch.equal(together.pos[0], together.pos[1])


def test_random_numbers_depend_on_seed_and_step_alone() -> None:
    draw = lambda *of: generator(*of).standard_normal(4000)  # noqa: E731
    assert np.array_equal(draw(3, 9), draw(3, 9))
    others = [draw(3, 10), draw(4, 9), draw(9, 3), draw(2**63 - 1, 2**40)]
    assert all(abs(np.corrcoef(draw(3, 9), x)[0, 1]) < 0.06 for x in others)
    assert abs(np.corrcoef(draw(3, 9)[1:], draw(3, 10)[:-1])[0, 1]) < 0.06  # no step begins inside another


@pytest.mark.parametrize("thermostat", ["langevin", "rescale"])
def test_random_forces_are_never_captured(thermostat: Literal["langevin", "rescale"], caplog: pytest.LogCaptureFixture) -> None:
    protocol = Protocol(TEMPERATURE, length=160.0, ramp=40.0, timestep=4.0, interval=40.0, thermostat=thermostat)
    single, blocks = (simulate(LennardJones(), *argon(), protocol, [1], captured=x)[0].trajectory for x in (False, True))
    assert single is not None and blocks is not None
    np.testing.assert_allclose(single.pos, blocks.pos, atol=1e-9)
    assert caplog.messages == [f"steps with the thermostat {thermostat!r} are launched one by one, not captured in blocks"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"thermostat": "berendsen"}, "no thermostat 'berendsen'"),
        ({"thermostat": "langevin", "ensemble": "nve"}, "needs the ensemble nvt"),
        ({"length": float("inf")}, "must be finite"),
    ],
)
def test_impossible_thermostats_are_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Protocol(300.0, **change)  # type: ignore[arg-type]


def test_the_settings_of_old_protocols_are_what_they_were() -> None:
    assert "thermostat" not in Protocol(300.0).settings and "thermostat" not in Protocol(300.0, ensemble="nve").settings
    assert Protocol(300.0, thermostat="rescale").settings["thermostat"] == "rescale"
