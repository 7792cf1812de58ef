"""The references of the controls: runs of the analytic field by our own MD, and of hopping ions; made once, kept in the store."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from grannfield import provenance
from grannfield.controls import Control
from grannfield.controls.analytic import AnalyticField
from grannfield.controls.hopping import hopping
from grannfield.data.checksum import sha256_of_file
from grannfield.data.material import Material
from grannfield.data.reference import Reference, Run
from grannfield.data.store import write_trajectory
from grannfield.files import locked, write_atomically
from grannfield.md.protocol import Protocol
from grannfield.md.simulate import simulate
from grannfield.trajectory import Trajectory

CODE = (
    "controls", "md", "forcefield.py", "graph.py", "neighbors.py", "candidates.py", "all_pairs.py", "loops.py", "units.py",
)  # fmt: skip
HALVES = ("first", "second")
DROP = 0.3
PRODUCTION_PS = 6.0
"""At least: from 5 ps on there is a diffusivity."""
RAMP = 1000.0
"""fs."""
HOPPING_PS = 50.0
HOPPING_TEMPERATURES = (800.0, 1000.0, 1200.0)
"""K. Hopping costs nothing, so that there is always enough of it for an Arrhenius line."""
LABELS = {"analytic": "analytic field", "hopping": "hopping with known D"}


@dataclass(frozen=True, eq=False)
class ControlRuns:
    """What the controls of one material are held against, and the motion that `replay` and `hopper` stand for."""

    material: Material
    kind: str
    """"analytic" or "hopping"."""
    temperatures: tuple[float, ...]
    """K."""
    production: float
    """fs of each of the two productions."""
    seed: int
    store: Path

    @classmethod
    def of(
        cls, control: Control, material: Material, temperatures: tuple[float, ...], length: float, seed: int, store: Path
    ) -> ControlRuns:
        """For a control in a material; `temperatures` in K and `length` in fs are those of the runs it is held against."""
        if control.name == "hopper":
            return cls(material, "hopping", HOPPING_TEMPERATURES, (1 - DROP) * 1e3 * HOPPING_PS, seed, store)
        return cls(material, "analytic", temperatures, max(1e3 * PRODUCTION_PS, (1 - DROP) * length), seed, store)

    def folder(self, temperature: float) -> Path:
        """Where the runs at a temperature are kept, by a hash of all that determines them."""
        about = [self.kind, self.material.formula, temperature, self.production, self.seed, provenance.code_hash(*CODE)]
        structure = self.material.structure
        arrays = hashlib.sha256(np.concatenate([structure.pos, structure.cell]).tobytes()).hexdigest()
        key = hashlib.sha256(json.dumps([*about, arrays]).encode()).hexdigest()[:24]
        return self.store / "controls" / key

    def run(self, temperature: float, half: str) -> Run:
        """The run of one half, "first" or "second", made now where it is not there."""
        folder = self.folder(temperature)
        with locked(folder, wait=True):
            if not (folder / "done.json").exists():
                self._make(folder, temperature)
            sums = json.loads((folder / "done.json").read_text(encoding="utf-8"))["sha256"]
        trajectory = sums[half]
        return Run(
            path=folder / f"{half}.h5", temperature=temperature, ramp_ps=trajectory["ramp_ps"], length_ps=trajectory["length_ps"],
            interval_fs=trajectory["interval_fs"], seed=self.seed, sha256=trajectory["sha256"], drop=DROP,
            described_in=str(folder / "done.json"),
        )  # fmt: skip

    def reference(self) -> Reference:
        """The second halves, as the reference of the material."""
        runs = tuple(self.run(temperature, "second") for temperature in self.temperatures)
        return Reference(
            name=f"control-{self.kind}", kind="control", maker=LABELS[self.kind], thermostat="Nosé-Hoover chain" if self.kind ==
            "analytic" else "none", runs=runs, drop=DROP, material=self.material.formula,
            notes="Made by the suite itself to test its own columns; it says nothing about the material.",
        )  # fmt: skip

    def _make(self, folder: Path, temperature: float) -> None:
        halves = (self._hopping if self.kind == "hopping" else self._analytic)(folder, temperature)
        about: dict[str, Any] = {}
        for name, trajectory in halves.items():
            path = write_trajectory(folder / f"{name}.h5", trajectory, {"temperature": temperature, "seed": self.seed})
            length = trajectory.n_frames * trajectory.timestep * 1e-3
            ramp = 0.0 if self.kind == "hopping" else RAMP * 1e-3
            about[name] = {
                "sha256": sha256_of_file(path),
                "ramp_ps": ramp,
                "length_ps": length,
                "interval_fs": trajectory.timestep,
            }
        write_atomically(folder / "done.json", json.dumps({"sha256": about, "made_on": provenance.stamp()}, indent=1))
        shutil.rmtree(folder / "partial", ignore_errors=True)

    def _hopping(self, folder: Path, temperature: float) -> dict[str, Trajectory]:
        seeds = np.random.SeedSequence(self.seed, spawn_key=(round(temperature),)).generate_state(2)
        length = self.production / (1 - DROP)
        return {half: hopping(self.material, temperature, length, int(s)) for half, s in zip(HALVES, seeds, strict=True)}

    def _analytic(self, folder: Path, temperature: float) -> dict[str, Trajectory]:
        """One run: equilibration, first production, second production; each half is stored with as much before it."""
        whole = self.production * (1 / (1 - DROP) + 1)
        protocol = Protocol(temperature, length=whole, ramp=RAMP, timestep=self.material.timestep, interval=10.0, drop=0.0)
        field, start = AnalyticField().eval(), self.material.structure
        seed = int(np.random.SeedSequence(self.seed, spawn_key=(round(temperature), 7)).generate_state(1)[0])
        label = f"control reference {self.material.short} {temperature:g} K"
        made = simulate(
            field, start.z, start.pos, start.cell, protocol, [seed], folder=folder / "partial", label=label,
        )[0]  # fmt: skip
        if made.trajectory is None or made.failure is not None:
            raise RuntimeError(f"the controls' own field failed in {self.material.formula} at {temperature:g} K: {made.failure}")
        each = round(self.production / (1 - DROP) / protocol.interval)
        first, second = made.trajectory[:each], made.trajectory[-each:]
        return {"first": first, "second": replace(second, time=first.time)}
