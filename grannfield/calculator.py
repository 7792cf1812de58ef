"""Any force field of the package as an ASE calculator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import CalculationFailed, Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from grannfield.forcefield import ForceField, to_precision
from grannfield.neighbors import neighbor_graph
from grannfield.plugin import field_of

MOST_IMAGES = 100_000
"""Images of the cell within the cut-off of one atom; more come from a cell that is no crystal's, and would fill the memory."""


class GraNNFieldCalculator(Calculator):
    """Energy (eV), forces (eV/Å), per-atom energies and, for conservative fields, stress (eV/Å³) of ASE atoms.

    field: a ForceField, the path of a checkpoint or of its folder, or the words of `--model`. device: cpu or cuda.
    dtype: of the network, a torch type or `float32`, `tf32`, `float64`; by default the field's own. A field that another
    precision or device is asked for is copied, not changed.

    Atoms may lie outside the cell and be periodic in any directions; stress needs all three, and an energy that the forces are
    the gradient of: PropertyNotImplementedError says which is missing. Nothing is computed again for atoms that did not change in
    numbers, positions, cell or pbc. Raises UnsupportedElement for atoms the field was not trained on, ValueError for
    positions or cells without meaning, CalculationFailed for energies or forces that are not finite.

    >>> from ase.build import bulk
    >>> from grannfield.testing import LennardJones
    >>> argon = bulk("Ar", "fcc", a=5.4, cubic=True)
    >>> argon.calc = GraNNFieldCalculator(LennardJones())
    >>> bool(abs(argon.get_forces()).max() < 1e-12)
    True
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012  (ASE's name and type)
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012  (ASE's name and type)
    """What no force field of the package depends on."""

    def __init__(
        self, field: ForceField | str | Path, device: str = "cpu", dtype: torch.dtype | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.field = _prepared(field, device, dtype)
        self.device = device
        if not self.field.conservative:
            self.implemented_properties = [name for name in type(self).implemented_properties if name != "stress"]

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """ASE's entrance to all results; says why there is no stress before anything is computed."""
        about = self.atoms if atoms is None else atoms
        if name == "stress" and not self.field.conservative:
            raise PropertyNotImplementedError(
                f"{self.field.name} predicts forces directly; it has no energy gradient and so no stress"
            )
        if name == "stress" and about is not None and not np.all(about.pbc):
            raise PropertyNotImplementedError(f"stress needs atoms periodic in all directions; pbc is {about.pbc.tolist()}")
        return super().get_property(name, atoms, allow_calculation)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Compute all properties at once: one gradient gives forces and stress."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.results = {}
        z, pbc = self.atoms.numbers, self.atoms.pbc
        self.field.require_elements(z)
        _require_cell(np.asarray(self.atoms.cell), pbc, self.field.cutoff)
        graph = neighbor_graph(z, self.atoms.positions, np.asarray(self.atoms.cell), self.field.cutoff, pbc)
        stress = self.field.conservative and bool(np.all(pbc))
        prediction = self.field.predict(graph.to(self.device), stress=stress)
        energy, forces = float(prediction.energy[0]), prediction.forces.double().cpu().numpy()
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise CalculationFailed(f"{self.field.name}: energy {energy:g} eV and forces of {len(z)} atoms are not all finite")
        results = {"energy": energy, "free_energy": energy, "forces": forces}
        if prediction.atomic_energies is not None:
            results["energies"] = prediction.atomic_energies.double().cpu().numpy()
        if prediction.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())
        self.results = results


def _prepared(field: ForceField | str | Path, device: str, dtype: torch.dtype | str | None) -> ForceField:
    """The field on its device in its precision; one that was given as an object is copied where that would change it."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use device='cpu'")
    if not isinstance(field, ForceField):
        return to_precision(field_of(field), dtype).to(device).eval()
    wanted = dtype if dtype is None or isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    elsewhere = any(p.device.type != torch.device(device).type for p in field.state_dict().values())
    if elsewhere or wanted not in (None, field.precision):
        field = copy.deepcopy(field)
    return to_precision(field, dtype).to(device).eval()


def _require_cell(cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> None:
    """ValueError for lattice vectors that are not finite, or so short or flat that no neighbour search would end."""
    if not np.isfinite(cell).all():
        raise ValueError(f"the cell {cell.tolist()} is not finite")
    if not np.any(pbc):
        return
    lengths = np.linalg.norm(cell, axis=1)[pbc]
    if (lengths < 1e-6).any():
        raise ValueError(f"atoms are periodic along a lattice vector of no length (cell {cell.tolist()}, pbc {pbc.tolist()})")
    if not np.all(pbc):
        return
    volume = abs(np.linalg.det(cell))
    if volume < 1e-6 * np.prod(lengths):
        raise ValueError(f"the lattice vectors {cell.tolist()} lie in a plane: the cell has no volume")
    if (images := 4.19 * cutoff**3 / volume) > MOST_IMAGES:
        raise ValueError(f"the cell of {volume:.3g} Å³ has {images:.1e} images within {cutoff:g} Å of an atom: is it in Å?")
