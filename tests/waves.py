"""An ASE calculator with a known answer for every structure, and the ways in which calculators go wrong."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

LENGTH = 1.7
"""Å."""


class Waves(Calculator):
    """Every atom in a standing wave: `amplitude` eV times the cosines of x, y and z over a fixed length.

    forces_times: a mistake in the forces; noise: eV/Å that differ at every call; slow: s a call; breaks_after: calls until NaN;
    type_map: the elements known.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  (as ASE has it)

    def __init__(
        self, amplitude: float = 0.01, forces_times: float = 1.0, noise: float = 0.0, slow: float = 0.0,
        breaks_after: int = 10**9, type_map: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.amplitude, self.forces_times, self.noise, self.slow = amplitude, forces_times, noise, slow
        self.left, self.random = breaks_after, np.random.default_rng()
        if type_map is not None:
            self.type_map = type_map

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.slow)
        self.left -= 1
        phase = self.atoms.positions * (2 * np.pi / LENGTH)
        forces = self.forces_times * self.amplitude * 2 * np.pi / LENGTH * np.sin(phase)
        self.results["energy"] = self.amplitude * float(np.cos(phase).sum()) if self.left >= 0 else float("nan")
        self.results["forces"] = forces + self.noise * self.random.standard_normal(forces.shape)


class Networked(Waves):
    """The same with a network in it, as in fitted potentials."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
