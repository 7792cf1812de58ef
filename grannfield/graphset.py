"""Many frames of the same atoms with their neighbours searched once: frames of a data set never move."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.progress import progress

SHARE = 0.5
"""Of a device's free memory that a data set may take; the rest is for what training itself needs."""

logger = logging.getLogger("grannfield")


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
    """[M, N, K], the smallest type that holds N K."""
    pair: Tensor
    """[M, N, K], likewise; P in padded slots."""
    pair_slots: Tensor
    """[M, P, 2], likewise."""
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
        index, slot, crossed = _smallest(n), _smallest(n * k), _smallest(max(int(g.shift.abs().max()) for g in graphs))
        own = torch.arange(n).view(n, 1)
        slots = torch.arange(n * k).view(n, k)
        arrays = {
            "neighbors": own.expand(n, k).to(index).repeat(m, 1, 1),
            "shift": torch.zeros(m, n, k, 3, dtype=crossed),
            "mask": torch.zeros(m, n, k, dtype=torch.bool),
            "reverse": slots.to(slot).repeat(m, 1, 1),
            "pair": torch.full((m, n, k), n_pairs, dtype=slot),
            "pair_slots": torch.zeros(m, n_pairs, 2, dtype=slot),
            "pair_mask": torch.zeros(m, n_pairs, dtype=torch.bool),
        }
        for f, g in enumerate(graphs):
            width, pairs = g.neighbors.shape[1], len(g.pair_slots)
            widen = lambda s, width=width: s // width * k + s % width  # noqa: E731
            arrays["neighbors"][f, :, :width] = g.neighbors.to(index)
            arrays["shift"][f, :, :width] = g.shift.to(crossed)
            arrays["mask"][f, :, :width] = g.mask
            arrays["reverse"][f, :, :width] = widen(g.reverse).to(slot)
            arrays["pair"][f, :, :width] = torch.where(g.mask, g.pair, n_pairs).to(slot)
            arrays["pair_slots"][f, :pairs] = widen(g.pair_slots).to(slot)
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

    @property
    def arrays(self) -> dict[str, Tensor]:
        """All arrays by name; every one but `z` has a row for each frame."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cutoff"}

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(x.nbytes for x in self.arrays.values())

    def to(self, device: str | torch.device) -> GraphSet:
        """The whole set on a device."""
        return GraphSet(**{name: x.to(device) for name, x in self.arrays.items()}, cutoff=self.cutoff)

    def near(self, device: str | torch.device) -> GraphSet:
        """The set on the device where it fits beside the training, else in host memory that the device can read on its own."""
        device = torch.device(device)
        if device.type != "cuda":
            return self.to(device)
        free, size = torch.cuda.mem_get_info(device)[0], self.nbytes
        if size <= SHARE * free:
            return self.to(device)
        logger.warning(
            "%d frames of %.2f GiB stay on the host and are copied batch by batch: %.2f GiB are free on %s",
            len(self), size / 2**30, free / 2**30, device,
        )  # fmt: skip
        return self.pinned()

    def pinned(self) -> GraphSet:
        """The set in host memory from which a GPU copies on its own; as it is where there is no GPU."""
        pin = torch.cuda.is_available()
        return GraphSet(**{name: x.pin_memory() if pin else x for name, x in self.arrays.items()}, cutoff=self.cutoff)

    def take(self, index: Tensor) -> GraphSet:
        """Some frames as a set of their own."""
        rows = {name: x.index_select(0, index) for name, x in self.arrays.items() if name != "z"}
        return GraphSet(z=self.z, **rows, cutoff=self.cutoff)

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


class Loader:
    """The frames of one step, at fixed addresses on a device: what a captured step reads there does not move.

    Where the set is on the device, only the numbers of the frames are sent; else the frames themselves, through pinned memory.
    """

    def __init__(self, frames: GraphSet, device: str | torch.device, size: int, staged: bool | None = None) -> None:
        self.frames, self.index = frames, torch.arange(size, device=device)
        self.staged: GraphSet | None = None
        self.copied: torch.cuda.Event | None = None
        if staged or (staged is None and frames.pos.device != self.index.device):
            self.pinned = frames.take(torch.arange(size)).pinned()
            self.staged = GraphSet(**{k: x.to(device, copy=True) for k, x in self.pinned.arrays.items()}, cutoff=frames.cutoff)

    def load(self, chosen: np.ndarray) -> None:
        """Make these frames the present ones."""
        numbers = torch.as_tensor(chosen)
        if self.staged is None:
            self.index.copy_(numbers, non_blocking=True)
            return
        if self.copied is not None:
            self.copied.synchronize()  # the copy before this one has left the pinned memory
        for name, rows in self.pinned.arrays.items():
            if name != "z":
                torch.index_select(getattr(self.frames, name), 0, numbers, out=rows)
                getattr(self.staged, name).copy_(rows, non_blocking=True)
        if self.index.is_cuda:
            self.copied = torch.cuda.Event()
            self.copied.record()

    def graphs(self, batch_size: int) -> list[AtomGraph]:
        """The present frames as graphs of `batch_size` frames."""
        source = self.frames if self.staged is None else self.staged
        return [source.batch(part) for part in self.index.split(batch_size)]


def _smallest(largest: int) -> torch.dtype:
    """The smallest integer type that holds a number."""
    return next(dtype for dtype in (torch.int8, torch.int16, torch.int32, torch.int64) if largest <= torch.iinfo(dtype).max)
