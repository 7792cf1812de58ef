"""Neighbour search under periodic boundaries, right for any cell and any position.

Every ordered pair (i, j, S) with 0.01 Å < |r_j + S·A - r_i| <= cutoff is found, whatever the cell's shape or thickness
and wherever the atoms have wandered; i = j with S != 0 and several images of one neighbour are edges of their own.
`vesin` (https://doi.org/10.5281/zenodo.17669523) searches on the CPU; `AllPairs` searches whole batches of replicas with
fixed shapes and without host synchronisation on any device, and where vesin is not installed.
"""

from __future__ import annotations

from functools import cache
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.all_pairs import SHORTEST, AllPairs, complete, images_needed
from grannfield.graph import AtomGraph, collate

__all__ = [
    "AllPairs",
    "NeighborOverflow",
    "brute_force",
    "graph_from_edges",
    "half_list",
    "images_needed",
    "neighbor_graph",
    "replica_graph",
]


class NeighborOverflow(RuntimeError):
    """An atom has more neighbours than the matrix has columns; neighbours are never dropped silently."""


def neighbor_graph(
    z: np.ndarray,
    pos: np.ndarray | Tensor,
    cell: np.ndarray | Tensor,
    cutoff: float,
    pbc: Any = True,
    *,
    capacity: int | None = None,
    max_neighbors: int | None = None,
    energy: float | None = None,
    forces: np.ndarray | None = None,
) -> AtomGraph:
    """The graph of one structure: z [N], pos [N,3] Å (wrapped or not), cell [3,3] Å, cutoff Å, pbc bool or [3].

    capacity: columns of the neighbour matrix (default: as many as needed); NeighborOverflow when an atom has more.
    max_neighbors: keep only that many nearest per atom, as the paper's package does; the graph may become asymmetric.
    ValueError for non-finite positions, a singular periodic cell or a cut-off that is not positive.
    """
    z, pos, cell, pbc = _checked(z, pos, cell, cutoff, pbc)
    i, j, shift = half_list(pos, cell, pbc, cutoff)
    n_pairs = len(i)
    i, j, shift = np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([shift, -shift])
    partner = np.concatenate([np.arange(n_pairs) + n_pairs, np.arange(n_pairs)])
    if max_neighbors is not None and n_pairs:
        length = np.linalg.norm(pos[j] + shift @ cell - pos[i], axis=1)
        keep = np.sort(np.lexsort((length, i))[_rank_in_row(np.sort(i), len(pos)) < max_neighbors])
        i, j, shift = i[keep], j[keep], shift[keep]
        partner = _partners(i, j, shift)
    return _assemble(z, pos, cell, pbc, cutoff, i, j, shift, partner, capacity, energy, forces)


def graph_from_edges(
    z: np.ndarray,
    pos: np.ndarray,
    cell: np.ndarray,
    cutoff: float,
    i: np.ndarray,
    j: np.ndarray,
    shift: np.ndarray,
    pbc: Any = True,
) -> AtomGraph:
    """The graph of given directed edges: i [E] centres, j [E] neighbours, shift [E,3] lattice vectors crossed."""
    z, pos, cell, pbc = _checked(z, pos, cell, cutoff, pbc)
    i, j, shift = np.asarray(i), np.asarray(j), np.asarray(shift, float)
    return _assemble(z, pos, cell, pbc, cutoff, i, j, shift, _partners(i, j, shift), None, None, None)


def half_list(pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each unordered pair once: i [P], j [P], shift [P,3]. By vesin, or by brute force where it is not installed."""
    search = _vesin(cutoff, get_ident())
    cell = complete(torch.tensor(cell)[None], pbc)[0].numpy()
    if search is None:
        graph = brute_force(np.ones(len(pos)), torch.tensor(pos)[None], torch.tensor(cell)[None], cutoff, pbc)
        slot = graph.pair_slots[:, 0]
        k = graph.neighbors.shape[1]
        i, j, shift = slot // k, graph.neighbors.view(-1)[slot], graph.shift.view(-1, 3)[slot]
        return i.numpy(), j.numpy(), shift.numpy()
    i, j, shift, length = search.compute(pos, cell, [bool(x) for x in pbc], "ijSd")
    real = (length > SHORTEST) & (length <= cutoff)
    return i[real].astype(np.int64), j[real].astype(np.int64), shift[real].astype(np.float64)


@cache
def _vesin(cutoff: float, thread: int) -> Any:
    """A search of a thread's own: it keeps its lists from call to call, and two threads in one end the process."""
    try:
        import vesin
    except ImportError:
        return None
    # vesin leaves out pairs at exactly the cut-off, which a cell as thick as the cut-off has; they belong to the graph.
    return vesin.NeighborList(cutoff=cutoff * (1 + 1e-9), full_list=False, n_threads=1)


def brute_force(
    z: Any,
    pos: Tensor,
    cell: Tensor,
    cutoff: float,
    pbc: Any = True,
    *,
    capacity: int | None = None,
    images: Tensor | None = None,
) -> AtomGraph:
    """The graph of R replicas of n atoms by testing all pairs and images once: z [n], pos [R,n,3] Å, cell [R,3,3] Å.

    `AllPairs` makes the constants once for many searches.
    """
    return AllPairs(z, cell, cutoff, pbc, capacity=capacity, images=images)(pos)


def replica_graph(z: np.ndarray, pos: Tensor, cell: Tensor, cutoff: float, pbc: Any = True) -> AtomGraph:
    """The graph of R replicas on the CPU, each searched by `neighbor_graph`: pos [R,n,3], cell [R,3,3]."""
    return collate([neighbor_graph(z, p, c, cutoff, pbc) for p, c in zip(pos, cell, strict=True)])


def _checked(z: Any, pos: Any, cell: Any, cutoff: float, pbc: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    z, pos = np.asarray(z, np.int64), np.asarray(pos, np.float64)
    cell, periodic = np.asarray(cell, np.float64), np.broadcast_to(np.asarray(pbc, bool), 3)
    if not cutoff > 0:
        raise ValueError(f"the cut-off must be positive, in Å; it is {cutoff!r}")
    if pos.shape != (len(z), 3) or cell.shape != (3, 3):
        raise ValueError(f"positions {pos.shape} and cell {cell.shape} should be ({len(z)}, 3) and (3, 3)")
    if not np.isfinite(pos).all():
        atom = int(np.argmin(np.isfinite(pos).all(axis=1)))
        raise ValueError(f"the position of atom {atom} is {pos[atom].tolist()}; NaN or infinity has no neighbours")
    return z, pos, cell, periodic


def _rank_in_row(sorted_rows: np.ndarray, n: int) -> np.ndarray:
    """Position of each entry within its run of equal, sorted row numbers."""
    start = np.searchsorted(sorted_rows, np.arange(n))
    return np.arange(len(sorted_rows)) - start[sorted_rows]


def _partners(i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Number of the reverse edge of every edge, -1 where there is none."""
    numbers = {edge: e for e, edge in enumerate(zip(i.tolist(), j.tolist(), map(tuple, shift.astype(int).tolist()), strict=True))}
    back = zip(j.tolist(), i.tolist(), map(tuple, (-shift).astype(int).tolist()), strict=True)
    return np.array([numbers.get(edge, -1) for edge in back], dtype=np.int64)


def _assemble(
    z: np.ndarray,
    pos: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    cutoff: float,
    i: np.ndarray,
    j: np.ndarray,
    shift: np.ndarray,
    partner: np.ndarray,
    capacity: int | None,
    energy: float | None,
    forces: np.ndarray | None,
) -> AtomGraph:
    n, e = len(z), len(i)
    order = np.argsort(i, kind="stable")
    rank = np.empty(e, np.int64)
    rank[order] = _rank_in_row(i[order], n)
    widest = int(rank.max(initial=-1)) + 1
    k = max(1, widest) if capacity is None else capacity
    if widest > k:
        atom = int(i[rank.argmax()])
        raise NeighborOverflow(
            f"atom {atom} has {widest} neighbours within {cutoff:g} Å, more than the capacity of {k}; atoms may have "
            "collapsed onto each other, otherwise raise the capacity"
        )
    slot = i * k + rank
    neighbors = np.repeat(np.arange(n)[:, None], k, axis=1)
    shifts, mask = np.zeros((n, k, 3)), np.zeros((n, k), bool)
    reverse = np.arange(n * k)
    neighbors.reshape(-1)[slot], shifts.reshape(-1, 3)[slot], mask.reshape(-1)[slot] = j, shift, True
    back = np.where(partner >= 0, slot[partner], -1) if e else slot
    reverse[slot] = back
    first = (back < 0) | (slot < back)
    pair_slots = np.stack([slot[first], back[first]], axis=1)
    pair = np.full(n * k, len(pair_slots))
    pair[pair_slots[:, 0]] = np.arange(len(pair_slots))
    two = pair_slots[:, 1] >= 0
    pair[pair_slots[two, 1]] = np.flatnonzero(two)
    return AtomGraph(
        z=torch.tensor(z),
        pos=torch.tensor(pos),
        cell=torch.tensor(cell)[None],
        pbc=torch.from_numpy(pbc.copy())[None],
        batch=torch.zeros(n, dtype=torch.int64),
        neighbors=torch.from_numpy(neighbors),
        shift=torch.from_numpy(shifts),
        mask=torch.from_numpy(mask),
        reverse=torch.from_numpy(reverse.reshape(n, k)),
        pair=torch.from_numpy(pair.reshape(n, k)),
        pair_slots=torch.from_numpy(pair_slots),
        cutoff=float(cutoff),
        symmetric=bool((back >= 0).all()),
        atoms_per_graph=n,
        energy=None if energy is None else torch.tensor([energy], dtype=torch.float64),
        forces=None if forces is None else torch.from_numpy(np.asarray(forces, np.float64)),
    )
