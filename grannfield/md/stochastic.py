"""Thermostats with random forces: Langevin dynamics and stochastic velocity rescaling.

Their random numbers are a function of a replica's seed and of the number of the step, and of nothing else: a run that was cut
off goes on bit for bit, and a replica moves as it would alone. Both keep in `heat` what the bath has given.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from grannfield import units
from grannfield.md.integrators import Evaluate, velocity_verlet
from grannfield.md.protocol import Protocol
from grannfield.md.state import MDState, drift_velocity, kinetic_energy

STREAM = 0x746865726D6F
"""Sets these numbers apart from others drawn with the same seed."""


def stochastic(state: MDState, evaluate: Evaluate, protocol: Protocol, step: int) -> MDState:
    """The state after step number `step` with the protocol's thermostat, one of `Protocol.RANDOM`."""
    move = {"langevin": langevin, "rescale": stochastic_rescaling}[protocol.thermostat]
    return move(state, evaluate, protocol.timestep, protocol.temperature, protocol.damping, step)


def generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one replica in one step (Philox, 10.1145/2063384.2063405: the step is part of the counter).

    >>> generator(7, 100).integers(1000, size=3).tolist() == generator(7, 100).integers(1000, size=3).tolist()
    True
    """
    return np.random.Generator(np.random.Philox(key=[seed, STREAM], counter=[0, step, 0, 0]))


def langevin(state: MDState, evaluate: Evaluate, timestep: float, temperature: float, damping: float, step: int) -> MDState:
    """One step of Langevin dynamics, friction 1/damping, in the order BAOAB (10.1063/1.4802990).

    temperature in K, damping in fs. Kick, half a drift, friction and noise, half a drift, kick: the positions of harmonic
    oscillators have the exact canonical variance at any time step. Friction and noise act on the motion relative to the centre
    of mass, whose momentum is left alone: 3n - 3 degrees of freedom hold the temperature.
    """
    kick = (0.5 * timestep * units.ACCELERATION) / state.mass
    vel = torch.addcmul(state.vel, kick, state.forces)
    pos = torch.add(state.pos, vel, alpha=0.5 * timestep)
    before = kinetic_energy(vel, state.mass)
    drift = drift_velocity(state.moved(vel=vel)).unsqueeze(1)
    kept = math.exp(-timestep / damping)
    noise = _maxwell(state, temperature, step) * math.sqrt(1 - kept * kept)
    vel = drift + (vel - drift) * kept + noise
    heat = state.heat + kinetic_energy(vel, state.mass) - before
    pos = torch.add(pos, vel, alpha=0.5 * timestep)
    energy, forces = evaluate(pos)
    return state.moved(pos=pos, vel=torch.addcmul(vel, kick, forces), energy=energy, forces=forces, heat=heat)


def _maxwell(state: MDState, temperature: float, step: int) -> Tensor:
    """[R, n, 3] Å/fs, velocities of the canonical distribution with the centre of mass at rest.

    In coordinates of velocity times the root of the mass the centre of mass is one direction, and the rest a projection.
    """
    n = state.pos.shape[1]
    drawn = np.stack([generator(seed, step).standard_normal((n, 3)) for seed in state.seed.tolist()])
    width = (units.BOLTZMANN * temperature * units.ACCELERATION / state.mass).sqrt()
    vel = torch.from_numpy(drawn).to(state.vel.device) * width
    return vel - drift_velocity(state.moved(vel=vel)).unsqueeze(1)


def stochastic_rescaling(
    state: MDState, evaluate: Evaluate, timestep: float, temperature: float, damping: float, step: int
) -> MDState:
    """One step of NVE, then velocities scaled to a kinetic energy from its canonical distribution (10.1063/1.2408420).

    temperature in K, damping in fs, the relaxation time of the kinetic energy. Equations A7 and A8 there: all velocities get
    the same factor alpha, so that the dynamics are hardly disturbed; K over its target mean over g is `share`.
    """
    state = velocity_verlet(state, evaluate, timestep)
    g, kept = state.degrees_of_freedom, math.exp(-timestep / damping)
    kinetic = kinetic_energy(state.vel, state.mass)
    one, rest = _gaussian_and_squares(state.seed.tolist(), step, g - 1)
    one, rest = one.to(kinetic.device), rest.to(kinetic.device)
    share = (1 - kept) * (0.5 * units.BOLTZMANN * temperature) / kinetic.clamp(min=1e-12)
    squared = kept + share * (rest + one * one) + 2 * one * (kept * share).sqrt()
    alpha = squared.clamp(min=0).sqrt() * torch.where(one + (kept / share).sqrt() < 0, -1.0, 1.0)
    vel = state.vel * alpha.view(-1, 1, 1)
    return state.moved(vel=vel, heat=state.heat + kinetic_energy(vel, state.mass) - kinetic)


def _gaussian_and_squares(seeds: list[int], step: int, squares: int) -> tuple[Tensor, Tensor]:
    """[R] a Gaussian number, and [R] the sum of so many squared ones."""
    drawn = []
    for seed in seeds:
        random = generator(seed, step)
        drawn.append((random.standard_normal(), random.chisquare(squares) if squares else 0.0))
    one, rest = torch.tensor(drawn, dtype=torch.float64).unbind(1)
    return one, rest


def stochastic_invariant(state: MDState) -> Tensor:
    """[R] eV, total energy less the heat that the bath has given: constant but for the error of the time step."""
    return state.energy + kinetic_energy(state.vel, state.mass) - state.heat
