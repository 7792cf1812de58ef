"""Directed edges without padding, and the ways between them, the neighbour matrix and the atoms.

A gather's gradient is a gather everywhere: nothing is scattered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from grannfield.graph import AtomGraph, inward, neighbor_values, pair_values


class EdgeRows:
    """The edges of a graph as rows [R, S]; a row holds the edge j->i of the slot i, j of the neighbour matrix.

    In a symmetric graph R, S are pairs and their two directions [P, 2]: no row is padding, and functions of the distance
    [P, 1, C] serve both directions. In another one, or one without edges, they are the slots [N, K] themselves.
    """

    def __init__(self, graph: AtomGraph) -> None:
        self.graph = graph
        self.paired = graph.symmetric and len(graph.pair_slots) > 0
        if self.paired:
            self.slots = graph.pair_slots
            own = torch.arange(graph.reverse.numel(), device=graph.reverse.device).view_as(graph.reverse)
            # The first slot of a pair is that of the lower number.
            self.place = torch.add(graph.reverse < own, graph.pair.clamp(max=len(self.slots) - 1), alpha=2)
            self.turned_slots, self.turned_place = self.slots.flip(1), self.place ^ 1
            """Of the opposite edges."""
        else:
            self.outward = inward(graph)
            """Edges that point at each atom: those that leave it as messages do."""

    def polar(self, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of pairs [P], or of all slots [N K], and directions [N, K, 3] of slots, zero in padded ones."""
        return _Polar.apply(edge_vec, self.graph, self.paired)

    @property
    def present(self) -> Tensor | None:
        """[P] bool where some pairs are padding (fixed shapes), else None."""
        return self.graph.pair_mask if self.paired else None

    def functions(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Functions of the distances of `polar` in rows, [P, 1, C] or [N, K, C], and in slots [N, K, C], zero in padded ones."""
        if self.paired:
            return values.unsqueeze(1), pair_values(values, self.graph)
        slots = values.view(*self.graph.mask.shape, -1)  # padded slots are as long as the cut-off, where all is zero
        return slots, slots

    def at_slots(self, rows: Tensor, faded: bool = False) -> Tensor:
        """[R, S, C] -> [N, K, C]. A padded slot holds the value of any edge: multiply it by zero before it is summed.

        `faded` rows come from a product with functions of the distance, which are zero in padded pairs: then the gradient of
        those need not be made zero.
        """
        return _AtSlots.apply(rows, self.slots, self.place, None if faded else self.graph.pair_mask) if self.paired else rows

    def leaving(self, y: Tensor) -> Tensor:
        """[N, L, C] -> [R, S, C] from edges listed by the atom they leave: in a symmetric graph at the opposite slots."""
        if self.paired:
            return _AtRows.apply(y, self.turned_slots, self.turned_place, None)
        return y.reshape(-1, y.shape[-1]).index_select(0, self.outward.place.reshape(-1)).view(*self.graph.mask.shape, -1)

    def of_ends(self, of_centre: Tensor, of_neighbor: Tensor) -> Tensor:
        """Sum of what both atoms of an edge, i and j, bring: [N, C] twice -> [R, S, C]."""
        if not self.paired:
            return of_centre.unsqueeze(1) + neighbor_values(of_neighbor, self.graph)
        atoms = self.slots.div(self.graph.mask.shape[1], rounding_mode="floor")
        mask, present = self.graph.mask, self.graph.pair_mask
        here = _OfAtoms.apply(of_centre, atoms, self.place, mask, present)
        return here + _OfAtoms.apply(of_neighbor, atoms.flip(1), self.turned_place, mask, present)


class _AtSlots(torch.autograd.Function):
    """Rows placed at their slots. The adjoint leaves out padded slots and padded pairs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor, place: Tensor, present: Tensor | None) -> Tensor:
        ctx.save_for_backward(slots, place, present)
        return rows.reshape(-1, rows.shape[-1]).index_select(0, place.view(-1)).view(*place.shape, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _AtRows.apply(grad, *ctx.saved_tensors), None, None, None


class _AtRows(torch.autograd.Function):
    """Slots taken to their rows: the adjoint of `_AtSlots`, and it of this."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, slots: Tensor, place: Tensor, present: Tensor | None) -> Tensor:
        ctx.save_for_backward(slots, place, present)
        rows = y.reshape(-1, y.shape[-1]).index_select(0, slots.reshape(-1)).view(*slots.shape, -1)
        return rows if present is None else rows * present.view(-1, 1, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _AtSlots.apply(grad, *ctx.saved_tensors), None, None, None


class _OfAtoms(torch.autograd.Function):
    """What one atom of every edge holds. The adjoint sums over the slots of an atom."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, atoms: Tensor, place: Tensor, mask: Tensor, present: Tensor | None) -> Tensor:
        ctx.save_for_backward(atoms, place, mask, present)
        return x.index_select(0, atoms.reshape(-1)).view(*atoms.shape, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        return _ToAtoms.apply(grad, *ctx.saved_tensors), None, None, None, None


class _ToAtoms(torch.autograd.Function):
    """The adjoint of `_OfAtoms`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, atoms: Tensor, place: Tensor, mask: Tensor, present: Tensor | None) -> Tensor:
        ctx.save_for_backward(atoms, place, mask, present)
        slots = rows.reshape(-1, rows.shape[-1]).index_select(0, place.reshape(-1)).view(*place.shape, -1)
        return (slots * mask.unsqueeze(-1)).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        rows = _OfAtoms.apply(grad, *ctx.saved_tensors)
        present = ctx.saved_tensors[3]
        return rows if present is None else rows * present.view(-1, 1, 1), None, None, None, None


class _Polar(torch.autograd.Function):
    """d = |v|, u = v/d; the gradient is t + u (g_d - u.t), t = g_u / d. Half of the gradient of a pair belongs to each slot."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, graph: AtomGraph, paired: bool) -> tuple[Tensor, Tensor]:
        distance, inverse, unit = _in_polar(v, graph.mask)
        ctx.save_for_backward(v, inverse, unit)
        ctx.graph, ctx.paired = graph, paired
        ctx.set_materialize_grads(False)
        distance = distance.reshape(-1)
        return distance.index_select(0, graph.pair_slots[:, 0]) if paired else distance, unit

    @staticmethod
    def backward(ctx: Any, g_d: Tensor | None, g_u: Tensor | None) -> tuple[Tensor | None, None, None]:  # type: ignore[override]
        v, inverse, unit = ctx.saved_tensors
        if torch.is_grad_enabled():
            _, inverse, unit = _in_polar(v, ctx.graph.mask)
        share = 0.5 if ctx.paired else 1.0
        if g_d is not None:
            g_d = pair_values(g_d.unsqueeze(-1), ctx.graph).squeeze(-1) if ctx.paired else g_d.view_as(inverse)
        if g_u is None:
            return None if g_d is None else (share * g_d).unsqueeze(-1) * unit, None, None
        across = g_u * inverse.unsqueeze(-1)
        along = (unit * across).sum(dim=-1)
        if g_d is not None:
            along = torch.sub(along, g_d, alpha=share)
        return torch.addcmul(across, unit, along.unsqueeze(-1), value=-1), None, None


def _in_polar(v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Length, its inverse and direction, the last two zero in padded slots."""
    distance = torch.linalg.vector_norm(v, dim=-1)
    inverse = mask / distance
    return distance, inverse, v * inverse.unsqueeze(-1)
