"""Molecular dynamics by other hands: ASE over our calculator, torch-sim over our force field and over PyTorch Geometric's.

Every loop starts from the same positions and velocities, holds 300 K with a time constant of 100 fs, and steps by 2 fs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.md.simulate import Protocol
from grannfield.md.state import MDState
from grannfield.neighbors import replica_graph
from grannfield.speed.rivals import PyGSchNet
from grannfield.speed.timing import Clock

PROTOCOL = Protocol(temperature=300.0, length=1e6, ramp=0.0)


@dataclass(frozen=True)
class Loop:
    """A simulation that is ready to go on."""

    run: Callable[[int], Any]
    """Makes that many steps."""
    clock: Clock
    """Around the model's energy and gradient; on a GPU it sees only the host's part."""
    forces: Tensor
    """[R, n, 3] eV/Å at the start."""
    integrator: str
    positions: Callable[[], Tensor]
    """[R, n, 3] Å now, wrapped or not."""


def ase_loop(field: ForceField, start: MDState) -> Loop:
    """ASE's Nosé-Hoover chain over our calculator, one simulation after the other for several replicas."""
    from ase import Atoms
    from ase import units as ase_units
    from ase.md.nose_hoover_chain import NoseHooverChainNVT

    from grannfield.calculator import GraNNFieldCalculator

    clock, loops, forces = Clock(), [], []
    field.predict = clock.around(field.predict)  # type: ignore[method-assign]
    for pos, vel, cell in zip(start.pos, start.vel, start.cell, strict=True):
        calculator = GraNNFieldCalculator(field, device=str(next(field.parameters()).device))
        atoms = Atoms(start.z.cpu().numpy(), pos.cpu().numpy(), cell=cell.cpu().numpy(), pbc=True, calculator=calculator)
        atoms.set_velocities(vel.cpu().numpy() / ase_units.fs)
        forces.append(torch.from_numpy(atoms.get_forces()))
        dt, tau = PROTOCOL.timestep * ase_units.fs, PROTOCOL.damping * ase_units.fs
        loops.append(NoseHooverChainNVT(atoms, dt, temperature_K=PROTOCOL.temperature, tdamp=tau))

    def run(n: int) -> None:
        for loop in loops:
            loop.run(n)

    positions = lambda: torch.stack([torch.from_numpy(loop.atoms.positions) for loop in loops])  # noqa: E731
    return Loop(run, clock, torch.stack(forces), "Nosé-Hoover chain of 3, one simulation after the other", positions)


class OurField:
    """Our force field as torch-sim calls a model: nothing is kept between calls, each system is searched by vesin."""

    dtype = torch.float64

    def __init__(self, field: ForceField, start: MDState) -> None:
        self.clock, self.device, self.shape = Clock(), start.pos.device, start.pos.shape
        self.z, self.cutoff = start.z.cpu().numpy(), field.cutoff
        self.predict = self.clock.around(field.predict)

    def __call__(self, state: Any) -> dict[str, Tensor]:
        graph = replica_graph(self.z, state.positions.view(self.shape).cpu(), state.row_vector_cell.cpu(), self.cutoff)
        found = self.predict(graph.to(self.device))
        return {"energy": found.energy, "forces": found.forces.double()}


class PyGField:
    """PyTorch Geometric's SchNet as torch-sim calls a model: torch-sim's vesin list for each system, edges numbered through."""

    dtype = torch.float32

    def __init__(self, field: ForceField, start: MDState) -> None:
        from torch_sim.neighbors import vesin_nl_ts

        self.clock, self.device, self.search = Clock(), start.pos.device, vesin_nl_ts
        self.replicas, self.atoms = start.pos.shape[:2]
        self.model, self.cutoff, self.scale = PyGSchNet(field).eval(), torch.tensor(field.cutoff), float(field.scale.scale)
        self.predict = self.clock.around(self._predict)

    def _predict(self, z: Tensor, pos: Tensor, *edges: Tensor) -> tuple[Tensor, Tensor]:
        pos = pos.detach().requires_grad_()
        energy = self.model.energies(z, pos, *edges) * self.scale
        (slope,) = torch.autograd.grad(energy.sum(), pos)
        return energy.detach(), -slope

    def __call__(self, state: Any) -> dict[str, Tensor]:
        centre, neighbor, across = [], [], []
        cells = state.row_vector_cell
        for b, pos in enumerate(state.positions.view(self.replicas, self.atoms, 3)):
            mapping, shift = self.search(positions=pos, cell=cells[b], pbc=True, cutoff=self.cutoff)
            centre.append(mapping[0] + b * self.atoms)
            neighbor.append(mapping[1] + b * self.atoms)
            across.append(shift @ cells[b])
        edges = torch.cat(neighbor), torch.cat(centre), torch.cat(across)
        energy, forces = self.predict(state.atomic_numbers, state.positions, *edges, state.system_idx)
        return {"energy": energy, "forces": forces}


def torch_sim_loop(model: OurField | PyGField, start: MDState) -> Loop:
    """torch-sim's Nosé-Hoover chain over a model; its Langevin integrator where the chain cannot hold several systems.

    The chain makes one substep where torch-sim's default is nine: as ours, ASE's and LAMMPS' do.
    """
    from torch_sim.integrators.nvt import nvt_langevin, nvt_nose_hoover
    from torch_sim.units import MetalUnits

    number = lambda x: torch.tensor(x, dtype=model.dtype, device=model.device)  # noqa: E731
    dt = number(PROTOCOL.timestep * 1e-3 * MetalUnits.time)
    kt = number(PROTOCOL.temperature * MetalUnits.temperature)
    momenta = (start.mass * start.vel * 1e3 / MetalUnits.time).reshape(-1, 3).to(model.dtype)
    init, update = nvt_nose_hoover(model=model, dt=dt, kT=kt, chain_steps=1, sy_steps=1)
    integrator = "Nosé-Hoover chain of 3"
    try:
        tau = number(PROTOCOL.damping * 1e-3 * MetalUnits.time)
        state = update(init(_simulated(start, model.dtype), kT=kt, tau=tau, momenta=momenta))
    except RuntimeError:  # 0.3.0: one chain of no batch dimension
        init, update = nvt_langevin(model, dt=dt, kT=kt)
        integrator = "Langevin (its Nosé-Hoover chain holds one system)"
        state = _simulated(start, model.dtype)
        state.momenta = momenta
        state = init(state)
    forces = model(_simulated(start, model.dtype))["forces"].double().view(start.pos.shape)
    model.clock.lap(False)
    holder = [state]

    def run(n: int) -> None:
        for _ in range(n):
            holder[0] = update(holder[0])

    return Loop(run, model.clock, forces.cpu(), integrator, lambda: holder[0].positions.view(start.pos.shape))


def _simulated(start: MDState, dtype: torch.dtype) -> Any:
    """The start as torch-sim holds it: systems one after the other, columns of the cell are lattice vectors."""
    from torch_sim.state import SimState

    replicas, n = start.pos.shape[:2]
    return SimState(
        positions=start.pos.reshape(-1, 3).to(dtype),
        masses=start.mass.view(-1).repeat(replicas).to(dtype),
        cell=start.cell.mT.contiguous().to(dtype),
        pbc=True,
        atomic_numbers=start.z.repeat(replicas),
        system_idx=torch.arange(replicas, device=start.z.device).repeat_interleave(n),
    )
