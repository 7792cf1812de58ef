"""Training: one loop for all models, on a budget of time, resumable, with the learning curve as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from grannfield import forcefield, provenance
from grannfield.budget import WALL, Clock
from grannfield.compiled import Mode
from grannfield.data.dataset import FrameSet
from grannfield.energy import Energy, Meter
from grannfield.files import write_atomically
from grannfield.forcefield import ForceField
from grannfield.graphset import GraphSet
from grannfield.learning import Descent, Losses, TrainingStep
from grannfield.memory import keep_freed_memory
from grannfield.progress import progress
from grannfield.recipe import FORCE_WEIGHT, RECIPES, Recipe, TrainingError, evaluate
from grannfield.train_folder import as_csv, claim, held, identity_of, read_state


def fit(
    field: ForceField,
    train: FrameSet,
    validation: FrameSet,
    folder: str | Path,
    *,
    budget_s: float,
    recipe: Recipe = RECIPES["default"],
    seed: int = 0,
    device: str = "cpu",
    source: dict[str, Any] | None = None,
    max_steps: int | None = None,
    compiling: Mode = "auto",
    clock: Clock = WALL,
    halved: bool = False,
) -> Path:
    """Train `field` for `budget_s` seconds in all and return the checkpoint with the lowest validation loss.

    An infinite budget leaves the end to `max_steps`, with a validation after every twentieth of them.

    `folder` receives best.safetensors, curve.csv, train.json and last.safetensors, from which the next call with the same
    arguments goes on, with the same batches; a larger budget continues a finished training. `clock` counts training and
    validation, not the preparation of the data. `source` is kept in the checkpoint (data, split); `compiling` is the mode of
    `grannfield.compiled` for the step; `halved` rounds the weights of the finished checkpoint to 16 bits. TrainingError when the
    folder belongs to another training or another process, or the loss becomes NaN.
    """
    if not budget_s > 0 or (max_steps is not None and max_steps < 1):
        raise TrainingError(f"a budget of {budget_s:g} s and {max_steps} steps leaves nothing to train for")
    if math.isinf(budget_s) and max_steps is None:
        raise TrainingError("a training without a budget of time needs a number of steps")
    if field.name not in forcefield.registered():
        raise TrainingError(f"{field.name} is not a registered model, so no checkpoint could say how to rebuild it; use `create`")
    keep_freed_memory()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        identity = identity_of(field, train, validation, recipe, seed)
        claim(folder, identity)
        if not (folder / "last.safetensors").exists():
            field.scale.fit(train.z, train.energy, train.forces)
            field.elements = tuple(int(a) for a in np.unique(train.z))
        field.to(device).train()
        trainer = _Trainer(field, folder, recipe, seed, budget_s, source or {}, len(train), clock)
        trainer.resume()
        if not (trainer.finished(max_steps) and trainer.validated_here):
            known, unseen = (
                GraphSet.build(s.z, s.pos, s.cell, field.cutoff, s.energy, s.forces).near(device) for s in (train, validation)
            )
            try:
                with Meter(device) as trainer.meter:
                    trainer.run(TrainingStep(trainer.descent, known, recipe, mode=compiling), unseen, max_steps)
            except KeyboardInterrupt:
                if trainer.whole:
                    trainer.read_losses()
                    trainer.keep()
                raise
        trainer.state_totals(halved)
    return folder / "best.safetensors"


class _Trainer:
    """The state of one training and what advances it."""

    def __init__(
        self,
        field: ForceField,
        folder: Path,
        recipe: Recipe,
        seed: int,
        budget_s: float,
        source: dict[str, Any],
        n_train: int,
        clock: Clock,
    ) -> None:
        self.field, self.folder, self.recipe, self.seed, self.source = field, folder, recipe, seed, source
        self.n_train, self.budget_s, self.clock = n_train, budget_s, clock
        self.descent = Descent(field, recipe)
        self.losses = Losses(self.descent.device, self._complaint)
        self.step, self.seconds, self.validated_at, self.best, self.since_best = 0, 0.0, 0.0, math.inf, 0
        self.plateau = math.inf
        self.meter: Meter | None = None
        self.spent_before: dict[str, Any] | None = None
        """Energy of earlier sittings."""
        self.curve: list[dict[str, float]] = []
        self.running: list[float] = []
        self.whole = True
        """False while weights, averages and counters belong to different steps."""

    @property
    def samples(self) -> int:
        """Frames seen, with repetition; a set smaller than the batch is taken whole at every step."""
        return self.step * min(self.recipe.step_size, self.n_train)

    @property
    def steps_per_epoch(self) -> int:
        """Full steps in one permutation of the training frames."""
        return max(1, self.n_train // self.recipe.step_size)

    @property
    def validated_step(self) -> int:
        """Step of the last validation, 0 before the first."""
        return int(self.curve[-1]["step"]) if self.curve else 0

    @property
    def validated_here(self) -> bool:
        return self.validated_step == self.step > 0

    def finished(self, max_steps: int | None) -> bool:
        """Whether the budget is spent, or the learning rate has reached its floor under the paper's rule."""
        floor = self.recipe.name == "paper" and self.descent.learning_rate <= self.recipe.smallest_learning_rate
        return self.seconds >= self.budget_s or floor or (max_steps is not None and self.step >= max_steps)

    def run(self, advance: TrainingStep, validation: GraphSet, max_steps: int | None) -> None:
        start = self.clock.now() - self.seconds
        by_steps = max_steps if max_steps is not None and math.isinf(self.budget_s) else None
        whole, unit = (self.budget_s, "s") if by_steps is None else (by_steps, "steps")
        between = max(1.0, whole / 20)
        with progress(whole, f"training {self.field.name}", unit) as bar:
            bar.update(self.seconds if by_steps is None else self.step)
            while not (self.finished(max_steps) and self.validated_here):
                if not self.finished(max_steps):
                    self._step(advance)
                    now = self.clock.now() - start
                    bar.update(now - self.seconds if by_steps is None else 1)
                    self.seconds = now
                if self._due(between) or self.finished(max_steps):
                    self._validate(validation)
                    self.seconds = self.validated_at = self.clock.now() - start
                    self.keep()
                    bar.set_postfix_str(f"force MAE {self.curve[-1]['force_mae'] * 1e3:.0f} meV/Å", refresh=False)

    def _due(self, between: float) -> bool:
        """Whether it is time to validate: `between` seconds (steps, where only they are counted), or an epoch, after the last."""
        if self.recipe.validate_every_epoch:
            return self.step // self.steps_per_epoch > self.validated_step // self.steps_per_epoch
        if math.isinf(self.budget_s):
            return self.step - self.validated_step >= between
        return self.seconds - self.validated_at >= between

    def _step(self, advance: TrainingStep) -> None:
        seed = int(np.random.SeedSequence(self.seed, spawn_key=(1, self.step)).generate_state(1)[0])
        decay = self.recipe.decay(self.step + 1)
        self.running += advance(self.step, self._frames(self.step), seed, decay, self.losses, self._counted)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """The weights move by one step, and the count with them."""
        with self._indivisible():
            yield
            self.step += 1

    def _complaint(self, loss: float, step: int) -> str:
        return (
            f"the loss of {self.field.name} is {loss} at step {step}; the last good state is in {self.folder}: "
            "lower the learning rate, or look for wrong labels"
        )

    def read_losses(self) -> None:
        """Wait for the losses of all steps; TrainingError when one is not a number."""
        self.running += self.losses.all()

    def _frames(self, step: int) -> np.ndarray:
        """Frames of a step: each epoch is a permutation that depends on the seed and the epoch alone."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,))).permutation(self.n_train)
        return order[position * self.recipe.step_size : (position + 1) * self.recipe.step_size]

    def _validate(self, validation: GraphSet) -> None:
        self.read_losses()
        with self.descent.averaged(self._indivisible):
            errors = evaluate(self.field, validation)
        if not math.isfinite(errors["loss"]):
            raise TrainingError(
                f"the validation loss of {self.field.name} is {errors['loss']} after step {self.step}; the last good state is in "
                f"{self.folder}: lower the learning rate, or look for wrong labels"
            )
        with self._indivisible():
            self._record(errors)

    def _record(self, errors: dict[str, float]) -> None:
        """Learning rate, learning curve and, after an improvement, the checkpoint."""
        improved = errors["loss"] < self.best
        lr = self.descent.learning_rate
        if errors["loss"] < self.plateau * (1 - 1e-4):
            self.plateau, self.since_best = errors["loss"], 0
        else:
            self.since_best += 1
        if self.since_best > self.recipe.patience:
            self.since_best = 0
            self.descent.learning_rate = max(lr * self.recipe.factor, self.recipe.smallest_learning_rate)
        row = {"step": self.step, "samples": self.samples, "epochs": round(self.samples / self.n_train, 4)}
        row |= {"seconds": round(self.seconds, 2), "learning_rate": lr, "train_loss": float(np.mean(self.running or [math.nan]))}
        self.curve.append({**row, **{f"{'validation_' if key == 'loss' else ''}{key}": value for key, value in errors.items()}})
        self.running = []
        if improved:
            self.best = errors["loss"]
            with self.descent.averaged(self._indivisible):
                self.field.provenance = self._story(errors)
                forcefield.save(self.field, self.folder / "best.safetensors")

    def _story(self, errors: dict[str, float]) -> dict[str, Any]:
        """What a checkpoint says about how it came to be."""
        return {
            **self.source,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            **({} if math.isinf(self.budget_s) else {"budget_s": self.budget_s}),
            "clock": self.clock.name,
            "seconds": round(self.seconds, 1),
            "steps": self.step,
            "samples": self.samples,
            "epochs": round(self.samples / self.n_train, 3),
            "samples_per_s": round(self.samples / max(self.seconds, 1e-9), 2),
            "training_frames": self.n_train,
            "scale_eV_per_A": float(self.field.scale.scale),
            "loss": f"(dE/eV)^2 + {FORCE_WEIGHT:g} (dF/(eV/A))^2, both over scale^2",
            "validation": errors,
            **provenance.stamp(self.descent.device.type, self.field.precision),
        }

    @contextmanager
    def _indivisible(self) -> Iterator[None]:
        """What an interruption may not cut in two: the state is `whole` again only when all of it is done."""
        before, self.whole = self.whole, False
        yield
        self.whole = before

    def keep(self) -> None:
        """Write everything needed to go on, and the learning curve."""
        from safetensors.torch import save

        numbers = {
            "step": self.step,
            "seconds": self.seconds,
            "validated_at": self.validated_at,
            "best": self.best,
            "plateau": self.plateau,
            "since_best": self.since_best,
            "learning_rate": self.descent.learning_rate,
            "elements": self.field.elements,
            "curve": self.curve,
            "energy": self.energy.kept,
        }
        packed = {key: value.detach().cpu().contiguous() for key, value in self.descent.tensors().items()}
        write_atomically(self.folder / "last.safetensors", save(packed, metadata={"training": json.dumps(numbers)}))
        write_atomically(self.folder / "curve.csv", as_csv(self.curve))
        write_atomically(
            self.folder / "train.json", json.dumps({"best_loss": self.best if self.curve else None, **self._story({})}, indent=1)
        )

    @property
    def energy(self) -> Energy:
        """Of training and validation so far, all sittings together."""
        here = Energy.missing("nothing was trained") if self.meter is None else self.meter.now()
        return here.after(self.spent_before)

    @property
    def totals(self) -> dict[str, Any]:
        """What the whole budget bought, beyond the best checkpoint."""
        epochs = self.samples / self.n_train
        per_second = self.samples / max(self.seconds, 1e-9)
        numbers = {
            "seconds": self.seconds,
            "steps": self.step,
            "samples": self.samples,
            "epochs": epochs,
            "samples_per_s": per_second,
        }
        return {key: round(value, 3) for key, value in numbers.items()} | {"energy": self.energy.parts()}

    def state_totals(self, halved: bool) -> None:
        """Tell the finished checkpoint what the whole budget bought: Table 1 counts epochs within the budget."""
        path = self.folder / "best.safetensors"
        best = forcefield.load(path)
        best.provenance["whole_budget"] = self.totals
        if halved and "before_rounding" not in best.provenance:
            best.provenance["rounded"] = "to 16 bits; computed with in single precision"
            best.provenance["before_rounding"] = forcefield.weights_hash(best)
        forcefield.save(best, path, halved=halved)

    def resume(self) -> None:
        """Go on from last.safetensors, if there is one."""
        path = self.folder / "last.safetensors"
        if not path.exists():
            return
        numbers, tensors = read_state(path)
        if numbers["curve"] and not (self.folder / "best.safetensors").exists():
            raise TrainingError(f"{self.folder} has lost its best.safetensors; delete the folder to start again")
        self.descent.restore(tensors)
        self.field.elements = tuple(numbers["elements"])
        self.descent.learning_rate = numbers["learning_rate"]
        for key in ("step", "seconds", "validated_at", "best", "plateau", "since_best", "curve"):
            setattr(self, key, numbers[key])
        unknown = {"joules": None, "seconds": self.seconds, "reason": "earlier sittings did not measure it"}
        self.spent_before = numbers.get("energy", unknown)
