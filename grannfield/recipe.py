"""How a model is trained and judged: recipes, the loss, and the errors on a set of frames.

Loss (definitions: "Training"): mean squared error of the energy per structure plus 1000 times the mean squared error of the
force components, both in units of one scale, the rms training force component. In eV and eV/Å that is
(E - E')² + 1000 Å² (F - F')², divided by the scale squared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.graphset import GraphSet

FORCE_WEIGHT = 1000.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the defaults are for a small budget, `PAPER` is the literal rule."""

    name: str = "default"
    batch_size: int = 2
    """Frames differentiated at once."""
    accumulate: int = 1
    """Batches whose gradients are added before the weights move."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-6
    factor: float = 0.8
    """Of the learning rate at a plateau."""
    patience: int = 5
    """Validations without improvement before the learning rate falls."""
    smallest_learning_rate: float = 1e-6
    ema: float = 0.999
    warm_ema: bool = True
    """EMA decay min(ema, (1+n)/(10+n)) after n steps; otherwise `ema` from the first step."""
    validate_every_epoch: bool = False
    """Otherwise a validation every max(1 s, budget/20)."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.accumulate < 1:
            raise ValueError(f"a step of {self.accumulate} batches of {self.batch_size} frames has nothing to learn from")

    @property
    def step_size(self) -> int:
        """Frames of one step of the optimiser."""
        return self.batch_size * self.accumulate

    def decay(self, step: int) -> float:
        """EMA decay after `step` steps.

        >>> round(Recipe().decay(90), 3), PAPER.decay(90)
        (0.91, 0.999)
        """
        return min(self.ema, (1 + step) / (10 + step)) if self.warm_ema else self.ema


PAPER = Recipe(name="paper", warm_ema=False, validate_every_epoch=True)
RECIPES = {"default": Recipe(), "paper": PAPER}


class TrainingError(RuntimeError):
    """Training cannot start, or broke."""


def loss_of(energy: Tensor, forces: Tensor, energy_label: Tensor | None, forces_label: Tensor | None, scale: Tensor) -> Tensor:
    """The training loss of a batch: energy [B] eV, forces [N,3] eV/Å and their labels, scale in eV/Å."""
    assert energy_label is not None and forces_label is not None
    by_energy = ((energy - energy_label) / scale).square().mean()
    by_force = ((forces.double() - forces_label) / scale).square().mean()
    return by_energy + FORCE_WEIGHT * by_force


def evaluate(field: ForceField, graphs: GraphSet, batch_size: int = 8) -> dict[str, float]:
    """Loss, energy MAE (eV/atom), force MAE (eV/Å) and force R² over a set of frames."""
    energy, forces = [], []
    for start in range(0, len(graphs), batch_size):
        prediction = field.predict(graphs.batch(slice(start, start + batch_size)).to(field.scale.scale.device))
        energy.append(prediction.energy.to(graphs.energy.device))
        forces.append(prediction.forces.to(graphs.energy.device).double().view(-1, *graphs.forces.shape[1:]))
    predicted, pushed = torch.cat(energy), torch.cat(forces)
    residual = (pushed - graphs.forces).square().sum()
    total = (graphs.forces - graphs.forces.mean()).square().sum()
    return {
        "loss": float(loss_of(predicted, pushed, graphs.energy, graphs.forces, field.scale.scale.to(predicted.device))),
        "energy_mae": float((predicted - graphs.energy).abs().mean()) / len(graphs.z),
        "force_mae": float((pushed - graphs.forces).abs().mean()),
        "force_r2": float(1 - residual / total),
    }
