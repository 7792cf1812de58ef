"""Atoms of a structure put into LAMMPS, and what LAMMPS says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grannfield import units
from grannfield.forcefield import ForceField
from grannfield.lammps.axes import Axes, box_cell, decoded
from grannfield.lammps.field import LammpsField
from grannfield.lammps.library import LammpsError, open_lammps

ASKED = (
    "compute each all pe/atom",
    "compute sum all reduce sum c_each",
    "compute virial all pressure NULL virial",
    "thermo_style custom step pe c_sum c_virial[1]",
    "fix move all nve",
)
"""Commands by which LAMMPS computes all that can be asked of a structure: it computes what thermo shows."""
MARGIN = 2.0
"""Å between the atoms and the walls of a direction that is not periodic."""


def place(
    lmp: Any, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True, vel: np.ndarray | None = None
) -> tuple[Axes, list[str]]:
    """Put atoms into an empty LAMMPS in metal units: z [n], pos [n,3] Å (wrapped or not), cell [3,3] Å, vel [n,3] Å/fs.

    Atoms get the ids 1 to n in their order, elements the types 1 to T by atomic number; image flags remember where atoms outside
    the cell were. Returns the turn of the axes and the elements of the types.
    """
    z, periodic = np.asarray(z), np.broadcast_to(np.asarray(pbc, bool), 3)
    axes = Axes.of_cell(cell)
    there, turned = axes.into(np.asarray(pos, dtype=float)), axes.cell_into(cell)
    wrapped, images = _wrapped(there, turned, periodic)
    low, high = np.zeros(3), np.diag(turned).copy()
    for k in np.flatnonzero(~periodic):
        if np.delete(turned[k], k).any() or np.delete(turned[:, k], k).any():
            raise ValueError(
                f"direction {'abc'[k]} is not periodic and the cell is tilted along it; LAMMPS needs right angles there"
            )
        low[k], high[k] = wrapped[:, k].min() - MARGIN, wrapped[:, k].max() + MARGIN
    numbers = np.unique(z)
    bounds = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(low, high, strict=True))
    tilts = f"{turned[1, 0]:.17g} {turned[2, 0]:.17g} {turned[2, 1]:.17g}"
    lmp.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify sort 0 0.0",
            "boundary " + " ".join("p" if p else "f" for p in periodic),
            f"region grannfield prism {bounds} {tilts} units box",
            f"create_box {len(numbers)} grannfield",
            *(f"mass {t} {units.masses(np.array([n]))[0]:.17g}" for t, n in enumerate(numbers, 1)),
        ]
    )
    types = (np.searchsorted(numbers, z) + 1).tolist()
    flags = [lmp.encode_image_flags(*map(int, image)) for image in images]
    speeds = None if vel is None else (1e3 * axes.into(np.asarray(vel, dtype=float))).ravel().tolist()
    made = lmp.create_atoms(len(z), list(range(1, len(z) + 1)), types, wrapped.ravel().tolist(), speeds, flags)
    if made != len(z):
        raise LammpsError(f"LAMMPS has placed {made} of {len(z)} atoms; is the cell {np.asarray(cell).tolist()} what was meant?")
    return axes, [units.symbol(int(n)) for n in numbers]


def _wrapped(pos: np.ndarray, cell: np.ndarray, periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions inside the cell along the periodic directions, and the lattice vectors taken away [n,3]."""
    fractional = pos @ np.linalg.inv(cell)
    images = np.where(periodic, np.floor(fractional + 1e-12), 0.0)
    return pos - images @ cell, images


def unwrapped(lmp: Any, axes: Axes) -> np.ndarray:
    """Positions [n,3] Å in the stored axes by ascending id, as if no atom had ever been put back into the cell."""
    n = int(lmp.extract_setting("nlocal"))
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    cell = box_cell(low, high, xy, yz, xz)
    x = np.array(lmp.numpy.extract_atom("x")[:n])
    images = decoded(np.array(lmp.numpy.extract_atom("image")[:n]), lmp.extract_setting("imageint"))
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    return axes.back((x + images @ cell)[order])


def velocities(lmp: Any, axes: Axes) -> np.ndarray:
    """Velocities [n,3] Å/fs in the stored axes by ascending id."""
    n = int(lmp.extract_setting("nlocal"))
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    return axes.back(1e-3 * np.array(lmp.numpy.extract_atom("v")[:n])[order])


@dataclass(frozen=True, eq=False)
class Answer:
    """What LAMMPS says of a structure, in the axes and the order in which it was given."""

    energy: float
    """eV."""
    forces: np.ndarray
    """[n, 3] eV/Å."""
    stress: np.ndarray | None
    """[3, 3] eV/Å³, positive under tension; None for a force field without."""
    atomic_energies: np.ndarray
    """[n] eV."""


def run_zero(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True, device: str = "cpu") -> Answer:
    """Energy, forces and stress of a structure, computed by `field` and taken from LAMMPS after `run 0`."""
    lmp = open_lammps()
    try:
        axes, elements = place(lmp, z, pos, cell, pbc)
        driven = LammpsField(field, lmp, elements=elements, axes=axes, device=device)
        lmp.commands_list(list(ASKED))
        driven.command("run 0")
        n = len(z)
        order = np.argsort(lmp.numpy.extract_atom("id")[:n])
        forces = axes.back(np.array(lmp.numpy.extract_atom("f")[:n])[order])
        each = np.array(lmp.numpy.extract_compute("each", 1, 1)[:n])[order]
        stress = None
        if driven.has_stress:
            xx, yy, zz, xy, xz, yz = np.array(lmp.numpy.extract_compute("virial", 0, 1)) / -lmp.extract_global("nktv2p")
            tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            stress = axes.turn @ tensor @ axes.turn.T
        return Answer(float(lmp.get_thermo("pe")), forces, stress, each)
    finally:
        lmp.close()
