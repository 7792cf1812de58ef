"""ASE calculators, sound and otherwise, to be named on the command line."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones


def sound(rc: float = 5.0) -> LennardJones:
    return LennardJones(sigma=2.0, epsilon=0.05, rc=rc, smooth=True)


class Wrapped(Calculator):
    """Lennard-Jones with something done to it; no stress."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, kind: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.inner = kind, sound()

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        inside = atoms.copy()
        if self.kind == "single":
            inside.positions = inside.positions.astype(np.float32)
        inside.calc = self.inner
        energy, forces = inside.get_potential_energy(), inside.get_forces()
        if self.kind == "single":
            energy, forces = float(np.float32(energy)), forces.astype(np.float32)
        if self.kind == "noisy":
            energy += 1e-6 * np.random.normal()  # noqa: NPY002
        if self.kind == "softened":
            forces = 0.9 * forces
        if self.kind == "stepped":
            distances = inside.get_all_distances()
            energy += 0.01 * ((distances > 3.5) & (distances < 4.7)).sum()
        self.results = {"energy": energy, "forces": forces}


class EnergyOnly(Calculator):
    implemented_properties = ["energy"]  # noqa: RUF012
