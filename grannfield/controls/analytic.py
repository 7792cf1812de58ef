"""An analytic force field of the benchmark's materials: cheap, smooth, stable for ever, with ions that move.

It is no model of nature. Ions feel Morse wells and exponential walls; the framework is tied to the sites of the ideal crystal by
springs that move along with it, so that total momentum is conserved and the whole may drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.controls import PREFIX
from grannfield.data.material import load_material, materials
from grannfield.forcefield import ForceField, Prediction, UnsupportedElement
from grannfield.graph import AtomGraph
from grannfield.provenance import code_hash
from grannfield.units import formula, masses, number

CUTOFF, SWITCH = 5.0, 1.0
"""Å: where pair energies end, and over which length they are switched off."""
TETHER = 1.0
"""eV/Å², of the springs of the framework; at 1000 K alone they would let atoms wander by 0.5 Å rms."""
PAIRS: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("Li", "S"): (0.30, 1.6, 2.45, 1.0),
    ("P", "S"): (2.0, 1.8, 2.05, 1.0),
    ("Ge", "S"): (2.0, 1.8, 2.22, 1.0),
    ("S", "S"): (0.12, 1.5, 3.3, 0.0),
    ("Li", "Li"): (0.15, 1.4, 2.9, 0.0),
    ("Li", "P"): (0.20, 1.6, 2.8, 0.0),
    ("Ge", "Li"): (0.20, 1.6, 2.8, 0.0),
    ("P", "P"): (0.20, 1.5, 3.3, 0.0),
    ("Ge", "P"): (0.20, 1.5, 3.3, 0.0),
    ("Ge", "Ge"): (0.20, 1.5, 3.3, 0.0),
}
"""D (eV), a (1/Å), r_0 (Å) and whether there is a well, of D x (x - 2 c) with x = exp(a (r_0 - r)): a Morse bond with c = 1
(10.1103/PhysRev.34.57), its wall alone with c = 0. Chosen so that Li hops at 800-1200 K."""
ELEMENTS = tuple(sorted({number(name) for pair in PAIRS for name in pair}))


@dataclass(frozen=True, eq=False)
class Crystal:
    """The ideal crystal a frame belongs to, and where that frame stands in it."""

    framework: Tensor
    """[m] indices of the framework's atoms."""
    mass: Tensor
    """[n, 1] u."""
    away: Tensor
    """[B, m, 3] Å, of the framework's atoms from their sites, the mean over them removed."""
    drift: Tensor
    """[B, 3] Å, how far the centre of mass of all atoms has gone, followed without jumps as long as positions are unwrapped."""
    pos: Tensor
    """[B, n, 3] Å, in the frame of the framework."""
    cell: Tensor
    """[B, 3, 3] Å."""


class Crystals(nn.Module):
    """The ideal structures of all materials whose elements the pair table has; a graph is known by its atoms' order."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[tuple[str, Tensor, Tensor]] = []
        for name in materials():
            material = load_material(name)
            z = torch.tensor(material.structure.z)
            if set(z.tolist()) <= set(ELEMENTS):
                framework = (z != number(material.mobile_ion)).nonzero().squeeze(1)
                self.known.append((material.formula, z, framework))
                self.register_buffer(f"site_{material.formula}", torch.tensor(material.structure.pos, dtype=torch.float64))

    def place(self, graph: AtomGraph) -> Crystal:
        """Where the frames of a graph stand; UnsupportedElement for a crystal that is none of the materials'."""
        n = graph.atoms_per_graph or len(graph.z) // graph.n_graphs
        for name, z, framework in self.known:
            if len(z) == n and torch.equal(graph.z[:n], z):
                return _placed(graph, getattr(self, f"site_{name}"), framework, z)
        raise UnsupportedElement(f"the controls' field knows the cells of {', '.join(k[0] for k in self.known)}, "
                                 f"not {formula(graph.z[:n].numpy())} in this order")  # fmt: skip


def _placed(graph: AtomGraph, site: Tensor, framework: Tensor, z: Tensor) -> Crystal:
    """Displacements from sites relative to the first framework atom's are small, and are those of the nearest image."""
    cell = graph.cell.double()
    pos = graph.pos.double().view(len(cell), -1, 3)
    gone = pos - site
    first = gone[:, framework[:1]]
    relative = gone[:, framework] - first
    relative = relative - torch.round(relative @ torch.linalg.inv(cell)) @ cell
    mean = relative.mean(dim=1, keepdim=True)
    mass = torch.tensor(masses(z.numpy())).view(-1, 1)
    drift = (mass * gone).sum(dim=1) / mass.sum()
    return Crystal(framework, mass, relative - mean, drift, pos - first - mean, cell)


class AnalyticField(ForceField):
    """Pair energies of the neighbours, and springs that tie the framework to its crystal."""

    symmetry = "translations (the crystal's axes are fixed)"
    pairs: Tensor
    softened = False
    """Whether the wall between Li and S gives way below GIVES_WAY, into a well."""

    def __init__(self) -> None:
        super().__init__(CUTOFF)
        self.elements, self.name = ELEMENTS, "analytic field"
        self.crystals = Crystals()
        table = torch.zeros(max(ELEMENTS) + 1, max(ELEMENTS) + 1, 4, dtype=torch.float64)
        for (a, b), values in PAIRS.items():
            table[number(a), number(b)] = table[number(b), number(a)] = torch.tensor(values, dtype=torch.float64)
        self.register_buffer("pairs", table)
        self.settings = {"control": f"{PREFIX}exact", "tether": TETHER, "code": code_hash("controls")}

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(edge_vec, dim=-1)
        depth, width, bond, well = self.pairs[z.unsqueeze(1), z[graph.neighbors]].unbind(-1)
        x = torch.exp(width * (bond - distance))
        energy = depth * x * (x - 2 * well)
        if self.softened:
            energy = self.gives_way(energy, distance, z, graph)
        fade = smooth_step((distance - (self.cutoff - SWITCH)) / SWITCH)
        return 0.5 * (energy * (1 - fade) * graph.mask).sum(1)

    def gives_way(self, energy: Tensor, distance: Tensor, z: Tensor, graph: AtomGraph) -> Tensor:
        """Pair energies [N, K] changed at short distances."""
        raise NotImplementedError

    def predict(self, graph: AtomGraph, *, stress: bool = False, create_graph: bool = False) -> Prediction:
        """Energy and forces; ValueError for stress and training, which a control is not for."""
        if stress or create_graph:
            raise ValueError(f"{self.name} is a control: it has no stress, and nothing that could be trained")
        found = super().predict(graph)
        crystal = self.crystals.place(graph)
        energy = found.energy + 0.5 * TETHER * crystal.away.square().sum(dim=(1, 2))
        return Prediction(energy, found.forces + on_framework(-TETHER * crystal.away, crystal))


def on_framework(forces: Tensor, crystal: Crystal) -> Tensor:
    """Forces on the framework's atoms [B, m, 3] as forces on all [B n, 3]."""
    everywhere = torch.zeros_like(crystal.pos)
    everywhere[:, crystal.framework] = forces
    return everywhere.view(-1, 3)


def smooth_step(x: Any) -> Any:
    """0 below 0, 1 above 1, with two continuous derivatives: 6 x⁵ - 15 x⁴ + 10 x³.

    >>> smooth_step(torch.tensor([-1.0, 0.5, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    x = x.clamp(0, 1)
    return x**3 * (10 - 15 * x + 6 * x * x)
