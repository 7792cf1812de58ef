"""The structures a force field is measured on, and what is done to them: turned, moved, wrapped, reordered, repeated.

Two periodic cells: 16 atoms of gamma-Li3PS4, every coordinate displaced at random by 0.1 Å (standard deviation), and 5 atoms of
LiGePS2 in a skewed cell thinner than a cut-off, where atoms meet their own images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grannfield.data.material import load_material, materials
from grannfield.data.structure import Structure, read_structure
from grannfield.units import symbol

FOLDER = Path(__file__).parent
RATTLE = 0.1
"""Å, standard deviation of the displacement of each coordinate of the 16-atom cell."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One arrangement of atoms to be evaluated."""

    z: np.ndarray
    """[N] atomic numbers."""
    pos: np.ndarray
    """[N, 3] Å."""
    cell: np.ndarray
    """[3, 3] Å, rows are lattice vectors."""
    periodic: bool = True
    """In all three directions, or in none."""

    def __len__(self) -> int:
        return len(self.z)

    def displaced(self, by: np.ndarray) -> Sample:
        """With atoms moved by [N, 3] or [3] Å."""
        return replace(self, pos=self.pos + by)

    def with_atom_at(self, atom: int, place: np.ndarray) -> Sample:
        """With one atom put at a place [3] Å."""
        pos = self.pos.copy()
        pos[atom] = place
        return replace(self, pos=pos)

    def turned(self, rotation: np.ndarray) -> Sample:
        """Atoms and cell under a rotation [3, 3], r -> R r."""
        return replace(self, pos=self.pos @ rotation.T, cell=self.cell @ rotation.T)

    def inverted(self) -> Sample:
        """The mirror image r -> -r. The lattice is its own inverse, so the cell stays as it is (and right-handed)."""
        return replace(self, pos=-self.pos)

    def rewrapped(self, crossed: np.ndarray) -> Sample:
        """With each atom moved by whole lattice vectors [N, 3]: the same crystal."""
        return replace(self, pos=self.pos + crossed @ self.cell)

    def reordered(self, order: np.ndarray) -> Sample:
        """With its atoms in another order [N]."""
        return replace(self, z=self.z[order], pos=self.pos[order])

    def strained(self, strain: np.ndarray) -> Sample:
        """Atoms and cell under a homogeneous strain [3, 3], r -> r (1 + strain)."""
        deformation = np.eye(3) + strain
        return replace(self, pos=self.pos @ deformation, cell=self.cell @ deformation)

    def repeated(self, counts: tuple[int, int, int]) -> Sample:
        """A supercell, atom n of copy c at c*N + n.

        >>> one = gamma(0)
        >>> two = one.repeated((1, 2, 1))
        >>> len(two), bool(np.allclose(two.pos[16:], one.pos + one.cell[1]))
        (32, True)
        """
        corners = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3) @ self.cell
        pos = (corners[:, None] + self.pos).reshape(-1, 3)
        return replace(self, z=np.tile(self.z, len(corners)), pos=pos, cell=self.cell * np.array(counts)[:, None])


@dataclass(frozen=True, eq=False)
class Samples:
    """The two cells of the contract, in elements that the force field knows."""

    gamma: Sample
    skew: Sample
    note: str = ""
    """Which elements stand for which."""

    def __iter__(self) -> Iterator[Sample]:
        yield from (self.gamma, self.skew)


def samples(seed: int, elements: tuple[int, ...] | None = None) -> Samples:
    """Both cells; an element that the field does not know is replaced by the nearest atomic number that it does.

    >>> samples(0, (3, 15, 16)).note
    'S in place of Ge'
    """
    cells, note = in_known_elements({"gamma": gamma(seed), "skew": skew()}, elements)
    return Samples(cells["gamma"], cells["skew"], note)


def in_known_elements(cells: dict[str, Sample], elements: tuple[int, ...] | None) -> tuple[dict[str, Sample], str]:
    """The same cells in elements that a field knows, the nearest atomic numbers, and which element stands for which."""
    if elements is None:
        return cells, ""
    known = np.array(elements)
    others = {int(z): int(known[np.abs(known - z).argmin()]) for cell in cells.values() for z in cell.z}
    swapped = {name: replace(cell, z=np.array([others[int(z)] for z in cell.z])) for name, cell in cells.items()}
    return swapped, ", ".join(f"{symbol(new)} in place of {symbol(old)}" for old, new in sorted(others.items()) if new != old)


def gamma(seed: int) -> Sample:
    """16 atoms of gamma-Li3PS4, away from equilibrium."""
    ideal = relaxed_gamma()
    return ideal.displaced(np.random.default_rng(seed).normal(scale=RATTLE, size=ideal.pos.shape))


def relaxed_gamma() -> Sample:
    """16 atoms of gamma-Li3PS4 at rest."""
    return _sample(read_structure(FOLDER / "gamma-Li3PS4.toml"))


def skew() -> Sample:
    """5 atoms of LiGePS2 in a skewed cell."""
    return _sample(read_structure(FOLDER / "skew-LiGePS2.toml"))


def materials_at_rest() -> dict[str, Sample]:
    """The crystals of all materials, by formula."""
    return {name: _sample(load_material(name).structure) for name in materials()}


def _sample(structure: Structure) -> Sample:
    return Sample(structure.z, structure.pos, structure.cell)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A proper rotation [3, 3], uniform over all of them (QR of a Gaussian matrix, signs fixed; Mezzadri, math-ph/0609050)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q) if np.linalg.det(q) < 0 else q
