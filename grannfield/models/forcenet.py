"""ForceNet: forces by an unconstrained message-passing network (Hu et al., arXiv:2103.01436)."""

from __future__ import annotations

import math
from importlib import resources
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values, neighbor_values
from grannfield.nn.harmonics import Constant
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.norm import BatchNorm
from grannfield.nn.overwriting import plus, plus_product, silu, times

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
        self.of_direction, self.of_products = (Constant(table) for table in _harmonics())
        self.without_or_with = Constant(torch.tensor([0.0, -1.0 / self.cutoff], dtype=torch.float64))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        h = self.embedding(_waves(self.properties.index_select(0, z), self.embedding_freq))
        distance = torch.linalg.vector_norm(edge_vec, dim=-1)
        edge = self._edge_attributes(z, graph, edge_vec, distance)
        weight = (torch.cos(distance * (math.pi / (2 * self.cutoff))) * graph.mask).unsqueeze(1)
        for interaction, filters, constant in zip(self.interactions, *self._first_filters(), strict=True):
            h = interaction(h, edge, weight, filters, constant, graph)
        h = silu(self.post(h))
        forces = self.force1(silu(self.force_bn(self.force0(h))))
        if self.as_published:
            shared = self.energy.bias / graph_values(atoms_by_graph(graph), graph).to(h.dtype)
            return linear(h, self.energy.weight).squeeze(-1) + shared, forces
        return self.energy(h).squeeze(-1), forces

    def _edge_attributes(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor, distance: Tensor) -> Tensor:
        """[N * K, 36]: nine harmonics of the direction times four mixtures of waves of the distance.

        The distances less no radius, that of j, of i and of both, in this order and over the cut-off, are two choices of two.
        """
        radius = self.radius.index_select(0, z).unsqueeze(1) * self.without_or_with.value
        of_neighbor = radius.index_select(0, graph.neighbors.reshape(-1)).view(*distance.shape, 2)
        gaps = torch.add(of_neighbor, distance.unsqueeze(-1), alpha=1 / self.cutoff).unsqueeze(-2) + radius[:, None, :, None]
        radial = self.radial(_waves(gaps.flatten(0, 1).flatten(1).clamp(min=SMALLEST), self.edge_freq))
        n = (edge_vec / distance.unsqueeze(-1)).view(-1, 3)
        products = (n.unsqueeze(2) * n.unsqueeze(1)).flatten(1)
        angular = torch.addmm(n @ self.of_direction.value, products, self.of_products.value)
        return (angular.unsqueeze(2) * radial.unsqueeze(1)).flatten(1)

    def _first_filters(self) -> tuple[Tensor, Tensor]:
        """What multiplies an edge's 36 numbers in each interaction's first filter layer, [L, 36, F], and its constant, [L, 1, F].

        That layer follows a linear one, and two linear maps of 36 numbers are one.
        """
        layers = cast(list[Interaction], list(self.interactions))
        f = self.embedding.out_features
        basis = torch.cat([part for x in layers for part in (x.basis.weight, x.basis.bias.unsqueeze(1))], dim=1)
        of_edge = torch.cat([x.filter0.weight[:, :f] for x in layers]).view(len(layers), f, f)
        both = (of_edge @ basis.view(f, len(layers), -1).transpose(0, 1)).transpose(1, 2)
        return both[:, :-1], both[:, -1:] + torch.stack([x.filter0.bias for x in layers]).unsqueeze(1)


class Interaction(nn.Module):
    """h_i gains node1 silu(BN(node0(sum_j u_j * w_ij + s * u_i))), with filters w of the edge and both atoms."""

    def __init__(self, hidden_channels: int) -> None:
        super().__init__()
        f = hidden_channels
        self.basis = glorot_linear(HARMONICS * DISTANCES, f)
        self.filter0, self.filter1, self.filter2 = glorot_linear(3 * f, f), glorot_linear(f, f), glorot_linear(f, f)
        self.inward = glorot_linear(f, f)
        self.self_scale = nn.Parameter(torch.empty(1, f))
        nn.init.xavier_uniform_(self.self_scale)
        self.node0, self.bn, self.node1 = glorot_linear(f, f), BatchNorm(f), glorot_linear(f, f)

    def forward(self, h: Tensor, edge: Tensor, weight: Tensor, filters: Tensor, constant: Tensor, graph: AtomGraph) -> Tensor:
        """Updated h [N, F].

        edge [N * K, 36]; weight [N, 1, K] fades with the distance; filters [36, F] and constant [1, F] are the share of the edge
        in the first filter layer, which is applied to atoms and to edges separately.
        """
        n, f = h.shape
        of_atoms = self.filter0.weight.view(f, 3, f)[:, 1:].permute(1, 2, 0)
        of_neighbor, of_centre = torch.baddbmm(constant, h.expand(2, n, f), of_atoms, beta=0.5)  # half the constant each
        u = self.inward(h)
        pre = plus_product(neighbor_values(of_neighbor, graph).flatten(0, 1), edge, filters).view(n, -1, f)
        w = self.filter2(silu(self.filter1(silu(plus(pre, of_centre.unsqueeze(1))))))
        y = torch.baddbmm((self.self_scale * u).unsqueeze(1), weight, times(w, neighbor_values(u, graph))).squeeze(1)
        return h + self.node1(silu(self.bn(self.node0(y))))


def _waves(x: Tensor, freq: Tensor) -> Tensor:
    """sin(1.1^k x_c) for C coordinates, [n, C] -> [n, Q*C], index k*C + c."""
    return torch.sin((x.unsqueeze(1) * freq.view(-1, x.shape[1])).flatten(1))


def _frequencies(n: int, coordinates: int) -> nn.Parameter:
    powers = 1.1 ** torch.arange(n, dtype=torch.float64)
    return nn.Parameter(powers.repeat_interleave(coordinates).unsqueeze(0).float(), requires_grad=False)


def _harmonics() -> tuple[Tensor, Tensor]:
    """Nine harmonics of a unit vector n, as the published code orders and normalises them: real parts of complex ones.

    They are n @ a + (n (x) n) @ b; returned are a [3, 9] and b [9, 9].
    """
    linear, square = torch.zeros(3, 9, dtype=torch.float64), torch.zeros(3, 3, 9, dtype=torch.float64)
    x, y, z = range(3)
    pi = math.pi
    square[range(3), range(3), 0] = 0.5 * math.sqrt(1 / pi)  # times x² + y² + z² = 1
    linear[z, 1] = 0.5 * math.sqrt(3 / pi)
    square[range(3), range(3), 2] = 0.25 * math.sqrt(5 / pi) * torch.tensor([-1.0, -1.0, 2.0], dtype=torch.float64)  # 3z² - 1
    linear[x, 3] = linear[y, 6] = -math.sqrt(3 / (8 * pi))
    square[x, z, 4] = square[y, z, 7] = -math.sqrt(15 / (8 * pi))
    square[x, x, 5], square[y, y, 5] = 0.25 * math.sqrt(15 / (2 * pi)), -0.25 * math.sqrt(15 / (2 * pi))
    square[x, y, 8] = 0.5 * math.sqrt(15 / (2 * pi))
    return linear, square.flatten(0, 1)


def _element_tables() -> tuple[Tensor, Tensor]:
    """Radii [101] in Å and scaled properties [101, 9], rows by atomic number; NaN where not tabulated."""
    text = resources.files("grannfield.models").joinpath("forcenet_elements.csv").read_text(encoding="utf-8")
    rows = torch.tensor([[float(x) for x in line.split(",")[1:]] for line in text.splitlines()[2:]])
    return rows[:, 0].contiguous(), rows[:, 1:].contiguous()
