"""Motion of the controls that have no force field, in the place of motion made elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.controls import Control
from grannfield.controls.reference import ControlRuns
from grannfield.data.material import Material
from grannfield.given import GivenRuns
from grannfield.given.run import GivenRun
from grannfield.given.stated import Stated


@dataclass(frozen=True, eq=False)
class ControlMotion(GivenRuns):
    """The first halves of a control's runs, made when they are asked for."""

    runs_of: Callable[[Material], ControlRuns] | None = None

    def read(self, material: Material) -> tuple[GivenRun, ...]:
        """The runs in a material, one for each temperature of the control's reference."""
        assert self.runs_of is not None
        if material.formula not in self.kept:
            made = self.runs_of(material)
            self.kept[material.formula] = tuple(_given(made, temperature) for temperature in made.temperatures)
        return self.kept[material.formula]

    @cached_property
    def identity(self) -> str:
        """Hash of the control and of the code that makes its motion."""
        return hashlib.sha256(f"{self.label} {provenance.code_hash('controls', 'md')}".encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """What a results file says of it."""
        return {"identity": self.identity, "potential": ""}

    @property
    def protocol(self) -> dict[str, Any]:
        """Nothing beside the preset's."""
        return {}


def control_motion(control: Control, runs_of: Callable[[Material], ControlRuns]) -> ControlMotion:
    """The motion of a control, not made yet."""
    return ControlMotion(Path("."), control.label, "", None, (), (), runs_of=runs_of)


def _given(made: ControlRuns, temperature: float) -> GivenRun:
    run = made.run(temperature, "first")
    stated = Stated(
        paths=(run.path,), where=f"{made.kind} control", seed=run.seed, material=made.material.formula, temperature=temperature,
        interval_fs=run.interval_fs, timestep_fs=made.material.timestep, species=(), format="", units="", wrapped=False,
        ramp_ps=0.0, equilibration_ps=None, length_ps=None, ended="complete",
    )  # fmt: skip
    return GivenRun(stated, made.material.trajectory(run), {run.path.name: run.sha256}, "GraNNField", ())
