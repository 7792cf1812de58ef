"""How much is done: lengths, sizes and budgets of a scale, from scales.toml."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any

from grannfield.forcefield import reduced_settings
from grannfield.presets import PRESETS, Preset


@dataclass(frozen=True)
class Scale:
    """Everything that a plan fixes but its seed."""

    what: str
    preset: str
    """Of the suite: MD lengths, temperatures, replicas, test frames."""
    training: str
    """The material trained on."""
    materials: tuple[str, ...]
    """Those moved and scored."""
    reduced: bool
    """Whether models too large for a processor are trained at a smaller size."""
    speed_seconds: float
    """For the steps of one model, and for its training steps."""
    speed_rounds: int
    """Of the training steps that are compared."""
    train_minutes: dict[str, float]
    """Device time of training, by model, in the order in which they are taken up."""
    validation_frames: int = 60
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of models, instead of those of their size."""
    halved: bool = False
    """Whether the weights of a finished training are rounded to 16 bits, half the size; what is moved and scored is these."""
    max_steps: int | None = None
    """Steps after which a training ends even if there is time left."""

    @property
    def suite(self) -> Preset:
        return PRESETS[self.preset]

    def settings_of(self, model: str) -> dict[str, Any]:
        """What a model is made with, beyond its defaults (the size of Table 1)."""
        if model in self.settings:
            return self.settings[model]
        return reduced_settings(model) if self.reduced else {}

    def as_plan(self) -> dict[str, Any]:
        """Everything that decides the results, as JSON would give it back."""
        known = asdict(self) | {"preset": asdict(self.suite), "settings": {m: self.settings_of(m) for m in self.train_minutes}}
        del known["what"]
        plan: dict[str, Any] = json.loads(json.dumps(known))
        return plan


def _read() -> dict[str, Scale]:
    tables = tomllib.loads(resources.files("grannfield.reproduce").joinpath("scales.toml").read_text(encoding="utf-8"))
    return {name: Scale(**{**table, "materials": tuple(table["materials"])}) for name, table in tables.items()}


SCALES = _read()
