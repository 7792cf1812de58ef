"""eSCN: rotations reduced to convolutions about the edge (Passaro & Zitnick, ICML 2023, arXiv:2302.03655)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, Inward, inward, pair_vectors
from grannfield.nn.harmonics import WignerRows
from grannfield.nn.spherical import (
    EdgeGaussians,
    EdgeScalars,
    GridStep,
    SphereGrid,
    SphereReadout,
    at_neighbors,
    fixed_frames,
    mixed_channels,
    random_frames,
    silu,
)


@register("escn")
class ESCN(ForceField):
    """Functions on a sphere around each atom exchange messages that are convolutions about the edge."""

    conservative = False
    symmetry = "SO(2)-equivariant"
    claims = Claims(rotation="approximate", reflection=False, continuous=False)

    def __init__(
        self,
        num_layers: int = 8,
        lmax: int = 6,
        mmax: int = 2,
        sphere_channels: int = 128,
        hidden_channels: int = 256,
        edge_channels: int = 128,
        num_sphere_samples: int = 128,
        basis_width_scalar: float = 1.0,
        distance_resolution: float = 0.02,
        max_num_elements: int = 90,
        message_longitudes: int | None = None,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        if not 0 <= mmax <= lmax:
            raise ValueError(f"mmax must lie between 0 and lmax; it is {mmax} with lmax {lmax}")
        self.lmax, self.mmax = lmax, mmax
        self.elements = tuple(range(1, max_num_elements))
        self.frames: Callable[[Tensor], Tensor] = random_frames if as_published else fixed_frames
        self.embedding = nn.Embedding(max_num_elements, sphere_channels)
        self.gaussians = EdgeGaussians(cutoff, distance_resolution, basis_width_scalar)
        self.wigner = WignerRows(lmax, mmax)
        self.grid = SphereGrid(lmax, 2 * (lmax + 1), 2 * (lmax + 1) + 1)
        kept = kept_by_order(lmax, mmax)
        longitudes = 2 * mmax + 1 if lmax != mmax else 2 * (mmax + 1) + 1
        if message_longitudes is not None:
            longitudes = message_longitudes
        self.message_grid = SphereGrid(lmax, 2 * (lmax + 1), longitudes, kept)
        self.register_buffer("degree", kept.double().sqrt().floor().long(), persistent=False)
        n_gaussians = len(self.gaussians.centers.value)
        self.layers = nn.ModuleList(
            Layer(lmax, mmax, sphere_channels, hidden_channels, edge_channels, n_gaussians, max_num_elements)
            for _ in range(num_layers)
        )
        self.readout = SphereReadout(lmax, num_sphere_samples, sphere_channels, sphere_channels, False, counted=as_published)

    degree: Tensor

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        edge_vec = edge_vec.detach()
        gaussians = self.gaussians(torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1))
        turns = self.turns(graph, edge_vec)
        x = nn.functional.pad(self.embedding(z).unsqueeze(1), (0, 0, 0, (self.lmax + 1) ** 2 - 1))
        for number, layer in enumerate(self.layers):
            message = layer.message(x, gaussians, z, turns, self.message_grid)
            new = layer.grid(x, message, self.grid)
            x = x + new if number else new
        energy, forces = self.readout(x)
        return 0.001 * energy, forces

    @torch.no_grad()
    def turns(self, graph: AtomGraph, edge_vec: Tensor) -> Turns:
        """What the layers need of the edges' frames, once for all of them."""
        rows = self.wigner(self.frames(edge_vec)).to(edge_vec.dtype) * graph.mask[:, :, None, None]
        inwards = inward(graph)
        arriving = rows.flatten(0, 1)[inwards.slots] * inwards.mask[:, :, None, None]
        n, k = graph.mask.shape
        of_kept = rows[:, :, self._order_of_kept()]
        within = self.degree.unsqueeze(1) == torch.arange(self.lmax + 1, device=rows.device).repeat_interleave(
            2 * torch.arange(self.lmax + 1, device=rows.device) + 1
        )
        back = (of_kept * within).flatten(1, 2).transpose(1, 2)
        del n, k
        return Turns(graph, inwards, self._by_order(rows), self._by_order(arriving), back)

    def _order_of_kept(self) -> Tensor:
        kept = [self.mmax]*(self.lmax+1)
        for m in range(1, self.mmax+1):
            kept += [self.mmax+m]*(self.lmax+1-m) + [self.mmax-m]*(self.lmax+1-m)
        return torch.tensor(kept, device=self.degree.device)

    def _by_order(self, rows: Tensor) -> list[list[Tensor]]:
        found = [[rows[:, :, self.mmax]]]
        for m in range(1, self.mmax + 1):
            plus, minus = rows[:, :, self.mmax + m, m * m :], rows[:, :, self.mmax - m, m * m :]
            found.append([torch.stack(pair, 2).flatten(1, 2) for pair in ((plus, minus), (-minus, plus))])
        return found


def kept_by_order(lmax: int, mmax: int) -> Tensor:
    """Numbers l² + l + m of the coefficients |m| <= mmax in the order m = 0, 1, -1, 2, -2..., l ascending within each."""
    orders = [0] + [sign * m for m in range(1, mmax + 1) for sign in (1, -1)]
    return torch.tensor([l * l + l + m for m in orders for l in range(abs(m), lmax + 1)])


@dataclass(frozen=True, eq=False)
class Turns:
    graph: AtomGraph
    inwards: Inward
    own: list[list[Tensor]]
    arriving: list[list[Tensor]]
    back: Tensor


class Layer(nn.Module):
    def __init__(
        self, lmax: int, mmax: int, channels: int, hidden: int, edge_channels: int, n_gaussians: int, n_elements: int
    ) -> None:
        super().__init__()
        self.edge = EdgeScalars(n_gaussians, edge_channels, n_elements)
        self.orders = nn.ModuleList(Order(m, lmax + 1 - m, channels, hidden, edge_channels) for m in range(mmax + 1))
        self.grid = GridStep(channels, channels, False)

    def message(self, x: Tensor, gaussians: Tensor, z: Tensor, turns: Turns, grid: SphereGrid) -> Tensor:
        edge = self.edge(gaussians, z, turns.graph)
        y = torch.cat([order(x, edge, turns).flatten(2, 3) for order in self.orders], dim=2)
        y = grid.coefficients(silu(grid.values(y)))
        return turns.back @ y.flatten(1, 2)


class Side(nn.Module):
    def __init__(self, branches: int, width: int, hidden: int, edge_channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(edge_channels, branches * hidden)
        self.first = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(branches))
        self.second = nn.ModuleList(nn.Linear(hidden, width, bias=False) for _ in range(branches))


class Order(nn.Module):
    def __init__(self, m: int, degrees: int, channels: int, hidden: int, edge_channels: int) -> None:
        super().__init__()
        self.m, self.degrees, self.channels = m, degrees, channels
        self.branches = 2 if m else 1
        self.source = Side(self.branches, degrees * channels, hidden, edge_channels)
        self.target = Side(self.branches, degrees * channels, hidden, edge_channels)

    def forward(self, x: Tensor, edge: Tensor, turns: Turns) -> Tensor:
        first = [layer.weight.unflatten(1, (self.degrees, -1)) for side in (self.source, self.target) for layer in side.first]
        mixed = mixed_channels(x, torch.cat(first).transpose(0, 1)).chunk(2 * self.branches, dim=-1)
        n, k = turns.graph.mask.shape
        signs = self.branches
        gates = [g for side in (self.source, self.target) for g in silu(side.gate(edge)).unsqueeze(2).chunk(self.branches, -1)]
        hidden = []
        for branch in range(self.branches):
            arriving = (turns.arriving[self.m][branch] @ mixed[branch]).unflatten(1, (-1, signs))
            hidden.append(at_neighbors(arriving, turns.graph, turns.inwards))
        for branch in range(self.branches):
            hidden.append((turns.own[self.m][branch] @ mixed[self.branches + branch]).unflatten(1, (k, signs)))
        h = torch.cat([a * g for a, g in zip(hidden, gates, strict=True)], dim=-1)
        second = torch.cat([layer.weight for side in (self.source, self.target) for layer in side.second], dim=1)
        return nn.functional.linear(h, second).unflatten(-1, (self.degrees, self.channels))
