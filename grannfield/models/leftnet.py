"""LEFTNet: messages that see the surroundings of both atoms in the frame of their edge.

Du et al., NeurIPS 2023, arXiv:2304.04757.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, sqrt

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, neighbor_values, pair_values, pair_vectors
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.radial import cosine_cutoff

ELEMENTS = 95
SOFTENING = 0.1
"""Å; a frame's reference direction fades when it is less than this off the edge."""


@register("leftnet")
class LEFTNet(ForceField):
    """Scalars and vectors of the neighbours, filtered by the surroundings of both atoms in the frame of their edge.

    Defaults are those of Table 1: 2,119,076 parameters, published or not, the direct force head among them: forces are no
    gradient of the energy and do not sum to zero.

    Differs from the published arithmetic:
    - the frame's second axis comes from where the neighbours of both atoms are, not from the cross product of two Cartesian
      positions: shifting all atoms, or one by a lattice vector, changes nothing; and it vanishes smoothly where it is undefined.
    - messages fade with the envelope: trained biases of the radial filter leave a jump at the cut-off without it. Published,
      with random biases of 0.3, the energy of a Li-S pair jumps by 0.17 there; here it changes by 0.01 over the last fifth of
      the way and does not jump.
    """

    conservative = False
    symmetry = "SE(3)/E(3)-equivariant"
    claims = Claims("exact", True, True)

    def __init__(
        self,
        hidden_channels: int = 128,
        num_layers: int = 4,
        num_radial: int = 32,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, ELEMENTS))
        self.num_radial = num_radial
        self.embedding = nn.Embedding(ELEMENTS, hidden_channels)
        self.neighbor_embedding = nn.Embedding(ELEMENTS, hidden_channels)
        self.radial = _mlp(num_radial, hidden_channels, hidden_channels)
        self.surroundings = nn.Linear(hidden_channels, hidden_channels)
        self.local0, self.local1 = nn.Linear(3, hidden_channels // 4), nn.Linear(hidden_channels // 4, 1)
        self.messages = nn.ModuleList(Message(hidden_channels, num_radial) for _ in range(num_layers))
        self.updates = nn.ModuleList(Update(hidden_channels) for _ in range(num_layers))
        self.energy = nn.Linear(hidden_channels, 1)
        self.force = ForceHead(hidden_channels)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
        envelope = cosine_cutoff(distance, self.cutoff)
        rbf = self._basis(distance, envelope)
        both = torch.cat([envelope.unsqueeze(-1) * self.radial(rbf), rbf], dim=-1)
        one = torch.ones_like(distance).unsqueeze(-1)
        gain = pair_values(torch.cat([rbf, one], dim=-1) * (one if self.as_published else envelope.unsqueeze(-1)), graph)
        fade, filters = pair_values(envelope, graph), pair_values(both[:, : -self.num_radial], graph)
        direction = edge_vec / torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)

        h = self.embedding(z) + (filters * neighbor_values(self.neighbor_embedding(z), graph)).sum(dim=1)
        seen = neighbor_values(nn.functional.silu(self.surroundings(h)), graph)
        field = direction.transpose(1, 2) @ (filters * seen)
        frame = self._frame(graph, edge_vec, direction, fade)
        turned = frame @ neighbor_values(field, graph), (frame.flatten(1, 2) @ field).unflatten(1, (-1, 3))
        local = torch.cat([self._local(q) for q in turned], dim=-1) * fade.unsqueeze(-1)

        v = torch.zeros_like(field)
        for message, update in zip(self.messages, self.updates, strict=True):
            h, v = update(*message(h, v, local, both, gain, direction, graph))
        return self.energy(h).squeeze(-1), self.force(h, v)

    def _basis(self, distance: Tensor, envelope: Tensor) -> Tensor:
        """Gaussians in e^-d that fade with the envelope, [P, n] (Unke & Meuwly, 10.1021/acs.jctc.9b00181)."""
        n, last = self.num_radial, exp(-self.cutoff)
        centers = torch.arange(n, dtype=distance.dtype, device=distance.device) * ((1 - last) / max(n - 1, 1)) + last
        steep = (2 / n * (1 - last)) ** -2
        return envelope.unsqueeze(-1) * torch.exp(-steep * (torch.exp(-distance).unsqueeze(-1) - centers).square())

    def _frame(self, graph: AtomGraph, edge_vec: Tensor, direction: Tensor, fade: Tensor) -> Tensor:
        """Rows u, k and u x k of every edge, [N, K, 3, 3]."""
        k = _normal_of_positions(graph).to(direction.dtype) if self.as_published else _normal(graph, edge_vec, direction, fade)
        return torch.stack([direction, k, torch.linalg.cross(direction, k)], dim=2)

    def _local(self, q: Tensor) -> Tensor:
        """What an atom's field is like along the axes of an edge, [N, K, H], from its components [N, K, 3, H]."""
        along, across, third = q.unbind(dim=2)
        hidden = self.local0(torch.stack([along, across.abs(), third], dim=-1))  # [N, K, H, H/4], the model's largest array
        return self.local1(nn.functional.silu(hidden, inplace=not torch.is_grad_enabled())).squeeze(-1) + along


def _normal_of_positions(graph: AtomGraph) -> Tensor:
    """r_j x r_i / |r_j x r_i|, [N, K, 3], from the positions as they stand; zero for an atom and its own image."""
    centre = graph.pos.unsqueeze(1)
    product = torch.linalg.cross(graph.pos[graph.neighbors], centre.expand(*graph.neighbors.shape, 3))
    itself = graph.neighbors == torch.arange(len(centre), device=centre.device).unsqueeze(1)
    product = product.masked_fill(itself.unsqueeze(-1), 0.0)
    length = torch.linalg.vector_norm(product, dim=-1, keepdim=True)
    return product / torch.where(length > 0, length, 1.0)


def _normal(graph: AtomGraph, edge_vec: Tensor, direction: Tensor, fade: Tensor) -> Tensor:
    """k = u x a / sqrt(|u x a|² + softening²), [N, K, 3], with a = c_i + c_j and c the mean vector to an atom's neighbours.

    a points from the middle of the edge to where the neighbours of its two atoms are (twice), as the published construction,
    in a molecule centred at the origin, points to the centre of the molecule. The mean weighs by the squared envelope: |u x a|
    has a median of 0.13 to 0.27 Å in four sulphide crystals, against 0.05 to 0.28 Å with the envelope itself. It divides by
    1 + sum of weights, so that it fades with the last neighbour.
    """
    weight = fade.square()
    mean = (weight.unsqueeze(-1) * edge_vec).sum(dim=1) / (1 + weight.sum(dim=1, keepdim=True))
    across = torch.linalg.cross(direction, mean.unsqueeze(1) + neighbor_values(mean, graph))
    return across * torch.rsqrt(across.square().sum(dim=-1, keepdim=True) + SOFTENING**2)


def _mlp(n_in: int, n_hidden: int, n_out: int, linear: Callable[[int, int], nn.Linear] = nn.Linear) -> nn.Sequential:
    return nn.Sequential(linear(n_in, n_hidden), nn.SiLU(), linear(n_hidden, n_out))


class Message(nn.Module):
    """Neighbours' scalars and vectors, weighed by the distance and by what both atoms see along the edge."""

    def __init__(self, channels: int, num_radial: int) -> None:
        super().__init__()
        self.channels = channels
        self.node = _mlp(channels, channels, 3 * channels, glorot_linear)
        self.edge0 = nn.Linear(3 * channels + num_radial, 3 * channels)
        self.edge1 = nn.Linear(3 * channels, 3 * channels)
        self.gain = glorot_linear(num_radial, 3 * channels)

    def forward(
        self, h: Tensor, v: Tensor, local: Tensor, both: Tensor, gain: Tensor, direction: Tensor, graph: AtomGraph
    ) -> tuple[Tensor, Tensor]:
        """Updated h [N, H] and v [N, 3, H].

        local [N, K, 2H] what j and i see along the edge; both [P, H + n] what depends on the distance alone; gain
        [N, K, n + 1] the radial basis, its last column for the bias, zero in padded slots.
        """
        to_local, to_both = self.edge0.weight.split([2 * self.channels, both.shape[1]], dim=1)
        seen = nn.functional.linear(local, to_local) + pair_values(nn.functional.linear(both, to_both, self.edge0.bias), graph)
        gain = gain @ torch.cat([self.gain.weight, self.gain.bias.unsqueeze(1)], dim=1).t()
        message = neighbor_values(self.node(h), graph) * gain * self.edge1(nn.functional.silu(seen))
        scalar, carried, along = message.split(self.channels, dim=-1)
        turned = (neighbor_values(v, graph) * carried.unsqueeze(2)).sum(dim=1) / sqrt(3)
        return h + scalar.sum(dim=1), v + (turned + direction.transpose(1, 2) @ along) / sqrt(self.channels)


class Update(nn.Module):
    """An atom's scalars and vectors mixed with each other; only lengths and products of the vectors enter the scalars."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.vectors = glorot_linear(channels, 2 * channels, bias=False)
        self.mix = _mlp(2 * channels, channels, 3 * channels, glorot_linear)

    def forward(self, h: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v1, v2 = self.vectors(v).split(self.channels, dim=-1)
        y1, y2, y3 = self.mix(torch.cat([h, torch.linalg.vector_norm(v1, dim=1)], dim=-1)).split(self.channels, dim=-1)
        product = (v1 * v2).sum(dim=1) / sqrt(self.channels)
        return h + (y1 + y2 + product) / sqrt(2), v + y3.unsqueeze(1) * v2


class ForceHead(nn.Module):
    """F_i = gate * (a mixture of the atom's vectors), [N, 3]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.length = glorot_linear(channels, channels, bias=False)
        self.vector = glorot_linear(channels, 1, bias=False)
        self.gate = _mlp(2 * channels, channels, 2, glorot_linear)

    def forward(self, h: Tensor, v: Tensor) -> Tensor:
        gate = self.gate(torch.cat([h, torch.linalg.vector_norm(self.length(v), dim=1)], dim=-1))
        return gate[:, 1:] * self.vector(v).squeeze(-1)
