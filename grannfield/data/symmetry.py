"""Space-group operations of a material's ideal structure."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from grannfield.data.material import Material
from grannfield.data.structure import Structure


class SymmetryError(ValueError):
    """The structure does not have the space group its material.toml names."""


class SpaceGroup(NamedTuple):
    """Operations x -> rotation x + translation on fractional coordinates (columns) of the stored cell."""

    rotations: np.ndarray
    """[G, 3, 3] int."""
    translations: np.ndarray
    """[G, 3]."""
    symbol: str
    """International short symbol."""


def space_group_operations(material: Material, symprec: float | None = None) -> SpaceGroup:
    """The operations that map the ideal structure onto itself to `symprec` in Å (default: the material's own).

    Relaxed structures keep their symmetry only to about 0.1 Å, so the tolerance is part of the description. Raises
    SymmetryError when the group found is not the one named in material.toml (no check when that names none), and
    ModuleNotFoundError when spglib is not installed.
    Source: spglib, https://doi.org/10.1080/27660400.2024.2384822.
    """
    tolerance = material.symprec if symprec is None else symprec
    group = _operations(material.structure, tolerance)
    if material.space_group and group.symbol != material.space_group:
        raise SymmetryError(
            f"{material.formula}: the structure has space group {group.symbol} at symprec {tolerance:g} Å, "
            f"{material.path} names {material.space_group} (at {material.symprec:g} Å); pass a larger symprec, or "
            "correct the file"
        )
    return group


def _operations(structure: Structure, symprec: float) -> SpaceGroup:
    try:
        import spglib
    except ModuleNotFoundError:
        raise ModuleNotFoundError("space groups need spglib: pip install spglib") from None
    crystal = (structure.cell.tolist(), structure.fractional.tolist(), structure.z.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about how spglib will report errors, not about this call
        found = spglib.get_symmetry_dataset(crystal, symprec=symprec)
    if found is None:
        raise SymmetryError(f"spglib finds no space group at symprec {symprec:g} Å; do two atoms overlap?")
    return SpaceGroup(np.array(found.rotations, dtype=int), np.array(found.translations), str(found.international))
