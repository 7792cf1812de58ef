"""The framework a page draws the ions' ways in: cell, tetrahedra and atoms of the ideal structure."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from grannfield.data.material import Material
from grannfield.html.packs import rounded
from grannfield.units import symbol

CORNERS = 4
REACH = 1.35
"""A ligand belongs to a tetrahedron up to this many times the shortest distance from its centre."""


def framework(material: Material) -> dict[str, Any]:
    """Cell [3, 3] Å, tetrahedra with their corners, and all other framework atoms, by element; positions in Å inside the cell."""
    ideal = material.structure
    names = [symbol(int(z)) for z in ideal.z]
    inside = (ideal.pos @ np.linalg.inv(ideal.cell)) % 1.0 % 1.0 @ ideal.cell
    centres, ligand = material.tetrahedra or ((), "")
    ligands = inside[[name == ligand for name in names]]
    units = []
    for name, at in zip(names, inside, strict=True):
        if name in centres and (corners := _corners(at, ligands, ideal.cell)) is not None:
            units.append({"centre": name, "at": at, "corners": corners})
    drawn = {u["centre"] for u in units} | ({ligand} if units else set())
    rest = [[name, *at] for name, at in zip(names, inside, strict=True) if name not in drawn | {material.mobile_ion}]
    found: dict[str, Any] = rounded(
        {
            "short": material.short,
            "formula": material.formula,
            "mobile": material.mobile_ion,
            "ligand": ligand,
            "cell": ideal.cell,
            "tetrahedra": [[u["centre"], u["at"].tolist(), u["corners"].tolist()] for u in units],
            "atoms": [[name, *map(float, at)] for name, *at in rest],
        },
        5,
    )
    return found


def _corners(at: np.ndarray, ligands: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
    """The four ligands nearest to a centre [4, 3], whichever image; None where there are fewer within reach."""
    if not len(ligands):
        return None
    images = (ligands[:, None] + np.array(list(product((-1, 0, 1), repeat=3))) @ cell).reshape(-1, 3)
    distance = np.linalg.norm(images - at, axis=1)
    nearest = np.argsort(distance, kind="stable")[:CORNERS]
    whole = len(nearest) == CORNERS and distance[nearest[-1]] <= REACH * distance[nearest[0]]
    found: np.ndarray = images[nearest]
    return found if whole else None
