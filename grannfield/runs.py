"""MD runs as results: when and how each ended, and what of it may be analysed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from grannfield.analysis.fusion import Failure
from grannfield.analysis.uncertainty import EXPLODED, FUSED, TOO_SHORT, Estimate
from grannfield.md.simulate import EngineFailure, MDRun
from grannfield.score import NotAvailable
from grannfield.trajectory import Trajectory

FEWEST_FRAMES = 20
"""Production frames below which g(r) and densities are not worth a number."""
COLD = 0.5
"""Of the temperature asked for; what has less without the motion of its centre of mass has come to rest."""


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One MD run with its first failure, from the engine or from the frames, and what may be analysed of it."""

    run: MDRun
    temperature: float
    failure: Failure | EngineFailure | None
    made_on: tuple[dict[str, Any], ...] = ()
    """Hardware, versions and date of what moved the atoms, which need not be the machine that scores."""
    pointer: dict[str, Any] = field(default_factory=dict)
    """Where it is kept: file below the store, SHA-256, seed, protocol."""

    @property
    def watched(self) -> float:
        """fs until the failure, or the whole length."""
        return max(0.0, self.failure.time) if self.failure else self.run.protocol.length

    @property
    def cold(self) -> bool:
        """Whether a run without a failure is of a crystal at rest that flies as a whole.

        Forces that do not add up to zero speed the whole up; a thermostat that holds the kinetic energy takes it from the atoms.
        """
        return self.failure is None and self.run.internal_temperature < COLD * self.temperature

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


def replicas(runs: Iterable[ScoredRun]) -> list[int]:
    """Which of the runs at its temperature each one is, counted from 0."""
    seen: Counter[float] = Counter()
    found = []
    for run in runs:
        found.append(seen[run.temperature])
        seen[run.temperature] += 1
    return found


def by_run(found: Sequence[tuple[ScoredRun, Estimate]]) -> list[dict[str, Any]]:
    """What each run says, as every column keeps it: paired comparisons between models read this."""
    which = replicas(run for run, _ in found)
    return [{"temperature_K": run.temperature, "replica": r} | one.parts() for (run, one), r in zip(found, which, strict=True)]
