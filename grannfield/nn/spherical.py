"""What networks on functions on a sphere around each atom share: edge frames, edge scalars, grid and read-out.

The functions are x [N, (lmax+1)², C], coefficients of `grannfield.nn.harmonics`. Messages are made in a frame whose y axis lies
along the edge: there a roll about the edge mixes only m and -m.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph, Inward, neighbor_values, pair_values, reversed_values
from grannfield.nn.harmonics import Constant, degrees_and_orders, sphere_grid, sphere_points, spherical_harmonics

BUFFER = {"cpu": 2**22}
"""Numbers in the largest temporary array of `in_parts`: on a CPU what the allocator reuses without asking for new pages."""
LARGE_BUFFER = 2**28


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), in the memory of x where no gradient is wanted: only for x that nobody else reads."""
    return nn.functional.silu(x, inplace=not torch.is_grad_enabled())


def fixed_frames(edge_vec: Tensor) -> Tensor:
    """Rotations [N, K, 3, 3], double precision, that take edges [N, K, 3] to the y axis, all by one rule.

    The shortest rotation to a fixed unit vector a, then one that takes a to y. The shortest rotation is a reflection that
    takes u to -a, then one that takes -a to a; it is smooth but at u = -a, which no lattice favours, and there any first
    reflection that keeps u and takes it to -a will do.
    """
    a = torch.arange(1, 4, dtype=torch.float64, device=edge_vec.device).div(6).sqrt()
    across = nn.functional.normalize(torch.linalg.cross(a, a.roll(1)), dim=0)
    frame = torch.stack([across, a, torch.linalg.cross(across, a)])
    u = nn.functional.normalize(edge_vec.double(), dim=-1)
    middle, apart = u + a, u - a
    middle = middle - apart * (middle * apart).sum(-1, keepdim=True) / 4  # at right angles to rounding also where it is short
    middle = torch.where(middle.norm(dim=-1, keepdim=True) > 1e-12, nn.functional.normalize(middle, dim=-1), across)
    mirror = torch.eye(3, dtype=u.dtype, device=u.device) - 2 * middle.unsqueeze(-1) * middle.unsqueeze(-2)
    return frame @ (mirror + 2 * a.unsqueeze(-1) * u.unsqueeze(-2))


def random_frames(edge_vec: Tensor) -> Tensor:
    """Rotations [N, K, 3, 3], double precision, that take edges [N, K, 3] to the y axis, rolled about it at random."""
    u = nn.functional.normalize(edge_vec.double(), dim=-1)
    w = nn.functional.normalize(torch.rand_like(u) - 0.5, dim=-1)
    x, y, z = w.unbind(-1)
    for other in (torch.stack([-y, x, z], dim=-1), torch.stack([x, -z, y], dim=-1)):
        steeper = (w * u).sum(-1).abs() > (other * u).sum(-1).abs()
        w = torch.where(steeper.unsqueeze(-1), other, w)
    first = nn.functional.normalize(torch.linalg.cross(u, w), dim=-1)
    return torch.stack([first, u, torch.linalg.cross(first, u)], dim=-2)


def at_neighbors(values: Tensor, graph: AtomGraph, inwards: Inward) -> Tensor:
    """Values [N, L, ...] of the edges that point at each atom, placed at the edges' own slots: [N, K, ...]."""
    if graph.symmetric:
        return reversed_values(values, graph)
    return values.flatten(0, 1).index_select(0, inwards.place.reshape(-1)).unflatten(0, graph.mask.shape)


def by_degree(x: Tensor) -> list[Tensor]:
    """Coefficients [N, (lmax+1)², C] as one [N (2l+1), C] for each degree."""
    return [x[:, l * l : (l + 1) ** 2].flatten(0, 1) for l in range(math.isqrt(x.shape[1]))]


def mixed_channels(parts: list[Tensor], weight: Tensor) -> Tensor:
    """Channels mixed by one matrix for each of the n highest degrees: those of `by_degree`, weight [n, H, C] -> [N, Q, H].

    This commutes with rotations: what follows a rotation of every edge is done before it, once for each atom.
    """
    mixed = [x @ w.T for x, w in zip(parts[len(parts) - len(weight) :], weight, strict=True)]
    return torch.cat([y.unflatten(0, (len(parts[0]), -1)) for y in mixed], dim=1)


def in_parts(step: Callable[..., Tensor], numbers: int, *values: Tensor) -> Tensor:
    """step(*values), a few atoms at a time when its largest array, of `numbers` an atom, would be too large."""
    size = max(1, BUFFER.get(values[0].device.type, LARGE_BUFFER) // max(1, numbers))
    if len(values[0]) <= size:
        return step(*values)
    return torch.cat([step(*part) for part in zip(*(v.split(size) for v in values), strict=True)])


class BackRotation(nn.Module):
    """From the rows |m| <= mmax of D(R) [N, S, 2 mmax + 1, B] to what turns messages [N, S, kept] back and sums them.

    -> [N, (lmax+1)², S * kept], the transposed rows of the kept coefficients (l, m), to be multiplied from the left.
    """

    row: Tensor

    def __init__(self, lmax: int, mmax: int, l: Tensor, m: Tensor) -> None:
        super().__init__()
        self.register_buffer("row", m + mmax, persistent=False)
        self.block = Constant(l.unsqueeze(1) == degrees_and_orders(lmax)[0])

    def forward(self, rows: Tensor) -> Tensor:
        kept = rows[..., : self.block.value.shape[1]].index_select(2, self.row) * self.block.value
        return kept.flatten(1, 2).transpose(1, 2)


class EdgeGaussians(nn.Module):
    """Gaussians of the distance [P] Å -> [P, n], centres evenly spread from 0 to the cut-off, `width` times as wide as apart."""

    def __init__(self, cutoff: float, resolution: float, width: float) -> None:
        super().__init__()
        self.count = int(cutoff / resolution)
        self.centers = Constant(torch.linspace(0.0, cutoff, self.count, dtype=torch.float64))
        self.coeff = -0.5 / (width * cutoff / (self.count - 1)) ** 2

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

    2 (lmax + 1) latitudes. `kept` are the numbers l² + l + m of the coefficients, in their order; all when not given.
    """

    def __init__(self, lmax: int, longitudes: int, kept: Tensor | None = None) -> None:
        super().__init__()
        to, back = (t.flatten(0, 1) for t in sphere_grid(lmax, 2 * (lmax + 1), longitudes))
        if kept is not None:
            to, back = to[:, kept], back[:, kept]
        self.synthesis, self.analysis = Constant(to), Constant(back.T)
        self.points = len(to)
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
        self.points, self.harmonics = (
            Constant(points, counted=counted),
            Constant(spherical_harmonics(lmax, points), counted=counted),
        )
        self.energy, self.force = PointHead(channels, hidden, bias), PointHead(channels, hidden, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([self.energy.linear1.weight, self.force.linear1.weight])
        energy, force = (self.harmonics.value @ nn.functional.linear(x, both)).chunk(2, dim=-1)
        return self.energy(energy).mean(1), self.force(force) @ self.points.value / len(self.points.value)
