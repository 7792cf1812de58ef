"""Force fields with one known fault each, made from the analytic one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from grannfield import units
from grannfield.controls import Control, parsed
from grannfield.controls.analytic import CUTOFF, AnalyticField, Crystal, on_framework, smooth_step
from grannfield.forcefield import ForceField, Prediction
from grannfield.graph import AtomGraph

WAVELENGTH = 0.6
"""Å, of the smooth error of the forces: shorter than a vibration at 1000 K, so that it averages out along a run."""
PUSH_LENGTH = 0.5
"""Å, over which the drifting control is pushed."""
GIVES_WAY = (1.8, 2.15)
"""Å, between which the wall of Li-S gives way; at 1000 K the pair comes as near as 1.95 Å."""
WELL, WELL_RADIUS = 1.2, 1.2
"""eV and Å of the Gaussian well that is then there instead."""


class Disturbed(ForceField):
    """The analytic field with a force, and perhaps an energy, that it should not have."""

    symmetry = "none"

    def __init__(self, control: Control) -> None:
        super().__init__(CUTOFF)
        self.control, self.strength = control, control.strength
        self.analytic = AnalyticField()
        self.elements, self.name = self.analytic.elements, control.label
        self.settings = self.analytic.settings | {"control": control.label}

    def disturbance(self, crystal: Crystal) -> tuple[Tensor, Tensor]:
        """What is added: energies [B] in eV and forces [B n, 3] in eV/Å."""
        raise NotImplementedError

    def predict(self, graph: AtomGraph, *, stress: bool = False, create_graph: bool = False) -> Prediction:
        """Energy and forces, those of the analytic field and what is added."""
        found = self.analytic.predict(graph, stress=stress, create_graph=create_graph)
        energy, forces = self.disturbance(self.analytic.crystals.place(graph))
        return Prediction(found.energy + energy, found.forces + forces)


class Noisy(Disturbed):
    """Every force component wrong by sqrt(2) s sin(k.x + phi), each with a wave of its own of the atom's place in the crystal.

    The rms error is s, its mean size 2 sqrt(2)/pi s; the same positions give the same error, which is no gradient of anything.
    What all atoms have in common is taken off, so that the cell as a whole stays where it is.
    """

    conservative = False

    def disturbance(self, crystal: Crystal) -> tuple[Tensor, Tensor]:
        n = crystal.pos.shape[1]
        random = np.random.default_rng(n)
        direction = random.standard_normal((n, 3, 3))
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        # Whole numbers of waves along each lattice vector: an atom and its image have the same error.
        waves = torch.round(torch.tensor(direction) @ crystal.cell[0].T / WAVELENGTH)
        phase = torch.tensor(random.uniform(0, 2 * math.pi, (n, 3)))
        fractional = crystal.pos @ torch.linalg.inv(crystal.cell)
        angle = 2 * math.pi * torch.einsum("nxa,bna->bnx", waves, fractional) + phase
        forces = math.sqrt(2 * n / (n - 1)) * self.strength * torch.sin(angle)
        forces = forces - forces.mean(dim=1, keepdim=True)
        return torch.zeros(len(crystal.pos), dtype=torch.float64), forces.reshape(-1, 3)


class Swirling(Disturbed):
    """A force s (c x u) on every framework atom, u its distance from its site and c the axis (1, 1, 1): all curl, no energy."""

    conservative = False

    def disturbance(self, crystal: Crystal) -> tuple[Tensor, Tensor]:
        axis = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
        swirl = self.strength * torch.linalg.cross(axis.expand_as(crystal.away), crystal.away)
        return torch.zeros(len(crystal.pos), dtype=torch.float64), on_framework(swirl, crystal)


class Drifting(Disturbed):
    """A push on the centre of mass within PUSH_LENGTH of where it starts, after which everything coasts.

    U(s) = -M v²/2 erf(s/l), s the distance gone along (1, 1, 1): from s = 0 the cell gains the speed v, and keeps it. Every atom
    is accelerated alike, so that nothing moves within the cell.
    """

    def disturbance(self, crystal: Crystal) -> tuple[Tensor, Tensor]:
        axis = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
        gone = crystal.drift @ axis / PUSH_LENGTH
        speed = 1e-3 * self.strength
        acceleration = speed**2 / (math.sqrt(math.pi) * PUSH_LENGTH) * torch.exp(-gone.square())
        per_mass = acceleration / units.ACCELERATION  # eV/Å per u
        energy = -0.5 * speed**2 / units.ACCELERATION * crystal.mass.sum() * torch.erf(gone)
        forces = per_mass.view(-1, 1, 1) * crystal.mass * axis
        return energy, forces.reshape(-1, 3)


class Fusing(AnalyticField):
    """The wall between Li and S gives way in a close collision, and a well lies behind it."""

    softened = True

    def __init__(self, control: Control) -> None:
        super().__init__()
        self.name = control.label
        self.settings = self.settings | {"control": control.label}

    def gives_way(self, energy: Tensor, distance: Tensor, z: Tensor, graph: AtomGraph) -> Tensor:
        other = z[graph.neighbors]
        lithium, sulphur = units.number("Li"), units.number("S")
        pair = ((z.unsqueeze(1) == lithium) & (other == sulphur)) | ((z.unsqueeze(1) == sulphur) & (other == lithium))
        near, far = GIVES_WAY
        share = 1 - smooth_step((distance - near) / (far - near))
        well = -WELL * torch.exp(-((distance / WELL_RADIUS) ** 2))
        # Far inside, the wall itself would overflow before its share of zero could remove it.
        return torch.where(pair & (distance < far), energy.clamp(max=1e3) * (1 - share) + well * share, energy)


class Zero(ForceField):
    """No energy, no force."""

    def __init__(self, control: Control) -> None:
        super().__init__(CUTOFF)
        self.name, self.settings = control.label, {"control": control.label}

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        return torch.zeros(len(z), dtype=torch.float64)


class Exact(AnalyticField):
    """The analytic field as a model."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self.name = control.label


FIELDS: dict[str, Callable[[Control], ForceField]] = {
    "exact": Exact,
    "noise": Noisy,
    "nonconservative": Swirling,
    "drift": Drifting,
    "fusing": Fusing,
    "zero": Zero,
}


def control_field(spec: str) -> ForceField:
    """The force field of a control; ValueError for one that is motion alone."""
    control = parsed(spec)
    if control.name not in FIELDS:
        raise ValueError(f"{control.label} is motion without a force field: it can be scored, not asked for forces")
    return FIELDS[control.name](control).eval()
