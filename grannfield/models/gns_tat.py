"""GNS-TAT as the paper's package has it: the equivariant transformer of TorchMD-NET (Thölke & De Fabritiis, arXiv:2202.02541)
with the equivariant layer norm of pre-training via denoising (Zaidi et al., arXiv:2206.00133)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values, pair_distances
from grannfield.nn.distance import fade, gaussians
from grannfield.nn.incidence import BlocksToSlots, Incidence, to_neighbors
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.radial import GaussianBasis
from grannfield.nn.vectors import direction, length, whitened

HEADS = 8
WHITENING = 1e-5
SMALLEST_NORM = 0.1
"""Of vector channels in the default head: their length is sqrt(v² + this²), smooth where a site's symmetry makes v vanish."""


@register("gns_tat")
class GNSTAT(ForceField):
    """Attention over neighbours that updates scalars and vectors of every atom.

    Defaults are those of Table 1: 1,968,872 parameters as published; 1,965,543 without the biases of vector channels.

    Differs from the published arithmetic:
    - linear layers on vectors have no bias, which singles out the direction (1, 1, 1);
    - the whitening of the last vectors is regularised by 3e-5 in every direction instead of 2e-5, 3e-5, 4e-5 along x, y, z;
    - lengths of vectors are smooth at zero, where a perfect crystal's are and the published forces amplify rounding;
    - C(d) also multiplies the messages to the vectors, so the energy does not jump when an atom crosses the cut-off;
    - the energy is the sum over atoms instead of their mean.
    """

    def __init__(
        self,
        num_features: int = 128,
        num_gaussians: int = 100,
        num_attn_layers: int = 8,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, 100))
        self.embedding = nn.Embedding(100, num_features)
        self.rbf = GaussianBasis(num_gaussians, cutoff, trainable=True)
        self.layers = nn.ModuleList(Attention(num_features, num_gaussians, as_published) for _ in range(num_attn_layers))
        self.final_ln = nn.LayerNorm(num_features)
        self.final_vln = VectorNorm(num_features, as_published)
        widths = (num_features, num_features // 2, 1)
        self.head = nn.ModuleList(Gated(a, b, as_published) for a, b in pairwise(widths))
        self.asked = BlocksToSlots((0, 1, 2, 3, 3, 3), 4)  # each of x, y, z of a neighbour's vectors has the same filter
        self.asked_first = BlocksToSlots((0, 1, 2), 4)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        neighbors, asked = to_neighbors(graph), self.asked(graph)
        asked_first = asked if self.as_published else self.asked_first(graph)
        # One view for each layer: their gradients are added together, in one operation.
        directions = self._directions(edge_vec, graph).transpose(1, 2).expand(len(self.layers), -1, -1, -1).unbind()
        ones = edge_vec.new_ones(graph.neighbors.shape[1]).expand(len(z), 1, -1)
        edges = [Edges(d, ones, neighbors, asked if number else asked_first) for number, d in enumerate(directions)]
        x = self.embedding(z)
        vec = x.new_zeros(x.shape[0], 3, x.shape[1]) if self.as_published else None
        for layer, *parts in zip(self.layers, self._weights(), self._filters(edge_vec, graph), edges, strict=True):
            x, vec = layer(x, vec, *parts)
        x, vec = self.final_ln(x), self.final_vln(vec)
        first, last = cast(list[Gated], self.head)
        x, vec = first(x, vec)
        atomic = last.scalars(silu(x), vec).squeeze(-1)
        return atomic / graph_values(atoms_by_graph(graph), graph).to(atomic.dtype) if self.as_published else atomic

    def _directions(self, edge_vec: Tensor, graph: AtomGraph) -> Tensor:
        """Unit vectors [N,K,3]; as published those to an atom's own images keep their length."""
        if not self.as_published:
            return direction(edge_vec)
        own = torch.arange(len(edge_vec), device=edge_vec.device).view(-1, 1)
        lengths = torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)
        return edge_vec / torch.where((graph.neighbors == own).unsqueeze(-1), 1.0, lengths)

    def _weights(self) -> list[tuple[Tensor, Tensor]]:
        """Weights [5F,F] and biases, layer by layer, of all that is linear in an atom's scalars: queries, keys, values."""
        weight, bias = _joint([[layer.q, layer.k, layer.v] for layer in cast(list[Attention], self.layers)])
        return list(zip(weight.unbind(), bias.unbind(), strict=True))

    def _filters(self, edge_vec: Tensor, graph: AtomGraph) -> tuple[Tensor, ...]:
        """Filters [(P+1)*4, F] of each layer: for the logits, to scalars, along the edge, along the neighbour's vectors."""
        distance = pair_distances(edge_vec, graph)
        weight, bias = _joint([[layer.dk, layer.dv] for layer in cast(list[Attention], self.layers)])
        rbf = gaussians(distance, self.rbf).expand(len(weight), -1, -1)
        filters = silu(torch.baddbmm(bias.unsqueeze(1), rbf, weight.transpose(1, 2)))
        inside, envelope = (y.unsqueeze(-1) for y in fade(distance, self.cutoff))
        faded = [inside, envelope, inside.expand(-1, 2)] if self.as_published else [inside, envelope.expand(-1, 3)]
        filters = filters.view(*filters.shape[:2], 4, -1) * torch.cat(faded, dim=1).unsqueeze(-1)
        return filters.flatten(1, 2).unbind()


def _joint(groups: list[list[nn.Linear]]) -> tuple[Tensor, Tensor]:
    """Weights [L, C, A] and biases [L, C] of L groups of layers on the same input, the narrowest F wide.

    A layer 3F wide has three parts of every head next to each other: to scalars, along the neighbour's vectors, along the
    edge. Here the part comes first, then the head, and the edge's part before that of the vectors.
    """
    weights, biases = [], []
    for layer in (layer for group in groups for layer in group):
        parts = layer.out_features // min(other.out_features for other in groups[0])
        weight, bias = layer.weight.unflatten(0, (HEADS, parts, -1)), layer.bias.view(HEADS, parts, -1)
        for part in (0, 2, 1)[:parts]:
            weights.append(weight[:, part])
            biases.append(bias[:, part])
    n, width = len(groups), groups[0][0].in_features
    return torch.cat(weights).view(n, -1, width), torch.cat(biases).view(n, -1)


@dataclass(frozen=True, eq=False)
class Edges:
    """What every layer needs of the slots."""

    direction: Tensor
    """[N,3,K] unit vectors."""
    ones: Tensor
    """[N,1,K] ones."""
    neighbors: Incidence
    """From atoms to slots."""
    asked: Incidence
    """From a layer's filters to slots."""


class Attention(nn.Module):
    """One update of scalars x [N,F] and vectors [N,3,F]; heads own contiguous slices of the features."""

    def __init__(self, num_features: int, num_gaussians: int, as_published: bool) -> None:
        super().__init__()
        f = num_features
        self.ln = nn.LayerNorm(f)
        self.q, self.k = glorot_linear(f, f), glorot_linear(f, f)
        self.v, self.o = glorot_linear(f, 3 * f), glorot_linear(f, 3 * f)
        self.vec = glorot_linear(f, 3 * f, bias=as_published)
        self.dk, self.dv = glorot_linear(num_gaussians, f), glorot_linear(num_gaussians, 3 * f)

    def forward(
        self, x: Tensor, vec: Tensor | None, weights: tuple[Tensor, Tensor], filters: Tensor, edges: Edges
    ) -> tuple[Tensor, Tensor]:
        """`vec` is None in the first layer, where vectors are still zero: terms that carry them are left out."""
        (n, f), k = x.shape, edges.direction.shape[2]
        query, values, along_vector = linear(self.ln(x), *weights).split([f, 3 * f, f], dim=1)
        if vec is not None:
            vec, carried = _Scaled.apply(vec, along_vector)
            values = torch.cat([values, carried.flatten(1)], dim=1)
        product = (edges.neighbors(values) * edges.asked(filters).view(n * k, -1)).view(n, k, -1)
        key, to_scalar, along_edge, *along_vectors = product.split([f, f, f] if vec is None else [f, f, f, 3 * f], dim=2)
        heads = (HEADS, -1)
        logits = (query.view(n, 1, *heads) * key.unflatten(2, heads)).sum(dim=-1)
        scalar = (silu(logits).unsqueeze(-1) * to_scalar.unflatten(2, heads)).sum(dim=1).view(n, f)
        if vec is None:
            return x + linear(scalar, self.o.weight[2 * f :], self.o.bias[2 * f :]), edges.direction @ along_edge
        messages = edges.ones, along_vectors[0], edges.direction, along_edge
        x, vec, _ = _Updated.apply(x, vec, *messages, self.vec(vec), self.o(scalar))
        return x, vec


class _Scaled(torch.autograd.Function):
    """Vectors [N,3,F] as they are, and times scalars [N,F]."""

    @staticmethod
    def forward(ctx: Any, vec: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(vec, scalars)
        return vec.view_as(vec), vec * scalars.unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, by_scaled: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        vec, scalars = ctx.saved_tensors
        return torch.addcmul(grad, by_scaled, scalars.unsqueeze(1)), (by_scaled * vec).sum(dim=1)


class _Updated(torch.autograd.Function):
    """x + (u1.u2) o2 + o3 [N,F], V + u3 o1 + sum_k (w_k + d_k m_k) [N,3,F] and u1.u2 [N,F].

    V [N,3,F], ones [N,1,K], w [N,K,3F], d [N,3,K], m [N,K,F], u [N,3,3F], o [N,3F]. Sums over k are matrix products, which
    add to what there is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, vec: Tensor, ones: Tensor, w: Tensor, d: Tensor, m: Tensor, u: Tensor, o: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (u1, u2, u3), (o1, o2, o3) = u.chunk(3, dim=-1), o.chunk(3, dim=-1)
        dot = (u1 * u2).sum(dim=1)
        ctx.save_for_backward(d, m, u, o, dot)
        ctx.set_materialize_grads(False)
        carried = torch.baddbmm(vec.flatten(1).unsqueeze(1), ones, w).view(vec.shape)
        message = torch.baddbmm(carried, d, m)
        return torch.addcmul(x + o3, dot, o2), torch.addcmul(message, u3, o1.unsqueeze(1)), dot

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, by_x: Tensor | None, by_vec: Tensor | None, by_dot: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        d, m, u, o, dot = ctx.saved_tensors
        by_x = torch.zeros_like(dot) if by_x is None else by_x
        by_vec = d.new_zeros(u.shape[0], 3, m.shape[2]) if by_vec is None else by_vec
        (u1, u2, u3), (o1, o2, _) = u.chunk(3, dim=-1), o.chunk(3, dim=-1)
        through_dot = (by_x * o2 if by_dot is None else by_x * o2 + by_dot).unsqueeze(1)
        by_u = torch.cat([through_dot * u2, through_dot * u1, by_vec * o1.unsqueeze(1)], dim=-1)
        by_o = torch.cat([(by_vec * u3).sum(dim=1), by_x * dot, by_x], dim=-1)
        by_w = by_vec.flatten(1).unsqueeze(1).expand(-1, m.shape[1], -1)
        return by_x, by_vec, None, by_w, by_vec @ m.mT, d.mT @ by_vec, by_u, by_o


class VectorNorm(nn.Module):
    """Whitening of an atom's vectors: (V V^T / F + regulariser)^(-1/2) V, mean over features removed, in double precision."""

    def __init__(self, num_features: int, as_published: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.as_published = as_published

    def forward(self, vec: Tensor) -> Tensor:
        # The published regulariser is added twice, once as diag(1, 2, 3) and once as the unit matrix.
        if self.as_published:
            times, matrix = 1.0, torch.arange(2.0, 5.0, dtype=torch.float64, device=vec.device).diag()
        else:
            times, matrix = 3.0, torch.eye(3, dtype=torch.float64, device=vec.device)
        return whitened(vec, matrix, times * WHITENING) * self.weight


class Gated(nn.Module):
    """Scalars and vectors to fewer of both: scalars see the lengths of the vectors, vectors are multiplied by gates."""

    def __init__(self, n_in: int, n_out: int, as_published: bool) -> None:
        super().__init__()
        self.smallest = 0.0 if as_published else SMALLEST_NORM
        self.vec1 = glorot_linear(n_in, n_in, bias=as_published)
        self.vec2 = nn.Linear(n_in, n_out, bias=as_published)
        nn.init.xavier_uniform_(self.vec2.weight)
        self.mlp0, self.mlp1 = glorot_linear(2 * n_in, n_in), glorot_linear(n_in, 2 * n_out)

    def forward(self, x: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        s, gate = self.mlp1(self._hidden(x, vec)).chunk(2, dim=-1)
        return s, gate.unsqueeze(1) * self.vec2(vec)

    def scalars(self, x: Tensor, vec: Tensor) -> Tensor:
        """What `forward` makes of the scalars, without the vectors: for the last of these layers."""
        n_out = self.vec2.out_features
        return linear(self._hidden(x, vec), self.mlp1.weight[:n_out], self.mlp1.bias[:n_out])

    def _hidden(self, x: Tensor, vec: Tensor) -> Tensor:
        seen = self.vec1(vec)
        lengths = length(seen, 1, self.smallest) if self.smallest else torch.linalg.vector_norm(seen, dim=1)
        return silu(self.mlp0(torch.cat([x, lengths], dim=-1)))
