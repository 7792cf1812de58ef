"""Energy conservation of a model, measured: NVE runs from frames of the reference, and products with its forces' Jacobian.

Both are stored under a hash of everything that determines them, so that analysing again computes nothing again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grannfield import provenance
from grannfield.analysis.conservation import Asymmetry, EnergyDrift, asymmetry, energy_drift, total_energy
from grannfield.data.checksum import sha256_of_file
from grannfield.data.dataset import FrameSet
from grannfield.files import locked, write_atomically
from grannfield.harness import PREDICTION_CODE, ReferenceData, judged, predict
from grannfield.motion import Subject, constant_energy, hash_of
from grannfield.precision import labelled
from grannfield.presets import Preset
from grannfield.runs import REASON_OF, ScoredRun
from grannfield.score import NotAvailable

STEP = {"float32": 0.01, "tf32": 0.03, "float64": 0.003}
"""Å, rms displacement of a coordinate in the wider of two central differences. Rounding of a network is divided by it; what
curvature adds falls with its fourth power, since the two are extrapolated to zero."""


@dataclass(frozen=True, eq=False)
class Curl:
    """Products u.J v and v.J u of a model's Jacobian in eV/Å², [frames, directions], and what made them."""

    forward: np.ndarray
    backward: np.ndarray
    fine: tuple[np.ndarray, np.ndarray]
    """The same from the shorter step alone."""
    step: float
    """Å."""
    made_on: dict[str, Any]
    pointer: dict[str, Any]
    """Where they are kept."""

    @property
    def asymmetry(self) -> Asymmetry:
        return asymmetry(self.forward, self.backward, self.fine)


def drift_of(runs: Sequence[ScoredRun]) -> EnergyDrift:
    """The drift of NVE runs; NotAvailable, with the reason, where one of them failed."""
    energies, interval = [], 0.0
    for one in runs:
        trajectory = one.run.trajectory
        if one.failure is not None or trajectory is None:
            raise NotAvailable(REASON_OF[one.failure.cause] if one.failure else "too short", f"NVE: {one.ending}")
        assert trajectory.energy is not None and trajectory.temperature is not None
        energies.append(total_energy(trajectory.energy, trajectory.temperature, trajectory.n_atoms))
        interval = trajectory.timestep
    return energy_drift(energies, interval, runs[0].run.trajectory.n_atoms if runs[0].run.trajectory else 1)


def nve_runs(subject: Subject, data: ReferenceData, preset: Preset, seed: int, store: Path, device: str) -> list[ScoredRun]:
    """The NVE runs from the store, or made now, each with its first failure."""
    data.require_motion()
    motion = constant_energy(subject, data.material, data.reference, preset, seed)
    runs = zip(motion.simulated(store, device), motion.pointers(store), strict=True)
    return [judged(run, motion.protocol.temperature, data, motion.made_on(store), pointer) for run, pointer in runs]


def curl(subject: Subject, chosen: FrameSet, preset: Preset, seed: int, store: Path, device: str) -> Curl:
    """Products of the Jacobian on frames spread over `chosen`, along random pairs of directions, from the store or made now."""
    field, where = subject.field, subject.computes_on(device)
    field.require_elements(chosen.z)
    frames = chosen.spread(min(preset.curl_frames, len(chosen)), seed)
    step = STEP[field.precision]
    code = provenance.code_hash(*PREDICTION_CODE, "conserved.py")
    settings = [preset.curl_directions, step, seed, labelled(field.precision, where)]
    path = store / "curl" / f"{hash_of(subject.identity, frames.sha256, settings, code)}.npz"
    with locked(path.parent / path.stem, wait=True):
        if not path.exists():
            products = jacobian_products(subject, frames, preset.curl_directions, step, seed, device)
            made_on = np.array(json.dumps(provenance.stamp(where, field.precision)))
            buffer = io.BytesIO()
            np.savez(buffer, products=products, made_on=made_on)
            write_atomically(path, buffer.getvalue())
    return curl_in(path, step, {"kind": "curl", "path": path.relative_to(store).as_posix(), "sha256": sha256_of_file(path)})


def curl_in(path: Path, step: float, pointer: dict[str, Any]) -> Curl:
    """The products of a file, made with displacements of `step` Å and of half of it."""
    with np.load(path, allow_pickle=False) as file:
        wide, fine, made_on = file["products"][0], file["products"][1], json.loads(str(file["made_on"]))
    both = (4 * fine - wide) / 3
    return Curl(both[0], both[1], (fine[0], fine[1]), step, made_on, pointer)


def jacobian_products(subject: Subject, frames: FrameSet, directions: int, step: float, seed: int, device: str) -> np.ndarray:
    """[2, 2, M, directions] eV/Å²: u.J v and v.J u by central differences, of `step` Å and of half of it.

    u and v are normally distributed displacements of all atoms, one pair for each frame and direction.
    """
    m, n = len(frames), len(frames.z)
    pair = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(m, n))).standard_normal((2, m, directions, n, 3))
    moves = np.array([1.0, -1.0, 0.5, -0.5]) * step
    pos = frames.pos[:, None, None, None] + moves[:, None, None] * np.moveaxis(pair, 0, 2)[:, :, :, None]
    flat = pos.reshape(-1, n, 3)
    cell = np.repeat(frames.cell, len(flat) // m, axis=0)
    zeros = np.zeros(len(flat))
    origin = np.repeat(frames.origin, len(flat) // m, axis=0)
    moved = FrameSet(frames.z, flat, cell, zeros, np.zeros_like(flat), origin)
    forces = predict(subject.field, moved, subject.engine_device(device))[1].reshape(pos.shape)
    slopes = np.stack([(forces[..., 0, :, :] - forces[..., 1, :, :]) / (2 * step),
                       (forces[..., 2, :, :] - forces[..., 3, :, :]) / step])  # fmt: skip
    along_u, along_v = slopes[..., 0, :, :], slopes[..., 1, :, :]  # J u and J v, [2, M, directions, n, 3]
    u, v = pair
    return np.stack([(u * along_v).sum(axis=(-2, -1)), (v * along_u).sum(axis=(-2, -1))], axis=1)
