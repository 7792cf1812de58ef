"""How much is done: lengths, sizes and budgets of a scale, from scales.toml."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache
from importlib import resources
from typing import Any

from grannfield.forcefield import create, reduced_settings, split_name
from grannfield.presets import PRESETS, Preset
from grannfield.recipe import RECIPES
from grannfield.report.paper import table1

BUDGETS = ("time", "samples", "epochs")
"""What is equal for all models: device time (the paper's rule), frames seen, or the share of the epochs in Table 1."""
BESIDE = {"what", "behaviours", "largest_kept", "state_mb"}
"""What decides no result and is no part of a plan."""
BY_BUDGET = {"train_minutes": "time", "samples": "samples", "epoch_frames": "epochs"}
"""What a plan says of how long is trained, by the budget that it is for."""


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
    """At most so many; all there are under the paper's recipe."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of models, instead of those of their size."""
    halved: bool = False
    """Whether the weights of a finished training are rounded to 16 bits, half the size; what is moved and scored is these."""
    max_steps: int | None = None
    """Steps after which a training ends even if there is time left."""
    recipe: str = "default"
    budget: str = "time"
    samples: int = 0
    """Frames that each model sees under the budget of samples."""
    epoch_frames: int = 0
    """Frames that count as one epoch of Table 1 under the budget of epochs; the paper's training set had 30,000."""
    behaviours: tuple[str, ...] = ("default",)
    """Of each model, where none is named."""
    largest_kept: int | None = None
    """Parameters above which a model is trained, moved and scored in one call, and its weights are not kept after that."""
    state_mb: float | None = None
    """Above this size of the state a call says what may be deleted."""

    @property
    def suite(self) -> Preset:
        return PRESETS[self.preset]

    @property
    def models(self) -> list[str]:
        """All of the scale, as in `schnet` and `schnet@published`: a new architecture is worth more than the same once more."""
        return [name + BEHIND[behaviour] for behaviour in self.behaviours for name in self.train_minutes]

    def under(self, budget: str) -> Scale:
        """The same under another budget of training; ValueError where there is none of that name."""
        if budget not in BUDGETS:
            raise ValueError(f"no budget is called {budget!r}; there are {', '.join(BUDGETS)}")
        if (budget == "samples" and not self.samples) or (budget == "epochs" and not self.epoch_frames):
            raise ValueError(f"this scale does not say how many frames are seen under --budget {budget}; take another scale")
        return replace(self, budget=budget)

    def with_budget_of(self, plan: dict[str, Any]) -> Scale:
        """The same with the budget that the plan of a state says."""
        said = {key: plan[key] for key in ("budget", *BY_BUDGET) if key in plan}
        return replace(self, **{"budget": "time", **said})

    def settings_of(self, model: str) -> dict[str, Any]:
        """What a model is made with, beyond its defaults (the size of Table 1)."""
        name, behaviour = split_name(model)
        size = self.settings[name] if name in self.settings else reduced_settings(name) if self.reduced else {}
        return size | ({"as_published": True} if behaviour == "published" else {})

    def label(self, model: str) -> str:
        """Under which name its weights and results stand: rows of several budgets can stand side by side.

        >>> SCALES["tiny"].label("schnet@published"), SCALES["tiny"].under("samples").label("schnet@published")
        ('schnet@published', 'schnet@published@samples')
        """
        return model if self.budget == "time" else f"{model}@{self.budget}"

    def minutes(self, model: str) -> float:
        """Minutes of training, without end where the budget is not of time."""
        return self.train_minutes[split_name(model)[0]] if self.budget == "time" else math.inf

    def steps(self, model: str) -> int | None:
        """Steps of the optimiser that the budget allows; None where time alone ends a training.

        >>> SCALES["paper"].under("epochs").steps("cgcnn")  # 70 epochs of 30,000 frames, two a step
        1050000
        """
        if self.budget == "time":
            return self.max_steps
        frames = self.samples if self.budget == "samples" else self.epochs(model) * self.epoch_frames
        steps = math.ceil(frames / RECIPES[self.recipe].step_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def epochs(self, model: str) -> float:
        """Of Table 1: what ten hours of the paper's card sufficed for."""
        return float(table1()[split_name(model)[0]]["epochs_in_10h"])

    def allowance(self, model: str) -> str:
        """The budget of a model in words.

        >>> tiny = SCALES["tiny"]
        >>> tiny.allowance("cgcnn"), tiny.under("samples").allowance("cgcnn"), tiny.under("epochs").allowance("cgcnn")
        ('10 min of training', '10,000 frames of training', '70 epochs of 425 frames')
        """
        if self.budget == "time":
            return f"{self.minutes(model):g} min of training"
        if self.budget == "samples":
            return f"{self.samples:,} frames of training"
        return f"{self.epochs(model):g} epochs of {self.epoch_frames:,} frames"

    def sheds(self, model: str) -> bool:
        """Whether a model is too large for its weights to be kept."""
        return self.largest_kept is not None and parameters(model, json.dumps(self.settings_of(model))) > self.largest_kept

    def as_plan(self) -> dict[str, Any]:
        """Everything that decides the results, as JSON would give it back."""
        known = asdict(self) | {"preset": asdict(self.suite), "settings": {m: self.settings_of(m) for m in self.train_minutes}}
        other = {key for key, budget in BY_BUDGET.items() if budget != self.budget}
        plan: dict[str, Any] = json.loads(json.dumps({k: v for k, v in known.items() if k not in BESIDE | other}))
        return plan

    def before(self) -> dict[str, Any]:
        """What a plan means that was written before a part of it existed: what that part is where nobody says otherwise."""
        plan = self.as_plan()
        found = {one.name: one.default for one in fields(Scale) if one.default is not MISSING and one.name in plan}
        return found | {"preset": {one.name: one.default for one in fields(Preset) if one.default is not MISSING}}


BEHIND = {"default": "", "published": "@published"}
"""What stands behind a model's name for each behaviour."""


@cache
def parameters(model: str, settings: str) -> int:
    """How many a model has with settings given as JSON."""
    import torch

    with torch.random.fork_rng(devices=[]):
        return create(split_name(model)[0], **json.loads(settings)).n_parameters


def _read() -> dict[str, Scale]:
    tables = tomllib.loads(resources.files("grannfield.reproduce").joinpath("scales.toml").read_text(encoding="utf-8"))
    lists = ("materials", "behaviours")
    return {name: Scale(**table | {key: tuple(table[key]) for key in lists if key in table}) for name, table in tables.items()}


SCALES = _read()
