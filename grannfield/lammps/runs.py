"""The suite's MD runs made by LAMMPS, under the protocol of the paper: its ramp, its thermostat, its time step.

The ramp is `fix nve` with `fix temp/rescale` at every step, NVT is `fix nvt ... tchain 3` with the protocol's damping, NVE is
`fix nve`; velocities at the start are those the package's own engine draws from the same seed. Runs fail by the engine's rules
(`grannfield.md.watch`). LAMMPS' metal units have k = 8.617343e-5 eV/K and 1.0364269e-4 eV fs²/(u Å²), which differ from CODATA in
the seventh digit.

A run can be killed: LAMMPS' restart files and the frames since the one before are kept every few steps, and the next call goes on
from them, to rounding but not bit for bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grannfield import units
from grannfield.files import write_atomically
from grannfield.forcefield import ForceField, weights_hash
from grannfield.lammps.axes import Axes
from grannfield.lammps.box import place, velocities
from grannfield.lammps.field import LammpsField, NotFinite
from grannfield.lammps.library import LammpsError, lammps_version, open_lammps
from grannfield.md.protocol import Protocol
from grannfield.md.simulate import EngineFailure, MDRun
from grannfield.md.state import CHAIN, initial_state
from grannfield.md.watch import AVERAGED_OVER, HOTTEST, LARGEST_FORCE
from grannfield.progress import progress
from grannfield.trajectory import Trajectory

STEPS_PER_FILE = 250
SECONDS_PER_FILE = 60.0
"""A kill loses at most about so much."""
FRAME = ("time", "pos", "energy", "temperature", "internal_temperature")


class _Failed(Exception):
    """A run has met one of the engine's failures."""

    def __init__(self, failure: EngineFailure) -> None:
        super().__init__(f"{failure.cause}: {failure.detail}")
        self.failure = failure


def engine_name() -> str:
    """What results call the engine."""
    return f"LAMMPS {lammps_version()}"


class Moving:
    """One replica in LAMMPS, advanced in blocks of steps.

    `start` is [n,3] Å, `vel` [n,3] Å/fs; or `restart`, a file that LAMMPS has written. Without `stopping` it goes on after a
    failure, as far as there are numbers.
    """

    def __init__(
        self,
        field: ForceField,
        z: np.ndarray,
        start: np.ndarray,
        cell: np.ndarray,
        protocol: Protocol,
        vel: np.ndarray,
        *,
        device: str = "cpu",
        restart: Path | None = None,
        stopping: bool = True,
    ) -> None:
        if protocol.random:
            raise ValueError(f"the thermostat {protocol.thermostat!r} is the package's own; through LAMMPS there is nose-hoover")
        self.protocol, self.z, self.mass = protocol, np.asarray(z), units.masses(z)[:, None]
        self.lmp = open_lammps()
        if restart is None:
            self.axes, elements = place(self.lmp, z, start, cell, True, vel)
        else:
            self.axes, elements = Axes.of_cell(cell), [units.symbol(int(n)) for n in np.unique(z)]
            self.lmp.command(f'read_restart "{restart}"')
        self.lmp.commands_list(["neigh_modify every 1 delay 0 check yes", "thermo_style custom step", "thermo 0"])
        self.lmp.command(f"timestep {protocol.timestep * 1e-3:.17g}")
        self.forces = LammpsField(field, self.lmp, elements, axes=self.axes, device=device, virial=False, watch=self._watch)
        self.lmp.command(f"fix_modify {self.forces.fix} virial no")
        self.step = int(self.lmp.extract_global("ntimestep"))
        self.phase, self.stopping = "", stopping
        self.failure: EngineFailure | None = None
        """The first, where none stops it."""
        self.evaluated = -1
        self.pos = np.asarray(start, dtype=float)
        window = max(1, round(AVERAGED_OVER / protocol.timestep))
        self.ratio: deque[float] = deque([1.0] * window, maxlen=window)
        """Kinetic temperature over target in the last steps."""

    def close(self) -> None:
        self.lmp.close()

    def advance(self, steps: int) -> None:
        """Some steps, none across the end of the ramp; _Failed with the failure that ended them."""
        p = self.protocol
        phase = "ramp" if self.step < p.ramp_steps else p.ensemble
        first = phase != self.phase
        if first:
            self._enter(phase)
        span = f" start 0 stop {p.ramp_steps}" if phase == "ramp" else ""
        setup = "yes" if first else "no"
        try:
            self.forces.command(f"run {steps}{span} pre {setup} post no")
        except NotFinite as problem:
            raise self._failure("non-finite", f"energy, forces or positions became NaN or infinite ({problem})") from None
        except LammpsError as problem:
            if any(word in str(problem) for word in ("Non-numeric", "Lost atoms", "out of range")):
                raise self._failure("non-finite", str(problem)) from None
            raise
        self.step += steps

    def _enter(self, phase: str) -> None:
        p, T = self.protocol, self.protocol.temperature
        for name in ("move", "heat"):
            if self.phase and self.lmp.has_id("fix", name):
                self.lmp.command(f"unfix {name}")
        if phase == "nvt":
            self.lmp.command(f"fix move all nvt temp {T:.17g} {T:.17g} {p.damping * 1e-3:.17g} tchain {CHAIN}")
        else:
            self.lmp.command("fix move all nve")
        if phase == "ramp":
            self.lmp.command(f"fix heat all temp/rescale 1 {p.start_temperature:.17g} {T:.17g} 0.0 1.0")
        self.phase = phase

    def _watch(self, step: int, pos: np.ndarray, forces: np.ndarray, energy: float) -> None:
        """Look at a step as the engine does; velocities are still half a kick short of it."""
        self.pos = pos
        if step == self.evaluated or self.evaluated < 0:  # the setup of a run evaluates the same positions again
            self.evaluated = step
            if not (np.isfinite(energy) and np.isfinite(forces).all()) and step == 0:
                name = self.forces.field.name
                raise FloatingPointError(f"{name} gives a NaN or infinite energy or force on the starting structure")
            self._look_at(step, forces, energy, heat=False)
            return
        self.evaluated = step
        self._look_at(step, forces, energy, heat=True)

    def _look_at(self, step: int, forces: np.ndarray, energy: float, heat: bool) -> None:
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(self.pos).all()):
            raise self._failure("non-finite", "energy, forces or positions became NaN or infinite", step)
        largest = math.sqrt(float((forces**2).sum(axis=1).max()))
        if largest > LARGEST_FORCE:
            self._fail("runaway", f"a force of {largest:.0f} eV/Å", step)
        if not heat:
            return
        kick = 0.5 * self.protocol.timestep * units.ACCELERATION / self.mass
        now = self._temperature(velocities(self.lmp, self.axes) + kick * forces) / self.protocol.target(step)
        self.ratio.append(1.0 if step <= self.protocol.ramp_steps else now)  # in the ramp velocities are scaled after this
        mean = sum(self.ratio) / len(self.ratio)
        if not mean <= HOTTEST:
            kelvin = mean * self.protocol.target(step)
            self._fail("runaway", f"kinetic temperature {kelvin:.0f} K over {AVERAGED_OVER:.0f} fs", step)

    def _fail(self, cause: str, detail: str, step: int) -> None:
        found = self._failure(cause, detail, step)
        if self.stopping:
            raise found
        self.failure = self.failure or found.failure

    def _temperature(self, vel: np.ndarray) -> float:
        """Kinetic temperature in K of velocities [n,3] Å/fs, from 3n - 3 degrees of freedom."""
        return float((self.mass * vel**2).sum() / (units.ACCELERATION * max(1, 3 * len(vel) - 3) * units.BOLTZMANN))

    def _failure(self, cause: str, detail: str, step: int | None = None) -> _Failed:
        at = (self.evaluated if step is None else step) - self.protocol.ramp_steps
        return _Failed(EngineFailure(cause, at * self.protocol.timestep, detail))

    def frame(self) -> dict[str, Any]:
        """What is stored of this moment."""
        vel = velocities(self.lmp, self.axes)
        centre = (self.mass * vel).sum(axis=0) / self.mass.sum()
        return {
            "time": (self.step - self.protocol.ramp_steps) * self.protocol.timestep,
            "pos": self.pos.copy(),
            "energy": self.forces.energy,
            "temperature": self._temperature(vel),
            "internal_temperature": self._temperature(vel) - self._temperature(np.broadcast_to(centre, vel.shape)),
        }

    @property
    def drift(self) -> float:
        """Å/ps, speed of the centre of mass."""
        vel = velocities(self.lmp, self.axes)
        return float(np.linalg.norm((self.mass * vel).sum(axis=0) / self.mass.sum())) * 1e3


@dataclass
class _Replica:
    """What has come of one replica: frames, and how it ended."""

    number: int
    folder: Path | None
    identity: str
    step: int = 0
    frames: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0
    """Frames that are in files."""
    ratio: list[float] = field(default_factory=list)
    seconds: float = 0.0
    drift: float = 0.0
    failure: EngineFailure | None = None
    over: bool = False

    @property
    def files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob(f"{self.number:03d}-*.npz"))

    @property
    def restart(self) -> Path | None:
        path = None if self.folder is None else self.folder / f"{self.number:03d}-{self.step:09d}.restart"
        return path if path is not None and path.is_file() else None

    def restore(self) -> None:
        """Take what an earlier call has left; ValueError where it was another run."""
        for path in self.files:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about["identity"] != self.identity:
                    raise ValueError(
                        f"{path} belongs to a run with other settings; delete {self.folder} or choose another folder"
                    )
                columns = [file[key] for key in FRAME]
            self.frames += [dict(zip(FRAME, row, strict=True)) for row in zip(*columns, strict=True)]
            self.step, self.ratio, self.seconds, self.drift = about["step"], about["ratio"], about["seconds"], about["drift"]
            self.over = about["over"]
            self.failure = EngineFailure(**about["failure"]) if about["failure"] else None
        self.kept = len(self.frames)
        if self.files and not self.over and self.restart is None:
            raise ValueError(
                f"{self.folder} has frames up to step {self.step} but no restart file of LAMMPS; delete it to start again"
            )

    def keep(self, moving: Moving | None) -> None:
        """Write the frames since the last file; where it goes on, LAMMPS' restart file first."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        old = list(self.folder.glob(f"{self.number:03d}-*.restart"))
        if moving is not None:
            self.ratio, self.drift = list(moving.ratio), moving.drift
            moving.lmp.command(f'write_restart "{self.folder / f"{self.number:03d}-{self.step:09d}.restart"}"')
        new = self.frames[self.kept :]
        about = {"identity": self.identity, "step": self.step, "ratio": self.ratio, "seconds": self.seconds, "drift": self.drift}
        about |= {"over": self.over, "failure": asdict(self.failure) if self.failure else None}
        arrays: dict[str, Any] = {key: np.array([one[key] for one in new]) for key in FRAME}
        arrays["about"] = np.array(json.dumps(about))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(self.folder / f"{self.number:03d}-{self.step:09d}.npz", buffer.getvalue())
        self.kept = len(self.frames)
        for path in old:
            if path != self.restart:
                path.unlink(missing_ok=True)

    def run(self, protocol: Protocol, seed: int, z: np.ndarray, cell: np.ndarray) -> MDRun:
        """As the package's engine gives it."""
        trajectory = None
        if self.frames:
            pick = {key: np.array([one[key] for one in self.frames]) for key in FRAME}
            trajectory = Trajectory(
                z=z, pos=pick["pos"], cell=cell, time=pick["time"], temperature=pick["temperature"], energy=pick["energy"],
                source=f"MD by {engine_name()}, seed {seed}",
            )  # fmt: skip
        internal = float(np.mean([one["internal_temperature"] for one in self.frames])) if self.frames else math.nan
        return MDRun(protocol, seed, trajectory, self.failure, self.seconds, self.drift, internal)


def simulate(
    field: ForceField,
    z: np.ndarray,
    pos: np.ndarray,
    cell: np.ndarray,
    protocol: Protocol,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    folder: Path | None = None,
    label: str = "MD",
    seconds_per_file: float = SECONDS_PER_FILE,
) -> list[MDRun]:
    """Run one replica for each seed, one after the other, from pos [n,3] or [R,n,3] Å; as `grannfield.md.simulate.simulate`.

    With a `folder` a killed run goes on from its last restart file. FloatingPointError when the very first energy or force is
    NaN or infinite; ValueError for a thermostat LAMMPS has not, or a folder that holds another run.
    """
    z, starts = np.asarray(z), np.broadcast_to(np.asarray(pos, dtype=float), (len(seeds), len(z), 3))
    total = (protocol.ramp_steps + protocol.frames * protocol.stride) * protocol.timestep * 1e-3
    found = []
    with progress(total * len(seeds), label, "ps") as bar:
        for r, (seed, start) in enumerate(zip(seeds, starts, strict=True)):
            replica = _Replica(r, folder, _identity(field, z, start, cell, protocol, seed))
            replica.restore()
            bar.update(replica.step * protocol.timestep * 1e-3)
            if not replica.over:
                _move(replica, field, z, start, cell, protocol, seed, device, seconds_per_file, bar)
            found.append(replica.run(protocol, seed, z, cell))
    return found


def _move(
    replica: _Replica,
    field: ForceField,
    z: np.ndarray,
    start: np.ndarray,
    cell: np.ndarray,
    protocol: Protocol,
    seed: int,
    device: str,
    seconds_per_file: float,
    bar: Any,
) -> None:
    """Take a replica to its end, or to its failure."""
    kelvin = protocol.start_temperature if protocol.ramp_steps else protocol.temperature
    vel = initial_state(z, start, cell, kelvin, [seed]).vel[0].numpy()
    moving = Moving(field, z, start, cell, protocol, vel, device=device, restart=replica.restart if replica.step else None)
    if replica.step:
        moving.ratio.extend(replica.ratio)
    total, p = protocol.ramp_steps + protocol.frames * protocol.stride, protocol
    begun, before, written, since = time.monotonic(), replica.seconds, time.monotonic(), replica.step
    try:
        while replica.step < total:
            after = replica.step - p.ramp_steps
            n = min(p.stride, -after) if after < 0 else p.stride - after % p.stride
            moving.advance(n)
            replica.step = moving.step
            if replica.step > p.ramp_steps and (replica.step - p.ramp_steps) % p.stride == 0:
                replica.frames.append(moving.frame())
            replica.seconds = before + time.monotonic() - begun
            bar.update(n * p.timestep * 1e-3)
            if replica.step < total and (replica.step >= since + STEPS_PER_FILE or time.monotonic() > written + seconds_per_file):
                replica.keep(moving)
                written, since = time.monotonic(), replica.step
        replica.drift = moving.drift
    except _Failed as problem:
        replica.failure = problem.failure
        replica.drift = moving.drift if np.isfinite(moving.drift) else 0.0
        bar.update((total - replica.step) * p.timestep * 1e-3)
    finally:
        moving.close()
    replica.over = True
    replica.keep(None)


def _identity(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, protocol: Protocol, seed: int) -> str:
    """Hash of everything that determines the motion."""
    about = [protocol.settings, int(seed), field.precision, lammps_version()]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(weights_hash(field).encode())
    for array in (z, pos, cell):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
