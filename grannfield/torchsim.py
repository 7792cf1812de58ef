"""Any force field of the package as a TorchSim model: many systems of any sizes at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grannfield.forcefield import ForceField, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import AllPairs, neighbor_graph
from grannfield.plugin import field_of

if TYPE_CHECKING:
    from torch_sim.state import SimState

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as problem:
    raise ImportError(
        "grannfield.torchsim needs TorchSim: pip install 'torch-sim-atomistic>=0.3,<0.4', or grannfield[torchsim]"
    ) from problem

MOST_BY_PAIRS = 400
"""Atoms of a system up to which a GPU tests all pairs; beyond, neighbours are searched by cells on the processor."""


class GraNNFieldModel(ModelInterface):  # type: ignore[misc,unused-ignore]
    """Energies [B] eV, forces [N,3] eV/Å, for conservative fields stresses [B,3,3] eV/Å³, and energies of atoms [N] eV.

    field: a ForceField, which is copied, the path of a checkpoint or of its folder, or the words of `--model`. dtype: of
    TorchSim's state and of what it gets back, float64 or float32; the network computes in `precision`, by default dtype
    (`float32`, `tf32` or `float64`). compute_stress: by default where the forces are the gradient of an energy;
    NotImplementedError where they are not.

    Neighbours are searched as everywhere in the package: in any cell, for atoms anywhere. Raises UnsupportedElement for atoms the
    field was not trained on.
    """

    def __init__(
        self,
        field: ForceField | str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        precision: str | None = None,
        compute_stress: bool | None = None,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"TorchSim's state in {dtype}: positions are never below float32; use torch.float32 or torch.float64"
            )
        self._device, self._dtype = torch.device(device), dtype
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use device='cpu'")
        made = copy.deepcopy(field) if isinstance(field, ForceField) else field_of(field)
        weightless = not any(True for _ in made.parameters())  # an analytic field: in double precision whatever is asked
        wanted = None if weightless else precision or str(dtype).removeprefix("torch.")
        self.field = to_precision(made, wanted).to(self._device).eval().requires_grad_(False)
        self._compute_forces = True
        self._compute_stress = self.field.conservative
        self._memory_scales_with = "n_atoms_x_density"
        if compute_stress is not None:
            self.compute_stress = compute_stress

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are given."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        if wanted and not self.field.conservative:
            raise NotImplementedError(
                f"{self.field.name} predicts forces directly; it has no energy gradient and so no stress: no NPT, no moving cells"
            )
        self._compute_stress = bool(wanted)

    @property
    def compute_forces(self) -> bool:
        """Always: forces and energies are computed together."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        if not wanted:
            raise NotImplementedError("energies and forces are computed together")

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """What TorchSim asks for, of all systems in its state, which is not changed."""
        given = _fields(state)
        graph = self.graph(**given)
        with torch.enable_grad():  # whatever TorchSim switched off: forces are a gradient
            prediction = self.field.predict(graph, stress=self._compute_stress)
        told = {
            "energy": prediction.energy.to(self._dtype),
            "forces": prediction.forces.detach().to(self._dtype),
        }
        if prediction.stress is not None:
            told["stress"] = prediction.stress.to(self._dtype)
        if prediction.atomic_energies is not None:
            told["energies"] = prediction.atomic_energies.detach().to(self._dtype)
        return told

    def graph(self, positions: Tensor, cell: Tensor, pbc: Any, atomic_numbers: Tensor, system_idx: Tensor) -> AtomGraph:
        """Neighbours of all systems, each searched by itself; cell [B,3,3] has lattice vectors as columns, as in TorchSim."""
        self.field.require_elements(atomic_numbers.cpu())
        rows = cell.transpose(-2, -1).double()
        if not torch.isfinite(positions).all():
            raise ValueError("positions hold NaN or infinity: the motion has failed")
        periodic = torch.as_tensor(pbc, dtype=torch.bool).cpu()
        counts = torch.bincount(system_idx, minlength=len(cell)).tolist()
        if min(counts, default=0) == 0:
            raise ValueError("a system of the state has no atoms")
        if not bool((system_idx[1:] >= system_idx[:-1]).all()):
            raise ValueError("atoms of a system must stand together: system_idx is not ascending")
        parts = zip(positions.double().split(counts), rows, atomic_numbers.split(counts), strict=True)
        graphs = [
            self._one(pos, own, z, periodic if periodic.dim() < 2 else periodic[b]) for b, (pos, own, z) in enumerate(parts)
        ]
        return collate([graph.to(self._device) for graph in graphs])

    def _one(self, pos: Tensor, cell: Tensor, z: Tensor, pbc: Tensor) -> AtomGraph:
        """The neighbours of one system: on a GPU by all pairs where they are few, else by cells on the processor."""
        periodic, pos, cell = pbc.expand(3).numpy(), pos.detach(), cell.detach()
        if pos.device.type == "cpu" or len(z) > MOST_BY_PAIRS:
            return neighbor_graph(z.cpu().numpy(), pos.cpu().numpy(), cell.cpu().numpy(), self.field.cutoff, periodic)
        return AllPairs(z.cpu(), cell[None], self.field.cutoff, periodic)(pos[None])


def _fields(state: SimState | dict[str, Any]) -> dict[str, Any]:
    """What a force field needs of a state, or of a dictionary with the same names."""
    read = state.get if isinstance(state, dict) else lambda name: getattr(state, name, None)
    given = {name: read(name) for name in ("positions", "cell", "pbc", "atomic_numbers", "system_idx")}
    if given["system_idx"] is None and given["positions"] is not None:
        given["system_idx"] = torch.zeros(len(given["positions"]), dtype=torch.int64, device=given["positions"].device)
    if given["pbc"] is None:
        given["pbc"] = True
    if missing := [name for name, value in given.items() if value is None]:
        raise ValueError(f"the state has no {', '.join(missing)}")
    return given
