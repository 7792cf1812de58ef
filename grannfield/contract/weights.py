"""Weights under which a check means something: seeded, every term awake, forces of the size forces have.

Freshly initialised, a network may be exactly zero (DimeNet) or almost linear (SCN, eSCN), and a symmetry of zero is no symmetry.
Constants (frozen parameters, buffers other than batch statistics) are never touched.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.contract.samples import Sample
from grannfield.contract.subjects import reset_random_numbers, rms
from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph

ASLEEP = 0.02
"""A weight tensor whose rms times the root of its last dimension is below this contributes nothing: it is drawn again."""
TARGET = (0.5, 2.0)
"""eV/Å, rms length of the forces that the search for a gain aims at; the contract asks for 0.3 to 3."""
MOVE, LIVELY = 0.1, 5.0
"""Å, and how many times the change of the forces under such moves counts as their size when that is less: a direct force head
can be all bias, of the right size and deaf to the atoms."""
MOST = 256.0
"""The largest gain tried, and one over the smallest."""


class Vacuous(RuntimeError):
    """No weights of this kind give a force field that responds to its atoms; whatever it claims would hold for nothing."""


@dataclass(frozen=True)
class Weights:
    """How a field's weights were made."""

    seed: int
    gain: float
    """Factor on all matrices and embeddings."""
    woken: int
    """Tensors that were zero or nearly so and were drawn at random."""
    rms_force: float
    """eV/Å, of the network's own output on the sample."""


@torch.no_grad()
def enliven(field: ForceField, cells: Sequence[Sample], seed: int) -> Weights:
    """Give a freshly made field awake, scaled weights in place; Vacuous when no gain brings its forces to a fair size.

    The size is that on the first of the cells; batch statistics are taken from all.
    """
    generator = torch.Generator().manual_seed(seed)
    woken = wake(field, generator)
    matrices = [p for p in field.parameters() if p.requires_grad and p.dim() >= 2]
    base = [p.clone() for p in matrices]
    rng = np.random.default_rng(seed)
    all_cells = [*cells, *(c.displaced(rng.normal(scale=MOVE, size=c.pos.shape)) for c in cells for _ in range(3))]
    graphs = [neighbor_graph(c.z, c.pos, c.cell, field.cutoff) for c in all_cells]
    first, moved = graphs[0], graphs[len(cells)]
    field.eval()

    def size(gain: float) -> float:
        for p, value in zip(matrices, base, strict=True):
            p.copy_(value * gain)
        take_statistics(field, collate(graphs))
        here, there = raw_forces(field, first), raw_forces(field, moved)
        return min(rms(here), LIVELY * rms(there - here))

    gain, force = find_gain(size)
    if not TARGET[0] <= force <= TARGET[1]:
        if not math.isfinite(force):
            raise Vacuous("the forces are zero, or not finite, whatever the gain on the weights")
        raise Vacuous(
            f"no gain on the weights between {1 / MOST:g} and {MOST:g} gives forces of {TARGET[0]:g} to {TARGET[1]:g} eV/Å; "
            f"the nearest was {force:.2g} eV/Å at a gain of {gain:.3g}"
        )
    return Weights(seed, gain, woken, rms(raw_forces(field, first)))


def wake(field: ForceField, generator: torch.Generator) -> int:
    """Draw every trainable tensor that is (almost) zero at random; how many there were."""
    woken = 0
    for parameter in field.parameters():
        fan = math.sqrt(parameter.shape[-1]) if parameter.dim() >= 2 else 1.0
        if parameter.requires_grad and parameter.numel() and float(parameter.double().square().mean().sqrt()) * fan < ASLEEP:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (1 / fan if parameter.dim() >= 2 else 0.1))
            woken += 1
    return woken


def take_statistics(field: ForceField, graph: AtomGraph) -> None:
    """Set the running mean and variance of every batch normalisation to those of a batch, as training would."""
    norms: list[Any] = [module for module in field.modules() if getattr(module, "running_mean", None) is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    reset_random_numbers()
    field.train()
    field.predict(graph)
    field.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def find_gain(size: Callable[[float], float]) -> tuple[float, float]:
    """(gain, size) with the size inside TARGET, or the nearest there is: steps outward from 1, then bisection of the logarithm.

    >>> gain, force = find_gain(lambda g: 1e-5 * g**3)
    >>> round(gain, 1), TARGET[0] <= force <= TARGET[1]
    (45.3, True)
    """
    best = (1.0, math.inf)

    def tried(gain: float) -> float:
        """How far above (positive) or below the target the size is, on a logarithmic scale."""
        nonlocal best
        force = float(size(gain))
        off = math.log(force) if math.isfinite(force) and force > 0 else (-math.inf if force == 0 else math.inf)
        if abs(off) < abs(math.log(best[1]) if 0 < best[1] < math.inf else math.inf):
            best = (gain, force)
        return off

    here, start = 1.0, tried(1.0)
    step = math.sqrt(2.0 if start < 0 else 0.5)
    inside = lambda: TARGET[0] <= best[1] <= TARGET[1]  # noqa: E731
    beyond, passed = here, False
    while not inside() and not passed and 1 / MOST < beyond < MOST:
        here, beyond = beyond, beyond * step
        passed = tried(beyond) * start < 0
    for _ in range(12 if passed else 0):
        if inside():
            break
        middle = math.sqrt(here * beyond)
        here, beyond = (here, middle) if tried(middle) * start < 0 else (middle, beyond)
    size(best[0])
    return best


def raw_forces(field: ForceField, graph: AtomGraph) -> np.ndarray:
    """[N, 3] eV/Å, the field's own numbers taken as eV/Å."""
    reset_random_numbers()
    return field.predict(graph).forces.double().numpy()


def shared(source: ForceField, target: ForceField) -> ForceField:
    """The target with a copy of every weight and statistic that both have in the same shape."""
    theirs: dict[str, Tensor] = source.state_dict()
    own = target.state_dict()
    common = {key: theirs[key] for key, value in own.items() if key in theirs and theirs[key].shape == value.shape}
    target.load_state_dict(copy.deepcopy(own | common))
    return target.eval()
