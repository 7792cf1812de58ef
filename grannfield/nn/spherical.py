"""What networks on the coefficients of functions on a sphere around each atom share: edge frames, edge scalars, read-out.

A function on the sphere of atom n is x [N, (lmax+1)², C] of `grannfield.nn.harmonics`. Messages are computed in a frame whose
y axis lies along the edge, where rotations that keep the edge mix only m and -m.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph, Inward, neighbor_values, pair_values, reversed_values
from grannfield.nn.harmonics import Constant, sphere_grid, sphere_points, spherical_harmonics

silu = nn.functional.silu


def fixed_frames(edge_vec: Tensor) -> Tensor:
    """Rotations [N, K, 3, 3], double precision, that take edges [N, K, 3] to the y axis, each by the same rule.

    The shortest rotation to a fixed unit vector a, then one that takes a to y. The shortest rotation is the product of the
    reflections that exchange u with -a and a with -a; it is smooth but at u = -a, a direction no crystal favours, where any
    reflection that keeps a will do.
    """
    a = torch.tensor([math.sqrt(2), math.sqrt(3), math.sqrt(5)], dtype=torch.float64, device=edge_vec.device) / math.sqrt(10)
    across = torch.linalg.cross(a, a.roll(1))
    across = across / across.norm()
    frame = torch.stack([across, a, torch.linalg.cross(across, a)])
    u = nn.functional.normalize(edge_vec.double(), dim=-1)
    middle = u + a
    middle = torch.where(middle.norm(dim=-1, keepdim=True) > 1e-12, nn.functional.normalize(middle, dim=-1), across)
    mirror = torch.eye(3, dtype=u.dtype, device=u.device) - 2 * middle.unsqueeze(-1) * middle.unsqueeze(-2)
    return frame @ (mirror + 2 * a.unsqueeze(-1) * u.unsqueeze(-2))


def random_frames(edge_vec: Tensor) -> Tensor:
    """Rotations [N, K, 3, 3], double precision, that take edges [N, K, 3] to the y axis, rolled about them at random."""
    u = nn.functional.normalize(edge_vec.double(), dim=-1)
    w = nn.functional.normalize(torch.rand_like(u) - 0.5, dim=-1)
    x, y, z = w.unbind(-1)
    along = lambda v: (v * u).sum(-1, keepdim=True).abs()  # noqa: E731
    chosen = w
    for other in (torch.stack([-y, x, z], dim=-1), torch.stack([x, -z, y], dim=-1)):
        chosen = torch.where(along(chosen) > along(other), other, chosen)
    first = nn.functional.normalize(torch.linalg.cross(u, chosen), dim=-1)
    return torch.stack([first, u, torch.linalg.cross(first, u)], dim=-2)


def at_neighbors(values: Tensor, graph: AtomGraph, inwards: Inward) -> Tensor:
    """Values [N, L, ...] of the edges that point at each atom, placed at the edges' own slots: [N, K, ...]."""
    if graph.symmetric:
        return reversed_values(values, graph)
    return values.flatten(0, 1).index_select(0, inwards.place.reshape(-1)).unflatten(0, graph.mask.shape)


def mixed_channels(x: Tensor, weight: Tensor) -> Tensor:
    """Channels mixed by one matrix for each of the n highest degrees: x [N, (lmax+1)², C], weight [n, H, C] -> [N, Q, H].

    It commutes with rotations, so what follows a rotation of every edge can be done before it, once for each atom.
    """
    top = math.isqrt(x.shape[1]) - 1
    first = top + 1 - len(weight)
    return torch.cat([x[:, l * l : (l + 1) ** 2] @ weight[l - first].T for l in range(first, top + 1)], dim=1)


class EdgeGaussians(nn.Module):
    """Gaussians of the distance, centres evenly spread from 0 to the cut-off: [P] Å -> [P, n]; `width` in units of their spacing."""

    def __init__(self, cutoff: float, resolution: float, width: float) -> None:
        super().__init__()
        self.centers = Constant(torch.linspace(0.0, cutoff, int(cutoff / resolution), dtype=torch.float64))
        self.coeff = -0.5 / (width * cutoff / (len(self.centers.value) - 1)) ** 2

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(self.coeff * (distance.unsqueeze(-1) - self.centers.value).square())


class EdgeScalars(nn.Module):
    """What a layer knows of an edge: both elements and the distance, as invariant channels [N, K, X]."""

    def __init__(self, n_gaussians: int, channels: int, n_elements: int) -> None:
        super().__init__()
        self.distance = nn.Linear(n_gaussians, channels)
        self.source, self.target = nn.Embedding(n_elements, channels), nn.Embedding(n_elements, channels)
        self.mix = nn.Linear(channels, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)

    def forward(self, gaussians: Tensor, z: Tensor, graph: AtomGraph) -> Tensor:
        pairs = pair_values(self.distance(gaussians), graph)
        return silu(self.mix(silu(pairs + neighbor_values(self.source(z), graph) + self.target(z).unsqueeze(1))))


class SphereGrid(nn.Module):
    """Function values [..., points, C] on a grid of the sphere from coefficients [..., kept, C], and back.

    `kept` are the numbers l² + l + m of the coefficients, in their order; all when not given.
    """

    def __init__(self, lmax: int, latitudes: int, longitudes: int, kept: Tensor | None = None) -> None:
        super().__init__()
        to, back = (t.flatten(0, 1) if kept is None else t.flatten(0, 1)[:, kept] for t in sphere_grid(lmax, latitudes, longitudes))
        self.synthesis, self.analysis = Constant(to), Constant(back.T)
        self.unit = Constant(back.sum(0).unsqueeze(1))
        """[kept, 1], coefficients of the function that is one everywhere."""

    def values(self, coefficients: Tensor) -> Tensor:
        return self.synthesis.value @ coefficients

    def coefficients(self, values: Tensor) -> Tensor:
        return self.analysis.value @ values


class GridStep(nn.Module):
    """A network applied to every direction: of an atom's function x and its message m [N, (lmax+1)², C], a new function.

    The first layer acts before the grid and the last behind it: both are linear, and there are fewer coefficients than points.
    """

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(2 * channels, hidden, bias)
        self.linear2 = nn.Linear(hidden, hidden, bias)
        self.linear3 = nn.Linear(hidden, channels, bias)

    def forward(self, x: Tensor, message: Tensor, grid: SphereGrid) -> Tensor:
        g = grid.values(nn.functional.linear(torch.cat([x, message], dim=-1), self.linear1.weight))
        g = silu(g if self.linear1.bias is None else g + self.linear1.bias)
        g = nn.functional.linear(grid.coefficients(silu(self.linear2(g))), self.linear3.weight)
        return g if self.linear3.bias is None else g + grid.unit.value * self.linear3.bias


class PointHead(nn.Module):
    """A number for every direction: [N, S, C], the first layer already applied, -> [N, S]."""

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, channels)
        self.linear2 = nn.Linear(channels, hidden)
        self.linear3 = nn.Linear(hidden, 1, bias)

    def forward(self, first: Tensor) -> Tensor:
        return self.linear3(silu(self.linear2(silu(first + self.linear1.bias)))).squeeze(-1)


class SphereReadout(nn.Module):
    """Energy [N] and force [N, 3] of each atom, as means over quasi-uniform directions p: <f_E>, <f_F p>.

    `counted` makes points and harmonics parameters without gradient.
    """

    def __init__(self, lmax: int, samples: int, channels: int, hidden: int, bias: bool, counted: bool = False) -> None:
        super().__init__()
        points = sphere_points(samples)
        self.points, self.harmonics = Constant(points, counted=counted), Constant(spherical_harmonics(lmax, points), counted=counted)
        self.energy, self.force = PointHead(channels, hidden, bias), PointHead(channels, hidden, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([self.energy.linear1.weight, self.force.linear1.weight])
        energy, force = (self.harmonics.value @ nn.functional.linear(x, both)).chunk(2, dim=-1)
        return self.energy(energy).mean(1), self.force(force) @ self.points.value / len(self.points.value)
