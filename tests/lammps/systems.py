"""Crystals, force fields and LAMMPS instances that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.data.material import load_material
from grannfield.forcefield import ForceField, to_precision
from grannfield.graph import AtomGraph
from grannfield.lammps import Axes, LammpsField, open_lammps, place
from grannfield.plugin import resolve
from grannfield.testing import LennardJones

MATERIALS = ("LGPS", "Li3PS4", "Li4GeS4")


class Soft(ForceField):
    """Springs that push atoms apart within 4 Å."""

    def __init__(self) -> None:
        super().__init__(cutoff=4.0)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        return 0.5 * ((4.0 - d).square() * graph.mask).sum(1)


class Falling(LennardJones):
    """Argon until the n-th evaluation, which raises."""

    def __init__(self, after: int, problem: BaseException) -> None:
        super().__init__()
        self.after, self.problem, self.calls = after, problem, 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.after:
            raise self.problem
        return super().forward(z, graph, edge_vec)


@cache
def shipped(name: str) -> ForceField:
    """A model with the weights of the package, in double precision."""
    return to_precision(resolve(name), torch.float64)


def shaken(material: str, seed: int = 0, turned: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos, cell of a material with displaced atoms, some far outside the cell; `turned` into a skewed cell in other axes."""
    s, rng = load_material(material).structure, np.random.default_rng(seed)
    cell = np.diag(np.linalg.norm(s.cell, axis=1))
    if turned:
        cell = (cell + rng.uniform(-0.6, 0.6, (3, 3))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pos = s.fractional @ cell + rng.normal(scale=0.08, size=s.pos.shape)
    return s.z, pos + rng.integers(-2, 3, pos.shape) @ cell, cell


def argon(n: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos, cell of an fcc crystal of n x n x n cubes."""
    a = 5.3
    cube = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corner = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return np.full(4 * n**3, 18), ((cube + corner) * a).reshape(-1, 3), np.eye(3) * n * a


@contextmanager
def in_lammps(
    field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True, **more: Any
) -> Iterator[tuple[Any, LammpsField, Axes]]:
    """A quiet LAMMPS with these atoms and the forces of a field."""
    lmp = open_lammps()
    try:
        axes, elements = place(lmp, z, pos, cell, pbc)
        yield lmp, LammpsField(field, lmp, elements, axes=axes, **more), axes
    finally:
        lmp.close()
