"""Neighbour search that tests every pair and image: fixed shapes, no host synchronisation, constants made once."""

from __future__ import annotations

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
        self.inverse = torch.linalg.inv(full)
        self.periodic = None if periodic.all() else torch.tensor(periodic, dtype=cell.dtype, device=cell.device)
        self._number(np.asarray(z), periodic)

    def _number(self, z: np.ndarray, periodic: np.ndarray) -> None:
        """Constants that depend on the number of atoms."""
        r, n, m, device = len(self.cell), len(z), len(self.images), self.cell.device
        self.z = torch.as_tensor(z, dtype=torch.int64, device=device).repeat(r)
        self.pbc = torch.tensor(periodic, device=device).expand(r, 3)
        self.batch = torch.arange(r, device=device).repeat_interleave(n, output_size=r * n)
        self.own = torch.arange(r * n, device=device).view(r, n, 1)
        self.first_atom = torch.arange(r, device=device).view(r, 1, 1) * n
        self.candidates = torch.arange(n * m, device=device).expand(r, n, n * m)
        # Where candidate (atom i, image) stands in the rows of atom j: row j * (n m) + i m + (m - 1 - image).
        self.back = (self.own - self.first_atom) * m + (m - 1) + self.first_atom * (n * m)

    def __call__(self, pos: Tensor) -> AtomGraph:
        (r, n), m = pos.shape[:2], len(self.images)
        nearest, near = self._near(pos)
        rank = near.view(r, n, n * m).cumsum(-1)  # 1 for the first neighbour
        count = rank[..., -1:]
        k = max(1, int(count.max())) if self.capacity is None else self.capacity
        columns = torch.arange(1, k + 1, device=pos.device)
        chosen = self._chosen(near.view_as(rank), rank, k)
        mask = columns <= count
        j = chosen.div(m, rounding_mode="floor")
        image = chosen - j * m
        atom = j + self.first_atom
        shift = nearest.view(-1, 3).index_select(0, (self.own * n + j).view(-1)) + self.images.index_select(0, image.view(-1))
        rank_back = rank.view(-1).index_select(0, (self.back - image + j * (n * m)).view(-1)).view_as(j)
        slots = torch.arange(r * n * k, device=pos.device).view(r, n, k)
        reverse = torch.where(mask, atom * k + rank_back.clamp(max=k) - 1, slots)
        pair, pair_slots, number = _pairs(mask, slots, reverse, None if self.capacity is None else r * (n * k // 2))
        return AtomGraph(
            z=self.z,
            pos=pos.reshape(r * n, 3),
            cell=self.cell,
            pbc=self.pbc,
            batch=self.batch,
            neighbors=torch.where(mask, atom, self.own).view(r * n, k),
            shift=shift.view(r * n, k, 3) * mask.view(r * n, k, 1),
            mask=mask.view(r * n, k),
            reverse=reverse.view(r * n, k),
            pair=pair.view(r * n, k),
            pair_slots=pair_slots,
            cutoff=self.cutoff,
            atoms_per_graph=n,
            pair_mask=None if self.capacity is None else torch.arange(len(pair_slots), device=pos.device) < number,
            overflow=None if self.capacity is None else (count > k).view(r, n).any(dim=1),
        )

    def _near(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Lattice vectors [R, n, n, 3] to the nearest image of j from i, and which images [R, n, n, M] are neighbours."""
        r, n = pos.shape[:2]
        fractional = pos @ self.inverse
        nearest = torch.round(fractional.unsqueeze(2) - fractional.unsqueeze(1))
        if self.periodic is not None:
            nearest = nearest * self.periodic
        between = (pos.unsqueeze(1) - pos.unsqueeze(2)).view(r, n * n, 3)
        base = torch.baddbmm(between, nearest.view(r, n * n, 3), self.full).view(r, n, n, 1, 3)
        squared = (base + self.crossed).square().sum(-1)
        return nearest, (squared <= self.cutoff**2) & (squared > SHORTEST**2)

    def _chosen(self, near: Tensor, rank: Tensor, k: int) -> Tensor:
        """Numbers of the first k candidates [R, n, k] that are neighbours; 0 in unused columns."""
        place = torch.where(near & (rank <= k), rank, 0)  # column 0 takes all others
        chosen = torch.zeros(*rank.shape[:2], k + 1, dtype=torch.int64, device=rank.device)
        return chosen.scatter_(2, place, self.candidates)[..., 1:]


def _pairs(mask: Tensor, slots: Tensor, reverse: Tensor, n_pairs: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Number of the pair of every slot, both slots of every pair [P, 2], and how many pairs there are."""
    first = mask & (slots < reverse)
    running = first.view(-1).cumsum(0)  # 1 for the first pair
    n_pairs = int(running[-1]) if n_pairs is None else n_pairs
    of_slot = torch.where(first.view(-1), running, running.index_select(0, reverse.view(-1))) - 1
    pair = torch.where(mask.view(-1), of_slot, n_pairs)
    place = (running * first.view(-1)).clamp(max=n_pairs)  # row 0 takes the slots that are no pair's first
    pair_slots = torch.zeros(n_pairs + 1, 2, dtype=torch.int64, device=mask.device)
    both = torch.stack([slots.view(-1), reverse.view(-1)], dim=1)
    return pair, pair_slots.scatter_(0, place.unsqueeze(1).expand(-1, 2), both)[1:], running[-1]


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
