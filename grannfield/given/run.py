"""One run made elsewhere: read, checked against what is said of it, and put in the material's order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.data.checksum import sha256_of_file
from grannfield.data.material import Material
from grannfield.data.table import TableError
from grannfield.given.stated import NAME, Stated
from grannfield.md.simulate import EngineFailure, MDRun, Protocol
from grannfield.runs import FEWEST_FRAMES
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import formula, masses

if TYPE_CHECKING:
    from grannfield.data.formats import Reading

HOT = 0.3
"""Relative difference between the kinetic temperature of a run and the stated one, beyond which one of them is wrong."""


@dataclass(frozen=True, eq=False)
class GivenRun:
    """One run as it was read, in the axes and the order of atoms of the material."""

    stated: Stated
    trajectory: Trajectory
    sha256: dict[str, str]
    """By file name."""
    format: str
    notes: tuple[str, ...]

    @property
    def made_on(self) -> dict[str, Any]:
        """What stands behind its numbers."""
        return {"made": "elsewhere", "files": self.sha256, "format": self.format, "notes": list(self.notes)}

    def run(self, share: float, timestep: float) -> MDRun:
        """The run as the engine would have given it; `share` of it is equilibration unless that is stated, `timestep` fs."""
        stated, found = self.stated, self.trajectory
        interval = found.timestep
        length = 1e3 * stated.length_ps if stated.length_ps else found.n_frames * interval
        drop = share if stated.equilibration_ps is None else 1e3 * stated.equilibration_ps / length
        if not 0 <= drop < 1:
            raise TableError(f"{stated.where}: equilibration_ps = {stated.equilibration_ps:g} leaves nothing of {length / 1e3:g}")
        protocol = Protocol(
            temperature=stated.temperature, length=length, ramp=1e3 * stated.ramp_ps, interval=interval,
            timestep=stated.timestep_fs or min(timestep, interval), drop=drop,
        )  # fmt: skip
        failure = None
        if stated.ended != "complete":
            failure = EngineFailure(stated.ended, float(found.time[-1] + interval), f"the file ends there, says {NAME}")
        inner = np.nan if found.temperature is None else float(np.nanmean(found.temperature))
        return MDRun(protocol, stated.seed, found, failure, np.nan, drift(found), inner)


def given_run(stated: Stated, material: Material) -> GivenRun:
    """One run read, checked and put in the material's order; TrajectoryError or TableError with the file and the cure."""
    from grannfield.data.arrange import arranged
    from grannfield.data.join import joined

    readings = [_reading(path, stated, material) for path in stated.paths]
    whole = joined([one.trajectory for one in readings]) if len(readings) > 1 else readings[0].trajectory
    _check_atoms(whole, stated, material)
    anchors = material.tetrahedra[0] if material.tetrahedra else ()
    found = arranged(whole, material.structure, anchors, material.short)
    moving = _after_ramp(found.trajectory, stated)
    _check_temperature(moving, stated)
    notes = [*dict.fromkeys(note for one in readings for note in (*one.losses, *one.notes)), *found.notes]
    volume = float(np.abs(np.linalg.det(moving.cell)).mean())
    if abs(volume / material.structure.volume - 1) > 0.03:
        notes.append(f"its volume is {volume / material.structure.volume - 1:+.1%} of the material's cell")
    sha256 = {one.path.name: sha256_of_file(one.path) for one in readings}
    return GivenRun(stated, moving, sha256, readings[0].format, tuple(notes))


def _reading(path: Path, stated: Stated, material: Material) -> Reading:
    """One file in order of time."""
    from grannfield.data.formats import studied
    from grannfield.data.formats.front import recognise

    path, format = (path, stated.format) if stated.format else recognise(path)
    interval = stated.interval_fs
    like = _labelled_frames(material.references[0].runs[0].path) if material.references else None
    if interval is None and stated.timestep_fs is not None and format == "lammps-dump":
        interval = stated.timestep_fs * steps_between_frames(path)
    try:
        found = studied(
            path, format=format, species=stated.species, timestep=interval, wrapped=stated.wrapped,
            units=stated.units or None, like=like,
        )  # fmt: skip
    except TrajectoryError as problem:
        if "NaN or infinit" not in str(problem):
            raise
        cure = 'if the run exploded there, say ended = "non-finite" and length_ps'
        raise TrajectoryError(f"{problem}; {cure}, the length it was meant to have") from None
    if found.trajectory.kind != "time" and found.trajectory.n_frames > 1:
        cure = "interval_fs, the fs between two of its frames"
        cure += ", or timestep_fs, those between two MD steps" * (format == "lammps-dump")
        raise TableError(f"{stated.where}: {path.name} says nothing about time; add {cure}")
    own = found.contents.timestep if found.contents.time is None else _spacing(found.contents.time)
    if interval is not None and own and abs(own / interval - 1) > 0.01:
        raise TableError(f"{stated.where}: the frames of {path.name} are {own:g} fs apart as it says itself, not {interval:g} fs")
    return found


def _spacing(time: np.ndarray) -> float | None:
    return float(np.median(np.diff(time))) if len(time) > 1 else None


def steps_between_frames(path: Path) -> int:
    """MD steps from the first frame of a LAMMPS dump to the second; 1 where there is no second."""
    from grannfield.data.formats.contents import opened_text

    steps: list[int] = []
    with opened_text(path) as (file, _):
        for line in file:
            if line.startswith("ITEM: TIMESTEP"):
                steps.append(int(next(file)))
            if len(steps) == 2:
                return max(1, steps[1] - steps[0])
    return 1


@cache
def _labelled_frames(path: Path) -> Trajectory | None:
    """Some frames of a reference of the material, in the right units, to compare with."""
    from grannfield.data.store import read_trajectory

    found = read_trajectory(path)[:200] if path.is_file() else None
    return found if found is not None and np.asarray(found.labelled).any() else None


def _check_atoms(found: Trajectory, stated: Stated, material: Material) -> None:
    """Refuse one frame, and a supercell: densities and sites are compared in the material's own cell."""
    if found.n_frames < 2:
        raise TableError(
            f"{stated.where}: {stated.name} holds 1 frame; a run needs 2, and {FEWEST_FRAMES} after equilibration for g(r)"
        )
    cells, rest = divmod(found.n_atoms, len(material.structure.z))
    if cells > 1 and rest == 0 and np.array_equal(np.sort(found.z), np.sort(np.tile(material.structure.z, cells))):
        raise TableError(
            f"{stated.where}: {stated.name} is a supercell of {cells} cells of {material.short} ({formula(found.z)}); runs are "
            "compared with a reference of the same cell: run the cell of the material, or make the supercell a material with a "
            "reference of its own (see datasets/README.md)"
        )


def _after_ramp(found: Trajectory, stated: Stated) -> Trajectory:
    """The frames after the ramp, the clock set to 0 at its end."""
    kept = found.time - found.time[0] >= 1e3 * stated.ramp_ps - 1e-6
    if kept.sum() < 2:
        raise TableError(f"{stated.where}: ramp_ps = {stated.ramp_ps:g} leaves nothing of {found.duration / 1e3:g} ps")
    rest = found[kept]
    return replace(rest, time=rest.time - rest.time[0])


def _check_temperature(found: Trajectory, stated: Stated) -> None:
    """Refuse a run that is plainly of another temperature than stated, where its file knows."""
    if found.temperature is None or stated.ended != "complete":
        return
    known = np.asarray(found.temperature)[np.isfinite(found.temperature)]
    if len(known) and abs(np.median(known) / stated.temperature - 1) > HOT:
        raise TableError(
            f"{stated.where}: temperature = {stated.temperature:g}, but the atoms of {stated.name} move at "
            f"{np.median(known):.0f} K; "
            'correct the one that is wrong, or say ended = "runaway" and length_ps if the thermostat did not hold'
        )


def drift(found: Trajectory) -> float:
    """Speed of the centre of mass over the last tenth of a run, Å/ps."""
    mass = masses(found.z)
    first = min(found.n_frames - 2, int(0.9 * found.n_frames))
    moved = mass @ (found.pos[-1] - found.pos[first]) / mass.sum()
    return float(1e3 * np.linalg.norm(moved) / (found.time[-1] - found.time[first]))
