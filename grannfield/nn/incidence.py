"""Rows chosen and added: products with sparse matrices of ones, whose gradients are products with the transposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph


@dataclass(frozen=True, eq=False)
class Incidence:
    """A matrix of zeros and ones, [M, R]: row m of the product with x is x[rows[m]].

    The gradient is the product with the transpose: row r adds the gradients listed in `back` from `starts[r]` on, all in one
    operation, in a fixed order and without a copy of what it adds. Where there is no such list (a cap on neighbours makes a
    graph asymmetric) gradients are scattered.
    """

    rows: Tensor
    """[M] int64."""
    back: Tensor | None = None
    """int64, rows of the product by row of x."""
    starts: Tensor | None = None
    """[R] int64, where the list of each row of x begins."""

    def __call__(self, x: Tensor) -> Tensor:
        """[R, C] -> [M, C]."""
        if self.back is None:
            return x.index_select(0, self.rows)
        return _Chosen.apply(x, self.rows, self.back, self.starts)


def to_neighbors(graph: AtomGraph) -> Incidence:
    """From atoms [N, C] to the neighbour at each slot [N*K, C]; padded slots repeat the atom's own."""
    rows, k = graph.neighbors.reshape(-1), graph.neighbors.shape[1]
    if not graph.symmetric:
        return Incidence(rows)
    return Incidence(rows, graph.reverse.reshape(-1), torch.arange(0, len(rows), k, device=rows.device))


def to_slots(graph: AtomGraph) -> Incidence:
    """From `pair_distances`' rows [P + 1, C] to slots [N*K, C], for features that vanish where there is no pair.

    Rows that hold no pair are given nothing, or the gradient of some slot: a factor of zero has to follow.
    """
    rows = graph.pair.reshape(-1)
    if not graph.symmetric:
        return Incidence(rows)
    back = graph.pair_slots.reshape(-1)
    return Incidence(rows, back, torch.arange(0, len(back) + 1, 2, device=rows.device))


class BlocksToSlots(nn.Module):
    """As `to_slots`, of pairs whose channels are B blocks [(P + 1) * B, C], to the blocks that a slot asks for [N*K * S, C].

    `blocks` names those of every slot, in ascending order; one may be asked for several times.
    """

    blocks: Tensor
    places: Tensor
    starts: Tensor

    def __init__(self, blocks: Sequence[int], n_blocks: int) -> None:
        super().__init__()
        before = [2 * sum(b < block for b in blocks) for block in range(n_blocks)]
        for name, values in (("blocks", list(blocks)), ("places", list(range(len(blocks)))), ("starts", before)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, graph: AtomGraph) -> Incidence:
        rows = torch.add(self.blocks, graph.pair.view(-1, 1), alpha=len(self.starts)).view(-1)
        if not graph.symmetric:
            return Incidence(rows)
        slots = nn.functional.pad(graph.pair_slots, (0, 0, 0, 1)).unsqueeze(1)
        back = torch.add(self.places.view(-1, 1), slots, alpha=len(self.blocks)).view(-1)
        first = torch.arange(0, len(back), 2 * len(self.blocks), device=rows.device)
        return Incidence(rows, back, (first.view(-1, 1) + self.starts).view(-1))


class _Chosen(torch.autograd.Function):
    """x[rows]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, back: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(rows, back, starts)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _Added.apply(grad, *ctx.saved_tensors), None, None, None


class _Added(torch.autograd.Function):
    """The adjoint of `_Chosen`, and it of this."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, rows: Tensor, back: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(rows, back, starts)
        return torch.embedding_bag(grad.detach().contiguous(), back, starts, mode=0)[0]  # detached: else it prepares a gradient

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return _Chosen.apply(grad, *ctx.saved_tensors), None, None, None
