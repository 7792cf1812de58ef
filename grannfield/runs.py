"""MD runs as results: when and how each ended, what of it may be analysed, and their files."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from grannfield.analysis.fusion import Failure
from grannfield.analysis.uncertainty import EXPLODED, FUSED, TOO_SHORT
from grannfield.data.store import read_attributes, read_trajectory, write_trajectory
from grannfield.files import write_atomically
from grannfield.md.simulate import EngineFailure, MDRun, Protocol
from grannfield.score import NotAvailable
from grannfield.trajectory import Trajectory

FEWEST_FRAMES = 20
"""Production frames below which g(r) and densities are not worth a number."""


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One MD run with its first failure, from the engine or from the frames, and what may be analysed of it."""

    run: MDRun
    temperature: float
    failure: Failure | EngineFailure | None

    @property
    def watched(self) -> float:
        """fs until the failure, or the whole length."""
        return max(0.0, self.failure.time) if self.failure else self.run.protocol.length

    @cached_property
    def production(self) -> Trajectory | None:
        """Frames after equilibration and before any failure."""
        found = self.run.production()
        if found is None or self.failure is None:
            return found
        kept = found.time < self.failure.time
        return found[kept] if kept.any() else None

    def require_production(self, fewest: int = FEWEST_FRAMES) -> Trajectory:
        """The production frames, or NotAvailable with the reason why there are too few."""
        found = self.production
        if found is not None and found.n_frames >= fewest:
            return found
        if self.failure is not None:
            raise NotAvailable(REASON_OF[self.failure.cause], self.ending)
        raise NotAvailable(TOO_SHORT, f"{0 if found is None else found.n_frames} production frames, {fewest} are needed")

    @property
    def ending(self) -> str:
        """How the run ended, in words."""
        if self.failure is None:
            return "no failure"
        return f"{self.failure.cause} at {self.failure.time * 1e-3:.2f} ps, {self.temperature:g} K: {self.failure.detail}"


REASON_OF = {
    "fusion": FUSED,
    "non-finite": EXPLODED,
    "runaway": EXPLODED,
    "overflow": EXPLODED,
    "melt": EXPLODED,
    "broken tetrahedron": EXPLODED,
}
"""The n/a code for each cause of failure."""


def store_runs(folder: Path, runs: list[MDRun]) -> None:
    """Keep finished runs: one H5 file each, and what else is known of them; the unfinished pieces go."""
    notes = []
    for r, run in enumerate(runs):
        if run.trajectory is not None:
            write_trajectory(folder / f"run-{r}.h5", run.trajectory, {"seed": run.seed})
        note = {
            "seed": run.seed,
            "seconds": run.seconds,
            "drift": run.drift,
            "failure": None if run.failure is None else asdict(run.failure),
        }
        note["internal_temperature"] = run.internal_temperature if np.isfinite(run.internal_temperature) else None
        notes.append(note)
    write_atomically(folder / "done.json", json.dumps(notes, indent=1))
    shutil.rmtree(folder / "partial", ignore_errors=True)


def stored_runs(folder: Path, protocol: Protocol) -> list[MDRun]:
    """Runs kept by `store_runs`."""
    runs = []
    for r, note in enumerate(json.loads((folder / "done.json").read_text())):
        path = folder / f"run-{r}.h5"
        trajectory = read_trajectory(path) if path.exists() else None
        if trajectory is not None and read_attributes(path).get("seed") != note["seed"]:
            raise ValueError(f"{path} does not belong to {folder / 'done.json'}; delete {folder}")
        failure = None if note["failure"] is None else EngineFailure(**note["failure"])
        internal = float("nan") if note["internal_temperature"] is None else note["internal_temperature"]
        runs.append(MDRun(protocol, note["seed"], trajectory, failure, note["seconds"], note["drift"], internal))
    return runs
