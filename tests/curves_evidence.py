"""Evidence made up for tests: runs of a real material whose motion, failures and predictions are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from grannfield.analysis.fusion import Failure
from grannfield.data.dataset import FrameSet, gather
from grannfield.data.material import load_material
from grannfield.harness import Predictions, ReferenceData
from grannfield.md.simulate import MDRun, Protocol
from grannfield.runs import ScoredRun
from grannfield.trajectory import Trajectory

FORMULA = "Li3PS4"
DATA = ReferenceData(load_material(FORMULA), load_material(FORMULA).reference())
NUMBERS = count()
"""So that no two made-up models share kept curves."""
SPEED = 2e-3
"""Å/fs, of every ion along x."""


@dataclass
class MadeUp:
    """Evidence of one model in one material."""

    reports: Path
    scored: list[ScoredRun]
    predicted: Predictions | None = None
    label: str = "made-up"
    missing: str = ""
    read: int = 0
    results: Any = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.number = next(NUMBERS)
        self.results = SimpleNamespace(label=self.label, protocol={"split": "windows"})

    def reference(self, formula: str) -> ReferenceData:
        return DATA

    def of_kind(self, formula: str, kind: str) -> list[dict[str, Any]]:
        return [{"kind": kind, "one": self.number}]

    def runs(self, formula: str) -> list[Any]:
        if self.missing:
            raise LookupError(self.missing)
        return [SimpleNamespace(sha256=f"{k:064d}", scored=self._reader(one)) for k, one in enumerate(self.scored)]

    def predictions(self, formula: str, column: str) -> Predictions | None:
        return self.predicted

    def _reader(self, one: ScoredRun) -> Any:
        def scored() -> ScoredRun:
            self.read += 1
            return one

        return scored


def run_of(trajectory: Trajectory, temperature: float, length: float, failed_at: float | None = None) -> ScoredRun:
    """A run with 30% equilibration, and a failure where one is planted."""
    protocol = Protocol(temperature=temperature, length=length, ramp=100.0, timestep=2.0, interval=10.0)
    failure = None if failed_at is None else Failure(failed_at, 0, "fusion", "planted")
    return ScoredRun(MDRun(protocol, 7, trajectory, None, 1.0, 0.0, temperature), temperature, failure)


def drifting(n_frames: int = 201) -> Trajectory:
    """The ideal structure whose ions all move along x at one speed."""
    structure, time = DATA.material.structure, 10.0 * np.arange(n_frames)
    pos = np.repeat(structure.pos[None], n_frames, axis=0)
    pos[:, structure.z == 3, 0] += SPEED * time[:, None]
    return Trajectory(z=structure.z, pos=pos, cell=structure.cell, time=time)


def predictions(slope: float) -> Predictions:
    """Forces that are `slope` times the reference's, energies 1 eV off."""
    run = DATA.trajectory(1000.0)
    frames: FrameSet = gather([run], [np.arange(0, 200, 10)])
    return Predictions(frames, frames.energy + 1.0, slope * frames.forces, "frames made up", {}, (1000.0,))
