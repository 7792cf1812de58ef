"""Neighbour search that tests every pair and image: fixed shapes, no host synchronisation, constants made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.graph import AtomGraph

SHORTEST = 0.01
"""Å; atoms closer than this are taken for the same point (the rule of the paper's package)."""


class AllPairs:
    """The graphs of R replicas of n atoms in fixed cells: z [n], cell [R,3,3] Å; called with pos [R,n,3] Å.

    With `capacity` shapes are fixed, nothing synchronises with the host, and an atom with more neighbours than that sets
    `overflow` of its replica instead of raising; without, the matrix is as wide as needed. `images` are those of
    `images_needed`, found from the cells where not given.
    """

    def __init__(
        self,
        z: Any,
        cell: Tensor,
        cutoff: float,
        pbc: Any = True,
        *,
        capacity: int | None = None,
        images: Tensor | None = None,
    ) -> None:
        periodic = np.broadcast_to(np.asarray(pbc, bool), 3)
        full = complete(cell, periodic)
        if images is None:
            images = images_needed(full, cutoff, periodic)
        self.cell, self.cutoff, self.capacity, self.full = cell, float(cutoff), capacity, full
        self.images = images.to(device=cell.device, dtype=cell.dtype)
        self.crossed = (self.images @ full).view(len(cell), 1, 1, len(images), 3)
        self.towards = -torch.linalg.inv(full)  # minus the fractional difference, rounded, brings j next to i
        self.periodic = None if periodic.all() else torch.tensor(periodic, dtype=cell.dtype, device=cell.device)
        self._number(np.asarray(z), periodic)

    def _number(self, z: np.ndarray, periodic: np.ndarray) -> None:
        """Constants that depend on the number of atoms; candidate c of an atom is image c mod m of atom c // m."""
        r, n, m, device = len(self.cell), len(z), len(self.images), self.cell.device
        self.z = torch.as_tensor(z, dtype=torch.int64, device=device).repeat(r)
        self.pbc = torch.tensor(periodic, device=device).expand(r, 3)
        self.batch = torch.arange(r, device=device).repeat_interleave(n, output_size=r * n)
        atom, candidate = torch.arange(r * n, device=device).view(r, n, 1), torch.arange(n * m, device=device)
        self.first_atom = torch.arange(r, device=device).view(r, 1, 1) * n
        self.row = atom * (n * m)
        """Where the candidates of each atom begin when all are counted along one line."""
        self.itself = (atom - self.first_atom) * m + m // 2
        """Each atom as its own candidate: what padded slots hold."""
        self.turned = candidate // m * (n * m) + (m - 1 - candidate % m)
        self.turned_row = self.first_atom * (n * m) + (atom - self.first_atom) * m
        """Atom i seen from its candidate c stands at turned[c] + turned_row[i] of the same line."""
        self.outside = torch.tensor([self.cutoff, 0.0, 0.0], dtype=self.cell.dtype, device=device)
        if self.capacity is not None:
            self.tables = _Tables.of(r, n, self.capacity, device)

    def __call__(self, pos: Tensor) -> AtomGraph:
        (r, n), m = pos.shape[:2], len(self.images)
        crossed, vectors, near = self._near(pos)
        rank = near.view(r, n, n * m).cumsum(-1)  # 1 for the first neighbour
        count = rank[..., -1:]
        t = _Tables.of(r, n, max(1, int(count.max())), pos.device) if self.capacity is None else self.tables
        k = t.columns.shape[-1]
        mask = t.columns <= count
        # The k-th neighbour is the first candidate of rank k; where there is none the atom itself, which is not a neighbour.
        chosen = torch.where(mask, torch.searchsorted(rank, t.columns), self.itself)
        atom = chosen.div(m, rounding_mode="floor") + self.first_atom
        line = (chosen + self.row).view(-1)
        slot_of = rank.clamp(max=k) + t.before
        turned = self.turned.index_select(0, chosen.view(-1)).view_as(chosen) + self.turned_row
        reverse = torch.where(mask, slot_of.view(-1).index_select(0, turned.view(-1)).view_as(mask), t.slots)
        pair, pair_slots, pair_mask = _pairs(mask, t, reverse, None if self.capacity is None else r * (n * k // 2))
        return AtomGraph(
            z=self.z,
            pos=pos.reshape(r * n, 3),
            cell=self.cell,
            pbc=self.pbc,
            batch=self.batch,
            neighbors=atom.view(r * n, k),
            shift=crossed.view(-1, 3).index_select(0, line).view(r * n, k, 3),
            mask=mask.view(r * n, k),
            reverse=reverse.view(r * n, k),
            pair=pair.view(r * n, k),
            pair_slots=pair_slots,
            cutoff=self.cutoff,
            atoms_per_graph=n,
            pair_mask=pair_mask,
            overflow=None if self.capacity is None else (count > k).view(r, n).any(dim=1),
            vectors=torch.where(mask.view(-1, 1), vectors.view(-1, 3).index_select(0, line), self.outside).view(r * n, k, 3),
        )

    def _near(self, pos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of every image of j seen from i, [R, n, n, M]: lattice vectors crossed, the vector, and whether it is a neighbour."""
        r, n = pos.shape[:2]
        between = (pos.unsqueeze(1) - pos.unsqueeze(2)).view(r, n * n, 3)
        nearest = torch.round(torch.bmm(between, self.towards))
        if self.periodic is not None:
            nearest = nearest * self.periodic
        vectors = torch.baddbmm(between, nearest, self.full).view(r, n, n, 1, 3) + self.crossed
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        return nearest.view(r, n, n, 1, 3) + self.images, vectors, (distance <= self.cutoff) & (distance > SHORTEST)


@dataclass(frozen=True)
class _Tables:
    """Constants that depend on the number of columns K of the neighbour matrix."""

    columns: Tensor
    """[R, n, K] 1 to K."""
    slots: Tensor
    """[R, n, K] number of every slot."""
    before: Tensor
    """[R, n, 1] number of the slot before the first of an atom."""
    pairs: Tensor
    """[R n K + 1] 0 to the number of slots."""

    @classmethod
    def of(cls, r: int, n: int, k: int, device: torch.device) -> _Tables:
        slots = torch.arange(r * n * k, device=device).view(r, n, k)
        columns = torch.arange(1, k + 1, device=device).expand(r, n, k).contiguous()
        return cls(columns, slots, slots[..., :1] - 1, torch.arange(r * n * k + 1, device=device))


def _pairs(mask: Tensor, t: _Tables, reverse: Tensor, n_pairs: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Number of the pair of every slot, both slots of every pair [P, 2], and which pairs there are where P is given."""
    last = t.slots.numel() - 1
    running = (t.slots < reverse).view(-1).cumsum(0)  # 1 for the first pair; a padded slot is its own reverse
    p = int(running[-1]) if n_pairs is None else n_pairs
    # Only a graph that overflows has more pairs than P; its numbers must stay within bounds, nothing else.
    number = running.clamp(1, p).index_select(0, torch.minimum(t.slots, reverse).view(-1)) - 1
    first = torch.searchsorted(running, t.pairs[1 : p + 1]).clamp(max=last)
    pair_slots = torch.stack([first, reverse.view(-1).index_select(0, first)], dim=1)
    pair_mask = None if n_pairs is None else t.pairs[1 : p + 1] <= running[-1]
    return torch.where(mask.view(-1), number, t.pairs[p]), pair_slots, pair_mask


def images_needed(cell: Tensor, cutoff: float, pbc: np.ndarray) -> Tensor:
    """Integer offsets [M, 3] around the nearest image that can lie within `cutoff`; offset M-1-m is minus offset m.

    The fractional difference of two atoms is brought to [-1/2, 1/2] first, so offset n matters only where
    |n| <= cutoff/height + 1/2.
    """
    height = 1.0 / torch.linalg.inv(cell.double()).norm(dim=-2)
    most = (cutoff / height + 0.5).floor().amax(dim=0).cpu().numpy().astype(int)
    spans = [np.arange(-m, m + 1) if p else np.zeros(1, int) for m, p in zip(most, pbc, strict=True)]
    return torch.tensor(np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3))


def complete(cell: Tensor, pbc: np.ndarray) -> Tensor:
    """Cells [R,3,3] with the vectors of non-periodic directions replaced by unit vectors at right angles to the others."""
    if not pbc.all():
        rows = cell.double().cpu().numpy().copy()
        for c in rows:
            for axis in np.flatnonzero(~pbc):
                others = np.delete(c, [a for a in range(3) if not pbc[a] and a >= axis], axis=0)
                c[axis] = np.linalg.svd(others)[2][-1] if len(others) else np.eye(3)[0]
        cell = torch.as_tensor(rows, dtype=cell.dtype, device=cell.device)
    elif cell.device.type == "cpu" and not (torch.linalg.det(cell).abs() > 1e-6).all():
        raise ValueError(f"a periodic cell has no volume: {cell.tolist()}; check its units (Å) or switch off pbc")
    return cell
