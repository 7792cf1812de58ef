"""Runs made elsewhere, entered in another folder of datasets: how finished runs come to be shipped."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from grannfield.data.checksum import sha256_of_file
from grannfield.data.entries import enter, kept_as, listed, run_entry
from grannfield.data.material import load_material
from grannfield.data.reference import Reference, Run, check_atoms
from grannfield.data.store import read_attributes, write_trajectory
from grannfield.files import locked
from grannfield.reference.make import free_path, same_maker
from grannfield.trajectory import Trajectory


@dataclass(frozen=True)
class Added:
    """One run of a folder, and whether it had to be added."""

    material: str
    reference: str
    run: Run
    path: Path | None
    """Where it was added; None when it was listed there already."""


def add(source: Path, into: Path, name: str = "") -> list[Added]:
    """All runs listed below `source`, or those of one reference, added to the references of the same names below `into`.

    Both are folders of datasets, <formula>/references.toml or <formula>/material.toml. A run at a temperature and with a seed
    that is listed already is left alone. Runs of a potential are stored as `kept_as` says, however they were stored before.
    FileNotFoundError when there is nothing, TableError when two references of one name differ in what made them.
    """
    done = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []:
        for reference in listed(folder, folder.name).values():
            if not name or reference.name == name:
                done += [_added(folder.name, reference, run, into / folder.name) for run in reference.runs]
    if not done:
        named = f" called {name!r}" if name else ""
        raise FileNotFoundError(f"{source} lists no reference{named}; it should hold <formula>/references.toml")
    return done


def _added(formula: str, reference: Reference, run: Run, folder: Path) -> Added:
    about = {
        key: getattr(reference, key)
        for key in ("name", "kind", "maker", "thermostat", "start_temperature", "drop", "licence", "notes")
        if getattr(reference, key) != ""
    }
    trajectory = run.trajectory()
    check_atoms(trajectory, load_material(formula).structure.z, str(run.path))
    with locked(folder, wait=True), tempfile.TemporaryDirectory(prefix=".adding-", dir=folder) as scratch:
        there = listed(folder, formula).get(reference.name)
        stored = _stored(run, trajectory, reference.kind, Path(scratch) / run.path.name)
        if there is not None:
            same_maker(there, about, str(folder))
            known = [old.seed for old in there.repeats(run.temperature) if old.seed >= 0]
            if run.seed in known or {run.sha256, sha256_of_file(stored)} & {old.sha256 for old in there.runs}:
                return Added(formula, reference.name, run, None)
        path = stored.replace(free_path(folder, run.path.stem, formula, read_attributes(run.path)))
        keys = ("kind",) if run.kind == "frames" else ("temperature", "ramp_ps", "length_ps", "interval_fs", "seed")
        values = {key: getattr(run, key) for key in keys}
        enter(folder, about, run_entry(path, values))
    return Added(formula, reference.name, run, path)


def _stored(run: Run, trajectory: Trajectory, kind: str, target: Path) -> Path:
    """The run as references of its kind are kept: a copy of its file, or one that takes less room."""
    if kept_as(kind) is None or run.kind == "frames":
        return Path(shutil.copy(run.path, target))
    named = replace(trajectory, source="" if trajectory.source == str(run.path) else trajectory.source)
    return write_trajectory(target, named, read_attributes(run.path), compactly=kept_as(kind))
