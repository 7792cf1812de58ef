"""The folder of a training on disk: whose it is, who works in it, and the state from which it goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from grannfield.data.dataset import FrameSet
from grannfield.files import FolderBusy, locked, write_atomically
from grannfield.forcefield import ForceField
from grannfield.recipe import RECIPES, Recipe, TrainingError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder for this process alone; TrainingError when another one trains in it."""
    try:
        with locked(folder):
            yield
    except FolderBusy as problem:
        raise TrainingError(str(problem)) from problem


def identity_of(field: ForceField, train: FrameSet, validation: FrameSet, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What makes a training this one: model, recipe, seed and data."""
    return {
        "model": field.name,
        "settings": field.settings,
        "recipe": asdict(recipe),
        "seed": seed,
        "train": train.sha256,
        "validation": validation.sha256,
        "precision": None if field.precision == "float32" else field.precision,
    }


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Mark the folder as belonging to this training; TrainingError, saying what differs, when it belongs to another."""
    path = folder / "identity.json"
    new = json.loads(json.dumps(identity))
    if path.exists():
        old = json.loads(path.read_text())
        old["recipe"] = asdict(RECIPES["default"]) | old.get("recipe", {})  # a folder may be older than a part of the recipe
        differing = [key for key in new if old.get(key) != new[key]]
        if differing:
            raise TrainingError(
                f"{folder} holds a training with another {', '.join(differing)}; choose another --out, or --restart to discard it"
            )
    write_atomically(path, json.dumps(new, indent=1))


def as_csv(rows: list[dict[str, float]]) -> str:
    """A learning curve with a header, six digits."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers and tensors of last.safetensors; TrainingError when it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            numbers = json.loads(file.metadata()["training"])
            return numbers, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as problem:
        raise TrainingError(f"{path} cannot be read ({problem}); delete {path.parent} to start again") from problem
