"""Energy and forces of all replicas at given positions: where the engine meets a force field."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from grannfield.all_pairs import AllPairs
from grannfield.candidates import Candidates
from grannfield.compiled import Mode, chosen, compiled
from grannfield.forcefield import ForceField, Prediction
from grannfield.graph import AtomGraph
from grannfield.md.state import MDState
from grannfield.memory import keep_freed_memory
from grannfield.neighbors import neighbor_graph

HEADROOM = 1.4
"""Columns of a fixed neighbour matrix, relative to the widest row at the start: crowding beyond that is a collapse."""


class Evaluate:
    """Energies [R] in eV and forces [R,n,3] in eV/Å of replicas at positions [R,n,3], by one batched prediction.

    With `fixed` shapes (the default where the field is compiled, and but on the CPU) neighbours come from all pairs and nothing
    waits for the device: an atom with too many neighbours sets `overflow` [R]. Without, they come from a list of candidates.
    `mode` is that of `grannfield.compiled`. Raises UnsupportedElement at once.
    """

    def __init__(
        self,
        field: ForceField,
        state: MDState,
        pbc: np.ndarray | bool = True,
        *,
        fixed: bool | None = None,
        mode: Mode = "auto",
    ) -> None:
        z, periodic, device = state.z.cpu().numpy(), np.broadcast_to(np.asarray(pbc, bool), 3), state.pos.device
        field.require_elements(z)
        keep_freed_memory()
        self.field = field
        self.mode = chosen(mode, device)
        self.fixed = device.type != "cpu" or self.mode != "off" if fixed is None else fixed
        self.predict: Callable[[AtomGraph], Prediction] | None = field.predict if self.mode == "off" else None
        self.overflow = torch.zeros(state.replicas, dtype=torch.bool, device=device)
        self.search: AllPairs | Candidates
        if self.fixed:
            start = neighbor_graph(z, state.pos[0].cpu().numpy(), state.cell[0].cpu().numpy(), field.cutoff, periodic)
            capacity = 8 * int(np.ceil(HEADROOM * start.neighbors.shape[1] / 8))
            self.search = AllPairs(z, state.cell, field.cutoff, periodic, capacity=capacity)
        else:
            self.search = Candidates(z, state.cell, field.cutoff, periodic)

    def __call__(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        graph = self.search(pos)
        if graph.overflow is not None:
            self.overflow = graph.overflow
        if self.predict is None:
            self.predict = compiled(self.field, graph, mode=self.mode)
        prediction = self.predict(graph)
        return prediction.energy, prediction.forces.double().view(pos.shape)
