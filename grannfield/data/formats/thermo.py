"""Potential energies from a LAMMPS log file."""

from __future__ import annotations

from pathlib import Path

from grannfield.data.formats.contents import opened_text
from grannfield.trajectory import TrajectoryError

COLUMNS = ("PotEng", "pe", "v_pe", "c_thermo_pe")


def potential_energies(path: Path) -> dict[int, float]:
    """Step -> potential energy of the whole box, in the units of the run; the last value of a step that is there twice.

    TrajectoryError when no thermo table has both. `thermo_modify norm yes` divides by the number of atoms: not for metal
    or real units, where it is off.
    """
    found: dict[int, float] = {}
    place: tuple[int, int, int] | None = None
    with opened_text(path) as (file, _):
        for line in file:
            words = line.split()
            if "Step" in words:
                energy = next((words.index(name) for name in COLUMNS if name in words), None)
                place = None if energy is None else (words.index("Step"), energy, len(words))
            elif place and len(words) == place[2]:
                try:
                    found[int(words[place[0]])] = float(words[place[1]])
                except ValueError:
                    place = None
    if not found:
        raise TrajectoryError(f"{path}: no table with the columns Step and PotEng; add pe to thermo_style and run again")
    return found
