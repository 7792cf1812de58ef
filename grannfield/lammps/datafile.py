"""A structure as a LAMMPS data file that says how it was turned and which element each type is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grannfield import units
from grannfield.files import write_atomically
from grannfield.lammps.axes import Axes


def write_data_file(path: Path, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, title: str = "") -> Axes:
    """Write z [n], pos [n,3] Å and cell [3,3] Å, periodic in all directions, for `read_data` with atom_style atomic.

    Types are numbered by atomic number and labelled with symbols, which LAMMPS knows since 2022; the first line holds the turn
    from the structure's axes to LAMMPS', which `grannfield lammps run` reads. Returns that turn.
    """
    z, axes = np.asarray(z), Axes.of_cell(cell)
    turned = axes.cell_into(cell)
    fractional = axes.into(np.asarray(pos, dtype=float)) @ np.linalg.inv(turned)
    images = np.floor(fractional + 1e-12).astype(int)
    place = axes.into(np.asarray(pos, dtype=float)) - images @ turned
    numbers = np.unique(z)
    lines = [f"{title or units.formula(z)}; {axes.words}", "", f"{len(z)} atoms", f"{len(numbers)} atom types", ""]
    lines += [f"0 {turned[k, k]:.15g} {name}lo {name}hi" for k, name in enumerate("xyz")]
    lines += [f"{turned[1, 0]:.15g} {turned[2, 0]:.15g} {turned[2, 1]:.15g} xy xz yz", "", "Atom Type Labels", ""]
    lines += [f"{t} {units.symbol(int(n))}" for t, n in enumerate(numbers, 1)]
    lines += ["", "Masses", ""]
    lines += [f"{t} {units.masses(np.array([n]))[0]:.10g}" for t, n in enumerate(numbers, 1)]
    lines += ["", "Atoms # atomic", ""]
    for i, (number, x, image) in enumerate(zip(z, place, images, strict=True), 1):
        at = " ".join(f"{value:.15g}" for value in x)
        lines.append(f"{i} {int(np.searchsorted(numbers, number)) + 1} {at} {' '.join(map(str, image))}")
    write_atomically(path, "\n".join(lines) + "\n")
    return axes
