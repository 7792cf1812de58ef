"""The loops of a time step on the CPU, compiled by Numba where it is installed; callers have another form for where it is not.

After each evaluation of a network the processor's caches are cold, and every distinct array function costs 15-25 µs instead of
1-3: three dozen of them are 7% of a step. One compiled loop does the same in the time of a few.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

log = logging.getLogger("grannfield")


@cache
def compiled_loop(loop: Callable[..., Any]) -> Callable[..., Any] | None:
    """A loop of this module, compiled when it is first called and kept on disk; None where Numba is not installed.

    No fast mathematics: every operation is rounded as NumPy rounds it.
    """
    try:
        from numba import njit
    except ImportError:
        log.info("Numba is not installed: steps of molecular dynamics on the CPU take a few per cent longer")
        return None
    try:
        compiled: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")(loop)
    except RuntimeError:  # no folder to keep it in, as in a read-only installation: compiled anew in every process
        compiled = njit(nogil=True, error_model="numpy")(loop)
    return compiled


def strayed(pos: np.ndarray, start: np.ndarray) -> float:
    """Largest squared distance of atoms pos [N, 3] from where they started; infinite for NaN."""
    farthest = 0.0
    for n in range(pos.shape[0]):
        x, y, z = pos[n, 0] - start[n, 0], pos[n, 1] - start[n, 1], pos[n, 2] - start[n, 2]
        square = x * x + y * y + z * z
        if not square <= farthest:
            farthest = square if square == square else np.inf
    return farthest


def candidate_rows(
    pos: np.ndarray, fraction: np.ndarray, cells: np.ndarray, images: np.ndarray, n: int, farthest: float
) -> tuple[np.ndarray, ...]:
    """Candidate pairs of R replicas of n atoms each by looking at all of them, as `filled_rows` takes them.

    pos [R n, 3] Å, fraction [R n, 3] the same in lattice vectors, cells [R, 3, 3] Å, images [M, 3] whole lattice vectors in
    ascending order, closed under reversal: enough of them for atoms whose fractions differ by at most a half. Edges of one
    centre come in the order of neighbour and image, so that the opposite of the k-th edge between two atoms is the k-th from
    the end of those between them the other way round.
    """
    n_atoms, limit = pos.shape[0], farthest * farthest
    first = np.empty((n_atoms, n + 1), np.int32)  # of the edges from an atom to each of its replica
    neighbor, crossed = np.empty(64 * n_atoms, np.int32), np.empty((64 * n_atoms, 3), np.int16)
    e = 0
    for i in range(n_atoms):
        r = i // n
        for j in range(r * n, r * n + n):
            first[i, j - r * n] = e
            a = -math.floor(fraction[j, 0] - fraction[i, 0] + 0.5)
            b = -math.floor(fraction[j, 1] - fraction[i, 1] + 0.5)
            c = -math.floor(fraction[j, 2] - fraction[i, 2] + 0.5)
            for m in range(images.shape[0]):
                s, t, u = images[m, 0] + a, images[m, 1] + b, images[m, 2] + c
                x = pos[j, 0] - pos[i, 0] + (s * cells[r, 0, 0] + t * cells[r, 1, 0] + u * cells[r, 2, 0])
                y = pos[j, 1] - pos[i, 1] + (s * cells[r, 0, 1] + t * cells[r, 1, 1] + u * cells[r, 2, 1])
                z = pos[j, 2] - pos[i, 2] + (s * cells[r, 0, 2] + t * cells[r, 1, 2] + u * cells[r, 2, 2])
                if x * x + y * y + z * z > limit or (i == j and s == 0 and t == 0 and u == 0):
                    continue
                if e == neighbor.shape[0]:
                    neighbor, crossed = np.concatenate((neighbor, neighbor)), np.concatenate((crossed, crossed))
                neighbor[e], crossed[e, 0], crossed[e, 1], crossed[e, 2] = j, s, t, u
                e += 1
        first[i, n] = e
    ends, edges_of = np.empty((e // 2, 2), np.int32), np.empty((e // 2, 2), np.int32)
    across, pair_of = np.empty((e // 2, 3)), np.empty(e, np.int32)
    starts = np.empty(n_atoms + 1, np.int32)
    p = 0
    for i in range(n_atoms):
        r, starts[i] = i // n, first[i, 0]
        for k in range(first[i, 0], first[i, n]):
            j = neighbor[k]
            back = first[j, i - r * n] + first[i, j - r * n + 1] - 1 - k
            if back < k:
                pair_of[k] = pair_of[back]
                continue
            s, t, u = float(crossed[k, 0]), float(crossed[k, 1]), float(crossed[k, 2])
            for c in range(3):
                across[p, c] = s * cells[r, 0, c] + t * cells[r, 1, c] + u * cells[r, 2, c]
            ends[p, 0], ends[p, 1], edges_of[p, 0], edges_of[p, 1], pair_of[k] = i, j, k, back, p
            p += 1
    starts[n_atoms] = e
    return ends, across, edges_of, starts, neighbor[:e], pair_of, crossed[:e]


def filled_rows(
    pos: np.ndarray, ends: np.ndarray, across: np.ndarray, edges_of: np.ndarray,
    starts: np.ndarray, neighbor: np.ndarray, pair_of: np.ndarray, crossed: np.ndarray,
    cutoff: float, shortest: float,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The neighbour matrix of those P candidate pairs of atoms pos [N, 3] that are within the cut-off.

    Of the pairs: ends [P, 2] their atoms, across [P, 3] Å the lattice vectors crossed, edges_of [P, 2] their two edges, the one
    along them first. Of the 2P edges, sorted by centre: starts [N + 1] of the centres' rows, neighbor, pair_of, crossed
    [2P, 3]. Returns neighbors [N, K], shift [N, K, 3], mask, reverse and pair [N, K], pair_slots [pairs, 2] and
    vectors [N, K, 3] as `AtomGraph` has them.
    """
    n_atoms, n_pairs = pos.shape[0], ends.shape[0]
    number, along = np.empty(n_pairs, np.int64), np.empty((n_pairs, 3))
    count = np.zeros(n_atoms, np.int64)
    near = 0
    for p in range(n_pairs):
        i, j = ends[p, 0], ends[p, 1]
        x = pos[j, 0] - pos[i, 0] + across[p, 0]
        y = pos[j, 1] - pos[i, 1] + across[p, 1]
        z = pos[j, 2] - pos[i, 2] + across[p, 2]
        along[p, 0], along[p, 1], along[p, 2] = x, y, z
        square = x * x + y * y + z * z
        number[p] = -1
        if square <= cutoff * cutoff and square > shortest * shortest:
            number[p] = near
            near += 1
            count[i] += 1
            count[j] += 1
    k = max(1, count.max())
    neighbors, pair, reverse = (
        np.empty((n_atoms, k), np.int64),
        np.empty((n_atoms, k), np.int64),
        np.empty((n_atoms, k), np.int64),
    )
    mask, slot_of = np.empty((n_atoms, k), np.bool_), np.empty(2 * n_pairs, np.int64)
    shift, vectors, pair_slots = np.empty((n_atoms, k, 3)), np.empty((n_atoms, k, 3)), np.empty((near, 2), np.int64)
    for n in range(n_atoms):
        column = 0
        for e in range(starts[n], starts[n + 1]):
            p = pair_of[e]
            if number[p] < 0:
                continue
            sign = 1.0 if edges_of[p, 0] == e else -1.0
            neighbors[n, column], pair[n, column], mask[n, column] = neighbor[e], number[p], True
            slot_of[e] = n * k + column
            for c in range(3):
                shift[n, column, c] = crossed[e, c]
                vectors[n, column, c] = sign * along[p, c]
            column += 1
        for rest in range(column, k):
            neighbors[n, rest], pair[n, rest], mask[n, rest], reverse[n, rest] = n, near, False, n * k + rest
            for c in range(3):
                shift[n, rest, c] = 0.0
                vectors[n, rest, c] = cutoff if c == 0 else 0.0
    across_from = reverse.reshape(-1)
    for p in range(n_pairs):
        if number[p] >= 0:
            one, other = slot_of[edges_of[p, 0]], slot_of[edges_of[p, 1]]
            pair_slots[number[p], 0], pair_slots[number[p], 1] = one, other
            across_from[one], across_from[other] = other, one
    return neighbors, shift, mask, reverse, pair, pair_slots, vectors


def half_of_step(
    pos: np.ndarray, vel: np.ndarray, forces: np.ndarray, mass: np.ndarray, xi: np.ndarray, v_xi: np.ndarray,
    per_energy: float, g: int, timestep: float, damping: float, acceleration: float, first: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """pos, vel, xi and v_xi of R replicas after the half of a Nosé-Hoover step before its forces, or the one after them.

    Before: half a step of the chain, half a kick and the drift. After: half a kick and half a step of the chain. pos, vel, forces
    [R, n, 3], mass [n], xi and v_xi [R, M]; `per_energy` is temperature over target for a sum of mass times squared velocity of
    1. The chain is that of `integrators._links`.
    """
    pos, vel, xi, v_xi = pos.copy() if first else pos, vel.copy(), xi.copy(), v_xi.copy()
    w, quarter, last = 1 / damping**2, timestep / 4, v_xi.shape[1] - 1
    brake = np.zeros(last + 1)
    for r in range(vel.shape[0]):
        v, u = v_xi[r], vel[r]
        heat = 0.0
        for n in range(u.shape[0]):
            if not first:
                kick = 0.5 * timestep * acceleration / mass[n]
                for c in range(3):
                    u[n, c] += kick * forces[r, n, c]
            heat += mass[n] * (u[n, 0] * u[n, 0] + u[n, 1] * u[n, 1] + u[n, 2] * u[n, 2])
        heat *= per_energy
        for up in range(last + 1):
            j = last - up
            push = heat * w - w if j == 0 else v[j - 1] * v[j - 1] * (g if j == 1 else 1) - w
            brake[j] = math.exp(v[j + 1] * (-timestep / 8)) if j < last else 1.0
            v[j] = (v[j] * brake[j] + quarter * push) * brake[j]
        s = math.exp(v[0] * (-timestep / 2))
        heat *= s * s
        for j in range(last + 1):
            xi[r, j] += v[j] * (timestep / 2)
        for j in range(last + 1):  # no link has changed since its brake on the one below was computed
            push = heat * w - w if j == 0 else v[j - 1] * v[j - 1] * (g if j == 1 else 1) - w
            v[j] = (v[j] * brake[j] + quarter * push) * brake[j]
        for n in range(u.shape[0]):
            kick = 0.5 * timestep * acceleration / mass[n] if first else 0.0
            for c in range(3):
                u[n, c] = u[n, c] * s + kick * forces[r, n, c] if first else u[n, c] * s
                if first:
                    pos[r, n, c] += timestep * u[n, c]
    return pos, vel, xi, v_xi
