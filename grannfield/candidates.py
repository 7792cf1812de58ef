"""Neighbour search for atoms that move a little at a time, on the CPU: candidates are searched rarely, sorted out each step.

Pairs within the cut-off and a skin are found by `half_list` and kept until an atom has moved half the skin (positions are
unwrapped, so no image is needed to say how far); at every call those within the cut-off, and no others, become the graph. Its
rows are in the order of neighbour and image, whenever the candidates were found: motion continued from a file repeats itself
bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.all_pairs import SHORTEST, complete, images_needed
from grannfield.graph import AtomGraph
from grannfield.loops import candidate_rows, compiled_loop, filled_rows, strayed
from grannfield.neighbors import half_list

SKIN = 1.0
"""Å. Atoms at 1000 K take about 50 steps of 2 fs to move half of it; a wider one makes every step dearer."""
LOOP_SKIN = 1.5
"""Å, where a compiled loop sorts the candidates out, which makes a step less dear."""

SMALL = 2_000_000
"""Pairs of atoms and images of a replica up to which looking at all of them takes less time than a search."""


class Candidates:
    """The graphs of R replicas of n atoms in fixed cells: z [n], cell [R,3,3] Å; called with pos [R,n,3] Å on the CPU.

    ValueError for a position that is not finite.
    """

    def __init__(self, z: Any, cell: Tensor, cutoff: float, pbc: Any = True, skin: float | None = None) -> None:
        self.strayed, self.filled, self.listed = (compiled_loop(loop) for loop in (strayed, filled_rows, candidate_rows))
        self.cutoff, self.skin = float(cutoff), (SKIN if self.filled is None else LOOP_SKIN) if skin is None else float(skin)
        self.periodic = np.broadcast_to(np.asarray(pbc, bool), 3).copy()
        r, n = len(cell), len(z)
        self.cell, self.n = cell, n
        self.z = torch.as_tensor(np.asarray(z), dtype=torch.int64).repeat(r)
        self.pbc = torch.from_numpy(self.periodic).expand(r, 3)
        self.batch = torch.arange(r).repeat_interleave(n)
        self.full = complete(cell, self.periodic)
        self.images = images_needed(self.full, self.cutoff + self.skin, self.periodic).numpy()
        self.found: _Found | _Listed | None = None
        self.still: dict[str, Any] | None = None
        """What all its graphs share."""

    def __call__(self, pos: Tensor) -> AtomGraph:
        x = pos.reshape(-1, 3).numpy()
        found = self.found
        if self.strayed is not None and self.filled is not None:
            if found is None or not self.strayed(x, found.pos) <= (0.5 * self.skin) ** 2:
                found = self.found = self._listed(pos.numpy()) or self._search(pos.numpy())
            matrices = self.filled(x, *found.for_loop, self.cutoff, SHORTEST)
            return self._of(pos, *(torch.from_numpy(matrix) for matrix in matrices))
        if not isinstance(found, _Found) or not found.holds(x, 0.5 * self.skin):
            found = self.found = self._search(pos.numpy())
        vectors = x.take(found.j, axis=0) - x.take(found.i, axis=0) + found.across
        squared = np.einsum("pc,pc->p", vectors, vectors)
        return self._graph(pos, found, vectors, (squared <= self.cutoff**2) & (squared > SHORTEST**2))

    def _listed(self, pos: np.ndarray) -> _Listed | None:
        """The candidates of small cells, by a compiled loop over all pairs; None where that takes longer than a search.

        Also None for a position that is not finite, of which `half_list` complains.
        """
        if self.listed is None or self.n**2 * len(self.images) > SMALL or not np.isfinite(pos).all():
            return None
        cells = self.full.numpy()
        fraction = np.linalg.solve(cells.mT, pos.mT).mT * self.periodic
        flat = np.array(pos.reshape(-1, 3))
        return _Listed(flat, self.listed(flat, fraction.reshape(-1, 3), cells, self.images, self.n, self.cutoff + self.skin))

    def _search(self, pos: np.ndarray) -> _Found:
        lists = []
        for b, (p, cell) in enumerate(zip(pos, self.cell.numpy(), strict=True)):
            if not np.isfinite(p).all():
                atom = int(np.argmin(np.isfinite(p).all(axis=1)))
                raise ValueError(f"the position of atom {atom} is {p[atom].tolist()}; NaN or infinity has no neighbours")
            i, j, shift = half_list(p, cell, self.periodic, self.cutoff + self.skin)
            lists.append((i + b * self.n, j + b * self.n, shift, np.full(len(i), b)))
        i, j, shift, replica = (np.concatenate(arrays) for arrays in zip(*lists, strict=True))
        return _Found.of(i, j, shift, self.cell.numpy()[replica], pos.reshape(-1, 3).copy())

    def _graph(self, pos: Tensor, found: _Found, vectors: np.ndarray, near: np.ndarray) -> AtomGraph:
        """The neighbour matrix of the pairs that are near [P]."""
        n_atoms, n_edges = len(self.z), 2 * len(near)
        pairs, edges = np.flatnonzero(near), np.flatnonzero(near.take(found.pair_of))
        row = found.row.take(edges)
        count = np.bincount(row, minlength=n_atoms)
        k = max(1, int(count.max()))
        slot = np.arange(len(row)) + (np.arange(n_atoms) * k - (count.cumsum() - count)).take(row)
        slot_of = np.empty(n_edges, np.int64)
        slot_of[edges] = slot
        held = np.repeat(np.arange(n_edges, n_edges + n_atoms), k)  # which edge, or which atom where there is none
        held[slot] = edges
        reverse = np.arange(n_atoms * k)
        reverse[slot] = slot_of.take(found.back.take(edges))
        number = near.cumsum() - 1
        pair = np.full(n_atoms * k, len(pairs))
        pair[slot] = number.take(found.pair_of.take(edges))
        both = np.concatenate([vectors, -vectors, [[self.cutoff, 0.0, 0.0]]])
        matrix = lambda flat: torch.from_numpy(flat.reshape(n_atoms, k, *flat.shape[1:]))  # noqa: E731
        return self._of(
            pos,
            neighbors=matrix(found.neighbor.take(held)),
            shift=matrix(found.shift.take(held, axis=0)),
            mask=matrix(held < n_edges),
            reverse=matrix(reverse),
            pair=matrix(pair),
            pair_slots=torch.from_numpy(slot_of.take(found.edges_of.take(pairs, axis=0))),
            vectors=matrix(both.take(found.vector.take(held), axis=0)),
        )

    def _of(
        self,
        pos: Tensor,
        neighbors: Tensor,
        shift: Tensor,
        mask: Tensor,
        reverse: Tensor,
        pair: Tensor,
        pair_slots: Tensor,
        vectors: Tensor,
    ) -> AtomGraph:
        moving: dict[str, Any] = {
            "pos": pos.reshape(-1, 3),
            "neighbors": neighbors,
            "shift": shift,
            "mask": mask,
            "reverse": reverse,
        }
        moving |= {"pair": pair, "pair_slots": pair_slots, "vectors": vectors}
        if self.still is None:
            still: dict[str, Any] = {"z": self.z, "cell": self.cell, "pbc": self.pbc, "batch": self.batch, "cutoff": self.cutoff}
            graph = AtomGraph(**still, **moving, atoms_per_graph=self.n)
            self.still = {f.name: getattr(graph, f.name) for f in fields(graph) if f.name not in moving}
            return graph
        graph = object.__new__(AtomGraph)  # calling the class takes 10 µs more, as long as one of its operations
        graph.__dict__.update(self.still, **moving)
        return graph


@dataclass(frozen=True, eq=False)
class _Listed:
    """Candidates from `loops.candidate_rows`."""

    pos: np.ndarray
    """[N, 3] Å, where the atoms were."""
    for_loop: tuple[np.ndarray, ...]
    """What `loops.filled_rows` takes."""


@dataclass(frozen=True, eq=False)
class _Found:
    """P candidate pairs, and the 2P edges they make, sorted by centre, neighbour and image."""

    pos: np.ndarray
    """[N, 3] Å, where the atoms were."""
    i: np.ndarray
    j: np.ndarray
    """[P] the atoms of each pair, those of its first edge."""
    across: np.ndarray
    """[P, 3] Å, lattice vectors crossed from i to j."""
    edges_of: np.ndarray
    """[P, 2] both edges of each pair."""
    row: np.ndarray
    """[2P] centre of each edge."""
    pair_of: np.ndarray
    """[2P] pair of each edge."""
    vector: np.ndarray
    """[2P + N] where the vector of each edge stands among those of the pairs, their opposites, and the one of padded slots."""
    back: np.ndarray
    """[2P] the opposite edge."""
    neighbor: np.ndarray
    """[2P + N] neighbour of each edge, then the atoms themselves."""
    shift: np.ndarray
    """[2P + N, 3] lattice vectors crossed by each edge, zero for the atoms themselves."""

    @classmethod
    def of(cls, i: np.ndarray, j: np.ndarray, shift: np.ndarray, cell: np.ndarray, pos: np.ndarray) -> _Found:
        p, n_atoms = len(i), len(pos)
        row, neighbor = np.concatenate([i, j]), np.concatenate([j, i])
        crossed, cells = np.concatenate([shift, -shift]), np.concatenate([cell, cell])
        order = np.lexsort((crossed[:, 2], crossed[:, 1], crossed[:, 0], neighbor, row))
        place = np.empty(2 * p, np.int64)
        place[order] = np.arange(2 * p)
        back = place[(order + p) % (2 * p)] if p else place
        row, neighbor, crossed, cells = row[order], neighbor[order], crossed[order] + 0.0, cells[order]
        first = np.arange(2 * p) < back
        pair_of = np.empty(2 * p, np.int64)
        pair_of[first] = np.arange(p)
        pair_of[~first] = pair_of[back[~first]]
        one = np.flatnonzero(first)
        s, a = crossed[one], cells[one]
        return cls(
            pos=pos,
            i=row[one],
            j=neighbor[one],
            # Written out, because the rounding of a matrix product may depend on how many rows it has.
            across=s[:, :1] * a[:, 0] + s[:, 1:2] * a[:, 1] + s[:, 2:] * a[:, 2],
            edges_of=np.stack([one, back[one]], axis=1),
            row=row,
            pair_of=pair_of,
            vector=np.concatenate([np.where(first, pair_of, pair_of + p), np.full(n_atoms, 2 * p)]),
            back=back,
            neighbor=np.concatenate([neighbor, np.arange(n_atoms)]),
            shift=np.concatenate([crossed, np.zeros((n_atoms, 3))]),
        )

    @cached_property
    def for_loop(self) -> tuple[np.ndarray, ...]:
        """The same for `loops.filled_rows`, in as few bytes: after a network's evaluation all of it comes from memory."""
        n_atoms, small = len(self.pos), np.int32
        starts = np.searchsorted(self.row, np.arange(n_atoms + 1)).astype(small)
        edges = len(self.row)
        return (
            np.stack([self.i, self.j], axis=1).astype(small),
            self.across,
            self.edges_of.astype(small),
            starts,
            self.neighbor[:edges].astype(small),
            self.pair_of.astype(small),
            self.shift[:edges].astype(np.int16),
        )

    def holds(self, pos: np.ndarray, farthest: float) -> bool:
        """Whether no atom has moved farther than that; False for NaN."""
        moved = pos - self.pos
        return bool(np.einsum("nc,nc->n", moved, moved).max(initial=0.0) <= farthest**2)
