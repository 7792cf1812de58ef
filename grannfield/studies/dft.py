"""Real DFT: models trained on labels of density functional theory, their forces on frames of other iterations and materials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.dataset import FrameSet
from grannfield.motion import Subject
from grannfield.plugin import SHIPPED, Named
from grannfield.studies import forces
from grannfield.studies.labelled_sets import RULE, LabelledSet, Sets, divided, nearest, read_sets, source_of
from grannfield.studies.pieces import Piece
from grannfield.studies.training import VALIDATION_FRAMES, Training

SCORING_S = 60.0
REFERENCE = "DFT"
INDEPENDENT = """frames count as independent; those of one folder repeat each other to an extent that unordered frames do not \
show, so that intervals are rather too narrow"""


@dataclass(frozen=True, eq=False)
class Dft:
    """Models trained on the sets of a folder, beside the shipped weights, which learnt from the surrogate."""

    models: tuple[str, ...]
    data: Path
    species: tuple[str, ...]
    minutes: float
    """Of device time, for each training."""
    seed: int
    device: str
    state: Path
    test: str = ""
    validation: str = ""
    name: str = "dft"

    @cached_property
    def sets(self) -> Sets:
        return divided(read_sets(self.data, self.species), self.test, self.validation)

    @property
    def tested(self) -> list[LabelledSet]:
        return [self.sets.test, *self.sets.others]

    @cached_property
    def label(self) -> str:
        """What the labels of training and test are, by the hash of the frames."""
        sources = dict.fromkeys(source_of(one.frames) for one in (*self.sets.train, self.sets.test))
        return f"{REFERENCE}: {'; '.join(filter(None, sources)) or 'source not stated'}"

    @cached_property
    def trainings(self) -> dict[str, Training]:
        """By model."""

        def parts() -> tuple[FrameSet, FrameSet]:
            return self.sets.training, self.sets.validation.frames.spread(VALIDATION_FRAMES)

        source = {
            "material": self.sets.test.composition, "reference": self.label, "split": "by folder",
            "data": [one.name for one in self.sets.train],
        }  # fmt: skip
        return {
            model: Training(model, f"{model}:DFT", parts, self.minutes, self.seed, self.device, self.state, source)
            for model in self.models
        }

    @cached_property
    def shipped(self) -> dict[str, Subject]:
        """By model the weights that come with the package, where there are any."""
        from grannfield.forcefield import load

        paths = {model: SHIPPED / f"{model}.safetensors" for model in self.models}
        return {m: Subject(Named(m, f"{m}:shipped", p), load(p)) for m, p in paths.items() if p.is_file()}

    def pieces(self) -> list[Piece]:
        found = [self._forces(f"forces:{model}:shipped", subject) for model, subject in self.shipped.items()]
        for training in self.trainings.values():
            found += [training.piece, self._forces(f"forces:{training.label}", training)]
        return found

    def _forces(self, name: str, of: Training | Subject) -> Piece:
        training = of if isinstance(of, Training) else None

        def subject() -> Subject:
            return of.subject if isinstance(of, Training) else of

        def done() -> bool:
            ready = training is None or training.done
            return ready and all(forces.made(subject(), one.frames, self.state) for one in self.tested)

        def do() -> None:
            for one in self.tested:
                forces.make(subject(), one.frames, self.state, self.device)

        needs = () if training is None else (training.piece.name,)
        return Piece(name, SCORING_S * len(self.tested), done, do, needs)

    def report(self, failed: dict[str, str]) -> dict[str, Any]:
        done = {model: training for model, training in self.trainings.items() if training.done}
        return {
            "question": "forces of models trained on DFT labels, on frames of another iteration and of another material",
            "reference": self.label,
            "settings": {
                "models": list(self.models), "train_minutes": self.minutes, "seed": self.seed, "device": self.device,
                "split": RULE if not (self.test or self.validation) else "whole folders, as named on the command line",
                "validation_frames": VALIDATION_FRAMES,
            },
            "sets": [{"role": role, **one.about} for role, one in self.sets.roles()],
            "nearest": self._nearest(),
            "intervals": INDEPENDENT,
            "trainings": {training.label: training.about for training in done.values()},
            "rows": [row for model in self.models for row in self._rows(model, failed)],
        }  # fmt: skip

    def _nearest(self) -> dict[str, Any]:
        """Whether test frames have a double among the training frames: distances to the nearest, beside those within the set."""
        test, found = self.sets.test.frames, {}
        pairs = {"to_training": (self.sets.training, False), "within_test": (test, True)}
        for key, (others, same) in pairs.items():
            distance = nearest(test, others, same)
            found[key] = {"smallest_A": float(distance.min()), "median_A": float(np.median(distance)), "n": len(distance)}
        return found

    def _rows(self, model: str, failed: dict[str, str]) -> list[dict[str, Any]]:
        training, rows = self.trainings[model], []
        for one in self.tested:
            about = {"model": model, "tested_on": one.name, "composition": one.composition}
            if training.done:
                row = forces.cell(training.subject, one.frames, self.state, one.name) | self._energy(training.subject, one)
            else:
                why = failed.get(training.piece.name, "")
                row = {"reason": "training failed" if why else "not run", "detail": why}
            rows.append(about | {"trained_on": f"{REFERENCE}: the sets that train"} | row)
            if model in self.shipped:
                told = {"trained_on": learnt(self.shipped[model]), "weights": self.shipped[model].identity}
                rows.append(about | told | forces.cell(self.shipped[model], one.frames, self.state, one.name))
        return rows

    def _energy(self, subject: Subject, one: LabelledSet) -> dict[str, Any]:
        """Energy errors where the labels share the zero of the training's: its own composition, from the same source."""
        found = forces.judged(subject, one.frames, self.state, one.name)
        if found is None or one is not self.sets.test:
            return {}
        return {"energy_mae_meV_per_atom": found.energy_errors.mae_per_atom.parts(1e3)}


def learnt(subject: Subject) -> str:
    """What shipped weights were trained on and how long: not the budget of this study."""
    story = subject.field.provenance
    minutes = f", {story['budget_s'] / 60:g} min" if "budget_s" in story else ""
    return f"{story.get('reference', 'not stated')} (shipped weights {subject.identity[:10]}{minutes})"
