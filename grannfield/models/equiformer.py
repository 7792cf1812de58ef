"""Equiformer with graph attention and linear messages (Liao & Smidt, ICLR 2023, arXiv:2206.11990)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, neighbor_values, pair_values, pair_vectors
from grannfield.nn.attention import neighbor_softmax
from grannfield.nn.irreps import (
    Coupling,
    Features,
    IrrepLinear,
    IrrepNorm,
    Irreps,
    coupled,
    couplings,
    parse_irreps,
    unit_harmonics,
    wigner_3j,
)
from grannfield.nn.radial import cosine_cutoff

ELEMENTS = 84
AVERAGE_DEGREE = 44.46
AVERAGE_ATOMS = 50.0
SILU = 1.6791767923989418
"""1/rms of silu over a normal distribution, as are the next two; estimated by e3nn, whose digits the weights go with."""
SIGMOID = 1.8467055342154763
SMOOTH_LEAKY_RELU = 1.531320475574866


@register("equiformer")
class Equiformer(ForceField):
    """Scalars and higher-degree features of the neighbours, coupled to edge directions and weighed by attention.

    Defaults are those of Table 1: 7,836,675 parameters, published or not. Rotating the structure rotates the forces; a mirror
    image may have another energy, since vector features are of even parity.

    Differs from the published arithmetic:
    - messages fade with C(d), inside the softmax and outside, and so does each edge's share of the degree embedding: the energy
      is continuous when an atom crosses the cut-off. Published, with random biases of 0.3, that of a Li-S pair jumps by 0.06
      there; here it changes by 0.07 over the last fifth of the way and does not jump.
    """

    symmetry = "SE(3)/E(3)-equivariant"
    claims = Claims("exact", False, True)

    def __init__(
        self,
        irreps_node_embedding: str = "256x0e+128x1e",
        num_layers: int = 6,
        irreps_sh: str = "1x0e+1x1e",
        number_of_basis: int = 128,
        fc_neurons: Sequence[int] = (64, 64),
        irreps_feature: str = "512x0e",
        irreps_head: str = "32x0e+16x1e",
        num_heads: int = 8,
        irreps_mlp_mid: str = "768x0e+384x1e",
        alpha_drop: float = 0.2,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, ELEMENTS))
        node, head, middle = (parse_irreps(text) for text in (irreps_node_embedding, irreps_head, irreps_mlp_mid))
        feature, edge = parse_irreps(irreps_feature), parse_irreps(irreps_sh)
        if set(feature) != {0} or set(edge.values()) != {1} or not all(0 in irreps for irreps in (node, edge, head, middle)):
            raise ValueError("irreps_feature is scalars only, irreps_sh has one channel each, all irreps have scalars")
        sizes = Sizes(node, tuple(edge), head, num_heads, middle, (number_of_basis, *fc_neurons), alpha_drop)
        self.degrees = sizes.degrees
        self.embedding = IrrepLinear({0: ELEMENTS}, {0: node[0]})
        nn.init.normal_(self.embedding.weights["0"])
        self.rbf = RadialBasis(number_of_basis)
        self.degree_embedding = DegreeEmbedding(sizes)
        self.blocks = nn.ModuleList(Block(sizes, feature if layer == num_layers - 1 else node) for layer in range(num_layers))
        self.norm = IrrepNorm(feature)
        self.head0 = IrrepLinear(feature, feature)
        self.head1 = IrrepLinear(feature, {0: 1})

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
        rbf = self.rbf(distance / self.cutoff)
        fade = None if self.as_published else pair_values(cosine_cutoff(distance, self.cutoff), graph)
        direction = edge_vec / torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)
        harmonics = unit_harmonics(direction, self.degrees)
        x = self.degree_embedding(rbf, harmonics, graph.mask.to(rbf.dtype) if fade is None else fade, graph)
        x[0] = x[0] + (self.embedding.weights["0"].index_select(0, z) + self.embedding.bias).unsqueeze(1)
        for block in self.blocks:
            x = block(x, rbf, harmonics, fade, graph)
        hidden = self.head0(self.norm(x))[0]
        return self.head1({0: SILU * nn.functional.silu(hidden)})[0].flatten() / sqrt(AVERAGE_ATOMS)


class Sizes(NamedTuple):
    """What all layers have in common."""

    node: Irreps
    degrees: tuple[int, ...]
    """Of the edges' harmonics."""
    head: Irreps
    """Of one head: attention features and as many values of degree 0; values of higher degrees."""
    heads: int
    middle: Irreps
    """Of the gated network."""
    radial: tuple[int, ...]
    """Widths from the radial basis to the last hidden layer."""
    drop: float
    """Share of attention weights dropped in training."""


class RadialBasis(nn.Module):
    """Gaussians of the reduced distance, their centres and widths trained (Ying et al., arXiv:2106.05234): [...] -> [..., n]."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.mean = nn.Parameter(torch.empty(n).uniform_(0.0, 1.0))
        self.std = nn.Parameter(torch.empty(n).uniform_(1.0 / n, 1.0))

    def forward(self, reduced: Tensor) -> Tensor:
        sigma = self.std.abs() + 1e-5
        x = (reduced * self.weight + self.bias).unsqueeze(-1)
        return torch.exp(-0.5 * ((x - self.mean) / sigma).square()) / (sqrt(2 * 3.14159) * sigma)  # pi as published


class RadialNet(nn.Module):
    """From radial basis [P, n] to one factor per channel of each coupling, [P, sum of channels]."""

    def __init__(self, widths: Sequence[int], paths: list[Coupling]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            linear = nn.Linear(n_in, n_out)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.LayerNorm(n_out), nn.SiLU()]
        self.sizes = [path.channels for path in paths]
        n_out = sum(self.sizes)
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], n_out, bias=False))
        self.offset = nn.Parameter(torch.empty(n_out).uniform_(-1 / sqrt(widths[-1]), 1 / sqrt(widths[-1])))

    def hidden(self, rbf: Tensor) -> Tensor:
        """The last hidden layer, [P, width]; the factors are `last` of it."""
        return self.net[:-1](rbf)

    @property
    def last(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [channels, width] and bias [channels] of the last layer for each coupling."""
        weight = self.net.get_parameter(f"{len(self.net) - 1}.weight")
        return list(zip(weight.split(self.sizes), self.offset.split(self.sizes), strict=True))


class DegreeEmbedding(nn.Module):
    """What the mere arrangement of an atom's neighbours gives its features: couplings of a constant with their harmonics.

    Constant features c make every message (radial factor) * c * Y_l, linear in the radial hidden layer: that layer is summed over
    neighbours, and channels appear only afterwards. Couplings of higher-degree features, which c lacks, hold weights unused.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.node = sizes.node
        self.paths = couplings(self.node, sizes.degrees, self.node)
        self.constant = IrrepLinear({0: 1}, {0: self.node[0]})
        self.radial = RadialNet(sizes.radial, self.paths)
        self.project = IrrepLinear(coupled(self.paths), self.node)

    def forward(self, rbf: Tensor, harmonics: Features, fade: Tensor, graph: AtomGraph) -> Features:
        hidden = pair_values(self.radial.hidden(rbf), graph)
        hidden = torch.cat([hidden, torch.ones_like(hidden[..., :1])], dim=-1)  # the last sees the bias
        constant = self.constant.weights["0"].squeeze(0) + self.constant.bias
        x = {degree: hidden.new_zeros(len(hidden), 2 * degree + 1, channels) for degree, channels in self.node.items()}
        for (l1, degree, _, channels), (weight, bias) in zip(self.paths, self.radial.last, strict=True):
            if l1 == 0:
                summed = (harmonics[degree] * fade.unsqueeze(-1)).transpose(1, 2) @ hidden
                factors = summed @ torch.cat([weight, bias.unsqueeze(1)], dim=1).t()
                x[degree] = (factors * constant) @ self.project.weights[str(degree)][:channels]  # first of its degree
        x[0] = x[0] + self.project.bias * fade.sum(dim=1).view(-1, 1, 1)
        return {degree: value / sqrt(AVERAGE_DEGREE) for degree, value in x.items()}


class Block(nn.Module):
    """Attention over the neighbours, then a gated network of each atom's own features, each with a norm before it."""

    def __init__(self, sizes: Sizes, out: Irreps) -> None:
        super().__init__()
        node, self.middle = sizes.node, sizes.middle
        self.norm1, self.norm2 = IrrepNorm(node), IrrepNorm(node)
        self.attention = Attention(sizes)
        self.linear1 = IrrepLinear(node, {**self.middle, 0: sum(self.middle.values())})  # scalars, and a gate for all else
        self.linear2 = IrrepLinear(self.middle, out)
        self.shortcut = None if out == node else IrrepLinear(node, out)

    def forward(self, x: Features, rbf: Tensor, harmonics: Features, fade: Tensor | None, graph: AtomGraph) -> Features:
        x = _sum(x, self.attention(self.norm1(x), rbf, harmonics, fade, graph))
        gated = self._gated(self.linear1(self.norm2(x)))
        return _sum(x if self.shortcut is None else self.shortcut(x), self.linear2(gated))

    def _gated(self, x: Features) -> Features:
        """Scalars through silu; every other channel times a sigmoid of its own scalar."""
        scalars, *gates = x[0].split(list(self.middle.values()), dim=-1)
        higher = [degree for degree in self.middle if degree > 0]
        gated = {degree: x[degree] * (SIGMOID * torch.sigmoid(gate)) for degree, gate in zip(higher, gates, strict=True)}
        return {0: SILU * nn.functional.silu(scalars), **gated}


def _sum(a: Features, b: Features) -> Features:
    return {degree: a[degree] + b[degree] for degree in b}


class Attention(nn.Module):
    """Messages of the neighbours, q = (source of j) + (target of i) coupled to Y(u_ij), weighed by softmax in each head.

    `mix` turns the coupled features into attention features and values. The values are linear, so the coupled features are
    weighed and summed over the neighbours before it; and since the coupling is bilinear, they are never made either: what is
    summed, a matrix product, is (weight * Y) (x) (radial factor * q), contracted with the Wigner symbol once for each atom.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        node, head, heads = sizes.node, sizes.head, sizes.heads
        self.node, self.head, self.heads, self.drop = node, head, heads, sizes.drop
        self.paths = couplings(node, sizes.degrees, head)
        if missing := sorted(set(head) - set(coupled(self.paths))):
            raise ValueError(f"heads have degree {missing[0]}, which irreps_node_embedding and irreps_sh do not couple to")
        self.source, self.target = IrrepLinear(node, node), IrrepLinear(node, node, bias=False)
        self.radial = RadialNet(sizes.radial, self.paths)
        self.mix = IrrepLinear(coupled(self.paths), {degree: heads * n * (1 if degree else 2) for degree, n in head.items()})
        self.logit = nn.Parameter(torch.empty(heads, head[0]))
        nn.init.xavier_uniform_(self.logit)
        self.project = IrrepLinear({degree: heads * n for degree, n in head.items()}, node)

    def forward(self, x: Features, rbf: Tensor, harmonics: Features, fade: Tensor | None, graph: AtomGraph) -> Features:
        q = self._merged(x, graph)
        hidden = pair_values(self.radial.hidden(rbf), graph)
        factors = [nn.functional.linear(hidden, *last) for last in self.radial.last]  # costs less than to gather them
        scalars = self._scalars(q, factors, harmonics)
        weights = neighbor_softmax(self._logits(scalars), graph.mask, fade)
        weights = nn.functional.dropout(weights, self.drop, self.training)
        return self.project(self._values(self._sums(weights, scalars, q, factors, harmonics), weights))

    def _merged(self, x: Features, graph: AtomGraph) -> Features:
        """q of every edge, [N, K, 2l+1, channels], by one gather."""
        source, target = (torch.cat([v.flatten(1) for v in f(x).values()], dim=1) for f in (self.source, self.target))
        q = neighbor_values(source, graph) + target.unsqueeze(1)
        parts = q.split([(2 * degree + 1) * channels for degree, channels in self.node.items()], dim=-1)
        return {degree: part.unflatten(-1, (2 * degree + 1, -1)) for degree, part in zip(self.node, parts, strict=True)}

    def _scalars(self, q: Features, factors: Sequence[Tensor], harmonics: Features) -> Tensor:
        """Coupled features of degree 0, [N, K, channels]: the only ones that every edge needs."""
        found = []
        for (l1, l2, l3, _), factor in zip(self.paths, factors, strict=True):
            if l3 == 0:
                y = harmonics[l2] / sqrt(2 * l2 + 1)  # w3j(l, l, 0) is the unit matrix over this root
                found.append((y.unsqueeze(-2) @ q[l1]).squeeze(-2) * factor if l1 else q[0].squeeze(2) * factor)
        return torch.cat(found, dim=-1)

    def _logits(self, scalars: Tensor) -> Tensor:
        """[N, K, heads], from f(a) = 0.6 a + 0.4 a (2 sigmoid(a) - 1) = 0.2 a + 0.8 silu(a) of the attention features."""
        weight, bias = (self._of_heads(w)[..., 0, :].flatten(-2) for w in (self.mix.weights["0"], self.mix.bias))
        a = nn.functional.linear(scalars, weight.t(), bias)
        one_head = torch.eye(self.heads, dtype=a.dtype, device=a.device).unsqueeze(1)
        logit = SMOOTH_LEAKY_RELU * (self.logit.unsqueeze(-1) * one_head).flatten(0, 1)  # [heads * features, heads]
        return a @ (0.2 * logit) + nn.functional.silu(a) @ (0.8 * logit)

    def _of_heads(self, weight: Tensor) -> Tensor:
        """Scalar outputs of `mix` as [..., heads, 2, channels]: attention features, then values."""
        return weight.unflatten(-1, (self.heads, 2, self.head[0]))

    def _sums(
        self, weights: Tensor, scalars: Tensor, q: Features, factors: Sequence[Tensor], harmonics: Features
    ) -> dict[int, Tensor]:
        """Coupled features summed over the neighbours with each head's weights, {degree: [N, heads, 2l+1, channels]}."""
        n = len(weights)
        left = {  # [N, heads * (2l+1), K]
            degree: (weights.unsqueeze(-1) * y.unsqueeze(2)).flatten(2).transpose(1, 2) if degree else weights.transpose(1, 2)
            for degree, y in harmonics.items()
        }
        parts: dict[int, list[Tensor]] = {0: [(left[0] @ scalars).unsqueeze(2)]}
        for (l1, l2, l3, channels), factor in zip(self.paths, factors, strict=True):
            if l3 > 0:
                summed = left[l2] @ (q[l1] * factor.unsqueeze(2)).flatten(2)
                parts.setdefault(l3, []).append(_couple(summed.view(n, self.heads, -1, channels), l1, l2, l3))
        return {degree: torch.cat(found, dim=-1) for degree, found in parts.items()}

    def _values(self, sums: dict[int, Tensor], weights: Tensor) -> Features:
        """The values of all heads side by side, {degree: [N, 2l+1, heads * channels]}."""
        out: Features = {}
        for degree, n in self.head.items():
            stored = self.mix.weights[str(degree)]
            weight = stored.unflatten(-1, (self.heads, n)) if degree else self._of_heads(stored)[..., 1, :]
            value = torch.einsum("nhku,uhw->nkhw", sums[degree], weight)
            if degree == 0:
                value = value + (weights.sum(dim=1).unsqueeze(-1) * self._of_heads(self.mix.bias)[:, 1]).unsqueeze(1)
            out[degree] = value.flatten(2)
        return out


def _couple(product: Tensor, l1: int, l2: int, l3: int) -> Tensor:
    """sqrt(2 l3 + 1) sum_ij w3j_ijk product_ji: [N, heads, (2 l2 + 1)(2 l1 + 1), channels] -> [N, heads, 2 l3 + 1, channels]."""
    if l1 == 0 or l2 == 0:  # w3j is the unit matrix over that root
        return product
    symbol = wigner_3j(l1, l2, l3, product.dtype, product.device) * sqrt(2 * l3 + 1)
    return symbol.permute(2, 1, 0).flatten(1) @ product
