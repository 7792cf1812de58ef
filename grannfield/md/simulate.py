"""Molecular dynamics by protocol: heating ramp, then NVT, many replicas at once, stopping those that fail.

A run can be killed at any moment: frames and the exact state are kept in small files in a folder, each written whole or
not at all, and the next call continues bit for bit from the last of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from grannfield import units
from grannfield.compiled import Mode
from grannfield.forcefield import ForceField, weights_hash
from grannfield.md.block import Blocks, Snapshot, advance
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated, nose_hoover_invariant
from grannfield.md.pieces import Pieces
from grannfield.md.protocol import Protocol
from grannfield.md.state import MDState, drift_velocity, initial_state, kinetic_temperature
from grannfield.md.stochastic import stochastic_invariant
from grannfield.md.watch import AVERAGED_OVER, CAUSES, Watch
from grannfield.progress import progress
from grannfield.trajectory import Trajectory

__all__ = ["EngineFailure", "MDRun", "Protocol", "advance", "simulate"]

log = logging.getLogger("grannfield")

STEPS_PER_FILE = 250
"""A kill loses at most this many steps."""
SECONDS_PER_FILE = 60.0
"""Nor, of a slow force field, much more than so much work."""
SECONDS_PER_BLOCK = 1.0
"""Wall time after which an uncaptured block ends, so that the bar moves and a cut loses little."""


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
    energy_drift: float = math.nan
    """eV/fs, slope of the energy that should be conserved, the thermostat's share included; NaN where it was not kept."""

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
    captured: bool | None = None,
    mode: Mode = "auto",
    seconds_per_file: float = SECONDS_PER_FILE,
) -> list[MDRun]:
    """Run one replica for each seed from pos [n,3] Å in cell [3,3] Å; a replica that fails stops, the others go on.

    `captured`: blocks of steps as one unit with fixed shapes (default: on a GPU). `mode`: whether the field is compiled, see
    `grannfield.compiled`.

    With a `folder` the run can be killed and called again: it continues exactly where it was, with the loss of at most
    STEPS_PER_FILE steps and of about `seconds_per_file` of work. ValueError when the folder
    holds a run with other settings, FloatingPointError when the very first energy or force is NaN or infinite.
    """
    state = initial_state(z, pos, cell, protocol.start_temperature if protocol.ramp_steps else protocol.temperature, seeds)
    state = MDState(**{key: value.to(device) for key, value in vars(state).items()})
    evaluate = Evaluate(field.to(device).eval(), state, fixed=captured, mode=mode)
    blocks = Blocks(evaluate, protocol, state.pos.device, captured)
    if protocol.random and blocks.captured:  # random numbers are the host's
        log.warning("steps with the thermostat %r are launched one by one, not captured in blocks", protocol.thermostat)
        blocks.captured = False
    run = _Run(Pieces(folder, _identity(field, state, protocol, seeds)), protocol, seconds_per_file)
    step, watch = 0, Watch.new(len(seeds), protocol.timestep, device)
    if run.pieces.last is None:
        state = evaluated(state, evaluate)
        if not bool(torch.isfinite(state.forces).all() and torch.isfinite(state.energy).all()):
            raise FloatingPointError(f"{field.name} gives a NaN or infinite energy or force on the starting structure")
        watch = watch.after(state, 0, protocol.target(0), evaluate.overflow)
    else:
        state, watch, step, run.spent = run.pieces.restore(state, watch)
    latest = Snapshot.of(state, watch, step)
    total = protocol.ramp_steps + protocol.frames * protocol.stride
    run.alive = bool(latest.wait().watch.alive.any())
    with progress(total * protocol.timestep * 1e-3, label, "ps") as bar:
        bar.update(step * protocol.timestep * 1e-3)
        try:
            most = total
            while step < total and run.alive:
                n = min(blocks.length(step), most)
                begin = time.monotonic()
                state, watch = blocks(state, watch, step, n)
                step += n
                if not blocks.captured:
                    most = max(1, int(n * SECONDS_PER_BLOCK / max(time.monotonic() - begin, 1e-9)))
                before, latest = latest, Snapshot.of(state, watch, step)
                # A device is given the next block before the host looks at the last but one.
                run.take(before if latest.arrived is not None else latest)
                bar.update(n * protocol.timestep * 1e-3)
                bar.set_postfix_str(f"{run.temperature:.0f} K", refresh=False)
        except KeyboardInterrupt:
            if run.whole and latest.step:  # a cut loses the block under way, no more
                run.take(latest)
                run.write(latest)
            raise
    run.take(latest)
    run.write(latest)
    return [_finished(r, seed, run, latest) for r, seed in enumerate(seeds)]


class _Run:
    """What has come back of a run so far."""

    def __init__(self, pieces: Pieces, protocol: Protocol, seconds_per_file: float) -> None:
        self.pieces, self.protocol, self.frames = pieces, protocol, pieces.frames
        self.seconds_per_file, self.written = seconds_per_file, time.monotonic()
        self.spent, self.start, self.taken = 0.0, time.monotonic(), pieces.step
        self.alive, self.temperature = True, math.nan
        self.whole = True
        """False while frames and counters belong to different moments."""

    @property
    def seconds(self) -> float:
        """Wall time, that of earlier calls included."""
        return self.spent + time.monotonic() - self.start

    def take(self, moment: Snapshot) -> None:
        """Keep the frame of a moment, once, and files now and then."""
        moment.wait()
        self.alive = bool(moment.watch.alive.any())
        after_ramp = moment.step - self.protocol.ramp_steps
        if moment.step <= self.taken:
            return
        self.temperature = float(kinetic_temperature(moment.state).mean())
        self.whole = False
        self.taken = moment.step
        if after_ramp > 0 and after_ramp % self.protocol.stride == 0:
            self.frames.append(_frame(moment.state, after_ramp, self.protocol, moment.watch))
        self.whole = True
        late = time.monotonic() >= self.written + self.seconds_per_file
        if late or moment.step >= self.pieces.step + STEPS_PER_FILE:
            self.write(moment)

    def write(self, moment: Snapshot) -> None:
        self.pieces.write(moment.state, moment.watch, moment.step, self.seconds)
        self.written = time.monotonic()


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
        "conserved": conserved(state, protocol),
        "alive": watch.alive,
    }
    return {key: value.cpu().numpy() for key, value in values.items()}


def conserved(state: MDState, protocol: Protocol) -> torch.Tensor:
    """[R] eV, the energy that a run after its ramp conserves: that of the atoms, and of or given by their thermostat."""
    if protocol.ensemble == "nvt" and not protocol.random:
        return nose_hoover_invariant(state, protocol.temperature, protocol.damping)
    return stochastic_invariant(state)


def _finished(r: int, seed: int, run: _Run, end: Snapshot) -> MDRun:
    frames, state, watch, protocol = run.frames, end.state, end.watch, run.protocol
    good = [f for f in frames if f["alive"][r]]
    pick = lambda key: np.stack([f[key] if key == "time" else f[key][r] for f in good])  # noqa: E731
    trajectory = None
    if good:
        trajectory = Trajectory(
            z=state.z.cpu().numpy(),
            pos=pick("pos"),
            cell=state.cell[r].cpu().numpy(),
            time=pick("time"),
            temperature=pick("temperature"),
            energy=pick("energy"),
            forces=pick("forces"),
            source=f"MD, seed {seed}",
        )
    failure = None
    if int(watch.step[r]) >= 0:
        number, step = int(watch.cause[r]), int(watch.step[r])
        said = (
            "",
            "energy, forces or positions became NaN or infinite",
            f"a force of {float(watch.force[r]):.0f} eV/Å",
            f"kinetic temperature {float(watch.heat[r]) * protocol.target(step):.0f} K over {AVERAGED_OVER:.0f} fs",
            "an atom gained more neighbours than the matrix holds",
        )[number]
        failure = EngineFailure(CAUSES[number], (step - protocol.ramp_steps) * protocol.timestep, said)
    return MDRun(
        protocol=protocol,
        seed=seed,
        trajectory=trajectory,
        failure=failure,
        seconds=run.seconds / len(watch.step),
        drift=float(drift_velocity(state)[r].norm()) * 1e3,
        internal_temperature=float(np.mean(pick("internal_temperature"))) if good else float("nan"),
        energy_drift=_slope(pick("time"), pick("conserved")) if len(good) > 1 and "conserved" in good[0] else float("nan"),
    )


def _slope(time: np.ndarray, energy: np.ndarray) -> float:
    """Slope in eV/fs of the straight line through energies [F] in eV at times [F] in fs."""
    return float(np.polyfit(time - time.mean(), energy - energy.mean(), 1)[0])


def _identity(field: ForceField, state: MDState, protocol: Protocol, seeds: list[int]) -> str:
    """Hash of everything that determines the motion."""
    digest = hashlib.sha256(json.dumps([protocol.settings, seeds, str(field.dtype)], sort_keys=True).encode())
    digest.update(weights_hash(field).encode())
    for array in (state.z, state.pos, state.cell):
        digest.update(array.cpu().numpy().tobytes())
    return digest.hexdigest()
