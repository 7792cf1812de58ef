"""What a trajectories.toml says of MD made elsewhere: which files, what they are of, what of them counts.

label = "my-gnn"            # what tables call it
material = "LGPS"
interval_fs = 20            # between two frames, where the files do not say

[[run]]
file = "1000K.lammpstrj"    # or "1000K-*.xyz": every file is a run of its own
temperature = 1000

[[run]]
file = "1200K.lammpstrj"
temperature = 1200
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.material import load_material
from grannfield.data.table import TableError, checked
from grannfield.runs import REASON_OF

NAME = "trajectories.toml"
SHARED: dict[str, Any] = {
    "material": str,
    "temperature": float,
    "interval_fs": (float, None),
    "timestep_fs": (float, None),
    "species": (list, []),
    "format": (str, ""),
    "units": (str, ""),
    "wrapped": (bool, None),
    "ramp_ps": (float, 0.0),
    "equilibration_ps": (float, None),
    "length_ps": (float, None),
    "ended": (str, "complete"),
}
"""Keys of a [[run]] that may also stand above all of them, for every one."""
RUN_KEYS: dict[str, Any] = {"file": (str, ""), "pieces": (list, []), "seed": (int, -1), **SHARED}
TOP_KEYS: dict[str, Any] = {
    "label": (str, ""), "made_by": (str, ""), "conservative": (bool, None), "kin": (list, []), "run": (list, []),
    **{key: (rule[0] if isinstance(rule, tuple) else rule, None) for key, rule in SHARED.items()},
}  # fmt: skip


@dataclass(frozen=True)
class Stated:
    """One [[run]]: which files, and what is said of them."""

    paths: tuple[Path, ...]
    """Pieces of one run in their order; usually a single file."""
    where: str
    """For messages: file and block."""
    seed: int
    material: str
    temperature: float
    """K."""
    interval_fs: float | None
    """Between two frames of the file."""
    timestep_fs: float | None
    """Of the MD."""
    species: tuple[str, ...]
    format: str
    units: str
    wrapped: bool | None
    ramp_ps: float
    """Start of the file that is left out altogether."""
    equilibration_ps: float | None
    """After the ramp; None: the share that the reference leaves out."""
    length_ps: float | None
    """That it was meant to have after the ramp; None: what there is."""
    ended: str
    """"complete", or the cause of a failure at the end of the file."""

    @property
    def name(self) -> str:
        return " + ".join(path.name for path in self.paths)


def stated_runs(block: object, shared: Mapping[str, Any], file: Path, n: int) -> list[Stated]:
    """One [[run]], or one for each file that its pattern fits."""
    if not isinstance(block, dict):
        raise TableError(f"{file}: write [[run]] blocks, not run = ...")
    where = f"{file}, [[run]] {block.get('file') or n}"
    table = checked({**shared, **block}, RUN_KEYS, where)
    pattern, pieces = table.pop("file"), table.pop("pieces")
    if bool(pattern) == bool(pieces):
        raise TableError(f'{where}: give either file = "NAME", or pieces = ["first", "second"] of one run')
    _check_numbers(table, where)
    if table["ended"] not in ("complete", *REASON_OF):
        raise TableError(f'{where}: ended = {table["ended"]!r} is not one of "complete", {", ".join(map(repr, REASON_OF))}')
    if table["ended"] != "complete" and table["length_ps"] is None:
        raise TableError(f"{where}: a run that failed needs length_ps, the length it was meant to have")
    try:
        table["material"] = load_material(table["material"]).formula
    except LookupError as problem:
        raise TableError(f"{where}: {problem.args[0]}") from None
    table["species"] = tuple(map(str, table["species"]))
    groups: list[tuple[Path, ...]] = [tuple(file.parent / str(name) for name in pieces)]
    if pattern:
        groups = [(path,) for path in _fitting(file.parent, pattern, where)]
    for path in (path for group in groups for path in group):
        if not path.exists():
            raise FileNotFoundError(f"{where}: there is no {path}; paths count from the folder of {NAME}")
    return [Stated(paths=group, where=where, **table) for group in groups]


def _check_numbers(table: Mapping[str, Any], where: str) -> None:
    for key in ("temperature", "interval_fs", "timestep_fs", "length_ps"):
        if table[key] is not None and not 0 < table[key] < np.inf:
            raise TableError(f"{where}: {key} = {table[key]:g} should be positive")
    for key in ("ramp_ps", "equilibration_ps"):
        if table[key] is not None and not 0 <= table[key] < np.inf:
            raise TableError(f"{where}: {key} = {table[key]:g} should not be negative")


def _fitting(folder: Path, pattern: str, where: str) -> list[Path]:
    """The file of a name, or all that a pattern fits."""
    if (folder / pattern).exists() or not glob.has_magic(pattern):
        return [folder / pattern]
    found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else sorted(map(Path, glob.glob(pattern)))
    if not found:
        raise FileNotFoundError(f"{where}: no file fits {folder / pattern}")
    return found
