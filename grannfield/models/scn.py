"""SCN: functions on spheres exchanged along edges (Zitnick et al., NeurIPS 2022, arXiv:2206.14331)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from grannfield.forcefield import Claims, ForceField, register
from grannfield.graph import AtomGraph, inward, pair_vectors
from grannfield.nn.harmonics import WignerRows, degrees_and_orders
from grannfield.nn.spherical import (
    EdgeGaussians,
    EdgeScalars,
    FixedFrames,
    GridStep,
    SphereGrid,
    SphereReadout,
    edge_scalars,
    in_parts,
    random_frames,
    silu,
)
from grannfield.nn.taps import Shell, Taps

LEAST_EDGES = 128
"""That go at once: their rolls are rows of one matrix product, which few of them would not fill."""


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
        self.rule = FixedFrames()
        self.frames: Callable[[Tensor], Tensor] = random_frames if as_published else self.rule.forward
        self.closeness: Callable[[Tensor], Tensor] = torch.clone
        """From distances [N, K] to what ranks the neighbours of an atom, the smallest first."""
        self.embedding = nn.Embedding(max_num_elements, sphere_channels)
        self.gaussians = EdgeGaussians(cutoff, distance_resolution, basis_width_scalar)
        self.wigner = WignerRows(lmax, mmax)
        n_taps = 1 if num_taps == 1 or mmax == 0 else 4 if as_published else 8
        sizes = [(lmax, hidden_channels), (max(4, lmax - 2), hidden_channels // 4)][:num_resolutions]
        self.taps = nn.ModuleList(Taps(degree, mmax, lmax, n_taps) for degree, _ in sizes)
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
        blocks: list[Block] = [*self.blocks]  # type: ignore[list-item]
        first, shells = self.shells(graph, edge_vec)
        gates = distance_gates(blocks, edge_scalars([block.edge for block in blocks], gaussians, z, graph), shells)
        x, grown = self.embedding(z).unsqueeze(0), (0, 0, 0, 0, 0, (self.lmax + 1) ** 2 - 1)
        for number, (block, weights) in enumerate(zip(blocks, projections(blocks), strict=True)):
            down = block.down(x)
            message = block.message(down, weights, [gate[number] for gate in gates], shells if number else first)
            new = block.up(block.step(down if number else nn.functional.pad(down, grown), message, self.grid))
            x = x + new if number else new
        return self.readout(x)

    @torch.no_grad()
    def shells(self, graph: AtomGraph, edge_vec: Tensor) -> tuple[list[Shell], list[Shell]]:
        """The edges of each resolution and what the first block and what the others need of their frames."""
        rows = (self.wigner(self.frames(edge_vec)).to(edge_vec.dtype) * graph.mask[:, :, None, None]).flatten(0, 1)
        inwards = inward(graph)
        slots = torch.arange(graph.mask.numel(), device=edge_vec.device).view(graph.mask.shape)
        parts = [slots]
        if len(self.taps) == 2:
            key = self.closeness(torch.linalg.vector_norm(edge_vec, dim=-1)).masked_fill(~graph.mask, math.inf)
            slots = slots.gather(1, torch.argsort(key, dim=1, stable=True))
            parts = [slots[:, : self.n_near], slots[:, self.n_near :]]
        place = inwards.place.reshape(-1)
        both = [taps(rows, part, place[part], inwards.slots) for taps, part in zip(self.taps, parts, strict=True)]
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


class Message(nn.Module):
    """Messages of one resolution; the functions of both ends come with their part of `project` already applied."""

    def __init__(self, lmax: int, mmax: int, channels: int, hidden: int, edge_channels: int) -> None:
        super().__init__()
        self.lmax, self.mmax, self.kept = lmax, mmax, len(degrees_and_orders(lmax, mmax)[0])
        self.distance = nn.Linear(edge_channels, hidden)
        self.project = nn.Linear(2 * self.kept * channels, hidden)
        self.linear1 = nn.Linear(hidden, hidden)
        self.linear2 = nn.Linear(hidden, self.kept * channels)

    def forward(self, ends: Tensor, gate: Tensor, shell: Shell) -> Tensor:
        """Messages [N, R * kept, C] of atoms [A, N, (source, target), H] and gates [N R, H], in the frames of the edges."""
        source, target = (end.transpose(0, 1) for end in ends.unbind(2))
        p, rolls = self._both(shell, source, target), shell.rolls
        angles = rolls.angles.value.expand(len(p), -1, -1)
        hidden = silu(torch.baddbmm(self.project.bias, angles, p)) * gate.unsqueeze(1)

        def averaged(hidden: Tensor) -> Tensor:
            y = silu(self.linear2(silu(self.linear1(hidden)))).unflatten(-1, (self.kept, -1)).flatten(1, 2)
            return rolls.mean.value @ y

        y = in_parts(averaged, rolls.count * self.linear2.out_features, LEAST_EDGES, hidden)
        return y.view(len(shell.slots), shell.back.shape[1], y.shape[-1])

    def _both(self, shell: Shell, source: Tensor, target: Tensor) -> Tensor:
        """p_0, p_c, p_s [N R, P, H] of both ends; no edge is gathered twice, so the adjoint of the gather adds nothing up."""
        n, p, hidden = len(source), shell.rolls.angles.value.shape[1], source.shape[-1]
        arriving = (shell.arriving @ source).view(n * shell.arriving.shape[1] // p, p * hidden)
        moved = arriving.index_select(0, shell.place.reshape(-1)).view(n, shell.own.shape[1], hidden)
        return moved.baddbmm_(shell.own, target).view(shell.slots.numel(), p, hidden)

    def orders(self, l: int) -> int:
        """How many of m = 0, 1, -1 are kept of degree l."""
        return 2 * min(l, self.mmax) + 1

    def project_by_degree(self) -> list[list[Tensor]]:
        """By l, weights [H, C] of `project`: m = 0, 1, -1, and for each the source and the target."""
        pieces, found, middle = self.project.weight.unflatten(1, (2 * self.kept, -1)).unbind(1), [], 0
        for l in range(self.lmax + 1):
            own = (0, 1, -1)[: self.orders(l)]
            found.append([pieces[side * self.kept + middle + m] for m in own for side in (0, 1)])
            middle += (self.orders(l) + self.orders(l + 1)) // 2
        return found


def distance_gates(blocks: list[Block], edges: Tensor, shells: list[Shell]) -> list[Tensor]:
    """Gates [blocks, N R, H] of each resolution, from the scalars [blocks, N K, X] of all edges."""
    found = []
    for shell, same in zip(shells, zip(*(block.every for block in blocks), strict=True), strict=True):
        weight, bias = (torch.stack([getattr(message.distance, name) for message in same]) for name in ("weight", "bias"))
        own = edges.index_select(1, shell.slots.reshape(-1))
        found.append(silu(torch.baddbmm(bias.unsqueeze(1), own, weight.mT)))
    return found


def projections(blocks: list[Block]) -> list[list[Tensor]]:
    """By block and l, the weights of `project` for all resolutions that have this l, copied together once for all blocks.

    [(resolution, m, side, H), C].
    """
    rows: list[list[Tensor]] = []
    for block in blocks:
        every = [message.project_by_degree() for message in block.every]
        rows += [[w for one in every for degree in one[l : l + 1] for w in degree] for l in range(len(every[0]))]
    found = torch.cat([w for row in rows for w in row]).split([sum(map(len, row)) for row in rows])
    degrees = len(found) // len(blocks)
    return [list(found[k * degrees : (k + 1) * degrees]) for k in range(len(blocks))]


class Block(nn.Module):
    """Messages of all resolutions, and a point-wise network of the atom's own function and their sum."""

    def __init__(self, messages: list[Message], edge: EdgeScalars, step: GridStep, channels: int) -> None:
        super().__init__()
        self.messages, self.edge, self.step = nn.ModuleList(messages), edge, step
        reduced = step.linear3.out_features
        self.down = nn.Linear(channels, reduced, bias=False) if channels != reduced else nn.Identity()
        self.up = nn.Linear(reduced, channels, bias=False) if channels != reduced else nn.Identity()

    @property
    def every(self) -> list[Message]:
        """Its messages, of the highest resolution first."""
        return [*self.messages]  # type: ignore[list-item]

    def message(self, x: Tensor, weights: list[Tensor], gates: list[Tensor], shells: list[Shell]) -> Tensor:
        """Sum of messages [N, B, C] of functions x [B', N, C], only l = 0 in the first block."""
        total: Tensor | None = None
        for message, ends, gate, shell in zip(self.every, self._ends(x, weights), gates, shells, strict=True):
            y = message(ends, gate, shell)
            if total is None:
                total = shell.back.mT @ y
            else:
                total[:, : shell.back.shape[-1]].baddbmm_(shell.back.mT, y)
        assert total is not None
        return total

    def _ends(self, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
        """W_0 x, W_+ x and W_- x of both ends, one after the other, for each resolution: [A, N, (source, target), H].

        This commutes with rotations: what follows the rotation of every edge is done before it, once for each atom.
        """
        found: list[list[list[Tensor]]] = [[[], [], []] for _ in self.every]
        for l, of_degree in enumerate(x.split([2 * l + 1 for l in range(math.isqrt(len(x)))])):
            y = nn.functional.linear(of_degree, weights[l])
            here = [message for message in self.every if l <= message.lmax]
            widths = [2 * message.orders(l) * len(message.linear1.bias) for message in here]
            for kinds, message, part in zip(found, here, y.split(widths, dim=-1), strict=False):
                for kind, one in zip(kinds, part.unflatten(-1, (message.orders(l), 2, -1)).unbind(2), strict=False):
                    kind.append(one)
        return [torch.cat([one for kind in kinds for one in kind]) for kinds in found]
