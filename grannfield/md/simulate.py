"""Molecular dynamics by protocol: heating ramp, then NVT, many replicas at once, stopping those that fail.

A run can be killed at any moment: frames and the exact state are kept in small files in a folder, each written whole or
not at all, and the next call continues bit for bit from the last of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from grannfield import units
from grannfield.files import write_atomically
from grannfield.forcefield import ForceField, weights_hash
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated, nose_hoover, rescale, velocity_verlet
from grannfield.md.state import MDState, drift_velocity, initial_state, kinetic_temperature
from grannfield.md.watch import CAUSES, Watch, keep_failed_still
from grannfield.progress import progress
from grannfield.trajectory import Trajectory

STEPS_PER_FILE = 250
"""A kill loses at most this many steps."""


@dataclass(frozen=True)
class Protocol:
    """How a run is made. The paper: 5 ps ramp from 100 K by velocity scaling, then 50 ps NVT, 30% of it equilibration."""

    temperature: float
    """K."""
    length: float = 50_000.0
    """fs of stored motion after the ramp: equilibration and production."""
    ramp: float = 5_000.0
    """fs of heating, which is not stored."""
    timestep: float = 2.0
    """fs."""
    interval: float = 20.0
    """fs between stored frames."""
    start_temperature: float = 100.0
    """K."""
    damping: float = 100.0
    """fs, of the Nosé-Hoover chain."""
    drop: float = 0.3
    """Share of `length` that is equilibration."""
    ensemble: Literal["nvt", "nve"] = "nvt"

    def __post_init__(self) -> None:
        for name in ("temperature", "length", "timestep", "interval", "start_temperature", "damping"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; it is {getattr(self, name)!r}")
        if self.ramp < 0 or not 0 <= self.drop < 1:
            raise ValueError(f"ramp {self.ramp!r} fs must not be negative and drop {self.drop!r} must be in [0, 1)")
        if round(self.interval / self.timestep) < 1 or round(self.length / self.interval) < 1:
            raise ValueError(
                f"frames every {self.interval:g} fs do not fit steps of {self.timestep:g} fs and a length of {self.length:g} fs"
            )

    @property
    def stride(self) -> int:
        """Steps between stored frames."""
        return round(self.interval / self.timestep)

    @property
    def ramp_steps(self) -> int:
        return round(self.ramp / self.timestep)

    @property
    def frames(self) -> int:
        """Stored frames of a run that does not fail."""
        return round(self.length / self.interval)

    def target(self, step: int) -> float:
        """Temperature in K that the thermostat holds after `step` steps, counted from the start of the ramp."""
        if step >= self.ramp_steps:
            return self.temperature
        return self.start_temperature + (self.temperature - self.start_temperature) * step / self.ramp_steps


@dataclass(frozen=True)
class EngineFailure:
    """Why and when the engine stopped a replica."""

    cause: str
    """One of "non-finite", "runaway", "overflow"."""
    time: float
    """fs after the end of the ramp (negative during the ramp)."""
    detail: str


@dataclass(frozen=True)
class MDRun:
    """One replica's motion under a force field, and how it ended."""

    protocol: Protocol
    seed: int
    trajectory: Trajectory | None
    """Frames before any failure; None when it failed before the first."""
    failure: EngineFailure | None
    seconds: float
    """Wall time of the whole batch divided by its replicas."""
    drift: float
    """Å/ps, speed of the centre of mass at the end: not zero where forces do not add up to zero."""
    internal_temperature: float
    """K, mean kinetic temperature of the stored frames with the motion of the centre of mass removed."""

    def production(self) -> Trajectory | None:
        """Stored frames after the equilibration of the *planned* length; None when the run failed before."""
        if self.trajectory is None:
            return None
        kept = self.trajectory.time >= self.protocol.drop * self.protocol.length - 1e-6
        return self.trajectory[kept] if kept.any() else None


def simulate(
    field: ForceField,
    z: np.ndarray,
    pos: np.ndarray,
    cell: np.ndarray,
    protocol: Protocol,
    seeds: list[int],
    *,
    device: str = "cpu",
    folder: Path | None = None,
    label: str = "MD",
) -> list[MDRun]:
    """Run one replica for each seed from pos [n,3] Å in cell [3,3] Å; a replica that fails stops, the others go on.

    With a `folder` the run can be killed and called again: it continues exactly where it was. ValueError when the folder
    holds a run with other settings, FloatingPointError when the very first energy or force is NaN or infinite.
    """
    state = initial_state(z, pos, cell, protocol.start_temperature if protocol.ramp_steps else protocol.temperature, seeds)
    state = MDState(**{key: value.to(device) for key, value in vars(state).items()})
    evaluate = Evaluate(field.to(device).eval(), state)
    pieces = _Pieces(folder, _identity(field, state, protocol, seeds))
    frames, step, watch, spent = pieces.frames, 0, Watch.new(len(seeds), protocol.timestep, device), 0.0
    if pieces.last is None:
        state = evaluated(state, evaluate)
        if not bool(torch.isfinite(state.forces).all() and torch.isfinite(state.energy).all()):
            raise FloatingPointError(f"{field.name} gives a NaN or infinite energy or force on the starting structure")
        watch = watch.after(state, 0, protocol.target(0), evaluate.overflow)
    else:
        state, watch, step, spent = pieces.restore(state, watch)
    total = protocol.ramp_steps + protocol.frames * protocol.stride
    start = time.monotonic() - spent
    with progress(total * protocol.timestep * 1e-3, label, "ps") as bar:
        bar.update(step * protocol.timestep * 1e-3)
        while step < total and bool(watch.alive.any()):
            n = min(protocol.stride, protocol.ramp_steps - step) if step < protocol.ramp_steps else protocol.stride
            state, watch = advance(state, watch, evaluate, protocol, step, n)
            step += n
            if step > protocol.ramp_steps:
                frames.append(_frame(state, step - protocol.ramp_steps, protocol, watch))
            if step >= pieces.step + STEPS_PER_FILE:
                pieces.write(state, watch, step, time.monotonic() - start)
            bar.update(n * protocol.timestep * 1e-3)
            bar.set_postfix_str(f"{float(kinetic_temperature(state).mean()):.0f} K", refresh=False)
    pieces.write(state, watch, step, time.monotonic() - start)
    return [
        _finished(r, seed, frames, state, watch, protocol, (time.monotonic() - start) / len(seeds))
        for r, seed in enumerate(seeds)
    ]


def advance(state: MDState, watch: Watch, evaluate: Evaluate, protocol: Protocol, step: int, n: int) -> tuple[MDState, Watch]:
    """n steps from step number `step`: velocity scaling in the ramp, the protocol's ensemble after it."""
    for now in range(step + 1, step + n + 1):
        target = protocol.target(now)
        if now <= protocol.ramp_steps:
            new = rescale(velocity_verlet(state, evaluate, protocol.timestep), target)
        elif protocol.ensemble == "nvt":
            new = nose_hoover(state, evaluate, protocol.timestep, target, protocol.damping)
        else:
            new = velocity_verlet(state, evaluate, protocol.timestep)
        watch = watch.after(new, now, target, evaluate.overflow)
        state = keep_failed_still(watch.alive, new, state)
    return state, watch


def _frame(state: MDState, after_ramp: int, protocol: Protocol, watch: Watch) -> dict[str, np.ndarray]:
    """What is stored of one moment, for all replicas."""
    drift = drift_velocity(state)
    mass = float(state.mass.sum())
    moving = mass * drift.square().sum(dim=1) / (state.degrees_of_freedom * units.BOLTZMANN * units.ACCELERATION)
    temperature = kinetic_temperature(state)
    values = {
        "time": torch.tensor(after_ramp * protocol.timestep, dtype=torch.float64),
        "pos": state.pos,
        "forces": state.forces,
        "energy": state.energy,
        "temperature": temperature,
        "internal_temperature": temperature - moving,
        "alive": watch.alive,
    }
    return {key: value.cpu().numpy() for key, value in values.items()}


def _finished(
    r: int, seed: int, frames: list[dict[str, np.ndarray]], state: MDState, watch: Watch, protocol: Protocol, seconds: float
) -> MDRun:
    good = [f for f in frames if f["alive"][r]]
    pick = lambda key: np.stack([f[key][r] for f in good])  # noqa: E731
    trajectory = None
    if good:
        trajectory = Trajectory(
            z=state.z.cpu().numpy(),
            pos=pick("pos"),
            cell=state.cell[r].cpu().numpy(),
            time=np.array([float(f["time"]) for f in good]),
            temperature=pick("temperature"),
            energy=pick("energy"),
            forces=pick("forces"),
            source=f"MD, seed {seed}",
        )
    failure = None
    if int(watch.step[r]) >= 0:
        number, value = int(watch.cause[r]), float(watch.value[r])
        said = (
            "",
            "energy, forces or positions became NaN or infinite",
            f"a force of {value:.0f} eV/Å",
            f"kinetic temperature {value:.0f} K over 100 fs",
            "an atom gained more neighbours than the matrix holds",
        )[number]
        failure = EngineFailure(CAUSES[number], (int(watch.step[r]) - protocol.ramp_steps) * protocol.timestep, said)
    return MDRun(
        protocol=protocol,
        seed=seed,
        trajectory=trajectory,
        failure=failure,
        seconds=seconds,
        drift=float(drift_velocity(state)[r].norm()) * 1e3,
        internal_temperature=float(np.mean(pick("internal_temperature"))) if good else float("nan"),
    )


def _identity(field: ForceField, state: MDState, protocol: Protocol, seeds: list[int]) -> str:
    """Hash of everything that determines the motion."""
    digest = hashlib.sha256(json.dumps([asdict(protocol), seeds, str(field.dtype)], sort_keys=True).encode())
    digest.update(weights_hash(field).encode())
    for array in (state.z, state.pos, state.cell):
        digest.update(array.cpu().numpy().tobytes())
    return digest.hexdigest()


class _Pieces:
    """The files of an unfinished run: frames since the last one, and the state at its end."""

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.folder, self.written, self.step = folder, 0, -1
        self.frames: list[dict[str, np.ndarray]] = []
        self.last: dict[str, np.ndarray] | None = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "run.json"
        if note.exists() and json.loads(note.read_text())["identity"] != identity:
            raise ValueError(f"{folder} holds a run with other settings or weights; delete it or choose another place")
        write_atomically(note, json.dumps({"identity": identity}))
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                piece = {key: file[key] for key in file.files}
            for f in range(len(piece.get("frame.time", ()))):
                self.frames.append({key[6:]: value[f] for key, value in piece.items() if key.startswith("frame.")})
            self.last, self.step = piece, int(piece["step"])
        self.written = len(self.frames)

    def write(self, state: MDState, watch: Watch, step: int, spent: float) -> None:
        if self.folder is None or step == self.step:
            return
        new = self.frames[self.written :]
        arrays = {f"frame.{key}": np.stack([f[key] for f in new]) for key in (new[0] if new else {})}
        arrays |= {f"state.{key}": value.cpu().numpy() for key, value in vars(state).items()}
        arrays |= {f"watch.{key}": value.cpu().numpy() for key, value in vars(watch).items()}
        buffer = io.BytesIO()
        arrays |= {"step": np.array(step), "spent": np.array(spent)}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(self.folder / f"{step:09d}.npz", buffer.getvalue())
        self.written, self.step = len(self.frames), step

    def restore(self, state: MDState, watch: Watch) -> tuple[MDState, Watch, int, float]:
        assert self.last is not None
        load = lambda prefix, like: {  # noqa: E731
            key: torch.from_numpy(np.array(self.last[f"{prefix}.{key}"])).to(value.device) for key, value in vars(like).items()
        }
        return MDState(**load("state", state)), Watch(**load("watch", watch)), int(self.last["step"]), float(self.last["spent"])
