"""DeeperGATGNN: deep global-attention graph networks (Omee et al., Patterns 3, 100491 (2022), 10.1016/j.patter.2022.100491)."""

from __future__ import annotations

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
    pair_values,
    pair_vectors,
    sum_by_graph,
)
from grannfield.nn.attention import neighbor_softmax
from grannfield.nn.norm import BatchNorm
from grannfield.nn.radial import GaussianBasis, cosine_cutoff

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
        distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
        edge = leaky_relu(self.pre_edge(self.rbf(distance)), 0.2)
        if self.as_published:
            graph, envelope = by_neighbor(graph), None
        else:
            envelope = pair_values(cosine_cutoff(distance, self.cutoff).unsqueeze(-1), graph).squeeze(-1)
        x = leaky_relu(self.pre_node(self.embedding(z)), 0.2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x + norm(convolution(x, edge, envelope, graph))
        logit = self.global_attention[2](softplus(self.global_attention[1](softplus(self.global_attention[0](x)))))
        if not self.as_published:
            return (self._read(x) * torch.sigmoid(logit)).squeeze(-1)
        weight = graph_softmax(logit.squeeze(-1), graph).to(x.dtype)
        mean = sum_by_graph(weight.unsqueeze(-1) * x, graph).to(x.dtype)
        return weight * graph_values(self._read(mean).squeeze(-1), graph)

    def _read(self, x: Tensor) -> Tensor:
        return self.out(softplus(self.post(x)))


class GraphAttention(nn.Module):
    """y_i = mean over heads of sum_j alpha_ij o_j + bias, o_j = sp([x_j, e_ij] W).

    W is applied to atoms and to pairs separately; the pair's part serves both of its ends.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * width, HEADS * width))
        self.att = nn.Parameter(torch.empty(1, HEADS, 2 * width))
        self.mean_bias = nn.Parameter(torch.zeros(width))
        self.bn = BatchNorm(HEADS)
        nn.init.xavier_uniform_(self.weight)
        nn.init.xavier_uniform_(self.att)

    def forward(self, x: Tensor, edge: Tensor, envelope: Tensor | None, graph: AtomGraph) -> Tensor:
        (n, k), width = graph.neighbors.shape, x.shape[1]
        of_atom = x @ self.weight[:width]
        of_pair = pair_values(edge @ self.weight[width:], graph)
        own = softplus(of_atom.unsqueeze(1) + of_pair).view(n, k, HEADS, width)
        other = softplus(neighbor_values(of_atom, graph) + of_pair).view(n, k, HEADS, width)
        logits = (own * self.att[0, :, :width] + other * self.att[0, :, width:]).sum(dim=-1)
        weight = neighbor_softmax(softplus(self.bn(softplus(logits), graph.mask)), graph.mask, envelope)
        return (weight.unsqueeze(-1) * other).sum(dim=1).mean(dim=1) + self.mean_bias


class GroupNorm(nn.Module):
    """Atoms are softly assigned to groups, each normalised by itself: y + 0.01 sum_g BN(s_g y)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.assign = nn.Linear(width, GROUPS, bias=False)
        self.bn = BatchNorm(GROUPS * width)

    def forward(self, y: Tensor) -> Tensor:
        grouped = self.assign(y).softmax(dim=-1).unsqueeze(-1) * y.unsqueeze(1)
        return y + SKIP * self.bn(grouped.flatten(1)).view_as(grouped).sum(dim=1)
