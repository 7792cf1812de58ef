"""Replicas that move together, and the random numbers that start them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grannfield import units


@dataclass(frozen=True, eq=False)
class MDState:
    """R replicas of the same n atoms: everything the next step depends on.

    Positions, velocities and thermostats are double precision whatever the model's: a float32 network sees float32
    vectors, but round-off never accumulates in the motion.
    """

    z: Tensor
    """[n] atomic numbers."""
    mass: Tensor
    """[n, 1] u."""
    cell: Tensor
    """[R, 3, 3] Å."""
    pos: Tensor
    """[R, n, 3] Å, unwrapped."""
    vel: Tensor
    """[R, n, 3] Å/fs."""
    energy: Tensor
    """[R] eV, potential energy at `pos`."""
    forces: Tensor
    """[R, n, 3] eV/Å at `pos`."""
    xi: Tensor
    """[R, M] positions of the Nosé-Hoover chain (no unit)."""
    v_xi: Tensor
    """[R, M] 1/fs, velocities of the chain."""
    heat: Tensor
    """[R] eV, what a thermostat with random forces has given."""
    seed: Tensor
    """[R] int64, of those forces."""

    @property
    def replicas(self) -> int:
        return int(self.pos.shape[0])

    @property
    def degrees_of_freedom(self) -> int:
        """3n - 3: the centre of mass is at rest at the start and counts for nothing afterwards."""
        return max(1, 3 * int(self.pos.shape[1]) - 3)

    def moved(self, **changes: Tensor) -> MDState:
        """The state with some of its arrays replaced."""
        new = object.__new__(MDState)  # `dataclasses.replace` takes several times as long
        new.__dict__.update(self.__dict__, **changes)
        return new


CHAIN = 3
"""Length of the Nosé-Hoover chain (LAMMPS' `tchain`)."""


def initial_state(z: np.ndarray, pos: np.ndarray, cell: np.ndarray, temperature: float, seeds: list[int]) -> MDState:
    """One replica for each seed, all at the positions pos [n,3] in the cell [3,3], with Maxwell-Boltzmann velocities.

    Velocities are drawn for each replica from its own seed, so that a replica does not depend on how many others there
    are; the centre of mass is put at rest and the kinetic temperature set to exactly `temperature` (K).
    """
    n, replicas = len(z), len(seeds)
    mass = torch.tensor(units.masses(z), dtype=torch.float64).view(n, 1)
    vel = torch.stack([_maxwell_boltzmann(mass, temperature, seed) for seed in seeds])
    return MDState(
        z=torch.tensor(np.asarray(z), dtype=torch.int64),
        mass=mass,
        cell=torch.tensor(np.asarray(cell, dtype=float)).expand(replicas, 3, 3).contiguous(),
        pos=torch.tensor(np.asarray(pos, dtype=float)).expand(replicas, n, 3).contiguous(),
        vel=vel,
        energy=torch.zeros(replicas, dtype=torch.float64),
        forces=torch.zeros(replicas, n, 3, dtype=torch.float64),
        xi=torch.zeros(replicas, CHAIN, dtype=torch.float64),
        v_xi=torch.zeros(replicas, CHAIN, dtype=torch.float64),
        heat=torch.zeros(replicas, dtype=torch.float64),
        seed=torch.tensor([seed % 2**63 for seed in seeds], dtype=torch.int64),
    )


def _maxwell_boltzmann(mass: Tensor, temperature: float, seed: int) -> Tensor:
    normal = np.random.default_rng(seed).standard_normal((len(mass), 3))
    vel = torch.from_numpy(normal) * (units.BOLTZMANN * temperature * units.ACCELERATION / mass).sqrt()
    vel = vel - (mass * vel).sum(dim=0) / mass.sum()
    kinetic = kinetic_energy(vel, mass)
    degrees = max(1, 3 * len(mass) - 3)
    wanted = 0.5 * degrees * units.BOLTZMANN * temperature
    return vel * (wanted / kinetic).sqrt() if kinetic > 0 else vel


def at_hand(x: Tensor) -> bool:
    """Whether the host can look at a tensor without waiting for a device: then it may spare itself work that comes to nothing."""
    return x.device.type == "cpu"


def kinetic_energy(vel: Tensor, mass: Tensor) -> Tensor:
    """Kinetic energy in eV of velocities [..., n, 3] in Å/fs and masses [n, 1] in u."""
    return (vel.square() * mass).sum(dim=(-1, -2)) * (0.5 / units.ACCELERATION)


def kinetic_temperature(state: MDState) -> Tensor:
    """[R] K, from 3n - 3 degrees of freedom."""
    return kinetic_energy(state.vel, state.mass) * (2 / (state.degrees_of_freedom * units.BOLTZMANN))


def drift_velocity(state: MDState) -> Tensor:
    """[R, 3] Å/fs, velocity of the centre of mass: zero at the start, and for ever when forces add up to zero."""
    return (state.mass * state.vel).sum(dim=1) / state.mass.sum()
