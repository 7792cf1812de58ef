"""Whether the energy jumps: where a pair crosses the cut-off, and anywhere along a path."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np

from grannfield.contract.alive import Case
from grannfield.contract.samples import Sample
from grannfield.contract.verdict import Finding, judged
from grannfield.neighbors import neighbor_graph
from grannfield.units import symbol

TOLERANCE = 1e-5
"""Relative to what the energy changes when an atom moves by 1 Å."""
GAP = 1e-6
"""Å on either side of the cut-off."""
Point = tuple[float, float]
"""A place and the energy there."""


def jump(case: Case) -> list[Finding]:
    """The largest jump of the energy: pairs alone and in the crystal drawn across the cut-off, an atom along a path."""
    found: list[tuple[float, str]] = []
    if case.subject.cutoff is not None:
        found += _pairs_alone(case, case.subject.cutoff) + _pairs_in_crystal(case, case.subject.cutoff)
    else:
        found += _unknown_cutoff(case)
    found.append(_along_path(case))
    value, where = max(found)
    high = case.allowed(TOLERANCE)
    return [judged("jump of the energy", value, claimed=case.subject.claims.continuous, high=high, n=len(found), of="crossings",
                   precision=case.double, detail=f"largest for {where}",
                   claim="continuous" if case.subject.claims.continuous else "not continuous")]  # fmt: skip


def _unit(case: Case) -> float:
    return case.scales[case.samples.gamma].energy


def _species(case: Case) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(np.unique(case.samples.gamma.z).tolist(), 2))


def _dimer(z: tuple[int, int], r: float) -> Sample:
    return Sample(np.array(z), np.array([[0.0, 0.0, 0.0], [r / 3, 2 * r / 3, 2 * r / 3]]), 50 * np.eye(3), periodic=False)


def _pairs_alone(case: Case, cutoff: float) -> list[tuple[float, str]]:
    """Two atoms in empty space, for every pair of elements."""
    found = []
    for z in _species(case):
        inside, outside = (case.subject.answer(_dimer(z, cutoff + s * GAP), case.double) for s in (-1, 1))
        found.append((abs(inside.energy - outside.energy) / _unit(case), f"{symbol(z[0])}-{symbol(z[1])} alone"))
    return found


def _pairs_in_crystal(case: Case, cutoff: float) -> list[tuple[float, str]]:
    """Pairs of the 16-atom cell whose distance is nearest to the cut-off, one atom moved so that it crosses.

    The change of energy along 2e-6 Å that the forces account for is no jump and taken off.
    """
    cell, found = case.samples.gamma, []
    graph = neighbor_graph(cell.z, cell.pos, cell.cell, cutoff + 0.5)
    vectors = graph.edge_vectors().numpy()
    length = np.where(graph.mask.numpy(), np.linalg.norm(vectors, axis=-1), np.inf)
    neighbors = graph.neighbors.numpy()
    used: set[int] = set()
    for flat in np.argsort(np.abs(length - cutoff), axis=None):
        i, k = np.unravel_index(flat, length.shape)
        j = int(neighbors[i, k])
        if i == j or {int(i), j} & used:
            continue
        used |= {int(i), j}
        along = vectors[i, k] / length[i, k]
        at = cell.pos[j] + (cutoff - length[i, k]) * along
        inside, outside = (case.subject.answer(cell.with_atom_at(j, at + s * GAP * along), case.double) for s in (-1, 1))
        smooth = -GAP * float((inside.forces + outside.forces)[j] @ along) if case.subject.conservative else 0.0
        value = abs(outside.energy - inside.energy - smooth) / _unit(case)
        found.append((value, f"{symbol(int(cell.z[i]))}-{symbol(int(cell.z[j]))} in the crystal"))
        if len(found) == 4:
            break
    return found


def _unknown_cutoff(case: Case) -> list[tuple[float, str]]:
    """Two atoms drawn apart from 2.5 to 12.5 Å, for a field that does not say where its cut-off is."""
    found = []
    for z in _species(case):
        scan = lambda r, z=z: case.subject.answer(_dimer(z, r), case.double).energy  # noqa: E731
        value, r = largest_jump(scan, 2.5, 12.5, 160)
        found.append((value / _unit(case), f"{symbol(z[0])}-{symbol(z[1])} alone at {r:.2f} Å"))
    return found


def _along_path(case: Case) -> tuple[float, str]:
    """An atom of the small cell moved straight on by 0.6 Å: other jumps, such as neighbours that change ranks."""
    cell, rng = case.samples.skew, case.rng("path")
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)

    def energy(t: float) -> float:
        return case.subject.answer(cell.with_atom_at(1, cell.pos[1] + t * direction), case.double).energy

    value, at = largest_jump(energy, 0.0, 0.6, 40)
    return value / _unit(case), f"{symbol(int(cell.z[1]))} moved by {at:.3f} Å"


def largest_jump(energy: Callable[[float], float], start: float, end: float, steps: int) -> tuple[float, float]:
    """(size, place) of the largest jump of a function on an interval: found by its fifth difference, then closed in on.

    A jump stays what it is however short the step; all that is smooth becomes small.

    >>> size, place = largest_jump(lambda x: np.sin(x) + 1e-4 * (x > 0.3712), 0.0, 1.0, 40)
    >>> round(size * 1e4, 3), round(place, 4)
    (1.0, 0.3712)
    >>> largest_jump(np.sin, 0.0, 1.0, 40)[0] < 1e-12
    True
    """
    x = np.linspace(start, end, steps + 1)
    values = np.array([energy(float(t)) for t in x])
    if not np.isfinite(values).all():
        return float("inf"), float(x[~np.isfinite(values)][0])
    fifth = np.abs(np.diff(values, 5))[1:-1]  # entry k: step k+3 is in the middle, three more points on both sides
    first = int(fifth.argmax())
    second = int(np.where(np.abs(np.arange(len(fifth)) - first) > 4, fifth, -1.0).argmax())
    points = list(zip(x.tolist(), values.tolist(), strict=True))
    return max(_closed_in(energy, points[: k + 4], points[k + 4 :]) for k in (first, second))


def _closed_in(energy: Callable[[float], float], left: list[Point], right: list[Point]) -> tuple[float, float]:
    """The difference between what the points on either side of a step say of its middle, the step halved until it is short.

    Each new point goes to the side that foretold it better.
    """
    left, right = list(left), list(reversed(right))  # nearest last
    while right[-1][0] - left[-1][0] > GAP:
        middle = (left[-1][0] + right[-1][0]) / 2
        found = energy(middle)
        near_left = abs(found - _foretold(left, middle)) <= abs(found - _foretold(right, middle))
        (left if near_left else right).append((middle, found))
    middle = (left[-1][0] + right[-1][0]) / 2
    return abs(_foretold(left, middle) - _foretold(right, middle)), middle


def _foretold(points: list[Point], x: float) -> float:
    """The cubic through the last four points, at x."""
    near = points[-4:]
    total = 0.0
    for n, (at, value) in enumerate(near):
        total += value * math.prod((x - other) / (at - other) for m, (other, _) in enumerate(near) if m != n)
    return float(total)
