"""Attention over neighbours with features of all degrees and linear messages (Liao & Smidt, ICLR 2023, arXiv:2206.11990)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph
from grannfield.nn.edge_products import edge_products, plan
from grannfield.nn.ends import Ends
from grannfield.nn.harmonics import Constant
from grannfield.nn.irreps import (
    Coupling,
    Features,
    IrrepLinear,
    Irreps,
    coupled,
    coupling_matrix,
    couplings,
    directions_of,
    unit_harmonics,
)

SMOOTH_LEAKY_RELU = 1.531320475574866
"""1/rms of that function over a normal distribution, as e3nn estimated it: its digits the weights go with."""
OUTSIDE = -1e4
"""Logarithm of the weight of a padded slot."""


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


class RadialNet(nn.Module):
    """From radial basis [P, n] to one factor per channel of each coupling, [P, sum of channels]."""

    def __init__(self, widths: Sequence[int], paths: list[Coupling]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            linear = nn.Linear(n_in, n_out)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.LayerNorm(n_out), nn.SiLU()]
        n_out = sum(path.channels for path in paths)
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], n_out, bias=False))
        self.offset = nn.Parameter(torch.empty(n_out).uniform_(-1 / sqrt(widths[-1]), 1 / sqrt(widths[-1])))

    @property
    def last(self) -> Tensor:
        """Weight of the last layer, [sum of channels, width]; `offset` is its bias."""
        return cast(nn.Linear, self.net[-1]).weight


def hidden_layers(nets: Sequence[RadialNet], rbf: Tensor) -> Tensor:
    """The last hidden layers of all networks, [L, P, width], each layer of all of them at once."""
    x = rbf.expand(len(nets), *rbf.shape)
    for layer in range(0, len(nets[0].net) - 1, 3):
        linear = [cast(nn.Linear, net.net[layer]) for net in nets]
        norm = [cast(nn.LayerNorm, net.net[layer + 1]) for net in nets]
        weight = torch.stack([one.weight for one in linear])
        vectors: list[Tensor] = [*(one.bias for one in linear), *(one.bias for one in norm), *(one.weight for one in norm)]
        bias, shift, factor = torch.stack(vectors).view(3, len(nets), 1, -1)
        x = torch.baddbmm(bias, x, weight.transpose(1, 2))
        x = nn.functional.layer_norm(x, x.shape[-1:], eps=norm[0].eps)
        x = nn.functional.silu(torch.addcmul(shift, x, factor))
    return x


class Edges(NamedTuple):
    """The directions of all slots i->j and how much each counts."""

    graph: AtomGraph
    ends: Ends
    turns: Tensor
    """[N * K, M] harmonics of degrees above 0 with unit sum of squares."""
    weighed: Tensor
    """[N, K, M] harmonics of all degrees with sum of squares 2l + 1, times C(d) or the mask."""
    log_fade: Tensor
    """[N * K, 1] logarithm of C(d), or of the mask."""
    degrees: tuple[int, ...]

    @classmethod
    def of(cls, edge_vec: Tensor, degrees: tuple[int, ...], graph: AtomGraph, fade: Tensor | None) -> Edges:
        """fade is C(d) [N * K]; without it all neighbours count the same."""
        direction = directions_of(edge_vec)
        harmonics = unit_harmonics(direction, degrees)
        turns = [direction if degree == 1 else y / sqrt(2 * degree + 1) for degree, y in harmonics.items() if degree]
        fade = graph.mask.to(direction.dtype).flatten() if fade is None else fade
        weighed = torch.cat(list(harmonics.values()), dim=-1) * fade.view(*graph.mask.shape, 1)
        outside = fade.new_full((), OUTSIDE)
        log_fade = torch.where(graph.mask.view(-1), fade.clamp(min=torch.finfo(fade.dtype).tiny).log(), outside)
        turned = (torch.cat(turns, dim=-1) if len(turns) > 1 else turns[0]) if turns else direction[..., :0]
        return cls(graph, Ends.of(graph), turned.flatten(0, 1), weighed, log_fade.unsqueeze(-1), degrees)

    def copies(self, n: int) -> list[Edges]:
        """The same for each of n layers: their derivatives are added all at once."""
        names = ("turns", "weighed", "log_fade")
        layers = zip(
            *(getattr(self, name).unsqueeze(0).expand(n, *getattr(self, name).shape).unbind(0) for name in names), strict=True
        )
        return [self._replace(**dict(zip(names, own, strict=True))) for own in layers]


class Weights(NamedTuple):
    """Weights of one layer's attention as it multiplies by them; those of all layers are arranged together by `stacked`."""

    ends: tuple[Tensor, ...]
    """For each degree what makes source and target, [C, 2 C]."""
    ends_bias: Tensor
    """[2 C] of the scalars, half of it for each end."""
    factors: Tensor
    """[sum of channels, width + 1] of the radial network's last layer, its bias last."""
    features: Tensor
    """[S, heads * features] attention features of the coupled scalars."""
    features_bias: Tensor
    values: Tensor
    """[heads, S + 1, channels] of the coupled scalars and a one."""
    logit: Tensor
    """[heads * features, heads], zero between different heads."""


class Attention(nn.Module):
    """Messages of the neighbours, q = (source of j) + (target of i) coupled to Y(u_ij), weighed by softmax in each head.

    `mix` turns the coupled features into attention features and values. The values are linear, so the coupled features are
    weighed and summed over the neighbours before it; and since the coupling is bilinear, they are never made either: what is
    summed, a matrix product, is (weight * Y) (x) (radial factor * q), contracted with the Wigner symbol once for each atom.
    """

    def __init__(self, sizes: Sizes, read: Sequence[int]) -> None:
        """Only degrees `read` of the result are made; weights of others are kept unused."""
        super().__init__()
        node, head, heads = sizes.node, sizes.head, sizes.heads
        self.node, self.head, self.heads, self.drop = node, head, heads, sizes.drop
        paths = couplings(node, sizes.degrees, head)
        if missing := sorted(set(head) - set(coupled(paths))):
            raise ValueError(f"heads have degree {missing[0]}, which irreps_node_embedding and irreps_sh do not couple to")
        self.source, self.target = IrrepLinear(node, node), IrrepLinear(node, node, bias=False)
        self.radial = RadialNet(sizes.radial, paths)
        self.mix = IrrepLinear(coupled(paths), {degree: heads * n * (1 if degree else 2) for degree, n in head.items()})
        self.logit = nn.Parameter(torch.empty(heads, head[0]))
        nn.init.xavier_uniform_(self.logit)
        self.project = IrrepLinear({degree: heads * n for degree, n in head.items()}, node)
        self.own_head = Constant(SMOOTH_LEAKY_RELU * torch.eye(heads, dtype=torch.float64).unsqueeze(1))
        self.read = [degree for degree in node if degree in read]
        self.all_paths, self.paths = paths, [path for path in paths if path.l3 in {0, *self.read}]
        self.plan = plan(self.paths, node, sizes.degrees)

    def forward(self, x: Features, hidden: Tensor, edges: Edges, weights: Weights, onto: Features) -> Features:
        """The attention's result added to `onto`; hidden [N * K, width + 1] of the radial network and a one."""
        q = edges.ends.sums(self._both(x, weights))
        scalars, *parts = edge_products(q, hidden @ self._made(weights.factors).t(), edges.turns, self.plan)
        features = _LeakySilu.apply(torch.addmm(weights.features_bias, scalars, weights.features))
        logits = torch.addmm(edges.log_fade, features, weights.logit).view(*edges.graph.mask.shape, self.heads)
        share = nn.functional.dropout(torch.softmax(logits, dim=1), self.drop, self.training)
        left = (edges.weighed.unsqueeze(-1) * share.unsqueeze(-2)).flatten(2).transpose(1, 2)  # [N, M * heads, K]
        rows = left.split([(2 * degree + 1) * self.heads for degree in edges.degrees], dim=1)
        sums = {
            degree: (row @ part.unflatten(0, share.shape[:2])).unflatten(1, (-1, self.heads))
            for degree, row, part in zip(edges.degrees, rows, parts, strict=True)
            if part.shape[1]
        }
        return self.project(self._values(sums, weights), {degree: onto[degree] for degree in self.read})

    def _made(self, rows: Tensor) -> Tensor:
        """Of what the radial network has for all couplings the rows of those that are made."""
        if len(self.paths) == len(self.all_paths):
            return rows
        parts = rows.split([path.channels for path in self.all_paths])
        return torch.cat([part for path, part in zip(self.all_paths, parts, strict=True) if path in self.paths])

    def _both(self, x: Features, weights: Weights) -> Tensor:
        """Sources and targets, [N, 2, sum of (2l+1) channels]."""
        found: list[Tensor] = []
        for weight, (degree, value) in zip(weights.ends, x.items(), strict=True):
            rows, shape = value.flatten(0, 1), (*value.shape[:2], 2, value.shape[2])
            if degree == 0:
                found.append(torch.addmm(weights.ends_bias, rows, weight, beta=0.5).view(-1, *shape[2:]))
            else:
                found += (rows @ weight).view(shape).unbind(1)
        return torch.cat(found, dim=-1)

    def _values(self, sums: dict[int, Tensor], weights: Weights) -> Features:
        """The values of all heads side by side, {degree: [N, 2l+1, heads * channels]}.

        sums {l2: [N, 2 l2 + 1, heads, columns]} of the couplings with harmonics of degree l2, scalars and a one last.
        """
        products: dict[Coupling | None, Tensor] = {}
        for l2, total in sums.items():
            paths = [path for path in self.paths if path.l3 and path.l2 == l2]
            widths = [(2 * path.l1 + 1) * path.channels for path in paths]
            keys, rest = ([*paths, None], [self.plan.widths[0] + 1]) if l2 == 0 else (paths, [])
            products.update(zip(keys, total.split([*widths, *rest], dim=-1), strict=True))
        values = {0: torch.bmm(products[None].squeeze(1).transpose(0, 1), weights.values).unsqueeze(2)}
        for degree in self.head:
            if degree and degree in self.read:
                joined = torch.cat([self._coupled(products[path], path) for path in self.paths if path.l3 == degree], dim=-1)
                weight = self.mix.weights[str(degree)].unflatten(-1, (self.heads, -1)).transpose(0, 1)
                values[degree] = torch.bmm(joined.flatten(1, 2), weight).unflatten(1, joined.shape[1:3])
        return {degree: value.permute(1, 2, 0, 3).flatten(2) for degree, value in values.items()}

    def _coupled(self, product: Tensor, path: Coupling) -> Tensor:
        """Sums [N, 2 l2 + 1, heads, (2 l1 + 1) channels] coupled to degree l3, [heads, N, 2 l3 + 1, channels]."""
        if path.l1 == 0:  # the Wigner symbol is the unit matrix over a root
            return product.permute(2, 0, 1, 3)
        product = product.unflatten(-1, (2 * path.l1 + 1, -1))
        if path.l2 == 0:
            return product.squeeze(1).transpose(0, 1)
        matrix = coupling_matrix(*path[:3], product.dtype, product.device)
        n, _, heads, _, channels = product.shape
        joined = product.permute(1, 3, 0, 2, 4).reshape(matrix.shape[1], -1)
        return (matrix @ joined).view(-1, n, heads, channels).permute(2, 1, 0, 3)


def stacked(layers: Sequence[Attention]) -> list[Weights]:
    """The weights of all layers, each kind arranged in one operation."""
    heads, (channels, *_), n = layers[0].heads, layers[0].head.values(), len(layers)
    ends = []
    for degree, width in layers[0].node.items():
        both = [end.weights[str(degree)] for layer in layers for end in (layer.source, layer.target)]
        ends.append(torch.cat(both, dim=1).view(width, n, 2 * width).unbind(1))
    ends_bias = torch.cat([layer.source.bias for layer in layers for _ in range(2)]).view(n, -1)
    last = torch.cat([part for layer in layers for part in (layer.radial.last, layer.radial.offset.unsqueeze(1))], dim=1)
    mix = [part.view(-1, heads, 2, channels) for layer in layers for part in (layer.mix.weights["0"], layer.mix.bias)]
    features, values = (torch.cat([part[:, :, which] for part in mix]).unflatten(0, (n, -1)) for which in range(2))
    features = features.flatten(2)
    logit = torch.stack([layer.logit for layer in layers]).unsqueeze(-1) * layers[0].own_head.value
    factors = last.view(len(last), n, -1).unbind(1)
    own = (
        zip(*ends, strict=True),
        ends_bias,
        factors,
        features[:, :-1],
        features[:, -1],
        values.transpose(1, 2),
        logit.flatten(1, 2),
    )
    return [Weights(*each) for each in zip(*own, strict=True)]


class _LeakySilu(torch.autograd.Function):
    """0.6 a + 0.4 a (2 sigmoid(a) - 1) = 0.2 a + 0.8 silu(a)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        steep = nn.functional.silu(a)
        return torch.lerp(a, steep, 0.8, out=steep)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (a,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            s = torch.sigmoid(a)
            return grad * (0.2 + 0.8 * s * (1 + a * (1 - s)))
        steep = torch.ops.aten.silu_backward(grad, a)
        return torch.lerp(grad, steep, 0.8, out=steep)
