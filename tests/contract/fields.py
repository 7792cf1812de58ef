"""A Lennard-Jones field that keeps every claim, and what breaks each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.contract.opened import Opened
from grannfield.contract.samples import samples
from grannfield.contract.subjects import FieldSubject
from grannfield.forcefield import Claims, ForceField, Prediction
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values
from grannfield.testing import LennardJones


class Sound(LennardJones):
    """Every claim holds."""

    def __init__(self) -> None:
        super().__init__(epsilon=0.05, sigma=2.0, cutoff=5.0, switch=4.0)


class ScaledForces(Sound):
    def predict(self, graph: AtomGraph, **options: Any) -> Prediction:
        prediction = super().predict(graph, **options)
        return replace(prediction, forces=1.001 * prediction.forces)


class ScaledStress(Sound):
    def predict(self, graph: AtomGraph, **options: Any) -> Prediction:
        prediction = super().predict(graph, **options)
        return prediction if prediction.stress is None else replace(prediction, stress=1.001 * prediction.stress)


class Pushed(Sound):
    """A constant force on every atom, which no energy accounts for."""

    def predict(self, graph: AtomGraph, **options: Any) -> Prediction:
        prediction = super().predict(graph, **options)
        return replace(prediction, forces=prediction.forces + torch.tensor([0.0, 0.0, 3e-4]))


class Lossy(Sound):
    """Forces that are a third too large: the energy runs away."""

    def predict(self, graph: AtomGraph, **options: Any) -> Prediction:
        prediction = super().predict(graph, **options)
        return replace(prediction, forces=prediction.forces * 4 / 3)


class Tethered(Sound):
    """Atoms feel where they are in space."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) + 1e-4 * torch.sin(graph.pos[:, 0])


class OneAxis(Sound):
    """Bonds along x are a little stronger."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        extra = edge_vec[..., 0].square() * faded(edge_vec, self.cutoff) * graph.mask
        return super().forward(z, graph, edge_vec) + 1e-2 * extra.sum(dim=1)


class Handed(Sound):
    """A pseudo-scalar of three sums over neighbours: its sign tells a crystal from its mirror image."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        a, b, c = ((edge_vec * fade ** (n + 1)).sum(dim=1) for n in range(3))
        return super().forward(z, graph, edge_vec) + 0.1 * torch.tanh((a * torch.linalg.cross(b, c)).sum(dim=-1))


class Ordered(Sound):
    """The first atom of a structure counts a little more."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        first = torch.ones(len(z), dtype=edge_vec.dtype)
        first[torch.searchsorted(graph.batch, torch.arange(graph.n_graphs))] += 1e-3
        return super().forward(z, graph, edge_vec) * first


class Random(Sound):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * (1 + 1e-9 * torch.randn((), dtype=torch.float64))


class Mean(Sound):
    """The mean over atoms, times eight."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * (8 / graph_values(atoms_by_graph(graph), graph))


class Crowded(Sound):
    """Structures feel how many others are in the batch."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * (1 + 1e-6 * (graph.n_graphs - 1))


class Truncated(Sound):
    """Neither shifted nor switched."""

    def _power(self, r: Tensor, a: int) -> Tensor:
        return r**-a


class Stepped(Sound):
    """A jump that is not at the cut-off: bonds shorter than 3 Å gain a little."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        short = (torch.linalg.vector_norm(edge_vec.detach(), dim=-1) < 3.0) & graph.mask
        return super().forward(z, graph, edge_vec) + 1e-3 * short.sum(dim=1)


class Zero(Sound):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return 0.0 * super().forward(z, graph, edge_vec)


class Raising(Sound):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        raise KeyError("no such key")


class Forgetful(Sound):
    """A number that decides about the energy and is in no file. It has a weight, so that it has precisions."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        Forgetful.made += 1
        self.factor = 1 + 1e-6 * Forgetful.made

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return super().forward(z, graph, edge_vec) * self.factor * self.weight


class Direct(Sound):
    """Forces of its own, an energy that is not theirs: it claims neither a gradient nor, here, rotations."""

    conservative = False
    claims = Claims("none", False, True)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        forces = (torch.tanh(edge_vec + 0.3) * fade).sum(dim=1)
        return 0.01 * forces.square().sum(dim=-1), forces


class Springs(Direct):
    """Every atom on a spring: forces in exact proportion to displacements."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * graph.pos.square().sum(dim=-1), -graph.pos


class Roughly(Direct):
    """An approximate symmetry, with a rival that is worse or better at it."""

    claims = Claims("approximate", False, True)
    offset = 0.02

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        forces = ((edge_vec + self.offset * edge_vec.abs()) * fade).sum(dim=1)
        return sum_of_squares(edge_vec, fade), forces


class Worse(Roughly):
    offset = 0.2


def sum_of_squares(edge_vec: Tensor, fade: Tensor) -> Tensor:
    return 0.1 * (edge_vec * fade).sum(dim=1).square().sum(dim=-1)


def faded(edge_vec: Tensor, cutoff: float) -> Tensor:
    """(1 - r²/rc²)³: smooth everywhere, zero at the cut-off with two slopes."""
    return (1 - edge_vec.square().sum(dim=-1) / cutoff**2).clamp(min=0) ** 3


def opened(field: ForceField, **more: Any) -> Opened:
    """A field with weights of its own, ready to be measured."""
    return Opened(FieldSubject(field.eval(), type(field).__name__, **more), samples(0))
