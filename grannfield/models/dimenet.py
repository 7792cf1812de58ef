"""DimeNet: directional message passing (Gasteiger, Groß & Günnemann, ICLR 2020, arXiv:2003.03123)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph
from grannfield.nn.directional import Directional, Interaction, Output, orthogonal_linear
from grannfield.nn.edge_rows import EdgeRows
from grannfield.nn.triplets import AllTriplets, Heard


@register("dimenet")
class DimeNet(ForceField):
    """Messages live on edges and are passed on through functions of the angle between two edges.

    Defaults are those of Table 1: 1,106,422 parameters, three blocks. The published code keeps at most 50 neighbours of an
    atom; here none is dropped, in either behaviour. The sum over the third atom comes before the bilinear layer.

    Differs from the published arithmetic:
    - angles belong to the gradient; the published forces leave their change with the positions out and are no gradient.
    """

    def __init__(
        self,
        hidden_channels: int = 128,
        num_blocks: int = 3,
        num_bilinear: int = 8,
        num_spherical: int = 7,
        num_radial: int = 6,
        envelope_exponent: int = 5,
        num_before_skip: int = 1,
        num_after_skip: int = 2,
        num_output_layers: int = 3,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.elements = tuple(range(1, 95))
        sizes = (hidden_channels, num_bilinear, num_spherical, num_radial, num_before_skip, num_after_skip)
        self.network = Directional(
            [Bilinear(*sizes) for _ in range(num_blocks)],
            [Output(num_radial, hidden_channels, num_output_layers) for _ in range(num_blocks + 1)],
            AllTriplets,
            (num_spherical, num_radial, envelope_exponent),
            hidden_channels,
            cutoff,
            detached=as_published,
        )

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return self.network(z, graph, edge_vec)


class Bilinear(Interaction):
    """sum over j and l of Q_ajl s_j x_l, with s_j(k->j, j->i) from radial and angular functions."""

    def __init__(self, hidden: int, n_bilinear: int, n_spherical: int, n_radial: int, before: int, after: int) -> None:
        super().__init__(hidden, before, after)
        self.rbf = orthogonal_linear(n_radial, hidden, bias=False)
        self.sbf = orthogonal_linear(n_spherical * n_radial, n_bilinear, bias=False)
        self.bilinear = nn.Parameter(torch.empty(hidden, n_bilinear, hidden).normal_(std=2 / hidden))

    def radial_weight(self) -> Tensor:
        return self.rbf.weight

    def angular_weight(self) -> Tensor:
        return self.sbf.weight.T

    def hear(self, x: Tensor, number: int, heard: Heard, edges: EdgeRows) -> Tensor:
        return edges.leaving(heard(number, x) @ self.bilinear.flatten(1).T)
