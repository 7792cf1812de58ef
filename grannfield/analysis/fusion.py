"""Failure of a run: atoms that fuse, tetrahedra that break, heat that runs away, a framework that melts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from grannfield import units
from grannfield.analysis.distances import chunks, image_distances, minimum_distances, nearest_vectors, pairs
from grannfield.analysis.thresholds import COORDINATION, MELT_INTERVAL, Thresholds, lindemann, wander
from grannfield.trajectory import Trajectory

FUSION_TIME = 20.0
"""fs; a thermal collision turns round sooner, a fused pair stays."""
BOND_FACTOR = 1.35
TETRAHEDRON_TIME = 100.0
RUNAWAY_FACTOR = 1.5
RUNAWAY_TIME = 100.0
FORCE_LIMIT = 50.0
"""eV/Å; the largest force of the reference runs is below 10."""
MELT_FACTOR = 3.0
WANDER_FACTOR = 2.5
"""The distance from the beginning starts from noise of its own, and hovers: at 3 a random
walk is found up to a third of the run late, at 2.5 about where its instantaneous ratio reaches 3."""

Cause = Literal["non-finite", "fusion", "broken tetrahedron", "runaway", "melt"]
CAUSES: tuple[Cause, ...] = ("non-finite", "fusion", "broken tetrahedron", "runaway", "melt")
"""In the order that decides when two events begin at the same frame: the more specific first."""


@dataclass(frozen=True)
class Failure:
    """The first event after which a run is no longer the material."""

    time: float
    """fs, on the trajectory's own clock."""
    frame: int
    """First frame of the event."""
    cause: Cause
    detail: str = ""
    evidence: dict[str, str | float] = field(default_factory=dict, compare=False)
    """The numbers behind the detail, names with their units: for a fusion pair, atoms, distance_A, limit_A."""


def first_failure(trajectory: Trajectory, thresholds: Thresholds, target_temperature: float, mobile_z: int) -> Failure | None:
    """The first failure event of a run, or None when there is none.

    - non-finite: an infinite energy, force or temperature (a `Trajectory` takes no NaN position: the MD engine reports
      those itself).
    - fusion: a pair nearer than 0.75 x the smallest reference distance of its species, and than a covalent bond, for at
      least 20 fs.
    - broken tetrahedron: fewer than 4 ligands within 1.35 x the mean reference bond, for more than 100 fs.
    - runaway: kinetic temperature averaged over 100 fs above 1.5 x target (its start: the first frame of that window
      which is itself above), or a force above 50 eV/Å at once. Frames without temperature or forces are not judged.
    - melt: Lindemann ratio of the framework above 3 x the reference's; or its distance from where it began (`wander`: a window
      of fixed length forgets what is slower than itself) above 2.5 x that ratio and the reference's own distance. Looked at
      every 20 fs.

    A frame stands for one frame spacing, so an event of duration t needs ceil(t/spacing) frames in a row (for "more
    than", floor + 1), and one when the spacing is longer: 2 frames for a fusion stored every 10 fs. The time of
    failure is the first frame of the event. target_temperature in K. Raises TrajectoryError for unordered frames.
    """
    trajectory.require_time()
    events = [
        _non_finite(trajectory),
        _fusion(trajectory, thresholds),
        _broken_tetrahedron(trajectory, thresholds),
        _runaway(trajectory, target_temperature),
        _melt(trajectory, thresholds, mobile_z),
    ]
    found = [event for event in events if event is not None]
    return min(found, key=lambda event: (event.frame, CAUSES.index(event.cause)), default=None)


def before(trajectory: Trajectory, failure: Failure | None) -> Trajectory | None:
    """The frames before a failure, the only ones that enter any other number; None when no frame is left."""
    if failure is None:
        return trajectory
    return trajectory[: failure.frame] if failure.frame > 0 else None


def frames_needed(duration: float, timestep: float, longer: bool = False) -> int:
    """Consecutive frames that make an event of some duration in fs: at least it, or `longer` than it.

    >>> frames_needed(20, 2), frames_needed(20, 10), frames_needed(20, 50), frames_needed(100, 2, longer=True)
    (10, 2, 1, 51)
    """
    if timestep <= 0:
        return 1
    return int(duration / timestep + 1e-6) + 1 if longer else max(1, int(np.ceil(duration / timestep - 1e-6)))


def _failure(
    trajectory: Trajectory, frame: int, cause: Cause, detail: str, numbers: dict[str, str | float] | None = None
) -> Failure:
    return Failure(float(trajectory.time[frame]), int(frame), cause, detail, numbers or {})


def _non_finite(trajectory: Trajectory) -> Failure | None:
    for name in ("forces", "energy", "temperature"):
        value = getattr(trajectory, name)
        if value is not None and np.isinf(value).any():
            frame = int(np.argmax(np.isinf(value).reshape(len(value), -1).any(axis=1)))
            return _failure(trajectory, frame, "non-finite", f"{name} infinite")
    return None


def _fusion(trajectory: Trajectory, thresholds: Thresholds) -> Failure | None:
    i, j, kind, names = pairs(trajectory.z)
    limit = np.array([thresholds.fused_below(pair) for pair in names])[kind]
    found = list(_near_pairs(trajectory, i, j, limit))
    frame, pair, share = (np.concatenate(part) for part in zip(*found, strict=True))
    needed = frames_needed(FUSION_TIME, trajectory.timestep)
    start = _first_run(frame, pair, needed)
    if start is None:
        return None
    first, candidates = start
    here = (frame >= first) & (frame < first + needed) & np.isin(pair, candidates)
    which = int(pair[here][np.argmin(share[here])])
    distance = float(share[here].min() * limit[which])
    a, b = (f"{units.symbol(int(trajectory.z[k]))}" for k in (i[which], j[which]))
    atoms = f"{a}{i[which]}-{b}{j[which]}"
    detail = f"{atoms} at {distance:.2f} Å, nearer than {limit[which]:.2f} Å"
    numbers: dict[str, str | float] = {"pair": f"{a}-{b}", "atoms": atoms, "distance_A": distance, "limit_A": float(limit[which])}
    return _failure(trajectory, first, "fusion", detail, numbers)


def _near_pairs(
    trajectory: Trajectory, i: np.ndarray, j: np.ndarray, limit: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames and pairs that are nearer than their limit [P], with the share of it they keep, chunk by chunk."""
    for frames in chunks(trajectory.n_frames, len(i)):
        cell = trajectory.cell[frames]
        distance = minimum_distances(trajectory.pos[frames], cell, i, j, float(limit.max(initial=0.0)))
        frame, pair = np.nonzero(distance < limit)
        yield frame + frames.start, pair, distance[frame, pair] / limit[pair]


def _first_run(frame: np.ndarray, item: np.ndarray, needed: int) -> tuple[int, np.ndarray] | None:
    """Start of the earliest run of `needed` consecutive frames of one item, and the items whose run starts there."""
    order = np.lexsort((frame, item))
    frame, item = frame[order], item[order]
    last = needed - 1
    if len(frame) < needed:
        return None
    whole = (item[last:] == item[: len(item) - last]) & (frame[last:] - frame[: len(frame) - last] == last)
    starts = np.flatnonzero(whole)
    if not len(starts):
        return None
    first = frame[starts].min()
    return int(first), item[starts[frame[starts] == first]]


def _broken_tetrahedron(trajectory: Trajectory, thresholds: Thresholds) -> Failure | None:
    ligands = np.flatnonzero(trajectory.z == thresholds.ligand_z)
    needed = frames_needed(TETRAHEDRON_TIME, trajectory.timestep, longer=True)
    earliest: Failure | None = None
    for centre_z, bond in thresholds.bond.items():
        centres = np.flatnonzero(trajectory.z == centre_z)
        limit = BOND_FACTOR * bond
        near = np.concatenate(list(_ligand_counts(trajectory, centres, ligands, limit)))
        broken, which = np.nonzero(near < COORDINATION)
        start = _first_run(broken, which, needed)
        if start is not None and (earliest is None or start[0] < earliest.frame):
            frame, item = start[0], int(start[1][0])
            atom, left = centres[item], near[frame, item]
            detail = f"{units.symbol(centre_z)}{atom} keeps {left} of {COORDINATION} {units.symbol(thresholds.ligand_z)}"
            earliest = _failure(trajectory, start[0], "broken tetrahedron", f"{detail} within {limit:.2f} Å")
    return earliest


def _ligand_counts(trajectory: Trajectory, centres: np.ndarray, ligands: np.ndarray, limit: float) -> Iterator[np.ndarray]:
    """Ligands within the limit of each centre [F, centres], images counted one by one."""
    i, j = np.repeat(centres, len(ligands)), np.tile(ligands, len(centres))
    for frames in chunks(trajectory.n_frames, len(i)):
        cell = trajectory.cell[frames]
        vectors = nearest_vectors(trajectory.pos[frames], cell, i, j)
        count = np.zeros((len(cell), len(centres)), dtype=int)
        for distance in image_distances(vectors, cell, limit):
            count += (distance < limit).reshape(len(cell), len(centres), -1).sum(axis=2)
        yield count


def _runaway(trajectory: Trajectory, target: float) -> Failure | None:
    events = []
    if trajectory.forces is not None:
        force = np.linalg.norm(trajectory.forces.astype(np.float64), axis=2).max(axis=1)
        if (force > FORCE_LIMIT).any():
            frame = int(np.argmax(force > FORCE_LIMIT))
            events.append(_failure(trajectory, frame, "runaway", f"a force of {force[frame]:.0f} eV/Å"))
    if trajectory.temperature is not None:
        temperature = trajectory.temperature.astype(np.float64)
        window = min(frames_needed(RUNAWAY_TIME, trajectory.timestep), len(temperature))
        known = np.isfinite(temperature)
        total = np.convolve(np.where(known, temperature, 0.0), np.ones(window), "valid")
        number = np.rint(np.convolve(known, np.ones(window), "valid"))
        hot = total > RUNAWAY_FACTOR * target * np.maximum(number, 1)
        if hot.any():
            start = int(np.argmax(hot))
            frame = start + int(np.argmax(temperature[start : start + window] > RUNAWAY_FACTOR * target))
            detail = f"{total[start] / number[start]:.0f} K over {RUNAWAY_TIME:.0f} fs, target {target:.0f} K"
            events.append(_failure(trajectory, frame, "runaway", detail))
    return min(events, key=lambda event: event.frame, default=None)


def _melt(trajectory: Trajectory, thresholds: Thresholds, mobile_z: int) -> Failure | None:
    sparse, own = trajectory.every(MELT_INTERVAL), thresholds.lindemann
    furthest = max(own, thresholds.wander)  # soft modes of a small crystal carry it further than it shakes
    looked_at = [
        ("Lindemann ratio", lindemann(sparse, mobile_z, thresholds.spacing, thresholds.window), own, MELT_FACTOR * own),
        (
            "distance from its beginning, ratio",
            wander(sparse, mobile_z, thresholds.spacing, thresholds.rotating_z),
            furthest,
            WANDER_FACTOR * furthest,
        ),
    ]
    molten = []
    for name, ratio, reference, limit in looked_at:
        if (ratio > limit).any():
            k = int(np.argmax(ratio > limit))
            numbers: dict[str, str | float] = {"ratio": float(ratio[k]), "reference": reference, "limit": limit}
            molten.append((k, f"framework: {name} {ratio[k]:.2f}, limit {limit:.2f}", numbers))
    if not molten:
        return None
    k, detail, numbers = min(molten, key=lambda found: found[0])
    return _failure(trajectory, int(np.searchsorted(trajectory.time, sparse.time[k])), "melt", detail, numbers)
