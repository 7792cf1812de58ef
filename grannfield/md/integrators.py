"""Time steps: pure functions from one batched state to the next.

`evaluate` is a function of a state's positions [R,n,3] giving energy [R] in eV and forces [R,n,3] in eV/Å.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grannfield import units
from grannfield.md.state import MDState, kinetic_energy, kinetic_temperature

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


def evaluated(state: MDState, evaluate: Evaluate) -> MDState:
    """The state with energy and forces of its own positions; needed once before the first step."""
    energy, forces = evaluate(state.pos)
    return state.moved(energy=energy, forces=forces)


def velocity_verlet(state: MDState, evaluate: Evaluate, timestep: float) -> MDState:
    """One NVE step of `timestep` fs: half kick, drift, half kick (Swope et al., 10.1063/1.442716)."""
    kick = 0.5 * timestep * units.ACCELERATION / state.mass
    vel = state.vel + kick * state.forces
    pos = state.pos + timestep * vel
    energy, forces = evaluate(pos)
    return state.moved(pos=pos, vel=vel + kick * forces, energy=energy, forces=forces)


def nose_hoover(state: MDState, evaluate: Evaluate, timestep: float, temperature: Tensor | float, damping: float) -> MDState:
    """One NVT step with a Nosé-Hoover chain (10.1063/1.463940, splitting of 10.1080/00268979600100761).

    temperature in K (a number or [R]), damping in fs: the chain's masses are Q_1 = g k T damping² and Q_j = k T damping², as
    LAMMPS' `fix nvt`. The momentum of the centre of mass is left alone.
    """
    state = _half_chain(state, timestep, temperature, damping)
    state = velocity_verlet(state, evaluate, timestep)
    return _half_chain(state, timestep, temperature, damping)


def _half_chain(state: MDState, timestep: float, temperature: Tensor | float, damping: float) -> MDState:
    """Half a step of the chain and of the velocities' scaling; symbols: G_j force on link j, s scaling factor."""
    g = state.degrees_of_freedom
    kt = torch.as_tensor(units.BOLTZMANN * temperature, dtype=torch.float64, device=state.vel.device).expand(state.replicas)
    q_first, q_rest = g * kt * damping**2, kt * damping**2
    v = list(state.v_xi.unbind(dim=1))
    twice_kinetic = 2 * kinetic_energy(state.vel, state.mass)
    half, quarter, eighth = timestep / 2, timestep / 4, timestep / 8
    last = len(v) - 1

    def push(j: int) -> Tensor:
        if j == 0:
            return (twice_kinetic - g * kt) / q_first
        mass = q_first if j == 1 else q_rest
        return (mass * v[j - 1].square() - kt) / q_rest

    v[last] = v[last] + push(last) * quarter
    for j in range(last - 1, -1, -1):
        brake = torch.exp(-v[j + 1] * eighth)
        v[j] = (v[j] * brake + push(j) * quarter) * brake
    s = torch.exp(-v[0] * half)
    twice_kinetic = twice_kinetic * s.square()
    xi = state.xi + half * torch.stack(v, dim=1)
    for j in range(last):
        brake = torch.exp(-v[j + 1] * eighth)
        v[j] = (v[j] * brake + push(j) * quarter) * brake
    v[last] = v[last] + push(last) * quarter
    return state.moved(vel=state.vel * s.view(-1, 1, 1), xi=xi, v_xi=torch.stack(v, dim=1))


def nose_hoover_invariant(state: MDState, temperature: float, damping: float) -> Tensor:
    """[R] eV, what a Nosé-Hoover chain conserves: total energy plus that of the chain."""
    g, kt = state.degrees_of_freedom, units.BOLTZMANN * temperature
    q = torch.full((state.v_xi.shape[1],), kt * damping**2, dtype=torch.float64, device=state.vel.device)
    q[0] *= g
    weight = torch.ones_like(q)
    weight[0] = g
    chain = (0.5 * q * state.v_xi.square() + kt * weight * state.xi).sum(dim=1)
    return state.energy + kinetic_energy(state.vel, state.mass) + chain


def rescale(state: MDState, temperature: Tensor | float) -> MDState:
    """The state with velocities scaled to exactly `temperature` K: the paper's heating ramp."""
    factor = (temperature / kinetic_temperature(state).clamp(min=1e-6)).sqrt()
    return state.moved(vel=state.vel * factor.view(-1, 1, 1))
