"""CGCNN: crystal graph convolutions (Xie & Grossman, Phys. Rev. Lett. 120, 145301 (2018), 10.1103/PhysRevLett.120.145301)."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values, sum_by_graph
from grannfield.nn.distance import distances, fade, gaussians
from grannfield.nn.incidence import Incidence, to_neighbors
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.norm import BatchNorm
from grannfield.nn.radial import GaussianBasis

ELEMENT_COLUMNS = 92


@register("cgcnn")
class CGCNN(ForceField):
    """Gated messages from both atoms and their distance, the atoms known by a table of 92 binary properties.

    Defaults give 245,990 parameters (0.25 M in Table 1). Which widths the paper used is inferred from that number, its
    "embedding 128" and the 100 Gaussians of its other models.

    Differs from the published arithmetic:
    - messages are multiplied by the cosine C(d), so the energy does not jump when an atom crosses the cut-off;
    - the head acts on every atom and its results are summed: the published one acts on the mean over atoms, which makes the
      energy of two cells that of one and halves the forces.
    """

    inferred = True
    by_number: Tensor

    def __init__(
        self,
        num_features: int = 128,
        num_gaussians: int = 100,
        num_graph_conv_layers: int = 2,
        fc_feat_size: int = 128,
        num_fc_layers: int = 3,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, 101))
        self.register_buffer("by_number", _element_table(), persistent=False)
        self.embedding = nn.Linear(ELEMENT_COLUMNS, num_features)
        self.rbf = GaussianBasis(num_gaussians, cutoff, trainable=True)
        self.convolutions = nn.ModuleList(Convolution(num_features, num_gaussians) for _ in range(num_graph_conv_layers))
        widths = [num_features] + [fc_feat_size] * num_fc_layers
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head_out = nn.Linear(fc_feat_size, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        x = self.embedding(self.by_number.index_select(0, z))
        neighbors = to_neighbors(graph)
        of_distance, weight = self._edges(edge_vec, graph)
        for convolution, filters in zip(self.convolutions, of_distance, strict=True):
            x = convolution(x, filters, weight, neighbors, graph.mask)
        if not self.as_published:
            return self._read(x)
        atoms = atoms_by_graph(graph)
        mean = sum_by_graph(x, graph) / atoms.unsqueeze(-1)
        return graph_values(self._read(mean.to(x.dtype)) / atoms.to(x.dtype), graph)

    def _edges(self, edge_vec: Tensor, graph: AtomGraph) -> tuple[tuple[Tensor, ...], Tensor]:
        """The distances' part [N, K, 2F] of every convolution, all at once, and the weights [N, 1, K] of the messages."""
        sites = distances(edge_vec, graph)
        rbf = gaussians(sites.values, self.rbf)
        weights = [c.message.weight[:, -rbf.shape[1] :] for c in cast(list[Convolution], self.convolutions)]
        filters = sites.at_slots(linear(rbf, torch.cat(weights))).chunk(len(weights), dim=2)
        if self.as_published:
            return filters, graph.mask.to(rbf.dtype).unsqueeze(1)
        return filters, sites.at_slots(fade(sites.values, self.cutoff)[1].unsqueeze(-1)).view(len(graph.z), 1, -1)

    @property
    def khot(self) -> Tensor:
        """The 100 x 92 table of zeros and ones, row z - 1."""
        return self.by_number[1:]

    def _read(self, x: Tensor) -> Tensor:
        for layer in self.head:
            x = softplus(layer(x))
        return self.head_out(x).squeeze(-1)


class Convolution(nn.Module):
    """x_i becomes sp(LN(sum_j sigmoid(a_ij) sp(b_ij)) + x_i) with (a, b) = BN(W [x_i, x_j, g(d_ij)] + b).

    W is applied in three parts: to centres and neighbours atom by atom, to distances pair by pair.
    """

    def __init__(self, num_features: int, num_gaussians: int) -> None:
        super().__init__()
        self.message = glorot_linear(2 * num_features + num_gaussians, 2 * num_features)
        self.bn = BatchNorm(2 * num_features)
        self.ln = nn.LayerNorm(num_features)

    def forward(self, x: Tensor, of_distance: Tensor, weight: Tensor, neighbors: Incidence, mask: Tensor) -> Tensor:
        """x [N, F], of_distance [N, K, 2F], weight [N, 1, K]."""
        f = x.shape[1]
        centre = linear(x, self.message.weight[:, :f], self.message.bias).unsqueeze(1)
        both = centre + neighbors(linear(x, self.message.weight[:, f : 2 * f])).view(of_distance.shape) + of_distance
        gate, core = self.bn(both, mask).chunk(2, dim=-1)
        message = (weight @ (torch.sigmoid(gate) * softplus(core))).squeeze(1)
        return softplus(self.ln(message) + x)


def _element_table() -> Tensor:
    """The 101 x 92 table of zeros and ones, row z."""
    table = torch.zeros(101, ELEMENT_COLUMNS)
    text = resources.files("grannfield.models").joinpath("cgcnn_elements.csv").read_text(encoding="utf-8")
    for line in text.splitlines()[2:]:
        z, columns = line.split(",")
        table[int(z), [int(c) for c in columns.split()]] = 1.0
    return table
