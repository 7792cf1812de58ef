"""SCN: spherical channels and messages seen along the edge (Zitnick et al., NeurIPS 2022, arXiv:2206.14331)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, inward, pair_vectors
from grannfield.nn.harmonics import Constant, WignerRows, degrees_and_orders
from grannfield.nn.spherical import (
    EdgeGaussians,
    EdgeScalars,
    GridStep,
    SphereGrid,
    SphereReadout,
    fixed_frames,
    mixed_channels,
    random_frames,
    silu,
)


@register("scn")
class SCN(ForceField):
    conservative = False
    symmetry = "SO(3)-equivariant"
    claims = Claims(rotation="approximate", reflection=False, continuous=False)

    def __init__(
        self,
        num_interactions: int = 8,
        lmax: int = 6,
        mmax: int = 1,
        num_resolutions: int = 2,
        sphere_channels: int = 128,
        sphere_channels_reduce: int = 128,
        hidden_channels: int = 256,
        num_taps: int = -1,
        use_grid: bool = True,
        num_bands: int = 1,
        num_sphere_samples: int = 128,
        num_basis_functions: int = 128,
        basis_width_scalar: float = 1.0,
        distance_resolution: float = 0.02,
        max_num_elements: int = 90,
        cutoff: float = 6.0,
        as_published: bool = False,
        taps: int | None = None,
    ) -> None:
        super().__init__(cutoff)
        _refuse(lmax, mmax, num_resolutions, num_taps, use_grid, num_bands)
        self.lmax, self.mmax = lmax, mmax
        self.elements = tuple(range(1, max_num_elements))
        self.frames: Callable[[Tensor], Tensor] = random_frames if as_published else fixed_frames
        self.closeness: Callable[[Tensor], Tensor] = torch.clone
        self.n_near = int(cutoff - 0.01) + 1
        degrees = [lmax, max(4, lmax - 2)][:num_resolutions]
        hidden = [hidden_channels, hidden_channels // 4][:num_resolutions]
        n_taps = 1 if num_taps == 1 or mmax == 0 else 4 if as_published else 8
        if taps: n_taps = taps
        self.embedding = nn.Embedding(max_num_elements, sphere_channels)
        self.gaussians = EdgeGaussians(cutoff, distance_resolution, basis_width_scalar)
        self.wigner = WignerRows(lmax, mmax)
        self.taps = nn.ModuleList(Taps(degree, mmax, n_taps) for degree in degrees)
        self.grid = SphereGrid(lmax, 2 * (lmax + 1), 2 * (lmax + 1) + 1)
        n_gaussians = len(self.gaussians.centers.value)
        self.blocks = nn.ModuleList(
            Block(
                list(zip(degrees, hidden, strict=True)),
                mmax,
                sphere_channels,
                sphere_channels_reduce,
                EdgeScalars(n_gaussians, num_basis_functions, max_num_elements),
            )
            for _ in range(num_interactions)
        )
        self.readout = SphereReadout(lmax, num_sphere_samples, sphere_channels, sphere_channels_reduce, True)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        edge_vec = edge_vec.detach()
        gaussians = self.gaussians(torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1))
        shells = self.shells(graph, edge_vec)
        x = nn.functional.pad(self.embedding(z).unsqueeze(1), (0, 0, 0, (self.lmax + 1) ** 2 - 1))
        for number, block in enumerate(self.blocks):
            new = block(x, gaussians, z, graph, shells, self.taps, self.grid)
            x = x + new if number else new
        return self.readout(x)

    @torch.no_grad()
    def shells(self, graph: AtomGraph, edge_vec: Tensor) -> list[Shell]:
        rows = self.wigner(self.frames(edge_vec)).to(edge_vec.dtype) * graph.mask[:, :, None, None]
        inwards = inward(graph)
        arriving = rows.flatten(0, 1)[inwards.slots]
        n, k = graph.mask.shape
        slots = torch.arange(n * k, device=edge_vec.device).view(n, k)
        parts = [slots]
        if len(self.taps) == 2:
            rank_by = self.closeness(torch.linalg.vector_norm(edge_vec, dim=-1))
            order = torch.argsort(rank_by.masked_fill(~graph.mask, math.inf), dim=1, stable=True)
            slots = slots.gather(1, order)
            parts = [slots[:, : self.n_near], slots[:, self.n_near :]]
        shells = []
        for taps, slots in zip(self.taps, parts, strict=True):
            own = rows.flatten(0, 1)[slots]
            place = inwards.place.reshape(-1)[slots]
            shells.append(
                Shell(slots, place, _views(own, taps.lmax, self.mmax), _views(arriving, taps.lmax, self.mmax), taps.back(own))
            )
        return shells


def _refuse(lmax: int, mmax: int, num_resolutions: int, num_taps: int, use_grid: bool, num_bands: int) -> None:
    allowed = {
        "mmax": (mmax, (0, 1)),
        "num_resolutions": (num_resolutions, (1, 2)),
        "num_taps": (num_taps, (1, -1)),
        "use_grid": (use_grid, (True,)),
        "num_bands": (num_bands, (1,)),
    }
    for name, (value, choices) in allowed.items():
        if value not in choices:
            raise ValueError(f"scn knows {name} {' or '.join(map(str, choices))}, not {value}")
    least = 4 if num_resolutions == 2 else mmax
    if lmax < least:
        raise ValueError(f"scn with mmax {mmax} and {num_resolutions} resolutions needs lmax >= {least}; it is {lmax}")


def _views(rows: Tensor, lmax: int, mmax: int) -> list[Tensor]:
    """[N,S,2M+1,B] -> [N,S,B'], [N,2S,2(B'-1)]."""
    rows = rows[..., : (lmax + 1) ** 2]
    if mmax == 0:
        return [rows[:, :, 0]]
    minus, zero, plus = rows.unbind(2)
    minus, plus = minus[..., 1:], plus[..., 1:]
    turned = torch.stack([torch.cat([plus, minus], -1), torch.cat([minus, -plus], -1)], dim=2)
    return [zero, turned.flatten(1, 2)]


@dataclass(frozen=True, eq=False)
class Shell:
    slots: Tensor
    place: Tensor
    own: list[Tensor]
    arriving: list[Tensor]
    back: Tensor


class Taps(nn.Module):
    """Rolls of the frames about their edges."""

    order: Tensor
    degree: Tensor

    def __init__(self, lmax: int, mmax: int, count: int) -> None:
        super().__init__()
        self.lmax, self.mmax, self.count = lmax, mmax, count
        phi = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
        self.angles = Constant(torch.stack([phi.cos(), phi.sin()], dim=-1))
        l, m = degrees_and_orders(lmax, mmax)
        turn = torch.eye(len(l), dtype=torch.float64) * torch.where(m == 0, 1.0, phi.cos().view(-1, 1, 1))
        opposite = (l.unsqueeze(1) == l) & (m.unsqueeze(1) == -m) & (m != 0)
        turn = turn - opposite * m.unsqueeze(1) * phi.sin().view(-1, 1, 1)
        self.mean = Constant(turn.transpose(0, 1).flatten(1) / count)
        self.register_buffer("degree", l, persistent=False)
        self.register_buffer("order", m, persistent=False)

    def back(self, rows: Tensor) -> Tensor:
        every = torch.arange(self.lmax + 1, device=rows.device)
        columns = every.repeat_interleave(2 * every + 1)
        kept = rows[..., : len(columns)].index_select(2, self.order + self.mmax) * (self.degree.unsqueeze(1) == columns)
        return kept.flatten(1, 2).transpose(1, 2)


class Message(nn.Module):
    def __init__(self, lmax: int, mmax: int, channels: int, hidden: int, edge_channels: int) -> None:
        super().__init__()
        self.lmax, self.mmax = lmax, mmax
        kept = len(degrees_and_orders(lmax, mmax)[0])
        self.distance = nn.Linear(edge_channels, hidden)
        self.project = nn.Linear(2 * kept * channels, hidden)
        self.linear1 = nn.Linear(hidden, hidden)
        self.linear2 = nn.Linear(hidden, kept * channels)

    def forward(self, x: Tensor, edge: Tensor, shell: Shell, taps: Taps) -> Tensor:
        channels = x.shape[-1]
        weight = self.project.weight.unflatten(1, (2, -1, channels))
        mixed = [mixed_channels(x, w) for w in self._by_order(weight, taps.order)]
        zero = [y.squeeze(2) for y in mixed[0].unflatten(-1, (2, -1)).split(1, dim=2)]
        z = self._turned(shell, 0, zero[0], zero[1], (-1,)).unsqueeze(2)
        if self.mmax:
            side = [y.chunk(2, -1) for y in mixed[1].chunk(2, -1)]
            source, target = (torch.cat(s, 1) for s in side)
            z = z + taps.angles.value @ self._turned(shell, 1, source, target, (-1, 2))
        gate = silu(self.distance(edge.flatten(0, 1).index_select(0, shell.slots.reshape(-1)))).unflatten(0, shell.slots.shape)
        z = silu(z + self.project.bias) * gate.unsqueeze(2)
        z = silu(self.linear2(silu(self.linear1(z))))
        q = taps.mean.value @ z.reshape(*shell.slots.shape, -1, channels)
        return shell.back @ q.flatten(1, 2)

    def _turned(self, shell: Shell, order: int, source: Tensor, target: Tensor, shape: tuple[int, ...]) -> Tensor:
        arriving = (shell.arriving[order] @ source).unflatten(1, shape)
        moved = arriving.flatten(0, 1).index_select(0, shell.place.reshape(-1)).unflatten(0, shell.place.shape)
        return moved + (shell.own[order] @ target).view_as(moved)

    def _by_order(self, weight: Tensor, order: Tensor) -> list[Tensor]:
        hidden, _, _, channels = weight.shape
        if self.mmax == 0:
            return [weight.permute(2, 1, 0, 3).flatten(1, 2)]
        first, rest = weight[:, :, :1], weight[:, :, 1:].unflatten(2, (-1, 3))
        zero = torch.cat([first, rest[:, :, :, 1]], dim=2)
        pair = torch.stack([rest[:, :, :, 2], rest[:, :, :, 0]], dim=2)
        return [zero.permute(2, 1, 0, 3).flatten(1, 2), pair.permute(3, 1, 2, 0, 4).flatten(1, 3)]


class Block(nn.Module):
    def __init__(
        self, resolutions: list[tuple[int, int]], mmax: int, channels: int, reduced: int, edge: EdgeScalars
    ) -> None:
        super().__init__()
        self.edge = edge
        self.messages = nn.ModuleList(
            Message(lmax, mmax, reduced, hidden, edge.mix.out_features) for lmax, hidden in resolutions
        )
        narrow = channels != reduced
        self.down = nn.Linear(channels, reduced, bias=False) if narrow else nn.Identity()
        self.up = nn.Linear(reduced, channels, bias=False) if narrow else nn.Identity()
        self.grid = GridStep(reduced, 2 * reduced, True)

    def forward(
        self,
        x: Tensor,
        gaussians: Tensor,
        z: Tensor,
        graph: AtomGraph,
        shells: list[Shell],
        taps: nn.ModuleList,
        grid: SphereGrid,
    ) -> Tensor:
        edge, x = self.edge(gaussians, z, graph), self.down(x)
        total = torch.zeros_like(x)
        for message, shell, rolls in zip(self.messages, shells, taps, strict=True):
            known = (rolls.lmax + 1) ** 2
            m = message(x[:, :known], edge, shell, rolls)
            total = total + nn.functional.pad(m, (0, 0, 0, x.shape[1] - known))
        return self.up(self.grid(x, total, grid))
