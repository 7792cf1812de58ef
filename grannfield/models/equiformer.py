"""Equiformer with graph attention and linear messages (Liao & Smidt, ICLR 2023, arXiv:2206.11990)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, pair_values, pair_vectors
from grannfield.nn.equivariant_attention import Attention, Edges, RadialNet, Sizes, Weights, hidden_layers, stacked
from grannfield.nn.irreps import Features, IrrepLinear, IrrepNorm, Irreps, coupled, couplings, parse_irreps
from grannfield.nn.radial import cosine_cutoff

ELEMENTS = 84
AVERAGE_DEGREE = 44.46
AVERAGE_ATOMS = 50.0
SILU = 1.6791767923989418
"""1/rms of silu over a normal distribution, as is the next; estimated by e3nn, whose digits the weights go with."""
SIGMOID = 1.8467055342154763


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
        attentions = [block.attention for block in cast(list[Block], list(self.blocks))]
        nets = [self.degree_embedding.radial, *(attention.radial for attention in attentions)]
        first, *hidden, fade = _at_slots(hidden_layers(nets, self.rbf(distance / self.cutoff)), distance, self.cutoff, graph)
        edges = Edges.of(edge_vec, self.degrees, graph, None if self.as_published else fade.squeeze(-1))
        elements = self.embedding.weights["0"].index_select(0, z) + self.embedding.bias
        x = self.degree_embedding(first, edges, elements)
        for block, weights, *of_edge in zip(self.blocks, stacked(attentions), hidden, edges.copies(len(hidden)), strict=True):
            x = block(x, *of_edge, weights)
        hidden_scalars = nn.functional.silu(self.head0(self.norm(x))[0])
        return self.head1({0: hidden_scalars}, scale=SILU)[0].flatten() / sqrt(AVERAGE_ATOMS)


def _at_slots(hidden: Tensor, distance: Tensor, cutoff: float, graph: AtomGraph) -> tuple[Tensor, ...]:
    """Hidden layers [L, P, width] of every slot, each with a column of ones, [N * K, width + 1]; last C(d), [N * K, 1]."""
    one = distance.new_ones(len(distance), 1)
    columns = [column for layer in hidden.unbind(0) for column in (layer, one)]
    slots = pair_values(torch.cat([*columns, cosine_cutoff(distance, cutoff).unsqueeze(-1)], dim=-1), graph).flatten(0, 1)
    return slots.split([*[hidden.shape[2] + 1] * len(hidden), 1], dim=-1)


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

    def forward(self, hidden: Tensor, edges: Edges, onto: Tensor) -> Features:
        """hidden [N * K, width + 1], its last column ones for the bias; scalars are added to `onto` [N, channels]."""
        n, width = len(edges.weighed), hidden.shape[1]
        summed = edges.weighed.transpose(1, 2) @ hidden.unflatten(0, (n, -1))  # [N, M, width + 1]
        parts = dict(zip(edges.degrees, summed.split([2 * degree + 1 for degree in edges.degrees], dim=1), strict=True))
        constant = (self.constant.weights["0"].squeeze(0) + self.constant.bias) / sqrt(AVERAGE_DEGREE)
        last = (torch.cat([self.radial.last, self.radial.offset.unsqueeze(1)], dim=1)).split(
            [path.channels for path in self.paths]
        )
        x: Features = {}
        for (l1, degree, _, channels), factors in zip(self.paths, last, strict=True):
            if l1 == 0:
                mixed = factors.t() * constant, self.project.weights[str(degree)][:channels]  # of its degree the first
                rows = parts[degree].flatten(0, 1)
                if degree == 0:
                    bias = nn.functional.pad(self.project.bias.unsqueeze(0), (0, 0, width - 1, 0))
                    x[0] = torch.addmm(onto, rows, torch.addmm(bias, *mixed, beta=AVERAGE_DEGREE**-0.5)).unsqueeze(1)
                else:
                    x[degree] = (rows @ (mixed[0] @ mixed[1])).unflatten(0, (n, -1))
        nothing = {
            degree: hidden.new_zeros(n, 2 * degree + 1, channels) for degree, channels in self.node.items() if degree not in x
        }
        return {degree: (x | nothing)[degree] for degree in self.node}


class Block(nn.Module):
    """Attention over the neighbours, then a gated network of each atom's own features, each with a norm before it."""

    def __init__(self, sizes: Sizes, out: Irreps) -> None:
        super().__init__()
        node, self.middle, self.out = sizes.node, sizes.middle, out
        self.norm1, self.norm2 = IrrepNorm(node), IrrepNorm(node)
        self.attention = Attention(sizes, [degree for degree in node if degree in out])
        self.linear1 = IrrepLinear(node, {**self.middle, 0: sum(self.middle.values())})  # scalars, and a gate for all else
        self.linear2 = IrrepLinear(self.middle, out)
        self.shortcut = None if out == node else IrrepLinear(node, out)

    def forward(self, x: Features, hidden: Tensor, edges: Edges, weights: Weights) -> Features:
        x = self.attention(self.norm1(x), hidden, edges, weights, x)
        pre = self.linear1(self.norm2(x, scale=SIGMOID))  # the factor of the gate
        scalars, *gates = pre[0].split(list(self.middle.values()), dim=-1)
        gated = {0: nn.functional.silu(scalars)}
        for degree, gate in zip([degree for degree in self.middle if degree], gates, strict=True):
            if degree in self.out:
                gated[degree] = pre[degree] * torch.sigmoid(gate)
        return self.linear2(gated, x if self.shortcut is None else self.shortcut(x), scale=SILU)
