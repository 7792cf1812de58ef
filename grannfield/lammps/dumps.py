"""What a LAMMPS run leaves for the suite: a trajectories.toml beside its dumps, so that nobody has to write one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield import units
from grannfield.data.material import load_material, materials
from grannfield.files import write_atomically

if TYPE_CHECKING:
    from grannfield.lammps.field import LammpsField

NAME = "trajectories.toml"
HEAD = "# Written by `grannfield lammps run`, for `pytest benchmarks/ --trajectories`; without this line it is left alone.\n"
POSITIONS = ({"xu", "yu", "zu"}, {"xsu", "ysu", "zsu"}, {"x", "y", "z", "ix", "iy", "iz"}, {"xs", "ys", "zs", "ix", "iy", "iz"})
"""Columns that say where atoms are without losing how they came there."""


@dataclass(frozen=True)
class Dump:
    """One dump of a script."""

    name: str
    path: Path
    style: str
    group: str
    temperature: float | None = None
    """K, of the thermostat."""
    timestep: float = 0.0
    """fs, of the MD."""


def dumps_of(forces: LammpsField) -> list[Dump]:
    """The dumps that LAMMPS has under way."""
    text = forces.written("info dumps out overwrite {}")
    row = r"^Dump\[[^]]*\]:\s*(\S+),\s*file = (.*?),\s*style = (\S+),\s*group = (\S+),"
    return [Dump(name, Path(file), style, group) for name, file, style, group in re.findall(row, text, re.MULTILINE)]


def unfit(dump: Dump) -> str:
    """Why a dump cannot be scored, with the cure; empty for one that can."""
    cure = f"write: dump {dump.name} all custom N {dump.path.with_suffix('.lammpstrj').name} id type xu yu zu"
    if dump.style not in ("custom", "atom", "custom/gz", "atom/gz") or "bin" in dump.path.suffix:
        return f"style {dump.style} is not a text dump; {cure}"
    if dump.group != "all":
        return f"it holds the group {dump.group}, not all atoms; {cure}"
    if "*" in dump.path.name or "%" in dump.path.name:
        return f"its frames are files of their own; {cure}"
    if not dump.path.is_file():
        return "there is no such file"
    columns = _columns(dump.path)
    if not columns:
        return "it holds no frame"
    if "id" not in columns or not {"type", "element"} & set(columns):
        return f"its columns are {' '.join(columns)}; {cure}"
    if not any(keys <= set(columns) for keys in POSITIONS):
        return f"its columns {' '.join(columns)} lose how often an atom has crossed the box; {cure}"
    return ""


def _columns(path: Path) -> list[str]:
    from grannfield.data.formats.contents import opened_text

    with opened_text(path) as (file, _):
        for line in file:
            if line.startswith("ITEM: ATOMS"):
                return list(line.split()[2:])
    return []


def material_of(numbers: Sequence[int] | np.ndarray) -> str:
    """Formula of the known material whose cell holds just these atoms; empty for another."""
    for name in materials():
        if units.formula(load_material(name).structure.z) == units.formula(np.asarray(numbers)):
            return name
    return ""


def describe(
    dumps: Iterable[Dump],
    material: str,
    species: Sequence[int],
    *,
    label: str,
    model: str,
    conservative: bool,
) -> list[Path]:
    """Write or extend a trajectories.toml beside each dump; the files written.

    A file somebody else has written is left alone; of ours, the blocks of other dumps stay.
    """
    written = []
    for folder in dict.fromkeys(dump.path.parent for dump in dumps):
        path = folder / NAME
        blocks: dict[str, dict[str, Any]] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if not text.startswith(HEAD):
                continue
            old = tomllib.loads(text)
            if old.get("label") == label:
                blocks = {str(block["file"]): block for block in old.get("run", []) if (folder / str(block["file"])).exists()}
        for dump in dumps:
            if dump.path.parent == folder:
                blocks[dump.path.name] = {
                    "file": dump.path.name, "material": material, "temperature": dump.temperature, "timestep_fs": dump.timestep,
                    "species": [units.symbol(int(z)) if z else "X" for z in species],
                }  # fmt: skip
        top = {"label": label, "made_by": model, "conservative": conservative}
        lines = [f"{key} = {_toml(value)}\n" for key, value in top.items()]
        for block in blocks.values():
            lines += ["\n[[run]]\n", *(f"{key} = {_toml(value)}\n" for key, value in block.items())]
        write_atomically(path, HEAD + "".join(lines))
        written.append(path)
    return written


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value:.12g}"
