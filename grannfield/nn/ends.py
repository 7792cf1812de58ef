"""What the two ends of an edge bring to it, added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grannfield.graph import AtomGraph, neighbor_values


@dataclass(frozen=True, eq=False)
class Ends:
    """For every slot i->j the sum of what j gives and of what i takes: x [N, 2, C] -> x[j, 0] + x[i, 1], [N * K, C].

    A sum of two rows for every slot; its adjoint is, for every atom, the sums of the slots that point at it and of its own.
    Both are sums over bags of rows: one operation, nothing is scattered.
    """

    graph: AtomGraph
    of_slot: tuple[Tensor, Tensor]
    """Rows of x for every slot, [2 N K], and where each slot's begin."""
    of_atom: tuple[Tensor, Tensor]
    """Slots for every row of x, [2 N K], and where each row's begin."""

    @classmethod
    def of(cls, graph: AtomGraph) -> Ends:
        (n, k), device = graph.neighbors.shape, graph.neighbors.device
        taking = torch.arange(1, 2 * n, 2, device=device).unsqueeze(1).expand(n, k)
        rows = torch.stack([2 * graph.neighbors, taking], dim=-1).view(-1)
        slots = torch.stack([graph.reverse, torch.arange(n * k, device=device).view(n, k)], dim=1).view(-1)
        begins = (torch.arange(0, 2 * n * k, step, device=device) for step in (2, k))
        return cls(graph, (rows, next(begins)), (slots, next(begins)))

    def sums(self, x: Tensor) -> Tensor:
        if not self.graph.symmetric:
            return (neighbor_values(x[:, 0], self.graph) + x[:, 1:]).flatten(0, 1)
        return _BagSums.apply(x.flatten(0, 1), *self.of_slot, *self.of_atom)


class _BagSums(torch.autograd.Function):
    """Sums of rows x [n, C] over bags, [m, C]: `rows` lists those of all bags, `begins` where each bag begins.

    The second pair lists, for each row of x, the bags that hold it: bags of the adjoint.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, begins: Tensor, bags: Tensor, bags_begin: Tensor) -> Tensor:
        ctx.save_for_backward(bags, bags_begin, rows, begins)
        sums: Tensor = torch.embedding_bag(x.contiguous(), rows, begins)[0]
        return sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        return _BagSums.apply(grad, *ctx.saved_tensors), None, None, None, None
