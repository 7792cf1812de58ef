"""Any force field of the package as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from grannfield.forcefield import ForceField, load, to_precision
from grannfield.neighbors import neighbor_graph


class GraNNFieldCalculator(Calculator):
    """Energy (eV), forces (eV/Å), per-atom energies and, for conservative fields, stress (eV/Å³) of ASE atoms.

    field: a ForceField or the path of a checkpoint. Atoms may lie outside the cell and be periodic in any directions;
    stress needs all three. Raises UnsupportedElement for atoms the field was not trained on.

    >>> from ase.build import bulk
    >>> from grannfield.testing import LennardJones
    >>> argon = bulk("Ar", "fcc", a=5.4, cubic=True)
    >>> argon.calc = GraNNFieldCalculator(LennardJones())
    >>> bool(abs(argon.get_forces()).max() < 1e-12)
    True
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012  (ASE's name and type)

    def __init__(
        self, field: ForceField | str | Path, device: str = "cpu", dtype: torch.dtype | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        loaded = field if isinstance(field, ForceField) else load(field)
        self.field = to_precision(loaded, dtype).to(device).eval()
        self.device = device

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        z, pbc = self.atoms.numbers, self.atoms.pbc
        self.field.require_elements(z)
        graph = neighbor_graph(z, self.atoms.positions, np.asarray(self.atoms.cell), self.field.cutoff, pbc)
        stress = self.field.conservative and bool(np.all(pbc))
        prediction = self.field.predict(graph.to(self.device), stress=stress)
        energy = float(prediction.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": prediction.forces.double().cpu().numpy()}
        if prediction.atomic_energies is not None:
            self.results["energies"] = prediction.atomic_energies.double().cpu().numpy()
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())
