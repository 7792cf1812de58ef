"""What DimeNet and DimeNet++ share: messages on edges, rounds of them, and energies read from them.

Gasteiger, Groß & Günnemann, ICLR 2020 (arXiv:2003.03123); Gasteiger et al., arXiv:2011.14115. Layers that depend on distances
alone, and those of the outputs, are computed for all rounds at once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from grannfield.graph import AtomGraph
from grannfield.nn.bessel import DistanceBasis
from grannfield.nn.edge_rows import EdgeRows
from grannfield.nn.triplets import AllTriplets, Heard, Moments


class Directional(nn.Module):
    """Messages on edges, interactions between them, and atomic energies read from the messages before and after each.

    `detached` leaves the angles out of the gradient. bases: n_spherical, n_radial, exponent of the envelope.
    """

    def __init__(
        self,
        interactions: list[Interaction],
        outputs: list[Output],
        angles: type[Moments] | type[AllTriplets],
        bases: tuple[int, int, int],
        hidden: int,
        cutoff: float,
        detached: bool,
    ) -> None:
        super().__init__()
        n_spherical, n_radial, exponent = bases
        self.detached, self.n_radial = detached, n_radial
        self.rbf = DistanceBasis(n_radial, n_spherical, n_radial, cutoff, exponent)
        self.angles = angles(n_spherical, n_radial)
        self.embedding = EdgeEmbedding(n_radial, hidden)
        self.interactions, self.outputs = nn.ModuleList(interactions), Outputs(outputs)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        edges = EdgeRows(graph)
        rounds: list[Any] = list(self.interactions)
        distance, unit = edges.polar(edge_vec)
        in_rows, in_slots = edges.functions(self.rbf(distance, edges.present))
        rbf, sbf = in_slots.split([self.n_radial, in_slots.shape[-1] - self.n_radial], dim=-1)
        filters = [self.embedding.rbf.weight, *(r.radial_weight() for r in rounds)]
        first, *factors = linear(in_rows[..., : self.n_radial], torch.cat(filters)).chunk(len(filters), dim=-1)
        messages = [self.embedding(z, first, edges)]
        if rounds:
            heard = self.angles(
                edges, unit.detach() if self.detached else unit, sbf, torch.stack([r.angular_weight() for r in rounds])
            )
            both = [layer for r in rounds for layer in (r.ji, r.kj)]
            weights = torch.cat([layer.weight for layer in both]).chunk(len(rounds))
            biases = torch.cat([layer.bias for layer in both]).chunk(len(rounds))
            layers = zip(rounds, weights, biases, strict=True)
            for number, (interaction, weight, bias) in enumerate(layers):
                own, other = silu(linear(messages[-1], weight, bias)).chunk(2, dim=-1)
                h = own + interaction.hear(other * factors[number], number, heard, edges)
                messages.append(interaction(messages[-1], h))
        return self.outputs(messages, rbf, edges)


class Interaction(nn.Module):
    """Messages m [R, S, F] after one round: each hears of the edges that end where it begins; `hear` says how."""

    def __init__(self, hidden: int, before: int, after: int) -> None:
        super().__init__()
        self.kj, self.ji = orthogonal_linear(hidden, hidden), orthogonal_linear(hidden, hidden)
        self.before = nn.ModuleList(Residual(hidden) for _ in range(before))
        self.skip = orthogonal_linear(hidden, hidden)
        self.after = nn.ModuleList(Residual(hidden) for _ in range(after))

    def radial_weight(self) -> Tensor:
        """[F, n_radial]: which function of the distance multiplies a message before it is heard."""
        raise NotImplementedError

    def angular_weight(self) -> Tensor:
        """[n_l n_n, C]: functions of radius and angle in the basis of both."""
        raise NotImplementedError

    def hear(self, x: Tensor, number: int, heard: Heard, edges: EdgeRows) -> Tensor:
        """What each edge [R, S, F] hears of x [R, S, F] in the round of this number."""
        raise NotImplementedError

    def forward(self, m: Tensor, h: Tensor) -> Tensor:
        """m and its sum h with what was heard, after their first layers."""
        for residual in self.before:
            h = residual(h)
        h = silu(self.skip(h)).add_(m)  # in place, as silu's derivative needs its argument and not its value
        for residual in self.after:
            h = residual(h)
        return h


class Output(nn.Module):
    """Layers that read atomic energies from messages weighted by radial functions; `wide` adds a layer to that width."""

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


class Outputs(nn.ModuleList):
    """Atomic energies [N]: the sum of what each output reads from its messages [R, S, F]. All are computed side by side."""

    def forward(self, messages: list[Tensor], rbf: Tensor, edges: EdgeRows) -> Tensor:
        """rbf [N, K, n_radial] in slots. The sum over neighbours comes before the layer on radial functions."""
        outputs: list[Any] = list(self)
        m = edges.at_slots(torch.cat(messages, dim=-1))
        sums = torch.bmm(rbf.transpose(1, 2), m).view(len(rbf), rbf.shape[-1], len(messages), -1)
        radial = torch.stack([output.rbf.weight for output in outputs]).permute(2, 0, 1)
        y = (sums * radial).sum(dim=1).transpose(0, 1)  # [outputs, N, F]
        wide = hasattr(outputs[0], "up")
        dense = [layer for depth in zip(*(output.dense for output in outputs), strict=True) for layer in depth]
        biases = [layer.bias for layer in ([output.up for output in outputs] if wide else []) + dense]
        shifts = iter(torch.stack(biases).view(-1, len(outputs), 1, biases[0].shape[0])) if biases else iter(())
        if wide:
            y = torch.baddbmm(next(shifts), y, torch.stack([output.up.weight for output in outputs]).transpose(1, 2))
        if dense:
            for weight in torch.stack([layer.weight for layer in dense]).transpose(1, 2).split(len(outputs)):
                y = silu(torch.baddbmm(next(shifts), y, weight))
        final = torch.stack([output.final.weight for output in outputs])
        return torch.bmm(y, final.transpose(1, 2)).sum(dim=0).squeeze(-1)


class EdgeEmbedding(nn.Module):
    """m_ij = silu(A [h_i, h_j, silu(R rbf + r)] + a), with A applied to atoms and pairs separately: -> [R, S, F]."""

    def __init__(self, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.table = nn.Embedding(95, hidden)
        nn.init.uniform_(self.table.weight, -math.sqrt(3), math.sqrt(3))
        self.rbf, self.mix = nn.Linear(n_radial, hidden), nn.Linear(3 * hidden, hidden)

    def forward(self, z: Tensor, radial: Tensor, edges: EdgeRows) -> Tensor:
        """radial = R rbf, [P, 1, F] or [N, K, F]."""
        h = self.table(z)
        of_centre, of_neighbor, of_pair = self.mix.weight.chunk(3, dim=1)
        pairs = linear(silu(radial + self.rbf.bias), of_pair)
        return silu(edges.of_ends(linear(h, of_centre, self.mix.bias), linear(h, of_neighbor)) + pairs)


class Residual(nn.Module):
    """x + silu(L2 silu(L1 x + b1) + b2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = orthogonal_linear(width, width), orthogonal_linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return silu(self.second(silu(self.first(x)))).add_(x)


def orthogonal_linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with orthogonal weights of Glorot variance, 2 / (n_in + n_out), and zero bias."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.orthogonal_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(torch.sqrt(2 / ((n_in + n_out) * layer.weight.var())) if layer.weight.numel() > 1 else 1.0)
        if bias:
            layer.bias.zero_()
    return layer
