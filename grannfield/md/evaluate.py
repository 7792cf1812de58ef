"""Energy and forces of all replicas at given positions: where the engine meets a force field."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.md.state import MDState
from grannfield.memory import keep_freed_memory
from grannfield.neighbors import AllPairs, neighbor_graph, replica_graph

HEADROOM = 1.4
"""Columns of a fixed neighbour matrix, relative to the widest row at the start: crowding beyond that is a collapse."""


class Evaluate:
    """Energies [R] in eV and forces [R,n,3] in eV/Å of replicas at positions [R,n,3], by one batched prediction.

    On the CPU each replica's neighbours are searched by vesin; elsewhere by brute force with fixed shapes, where an atom
    with too many neighbours sets `overflow` [R] instead of raising. Raises UnsupportedElement at once.
    """

    def __init__(self, field: ForceField, state: MDState, pbc: np.ndarray | bool = True) -> None:
        field.require_elements(state.z.cpu().numpy())
        keep_freed_memory()
        self.field = field
        self.z = state.z.cpu().numpy()
        self.cell = state.cell
        self.pbc = np.broadcast_to(np.asarray(pbc, bool), 3)
        self.fixed = state.pos.device.type != "cpu"
        self.overflow = torch.zeros(state.replicas, dtype=torch.bool, device=state.pos.device)
        if self.fixed:
            start = neighbor_graph(self.z, state.pos[0].cpu().numpy(), state.cell[0].cpu().numpy(), field.cutoff, self.pbc)
            capacity = 8 * int(np.ceil(HEADROOM * start.neighbors.shape[1] / 8))
            self.search = AllPairs(self.z, state.cell, field.cutoff, self.pbc, capacity=capacity)

    def __call__(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        if self.fixed:
            graph = self.search(pos)
            assert graph.overflow is not None
            self.overflow = graph.overflow
        else:
            graph = replica_graph(self.z, pos, self.cell, self.field.cutoff, self.pbc)
        prediction = self.field.predict(graph)
        return prediction.energy, prediction.forces.double().view(pos.shape)
