"""DeePMD sets: type.raw, perhaps type_map.raw, and set.*/coord.npy, box.npy, energy.npy, force.npy in Å and eV.

The older text form, coord.raw, box.raw, energy.raw and force.raw beside type.raw, is read where there is no set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.formats.contents import Contents
from grannfield.trajectory import TrajectoryError
from grannfield.units import number


def contents(path: Path, format: str = "deepmd", species: Sequence[str] = (), **_: Any) -> Contents:
    """The frames of all sets of a folder, set after set; TrajectoryError names the file that does not fit."""
    if not path.is_dir():
        path = path.parent.parent if path.suffix == ".npy" else path.parent
    if (path / "nopbc").exists():
        raise TrajectoryError(f"{path} is a set of molecules in vacuum (nopbc); only periodic sets are read")
    z = _numbers(path, species)
    sets = sorted(folder for folder in path.glob("set.*") if folder.is_dir())
    if not sets and (path / "coord.raw").is_file():
        sets = [path]  # the same arrays as text
    if not sets:
        raise TrajectoryError(f"{path} holds no set.000; the arrays of a DeePMD set lie in set.*/coord.npy")
    parts = [_set(folder, len(z)) for folder in sets]
    joined = {
        key: np.concatenate([part[key] for part in parts]) if all(key in part for part in parts) else None
        for key in ("pos", "cell", "energy", "forces")
    }
    assert joined["pos"] is not None and joined["cell"] is not None
    found = Contents(z=z, pos=joined["pos"], cell=joined["cell"], energy=joined["energy"], forces=joined["forces"])
    for key, name in (("energy", "energy.npy"), ("forces", "force.npy")):
        there = [folder.name for folder, part in zip(sets, parts, strict=True) if key in part]
        if not there:
            found.notes.append(f"it has no {name}: its frames are unlabelled")
        elif len(there) < len(sets):
            raise TrajectoryError(f"{path}: {name} is in {', '.join(there)} alone; every set needs it, or none")
    for index in range(len(found.pos)):
        values = [array[index] for array in (found.energy, found.forces) if array is not None]
        if not all(np.isfinite(value).all() for value in values):
            found.unlabelled[index] = "energy or forces are not numbers"
    return found


def _numbers(path: Path, species: Sequence[str]) -> np.ndarray:
    """[N] atomic numbers, by the species given or by type_map.raw."""
    if any(path.glob("set.*/real_atom_types.npy")):
        raise TrajectoryError(f"{path} is a mixed set (real_atom_types.npy), its atoms differ by frame; split it by composition")
    file = path / "type.raw"
    if not file.is_file():
        raise TrajectoryError(f"{file} is missing: it gives the type of each atom, one number a line")
    try:
        types = np.array(file.read_text(encoding="utf-8").split(), dtype=int)
    except ValueError as error:
        raise TrajectoryError(f"{file} should hold numbers of types ({error})") from None
    if len(types) == 0 or types.min() < 0:
        raise TrajectoryError(f"{file} should hold numbers of types from 0 up, one for each atom")
    map_file = path / "type_map.raw"
    written = map_file.read_text(encoding="utf-8").split() if map_file.is_file() else []
    if species and written and list(species)[: len(written)] != written:
        raise TrajectoryError(f"{map_file} says {','.join(written)}, species {','.join(species)} were given; leave them out")
    names = list(species) or written
    counts = ", ".join(f"{np.count_nonzero(types == kind)} of type {kind}" for kind in np.unique(types))
    if not names:
        raise TrajectoryError(
            f"{path} holds atoms by type ({counts}) and no type_map.raw; say which elements they are, in the order of the types, "
            "as species Li,Ge,P,S"
        )
    if types.max() >= len(names):
        raise TrajectoryError(f"{path} holds {counts}, but only {len(names)} species are known: {','.join(names)}")
    return np.array([number(names[kind]) for kind in types])


def _set(folder: Path, n: int) -> dict[str, np.ndarray]:
    pos, cell = _array(folder / "coord.npy", 3 * n), _array(folder / "box.npy", 9)
    if pos is None or cell is None:
        raise TrajectoryError(f"{folder} needs coord.npy and box.npy; {'box' if pos is not None else 'coord'}.npy is missing")
    found: dict[str, np.ndarray] = {"pos": pos.reshape(-1, n, 3), "cell": cell.reshape(-1, 3, 3)}
    energy, forces = _array(folder / "energy.npy", 1), _array(folder / "force.npy", 3 * n)
    if energy is not None:
        found["energy"] = energy.reshape(-1)
    if forces is not None:
        found["forces"] = forces.reshape(-1, n, 3)
    for key, values in found.items():
        if len(values) != len(pos):
            raise TrajectoryError(
                f"{folder}: {key} has {len(values)} frames, coord.npy {len(pos)}; the files do not belong together"
            )
    return found


def _array(file: Path, width: int) -> np.ndarray | None:
    """[F, width] in double precision, or None when there is no such file."""
    text = file.with_suffix(".raw")
    if not file.is_file() and not text.is_file():
        return None
    try:
        if not file.is_file():
            values = np.loadtxt(text, ndmin=2)
        else:
            with open(file, "rb") as stream:
                values = np.asarray(np.load(stream, allow_pickle=False), dtype=np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise TrajectoryError(f"{file} is not a readable NumPy array ({error}); copy it again") from None
    if values.ndim and width == 1:
        values = values.reshape(-1, 1)
    if values.ndim != 2 or values.shape[1] != width:
        raise TrajectoryError(f"{file} has the shape {values.shape}; [frames, {width}] is needed for the atoms of type.raw")
    return values
