"""SCN: functions on spheres exchanged along edges (Zitnick et al., NeurIPS 2022, arXiv:2206.14331)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, inward, pair_vectors
from grannfield.nn.harmonics import Constant, WignerRows, degrees_and_orders
from grannfield.nn.spherical import (
    BackRotation,
    EdgeGaussians,
    EdgeScalars,
    GridStep,
    SphereGrid,
    SphereReadout,
    by_degree,
    fixed_frames,
    in_parts,
    mixed_channels,
    random_frames,
    silu,
)


@register("scn")
class SCN(ForceField):
    """Atoms carry functions on a sphere; a message is a network of both atoms' functions seen along the edge.

    Defaults are those of Table 1: 20,441,602 parameters. Energies and forces have heads of their own: forces are not the gradient
    of the energy and do not sum to zero. Rotation is respected up to the finite grids. Energy and forces jump at the cut-off, and
    where an atom's neighbours change rank: the int(cutoff - 0.01) + 1 nearest ones send messages of the full degree, the others
    of a lower one (`num_resolutions` 2). Of the original's options only `use_grid`, `num_bands` 1, `mmax` 0 or 1 and `num_taps` 1
    or -1 exist; with a single tap forces depend on the roll of the frames as much as on the structure.

    Differs from the published arithmetic:
    - Frames of edges follow a fixed rule; published ones are rolled about the edge at random, so that forces change from call
      to call: by 2 to 3% of the largest one in the networks below.
    - `num_taps` -1 means 8 rolls of a frame, not 4. With 4, 8, 12, 16 a roll of the frames changes forces by up to 3, 0.4, 0.1,
      0.04% of the largest one.
    - The grid of atoms has 3 (lmax + 1) longitudes (`atom_longitudes`), not 2 (lmax + 1) + 1: enough for the product of two
      functions. Forces follow a rotation of the crystal to 4 to 7% of the largest one, as published to 8 to 20%.

    Measured on networks of 8 channels and 2 blocks trained for two minutes on beta-Li3PS4 (lmax 4 and 6), on a distorted
    gamma-Li3PS4.

    The first layer of a message acts before the rotation into an edge's frame, once for each atom. A roll by phi turns its output
    into p_0 + cos(phi) p_c + sin(phi) p_s, so that it is computed once for all rolls.
    """

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
        atom_longitudes: int | None = None,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        _refuse_others(lmax, mmax, num_resolutions, num_taps, use_grid, num_bands)
        self.elements = tuple(range(1, max_num_elements))
        self.lmax, self.mmax, self.n_near = lmax, mmax, int(cutoff - 0.01) + 1
        self.frames: Callable[[Tensor], Tensor] = random_frames if as_published else fixed_frames
        self.closeness: Callable[[Tensor], Tensor] = torch.clone
        """From distances [N, K] to what ranks the neighbours of an atom, the smallest first."""
        self.embedding = nn.Embedding(max_num_elements, sphere_channels)
        self.gaussians = EdgeGaussians(cutoff, distance_resolution, basis_width_scalar)
        self.wigner = WignerRows(lmax, mmax)
        n_taps = 1 if num_taps == 1 or mmax == 0 else 4 if as_published else 8
        sizes = [(lmax, hidden_channels), (max(4, lmax - 2), hidden_channels // 4)][:num_resolutions]
        self.taps = nn.ModuleList(Taps(degree, mmax, n_taps) for degree, _ in sizes)
        of_atoms = atom_longitudes or (2 * lmax + 3 if as_published else 3 * lmax + 3)
        if of_atoms <= 2 * lmax:
            raise ValueError(f"scn with lmax {lmax} needs more than {2 * lmax} longitudes; they are {of_atoms}")
        self.grid = SphereGrid(lmax, of_atoms)
        self.blocks = nn.ModuleList(
            Block(
                [Message(degree, mmax, sphere_channels_reduce, hidden, num_basis_functions) for degree, hidden in sizes],
                EdgeScalars(self.gaussians.count, num_basis_functions, max_num_elements),
                GridStep(sphere_channels_reduce, 2 * sphere_channels_reduce, bias=True),
                sphere_channels,
            )
            for _ in range(num_interactions)
        )
        self.readout = SphereReadout(lmax, num_sphere_samples, sphere_channels, sphere_channels_reduce, bias=True)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        edge_vec = edge_vec.detach()
        gaussians = self.gaussians(torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1))
        first, shells = self.shells(graph, edge_vec)
        x = nn.functional.pad(self.embedding(z).unsqueeze(1), (0, 0, 0, (self.lmax + 1) ** 2 - 1))
        for number, block in enumerate(self.blocks):
            new = block(x, gaussians, z, graph, shells if number else first, self.grid)
            x = x + new if number else new
        return self.readout(x)

    @torch.no_grad()
    def shells(self, graph: AtomGraph, edge_vec: Tensor) -> tuple[list[Shell], list[Shell]]:
        """The edges of each resolution and what the first block and what the others need of their frames."""
        rows = self.wigner(self.frames(edge_vec)).to(edge_vec.dtype) * graph.mask[:, :, None, None]
        inwards = inward(graph)
        arriving = rows.flatten(0, 1)[inwards.slots]
        slots = torch.arange(graph.mask.numel(), device=edge_vec.device).view(graph.mask.shape)
        parts = [slots]
        if len(self.taps) == 2:
            key = self.closeness(torch.linalg.vector_norm(edge_vec, dim=-1)).masked_fill(~graph.mask, math.inf)
            slots = slots.gather(1, torch.argsort(key, dim=1, stable=True))
            parts = [slots[:, : self.n_near], slots[:, self.n_near :]]
        own, place = rows.flatten(0, 1), inwards.place.reshape(-1)
        both = [taps(part, place[part], own[part], arriving) for taps, part in zip(self.taps, parts, strict=True)]
        return [first for first, _ in both], [other for _, other in both]


def _refuse_others(lmax: int, mmax: int, num_resolutions: int, num_taps: int, use_grid: bool, num_bands: int) -> None:
    known = {
        "mmax": (mmax, (0, 1)),
        "num_resolutions": (num_resolutions, (1, 2)),
        "num_taps": (num_taps, (1, -1)),
        "use_grid": (use_grid, (True,)),
        "num_bands": (num_bands, (1,)),
    }
    for name, (value, choices) in known.items():
        if value not in choices:
            raise ValueError(f"scn knows {name} {' or '.join(map(str, choices))}; it is {value}")
    least = 4 if num_resolutions == 2 else mmax
    if lmax < least:
        raise ValueError(f"scn with mmax {mmax} and num_resolutions {num_resolutions} needs lmax >= {least}; it is {lmax}")


class Taps(nn.Module):
    """Rolls of an edge's frame by multiples of 360°/count, for functions up to degree lmax of which |m| <= mmax are kept."""

    def __init__(self, lmax: int, mmax: int, count: int) -> None:
        super().__init__()
        self.lmax, self.mmax = lmax, mmax
        l, m = degrees_and_orders(lmax, mmax)
        self.back = BackRotation(lmax, mmax, l, m)
        phi = 2 * math.pi / count * torch.arange(count, dtype=torch.float64).view(-1, 1, 1)
        opposite = (l.unsqueeze(1) == l) & (m.unsqueeze(1) == -m)
        undone = torch.eye(len(l)) * (m * phi).cos() - opposite * (m.unsqueeze(1) * phi).sin()
        angles = torch.cat([phi.cos(), phi.sin()], dim=-1).squeeze(1)
        self.each = Rolls(angles, undone.transpose(0, 1).flatten(1) / count)
        self.alike = Rolls(angles[:1], undone.mean(0))
        """One roll for all of them, where every roll sees the same."""

    def forward(self, slots: Tensor, place: Tensor, own: Tensor, arriving: Tensor) -> tuple[Shell, Shell]:
        """The edges at `slots`, given the rows [N, S, 2 mmax + 1, B] of the Wigner matrices of them and of all arriving ones.

        First as the first block needs them, whose functions are constant on their spheres.
        """
        shell = Shell(self.lmax, slots, place, self.seen(own), self.seen(arriving), self.back(own), self.each)
        return replace(shell, rolls=self.alike), shell

    def seen(self, rows: Tensor) -> list[Tensor]:
        """Rows [N, S, 2 mmax + 1, B] by their use: [N, S, B'] for m = 0, then [N, 2 S, 2 (B' - 1)] for p_c and p_s of m = +-1.

        They act on (W_0 x) and on (W_+ x, W_- x).
        """
        rows = rows[..., : (self.lmax + 1) ** 2]
        zero = [rows[:, :, self.mmax]]
        if self.mmax == 0:
            return zero
        minus, plus = rows[:, :, 0, 1:], rows[:, :, 2, 1:]
        rolled = [torch.cat([plus, minus], dim=-1), torch.cat([minus, -plus], dim=-1)]
        return [*zero, torch.stack(rolled, dim=2).flatten(1, 2)]


class Rolls(nn.Module):
    """Cosine and sine of rolls [T, 2], and what rolls messages back and averages them [kept, T * kept]."""

    def __init__(self, angles: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.count, self.angles, self.mean = len(angles), Constant(angles), Constant(mean)


@dataclass(frozen=True, eq=False)
class Shell:
    """Edges of one resolution, the same number R of every atom, padded slots included."""

    lmax: int
    slots: Tensor
    """[N, R], where they stand among all slots."""
    place: Tensor
    """[N, R], where they stand among the edges that point at each atom."""
    own: list[Tensor]
    """What `Taps.seen` gives for these edges."""
    arriving: list[Tensor]
    """The same for all edges that point at each atom."""
    back: Tensor
    """[N, B', R * kept]; zero for padded slots, whose messages so enter no sum."""
    rolls: Rolls


class Message(nn.Module):
    """Messages of one resolution, summed over an atom's edges."""

    def __init__(self, lmax: int, mmax: int, channels: int, hidden: int, edge_channels: int) -> None:
        super().__init__()
        self.mmax, self.kept = mmax, len(degrees_and_orders(lmax, mmax)[0])
        self.distance = nn.Linear(edge_channels, hidden)
        self.project = nn.Linear(2 * self.kept * channels, hidden)
        self.linear1 = nn.Linear(hidden, hidden)
        self.linear2 = nn.Linear(hidden, self.kept * channels)

    def forward(self, parts: list[Tensor], edge: Tensor, shell: Shell) -> Tensor:
        """Sum of messages [N, B', C], of atoms given as by `by_degree` and edge scalars [N, K, X]."""
        weight = self.project.weight.unflatten(1, (2, self.kept, -1))
        source, target = mixed_channels(parts, self._of_zero(weight)).chunk(2, dim=-1)
        p = self._both(shell, 0, source, target, (-1,)).unsqueeze(2)
        if self.mmax:
            plus_s, minus_s, plus_t, minus_t = mixed_channels(parts, self._of_one(weight)).chunk(4, dim=-1)
            source, target = torch.cat([plus_s, minus_s], dim=1), torch.cat([plus_t, minus_t], dim=1)
            p = p + shell.rolls.angles.value @ self._both(shell, 1, source, target, (-1, 2))
        gate = self.distance(edge.flatten(0, 1).index_select(0, shell.slots.reshape(-1))).unflatten(0, shell.slots.shape)
        hidden = silu(p + self.project.bias) * silu(gate).unsqueeze(2)

        def received(hidden: Tensor, back: Tensor) -> Tensor:
            y = silu(self.linear2(silu(self.linear1(hidden)))).unflatten(-1, (self.kept, -1)).flatten(2, 3)
            return back @ (shell.rolls.mean.value @ y).flatten(1, 2)

        return in_parts(received, shell.slots.shape[1] * shell.rolls.count * self.linear2.out_features, hidden, shell.back)

    def _both(self, shell: Shell, order: int, source: Tensor, target: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What both ends of the edges contribute; no edge is gathered twice, so the adjoint of the gather adds nothing up."""
        arriving = (shell.arriving[order] @ source).unflatten(1, shape).flatten(0, 1)
        moved = arriving.index_select(0, shell.place.reshape(-1)).unflatten(0, shell.place.shape)
        return moved + (shell.own[order] @ target).unflatten(1, shape)

    def _of_zero(self, weight: Tensor) -> Tensor:
        """Weights [H, 2, kept, C] of m = 0 as [lmax + 1, (side, H), C]."""
        if self.mmax:
            weight = torch.cat([weight[:, :, :1], weight[:, :, 2::3]], dim=2)
        return weight.permute(2, 1, 0, 3).flatten(1, 2)

    def _of_one(self, weight: Tensor) -> Tensor:
        """Weights [H, 2, kept, C] of m = 1 and m = -1 as [lmax, (side, m, H), C]."""
        return torch.stack([weight[:, :, 3::3], weight[:, :, 1::3]], dim=2).permute(3, 1, 2, 0, 4).flatten(1, 3)


class Block(nn.Module):
    """Messages of all resolutions, and a point-wise network of the atom's own function and their sum."""

    def __init__(self, messages: list[Message], edge: EdgeScalars, step: GridStep, channels: int) -> None:
        super().__init__()
        self.messages, self.edge, self.step = nn.ModuleList(messages), edge, step
        reduced = step.linear3.out_features
        self.down = nn.Linear(channels, reduced, bias=False) if channels != reduced else nn.Identity()
        self.up = nn.Linear(reduced, channels, bias=False) if channels != reduced else nn.Identity()

    def forward(self, x: Tensor, gaussians: Tensor, z: Tensor, graph: AtomGraph, shells: list[Shell], grid: SphereGrid) -> Tensor:
        x, edge = self.down(x), self.edge(gaussians, z, graph)
        parts, total = by_degree(x), torch.zeros_like(x)
        for message, shell in zip(self.messages, shells, strict=True):
            m = message(parts[: shell.lmax + 1], edge, shell)
            total = total + nn.functional.pad(m, (0, 0, 0, x.shape[1] - m.shape[1]))
        return self.up(self.step(x, total, grid))
