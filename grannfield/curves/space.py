"""Where the mobile ions are: densities on the grid of the ideal cell, their ways, and the jumps between sites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grannfield import units
from grannfield.analysis.jumps import Jumps
from grannfield.analysis.paths import IonDensity, mobile_fractional, overlap
from grannfield.curves.kinds import Density, Paths, ReferenceCurves
from grannfield.harness import ReferenceData
from grannfield.motion import RDF_INTERVAL
from grannfield.runs import ScoredRun
from grannfield.score import NotAvailable
from grannfield.trajectory import Trajectory

AVERAGED = 100.0
"""fs over which a way is averaged: a period of vibration, so that jumps stay and shaking goes."""


def chosen_temperature(runs: Sequence[ScoredRun], reference: ReferenceCurves) -> tuple[float, list[ScoredRun]]:
    """The temperature whose runs say most: most production frames before any failure; of equals, the hottest.

    NotAvailable, with the reason of the first run, when no run at a temperature of the reference has frames.
    """
    frames: dict[float, int] = {}
    usable: dict[float, list[ScoredRun]] = {}
    reason: NotAvailable | None = None
    for run in runs:
        if run.temperature not in reference.density:
            reason = reason or NotAvailable("no reference", f"no run at {run.temperature:g} K")
            continue
        try:
            found = run.require_production()
        except NotAvailable as problem:
            reason = reason or problem
            continue
        frames[run.temperature] = frames.get(run.temperature, 0) + found.n_frames
        usable.setdefault(run.temperature, []).append(run)
    if not usable:
        raise reason or NotAvailable("no runs")
    best = max(usable, key=lambda t: (frames[t], t))
    return best, usable[best]


def best_of_reference(reference: ReferenceCurves) -> float:
    """The temperature in K with most frames of a reference; of equals, the one in the middle."""
    most = max(reference.frames.values())
    usual = [t for t, n in sorted(reference.frames.items()) if n == most]
    return usual[len(usual) // 2]


def smoothed(density: IonDensity) -> np.ndarray:
    """[A, B, C] share of the ions in each voxel, smoothed as the score of the overlap."""
    return density.smoothed(density.probability()).reshape(density.shape).astype(np.float32)


def density_of(runs: Sequence[ScoredRun], data: ReferenceData, reference: ReferenceCurves) -> Density:
    """Density of all runs at the temperature that says most, beside the reference's there."""
    temperature, usable = chosen_temperature(runs, reference)
    made = [data.density(run.require_production().every(RDF_INTERVAL)) for run in usable]
    total = sum(one.n_frames for one in made)
    own = np.sum([smoothed(one) * (one.n_frames / total) for one in made], axis=0).astype(np.float32)
    other = reference.density[temperature]
    shape = made[0].shape
    return Density(
        own, other, (shape[0], shape[1], shape[2]), reference.cell, temperature, total, reference.frames[temperature],
        overlap(own.ravel(), other.ravel()),
    )  # fmt: skip


def ways(trajectory: Trajectory, data: ReferenceData) -> tuple[np.ndarray, np.ndarray]:
    """Time [P] in ps and ways [n, P, 3] in Å of the mobile ions, running means over 100 fs, in the frame of the ideal cell."""
    ideal = data.material.structure
    centres = data.material.tetrahedra[0] if data.material.tetrahedra else ()
    fractional = mobile_fractional(trajectory, units.number(data.material.mobile_ion), ideal.pos, centres)
    width = max(1, round(AVERAGED / trajectory.timestep)) if trajectory.n_frames > 1 else 1
    blocks = max(1, len(fractional) // width)
    mean = fractional[: blocks * width].reshape(blocks, -1, *fractional.shape[1:]).mean(axis=1)
    mean = mean - np.floor(mean[0])
    time = trajectory.time[: blocks * width].reshape(blocks, -1).mean(axis=1) * 1e-3
    return time, np.moveaxis(mean @ ideal.cell, 1, 0).astype(np.float32)


def ways_used(jumps: Jumps) -> np.ndarray:
    """[J, 6] distinct moves from site to site (origin, target, cells) and how often each was made."""
    if not len(jumps.move):
        return np.empty((0, 6), dtype=np.int32)
    moves, counts = np.unique(jumps.move, axis=0, return_counts=True)
    return np.column_stack([moves, counts]).astype(np.int32)


def paths_of(runs: Sequence[ScoredRun], data: ReferenceData, reference: ReferenceCurves) -> Paths:
    """Ways and jumps of the longest run at the temperature that says most, beside the reference's there."""
    temperature, usable = chosen_temperature(runs, reference)
    longest = max(usable, key=lambda run: run.require_production().n_frames).require_production()
    time, own = ways(longest, data)
    other_time, other = reference.paths[temperature]
    used = ways_used(data.jumps(longest.every(RDF_INTERVAL)))
    return Paths(
        own, other, time, other_time, temperature, reference.cell, reference.sites, reference.site_names, used,
        reference.jumps[temperature], own.shape[0],
    )  # fmt: skip
