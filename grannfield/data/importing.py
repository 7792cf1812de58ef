"""A trajectory made elsewhere as a run of a reference, in the user's data folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.arrange import arranged
from grannfield.data.convert import thin
from grannfield.data.entries import enter, kept_as, listed, run_entry
from grannfield.data.formats.plausible import kinetic_temperature
from grannfield.data.material import Material
from grannfield.data.reference import KINDS, Reference, check_atoms
from grannfield.data.store import write_trajectory
from grannfield.files import locked
from grannfield.trajectory import Trajectory, TrajectoryError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
FAST, SLOW = 2.5, 0.25
"""Kinetic over target temperature beyond which a time step is not believed; the lower only where frames are close."""
CLOSE_FS = 20.0
"""Largest time between frames at which displacements still show most of the kinetic energy."""


class ImportRefused(ValueError):
    """What was asked for would spoil a reference, or make one that nothing can be compared with."""


@dataclass(frozen=True)
class Entry:
    """What a reference is called and what made it."""

    material: Material
    folder: Path
    """Where the reference is listed and its files lie."""
    name: str
    kind: str
    maker: str
    thermostat: str = "not stated"
    drop: float = 0.3
    licence: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        refuse_name(self.name, self.material, self.folder)
        if self.kind not in KINDS:
            raise ImportRefused(f"a reference of kind {self.kind!r}; use one of {', '.join(KINDS)}")
        if not 0 <= self.drop < 1:
            raise ImportRefused(f"drop = {self.drop:g} is the share of each run that is equilibration, from 0 up to 1")

    @property
    def about(self) -> dict[str, Any]:
        """The [[reference]] block."""
        said = {"licence": self.licence, "notes": self.notes}
        return {
            "name": self.name, "kind": self.kind, "maker": self.maker, "thermostat": self.thermostat, "drop": self.drop,
            **{key: value for key, value in said.items() if value},
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run as it will be stored, and what was done to it."""

    trajectory: Trajectory
    temperature: float
    """K, the target; NaN for unordered frames."""
    ramp_ps: float = 0.0
    notes: tuple[str, ...] = field(default=())


def prepared(
    trajectory: Trajectory,
    material: Material,
    temperature: float | None = None,
    skip_ps: float = 0.0,
    interval: float | None = None,
    ramp_ps: float = 0.0,
) -> Prepared:
    """A run with the axes and atoms of the material, its start left out, thinned, its time step checked.

    `temperature`: target in K; without it the mean kinetic temperature of the frames. `skip_ps`: left out at the start.
    `interval`: fs between the frames that are kept.
    """
    found = arranged(trajectory, material.structure, material.tetrahedra[0] if material.tetrahedra else (), material.short)
    run, notes = found.trajectory, list(found.notes)
    if run.kind == "frames":
        for name, value in (("a time to skip", skip_ps), ("an interval", interval)):
            if value:
                raise ImportRefused(f"{run.source}: {name} means nothing for unordered frames; give a time step if they have one")
        return Prepared(run, float("nan"), 0.0, tuple(notes))
    run = _without_start(run, skip_ps)
    target = _target(run, temperature)
    if temperature is None:
        notes.append(f"temperature taken as {target:g} K, the mean of the frames")
    check_time_step(run, target)
    if interval is not None:
        run = thin(run, interval)
    shifted = Trajectory(
        z=run.z, pos=run.pos, cell=run.cell, time=run.time - run.time[0], temperature=run.temperature, energy=run.energy,
        forces=run.forces, labelled=run.labelled, source=run.source,
    )  # fmt: skip
    return Prepared(shifted, target, ramp_ps, tuple(notes))


def _without_start(run: Trajectory, skip_ps: float) -> Trajectory:
    if run.n_frames < 2:
        raise ImportRefused(f"{run.source}: one frame is no run; import it with others, or without a time step as a frame")
    first = int(np.ceil(skip_ps * 1e3 / run.timestep - 1e-9))
    if skip_ps < 0 or first > run.n_frames - 2:
        raise ImportRefused(f"{run.source} is {run.duration / 1e3:g} ps long; {skip_ps:g} ps of it cannot be skipped")
    return run[first:] if first else run


def _target(run: Trajectory, temperature: float | None) -> float:
    """K of the thermostat, given or from the frames."""
    if temperature is not None:
        if not temperature > 0:
            raise ImportRefused(f"a temperature of {temperature:g} K is not positive")
        return temperature
    if run.temperature is None or not np.isfinite(run.temperature).any():
        raise ImportRefused(f"{run.source} says nothing of its temperature; give the thermostat's, as temperature 1000 (K)")
    return float(round(float(np.nanmean(run.temperature))))


def check_time_step(run: Trajectory, temperature: float) -> None:
    """TrajectoryError when the displacements between frames belong to quite another temperature: the time step is wrong."""
    if run.n_frames < 3 or not run.timestep > 0:
        return
    kinetic = kinetic_temperature(run)
    ratio = kinetic / temperature
    if not ratio > FAST and not (run.timestep <= CLOSE_FS and ratio < SLOW):
        return
    fitting = run.timestep * np.sqrt(ratio)
    raise TrajectoryError(
        f"{run.source}: with {run.timestep:g} fs between frames its atoms would move as at {kinetic:.0f} K, not "
        f"{temperature:g} K; frames {fitting:.2g} fs apart would fit: is the time step (between two frames, not two MD steps), "
        "or the temperature, wrong?"
    )


def refuse_name(name: str, material: Material, folder: Path) -> None:
    """ImportRefused for a name that is none, or that a reference elsewhere has."""
    if not NAME.fullmatch(name):
        raise ImportRefused(f"the name {name!r} should be letters, digits and . _ + -, such as pbe-2fs")
    here = {known.lower(): known for known in listed(folder, material.formula)}
    if name.lower() not in here and name.lower() in {reference.name.lower() for reference in material.references}:
        raise ImportRefused(f"{material.short} has a reference {name!r} elsewhere; choose another name")
    if here.get(name.lower(), name) != name:
        raise ImportRefused(f"there is a reference {here[name.lower()]!r} already; names differ by more than their case")


def refuse_what_clashes(entry: Entry, runs: list[Prepared], replace: bool, repeat: bool) -> dict[int, str]:
    """The files that runs replace, by number of the run; ImportRefused where the reference is already there otherwise."""
    refuse_name(entry.name, entry.material, entry.folder)
    there = listed(entry.folder, entry.material.formula)
    if entry.name not in there:
        return {}
    known = there[entry.name]
    _refuse_another_maker(entry, known)
    instead: dict[int, str] = {}
    for index, run in enumerate(runs):
        same = _same_runs(known, run.temperature)
        if not same or repeat:
            continue
        where = "frames" if np.isnan(run.temperature) else f"a run at {run.temperature:g} K"
        if not replace:
            raise ImportRefused(
                f"the reference {entry.name!r} of {entry.material.short} has {where} already ({same[0]}); --replace puts this in "
                "its place, --repeat adds it as another, another --name keeps both apart"
            )
        if len(same) > 1:
            raise ImportRefused(
                f"the reference {entry.name!r} has {len(same)} times {where} ({', '.join(same)}): which one goes is not clear; "
                f"take their [[reference.run]] blocks out of {entry.folder / 'references.toml'}"
            )
        if same[0] not in instead.values():
            instead[index] = same[0]
    return instead


def _refuse_another_maker(entry: Entry, known: Reference) -> None:
    for key, mine, theirs in (
        ("kind", entry.kind, known.kind), ("maker", entry.maker, known.maker), ("drop", f"{entry.drop:g}", f"{known.drop:g}"),
    ):  # fmt: skip
        if mine != theirs:
            raise ImportRefused(
                f"the reference {entry.name!r} of {entry.material.short} has the {key} {theirs!r}, not {mine!r}; "
                "give it as it is there, or choose another name"
            )


def _same_runs(known: Reference, temperature: float) -> list[str]:
    if np.isnan(temperature):
        return [run.path.name for run in known.runs if run.kind == "frames"]
    return [run.path.name for run in known.repeats(temperature)]


def store(entry: Entry, runs: list[Prepared], replace: bool = False, repeat: bool = False) -> list[Path]:
    """Write the runs and enter them, all or none refused; the files, in the order of the runs.

    Holds the lock of the folder: two imports at once wait for each other. Each run is whole before it is entered, and a
    file that was replaced goes only after that.
    """
    paths = []
    with locked(entry.folder, wait=True):
        instead = refuse_what_clashes(entry, runs, replace, repeat)
        for index, run in enumerate(runs):
            check_atoms(run.trajectory, entry.material.structure.z, run.trajectory.source)
            path = _free(entry, run)
            about = {**entry.about, **_values(run)}
            write_trajectory(path, _named(run.trajectory, entry), about, compactly=kept_as(entry.kind))
            enter(entry.folder, entry.about, run_entry(path, _values(run)), instead.get(index, ""))
            if index in instead:
                (entry.folder / instead[index]).unlink(missing_ok=True)
            paths.append(path)
    return paths


def _named(trajectory: Trajectory, entry: Entry) -> Trajectory:
    from dataclasses import replace

    return replace(trajectory, source=f"{trajectory.source} ({KINDS[entry.kind]}: {entry.maker})")


def _values(run: Prepared) -> dict[str, Any]:
    if run.trajectory.kind == "frames":
        return {"kind": "frames"}
    step = run.trajectory.timestep
    length = run.trajectory.n_frames * step / 1e3
    return {"temperature": run.temperature, "ramp_ps": run.ramp_ps, "length_ps": length, "interval_fs": step}


def _free(entry: Entry, run: Prepared) -> Path:
    """A file name that no run has."""
    what = "frames" if run.trajectory.kind == "frames" else f"{run.temperature:g}K"
    used = {one.path.name for known in listed(entry.folder, entry.material.formula).values() for one in known.runs}
    number, path = 1, entry.folder / f"{entry.name}_{what}.h5"
    while path.name in used:
        number += 1
        path = entry.folder / f"{entry.name}_{what}-{number}.h5"
    return path
