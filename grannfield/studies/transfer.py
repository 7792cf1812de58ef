"""Transfer: models trained on each material, their forces on the held-out frames of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grannfield.data.dataset import FrameSet, frames
from grannfield.data.material import Material, load_material
from grannfield.studies import forces
from grannfield.studies.pieces import Piece
from grannfield.studies.training import Training, on_material

SCORING_S = 30.0
"""About what the forces on one set of test frames take."""
HELD_OUT = "held-out time windows"


@dataclass(frozen=True, eq=False)
class Transfer:
    """The matrix of one call: every model, trained on each material, all with the same budget."""

    models: tuple[str, ...]
    formulas: tuple[str, ...]
    minutes: float
    """Of device time, for each training."""
    seed: int
    device: str
    state: Path
    test_frames: int = 200
    name: str = "transfer"

    @cached_property
    def materials(self) -> dict[str, Material]:
        return {material.formula: material for material in map(load_material, self.formulas)}

    @cached_property
    def tests(self) -> dict[str, FrameSet]:
        """By formula the frames on which every model is scored, whatever it was trained on: no model has seen one of them."""
        return {
            formula: frames(material, material.reference(), "test", "windows", self.test_frames)
            for formula, material in self.materials.items()
        }

    @cached_property
    def trainings(self) -> dict[tuple[str, str], Training]:
        """By model and formula."""
        how = self.minutes, self.seed, self.device, self.state
        return {
            (model, formula): on_material(model, f"{model}:{material.short}", material, material.reference(), *how)
            for model in self.models
            for formula, material in self.materials.items()
        }

    def pieces(self) -> list[Piece]:
        found = []
        for training in self.trainings.values():
            found += [training.piece, self._forces(training)]
        return found

    def _forces(self, training: Training) -> Piece:
        def done() -> bool:
            return training.done and all(forces.made(training.subject, test, self.state) for test in self.tests.values())

        def do() -> None:
            for test in self.tests.values():
                forces.make(training.subject, test, self.state, self.device)

        return Piece(f"forces:{training.label}", SCORING_S * len(self.tests), done, do, (training.piece.name,))

    def report(self, failed: dict[str, str]) -> dict[str, Any]:
        done = {key: training for key, training in self.trainings.items() if training.done}
        cells = [self._cell(*key, tested, failed) for key in self.trainings for tested in self.materials]
        return {
            "question": "force errors of models trained on each material, on held-out frames of every material",
            "reference": {formula: material.reference().label for formula, material in self.materials.items()},
            "settings": {
                "models": list(self.models), "materials": list(self.materials), "train_minutes": self.minutes, "seed": self.seed,
                "device": self.device, "split": "windows", "test_frames": self.test_frames,
            },
            "tests": {formula: self._test(formula) for formula in self.materials},
            "trainings": {training.label: training.about for training in done.values()},
            "cells": cells,
            "prices": prices(cells),
        }  # fmt: skip

    def _test(self, formula: str) -> dict[str, Any]:
        material, test = self.materials[formula], self.tests[formula]
        runs = {run.path.name: run.sha256 for run in material.reference().runs}
        return {"short": material.short, "frames": len(test), "what": HELD_OUT, "sha256": test.sha256, "reference_runs": runs}

    def _cell(self, model: str, formula: str, tested: str, failed: dict[str, str]) -> dict[str, Any]:
        training = self.trainings[model, formula]
        about = {"model": model, "trained_on": formula, "tested_on": tested}
        if not training.done:
            why = failed.get(training.piece.name, "")
            return about | {"reason": "training failed" if why else "not run", "detail": why}
        temperatures = [run.temperature for run in self.materials[tested].reference().runs]
        return about | forces.cell(training.subject, self.tests[tested], self.state, HELD_OUT, temperatures)


def prices(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What it costs to have been trained on another material: MAE of such a model minus that of one trained on the material."""
    own = {(one["model"], one["tested_on"]): one for one in cells if one["trained_on"] == one["tested_on"]}
    found = []
    for one in cells:
        home = own.get((one["model"], one["tested_on"]))
        if one is not home and home is not None and not (one["reason"] or home["reason"]):
            about = {key: one[key] for key in ("model", "trained_on", "tested_on")}
            found.append(about | {key: forces.price(home, one, key) for key in ("force_r2", "force_mae_meV_per_A")})
    return found
