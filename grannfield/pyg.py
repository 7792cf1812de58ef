"""Networks of PyTorch Geometric as force fields: any module that turns a `Batch` of crystals into energies."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, Prediction
from grannfield.graph import AtomGraph

FIELDS = (
    "z [N], pos [N,3] Å, cell [B,3,3] Å, batch [N], edge_index [2,E] from neighbour to centre, edge_shift [E,3] and edge_vec "
    "[E,3] Å"
)
"""What a batch holds."""


class NotAForceField(ValueError):
    """A class cannot stand as a force field; the message says which of its parts is missing."""


class PyGField(ForceField):
    """A network that takes a `torch_geometric` `Batch` and returns the energy of each structure [B], or (energy, forces).

    The batch holds z, pos, cell, batch, edge_index, edge_shift and edge_vec, in Å and the network's own precision, all periodic
    images within its `cutoff` among the edges. Energies in eV [B], [B,1] or, for a single structure, []. Forces and stress are
    derivatives of the energy by positions and strain, through whichever of pos, cell and edge_vec the network reads; a network
    with `conservative = False` returns forces [N,3] in eV/Å as well. `elements` and `claims` are taken over where it has them.
    """

    symmetry = "not stated"

    def __init__(self, network: nn.Module) -> None:
        super().__init__(cutoff_of(network))
        require_batch(network)
        self.network = network
        self.name = type(network).__name__
        elements = getattr(network, "elements", None)
        self.elements = None if elements is None else tuple(int(z) for z in elements)
        for own in ("claims", "symmetry"):
            if isinstance(found := getattr(network, own, None), (Claims, str)):
                setattr(self, own, found)

    def _predict(self, graph: AtomGraph, stress: bool, create_graph: bool, network: Any) -> Prediction:
        with torch.enable_grad(), network:
            pos = graph.pos.detach().clone().requires_grad_()
            strain = graph.cell.new_zeros(graph.cell.shape).requires_grad_(stress)
            energy = self._energies(self.network(self._batch(graph, pos, strain)), graph)
            if not energy.requires_grad:  # an energy that does not depend on the positions: no force
                return Prediction(energy, torch.zeros_like(pos), torch.zeros_like(strain) if stress else None)
            by = [pos, strain] if stress else [pos]
            found = torch.autograd.grad(energy.sum(), by, create_graph=create_graph, materialize_grads=True)
        virial = None
        if stress:
            virial = found[1] / torch.linalg.det(graph.cell).abs().view(-1, 1, 1)
        forces = -found[0]
        if create_graph:
            return Prediction(energy, forces, virial)
        return Prediction(energy.detach(), forces.detach(), None if virial is None else virial.detach())

    def _batch(self, graph: AtomGraph, pos: Tensor, strain: Tensor) -> Any:
        """The batch of a strained graph; vectors are computed in the precision of the positions and rounded to the network's."""
        from torch_geometric.data import Batch

        symmetric = 0.5 * (strain + strain.transpose(1, 2))
        moved = pos + torch.bmm(pos.unsqueeze(1), symmetric[graph.batch]).squeeze(1)
        data = replace(
            graph, pos=moved, cell=graph.cell + graph.cell @ symmetric, energy=None, forces=None, vectors=None
        ).to_pyg()
        data = data if isinstance(data, Batch) else Batch.from_data_list([data])
        for key in ("pos", "cell", "edge_shift", "edge_vec"):
            data[key] = data[key].to(self.dtype)
        return data

    def _energies(self, answer: Any, graph: AtomGraph) -> Tensor:
        """Energies [B] in double precision from what the network returned; NotAForceField for anything else."""
        if isinstance(answer, tuple):
            raise NotAForceField(
                f"{self.name} returns {len(answer)} things: for energy and forces write `conservative = False` in the class, "
                "else return the energies alone"
            )
        energy = answer if isinstance(answer, Tensor) else None
        if energy is None or energy.numel() != graph.n_graphs:
            seen = f"a tensor {list(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise NotAForceField(
                f"{self.name} returns {seen} for {graph.n_graphs} structures of {len(graph.z)} atoms; return one energy in eV "
                "for each structure, for instance global_add_pool(atomic_energies, data.batch)"
            )
        return energy.reshape(-1).double()


class DirectPyGField(PyGField):
    """The same for a network that predicts forces of its own, which are not the gradient of its energy."""

    conservative = False

    def _predict(self, graph: AtomGraph, stress: bool, create_graph: bool, network: Any) -> Prediction:
        with torch.set_grad_enabled(create_graph), network:
            pos, strain = graph.pos, torch.zeros_like(graph.cell)
            answer = self.network(self._batch(graph, pos, strain))
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise NotAForceField(f"{self.name} says `conservative = False` and returns no pair of (energy [B], forces [N,3])")
        energy, forces = self._energies(answer[0], graph), answer[1]
        if not isinstance(forces, Tensor) or forces.shape != graph.pos.shape:
            seen = list(forces.shape) if isinstance(forces, Tensor) else type(forces).__name__
            raise NotAForceField(f"{self.name} returns forces {seen} for {len(graph.z)} atoms; return [N,3] in eV/Å")
        return Prediction(energy, forces)


def pyg_field(network: nn.Module) -> PyGField:
    """A network as a force field; NotAForceField says what it lacks."""
    return PyGField(network) if getattr(network, "conservative", True) else DirectPyGField(network)


def cutoff_of(network: nn.Module) -> float:
    """Å, within which a network wants its neighbours."""
    cutoff = getattr(network, "cutoff", None)
    if isinstance(cutoff, Tensor) and cutoff.numel() == 1:
        cutoff = float(cutoff)
    if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float)) or not cutoff > 0:
        name, seen = type(network).__name__, "no cutoff" if cutoff is None else f"cutoff = {cutoff!r}"
        raise NotAForceField(f"{name} has {seen}; set `self.cutoff = 5.0`, the radius in Å within which it wants neighbours")
    return float(cutoff)


def require_batch(network: nn.Module) -> None:
    """NotAForceField for a network whose `forward` takes anything but one batch."""
    name, needed = type(network).__name__, []
    if "forward" not in {key for cls in type(network).__mro__[:-1] if cls is not nn.Module for key in vars(cls)}:
        raise NotAForceField(f"{name} has no forward; write forward(self, data) that returns one energy in eV for each structure")
    for p in inspect.signature(network.forward).parameters.values():
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            needed.append(p.name)
    if len(needed) != 1:
        blind = "; without edges it would not see periodic images" if {"z", "pos"} <= set(needed) else ""
        raise NotAForceField(
            f"{name}.forward takes {', '.join(needed) or 'nothing'}{blind}: write forward(self, data), where data holds {FIELDS}"
        )
