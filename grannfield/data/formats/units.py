"""Units of other programs, and what turns their numbers into Å, eV and eV/Å. Values: CODATA 2018."""

from __future__ import annotations

from dataclasses import dataclass

from grannfield.data.formats.contents import Contents
from grannfield.trajectory import TrajectoryError

BOHR = 0.529177210903
HARTREE = 27.211386245988
KCAL_PER_MOL = 0.0433641153087705
KJ_PER_MOL = 0.0103642696562622

LENGTHS = {"Å": 1.0, "A": 1.0, "Angstrom": 1.0, "Bohr": BOHR, "nm": 10.0}
ENERGIES = {"eV": 1.0, "Ha": HARTREE, "Hartree": HARTREE, "Ry": HARTREE / 2, "kcal/mol": KCAL_PER_MOL, "kJ/mol": KJ_PER_MOL}
NAMED = {
    "metal": ("Å", "eV", "eV/Å", 1e3),
    "atomic": ("Bohr", "Ha", "Ha/Bohr", 1.0),
    "electron": ("Bohr", "Ha", "Ha/Bohr", 1.0),
    "rydberg": ("Bohr", "Ry", "Ry/Bohr", 1.0),
    "real": ("Å", "kcal/mol", "kcal/mol/Å", 1.0),
    "gromacs": ("nm", "kJ/mol", "kJ/mol/nm", 1e3),
}
UNITS = {name: f"{length}, {energy}, {force}" for name, (length, energy, force, _) in NAMED.items()}
"""Systems of units and what is in them: lengths, energies, forces."""


@dataclass(frozen=True)
class Units:
    """A system of units, by what it multiplies lengths, energies and forces with."""

    name: str
    length: float
    """Å in one unit of length."""
    energy: float
    """eV in one unit of energy."""
    force: float
    """eV/Å in one unit of force."""
    time: float = 1e3
    """fs in one unit of time."""

    @property
    def described(self) -> str:
        return f"{self.name} ({UNITS[self.name]})" if self.name in UNITS else self.name


def units_of(name: str) -> Units:
    """The system of a name or of "LENGTH,ENERGY,FORCE"; TrajectoryError says what there is.

    >>> round(units_of("atomic").force, 3), units_of("Å,Ha,Ha/Bohr").length
    (51.422, 1.0)
    """
    if name in NAMED:
        length, energy, force, time = NAMED[name]
    else:
        parts = [part.strip() for part in name.split(",")]
        if len(parts) != 3:
            raise _unknown(name)
        (length, energy, force), time = parts, 1e3
    energy_of_force, _, length_of_force = force.rpartition("/")
    try:
        per = ENERGIES[energy_of_force] / LENGTHS[length_of_force]
        return Units(name, LENGTHS[length], ENERGIES[energy], per, time)
    except KeyError:
        raise _unknown(name) from None


def _unknown(name: str) -> TrajectoryError:
    systems = "; ".join(f"{key} ({text})" for key, text in UNITS.items())
    return TrajectoryError(
        f"no units {name!r}; there are {systems}, and any three as LENGTH,ENERGY,FORCE, for instance Å,Ha,Ha/Bohr "
        f"(lengths {', '.join(LENGTHS)}; energies {', '.join(ENERGIES)})"
    )


def converted(found: Contents, units: Units) -> None:
    """Multiply what a file holds into Å, eV and eV/Å, in place."""
    if units.length != 1.0:
        found.pos, found.cell = found.pos * units.length, found.cell * units.length
    if found.energy is not None and units.energy != 1.0:
        found.energy = found.energy * units.energy
    if found.forces is not None and units.force != 1.0:
        found.forces = found.forces * units.force
