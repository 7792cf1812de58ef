"""Files that ASE reads, as atoms with results: extended XYZ, .traj and .db.

The energy is `free_energy` where a frame has one, of which the forces are the derivative, else `energy`. `time` (fs) or
`timestep_fs` among the values of a frame, or of a row, orders the frames.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.formats.contents import PACKED, Contents, opened_text, present
from grannfield.trajectory import TrajectoryError
from grannfield.units import formula

LABELS = ("energy", "forces")


def contents(path: Path, format: str, labels: tuple[str, str] | None = None, **_: Any) -> Contents:
    """The frames of an extxyz, traj or db file; TrajectoryError names the file, the frame and the cure."""
    frames, losses = _frames(present(path), format)
    z = frames[0].numbers
    for index, atoms in enumerate(frames):
        _check_frame(path, index, atoms, z)
    found = Contents(
        z=z,
        pos=np.array([atoms.positions for atoms in frames]),
        cell=np.array([atoms.cell.array for atoms in frames]),
        temperature=np.array([_temperature(atoms) for atoms in frames]),
        losses=losses,
    )
    _add_labels(found, frames, labels)
    _add_time(path, found, frames)
    return found


def _frames(path: Path, format: str) -> tuple[list[Any], list[str]]:
    """Every frame that can be read; of a .traj that was cut short, those before the end."""
    frames: list[Any] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ase warns of keys it renames; none of them is used here
            for atoms in READERS[format](path):
                frames.append(atoms)
    except Exception as problem:  # ase raises XYZError, ValueError, IndexError, KeyError, OSError, by what is wrong
        if format == "traj" and frames:
            return frames, [f"{path} was cut short in frame {len(frames)} ({problem}); the {len(frames)} before it are kept"]
        if isinstance(problem, KeyError) and format == "extxyz":  # how ase says that it knows no such symbol
            raise TrajectoryError(
                f"{path}: {problem} is no element; the first column of extended XYZ holds chemical symbols"
            ) from None
        where = _broken_frame(path) if format == "extxyz" else len(frames)
        raise TrajectoryError(
            f"{path}: frame {where} cannot be read ({problem}); if it is the last one, the file was cut short: "
            "remove that frame or copy the file again"
        ) from None
    if not frames:
        start = "; an extended XYZ file starts with the number of atoms" if format == "extxyz" else ""
        raise TrajectoryError(f"{path} holds no frames{start}")
    return frames, []


def _extxyz(path: Path) -> Iterator[Any]:
    from ase.io.extxyz import read_xyz

    with opened_text(path) as (file, _):
        text = io.StringIO(file.read()) if path.suffix in PACKED else file  # ase goes back and forth in the file
        yield from read_xyz(text, index=slice(None))


def _traj(path: Path) -> Iterator[Any]:
    from ase.io.trajectory import TrajectoryReader

    with TrajectoryReader(str(path)) as file:
        for index in range(len(file)):
            yield file[index]


def _db(path: Path) -> Iterator[Any]:
    from ase.db import connect

    with connect(str(path), type="db", use_lock_file=False) as file:
        for row in file.select(sort="id"):
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            yield atoms


READERS = {"extxyz": _extxyz, "traj": _traj, "db": _db}


def _broken_frame(path: Path) -> int:
    """Index of the first frame that is not `number, comment, that many lines of at least four words`."""
    with opened_text(path) as (file, _):
        lines = file.read().splitlines()
    start, index = 0, 0
    while start < len(lines):
        count = lines[start].strip()
        block = lines[start + 2 : start + 2 + int(count)] if count.isdigit() else []
        width = len(block[0].split()) if block else 0
        if not block or len(block) < int(count) or any(len(line.split()) != width for line in block):
            return index
        start, index = start + 2 + len(block), index + 1
    return index


def _check_frame(path: Path, index: int, atoms: Any, z: np.ndarray) -> None:
    if not np.array_equal(atoms.numbers, z):
        if sorted(atoms.numbers) == sorted(z):
            raise TrajectoryError(f"{path}: frame {index} lists its atoms in another order than frame 0; sort them alike")
        found, first = formula(atoms.numbers), formula(z)
        raise TrajectoryError(f"{path}: frame {index} holds {found}, frame 0 {first}; split the file by composition")
    if abs(np.linalg.det(atoms.cell.array)) < 1e-12:
        raise TrajectoryError(f'{path}: frame {index} has no cell; its second line needs Lattice="ax ay az bx .. cz" in Å')
    if not atoms.pbc.all():
        raise TrajectoryError(f"{path}: frame {index} is not periodic in all directions; set pbc to T T T and write it again")
    if not np.isfinite(atoms.positions).all():
        raise TrajectoryError(f"{path}: frame {index} holds NaN or infinite positions; cut the file there")


def _temperature(atoms: Any) -> float:
    """K, as the frame says or from its momenta, over 3 N - 3 degrees of freedom."""
    if "temperature" in atoms.info:
        return float(atoms.info["temperature"])
    if not atoms.has("momenta") or len(atoms) < 2:
        return float("nan")
    return float(atoms.get_temperature()) * len(atoms) / (len(atoms) - 1)


def _add_labels(found: Contents, frames: Sequence[Any], labels: tuple[str, str] | None) -> None:
    energies, forces, differing = [], [], 0.0
    for atoms in frames:
        results = atoms.calc.results if atoms.calc is not None else {}
        name, force = labels or LABELS
        energy = results.get(name, atoms.info.get(name))
        free = None if labels else results.get("free_energy", atoms.info.get("free_energy"))
        if free is not None:
            differing = max(differing, abs(float(free) - float(energy if energy is not None else free)))
            energy = free
        energies.append(None if energy is None else float(energy))
        forces.append(results.get(force, atoms.arrays.get(force)))
    found.energy, found.forces = _stacked(energies, ()), _stacked(forces, found.pos.shape[1:])
    if differing > 1e-6:
        found.notes.append("energies are `free_energy`, of which the forces are the derivative; `energy` differs from it")
    for index, (energy, force) in enumerate(zip(energies, forces, strict=True)):
        bad = [
            name for name, value in (("energy", energy), ("forces", force)) if value is not None and not np.isfinite(value).all()
        ]
        if bad:
            found.unlabelled[index] = f"NaN or infinity in {' and '.join(bad)}"


def _stacked(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray | None:
    if all(value is None for value in values):
        return None
    return np.array([np.full(shape, np.nan) if value is None else np.asarray(value, dtype=float) for value in values])


def _add_time(path: Path, found: Contents, frames: Sequence[Any]) -> None:
    step = frames[0].info.get("timestep_fs")
    if step is not None:
        found.timestep = float(step)
        return
    times = [atoms.info.get("time") for atoms in frames]
    if all(time is None for time in times):
        return
    if any(time is None for time in times):
        found.untimed = f"frame {times.index(None)} has no time, others have; give timestep= in fs"
        return
    found.time = np.array(times, dtype=np.float64)
