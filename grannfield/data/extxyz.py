"""Extended XYZ files in and out of the one `Trajectory`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from grannfield.trajectory import Trajectory, TrajectoryError, unwrap
from grannfield.units import formula, symbol

LABEL_KEYS = ("energy", "forces")


def read_extxyz(
    path: str | Path,
    timestep: float | None = None,
    wrapped: bool | None = None,
    labels: tuple[str, str] = LABEL_KEYS,
) -> Trajectory:
    """The trajectory of an extended XYZ file (Å, eV, eV/Å), unwrapped.

    `timestep` in fs between frames; without it the frames' own `timestep_fs` or `time` (fs) is used, and without those
    the frames count as unordered (kind "frames", left as they are). `wrapped=None` looks: when no atom changes its
    nearest image between successive frames the positions are already continuous and stay bit for bit; otherwise they
    are unwrapped, which refuses steps beyond a quarter of the smallest cell height. `wrapped=False` trusts the file.
    `labels` are the names of energy and forces (for instance "REF_energy", "REF_forces"); frames without them are
    unlabelled. Raises FileNotFoundError, or TrajectoryError naming the file, the frame and the cure.
    """
    path = Path(path)
    frames = _frames(path)
    z = frames[0].numbers
    for index, atoms in enumerate(frames):
        _check_frame(path, index, atoms, z)
    time, kind = _times(path, frames, timestep)
    energies, forces = zip(*(_labels(path, i, atoms, labels) for i, atoms in enumerate(frames)), strict=True)
    pos = np.array([atoms.positions for atoms in frames])
    cell = np.array([atoms.cell.array for atoms in frames])
    if bool((cell == cell[0]).all()):
        cell = cell[0]
    temperature = np.array([float(atoms.info.get("temperature", np.nan)) for atoms in frames])
    return Trajectory(
        z=z,
        pos=pos if kind == "frames" or wrapped is False else continuous(pos, cell, str(path)),
        cell=cell,
        time=time,
        temperature=temperature if np.isfinite(temperature).any() else None,
        energy=_stacked(energies, np.array(np.nan)),
        forces=_stacked(forces, np.full((len(z), 3), np.nan)),
        kind=kind,
        source=str(path),
    )


def continuous(pos: np.ndarray, cell: np.ndarray, source: str) -> np.ndarray:
    """Positions [F, N, 3] themselves when no atom changes image between frames, else unwrapped ones.

    >>> x = np.array([[[3.9, 0, 0]], [[4.1, 0, 0]]])
    >>> continuous(x, 4 * np.eye(3), "x") is x
    True
    """
    if len(pos) < 2:
        return pos
    fractional = pos @ np.linalg.inv(cell)
    if not np.rint(np.diff(fractional, axis=0)).any():
        return pos
    try:
        return unwrap(pos, cell, source)
    except TrajectoryError as problem:
        raise TrajectoryError(f"{problem} If the positions are continuous already, pass wrapped=False.") from None


def write_extxyz(path: str | Path, trajectory: Trajectory) -> Path:
    """Write a trajectory as extended XYZ, 10 decimals; the old file stays whole until the new one is complete.

    Frames of kind "time" carry `time` in fs; energy and forces appear on the frames that have them.
    """
    path = Path(path)
    symbols = [symbol(int(number)) for number in trajectory.z]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for index in range(trajectory.n_frames):
                file.write(_frame_text(trajectory, index, symbols))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _frame_text(trajectory: Trajectory, index: int, symbols: Sequence[str]) -> str:
    columns, properties = trajectory.pos[index], "species:S:1:pos:R:3"
    if trajectory.forces is not None and np.isfinite(trajectory.forces[index]).all():
        columns = np.concatenate([columns, trajectory.forces[index]], axis=1)
        properties += ":forces:R:3"
    lattice = " ".join(f"{x:.10f}" for x in trajectory.cell[index].ravel())
    header = [f'Lattice="{lattice}"', f"Properties={properties}", 'pbc="T T T"']
    if trajectory.kind == "time":
        header.append(f"time={float(trajectory.time[index])!r}")
    for key in ("energy", "temperature"):
        values = getattr(trajectory, key)
        if values is not None and np.isfinite(values[index]):
            header.append(f"{key}={float(values[index])!r}")
    rows = (f"{name} " + " ".join(f"{x:.10f}" for x in row) for name, row in zip(symbols, columns, strict=True))
    return "\n".join([str(len(symbols)), " ".join(header), *rows]) + "\n"


def _frames(path: Path) -> list[Any]:
    from ase.io import iread

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise TrajectoryError(f"{path} is empty; was the run that should have written it stopped?")
    frames: list[Any] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ase warns of keys it renames; none of them is used here
            frames.extend(iread(str(path), index=":", format="extxyz"))
    except Exception as problem:  # ase raises XYZError, ValueError, IndexError, KeyError, by what is wrong
        where = _broken_frame(path)
        raise TrajectoryError(
            f"{path}: frame {where} cannot be read ({problem}); if it is the last one, the file was cut short: "
            "remove that frame or copy the file again"
        ) from None
    if not frames:
        raise TrajectoryError(f"{path} holds no frames; an extended XYZ file starts with the number of atoms")
    return frames


def _broken_frame(path: Path) -> int:
    """Index of the first frame that is not `number, comment, that many lines of at least four words`."""
    with open(path, encoding="utf-8", errors="replace") as file:
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
    if abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise TrajectoryError(f'{path}: frame {index} has no cell; its second line needs Lattice="ax ay az bx .. cz" in Å')
    if not np.isfinite(atoms.positions).all():
        raise TrajectoryError(f"{path}: frame {index} holds NaN or infinite positions; cut the file there")


def _labels(path: Path, index: int, atoms: Any, names: tuple[str, str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    results = atoms.calc.results if atoms.calc is not None else {}
    found: list[np.ndarray | None] = []
    for name, plain in zip(names, (atoms.info, atoms.arrays), strict=True):
        value = results.get(name, plain.get(name))
        if value is not None and not np.isfinite(value).all():
            raise TrajectoryError(f"{path}: frame {index} holds NaN or infinity in {name}; leave the frame out")
        found.append(None if value is None else np.asarray(value, dtype=np.float64))
    return found[0], found[1]


def _stacked(values: Sequence[np.ndarray | None], absent: np.ndarray) -> np.ndarray | None:
    if all(value is None for value in values):
        return None
    return np.array([absent if value is None else value for value in values])


def _times(path: Path, frames: Sequence[Any], timestep: float | None) -> tuple[np.ndarray, Literal["time", "frames"]]:
    count = np.arange(len(frames), dtype=np.float64)
    step = frames[0].info.get("timestep_fs") if timestep is None else timestep
    if step is not None:
        if not float(step) > 0:
            raise TrajectoryError(f"{path}: a time step of {step} fs is not positive")
        return count * float(step), "time"
    times = [atoms.info.get("time") for atoms in frames]
    if all(time is None for time in times):
        return count, "frames"
    if any(time is None for time in times):
        raise TrajectoryError(f"{path}: frame {times.index(None)} has no time, others have; give timestep= in fs")
    return np.array(times, dtype=np.float64), "time"
