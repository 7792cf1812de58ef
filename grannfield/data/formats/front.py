"""Any file of frames as a `Trajectory`: its format recognised, its units checked, what was wrong with it said."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grannfield.data.formats.contents import PACKED, Contents, opened, present
from grannfield.data.formats.plausible import ImplausibleUnits, complaint
from grannfield.data.formats.units import Units, converted, units_of
from grannfield.data.table import suggestion
from grannfield.trajectory import Trajectory, TrajectoryError

FORMATS = {
    "vasprun": "VASP vasprun.xml",
    "outcar": "VASP OUTCAR (positions to 5 decimals)",
    "xdatcar": "VASP XDATCAR (no energies and forces)",
    "extxyz": "extended XYZ",
    "traj": "ASE trajectory, .traj",
    "db": "ASE database, .db",
    "lammps-dump": "LAMMPS text dump (energies from a log file)",
    "deepmd": "DeePMD npy set: a folder with type.raw and set.*/coord.npy",
    "h5": "trajectory stored by this package",
    "npz": "NumPy archive with pos, forces, energy, temperature, cell, z and timestep_fs",
}
"""Formats that `read` knows; text may be compressed (.gz, .bz2, .xz)."""

MODULES = {
    "vasprun": "vasprun", "outcar": "outcar", "xdatcar": "xdatcar", "extxyz": "atoms", "traj": "atoms", "db": "atoms",
    "lammps-dump": "lammps", "deepmd": "deepmd", "h5": "own", "npz": "own",
}  # fmt: skip
VASP_FILES = {"vasprun.xml": "vasprun", "OUTCAR": "outcar", "XDATCAR": "xdatcar"}
"""What is looked for in a folder, best first."""


class IncompleteFile(UserWarning):
    """A file holds less than it should; what is whole in it was read."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A trajectory, and what reading it showed."""

    trajectory: Trajectory
    path: Path
    format: str
    units: Units
    contents: Contents
    notes: tuple[str, ...]
    """Choices and assumptions, in sentences."""
    losses: tuple[str, ...]
    """What the file should hold and does not."""


def read(
    path: str | Path,
    *,
    format: str | None = None,
    species: Sequence[str] | None = None,
    timestep: float | None = None,
    wrapped: bool | None = None,
    units: str | None = None,
    log: str | Path | None = None,
    labels: tuple[str, str] | None = None,
) -> Trajectory:
    """The trajectory of a file or folder of any of `FORMATS`, in Å, eV and fs, unwrapped where it is ordered in time.

    `species`: elements of numbered atom types, in the order of the numbers. `timestep`: fs between two frames of the
    file, where it does not say so itself; frames without time are kind "frames". `wrapped`: see `Contents.trajectory`.
    `units`: those of the file, a name or "LENGTH,ENERGY,FORCE"; without it the format's own, and ImplausibleUnits when
    the numbers cannot be in them. `log`: LAMMPS log file with the energies of a dump. `labels`: names of energy and
    forces in extended XYZ and ASE files. Frames whose labels cannot be trusted keep their place without labels.

    Raises FileNotFoundError, or TrajectoryError naming the file, the frame and the cure; warns with IncompleteFile of
    a file that was cut short.
    """
    found = studied(path, format=format, species=species, timestep=timestep, wrapped=wrapped, units=units, log=log, labels=labels)
    for loss in found.losses:
        warnings.warn(loss, IncompleteFile, stacklevel=2)
    return found.trajectory


def studied(
    path: str | Path,
    *,
    format: str | None = None,
    species: Sequence[str] | None = None,
    timestep: float | None = None,
    wrapped: bool | None = None,
    units: str | None = None,
    log: str | Path | None = None,
    labels: tuple[str, str] | None = None,
    like: Trajectory | None = None,
) -> Reading:
    """The same, with the format, the notes and the losses; `like` is another trajectory of the material, to compare with."""
    path = Path(path)
    if format is None:
        path, format = recognise(path)
    elif format not in FORMATS:
        raise TrajectoryError(f"no format {format!r}; {suggestion(format, FORMATS)}")
    options: dict[str, Any] = {"species": tuple(species or ()), "log": Path(log) if log else None, "labels": labels}
    contents: Contents = importlib.import_module(f"grannfield.data.formats.{MODULES[format]}").contents(path, format, **options)
    own = units_of(units or contents.units)
    converted(contents, own)
    made = contents.trajectory(str(path), timestep, wrapped)
    if doubt := complaint(made, like):
        if units is None:
            raise ImplausibleUnits(f"{path}: {doubt}")
        contents.notes.append(f"units were given as {own.described}, although {doubt.partition(';')[0]}")
    return Reading(made, path, format, own, contents, tuple(contents.notes), tuple(contents.losses))


def recognise(path: Path) -> tuple[Path, str]:
    """The file to read and its format, by content; of a folder, its DeePMD set or its best VASP file."""
    if path.is_dir():
        return _in_folder(path)
    present(path)
    try:
        with opened(path) as (stream, _):
            head = stream.read(4096)
    except (OSError, EOFError, ValueError) as problem:
        raise TrajectoryError(f"{path} cannot be decompressed ({problem}); copy it again") from None
    if not head:
        raise TrajectoryError(f"{path} is empty inside; copy it again")
    for name, known in (
        ("h5", head.startswith(b"\x89HDF")),
        ("traj", head.startswith(b"- of Ulm")),
        ("db", head.startswith(b"SQLite format 3")),
        ("npz", head.startswith(b"PK\x03\x04")),
        ("vasprun", b"<modeling" in head),
        ("lammps-dump", head.lstrip().startswith(b"ITEM:")),
        ("outcar", head.lstrip().startswith((b"vasp.", b"running on")) or b"POTCAR:" in head),
        ("xdatcar", b"irect configuration" in head or "XDATCAR" in path.name.upper()),
        ("extxyz", _is_xyz(head)),
    ):
        if known:
            return path, name
    raise TrajectoryError(
        f"{path}: its format is not recognised; name it (one of {', '.join(FORMATS)}), or convert it with "
        f"`ase convert {path.name} out.extxyz`"
    )


def _is_xyz(head: bytes) -> bool:
    first = head.split(b"\n", 1)[0].strip()
    return first.isdigit() and head.count(b"\n") > 1


def _in_folder(path: Path) -> tuple[Path, str]:
    if (path / "type.raw").is_file() or any(path.glob("set.*/coord.npy")):
        return path, "deepmd"
    for name, format in VASP_FILES.items():
        for ending in ("", *PACKED):
            if (path / (name + ending)).is_file():
                return path / (name + ending), format
    systems = sorted(file.parent.name for file in path.glob("*/type.raw"))
    if systems:
        raise TrajectoryError(
            f"{path} holds {len(systems)} DeePMD sets ({', '.join(systems[:4])}{', ...' * (len(systems) > 4)}); name one of them"
        )
    raise TrajectoryError(f"{path} is a folder without type.raw (DeePMD) or {', '.join(VASP_FILES)} (VASP); name a file in it")
