"""DeeperGATGNN: deep global-attention graph networks (Omee et al., Patterns 3, 100491 (2022), 10.1016/j.patter.2022.100491)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from grannfield.forcefield import ForceField, register
from grannfield.graph import (
    AtomGraph,
    by_neighbor,
    graph_softmax,
    graph_values,
    neighbor_values,
    reversed_values,
    sum_by_graph,
)
from grannfield.nn.attention import NOTHING, faded_softmax
from grannfield.nn.distance import Distances, distances, gaussians, log_fade
from grannfield.nn.incidence import to_slots
from grannfield.nn.norm import BatchNorm
from grannfield.nn.radial import GaussianBasis

HEADS = 4
GROUPS = 10
"""Of the differentiable group norm (Zhou et al., arXiv:2006.06972)."""
SKIP = 0.01


@register("deeper_gatgnn")
class DeeperGATGNN(ForceField):
    """Graph attention with group norm in residual layers, read out by an attention over all atoms.

    Defaults are those of Table 1: 222,351 parameters as published, of which 5,760 belong to three group norms that are never
    used; 216,591 without them.

    Differs from the published arithmetic:
    - C(d) enters the attention weights, so the energy does not jump when an atom crosses the cut-off;
    - every atom has its own energy, weighted by a sigmoid of its attention, and these are summed: the published energy is a
      function of an attention-weighted mean over atoms, the same for one cell and for two;
    - where a cap on neighbours makes the graph asymmetric, messages gather at the centre; the published flow is reversed.
    """

    def __init__(
        self,
        num_features: int = 128,
        num_edge_features: int = 100,
        dim1: int = 64,
        dim2: int = 64,
        gc_count: int = 5,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, 100))
        self.embedding = nn.Embedding(100, num_features)
        self.rbf = GaussianBasis(num_edge_features, cutoff, trainable=True)
        self.pre_node, self.pre_edge = nn.Linear(num_features, dim1), nn.Linear(num_edge_features, dim1)
        self.convolutions = nn.ModuleList(GraphAttention(dim1) for _ in range(gc_count))
        self.norms = nn.ModuleList(GroupNorm(dim1) for _ in range(gc_count))
        self.global_attention = nn.ModuleList(nn.Linear(dim1, width) for width in (dim1, dim1, 1))
        if as_published:
            self.unused = nn.ModuleList(GroupNorm(dim1) for _ in self.global_attention)
        self.post = nn.Linear(dim1, dim2)
        self.out = nn.Linear(dim2, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        sites = distances(edge_vec, graph)
        if self.as_published and not graph.symmetric:
            graph = by_neighbor(graph)
            sites = replace(sites, place=to_slots(graph), shape=graph.neighbors.shape)
        edges = self._edges(sites, graph)
        x = leaky_relu(self.pre_node(self.embedding(z)), 0.2)
        affine = [(None, None)] * len(self.norms) if self.training else _affine(cast(list[GroupNorm], self.norms))
        for convolution, norm, edge, skip in zip(self.convolutions, self.norms, edges, affine, strict=True):
            x = norm(x, convolution(x, edge, graph), *skip)
        logit = self.global_attention[2](softplus(self.global_attention[1](softplus(self.global_attention[0](x)))))
        if not self.as_published:
            return (self._read(x) * torch.sigmoid(logit)).squeeze(-1)
        weight = graph_softmax(logit.squeeze(-1), graph).to(x.dtype)
        mean = sum_by_graph(weight.unsqueeze(-1) * x, graph).to(x.dtype)
        return weight * graph_values(self._read(mean).squeeze(-1), graph)

    def _read(self, x: Tensor) -> Tensor:
        return self.out(softplus(self.post(x)))

    def _edges(self, sites: Distances, graph: AtomGraph) -> list[Edges]:
        """What each layer needs of the slots, all of it at once: it depends on nothing but the distance."""
        convolutions = cast(list[GraphAttention], self.convolutions)
        edge = leaky_relu(self.pre_edge(gaussians(sites.values, self.rbf)), 0.2)
        width = edge.shape[1]
        filters = sites.at_slots(edge @ torch.cat([c.weight[width:] for c in convolutions], dim=1))
        filters = filters.split(HEADS * width, dim=2)
        if self.as_published:
            fade = graph.mask.to(edge.dtype).unsqueeze(-1)
            logs = (NOTHING * (1.0 - fade),) * len(filters)
        else:
            log = sites.at_slots(log_fade(sites.values, self.cutoff).unsqueeze(-1))
            fade = torch.exp(log)
            # One view for each layer and head: their gradients are added together, in one operation.
            logs = log.expand(len(filters), -1, -1, HEADS).unbind()
        # Entry (h w, s h') of a layer's matrix is its att[h, s w] where h = h' and else 0: s is 0 for the centre's part.
        att = torch.stack([c.att.view(HEADS, 2, width).transpose(1, 2) for c in convolutions])
        apart = torch.eye(HEADS, dtype=att.dtype, device=att.device).view(HEADS, 1, 1, HEADS)
        att = (att.unsqueeze(-1) * apart).view(len(filters), HEADS * width, 2 * HEADS)
        share = fade / HEADS
        return [Edges(*parts, share) for parts in zip(filters, att.unbind(), logs, strict=True)]


@dataclass(frozen=True, eq=False)
class Edges:
    """What one layer needs of the slots."""

    filters: Tensor
    """[N, K, H w], the distance's part of sp's argument."""
    att: Tensor
    """[H w, 2 H], to the logits of each head: first from the centre's features, then from the neighbour's."""
    log_fade: Tensor
    """[N, K, 1 or H], ln C(d)."""
    share: Tensor
    """[N, K, 1], C(d) by number of heads; zero in padded slots."""


class GraphAttention(nn.Module):
    """y_i = mean over heads of sum_j alpha_ij o_j + bias, o_j = sp([x_j, e_ij] W).

    W is applied to atoms and to pairs separately; the pair's part serves both of its ends, and so does the result: the
    neighbour's features at a slot are the centre's at the reverse slot.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * width, HEADS * width))
        self.att = nn.Parameter(torch.empty(1, HEADS, 2 * width))
        self.mean_bias = nn.Parameter(torch.zeros(width))
        self.bn = BatchNorm(HEADS)
        nn.init.xavier_uniform_(self.weight)
        nn.init.xavier_uniform_(self.att)

    def forward(self, x: Tensor, edge: Edges, graph: AtomGraph) -> Tensor:
        n, width = x.shape
        of_atom = x @ self.weight[:width]
        own = softplus(of_atom.unsqueeze(1) + edge.filters)
        if graph.symmetric:
            other = reversed_values(own, graph)
            from_own, from_other = (own @ edge.att).chunk(2, dim=2)
            logits = from_own + reversed_values(from_other, graph)
        else:
            other = softplus(neighbor_values(of_atom, graph) + edge.filters)
            to_own, to_other = edge.att.chunk(2, dim=1)
            logits = own @ to_own + other @ to_other
        weight = faded_softmax(softplus(self.bn(softplus(logits), graph.mask)), edge.log_fade, edge.share)
        return torch.baddbmm(self.mean_bias, weight.view(n, 1, -1), other.view(n, -1, width)).squeeze(1)


class GroupNorm(nn.Module):
    """Atoms are softly assigned to groups, each normalised by itself: x + y + 0.01 sum_g BN(s_g y), x being passed by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.assign = nn.Linear(width, GROUPS, bias=False)
        self.bn = BatchNorm(GROUPS * width)

    def forward(self, x: Tensor, y: Tensor, gain: Tensor | None, shift: Tensor | None) -> Tensor:
        """With gain [g, w] and shift [w] of `_affine` the sum is y (s gain) + shift; without, BN takes the batch's statistics."""
        groups = self.assign(y).softmax(dim=-1)
        if gain is not None and shift is not None:
            return _PlusProduct.apply(x + shift, y, groups @ gain)
        grouped = groups.unsqueeze(-1) * y.unsqueeze(1)
        return x + y + SKIP * self.bn(grouped.flatten(1)).view_as(grouped).sum(dim=1)


def _affine(norms: list[GroupNorm]) -> list[tuple[Tensor, Tensor]]:
    """1 + 0.01 a [g, w] and 0.01 sum_g b [w] of group norms with known statistics, for which BN(v) = a v + b.

    The 1 stands for y itself: the s_g add up to one.
    """
    known = torch.stack([v for bn in (norm.bn for norm in norms) for v in (bn.weight, bn.bias, bn.running_mean, bn.running_var)])
    weight, bias, mean, var = known.view(len(norms), 4, GROUPS, -1).unbind(1)
    gain = weight * torch.rsqrt(var + norms[0].bn.eps)
    shift = SKIP * torch.addcmul(bias, mean, gain, value=-1).sum(dim=1)
    return list(zip((1 + SKIP * gain).unbind(), shift.unbind(), strict=True))


class _PlusProduct(torch.autograd.Function):
    """x + y m."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, m: Tensor) -> Tensor:
        ctx.save_for_backward(y, m)
        return torch.addcmul(x, y, m)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        y, m = ctx.saved_tensors
        return grad, grad * m, grad * y
