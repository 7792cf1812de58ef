"""SchNet: continuous-filter convolutions (Schütt et al., J. Chem. Phys. 148, 241722 (2018), 10.1063/1.5019779)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph, neighbor_values, pair_distances
from grannfield.nn.mlp import LN2, each_linear, glorot_linear, joint_linear, shifted_softplus, softplus
from grannfield.nn.radial import GaussianBasis, cosine_cutoff
from grannfield.nn.sizes import at_once


@register("schnet")
class SchNet(ForceField):
    """Atoms exchange messages through filters that depend on the distance alone.

    Defaults are those of Table 1: 494,209 parameters. The default and the published behaviour are the same. Filters are
    computed once for each unordered pair, because w_ij = w_ji.
    """

    def __init__(
        self,
        hidden_channels: int = 128,
        num_filters: int = 128,
        num_interactions: int = 6,
        num_gaussians: int = 100,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.elements = tuple(range(1, 100))
        self.embedding = nn.Embedding(100, hidden_channels, padding_idx=0)
        self.rbf = GaussianBasis(num_gaussians, cutoff)
        self.interactions = nn.ModuleList(
            Interaction(hidden_channels, num_filters, num_gaussians, cutoff) for _ in range(num_interactions)
        )
        self.head0 = glorot_linear(hidden_channels, hidden_channels // 2)
        self.head1 = glorot_linear(hidden_channels // 2, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        x, exchange = self.embedding(z), Exchange.of(graph)
        for interaction, weight in zip(self.interactions, self.filters(edge_vec, graph), strict=True):
            x = x + interaction(x, weight, exchange)
        return self.head1(shifted_softplus(self.head0(x))).squeeze(-1)

    def filters(self, edge_vec: Tensor, graph: AtomGraph) -> tuple[Tensor, ...]:
        """Weights [P + 1, F] of every interaction: they depend on nothing but the distance.

        All by one product where launches are what takes time; one after the other where the arrays would leave the cache.
        """
        distance = pair_distances(edge_vec, graph)
        rbf, fade = self.rbf(distance), cosine_cutoff(distance, self.cutoff).unsqueeze(-1)
        first, second = zip(*((i.filter0, i.filter1) for i in self.interactions), strict=True)
        if len(first) * second[0].out_features * len(distance) > at_once(distance.device):
            return tuple(b(shifted_softplus(a(rbf))) * fade for a, b in zip(first, second, strict=True))
        return (each_linear(softplus(joint_linear(rbf, first)), second, shift=-LN2) * fade).unbind()


class Interaction(nn.Module):
    """One continuous-filter convolution: x_i gains O ssp(P sum_j (U x_j) * w(d_ij))."""

    def __init__(self, hidden_channels: int, num_filters: int, num_gaussians: int, cutoff: float) -> None:
        super().__init__()
        self.filter0 = glorot_linear(num_gaussians, num_filters)
        self.filter1 = glorot_linear(num_filters, num_filters)
        self.in2f = glorot_linear(hidden_channels, num_filters, bias=False)
        self.f2out = glorot_linear(num_filters, hidden_channels)
        self.out = glorot_linear(hidden_channels, hidden_channels)

    def forward(self, x: Tensor, weight: Tensor, exchange: Exchange) -> Tensor:
        return self.out(shifted_softplus(self.f2out(exchange(self.in2f(x), weight))))


@dataclass(frozen=True, eq=False)
class Exchange:
    """m_i = sum_j x_j * w_ij over the neighbours, for weights w of pairs that vanish at the cut-off with their slope.

    <g, m> = sum_pairs w_p (g_i x_j + g_j x_i) is the same whichever of g and x is sent: the slope by x is the exchange of g,
    that by w the product of what both ends hold, and so on for ever. All of it is done on pairs, a fifth fewer rows than slots.
    """

    graph: AtomGraph
    senders: Tensor
    """[2, P + 1] atom whose x goes to the centre of a pair's first slot, and of its second; in the last row any."""
    rows: Tensor
    """[N K] place of every slot in `senders`, counted along both rows; the last of the first row in padded slots."""
    starts: Tensor
    """[N] the first slot of every atom."""

    @classmethod
    def of(cls, graph: AtomGraph) -> Exchange:
        neighbors, k = graph.neighbors.reshape(-1), graph.neighbors.shape[1]
        slots = torch.arange(len(neighbors), device=neighbors.device)
        first = nn.functional.pad(graph.pair_slots[:, 0], (0, 1))
        senders = torch.stack([neighbors.index_select(0, first), first.div(k, rounding_mode="floor")])
        # The first slot of a pair has the lower number.
        rows = torch.add(graph.pair.view(-1), graph.reverse.view(-1) < slots, alpha=len(first))
        return cls(graph, senders, rows, slots[::k])

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """x [N, C], weight [P + 1, C] -> [N, C]."""
        if not self.graph.symmetric:
            at_slots = weight.index_select(0, self.graph.pair.reshape(-1)).view(*self.graph.pair.shape, -1)
            return (neighbor_values(x, self.graph) * at_slots).sum(dim=1)
        received: Tensor = _Exchanged.apply(x, weight, self.senders, self.rows, self.starts)
        return received


class _Exchanged(torch.autograd.Function):
    """sum_j x_j * w_ij."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, senders: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, senders, rows, starts)
        sent = x.index_select(0, senders.view(-1)).view(2, *weight.shape).mul_(weight)
        return torch.embedding_bag(sent.flatten(0, 1), rows, starts, mode=0)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, *places = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _Exchanged.apply(grad, weight, *places), _Products.apply(grad, x, *places), None, None, None
        senders, rows, starts = places  # nobody differentiates again: both slopes from one gather
        sent = grad.index_select(0, senders.view(-1)).view(2, *weight.shape)
        by_weight = _products(sent, x.index_select(0, senders.view(-1)).view_as(sent))
        return torch.embedding_bag(sent.mul_(weight).flatten(0, 1), rows, starts, mode=0)[0], by_weight, None, None, None


class _Products(torch.autograd.Function):
    """g_i x_j + g_j x_i of every pair."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, senders: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(g, x, senders, rows, starts)
        return _products(*(y.index_select(0, senders.view(-1)).view(2, -1, y.shape[1]) for y in (g, x)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        g, x, *places = ctx.saved_tensors
        return _Exchanged.apply(x, grad, *places), _Exchanged.apply(g, grad, *places), None, None, None


def _products(g: Tensor, x: Tensor) -> Tensor:
    """The same, of what was gathered at the senders [2, P + 1, C]: in the first row j, in the second i."""
    return (g[1] * x[0]).addcmul_(g[0], x[1])
