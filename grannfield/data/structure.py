"""A crystal structure as a small TOML file that needs no chemistry package to read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grannfield.trajectory import Trajectory
from grannfield.units import formula, number, symbol


class StructureError(ValueError):
    """The file does not describe a periodic structure."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One periodic set of atoms: the ideal (relaxed, 0 K) structure of a material."""

    z: np.ndarray
    """[N] atomic numbers."""
    pos: np.ndarray
    """[N, 3] Å."""
    cell: np.ndarray
    """[3, 3] Å, rows are lattice vectors."""

    @property
    def fractional(self) -> np.ndarray:
        """[N, 3] coordinates along the lattice vectors, not wrapped."""
        return self.pos @ np.linalg.inv(self.cell)

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.cell)))

    def trajectory(self) -> Trajectory:
        """The structure as a trajectory of one frame, without labels."""
        return Trajectory(z=self.z, pos=self.pos[None], cell=self.cell, time=np.zeros(1), source=formula(self.z))


def read_structure(path: str | Path) -> Structure:
    """The structure of a TOML file with `cell` (three rows in Å) and `atoms` (["Li", x, y, z], fractional).

    Raises FileNotFoundError, or StructureError naming the file and the line that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such structure file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        cell = np.array(values["cell"], dtype=np.float64)
        atoms = values["atoms"]
        z = np.array([number(atom[0]) for atom in atoms])
        fractional = np.array([atom[1:] for atom in atoms], dtype=np.float64)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, IndexError, ValueError) as problem:
        need = 'cell = [[..],[..],[..]] and atoms = [["Li", x, y, z], ..]'
        raise StructureError(f"{path}: {problem}; it needs {need}") from None
    if cell.shape != (3, 3) or fractional.shape != (len(z), 3) or not np.isfinite(fractional).all():
        raise StructureError(f"{path}: cell {cell.shape} should be [3,3], atoms {fractional.shape} [N,3], all finite")
    if not abs(np.linalg.det(cell)) > 1e-3:
        raise StructureError(f"{path}: the cell has no volume (determinant {np.linalg.det(cell):g} Å³)")
    return Structure(z=z, pos=fractional @ cell, cell=cell)


def write_structure(path: str | Path, structure: Structure) -> None:
    """Write the file `read_structure` reads, to 1e-10 of a lattice vector."""
    rows = [f"    [{', '.join(f'{x:.12f}' for x in row)}]," for row in structure.cell]
    atoms = [
        f'    ["{symbol(int(z))}", {", ".join(f"{x + 0.0:.10f}" for x in place)}],'
        for z, place in zip(structure.z, structure.fractional, strict=True)
    ]
    lines = ["# Cell rows in Å; atoms in fractional coordinates.", "cell = [", *rows, "]", "atoms = [", *atoms, "]"]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def structure_from_cif(path: str | Path) -> Structure:
    """The structure of a fully ordered CIF, read by pymatgen (which sorts the atoms by element)."""
    from pymatgen.core.structure import Structure as PymatgenStructure

    crystal = PymatgenStructure.from_file(str(path))
    if not crystal.is_ordered:
        raise StructureError(f"{path}: some sites are partly occupied; choose an ordered model of it first")
    return Structure(z=np.array(crystal.atomic_numbers), pos=np.array(crystal.cart_coords), cell=np.array(crystal.lattice.matrix))
