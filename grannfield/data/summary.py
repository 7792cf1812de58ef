"""What an imported run holds, in a few lines a person can check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from grannfield.analysis.distances import minimum_distances
from grannfield.data.compact import ENERGY_BITS
from grannfield.data.store import FLOAT16_LIMIT, read_rounding, read_trajectory
from grannfield.trajectory import Trajectory
from grannfield.units import formula, symbol

SHOWN = 6
"""Frames or pairs named one by one."""
LOOKED_AT = 100
"""Frames whose distances are measured."""


def lines(trajectory: Trajectory, unlabelled: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """(what, text) of one run: frames, time, temperature, labels, volume, energy, forces, nearest atoms."""
    n = trajectory.n_frames
    yield "frames", f"{n} of {trajectory.n_atoms} atoms ({formula(trajectory.z)})"
    if trajectory.kind == "time" and n > 1:
        yield "time", f"{trajectory.duration / 1e3:g} ps, a frame every {trajectory.timestep:g} fs"
    else:
        yield "time", "none: unordered frames, for forces and energies only"
    if trajectory.temperature is not None:
        known = trajectory.temperature[np.isfinite(trajectory.temperature)]
        yield "temperature", f"{known.mean():.0f} K, from {known.min():.0f} to {known.max():.0f} K"
    yield "labelled", _labelled(trajectory, unlabelled)
    volume = np.abs(np.linalg.det(np.asarray(trajectory.cell)))
    yield "volume", f"{_span(volume, '.1f')} Å³ ({volume.mean() / trajectory.n_atoms:.1f} Å³ an atom)"
    labelled = np.asarray(trajectory.labelled)
    if trajectory.energy is not None and labelled.any():
        energy = np.asarray(trajectory.energy)[labelled] / trajectory.n_atoms
        yield "energy", f"{_span(energy, '.4f')} eV an atom"
    if trajectory.forces is not None:
        forces = np.asarray(trajectory.forces, float)
        forces = forces[np.isfinite(forces)]
        if len(forces):
            yield "forces", f"{np.sqrt(np.square(forces).mean()):.3f} eV/Å rms, {np.abs(forces).max():.2f} at most"
    yield "nearest", ", ".join(f"{pair} {d:.2f}" for pair, d in nearest(trajectory).items()) + " Å"


def _span(values: np.ndarray, style: str) -> str:
    low, high = values.min(), values.max()
    if f"{low:{style}}" == f"{high:{style}}":
        return f"{low:{style}}"
    return f"{values.mean():{style}}, from {low:{style}} to {high:{style}}"


def _labelled(trajectory: Trajectory, unlabelled: Mapping[int, str]) -> str:
    count = int(np.count_nonzero(np.asarray(trajectory.labelled)))
    share = f"{count} of {trajectory.n_frames} frames with energy and forces"
    if count == 0 and not unlabelled:
        has = [name for name in ("energy", "forces") if getattr(trajectory, name) is not None]
        return f"none: {' and '.join(has) or 'neither'} in the file, energy and forces are needed; good for motion alone"
    reasons = [
        f"{number} {why} (step {_listed(step + 1 for step, other in unlabelled.items() if other == why)})"
        for why, number in Counter(unlabelled.values()).items()
    ]
    return f"{share}; without: {'; '.join(reasons)}" if reasons else share


def _listed(numbers: Iterator[int]) -> str:
    every = list(numbers)
    return ", ".join(map(str, every[:SHOWN])) + ", ..." * (len(every) > SHOWN)


def nearest(trajectory: Trajectory) -> dict[str, float]:
    """Å between the nearest atoms of each pair of elements, over at most a hundred frames; the shortest first."""
    chosen = np.unique(np.linspace(0, trajectory.n_frames - 1, LOOKED_AT).astype(int))
    pos, cell = np.asarray(trajectory.pos)[chosen], np.asarray(trajectory.cell)[chosen]
    found = {}
    for a, b in combinations_with_replacement(np.unique(trajectory.z), 2):
        i, j = np.meshgrid(np.flatnonzero(trajectory.z == a), np.flatnonzero(trajectory.z == b), indexing="ij")
        keep = (i != j) if a != b else (i < j)
        if keep.any():
            reach = float(np.cbrt(np.abs(np.linalg.det(cell)).max()))
            closest = minimum_distances(pos, cell, i[keep], j[keep], reach).min()
            found[f"{symbol(int(a))}-{symbol(int(b))}"] = float(closest)
    return dict(sorted(found.items(), key=lambda item: item[1])[:SHOWN])


def rounding(trajectory: Trajectory, path: Path) -> str:
    """What storing it in a file has cost, in words."""
    kept, stored = read_rounding(path), read_trajectory(path)
    off = np.abs(np.asarray(trajectory.pos) - stored.pos).max()
    text = f"positions {'float32' if kept is None else f'in units of 2^-{kept.position_bits} Å'} (to {off:.0e} Å)"
    if trajectory.forces is None or stored.forces is None:
        return text
    forces = np.asarray(trajectory.forces, float)
    known = np.isfinite(forces)
    if not known.any() or (kept is None and np.abs(forces[known]).max() >= FLOAT16_LIMIT):
        return f"{text}, forces float32"
    lost = 1e3 * np.abs(forces - stored.forces)[known]
    how = "float16" if kept is None else f"of 2^-{kept.force_bits} eV/Å"
    energies = "float64" if kept is None else f"of 2^-{ENERGY_BITS} eV"
    rms = np.sqrt(np.square(lost).mean())
    return f"{text}, forces {how} (to {rms:.2f} meV/Å rms, {lost.max():.1f} at most), energies {energies}"
