"""What networks on functions on a sphere around each atom share: edge frames, edge scalars, grid and read-out.

The functions are x [(lmax+1)², N, C], coefficients of `grannfield.nn.harmonics`. Messages are made in a frame whose y axis lies
along the edge: there a roll about the edge mixes only m and -m.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph, Inward, neighbor_values, pair_values, reversed_values
from grannfield.nn.harmonics import Constant, degrees_and_orders, sphere_grid, sphere_points, spherical_harmonics
from grannfield.nn.sizes import at_once


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), in the memory of x where no gradient is wanted: only for x that nobody else reads."""
    return nn.functional.silu(x, inplace=not torch.is_grad_enabled())


class FixedFrames(nn.Module):
    """Rotations [N, K, 3, 3], double precision, that take edges [N, K, 3] to the y axis, all by one rule.

    The shortest rotation to a fixed unit vector a, then one that takes a to y. The shortest rotation is a reflection that
    takes u to -a, then one that takes -a to a; it is smooth but at u = -a, which no lattice favours, and there any first
    reflection that keeps u and takes it to -a will do.
    """

    def __init__(self) -> None:
        super().__init__()
        a = torch.arange(1, 4, dtype=torch.float64).div(6).sqrt()
        across = nn.functional.normalize(torch.linalg.cross(a, a.roll(1)), dim=0)
        frame = torch.stack([across, a, torch.linalg.cross(across, a)])
        self.a, self.across, self.frame, self.eye = (Constant(t, double=True) for t in (a, across, frame, torch.eye(3)))

    def forward(self, edge_vec: Tensor) -> Tensor:
        u, a = nn.functional.normalize(edge_vec.double(), dim=-1), self.a.value
        middle, apart = u + a, u - a
        along = (middle * apart).sum(-1, keepdim=True)
        middle = torch.addcmul(middle, apart, along, value=-0.25)  # at right angles to rounding also where it is short
        length = middle.norm(dim=-1, keepdim=True)
        middle = torch.where(length > 1e-12, middle / length, self.across.value)
        mirror = torch.addcmul(self.eye.value, middle.unsqueeze(-1), middle.unsqueeze(-2), value=-2)
        return self.frame.value @ mirror.addcmul_(a.unsqueeze(-1), u.unsqueeze(-2), value=2)


def fixed_frames(edge_vec: Tensor) -> Tensor:
    """What `FixedFrames` makes of edges [N, K, 3], wherever they are."""
    frames: Tensor = FixedFrames().to(edge_vec.device)(edge_vec)
    return frames


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


def in_parts(step: Callable[..., Tensor], numbers: int, least: int, *values: Tensor) -> Tensor:
    """step(*values), a few edges at a time (see `parts_of`) when its largest array, of `numbers` an edge, would be too large."""
    parts = parts_of(len(values[0]), numbers, least, values[0].device)
    if len(parts) == 1:
        return step(*values)
    return torch.cat([step(*(v[part] for v in values)) for part in parts])


def parts_of(edges: int, numbers: int, least: int, device: torch.device) -> list[slice]:
    """Which edges go at once on a device when each needs so many numbers: at least as many as a matrix product is fast with."""
    size = max(least, at_once(device) // max(1, numbers))
    return [slice(first, min(first + size, edges)) for first in range(0, max(1, edges), size)]


class BackRotation(nn.Module):
    """From the rows |m| <= mmax of D(R) [E, 2 mmax + 1, B] to what turns messages [N, S, kept] back and sums them.

    -> [E, kept, (lmax+1)²], the rows of the kept coefficients (l, m), with the zeros of the other degrees.
    """

    row: Tensor

    def __init__(self, lmax: int, mmax: int, l: Tensor, m: Tensor) -> None:
        super().__init__()
        self.register_buffer("row", m + mmax, persistent=False)
        self.block = Constant(l.unsqueeze(1) == degrees_and_orders(lmax)[0])

    def forward(self, rows: Tensor) -> Tensor:
        return rows[..., : self.block.value.shape[1]].index_select(1, self.row) * self.block.value


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
    """What a layer knows of an edge: both elements and the distance, as invariant channels; see `edge_scalars`."""

    def __init__(self, n_gaussians: int, channels: int, n_elements: int) -> None:
        super().__init__()
        self.distance = nn.Linear(n_gaussians, channels)
        self.source, self.target = nn.Embedding(n_elements, channels), nn.Embedding(n_elements, channels)
        self.mix = nn.Linear(channels, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)


def edge_scalars(layers: Sequence[EdgeScalars], gaussians: Tensor, z: Tensor, graph: AtomGraph) -> Tensor:
    """Scalars of all edges for all layers at once [layers, N K, X]: what they are made of is the same for all."""
    n = len(layers)
    weight, bias = (torch.cat([getattr(layer.distance, name) for layer in layers]) for name in ("weight", "bias"))
    pairs = pair_values(nn.functional.linear(gaussians, weight, bias), graph)
    tables = [layer.source.weight for layer in layers] + [layer.target.weight for layer in layers]
    source, target = nn.functional.embedding(z, torch.cat(tables, dim=1)).chunk(2, dim=-1)
    first = silu(pairs + neighbor_values(source, graph) + target.unsqueeze(1)).view(-1, n, len(bias) // n)
    weight, bias = (torch.stack([getattr(layer.mix, name) for layer in layers]) for name in ("weight", "bias"))
    return silu(torch.baddbmm(bias.unsqueeze(1), first.transpose(0, 1), weight.mT))


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
    """A network applied to every direction: of an atom's function x [B, N, C] and its message [N, B, C], a new function.

    The first layer acts before the grid and the last behind it: both are linear, and there are fewer coefficients than points.
    """

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(2 * channels, hidden, bias)
        self.linear2 = nn.Linear(hidden, hidden, bias)
        self.linear3 = nn.Linear(hidden, channels, bias)

    def forward(self, x: Tensor, message: Tensor, grid: SphereGrid) -> Tensor:
        both = torch.cat([x, message.transpose(0, 1)], dim=-1)
        first = with_constant(nn.functional.linear(both, self.linear1.weight), self.linear1.bias)
        g = silu(self.linear2(silu(grid.values(first.flatten(1)).view(grid.points, x.shape[1], -1))))
        last = grid.coefficients(g.flatten(1)).view(*x.shape[:2], -1)
        return with_constant(nn.functional.linear(last, self.linear3.weight), self.linear3.bias)


def with_constant(x: Tensor, value: Tensor | None) -> Tensor:
    """Functions x [B, N, C], which nobody else reads, plus the same number [C] in every direction, which l = 0 alone carries."""
    if value is not None:
        x[0].add_(value, alpha=math.sqrt(4 * math.pi))
    return x


class PointHead(nn.Module):
    """A number for every direction: [S, N, C], the first layer already applied, -> [S, N]."""

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, channels)
        self.linear2 = nn.Linear(channels, hidden)
        self.linear3 = nn.Linear(hidden, 1, bias)

    def forward(self, first: Tensor) -> Tensor:
        return self.linear3(silu(self.linear2(first))).squeeze(-1)


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
        weight, bias = (torch.cat([getattr(head.linear1, n) for head in (self.energy, self.force)]) for n in ("weight", "bias"))
        first = with_constant(nn.functional.linear(x, weight), bias).flatten(1)
        energy, force = silu(self.harmonics.value @ first).unflatten(1, (x.shape[1], -1)).chunk(2, dim=-1)
        return self.energy(energy).mean(0), self.force(force).T @ self.points.value / len(self.points.value)
