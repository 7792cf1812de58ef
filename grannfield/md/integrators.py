"""Time steps: pure functions from one batched state to the next.

`evaluate` is a function of a state's positions [R,n,3] giving energy [R] in eV and forces [R,n,3] in eV/Å.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grannfield import units
from grannfield.loops import compiled_loop, half_of_step
from grannfield.md.state import MDState, at_hand, kinetic_energy, kinetic_temperature

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


def evaluated(state: MDState, evaluate: Evaluate) -> MDState:
    """The state with energy and forces of its own positions; needed once before the first step."""
    energy, forces = evaluate(state.pos)
    return state.moved(energy=energy, forces=forces)


def velocity_verlet(state: MDState, evaluate: Evaluate, timestep: float) -> MDState:
    """One NVE step of `timestep` fs: half kick, drift, half kick (Swope et al., 10.1063/1.442716)."""
    kick = (0.5 * timestep * units.ACCELERATION) / state.mass
    vel = torch.addcmul(state.vel, kick, state.forces)
    pos = torch.add(state.pos, vel, alpha=timestep)
    energy, forces = evaluate(pos)
    return state.moved(pos=pos, vel=torch.addcmul(vel, kick, forces), energy=energy, forces=forces)


def nose_hoover(state: MDState, evaluate: Evaluate, timestep: float, temperature: Tensor | float, damping: float) -> MDState:
    """One NVT step with a Nosé-Hoover chain (10.1063/1.463940, splitting of 10.1080/00268979600100761).

    temperature in K (a number or [R]), damping in fs: the chain's masses are Q_1 = g k T damping² and Q_j = k T damping², as
    LAMMPS' `fix nvt`. The momentum of the centre of mass is left alone.
    """
    half = compiled_loop(half_of_step) if at_hand(state.vel) and isinstance(temperature, float) else None
    if half is None:
        state = _half_chain(state, timestep, temperature, damping)
        state = velocity_verlet(state, evaluate, timestep)
        return _half_chain(state, timestep, temperature, damping)
    g = state.degrees_of_freedom
    about = 1 / (units.ACCELERATION * g * units.BOLTZMANN * temperature), g, timestep, damping, units.ACCELERATION
    mass, xi, v_xi = state.mass.view(-1).numpy(), state.xi.numpy(), state.v_xi.numpy()
    pos, vel, xi, v_xi = half(state.pos.numpy(), state.vel.numpy(), state.forces.numpy(), mass, xi, v_xi, *about, True)
    there = torch.from_numpy(pos)
    energy, forces = evaluate(there)
    _, vel, xi, v_xi = half(pos, vel, forces.numpy(), mass, xi, v_xi, *about, False)
    found = {"pos": there, "energy": energy, "forces": forces, "vel": torch.from_numpy(vel)}
    return state.moved(**found, xi=torch.from_numpy(xi), v_xi=torch.from_numpy(v_xi))


def _half_chain(state: MDState, timestep: float, temperature: Tensor | float, damping: float) -> MDState:
    """Half a step of the chain and of the velocities' scaling.

    On the CPU the few numbers of the chain are Python's: between two evaluations of a network the processor's caches hold
    nothing of the code for arrays, which then takes several times as long.
    """
    g = state.degrees_of_freedom
    heat = kinetic_energy(state.vel, state.mass) * ((2 / (g * units.BOLTZMANN)) / temperature)
    if not at_hand(state.vel):
        s, between, after = _links(heat, list(state.v_xi.unbind(1)), g, timestep, damping, torch.exp)
        drift, v_xi = torch.stack(between, 1), torch.stack(after, 1)
        return state.moved(vel=state.vel * s.view(-1, 1, 1), xi=state.xi + drift * (timestep / 2), v_xi=v_xi)
    links = [_links(h, v, g, timestep, damping, _exp) for h, v in zip(heat.tolist(), state.v_xi.tolist(), strict=True)]
    xi = [
        [x + v * (timestep / 2) for x, v in zip(xs, vs, strict=True)]
        for xs, (_, vs, _) in zip(state.xi.tolist(), links, strict=True)
    ]
    number = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    s = links[0][0] if len(links) == 1 else number([link[0] for link in links]).view(-1, 1, 1)
    return state.moved(vel=state.vel * s, xi=number(xi), v_xi=number([link[2] for link in links]))


def _exp(x: float) -> float:
    """e^x, infinity where that is too large: a failure event of its replica."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _links(
    heat: Any, v: list[Any], g: int, timestep: float, damping: float, exp: Callable[[Any], Any]
) -> tuple[Any, list[Any], list[Any]]:
    """Scaling factor s, and the links' velocities between the halves and after half a step; `heat` is temperature over target.

    Forces on the links over their masses: G_0/Q_0 = w (heat - 1), G_1/Q_1 = g v_0² - w and G_j/Q_j = v_{j-1}² - w after
    that, with w = 1/damping². For one replica as numbers, or for all as arrays [R].
    """
    w, quarter = damping**-2, timestep / 4
    last = len(v) - 1

    def push(j: int) -> Any:
        if j == 0:
            return heat * (quarter * w) - quarter * w
        return v[j - 1] * v[j - 1] * (quarter * (g if j == 1 else 1)) - quarter * w

    v[last] = v[last] + push(last)
    brake = [v[last]] * last
    for j in range(last - 1, -1, -1):
        brake[j] = exp(v[j + 1] * (-timestep / 8))
        v[j] = (v[j] * brake[j] + push(j)) * brake[j]
    s = exp(v[0] * (-timestep / 2))
    heat = heat * (s * s)
    between = list(v)
    for j in range(last):  # no link has changed since its brake on the one below was computed
        v[j] = (v[j] * brake[j] + push(j)) * brake[j]
    v[last] = v[last] + push(last)
    return s, between, v


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
