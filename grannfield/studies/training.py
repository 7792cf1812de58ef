"""One training of a study, on the budget and the clock that `grannfield reproduce` gives its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grannfield.data.dataset import FrameSet, frames
from grannfield.data.material import Material
from grannfield.data.reference import Reference
from grannfield.motion import Subject
from grannfield.plugin import Named
from grannfield.reproduce.work import trained
from grannfield.studies.pieces import Piece

VALIDATION_FRAMES = 60


@dataclass(frozen=True, eq=False)
class Training:
    """A model, the frames it learns from, its budget and its seed."""

    model: str
    """Registered, or name@published."""
    label: str
    """What the trained model is called in a study."""
    sets: Callable[[], tuple[FrameSet, FrameSet]]
    """(training, validation) frames."""
    minutes: float
    seed: int
    device: str
    state: Path
    """Folder of the study."""
    source: dict[str, Any]
    """What the checkpoint is to say of its data."""

    @property
    def piece(self) -> Piece:
        return Piece(f"train:{self.label}", 60 * self.minutes, lambda: self.done, self.run)

    @cached_property
    def frames(self) -> tuple[FrameSet, FrameSet]:
        return self.sets()

    @cached_property
    def folder(self) -> Path:
        """Named by everything that makes it another training."""
        name = f"{self.label}-{self.minutes:g}min-seed{self.seed}-{self.frames[0].sha256[:8]}-{self.device.partition(':')[0]}"
        return self.state / "trained" / name.replace(" ", "_")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def done(self) -> bool:
        """Whether the whole budget has been spent."""
        return trained(self.checkpoint)

    def run(self) -> None:
        """Train, or go on with it; when it is over the best weights and the curve are kept."""
        import torch

        from grannfield.budget import device_clock
        from grannfield.forcefield import create
        from grannfield.train import fit

        training, validation = self.frames
        torch.manual_seed(self.seed)
        name, settings = named_settings(self.model, self.device)
        fit(
            create(name, **settings), training, validation, self.folder, budget_s=60 * self.minutes, seed=self.seed,
            device=self.device, source={**self.source, "training_data": training.sha256}, clock=device_clock(self.device),
        )  # fmt: skip
        (self.folder / "last.safetensors").unlink(missing_ok=True)

    @cached_property
    def subject(self) -> Subject:
        """The trained model."""
        from grannfield.forcefield import load

        return Subject(Named(self.label, self.label, self.checkpoint), load(self.checkpoint))

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of the weights and how they came to be."""
        from grannfield.forcefield import is_reduced

        field, (training, validation) = self.subject.field, self.frames
        story = field.provenance
        kept = ("material", "reference", "data", "seed", "budget_s", "clock", "training_frames", "validation", "whole_budget")
        found: dict[str, Any] = {"model": self.model, "weights": self.subject.identity, "reduced": is_reduced(field)}
        found |= {"n_parameters": field.n_parameters, "elements": list(field.elements or ())}
        found |= {key: story[key] for key in kept if key in story} | {"recipe": story["recipe"]["name"]}
        found |= {"best_after_s": story["seconds"], "training_sha256": training.sha256, "validation_sha256": validation.sha256}
        return found | {key: story[key] for key in ("hardware", "date", "versions") if key in story}


def named_settings(spec: str, device: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a model: at the size of Table 1, but on a processor a smaller one where that needs a GPU."""
    from grannfield.forcefield import reduced_settings, split_name

    name, behaviour = split_name(spec)
    settings = reduced_settings(name) if device.startswith("cpu") else {}
    return name, settings | ({"as_published": True} if behaviour == "published" else {})


def on_material(
    model: str, label: str, material: Material, reference: Reference, minutes: float, seed: int, device: str, state: Path
) -> Training:
    """A training on the first part of a reference's split, with the validation frames that `grannfield train` takes."""

    def sets() -> tuple[FrameSet, FrameSet]:
        limited = frames(material, reference, "validation", limit=VALIDATION_FRAMES)
        return frames(material, reference, "train"), limited

    source = {"material": material.formula, "reference": reference.label, "split": "windows"}
    return Training(model, label, sets, minutes, seed, device, state, source)
