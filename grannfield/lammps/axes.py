"""How LAMMPS turns a crystal: its lattice vector a lies along x and b in the xy plane, whatever they were before.

A force field that follows rotations only roughly (ForceNet, SCN, eSCN) gives other forces in other axes, so positions are turned
back before it sees them. A structure of ours is turned by a matrix that is known; in a data file it stands in the first line, or
follows from the vectors of a general triclinic box. Without either the axes of LAMMPS are taken for the original ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

AXES = "grannfield axes"
"""Before nine numbers, the rows of the turning matrix, in the first line of a data file."""


@dataclass(frozen=True, eq=False)
class Axes:
    """The turn between the axes a structure was stored in and those of LAMMPS: row vectors of LAMMPS are stored @ turn."""

    turn: np.ndarray
    """[3, 3] orthogonal; a mirror image for a left-handed cell, which LAMMPS does not know."""
    source: str = "none known: LAMMPS' own axes are taken for the original ones"

    @classmethod
    def same(cls) -> Axes:
        """No turn."""
        return cls(np.eye(3))

    @classmethod
    def of_cell(cls, cell: np.ndarray, source: str = "the structure's cell") -> Axes:
        """The turn LAMMPS gives to a cell [3,3], rows lattice vectors; ValueError for a flat one.

        >>> cell = np.array([[0.0, 4.0, 0.0], [0.0, 0.0, 5.0], [6.0, 0.0, 0.0]])
        >>> (cell @ Axes.of_cell(cell).turn).round(12).tolist()
        [[4.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 6.0]]
        """
        cell = np.asarray(cell, dtype=float)
        if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
            raise ValueError(f"the cell {cell.tolist()} has no volume; LAMMPS needs three lattice vectors")
        if not np.triu(cell, 1).any() and (np.diag(cell) > 0).all():
            return cls(np.eye(3), source)
        q, r = np.linalg.qr(cell.T)
        return cls(q * np.sign(np.diag(r)), source)

    @property
    def known(self) -> bool:
        """Whether anything says how the structure lay before."""
        return not self.source.startswith("none")

    @property
    def trivial(self) -> bool:
        """Whether LAMMPS' axes are the original ones."""
        return bool(np.array_equal(self.turn, np.eye(3)))

    def into(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [..., 3] of the stored axes in those of LAMMPS."""
        return vectors if self.trivial else vectors @ self.turn

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [..., 3] of LAMMPS in the stored axes."""
        return vectors if self.trivial else vectors @ self.turn.T

    def tensor_into(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor [3, 3] of the stored axes in those of LAMMPS."""
        return tensor if self.trivial else self.turn.T @ tensor @ self.turn

    def cell_into(self, cell: np.ndarray) -> np.ndarray:
        """A cell [3, 3] as LAMMPS has it, exactly lower triangular."""
        return np.asarray(np.tril(self.into(np.asarray(cell, dtype=float))))

    @property
    def words(self) -> str:
        """What the first line of a data file says of it."""
        return f"{AXES} {' '.join(f'{x:.17g}' for x in self.turn.ravel())}"


def axes_of_data_file(path: Path) -> Axes:
    """The turn that a LAMMPS data file tells of; FileNotFoundError, or ValueError for a turn that is none."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no LAMMPS data file {path}")
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line for _, line in zip(range(60), file, strict=False)]
    if lines and AXES in lines[0]:
        numbers = lines[0].partition(AXES)[2].split()[:9]
        try:
            turn = np.array(numbers, dtype=float).reshape(3, 3)
        except ValueError:
            raise ValueError(f"{path}: after {AXES!r} stand {len(numbers)} numbers; there should be nine") from None
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-6:
            raise ValueError(f"{path}: the nine numbers after {AXES!r} are no turn (its rows are not orthonormal)")
        return Axes(turn, f"the first line of {path.name}")
    rows = {}
    for line in lines:
        if found := re.match(r"\s*(\S+)\s+(\S+)\s+(\S+)\s+([abc])vec\b", line):
            rows[found[4]] = [float(x) for x in found.groups()[:3]]
    if len(rows) == 3:
        return Axes.of_cell(np.array([rows[key] for key in "abc"]), f"the general triclinic box of {path.name}")
    return Axes.same()


def box_cell(low: np.ndarray, high: np.ndarray, xy: float, yz: float, xz: float) -> np.ndarray:
    """Lattice vectors [3, 3] in Å of a LAMMPS box."""
    lx, ly, lz = np.asarray(high, dtype=float) - np.asarray(low, dtype=float)
    return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])


def decoded(images: np.ndarray, size: int) -> np.ndarray:
    """Image flags [n,3] from the integers of `size` bytes that LAMMPS packs three of them into.

    >>> decoded(np.array([540539393, 537395712]), 4).tolist()
    [[1, -2, 3], [0, 0, 0]]
    """
    bits = 10 if size == 4 else 21
    mask, zero = (1 << bits) - 1, 1 << (bits - 1)
    packed = images.astype(np.int64)
    return np.stack([((packed >> (bits * k)) & mask) - zero for k in range(3)], axis=1)
