"""Which element each LAMMPS type is: as somebody says, else by type labels, else by masses; never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from grannfield import units

NEAR = 0.05
"""u within which a mass is that of an element; masses of elements that follow each other differ by more, but for a few."""
NOTHING = "NULL"
"""LAMMPS' word for a type that a potential has nothing to do with."""
HEAVIEST = 118


class MappingError(ValueError):
    """The types of a LAMMPS system cannot be told to be elements."""


def elements_of_types(
    masses: Sequence[float],
    labels: Mapping[int, str] | None = None,
    stated: Sequence[str] = (),
    used: Iterable[int] | None = None,
) -> np.ndarray:
    """Atomic numbers [T + 1] of the types 1 to T, 0 for none.

    masses [T] in u, 0 where not set; labels by type; stated: names in the order of the types. A type without atoms (not in
    `used`) may be anything. MappingError where nothing says what a type is, or two things say different.

    >>> elements_of_types([6.94, 30.974, 32.06]).tolist(), elements_of_types([0, 0], stated=["Ge", "S"]).tolist()
    ([0, 3, 15, 16], [0, 32, 16])
    >>> elements_of_types([6.94, 32.06], stated=["S", "Li"])
    Traceback (most recent call last):
    ...
    grannfield.lammps.elements.MappingError: type 1 is said to be S, but its mass 6.94 is that of Li; name the elements in ...
    """
    count = len(masses)
    if stated and len(stated) != count:
        raise MappingError(
            f"{len(stated)} elements are named ({' '.join(stated)}), but LAMMPS has {count} atom types; "
            f"name one for each type in their order, {NOTHING} for a type without atoms"
        )
    present = set(range(1, count + 1)) if used is None else set(used)
    found = np.zeros(count + 1, dtype=np.int64)
    for kind in range(1, count + 1):
        label = (labels or {}).get(kind, "")
        found[kind] = _one(kind, stated[kind - 1] if stated else "", label, float(masses[kind - 1]), kind in present)
    return found


def _one(kind: int, stated: str, label: str, mass: float, present: bool) -> int:
    """Atomic number of one type."""
    by_mass = _by_mass(mass)
    if stated == NOTHING:
        if present:
            raise MappingError(f"type {kind} is said to be {NOTHING}, but there are atoms of it; name its element")
        return 0
    if stated:
        return _agreeing(kind, f"is said to be {stated}", _number(stated, kind), by_mass, mass)
    if named := _by_label(label):
        return _agreeing(kind, f"is labelled {label}", named, by_mass, mass)
    if len(by_mass) == 1:
        return by_mass[0]
    if not present:
        return 0
    raise MappingError(f"what element type {kind} is cannot be told: {_why(label, mass, by_mass)}; {_CURE}")


_CURE = "name the elements in the order of the types, such as --elements Li Ge P S"


def _agreeing(kind: int, said: str, number: int, by_mass: list[int], mass: float) -> int:
    if by_mass and number not in by_mass:
        others = " or ".join(map(units.symbol, by_mass))
        raise MappingError(f"type {kind} {said}, but its mass {mass:g} is that of {others}; {_CURE}, and set the masses")
    return number


def _number(name: str, kind: int) -> int:
    try:
        return units.number(name)
    except ValueError as problem:
        raise MappingError(f"type {kind}: {problem.args[0]}") from None


def _why(label: str, mass: float, by_mass: list[int]) -> str:
    said = f"its label {label!r} is no chemical symbol" if label else "it has no label"
    if not mass:
        return f"{said} and its mass is not set"
    if by_mass:
        return f"{said} and its mass {mass:g} fits {' and '.join(map(units.symbol, by_mass))}"
    nearest = _nearest(mass)
    return f"{said} and its mass {mass:g} is that of no element ({units.symbol(nearest)} is nearest)"


def _table() -> np.ndarray:
    return units.masses(np.arange(1, HEAVIEST + 1))


def _by_mass(mass: float) -> list[int]:
    """Atomic numbers of the elements that have a mass."""
    return [] if not mass else (np.flatnonzero(np.abs(_table() - mass) <= NEAR) + 1).tolist()


def _nearest(mass: float) -> int:
    return int(np.nanargmin(np.abs(_table() - mass))) + 1


def _by_label(label: str) -> int:
    """Atomic number of a label that is a chemical symbol, or one followed by anything but letters; 0 for another.

    >>> _by_label("Li"), _by_label("S2"), _by_label("Ow")
    (3, 16, 0)
    """
    match = re.fullmatch(r"([A-Z][a-z]?)(?:[^A-Za-z].*)?", label)
    try:
        return units.number(match[1]) if match else 0
    except ValueError:
        return 0


def labels_written(text: str) -> dict[int, str]:
    """Labels by type from what `labelmap write` has written.

    >>> labels_written('labelmap atom 1 \"\"\" Li \"\"\" 2 \"\"\" S \"\"\"\\nlabelmap bond 1 \"\"\" x \"\"\"')
    {1: 'Li', 2: 'S'}
    """
    found: dict[int, str] = {}
    for line in text.splitlines():
        if line.split()[:2] == ["labelmap", "atom"]:
            found |= {int(kind): label for kind, label in re.findall(r'(\d+) """ (.*?) """', line)}
    return found
