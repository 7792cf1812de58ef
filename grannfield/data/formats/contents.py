"""What a file of frames holds, as its reader found it, and the `Trajectory` it makes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from grannfield.progress import progress
from grannfield.trajectory import Trajectory, TrajectoryError, unwrap

PACKED: Mapping[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Endings of compressed files and what opens them."""
LARGE = 20e6
"""Bytes from which reading shows a progress bar."""


@dataclass
class Contents:
    """The frames of one file in the file's order and units, and what a user should be told about them."""

    z: np.ndarray
    """[N] atomic numbers."""
    pos: np.ndarray
    """[F, N, 3]."""
    cell: np.ndarray
    """[F, 3, 3], rows are lattice vectors."""
    energy: np.ndarray | None = None
    """[F], NaN where there is none."""
    forces: np.ndarray | None = None
    """[F, N, 3], NaN where there are none."""
    temperature: np.ndarray | None = None
    """[F] K."""
    time: np.ndarray | None = None
    """[F] fs, where the file gives the time of each frame."""
    steps: np.ndarray | None = None
    """[F] numbers of the MD steps, where the file numbers them."""
    timestep: float | None = None
    """fs between frames, where the file gives that."""
    unordered: str = ""
    """Why the frames are no motion although they stand in order (a relaxation); empty when they may be."""
    untimed: str = ""
    """What is wrong with the times of the frames, so that a time step has to be given."""
    continuous: bool = False
    """Whether the positions are known to be unwrapped."""
    units: str = "metal"
    """Units of the file, a name of `grannfield.data.formats.units`."""
    maker: str = ""
    """What made the labels, as the file says."""
    density_functional: bool = False
    """Whether the format itself says that density functional theory made it."""
    target: float | None = None
    """K that the thermostat was set to, where the file says it."""
    unlabelled: dict[int, str] = field(default_factory=dict)
    """Frames that keep their place in time without energy and forces, and why."""
    notes: list[str] = field(default_factory=list)
    """Choices and assumptions of the reader."""
    losses: list[str] = field(default_factory=list)
    """What the file should hold and does not."""

    def without_labels(self) -> None:
        """Blank energy and forces of the frames that are not to be used."""
        chosen = list(self.unlabelled)
        for values in (self.energy, self.forces):
            if values is not None and chosen:
                values[chosen] = np.nan

    def trajectory(self, source: str, timestep: float | None = None, wrapped: bool | None = None) -> Trajectory:
        """The checked trajectory; positions in order of time are unwrapped where they are not continuous already.

        `timestep`: fs between frames, instead of what the file says. `wrapped`: True unwraps whatever it looks like,
        False trusts the positions, None looks (`continuous`). Raises TrajectoryError.
        """
        self.without_labels()
        time = self._time(source, timestep)
        ordered = time is not None
        pos = self.pos
        if ordered and not self.continuous and wrapped is not False:
            pos = unwrap(pos, self.cell, source) if wrapped else continuous(pos, self.cell, source)
        constant = bool((self.cell == self.cell[0]).all())
        known = self.temperature is not None and np.isfinite(self.temperature).any()
        return Trajectory(
            z=self.z,
            pos=pos,
            cell=self.cell[0] if constant else self.cell,
            time=time if time is not None else np.arange(len(pos)),
            temperature=self.temperature if known else None,
            energy=self.energy,
            forces=self.forces,
            kind="time" if ordered else "frames",
            source=source,
        )

    def _time(self, source: str, timestep: float | None) -> np.ndarray | None:
        if timestep is not None and not timestep > 0:
            raise TrajectoryError(f"{source}: a time step of {timestep:g} fs is not positive")
        if self.untimed and timestep is None:
            raise TrajectoryError(f"{source}: {self.untimed}")
        if self.unordered and timestep is None:
            self.notes.append(f"{self.unordered}: its frames count as unordered")
            return None
        if timestep is None and self.time is not None:
            return self.time
        step = self.timestep if timestep is None else timestep
        if step is None:
            if len(self.pos) > 1:
                self.notes.append("it says nothing about time: its frames count as unordered; a time step would order them")
            return None
        if self.steps is None or len(self.steps) < 2:
            return np.arange(len(self.pos)) * step
        stride = float(np.median(np.diff(self.steps)))
        if stride <= 0:
            raise TrajectoryError(f"{source}: its step numbers do not ascend; give the pieces of the run one by one")
        return (self.steps - self.steps[0]) / stride * step


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


def present(path: Path) -> Path:
    """The path itself when it is a file with something in it; FileNotFoundError or TrajectoryError otherwise."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_dir():
        raise TrajectoryError(f"{path} is a folder; name the file in it")
    if path.stat().st_size == 0:
        raise TrajectoryError(f"{path} is empty; was the run that should have written it stopped?")
    return path


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """A file's bytes, decompressed by its ending, and a `tell()` that moves a progress bar for large files."""
    size = present(path).stat().st_size
    with open(path, "rb") as raw:
        stream = PACKED[path.suffix](raw) if path.suffix in PACKED else raw
        if size < LARGE:
            yield stream, _nothing
            return
        with progress(size / 1e6, path.name, "MB") as bar:
            done = 0.0

            def tell() -> None:
                nonlocal done
                place = os.lseek(raw.fileno(), 0, os.SEEK_CUR) / 1e6
                bar.update(place - done)
                done = place

            yield stream, tell


@contextmanager
def opened_text(path: Path) -> Iterator[tuple[TextIO, Any]]:
    """The same as text; bytes that are no text are replaced."""
    import io

    with opened(path) as (stream, tell), io.TextIOWrapper(stream, encoding="utf-8", errors="replace") as text:
        yield text, tell


def _nothing() -> None:
    """A bar that is not there."""


CUT = (EOFError, OSError, lzma.LZMAError, ValueError, StopIteration)
"""What reading a file that was cut short raises, compressed or not."""


def floats(text: str) -> list[float]:
    """The numbers of a line; asterisks, which Fortran prints for a number too large for its column, are NaN.

    >>> floats("1.5 ****** -2")
    [1.5, nan, -2.0]
    """
    return [float("nan") if "*" in word else float(word) for word in text.split()]


def columns(line: str, start: int, width: int, number: int) -> list[float]:
    """Numbers of a Fortran line in columns of fixed width, which may touch; ValueError when one is missing.

    >>> columns("   1.50-2.25", 2, 5, 2)
    [1.5, -2.25]
    """
    words = [line[start + k * width : start + (k + 1) * width] for k in range(number)]
    return [float("nan") if "*" in word else float(word) for word in words]
