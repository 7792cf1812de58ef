"""ForceNet: forces by an unconstrained message-passing network (Hu et al., arXiv:2103.01436)."""

from __future__ import annotations

import math
from importlib import resources

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values, neighbor_values
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.norm import BatchNorm

PROPERTIES = 9
"""Of an element: group, period, electronegativity, radius, valence electrons, ionisation energy, affinity, block, volume."""
HARMONICS = 9
DISTANCES = 4
"""Of a bond: d, and d less the radius of one atom, of the other, of both."""
SMALLEST = 1e-3


@register("forcenet")
class ForceNet(ForceField):
    """Messages through filters of all edge coordinates and both atoms; forces by a direct head.

    Neither energies nor forces follow a rotation, forces are not the gradient of the energy and do not sum to zero: the
    architecture gives up these symmetries for speed. Defaults are those of Table 1: 11,365,284 parameters, of which 1,660
    are frozen tables and frequencies.

    Differs from the published arithmetic:
    - the energy's bias is one for each atom; the published one is one for each structure, so two cells have not twice the
      energy of one.
    """

    conservative = False
    symmetry = "translation-invariant"
    claims = Claims(rotation="none", reflection=False)

    def __init__(
        self,
        hidden_channels: int = 512,
        num_interactions: int = 5,
        num_freqs: int = 50,
        decoder_hidden_channels: int = 512,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        radius, properties = _element_tables()
        tabulated = (radius.isfinite() & properties.isfinite().all(dim=1)).nonzero().squeeze(1)
        self.elements = tuple(tabulated.tolist())
        self.radius, self.properties = nn.Parameter(radius, requires_grad=False), nn.Parameter(properties, requires_grad=False)
        self.embedding_freq = _frequencies(num_freqs, PROPERTIES)
        self.embedding = nn.Linear(num_freqs * PROPERTIES, hidden_channels)
        self.edge_freq = _frequencies(num_freqs, DISTANCES)
        self.radial = nn.Linear(num_freqs * DISTANCES, DISTANCES)
        self.interactions = nn.ModuleList(Interaction(hidden_channels) for _ in range(num_interactions))
        self.post = glorot_linear(hidden_channels, decoder_hidden_channels)
        self.force0 = glorot_linear(decoder_hidden_channels, decoder_hidden_channels)
        self.force_bn = BatchNorm(decoder_hidden_channels)
        self.force1 = glorot_linear(decoder_hidden_channels, 3)
        self.energy = nn.Linear(decoder_hidden_channels, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        h = self.embedding(_waves(self.properties.index_select(0, z), self.embedding_freq))
        distance = torch.linalg.vector_norm(edge_vec, dim=-1)
        edge = self._edge_attributes(z, graph, edge_vec, distance)
        weight = (torch.cos(distance * (math.pi / (2 * self.cutoff))) * graph.mask).unsqueeze(-1)
        for interaction in self.interactions:
            h = h + interaction(h, edge, weight, graph)
        h = silu(self.post(h))
        forces = self.force1(silu(self.force_bn(self.force0(h))))
        atomic = linear(h, self.energy.weight).squeeze(-1)
        if self.as_published:
            return atomic + self.energy.bias / graph_values(atoms_by_graph(graph), graph).to(h.dtype), forces
        return atomic + self.energy.bias, forces

    def _edge_attributes(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor, distance: Tensor) -> Tensor:
        """[N,K,36]: nine harmonics of the direction times four mixtures of waves of the distance."""
        radius = self.radius.index_select(0, z)
        of_centre, of_neighbor = radius.unsqueeze(1), radius.index_select(0, graph.neighbors.reshape(-1)).view_as(distance)
        gaps = torch.stack([distance, distance - of_neighbor, distance - of_centre, distance - of_centre - of_neighbor], dim=-1)
        radial = self.radial(_waves((gaps / self.cutoff).clamp(min=SMALLEST), self.edge_freq))
        angular = _harmonics(edge_vec / distance.unsqueeze(-1))
        return (angular.unsqueeze(-1) * radial.unsqueeze(-2)).flatten(-2)


class Interaction(nn.Module):
    """h_i gains node1 silu(BN(node0(sum_j u_j * w_ij + s * u_i))), with filters w of the edge and both atoms.

    The first filter layer is applied to atoms and to edges separately, and to edges together with the linear layer before
    it: two linear maps of 36 numbers are one.
    """

    def __init__(self, hidden_channels: int) -> None:
        super().__init__()
        f = hidden_channels
        self.basis = glorot_linear(HARMONICS * DISTANCES, f)
        self.filter0, self.filter1, self.filter2 = glorot_linear(3 * f, f), glorot_linear(f, f), glorot_linear(f, f)
        self.inward = glorot_linear(f, f)
        self.self_scale = nn.Parameter(torch.empty(1, f))
        nn.init.xavier_uniform_(self.self_scale)
        self.node0, self.bn, self.node1 = glorot_linear(f, f), BatchNorm(f), glorot_linear(f, f)

    def forward(self, h: Tensor, edge: Tensor, weight: Tensor, graph: AtomGraph) -> Tensor:
        of_edge, of_neighbor, of_centre = self.filter0.weight.chunk(3, dim=1)
        constant = linear(self.basis.bias, of_edge, self.filter0.bias)
        pre = linear(edge, of_edge @ self.basis.weight) + linear(h, of_centre, constant).unsqueeze(1)
        u, from_neighbor = neighbor_values(torch.cat([self.inward(h), linear(h, of_neighbor)], dim=-1), graph).chunk(2, dim=-1)
        w = self.filter2(silu(self.filter1(silu(pre + from_neighbor)))) * weight
        y = (u * w).sum(dim=1) + self.self_scale * self.inward(h)
        return self.node1(silu(self.bn(self.node0(y))))


def _waves(x: Tensor, freq: Tensor) -> Tensor:
    """sin(1.1^k x_c) for C coordinates, [..., C] -> [..., Q*C], index k*C + c."""
    return torch.sin(x.repeat(*[1] * (x.dim() - 1), freq.shape[1] // x.shape[-1]) * freq[0])


def _frequencies(n: int, coordinates: int) -> nn.Parameter:
    powers = 1.1 ** torch.arange(n, dtype=torch.float64)
    return nn.Parameter(powers.repeat_interleave(coordinates).unsqueeze(0).float(), requires_grad=False)


def _harmonics(n: Tensor) -> Tensor:
    """Nine harmonics of unit vectors [..., 3] as the published code orders and normalises them: real parts of complex ones."""
    x, y, z = n.unbind(dim=-1)
    pi = math.pi
    return torch.stack(
        [
            torch.full_like(x, 0.5 * math.sqrt(1 / pi)),
            0.5 * math.sqrt(3 / pi) * z,
            0.25 * math.sqrt(5 / pi) * (3 * z * z - 1),
            -math.sqrt(3 / (8 * pi)) * x,
            -math.sqrt(15 / (8 * pi)) * x * z,
            0.25 * math.sqrt(15 / (2 * pi)) * (x * x - y * y),
            -math.sqrt(3 / (8 * pi)) * y,
            -math.sqrt(15 / (8 * pi)) * y * z,
            0.5 * math.sqrt(15 / (2 * pi)) * x * y,
        ],
        dim=-1,
    )


def _element_tables() -> tuple[Tensor, Tensor]:
    """Radii [101] in Å and scaled properties [101, 9], rows by atomic number; NaN where not tabulated."""
    text = resources.files("grannfield.models").joinpath("forcenet_elements.csv").read_text(encoding="utf-8")
    rows = torch.tensor([[float(x) for x in line.split(",")[1:]] for line in text.splitlines()[2:]])
    return rows[:, 0].contiguous(), rows[:, 1:].contiguous()
