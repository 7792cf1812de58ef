"""What DimeNet and DimeNet++ share: angles between edges, sums over triplets, and layers on edges.

Gasteiger, Groß & Günnemann, ICLR 2020 (arXiv:2003.03123); Gasteiger et al., arXiv:2011.14115.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from grannfield.graph import AtomGraph, inward, neighbor_values, pair_values, pair_vectors, reversed_values
from grannfield.nn.bessel import RadialBessel, SphericalBessel


class Triplets:
    """Angles between every edge k->j and every edge j->i that leaves its end, [N, K, L, n_l], and sums over k.

    Both edges are told by the middle atom j: k->j stands in j's own row (slot b of K), j->i among the edges that point at
    j (slot a of L). Angular functions are Y_l0 = sqrt((2l+1)/4pi) P_l(cos) by recurrence in cos = v_ji.v_kj / |v_ji||v_kj|,
    which has a gradient everywhere, collinear atoms included. A triplet that goes back the way it came (k is i, in the same
    cell) is left out.
    """

    def __init__(self, graph: AtomGraph, edge_vec: Tensor, n_l: int, detached: bool) -> None:
        self.graph = graph
        self.outward = inward(graph)
        unit = edge_vec / torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)
        if detached:
            unit = unit.detach()
        n, k = graph.neighbors.shape
        if graph.symmetric:
            leaving = reversed_values(unit, graph)
        else:
            leaving = unit.view(-1, 3).index_select(0, self.outward.slots.reshape(-1)).view(n, -1, 3)
        cosine = unit @ leaving.transpose(1, 2)  # [N, K, L]
        back = graph.reverse.reshape(-1).index_select(0, self.outward.slots.reshape(-1)).view_as(self.outward.slots)
        own = torch.arange(n * k, device=back.device).view(n, k)
        keep = graph.mask.unsqueeze(2) & self.outward.mask.unsqueeze(1) & (back.unsqueeze(1) != own.unsqueeze(2))
        self.angular = _legendre(cosine, n_l) * keep.unsqueeze(-1)

    def sum(self, radial: Tensor, x: Tensor) -> Tensor:
        """sum_k s_q(k->j, j->i) x(k->j) with s_q = sum_l radial_ql Y_l: radial [P, Q, n_l] by pair, x [N,K,C] -> [N,L,Q,C].

        The sum over the third atom comes first, a matrix product for each middle atom, so nothing has the size of
        triplets times channels.
        """
        n, k, n_out, n_l = self.angular.shape
        q = radial.shape[1]
        by_edge = pair_values(radial.flatten(1), self.graph).view(n * k, q, n_l)
        s = self.angular.view(n * k, n_out, n_l) @ by_edge.transpose(1, 2)  # [N K, L, Q]
        return (s.view(n, k, n_out * q).transpose(1, 2) @ x).view(n, n_out, q, -1)

    def to_slots(self, y: Tensor) -> Tensor:
        """Values [N, L, C] of edges listed by the atom they leave, at their own slots [N, K, C]."""
        if self.graph.symmetric:
            return reversed_values(y, self.graph)
        return y.reshape(-1, y.shape[-1]).index_select(0, self.outward.place.reshape(-1)).view(*self.graph.mask.shape, -1)


def _legendre(c: Tensor, n_l: int) -> Tensor:
    """sqrt((2l+1)/4pi) P_l(c), l < n_l: [...] -> [..., n_l]."""
    below, here, rows = torch.zeros_like(c), torch.ones_like(c), []
    for l in range(n_l):
        rows.append(math.sqrt((2 * l + 1) / (4 * math.pi)) * here)
        below, here = here, ((2 * l + 1) * c * here - l * below) / (l + 1)
    return torch.stack(rows, dim=-1)


class Directional(nn.Module):
    """Messages on edges, interactions between them, and atomic energies read from the messages before and after each.

    `detached` leaves the angles out of the gradient. interactions: (m, rbf, sbf, triplets) -> m; outputs: (y [N,F]) ->
    energies [N].
    """

    def __init__(
        self,
        interactions: list[nn.Module],
        outputs: list[nn.Module],
        bases: tuple[int, int, int],
        hidden: int,
        cutoff: float,
        detached: bool,
    ) -> None:
        super().__init__()
        n_spherical, n_radial, exponent = bases
        self.detached = detached
        self.rbf = RadialBessel(n_radial, cutoff, exponent)
        self.sbf = SphericalBessel(n_spherical, n_radial, cutoff, exponent)
        self.embedding = EdgeEmbedding(n_radial, hidden)
        self.interactions, self.outputs = nn.ModuleList(interactions), nn.ModuleList(outputs)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
        rbf, sbf = self.rbf(distance).to(edge_vec.dtype), self.sbf(distance).to(edge_vec.dtype)
        triplets = Triplets(graph, edge_vec, sbf.shape[1], self.detached)
        m = self.embedding(z, rbf, graph)
        atomic = self.outputs[0](m, rbf, graph)
        for interaction, output in zip(self.interactions, self.outputs[1:], strict=True):
            m = interaction(m, rbf, sbf, triplets)
            atomic = atomic + output(m, rbf, graph)
        return atomic


class Interaction(nn.Module):
    """Messages m [N,K,F] after one round: each hears of the edges that end where it begins; `hear` says how."""

    def __init__(self, hidden: int, before: int, after: int) -> None:
        super().__init__()
        self.kj, self.ji = orthogonal_linear(hidden, hidden), orthogonal_linear(hidden, hidden)
        self.before = nn.ModuleList(Residual(hidden) for _ in range(before))
        self.skip = orthogonal_linear(hidden, hidden)
        self.after = nn.ModuleList(Residual(hidden) for _ in range(after))

    def hear(self, x: Tensor, rbf: Tensor, sbf: Tensor, triplets: Triplets) -> Tensor:
        """What each edge [N,K,F] hears of activated messages x [N,K,F]."""
        raise NotImplementedError

    def forward(self, m: Tensor, rbf: Tensor, sbf: Tensor, triplets: Triplets) -> Tensor:
        h = silu(self.ji(m)) + self.hear(silu(self.kj(m)), rbf, sbf, triplets)
        for residual in self.before:
            h = residual(h)
        h = silu(self.skip(h)) + m
        for residual in self.after:
            h = residual(h)
        return h


class Output(nn.Module):
    """Atomic energies [N] from an atom's messages, weighted by radial functions; `wide` adds a layer to that width."""

    def __init__(self, n_radial: int, hidden: int, layers: int, wide: int | None = None) -> None:
        super().__init__()
        self.rbf = orthogonal_linear(n_radial, hidden, bias=False)
        width = wide or hidden
        if wide:
            self.up = orthogonal_linear(hidden, wide)
            nn.init.uniform_(self.up.bias, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
        self.dense = nn.ModuleList(orthogonal_linear(width, width) for _ in range(layers))
        self.final = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.final.weight)

    def forward(self, m: Tensor, rbf: Tensor, graph: AtomGraph) -> Tensor:
        y = (m * pair_values(self.rbf(rbf), graph)).sum(dim=1)
        if hasattr(self, "up"):
            y = self.up(y)
        for layer in self.dense:
            y = silu(layer(y))
        return self.final(y).squeeze(-1)


class EdgeEmbedding(nn.Module):
    """m_ij = silu(A [h_i, h_j, silu(R rbf + r)] + a), with A applied to atoms and pairs separately: -> [N, K, F]."""

    def __init__(self, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.table = nn.Embedding(95, hidden)
        nn.init.uniform_(self.table.weight, -math.sqrt(3), math.sqrt(3))
        self.rbf, self.mix = nn.Linear(n_radial, hidden), nn.Linear(3 * hidden, hidden)

    def forward(self, z: Tensor, rbf: Tensor, graph: AtomGraph) -> Tensor:
        h = self.table(z)
        of_centre, of_neighbor, of_pair = self.mix.weight.chunk(3, dim=1)
        pairs = pair_values(linear(silu(self.rbf(rbf)), of_pair), graph)
        return silu(linear(h, of_centre, self.mix.bias).unsqueeze(1) + neighbor_values(linear(h, of_neighbor), graph) + pairs)


class Residual(nn.Module):
    """x + silu(L2 silu(L1 x + b1) + b2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = orthogonal_linear(width, width), orthogonal_linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + silu(self.second(silu(self.first(x))))


def orthogonal_linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with orthogonal weights of Glorot variance, 2 / (n_in + n_out), and zero bias."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.orthogonal_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(torch.sqrt(2 / ((n_in + n_out) * layer.weight.var())) if layer.weight.numel() > 1 else 1.0)
        if bias:
            layer.bias.zero_()
    return layer
