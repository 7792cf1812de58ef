"""SchNet: continuous-filter convolutions (Schütt et al., J. Chem. Phys. 148, 241722 (2018), 10.1063/1.5019779)."""

from __future__ import annotations

from torch import Tensor, nn

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph, filter_values, neighbor_values, pair_distances
from grannfield.nn.mlp import each_linear, glorot_linear, joint_linear, shifted_softplus
from grannfield.nn.radial import GaussianBasis, cosine_cutoff


@register("schnet")
class SchNet(ForceField):
    """Atoms exchange messages through filters that depend on the distance alone.

    Defaults are those of Table 1: 494,209 parameters. The default and the published behaviour are the same. Filters are
    computed once for each unordered pair, because w_ij = w_ji.
    """

    def __init__(
        self,
        hidden_channels: int = 128,
        num_filters: int = 128,
        num_interactions: int = 6,
        num_gaussians: int = 100,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.elements = tuple(range(1, 100))
        self.embedding = nn.Embedding(100, hidden_channels, padding_idx=0)
        self.rbf = GaussianBasis(num_gaussians, cutoff)
        self.interactions = nn.ModuleList(
            Interaction(hidden_channels, num_filters, num_gaussians, cutoff) for _ in range(num_interactions)
        )
        self.head0 = glorot_linear(hidden_channels, hidden_channels // 2)
        self.head1 = glorot_linear(hidden_channels // 2, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        x = self.embedding(z)
        for interaction, weight in zip(self.interactions, self.filters(edge_vec, graph), strict=True):
            x = x + interaction(x, weight, graph)
        return self.head1(shifted_softplus(self.head0(x))).squeeze(-1)

    def filters(self, edge_vec: Tensor, graph: AtomGraph) -> tuple[Tensor, ...]:
        """Weights [N, K, F] of every interaction, all at once: they depend on nothing but the distance."""
        distance = pair_distances(edge_vec, graph)
        first, second = zip(*((i.filter0, i.filter1) for i in self.interactions), strict=True)
        weight = each_linear(shifted_softplus(joint_linear(self.rbf(distance), first)), second)
        return filter_values(weight * cosine_cutoff(distance, self.cutoff).unsqueeze(-1), graph).unbind()


class Interaction(nn.Module):
    """One continuous-filter convolution: x_i gains O ssp(P sum_j (U x_j) * w(d_ij))."""

    def __init__(self, hidden_channels: int, num_filters: int, num_gaussians: int, cutoff: float) -> None:
        super().__init__()
        self.filter0 = glorot_linear(num_gaussians, num_filters)
        self.filter1 = glorot_linear(num_filters, num_filters)
        self.in2f = glorot_linear(hidden_channels, num_filters, bias=False)
        self.f2out = glorot_linear(num_filters, hidden_channels)
        self.out = glorot_linear(hidden_channels, hidden_channels)

    def forward(self, x: Tensor, weight: Tensor, graph: AtomGraph) -> Tensor:
        message = (neighbor_values(self.in2f(x), graph) * weight).sum(dim=1)
        return self.out(shifted_softplus(self.f2out(message)))
