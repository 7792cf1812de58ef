"""Failure of a run: atoms that fuse, tetrahedra that break, heat that runs away, a framework that melts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from grannfield import units
from grannfield.analysis.distances import chunks, image_distances, minimum_distances, nearest_vectors, pairs
from grannfield.analysis.thresholds import COORDINATION, MELT_INTERVAL, Thresholds, lindemann
from grannfield.analysis.uncertainty import Estimate, clopper_pearson
from grannfield.trajectory import Trajectory

FUSION_FRACTION = 0.75
FUSION_TIME = 20.0
"""fs; a thermal collision turns round sooner, a fused pair stays."""
BOND_FACTOR = 1.35
TETRAHEDRON_TIME = 100.0
RUNAWAY_FACTOR = 1.5
RUNAWAY_TIME = 100.0
FORCE_LIMIT = 50.0
"""eV/Å; the largest force of the reference runs is below 10."""
MELT_FACTOR = 3.0

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


@dataclass(frozen=True)
class Survival:
    """How many of a set of runs failed, and when."""

    failed: Estimate
    """Share of runs that failed, Clopper-Pearson interval; n counts runs."""
    failure_times: tuple[float, ...]
    """fs, sorted, of the runs that failed."""
    censored_times: tuple[float, ...]
    """fs, sorted lengths of the runs that did not fail as long as they were watched."""
    causes: dict[str, int] = field(default_factory=dict)


def first_failure(trajectory: Trajectory, thresholds: Thresholds, target_temperature: float, mobile_z: int) -> Failure | None:
    """The first failure event of a run, or None when there is none.

    - non-finite: an infinite energy, force or temperature (a `Trajectory` takes no NaN position: the MD engine reports
      those itself).
    - fusion: a pair nearer than 0.75 x the smallest reference distance of its species, for at least 20 fs.
    - broken tetrahedron: fewer than 4 ligands within 1.35 x the mean reference bond, for more than 100 fs.
    - runaway: kinetic temperature averaged over 100 fs above 1.5 x target (its start: the first frame of that window
      which is itself above), or a force above 50 eV/Å at once. Frames without temperature or forces are not judged.
    - melt: Lindemann ratio of the framework above 3 x the reference's, looked at every 20 fs.

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


def survival(failures: Sequence[Failure | None], durations: Sequence[float]) -> Survival:
    """The share of runs that failed, with the times of failure and of the runs that were watched to their end.

    durations in fs, one per run. ValueError for unequal lengths or no run.

    >>> s = survival([None, Failure(500.0, 250, "fusion")], [1000.0, 1000.0])
    >>> s.failed.value, s.failure_times, s.censored_times
    (0.5, (500.0,), (1000.0,))
    """
    if len(failures) != len(durations) or not failures:
        raise ValueError(f"{len(failures)} outcomes and {len(durations)} durations: one of each per run is needed")
    events = [failure for failure in failures if failure is not None]
    share = Estimate(len(events) / len(failures), clopper_pearson(len(events), len(failures)), len(failures), note="runs")
    censored = sorted(time for failure, time in zip(failures, durations, strict=True) if failure is None)
    causes = {cause: sum(event.cause == cause for event in events) for cause in CAUSES}
    return Survival(share, tuple(sorted(e.time for e in events)), tuple(censored), {c: n for c, n in causes.items() if n})


def frames_needed(duration: float, timestep: float, longer: bool = False) -> int:
    """Consecutive frames that make an event of some duration in fs: at least it, or `longer` than it.

    >>> frames_needed(20, 2), frames_needed(20, 10), frames_needed(20, 50), frames_needed(100, 2, longer=True)
    (10, 2, 1, 51)
    """
    if timestep <= 0:
        return 1
    return int(duration / timestep + 1e-6) + 1 if longer else max(1, int(np.ceil(duration / timestep - 1e-6)))


def _failure(trajectory: Trajectory, frame: int, cause: Cause, detail: str) -> Failure:
    return Failure(float(trajectory.time[frame]), int(frame), cause, detail)


def _non_finite(trajectory: Trajectory) -> Failure | None:
    for name in ("forces", "energy", "temperature"):
        value = getattr(trajectory, name)
        if value is not None and np.isinf(value).any():
            frame = int(np.argmax(np.isinf(value).reshape(len(value), -1).any(axis=1)))
            return _failure(trajectory, frame, "non-finite", f"{name} infinite")
    return None


def _fusion(trajectory: Trajectory, thresholds: Thresholds) -> Failure | None:
    i, j, kind, names = pairs(trajectory.z)
    limit = np.array([FUSION_FRACTION * thresholds.closest.get(pair, 0.0) for pair in names])[kind]
    found = list(_near_pairs(trajectory, i, j, limit))
    frame, pair, share = (np.concatenate(part) for part in zip(*found, strict=True))
    needed = frames_needed(FUSION_TIME, trajectory.timestep)
    start = _first_run(frame, pair, needed)
    if start is None:
        return None
    first, candidates = start
    here = (frame == first) & np.isin(pair, candidates)
    which = int(pair[here][np.argmin(share[here])])
    labels = f"{units.symbol(int(trajectory.z[i[which]]))}{i[which]}-{units.symbol(int(trajectory.z[j[which]]))}{j[which]}"
    return _failure(trajectory, first, "fusion", f"{labels} nearer than {limit[which]:.2f} Å")


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
    sparse = trajectory.every(MELT_INTERVAL)
    ratio = lindemann(sparse, mobile_z, thresholds.spacing, thresholds.window)
    molten = ratio > MELT_FACTOR * thresholds.lindemann
    if not molten.any():
        return None
    k = int(np.argmax(molten))
    frame = int(np.searchsorted(trajectory.time, sparse.time[k]))
    return _failure(trajectory, frame, "melt", f"Lindemann ratio {ratio[k]:.2f}, reference {thresholds.lindemann:.2f}")
