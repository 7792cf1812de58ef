"""Runs of a reference: each made or continued, stored, and entered where the suite finds it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.entries import enter, kept_as, listed, run_entry
from grannfield.data.material import Material, search_folders, user_datasets_folder
from grannfield.data.reference import Reference
from grannfield.data.store import StoreError, read_attributes, write_trajectory
from grannfield.data.table import TableError
from grannfield.files import FolderBusy, locked, write_atomically
from grannfield.md.protocol import Protocol
from grannfield.md.simulate import MDRun, simulate
from grannfield.motion import sitting
from grannfield.reference.maker import Maker

REPEAT = 10_000
"""Between the seeds of two repeats at one temperature, which are otherwise that temperature in K."""
FAILED = "failed.json"
"""Stands beside the frames of a run that exploded."""


@dataclass(frozen=True)
class Order:
    """What is to be made: a reference of one material, by one maker."""

    material: Material
    maker: Maker
    name: str
    kind: str
    into: Path
    """Folder of datasets; the reference goes to <into>/<formula>."""
    licence: str = ""
    notes: str = ""
    device: str = "cpu"
    keep_every: float = 60.0
    """Seconds of work that a kill may cost."""

    @property
    def folder(self) -> Path:
        """Where the reference is listed and its files lie."""
        return self.into / self.material.formula

    def about(self, protocol: Protocol) -> dict[str, Any]:
        """The [[reference]] block."""
        said = {"licence": self.licence, "notes": self.notes}
        return {
            "name": self.name,
            "kind": self.kind,
            "maker": self.maker.name,
            "thermostat": thermostat(protocol),
            "start_temperature": protocol.start_temperature,
            "drop": protocol.drop,
            **{key: value for key, value in said.items() if value},
        }

    def require_name(self, protocol: Protocol) -> None:
        """TableError when the reference's name belongs to another, here or in a folder that is searched as well."""
        with locked(self.folder, wait=True):
            here = listed(self.folder, self.material.formula)
        if self.name in here:
            same_maker(here[self.name], self.about(protocol), str(self.folder))
        elif self.into.resolve() in (*search_folders(), user_datasets_folder().resolve()):
            for other in self.material.references:
                if other.name == self.name:
                    raise TableError(
                        f"{self.material.formula} has a reference {self.name!r} ({other.label}) elsewhere: choose another --name"
                    )


@dataclass(frozen=True)
class Outcome:
    """What has become of one run."""

    state: str
    """One of "made", "there", "failed", "elsewhere"."""
    detail: str
    run: MDRun | None = None


def thermostat(protocol: Protocol) -> str:
    """How the temperature was held, for the reference's block.

    >>> thermostat(Protocol(300.0, thermostat="langevin", damping=50.0))
    'Langevin dynamics, damping 50 fs, NVT, 2 fs steps (GraNNField)'
    """
    how = {
        "nose-hoover": "Nosé-Hoover chain of length 3",
        "langevin": "Langevin dynamics",
        "rescale": "stochastic velocity rescaling",
    }[protocol.thermostat]
    held = "none, NVE" if protocol.ensemble == "nve" else f"{how}, damping {protocol.damping:g} fs, NVT"
    return f"{held}, {protocol.timestep:g} fs steps (GraNNField)"


def same_maker(reference: Reference, about: dict[str, Any], where: str) -> None:
    """TableError when runs described by `about` do not belong to a reference of the same name."""
    for key in ("kind", "maker", "start_temperature", "drop", "thermostat"):
        theirs, ours = getattr(reference, key), about[key]
        if key == "thermostat":  # the program that ran it stands in brackets
            theirs, ours = (x.partition(" (")[0] for x in (theirs, ours))
        if theirs != ours:
            raise TableError(
                f"{where} lists a reference {reference.name!r} whose {key} is {theirs!r}, and these runs' is {ours!r}: "
                "choose another --name, or the same settings"
            )


def seed_of(temperature: float, repeat: int, seed: int = 0) -> int:
    """The seed of a run: its temperature in K for the first repeat, as in the references that are shipped."""
    return seed + round(temperature) + REPEAT * repeat


def entered(order: Order, protocol: Protocol, seed: int) -> str:
    """The file of a run that is listed; empty when there is none."""
    reference = listed(order.folder, order.material.formula).get(order.name)
    found = [run for run in reference.repeats(protocol.temperature) if run.seed == seed] if reference else []
    return found[0].path.name if found else ""


def make(order: Order, protocol: Protocol, seed: int, *, again: bool = False, label: str = "") -> Outcome:
    """One run, from where it stood; a run that is listed already is made only `again`, and then takes its place."""
    there = entered(order, protocol, seed)
    work = order.folder / ".making" / f"{order.name}_{protocol.temperature:g}K_{seed}"
    if there and not again and not _complete(work, protocol):
        return Outcome("there", there)
    try:
        with locked(work):
            there = entered(order, protocol, seed)  # perhaps by a process that has just given back the lock
            if there and not again:
                if _complete(work, protocol):
                    shutil.rmtree(work)  # left by one that was killed after it had entered the run
                return Outcome("there", there)
            if again and (work / FAILED).exists():
                for path in (*work.glob("*.npz"), *work.glob("*.json")):
                    path.unlink()
            return _made(order, protocol, seed, work, label)
    except FolderBusy:
        if there and not again:
            return Outcome("there", there)
        return Outcome("elsewhere", f"another process has it in hand, in {work}")


def _complete(work: Path, protocol: Protocol) -> bool:
    """Whether a folder holds all steps of a run; one made `again` that was cut off is not, and is kept for the next time."""
    last = max((int(path.stem) for path in work.glob("*.npz")), default=-1)
    return last >= protocol.ramp_steps + protocol.frames * protocol.stride


def _made(order: Order, protocol: Protocol, seed: int, work: Path, label: str) -> Outcome:
    start = order.material.structure
    makers = sitting(work, order.device, order.maker.field.precision)
    run = simulate(
        order.maker.field, start.z, start.pos, start.cell, protocol, [seed], device=order.device, folder=work,
        label=label or f"{order.material.short} {protocol.temperature:g} K", seconds_per_file=order.keep_every,
    )[0]  # fmt: skip
    if run.failure is not None:
        when = f"{run.failure.time * 1e-3:.3f} ps after the ramp" if run.failure.time >= 0 else "in the ramp"
        said = f"{run.failure.cause} {when}, {run.failure.detail}"
        write_atomically(work / FAILED, json.dumps({"failure": said}))
        return Outcome("failed", f"{said}; not entered, what there is of it lies in {work}; --again begins anew", run)
    with locked(order.folder, wait=True):
        path = _stored(order, run, makers)
    shutil.rmtree(work)
    return Outcome("made", str(path), run)


def _stored(order: Order, run: MDRun, makers: list[dict[str, Any]]) -> Path:
    """The file of a finished run, written and listed; the caller holds the lock.

    A kill between the two leaves a file that no list names, which the same run, coming to its end again, writes over.
    """
    protocol, trajectory = run.protocol, run.trajectory
    assert trajectory is not None
    values = {
        "temperature": protocol.temperature,
        "ramp_ps": protocol.ramp * 1e-3,
        "length_ps": trajectory.n_frames * protocol.interval * 1e-3,
        "interval_fs": protocol.interval,
        "seed": run.seed,
    }
    about = {
        **{key: values[key] for key in ("temperature", "ramp_ps", "seed", "interval_fs")},
        "kind": order.kind, "maker": order.maker.name, "made_by": order.maker.spec, "timestep_fs": protocol.timestep,
        "thermostat": thermostat(protocol), "made_on": makers,
    }  # fmt: skip
    instead_of = entered(order, protocol, run.seed)
    path = free_path(order.folder, f"{order.name}_{protocol.temperature:g}K", order.material.formula, about)
    source = f"{order.material.formula} at {protocol.temperature:g} K, {order.kind}: {order.maker.name}"
    write_trajectory(path, replace(trajectory, source=source), about, compactly=kept_as(order.kind))
    enter(order.folder, order.about(protocol), run_entry(path, values), instead_of)
    if instead_of:
        (order.folder / instead_of).unlink(missing_ok=True)
    return path


def free_path(folder: Path, stem: str, formula: str, about: dict[str, Any]) -> Path:
    """A file name that no run has: stem.h5, stem-2.h5, ...; a file that no list names may be this very run's (`about`)."""
    taken = {run.path.name for one in listed(folder, formula).values() for run in one.runs}
    k = 1
    while True:
        path = folder / (f"{stem}.h5" if k == 1 else f"{stem}-{k}.h5")
        if path.name not in taken and (not path.exists() or _same(path, about)):
            return path
        k += 1


def _same(path: Path, about: dict[str, Any]) -> bool:
    try:
        stored = read_attributes(path)
    except (OSError, StoreError):
        return False
    return {**stored, "made_on": None} == json.loads(json.dumps({**about, "made_on": None}))


def summary(run: MDRun) -> str:
    """How a run went, in one line."""
    trajectory = run.trajectory
    assert trajectory is not None and trajectory.temperature is not None
    drift = run.energy_drift / trajectory.n_atoms * 1e6
    return (
        f"{trajectory.n_frames} frames in {run.seconds / 60:.1f} min; mean temperature {np.mean(trajectory.temperature):.0f} K, "
        f"internal {run.internal_temperature:.0f} K; centre of mass {run.drift:.1g} Å/ps; conserved energy drifts by "
        f"{drift:.2g} meV/atom/ps"
    )
