"""Atoms and their neighbours as rectangular arrays, and the few graph operations models are made of.

A structure's neighbours fill a matrix [N, K]: row i lists the neighbours of atom i, unused slots are padding. Sums over
neighbours are then row sums, gathers have gathers as their gradients, and nothing is scattered: results repeat bit for
bit on every device and shapes need not change during MD.

Conventions: `i` is the centre (the row), `j` the neighbour, vectors point from i to j. *Slots* are numbered i*K + k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data


@dataclass(frozen=True, eq=False)
class AtomGraph:
    """One or more periodic structures with the neighbours within `cutoff` of every atom."""

    z: Tensor
    """[N] int64 atomic numbers."""
    pos: Tensor
    """[N, 3] Å; may be of higher precision than the model that reads them."""
    cell: Tensor
    """[B, 3, 3] Å, rows are lattice vectors."""
    pbc: Tensor
    """[B, 3] bool, periodic directions."""
    batch: Tensor
    """[N] int64, structure of each atom, ascending."""
    neighbors: Tensor
    """[N, K] int64, index of j; the atom itself in padded slots."""
    shift: Tensor
    """[N, K, 3], lattice vectors crossed from i to j (dtype of `pos`, whole numbers)."""
    mask: Tensor
    """[N, K] bool, False in padded slots."""
    reverse: Tensor
    """[N, K] int64, slot of j->i; a padded slot is its own reverse; -1 where a cap left none."""
    pair: Tensor
    """[N, K] int64, number of the unordered pair a slot belongs to; P in padded slots."""
    pair_slots: Tensor
    """[P, 2] int64, the two slots of each pair (the second -1 where a cap left none)."""
    cutoff: float
    """Å. Padded slots have the vector (cutoff, 0, 0)."""
    symmetric: bool = True
    """Whether every slot has its reverse; a cap on the number of neighbours breaks this."""
    atoms_per_graph: int | None = None
    """Atoms of each structure when all have the same number, else None."""
    pair_mask: Tensor | None = None
    """[P] bool when `pair_slots` has padded rows (fixed shapes), else None."""
    energy: Tensor | None = None
    """[B] eV, label."""
    forces: Tensor | None = None
    """[N, 3] eV/Å, label."""
    overflow: Tensor | None = None
    """[B] bool, True where an atom had more neighbours than K: the graph is then wrong and the run must stop."""
    vectors: Tensor | None = None
    """[N, K, 3] Å, `edge_vectors` where the search has them already, in the precision of `pos`."""

    @property
    def n_graphs(self) -> int:
        return int(self.cell.shape[0])

    @property
    def n_edges(self) -> int:
        """Directed edges (host synchronisation on a device)."""
        return int(self.mask.sum())

    def edge_vectors(self, dtype: torch.dtype | None = None) -> Tensor:
        """Vectors [N, K, 3] in Å from i to j; computed in the precision of `pos`, returned as `dtype`."""
        if self.vectors is not None:
            return self.vectors if dtype is None else self.vectors.to(dtype)
        across = torch.bmm(self.shift, self.cell.index_select(0, self.batch))
        j = self.pos.index_select(0, self.neighbors.reshape(-1)).view(across.shape)
        vectors = j - self.pos.unsqueeze(1) + across
        outside = vectors.new_zeros(3)
        outside[0] = self.cutoff
        vectors = torch.where(self.mask.unsqueeze(-1), vectors, outside)
        return vectors if dtype is None else vectors.to(dtype)

    def to(self, device: torch.device | str | None = None) -> AtomGraph:
        """The same graph on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if torch.is_tensor(getattr(self, f.name))}
        return replace(self, **moved)

    def to_pyg(self) -> Data | Batch:
        """As `torch_geometric` data, so that any PyG model can be scored.

        `edge_index` [2, E] runs from the neighbour j (row 0) to the centre i (row 1); `edge_shift` [E, 3] and `edge_vec`
        [E, 3] follow its order; `edge_vec` is differentiable with respect to `pos`. One structure gives `Data`, more
        give `Batch`.
        """
        from torch_geometric.data import Batch, Data

        items = []
        for b in range(self.n_graphs):
            atoms = (self.batch == b).nonzero().squeeze(1)
            first = int(atoms[0])
            centre, slot = self.mask[atoms].nonzero(as_tuple=True)
            j = self.neighbors[atoms][centre, slot] - first
            shift, pos, cell = self.shift[atoms][centre, slot], self.pos[atoms], self.cell[b : b + 1]
            items.append(
                Data(
                    z=self.z[atoms],
                    pos=pos,
                    cell=cell,
                    pbc=self.pbc[b : b + 1],
                    edge_index=torch.stack([j, centre]),
                    edge_shift=shift,
                    edge_vec=pos[j] - pos[centre] + shift @ cell[0],
                    energy=None if self.energy is None else self.energy[b : b + 1],
                    forces=None if self.forces is None else self.forces[atoms],
                )
            )
        return items[0] if len(items) == 1 else Batch.from_data_list(items)


def collate(graphs: Sequence[AtomGraph]) -> AtomGraph:
    """Several graphs as one; rows are padded to the widest. ValueError when they were built for different cut-offs."""
    if len(graphs) == 1:
        return graphs[0]
    if len({g.cutoff for g in graphs}) != 1:
        raise ValueError(f"graphs of different cut-offs cannot be one batch: {sorted({g.cutoff for g in graphs})}")
    k = max(g.neighbors.shape[1] for g in graphs)
    n_pairs = sum(g.pair_slots.shape[0] for g in graphs)
    parts: dict[str, list[Tensor]] = {f.name: [] for f in fields(AtomGraph)}
    atom, pair, structure = 0, 0, 0
    for g in graphs:
        n, own = g.neighbors.shape
        own_slots = torch.arange(n * k, device=g.z.device).view(n, k)[:, own:]
        widen = lambda slots: (slots // own) * k + slots % own + atom * k  # noqa: E731, B023  (used within the loop body)
        parts["neighbors"].append(torch.cat([g.neighbors, own_slots // k], dim=1) + atom)
        parts["shift"].append(torch.nn.functional.pad(g.shift, (0, 0, 0, k - own)))
        parts["mask"].append(torch.nn.functional.pad(g.mask, (0, k - own)))
        reverse = torch.where(g.reverse < 0, -1, widen(g.reverse))
        parts["reverse"].append(torch.cat([reverse, own_slots + atom * k], dim=1))
        numbered = torch.where(g.pair == g.pair_slots.shape[0], n_pairs, g.pair + pair)
        parts["pair"].append(torch.nn.functional.pad(numbered, (0, k - own), value=n_pairs))
        parts["pair_slots"].append(torch.where(g.pair_slots < 0, -1, widen(g.pair_slots)))
        parts["batch"].append(g.batch + structure)
        for name in ("z", "pos", "cell", "pbc", "energy", "forces", "overflow"):
            if getattr(g, name) is not None:
                parts[name].append(getattr(g, name))
        atom, pair, structure = atom + n, pair + g.pair_slots.shape[0], structure + g.n_graphs
    joined: dict[str, Any] = {name: torch.cat(tensors) for name, tensors in parts.items() if tensors}
    for name in ("energy", "forces", "overflow"):
        if len(parts[name]) != len(graphs):
            joined.pop(name, None)
    if any(g.pair_mask is not None for g in graphs):
        joined["pair_mask"] = torch.cat(
            [g.mask.new_ones(len(g.pair_slots)) if g.pair_mask is None else g.pair_mask for g in graphs]
        )
    sizes = {g.atoms_per_graph for g in graphs}
    return AtomGraph(
        **joined,
        cutoff=graphs[0].cutoff,
        symmetric=all(g.symmetric for g in graphs),
        atoms_per_graph=sizes.pop() if len(sizes) == 1 else None,
    )


def neighbor_values(x: Tensor, graph: AtomGraph) -> Tensor:
    """Atom features [N, C] of the neighbours, as [N, K, C]; padded slots repeat the atom's own."""
    if graph.symmetric:
        return _Neighbors.apply(x, graph.neighbors, graph.reverse)
    return x.index_select(0, graph.neighbors.reshape(-1)).view(*graph.neighbors.shape, *x.shape[1:])


def pair_values(y: Tensor, graph: AtomGraph) -> Tensor:
    """Features [P, C] of unordered pairs placed at both of their slots, as [N, K, C]; zero in padded slots."""
    if graph.symmetric:
        return _PairToSlots.apply(y, graph.pair, graph.pair_slots, graph.pair_mask)
    return _with_empty_row(y).index_select(0, graph.pair.reshape(-1)).view(*graph.pair.shape, *y.shape[1:])


def _with_empty_row(y: Tensor) -> Tensor:
    """y [P, C] with a row of zeros at its end, where padded slots point."""
    return torch.nn.functional.pad(y, (0,) * (2 * y.dim() - 1) + (1,))


def pair_vectors(edge_vec: Tensor, graph: AtomGraph) -> Tensor:
    """One vector [P, 3] for each unordered pair (that of its first slot): for filters that depend on distance alone."""
    if graph.symmetric:
        return _PairVectors.apply(edge_vec, graph.pair, graph.pair_slots, graph.pair_mask, graph.reverse)
    return edge_vec.reshape(-1, 3).index_select(0, graph.pair_slots[:, 0])


def pair_distances(edge_vec: Tensor, graph: AtomGraph) -> Tensor:
    """Length [P + 1] in Å of each unordered pair; the cut-off in the last row, and in rows that hold no pair.

    For functions of the distance that vanish at the cut-off: rows that hold no pair then come to nothing.
    """
    if graph.symmetric:
        return _PairDistances.apply(edge_vec, graph.pair, graph.pair_slots, graph.pair_mask, graph.cutoff)
    return _with_cutoff(torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1), graph.pair_mask, graph.cutoff)


def _with_cutoff(distance: Tensor, pair_mask: Tensor | None, cutoff: float) -> Tensor:
    if pair_mask is not None:
        distance = distance.masked_fill(~pair_mask, cutoff)
    return torch.nn.functional.pad(distance, (0, 1), value=cutoff)


def reversed_values(x: Tensor, graph: AtomGraph) -> Tensor:
    """Edge features [N, K, C] of the opposite edges: slot i->j gets what slot j->i holds. Symmetric graphs only."""
    return _Reversed.apply(x, graph.reverse)


@dataclass(frozen=True, eq=False)
class Inward:
    """The edges that point at each atom: for a symmetric graph the reverses of its own."""

    slots: Tensor
    """[N, L] int64, slots whose neighbour is the atom; padded with 0."""
    mask: Tensor
    """[N, L] bool."""
    place: Tensor
    """[N, K] int64, where each slot stands in `slots`, counted along the flattened [N * L]; 0 in padded slots."""


def inward(graph: AtomGraph) -> Inward:
    """Which edges point at each atom; a cap on the number of neighbours makes them differ from the reverses of its own."""
    if graph.symmetric:
        return Inward(graph.reverse, graph.mask, graph.reverse)
    n, k = graph.neighbors.shape
    edges = graph.mask.reshape(-1).nonzero().squeeze(1)
    target = graph.neighbors.reshape(-1)[edges]
    order = torch.argsort(target, stable=True)
    edges, target = edges[order], target[order]
    count = torch.bincount(target, minlength=n)
    rank = torch.arange(len(edges), device=edges.device) - (count.cumsum(0) - count)[target]
    width = max(1, int(count.max())) if len(edges) else 1
    slots, mask = graph.reverse.new_zeros(n, width), graph.mask.new_zeros(n, width)
    slots[target, rank], mask[target, rank] = edges, True
    place = graph.reverse.new_zeros(n * k)
    place[edges] = target * width + rank
    return Inward(slots, mask, place.view(n, k))


def by_neighbor(graph: AtomGraph) -> AtomGraph:
    """The same edges with each listed by the atom it points at: a symmetric graph is its own.

    Only `neighbors`, `mask` and `pair` are those of the turned edges, enough for functions of the distance.
    """
    if graph.symmetric:
        return graph
    turned, k = inward(graph), graph.neighbors.shape[1]
    own = torch.arange(len(graph.z), device=graph.z.device).unsqueeze(1)
    pair = graph.pair.reshape(-1)[turned.slots.reshape(-1)].view_as(turned.slots)
    return replace(
        graph,
        neighbors=torch.where(turned.mask, turned.slots // k, own),
        mask=turned.mask,
        pair=torch.where(turned.mask, pair, len(graph.pair_slots)),
    )


def graph_softmax(x: Tensor, graph: AtomGraph) -> Tensor:
    """e^x over its sum over the atoms of each structure: [N] -> [N], in double precision."""
    x = x.double()
    top = x.new_full((graph.n_graphs,), -torch.inf).scatter_reduce(0, graph.batch, x.detach(), "amax")
    weight = torch.exp(x - graph_values(top, graph))
    return weight / graph_values(sum_by_graph(weight, graph), graph)


def graph_values(y: Tensor, graph: AtomGraph) -> Tensor:
    """Features [B, C] of structures placed at their atoms, as [N, C]."""
    if graph.atoms_per_graph is not None:
        wide = y.unsqueeze(1).expand(y.shape[0], graph.atoms_per_graph, *y.shape[1:])
        return wide.reshape(-1, *y.shape[1:])
    return y.index_select(0, graph.batch)


def atoms_by_graph(graph: AtomGraph) -> Tensor:
    """Number of atoms of each structure: [B], double precision."""
    return sum_by_graph(graph.pos.new_ones(graph.pos.shape[0]), graph)


def sum_by_graph(x: Tensor, graph: AtomGraph) -> Tensor:
    """Sum over the atoms of each structure: [N, ...] -> [B, ...], in double precision."""
    x = x.double()
    if graph.atoms_per_graph is not None:
        return x.view(graph.n_graphs, graph.atoms_per_graph, *x.shape[1:]).sum(dim=1)
    return x.new_zeros(graph.n_graphs, *x.shape[1:]).index_add(0, graph.batch, x)


def net_by_slot(edge_values: Tensor, graph: AtomGraph) -> Tensor:
    """Sum over an atom's slots minus the sum over the slots that point at it: [N, K, C] -> [N, C].

    With the derivative of the energy by edge vectors this is the force: moving atom i shortens its own vectors and
    lengthens those that end on it.
    """
    if graph.symmetric:
        return (edge_values - reversed_values(edge_values, graph)).sum(dim=1)
    flat = edge_values.reshape(-1, edge_values.shape[-1])
    inwards = edge_values.new_zeros(graph.z.shape[0], flat.shape[1]).index_add(0, graph.neighbors.reshape(-1), flat)
    return edge_values.sum(dim=1) - inwards


class _Neighbors(torch.autograd.Function):
    """x[j] at slot i->j. Its adjoint sums, for atom i, the slots that point at it: the reverses of its own slots."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors, reverse)
        return x.index_select(0, neighbors.reshape(-1)).view(*neighbors.shape, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _SumInwards.apply(grad, *ctx.saved_tensors), None, None


class _SumInwards(torch.autograd.Function):
    """The adjoint of `_Neighbors`, and it of this: so that second derivatives need no scatter either."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors, reverse)
        flat = grad.reshape(-1, *grad.shape[2:])
        return flat.index_select(0, reverse.reshape(-1)).view(grad.shape).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Neighbors.apply(grad, *ctx.saved_tensors), None, None


class _Reversed(torch.autograd.Function):
    """x at the reverse slot: its own inverse and its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(reverse)
        return x.reshape(-1, *x.shape[2:]).index_select(0, reverse.reshape(-1)).view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _Reversed.apply(grad, *ctx.saved_tensors), None


class _PairVectors(torch.autograd.Function):
    """The vector of each pair's first slot. Its adjoint gives that slot, the lower of the two, what the pair holds."""

    @staticmethod
    def forward(
        ctx: Any, edge_vec: Tensor, pair: Tensor, pair_slots: Tensor, pair_mask: Tensor | None, reverse: Tensor
    ) -> Tensor:
        ctx.save_for_backward(pair, pair_slots, pair_mask, reverse)
        return edge_vec.reshape(-1, 3).index_select(0, pair_slots[:, 0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        *places, reverse = ctx.saved_tensors
        first = torch.arange(reverse.numel(), device=reverse.device).view_as(reverse) < reverse
        return _PairToSlots.apply(grad, *places) * first.unsqueeze(-1), None, None, None, None


class _PairDistances(torch.autograd.Function):
    """|v| of each pair. The adjoint gives each of its two slots half of what the pair holds, along its own vector."""

    @staticmethod
    def forward(ctx: Any, edge_vec: Tensor, pair: Tensor, pair_slots: Tensor, pair_mask: Tensor | None, cutoff: float) -> Tensor:
        first = edge_vec.reshape(-1, 3).index_select(0, pair_slots[:, 0])
        distance = _with_cutoff(torch.linalg.vector_norm(first, dim=-1), pair_mask, cutoff)
        ctx.save_for_backward(edge_vec, distance, pair, pair_slots, pair_mask)
        return distance

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        edge_vec, distance, *places = ctx.saved_tensors
        each = (0.5 * grad / distance)[:-1].unsqueeze(1)
        return edge_vec * _PairToSlots.apply(each, *places), None, None, None, None


class _PairToSlots(torch.autograd.Function):
    """Copy pair p to its two slots. The adjoint adds the two slots: two gathers."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, pair: Tensor, pair_slots: Tensor, pair_mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(pair, pair_slots, pair_mask)
        return _with_empty_row(y).index_select(0, pair.reshape(-1)).view(*pair.shape, *y.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _SlotsToPair.apply(grad, *ctx.saved_tensors), None, None, None


class _SlotsToPair(torch.autograd.Function):
    """The adjoint of `_PairToSlots`."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, pair: Tensor, pair_slots: Tensor, pair_mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(pair, pair_slots, pair_mask)
        flat = grad.reshape(-1, *grad.shape[2:])
        both = flat.index_select(0, pair_slots[:, 0]) + flat.index_select(0, pair_slots[:, 1])
        return both if pair_mask is None else both * pair_mask.view(-1, *[1] * (both.dim() - 1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _PairToSlots.apply(grad, *ctx.saved_tensors), None, None, None
