"""Training: one loop for all models, on a budget of wall time, resumable, with the learning curve as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grannfield import forcefield, provenance
from grannfield.data.dataset import FrameSet
from grannfield.files import FolderBusy, locked, write_atomically
from grannfield.forcefield import ForceField
from grannfield.graphset import GraphSet
from grannfield.memory import keep_freed_memory
from grannfield.progress import progress
from grannfield.recipe import FORCE_WEIGHT, RECIPES, Recipe, TrainingError, evaluate, loss_of


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
) -> Path:
    """Train `field` for `budget_s` seconds in all and return the checkpoint with the lowest validation loss.

    `folder` receives best.safetensors, curve.csv, train.json and last.safetensors, from which the next call with the same
    arguments goes on, with the same batches; a larger budget continues a finished training. The clock counts training and
    validation, not the preparation of the data. `source` is kept in the checkpoint (data, split). TrainingError when the
    folder belongs to another training or another process, or the loss becomes NaN.
    """
    if not budget_s > 0 or (max_steps is not None and max_steps < 1):
        raise TrainingError(f"a budget of {budget_s:g} s and {max_steps} steps leaves nothing to train for")
    if field.name not in forcefield.registered():
        raise TrainingError(f"{field.name} is not a registered model, so no checkpoint could say how to rebuild it; use `create`")
    keep_freed_memory()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        identity = _identity(field, train, validation, recipe, seed)
        _claim(folder, identity)
        if not (folder / "last.safetensors").exists():
            field.scale.fit(train.z, train.energy, train.forces)
            field.elements = tuple(int(a) for a in np.unique(train.z))
        field.to(device).train()
        trainer = _Trainer(field, folder, recipe, seed, budget_s, source or {}, len(train))
        trainer.resume()
        if not (trainer.finished(max_steps) and trainer.validated_here):
            known, unseen = (
                GraphSet.build(s.z, s.pos, s.cell, field.cutoff, s.energy, s.forces).to(device) for s in (train, validation)
            )
            try:
                trainer.run(known, unseen, max_steps)
            except KeyboardInterrupt:
                if trainer.whole:
                    trainer.keep()
                raise
        trainer.state_totals()
    return folder / "best.safetensors"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder for this process alone; TrainingError when another one trains in it."""
    try:
        with locked(folder):
            yield
    except FolderBusy as problem:
        raise TrainingError(str(problem)) from problem


class _Trainer:
    """The state of one training and what advances it."""

    def __init__(
        self, field: ForceField, folder: Path, recipe: Recipe, seed: int, budget_s: float, source: dict[str, Any], n_train: int
    ) -> None:
        self.field, self.folder, self.recipe, self.seed, self.source = field, folder, recipe, seed, source
        self.n_train, self.budget_s = n_train, budget_s
        self.weights = {name: p for name, p in field.named_parameters() if p.requires_grad}
        self.ema = {name: p.detach().clone() for name, p in self.weights.items()}
        self.optimizer = torch.optim.Adam(
            self.weights.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, amsgrad=True
        )
        self.step, self.seconds, self.validated_at, self.best, self.since_best = 0, 0.0, 0.0, math.inf, 0
        self.plateau = math.inf
        self.curve: list[dict[str, float]] = []
        self.running: list[float] = []
        self.whole = True
        """False while weights, averages and counters belong to different steps."""

    @property
    def samples(self) -> int:
        """Frames seen, with repetition; a set smaller than the batch is taken whole at every step."""
        return self.step * min(self.recipe.batch_size, self.n_train)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one permutation of the training frames."""
        return max(1, self.n_train // self.recipe.batch_size)

    @property
    def validated_step(self) -> int:
        """Step of the last validation, 0 before the first."""
        return int(self.curve[-1]["step"]) if self.curve else 0

    @property
    def validated_here(self) -> bool:
        return self.validated_step == self.step > 0

    def finished(self, max_steps: int | None) -> bool:
        """Whether the budget is spent, or the learning rate has reached its floor under the paper's rule."""
        floor = self.recipe.name == "paper" and self.optimizer.param_groups[0]["lr"] <= self.recipe.smallest_learning_rate
        return self.seconds >= self.budget_s or floor or (max_steps is not None and self.step >= max_steps)

    def run(self, train: GraphSet, validation: GraphSet, max_steps: int | None) -> None:
        start = time.monotonic() - self.seconds
        between = max(1.0, self.budget_s / 20)
        with progress(self.budget_s, f"training {self.field.name}", "s") as bar:
            bar.update(self.seconds)
            while not (self.finished(max_steps) and self.validated_here):
                if not self.finished(max_steps):
                    loss = self._step(train)
                    now = time.monotonic() - start
                    bar.update(now - self.seconds)
                    self.seconds = now
                    self.running.append(loss)
                if self._due(between) or self.finished(max_steps):
                    self._validate(validation)
                    self.seconds = self.validated_at = time.monotonic() - start
                    self.keep()
                    bar.set_postfix_str(f"force MAE {self.curve[-1]['force_mae'] * 1e3:.0f} meV/Å", refresh=False)

    def _due(self, between: float) -> bool:
        """Whether it is time to validate: `between` seconds, or an epoch, after the last time."""
        if self.recipe.validate_every_epoch:
            return self.step // self.steps_per_epoch > self.validated_step // self.steps_per_epoch
        return self.seconds - self.validated_at >= between

    def _step(self, train: GraphSet) -> float:
        graph = train.batch(self._frames(self.step))
        self.field.train()
        # Dropout and random edge frames depend on seed and step alone: a resumed training repeats them.
        torch.manual_seed(int(np.random.SeedSequence(self.seed, spawn_key=(1, self.step)).generate_state(1)[0]))
        prediction = self.field.predict(graph, create_graph=True)
        loss = loss_of(prediction.energy, prediction.forces, graph.energy, graph.forces, self.field.scale.scale)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of {self.field.name} is {value} at step {self.step}; the last good state is in {self.folder}: "
                "lower the learning rate, or look for wrong labels"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with self._indivisible(), torch.no_grad():
            self.optimizer.step()
            self.step += 1
            torch._foreach_lerp_(list(self.ema.values()), list(self.weights.values()), 1 - self.recipe.decay(self.step))
        return value

    def _frames(self, step: int) -> np.ndarray:
        """Frames of a step: each epoch is a permutation that depends on the seed and the epoch alone."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,))).permutation(self.n_train)
        return order[position * self.recipe.batch_size : (position + 1) * self.recipe.batch_size]

    def _validate(self, validation: GraphSet) -> None:
        with self._averaged():
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
        lr = self.optimizer.param_groups[0]["lr"]
        if errors["loss"] < self.plateau * (1 - 1e-4):
            self.plateau, self.since_best = errors["loss"], 0
        else:
            self.since_best += 1
        if self.since_best > self.recipe.patience:
            self.since_best = 0
            for group in self.optimizer.param_groups:
                group["lr"] = max(lr * self.recipe.factor, self.recipe.smallest_learning_rate)
        row = {"step": self.step, "samples": self.samples, "epochs": round(self.samples / self.n_train, 4)}
        row |= {"seconds": round(self.seconds, 2), "learning_rate": lr, "train_loss": float(np.mean(self.running or [math.nan]))}
        self.curve.append({**row, **{f"{'validation_' if key == 'loss' else ''}{key}": value for key, value in errors.items()}})
        self.running = []
        if improved:
            self.best = errors["loss"]
            with self._averaged():
                self.field.provenance = self._story(errors)
                forcefield.save(self.field, self.folder / "best.safetensors")

    def _story(self, errors: dict[str, float]) -> dict[str, Any]:
        """What a checkpoint says about how it came to be."""
        device = next(iter(self.weights.values())).device.type
        return {
            **self.source,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "budget_s": self.budget_s,
            "seconds": round(self.seconds, 1),
            "steps": self.step,
            "samples": self.samples,
            "epochs": round(self.samples / self.n_train, 3),
            "samples_per_s": round(self.samples / max(self.seconds, 1e-9), 2),
            "training_frames": self.n_train,
            "scale_eV_per_A": float(self.field.scale.scale),
            "loss": f"(dE/eV)^2 + {FORCE_WEIGHT:g} (dF/(eV/A))^2, both over scale^2",
            "validation": errors,
            **provenance.stamp(device),
        }

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The field with its EMA weights, in eval mode."""
        raw = {name: p.detach().clone() for name, p in self.weights.items()}
        with self._indivisible(), torch.no_grad():
            torch._foreach_copy_(list(self.weights.values()), list(self.ema.values()))
        self.field.eval()
        try:
            yield
        finally:
            with self._indivisible(), torch.no_grad():
                torch._foreach_copy_(list(self.weights.values()), list(raw.values()))
            self.field.train()

    @contextmanager
    def _indivisible(self) -> Iterator[None]:
        """What an interruption may not cut in two: the state is `whole` again only when all of it is done."""
        before, self.whole = self.whole, False
        yield
        self.whole = before

    def keep(self) -> None:
        """Write everything needed to go on, and the learning curve."""
        from safetensors.torch import save

        tensors = {f"field.{key}": value for key, value in self.field.state_dict().items()}
        tensors |= {f"ema.{key}": value for key, value in self.ema.items()}
        for name, p in self.weights.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"adam.{name}.{key}"] = torch.as_tensor(value)
        numbers = {
            "step": self.step,
            "seconds": self.seconds,
            "validated_at": self.validated_at,
            "best": self.best,
            "plateau": self.plateau,
            "since_best": self.since_best,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "elements": self.field.elements,
            "curve": self.curve,
        }
        packed = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        write_atomically(self.folder / "last.safetensors", save(packed, metadata={"training": json.dumps(numbers)}))
        write_atomically(self.folder / "curve.csv", _csv(self.curve))
        write_atomically(
            self.folder / "train.json", json.dumps({"best_loss": self.best if self.curve else None, **self._story({})}, indent=1)
        )

    @property
    def totals(self) -> dict[str, float]:
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
        return {key: round(value, 3) for key, value in numbers.items()}

    def state_totals(self) -> None:
        """Tell the finished checkpoint what the whole budget bought: Table 1 counts epochs within the budget."""
        path = self.folder / "best.safetensors"
        best = forcefield.load(path)
        best.provenance["whole_budget"] = self.totals
        forcefield.save(best, path)

    def resume(self) -> None:
        """Go on from last.safetensors, if there is one."""
        path = self.folder / "last.safetensors"
        if not path.exists():
            return
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                numbers = json.loads(file.metadata()["training"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as problem:
            raise TrainingError(f"{path} cannot be read ({problem}); delete {self.folder} to start again") from problem
        if numbers["curve"] and not (self.folder / "best.safetensors").exists():
            raise TrainingError(f"{self.folder} has lost its best.safetensors; delete the folder to start again")
        self.field.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("field.")})
        device = next(iter(self.weights.values())).device
        self.ema = {name: tensors[f"ema.{name}"].to(device) for name in self.ema}
        for name, p in self.weights.items():
            prefix = f"adam.{name}."
            state = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            self.optimizer.state[p] = {k: v if k == "step" else v.to(device) for k, v in state.items()}
        self.field.elements = tuple(numbers["elements"])
        for group in self.optimizer.param_groups:
            group["lr"] = numbers["learning_rate"]
        for key in ("step", "seconds", "validated_at", "best", "plateau", "since_best", "curve"):
            setattr(self, key, numbers[key])


def _identity(field: ForceField, train: FrameSet, validation: FrameSet, recipe: Recipe, seed: int) -> dict[str, Any]:
    return {
        "model": field.name,
        "settings": field.settings,
        "recipe": asdict(recipe),
        "seed": seed,
        "train": train.sha256,
        "validation": validation.sha256,
    }


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Mark the folder as belonging to this training; TrainingError, saying what differs, when it belongs to another."""
    path = folder / "identity.json"
    new = json.loads(json.dumps(identity))
    if path.exists():
        old = json.loads(path.read_text())
        differing = [key for key in new if old.get(key) != new[key]]
        if differing:
            raise TrainingError(
                f"{folder} holds a training with another {', '.join(differing)}; choose another --out, or --restart to discard it"
            )
    write_atomically(path, json.dumps(new, indent=1))


def _csv(rows: list[dict[str, float]]) -> str:
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()
