"""VASP's XDATCAR: positions alone. The time between its frames stands in the files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from grannfield.data.formats.contents import CUT, PACKED, Contents, floats, opened_text
from grannfield.trajectory import TrajectoryError
from grannfield.units import number

ENDS_EARLY = "the file ends inside a frame"


class Header(NamedTuple):
    """The seven lines before frames."""

    cell: np.ndarray
    elements: tuple[str, ...]
    counts: tuple[int, ...]


class Frame(NamedTuple):
    """One configuration."""

    number: int | None
    pos: np.ndarray
    cell: np.ndarray


def contents(path: Path, format: str = "xdatcar", **_: Any) -> Contents:
    """All frames, of a constant or a varying cell; TrajectoryError names the frame that cannot be read."""
    frames: list[Frame] = []
    headers: list[Header] = []
    problem = ""
    with opened_text(path) as (file, tell):
        lines = iter(file)
        try:
            for line in lines:
                if line.strip():
                    _take(line, lines, headers, frames, path)
                    tell()
        except TrajectoryError:
            raise
        except CUT as error:
            problem = str(error) or ENDS_EARLY
    if not frames:
        raise TrajectoryError(f"{path} holds no complete frame{f' ({problem})' if problem else ''}; is it an XDATCAR, and whole?")
    found = Contents(
        z=np.repeat([number(name) for name in headers[0].elements], headers[0].counts),
        pos=np.array([frame.pos for frame in frames]),
        cell=np.array([frame.cell for frame in frames]),
        maker="VASP",
        density_functional=True,
        notes=["an XDATCAR has no energies and forces; the vasprun.xml or OUTCAR of the run has"],
    )
    if problem:
        found.losses.append(f"{path} was cut short in frame {len(frames) + 1} ({problem}); the {len(frames)} before it are kept")
    _add_time(path, found, frames)
    return found


def _take(line: str, lines: Iterator[str], headers: list[Header], frames: list[Frame], path: Path) -> None:
    if "configuration" not in line:
        headers.append(_header(lines, len(frames), path))
        if headers[-1][1:] != headers[0][1:]:
            raise TrajectoryError(f"{path}: frame {len(frames)} holds other atoms than frame 0; split the file there")
        return
    if not headers:
        raise TrajectoryError(f"{path} starts with frames; its first seven lines, with the cell and the elements, are missing")
    cell = headers[-1].cell
    rows = [next(lines) for _ in range(sum(headers[-1].counts))]
    words = [row.split()[:3] for row in rows]
    decimals = {len(word.partition(".")[2]) for word in (words[0][-1], words[-1][-1]) if words[0] and words[-1]}
    if any(len(row) != 3 for row in words) or (not rows[-1].endswith("\n") and len(decimals) > 1):
        raise ValueError(ENDS_EARLY)
    place = np.array(words, dtype=float)
    count = re.search(r"=\s*(\d+)", line)
    cartesian = line.strip().lower().startswith("c")
    frames.append(Frame(int(count[1]) if count else None, place if cartesian else place @ cell, cell))


def _header(lines: Iterator[str], index: int, path: Path) -> Header:
    """The lines after a comment; StopIteration where the file ends."""
    try:
        scale = floats(next(lines))[0]
        cell = np.array([floats(next(lines))[:3] for _ in range(3)])
        names = [re.split(r"[_/]", word)[0] for word in next(lines).split()]
        text = next(lines)
        counts = tuple(int(word) for word in text.split())
    except (ValueError, IndexError) as error:
        raise TrajectoryError(
            f"{path}: before frame {index} there should be a scale, three lattice vectors, elements and their numbers "
            f"({error}); VASP 4 wrote no elements: add that line"
        ) from None
    if len(names) != len(counts) or any(not name.isalpha() for name in names):
        raise TrajectoryError(
            f"{path}: before frame {index} the elements {' '.join(names)} do not fit the numbers {text.strip()}"
        )
    length = scale if scale > 0 else float(-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    return Header(cell * length, tuple(names), counts)


def _add_time(path: Path, found: Contents, frames: list[Frame]) -> None:
    """fs between frames, from the settings of the run beside the file."""
    settings, source = _settings_beside(path)
    if not settings:
        if len(frames) > 1:
            found.notes.append("no INCAR, vasprun.xml or OUTCAR with POTIM stands beside it")
        return
    if settings.get("IBRION", 0.0) != 0.0:
        found.unordered = f"IBRION = {settings['IBRION']:g} in {source.name} is no molecular dynamics"
        return
    counts = np.array([-1 if frame.number is None else frame.number for frame in frames])
    jump = int(np.median(np.diff(counts))) if len(counts) > 1 else 1
    every = max(int(settings.get("NBLOCK", 1)), jump, 1)
    found.timestep = settings["POTIM"] * every
    found.notes.append(f"{source.name}: POTIM = {settings['POTIM']:g} fs, a frame every {every} steps (NBLOCK)")


def _settings_beside(path: Path) -> tuple[dict[str, float], Path]:
    pattern = re.compile(r'\b(POTIM|NBLOCK|IBRION)(?:">|\s*=)\s*(-?[\d.]+)')
    for name in ("INCAR", "vasprun.xml", "OUTCAR"):
        for ending in ("", *PACKED):
            beside = path.parent / (name + ending)
            if not beside.is_file() or beside.stat().st_size == 0:
                continue
            found: dict[str, float] = {}
            with opened_text(beside) as (file, _):
                try:
                    text = file.read(200_000)
                except CUT:
                    continue
            for line in text.splitlines():
                for key, value in pattern.findall(re.split(r"[#!]", line)[0]):
                    found.setdefault(key, float(value))
            if "POTIM" in found:
                return found, beside
    return {}, path
