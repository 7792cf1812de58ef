"""Many frames of the same atoms with their neighbours searched once: frames of a data set never move."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.progress import progress


@dataclass(frozen=True, eq=False)
class GraphSet:
    """M frames of N atoms as stacked neighbour matrices of one width, in the smallest integer types."""

    z: Tensor
    """[N]."""
    pos: Tensor
    """[M, N, 3] Å."""
    cell: Tensor
    """[M, 3, 3] Å."""
    neighbors: Tensor
    """[M, N, K], the smallest integer type that holds N."""
    shift: Tensor
    """[M, N, K, 3], int8 unless an atom is more than 127 cells away."""
    mask: Tensor
    """[M, N, K]."""
    reverse: Tensor
    """[M, N, K] int32."""
    pair: Tensor
    """[M, N, K] int32; P in padded slots."""
    pair_slots: Tensor
    """[M, P, 2] int32."""
    pair_mask: Tensor
    """[M, P]."""
    energy: Tensor
    """[M] eV."""
    forces: Tensor
    """[M, N, 3] eV/Å."""
    cutoff: float

    def __len__(self) -> int:
        return int(self.pos.shape[0])

    @classmethod
    def build(
        cls,
        z: np.ndarray,
        pos: np.ndarray,
        cell: np.ndarray,
        cutoff: float,
        energy: np.ndarray | None = None,
        forces: np.ndarray | None = None,
    ) -> GraphSet:
        """Search all frames: z [N], pos [M,N,3] Å, cell [M,3,3] Å; labels are zero where not given."""
        graphs = []
        with progress(len(pos), "neighbours", "frames") as bar:
            for p, c in zip(pos, cell, strict=True):
                graphs.append(neighbor_graph(z, p, c, cutoff))
                bar.update(1)
        m, n = len(graphs), len(z)
        k = max(g.neighbors.shape[1] for g in graphs)
        n_pairs = max(len(g.pair_slots) for g in graphs)
        index, crossed = _smallest(n), _smallest(max(int(g.shift.abs().max()) for g in graphs))
        own = torch.arange(n).view(n, 1)
        slots = torch.arange(n * k).view(n, k)
        arrays = {
            "neighbors": own.expand(n, k).to(index).repeat(m, 1, 1),
            "shift": torch.zeros(m, n, k, 3, dtype=crossed),
            "mask": torch.zeros(m, n, k, dtype=torch.bool),
            "reverse": slots.to(torch.int32).repeat(m, 1, 1),
            "pair": torch.full((m, n, k), n_pairs, dtype=torch.int32),
            "pair_slots": torch.zeros(m, n_pairs, 2, dtype=torch.int32),
            "pair_mask": torch.zeros(m, n_pairs, dtype=torch.bool),
        }
        for f, g in enumerate(graphs):
            width, pairs = g.neighbors.shape[1], len(g.pair_slots)
            widen = lambda s, width=width: s // width * k + s % width  # noqa: E731
            arrays["neighbors"][f, :, :width] = g.neighbors.to(index)
            arrays["shift"][f, :, :width] = g.shift.to(crossed)
            arrays["mask"][f, :, :width] = g.mask
            arrays["reverse"][f, :, :width] = widen(g.reverse).to(torch.int32)
            arrays["pair"][f, :, :width] = torch.where(g.mask, g.pair, n_pairs).to(torch.int32)
            arrays["pair_slots"][f, :pairs] = widen(g.pair_slots).to(torch.int32)
            arrays["pair_mask"][f, :pairs] = True
        return cls(
            z=torch.tensor(np.asarray(z), dtype=torch.int64),
            pos=torch.tensor(np.asarray(pos), dtype=torch.float64),
            cell=torch.tensor(np.asarray(cell), dtype=torch.float64),
            energy=torch.zeros(m, dtype=torch.float64) if energy is None else torch.tensor(np.asarray(energy, dtype=float)),
            forces=torch.zeros(m, n, 3, dtype=torch.float64) if forces is None else torch.tensor(np.asarray(forces, dtype=float)),
            cutoff=cutoff,
            neighbors=arrays["neighbors"],
            shift=arrays["shift"],
            mask=arrays["mask"],
            reverse=arrays["reverse"],
            pair=arrays["pair"],
            pair_slots=arrays["pair_slots"],
            pair_mask=arrays["pair_mask"],
        )

    def to(self, device: str) -> GraphSet:
        """The whole set on a device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "cutoff"}
        return GraphSet(**moved, cutoff=self.cutoff)

    def batch(self, frames: Tensor | np.ndarray | slice) -> AtomGraph:
        """Some frames as one graph, labels included."""
        index = torch.arange(len(self))[frames] if isinstance(frames, slice) else torch.as_tensor(frames)
        index = index.to(self.pos.device)
        b, (n, k), p = len(index), self.neighbors.shape[1:], self.pair_slots.shape[1]
        number = torch.arange(b, device=index.device)
        per_matrix = number.view(b, 1, 1)
        pick = lambda x: x.index_select(0, index)  # noqa: E731
        pair = pick(self.pair).long()
        return AtomGraph(
            z=self.z.repeat(b),
            pos=pick(self.pos).view(b * n, 3),
            cell=pick(self.cell),
            pbc=torch.ones(b, 3, dtype=torch.bool, device=index.device),
            batch=number.repeat_interleave(n, output_size=b * n),
            neighbors=(pick(self.neighbors).long() + per_matrix * n).view(b * n, k),
            shift=pick(self.shift).to(self.pos.dtype).view(b * n, k, 3),
            mask=pick(self.mask).view(b * n, k),
            reverse=(pick(self.reverse).long() + per_matrix * (n * k)).view(b * n, k),
            pair=torch.where(pair == p, b * p, pair + per_matrix * p).view(b * n, k),
            pair_slots=(pick(self.pair_slots).long() + per_matrix * (n * k)).view(b * p, 2),
            pair_mask=pick(self.pair_mask).view(b * p),
            cutoff=self.cutoff,
            atoms_per_graph=n,
            energy=pick(self.energy),
            forces=pick(self.forces).view(b * n, 3),
        )


def _smallest(largest: int) -> torch.dtype:
    """The smallest integer type that holds a number."""
    return next(dtype for dtype in (torch.int8, torch.int16, torch.int32, torch.int64) if largest <= torch.iinfo(dtype).max)
