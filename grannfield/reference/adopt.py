"""Runs made elsewhere, entered in another folder of datasets: how finished runs come to be shipped."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from grannfield.data.checksum import verify
from grannfield.data.entries import enter, listed, run_entry
from grannfield.data.material import load_material
from grannfield.data.reference import Reference, Run, check_atoms
from grannfield.data.store import read_attributes
from grannfield.files import locked
from grannfield.reference.make import free_path, same_maker


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
    that is listed already is left alone. FileNotFoundError when there is nothing, TableError when two references of one name
    differ in what made them.
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
    check_atoms(run.trajectory(), load_material(formula).structure.z, str(run.path))
    with locked(folder, wait=True):
        there = listed(folder, formula).get(reference.name)
        if there is not None:
            same_maker(there, about, str(folder))
            known = [old.sha256 for old in there.runs] + [old.seed for old in there.repeats(run.temperature) if old.seed >= 0]
            if run.sha256 in known or run.seed in known:
                return Added(formula, reference.name, run, None)
        path = free_path(folder, run.path.stem, formula, read_attributes(run.path))
        _copied(run.path, path)
        keys = ("kind",) if run.kind == "frames" else ("temperature", "ramp_ps", "length_ps", "interval_fs", "seed")
        values = {key: getattr(run, key) for key in keys}
        enter(folder, about, run_entry(path, values))
        verify(path, run.sha256, run.described_in)
    return Added(formula, reference.name, run, path)


def _copied(source: Path, target: Path) -> None:
    """A copy that is whole or not there."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        temporary = Path(file.name)
    try:
        shutil.copyfile(source, temporary)
        shutil.copymode(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
