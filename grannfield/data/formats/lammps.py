"""LAMMPS text dumps: columns in any order, atoms in any order, wrapped or not, boxes of any shape.

Positions count from the corner of the box, whose axes LAMMPS turns so that a lies along x and b in the xy plane; forces come
in the same axes. A dump holds no energy of the whole box: it stands in the log file, by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.formats.contents import CUT, Contents, opened_text
from grannfield.data.formats.units import NAMED
from grannfield.trajectory import TrajectoryError
from grannfield.units import number

PLACES = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"), ("x", "y", "z"), ("xs", "ys", "zs"))
"""Columns of positions, best first: unwrapped, unwrapped in units of the box, wrapped, wrapped in units of the box."""
FORCES = ("fx", "fy", "fz")
FLAGS = ("ix", "iy", "iz")
TIMES = {"metal": 1e3, "real": 1.0, "electron": 1.0}
"""fs in one unit of time of a style."""


@dataclass
class Dump:
    """The frames of a dump, as they are read."""

    steps: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    cell: list[np.ndarray] = field(default_factory=list)
    pos: list[np.ndarray] = field(default_factory=list)
    forces: list[np.ndarray] = field(default_factory=list)
    ids: np.ndarray | None = None
    kinds: list[str] = field(default_factory=list)
    """Element or type of each atom, in ascending order of the ids."""
    by_element: bool = False
    columns: list[str] = field(default_factory=list)
    style: str = ""


def contents(path: Path, format: str = "lammps-dump", species: Sequence[str] = (), log: Path | None = None, **_: Any) -> Contents:
    """All complete frames; TrajectoryError names the frame that cannot be read."""
    dump, problem = Dump(), ""
    with opened_text(path) as (file, tell):
        lines = iter(file)
        try:
            while _add_frame(lines, dump, path):
                tell()
        except TrajectoryError:
            raise
        except CUT as error:
            problem = str(error) or "it ends inside a frame"
    if not dump.pos:
        raise TrajectoryError(f"{path} holds no complete frame{f' ({problem})' if problem else ''}; is it a LAMMPS text dump?")
    return _contents(path, dump, problem, species, log)


def _add_frame(lines: Iterator[str], dump: Dump, path: Path) -> bool:
    """Read one frame; False at the end of the file."""
    step, time, count, box = None, None, 0, None
    for line in lines:
        item = line.partition("ITEM:")[2].strip()
        if not line.strip():
            continue
        if item == "TIMESTEP":
            step = int(next(lines))
        elif item == "TIME":
            time = float(next(lines))
        elif item == "UNITS":
            dump.style = next(lines).strip()
        elif item == "NUMBER OF ATOMS":
            count = int(next(lines))
        elif item.startswith("BOX BOUNDS"):
            box = _box(item.split()[2:], [next(lines) for _ in range(3)], path, len(dump.pos))
        elif item.startswith("ATOMS"):
            if step is None or box is None:
                raise TrajectoryError(f"{path}: frame {len(dump.pos)} lists atoms before its step and its box")
            rows = [next(lines) for _ in range(count)]
            if count and not rows[-1].endswith("\n"):
                raise EOFError("it ends inside a line")
            _add_atoms(item.split()[1:], rows, box, dump, path)
            dump.steps.append(step)
            dump.cell.append(box[0])
            if time is not None:
                dump.time.append(time)
            return True
        else:
            raise TrajectoryError(
                f"{path}: frame {len(dump.pos)} has the line {line.strip()[:60]!r}; a LAMMPS dump has none such"
            )
    if step is not None:
        raise EOFError
    return False


def _box(words: Sequence[str], lines: Sequence[str], path: Path, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Lattice vectors [3, 3] and the corner [3] of a box, from its bounds and tilts."""
    bounds = np.array([[float(word) for word in line.split()] for line in lines])
    edges = [word for word in words if word not in ("xy", "xz", "yz", "abc", "origin")]
    if any(set(edge) != {"p"} for edge in edges[-3:]):
        raise TrajectoryError(
            f"{path}: frame {frame} is not periodic ({' '.join(edges)}); only periodic boxes (pp pp pp) are read"
        )
    if words[:1] == ["abc"]:
        return bounds[:, :3], bounds[:, 3]
    tilt = bounds[:, 2] if bounds.shape[1] > 2 else np.zeros(3)
    xy, xz, yz = tilt
    low = bounds[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = bounds[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    (lx, ly, lz) = high - low
    return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]]), low


def _add_atoms(names: list[str], rows: Sequence[str], box: tuple[np.ndarray, np.ndarray], dump: Dump, path: Path) -> None:
    frame = len(dump.pos)
    words = [row.split() for row in rows]
    if any(len(row) != len(names) for row in words):
        raise ValueError(f"a line has not the {len(names)} columns of its head")
    if dump.columns and names != dump.columns:
        raise TrajectoryError(f"{path}: frame {frame} has the columns {' '.join(names)}, frame 0 {' '.join(dump.columns)}")
    table = np.array(words, dtype=object)
    order = _order(names, table, dump, path)
    table = table[order]
    take = lambda keys: table[:, [names.index(key) for key in keys]].astype(float)  # noqa: E731
    dump.pos.append(_positions(names, take, *box))
    if set(FORCES) <= set(names):
        dump.forces.append(take(FORCES))
    dump.columns = names


def _order(names: list[str], table: np.ndarray, dump: Dump, path: Path) -> np.ndarray:
    """[N] rows by ascending id, checked against frame 0; ids, elements and types are taken from that frame."""
    frame = len(dump.pos)
    if "id" not in names:
        raise TrajectoryError(f"{path} has no column id: atoms cannot be followed from frame to frame; dump it too")
    ids = table[:, names.index("id")].astype(int)
    order = np.argsort(ids, kind="stable")
    column = "element" if "element" in names else "type" if "type" in names else ""
    if not column:
        raise TrajectoryError(f"{path} has neither a column element nor a column type: {' '.join(names)}; dump one of them")
    kinds = table[order, names.index(column)].tolist()
    if dump.ids is None:
        dump.ids, dump.kinds, dump.by_element = ids[order], kinds, column == "element"
        if len(set(ids)) < len(ids):
            raise TrajectoryError(f"{path}: two atoms of frame 0 have the same id")
    elif not np.array_equal(ids[order], dump.ids) or kinds != dump.kinds:
        raise TrajectoryError(
            f"{path}: frame {frame} holds other atoms ({len(ids)}) than frame 0 ({len(dump.ids)}); dump the same group throughout"
        )
    return order


def _positions(names: list[str], take: Any, cell: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """[N, 3] from the corner of the box, unwrapped where the columns tell how."""
    for keys in PLACES:
        if set(keys) <= set(names):
            break
    else:
        raise TrajectoryError(f"the columns {' '.join(names)} hold no positions; dump xu yu zu, or x y z ix iy iz")
    place = take(keys)
    place = place @ cell if keys[0].startswith("xs") else place - corner
    if "u" not in keys[0] and set(FLAGS) <= set(names):
        place = place + take(FLAGS) @ cell
    return np.asarray(place)


def _contents(path: Path, dump: Dump, problem: str, species: Sequence[str], log: Path | None) -> Contents:
    keep = _without_repeats(dump.steps)
    pick = lambda values: np.array([values[index] for index in keep])  # noqa: E731
    names = set(dump.columns)
    style = dump.style or "metal"
    if style not in NAMED:
        raise TrajectoryError(f"{path} is in LAMMPS units {style!r}; metal, real and electron are read")
    found = Contents(
        z=_numbers(path, dump, species),
        pos=pick(dump.pos),
        cell=pick(dump.cell),
        forces=pick(dump.forces) if dump.forces else None,
        steps=pick(dump.steps),
        time=pick(dump.time) * TIMES[style] if len(dump.time) == len(dump.pos) else None,
        continuous=any("u" in keys[0] for keys in PLACES[:2] if set(keys) <= names) or set(FLAGS) <= names,
        units=style,
        maker="LAMMPS",
    )
    if found.time is None and len(found.steps) > 1:  # type: ignore[arg-type]
        stride = float(np.median(np.diff(dump.steps)))
        found.notes.append(f"its frames are {stride:g} MD steps apart")
    if not dump.style:
        found.notes.append("it does not state its units; taken for LAMMPS metal units (dump_modify units yes states them)")
    if len(keep) < len(dump.steps):
        found.notes.append(f"{len(dump.steps) - len(keep)} frames written twice, at a restart, are taken once")
    if problem:
        found.losses.append(f"{path} was cut short in frame {len(dump.pos)} ({problem}); the {len(dump.pos)} before it are kept")
    _add_energies(found, log)
    return found


def _without_repeats(steps: Sequence[int]) -> list[int]:
    """Frames to keep: of two with the same step, as a restart writes them, the later."""
    return [index for index, step in enumerate(steps) if index + 1 == len(steps) or steps[index + 1] != step]


def _numbers(path: Path, dump: Dump, species: Sequence[str]) -> np.ndarray:
    if dump.by_element:
        try:
            return np.array([number(name) for name in dump.kinds])
        except ValueError as error:
            raise TrajectoryError(f"{path}: column element: {error}; write elements with dump_modify element") from None
    types = sorted({int(kind) for kind in dump.kinds})
    if not species:
        raise TrajectoryError(
            f"{path} numbers its atoms by type ({', '.join(map(str, types))}) and names no elements; "
            "give them in the order of the types, as species Li,P,S"
        )
    if types[0] < 1 or types[-1] > len(species):
        raise TrajectoryError(f"{path} has atoms of type {types[-1]}, but {len(species)} species are given: {', '.join(species)}")
    return np.array([number(species[int(kind) - 1]) for kind in dump.kinds])


def _add_energies(found: Contents, log: Path | None) -> None:
    """Potential energies of the steps, from a log file."""
    if log is None:
        if found.forces is not None:
            found.notes.append("a dump holds no energies: its frames count as unlabelled; a log file with PotEng gives them")
        return
    from grannfield.data.formats.thermo import potential_energies

    by_step = potential_energies(log)
    assert found.steps is not None
    found.energy = np.array([by_step.get(int(step), np.nan) for step in found.steps])
    missing = np.flatnonzero(~np.isfinite(found.energy))
    if len(missing) == len(found.steps):
        raise TrajectoryError(f"{log} has none of the steps of the dump ({found.steps[0]} ...); is it the log of that run?")
    found.unlabelled |= {int(index): f"{log.name} has no energy for its step" for index in missing}
    found.unlabelled |= {
        int(index): "forces are not numbers"
        for index in (np.flatnonzero(~np.isfinite(found.forces).all(axis=(1, 2))) if found.forces is not None else ())
    }
