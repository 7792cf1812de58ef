"""From what a user writes after --model to a force field."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grannfield.forcefield import ForceField, load, registered, weights_hash

SHIPPED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with the package, MODEL.safetensors."""


class ModelNotFound(LookupError):
    """What was asked for is neither a model with weights, nor a checkpoint, nor a class in a file."""


@dataclass(frozen=True)
class Named:
    """A model as named on the command line, before it is loaded."""

    spec: str
    label: str
    """What tables call it."""
    path: Path | None
    """Checkpoint or Python file."""
    cls: str = ""
    """Class in the Python file."""


def find(spec: str, checkpoints: Path = Path("reports/checkpoints")) -> Named:
    """What `--model` names: a registered model, a checkpoint file or folder, or file.py:Class.

    For a registered model the weights are those under `checkpoints`/NAME if there are any, else the shipped ones.
    ModelNotFound says what was looked for and where.
    """
    stem, colon, cls = spec.rpartition(":")
    if spec.endswith((".py", ".py:")):
        raise ModelNotFound(f"--model {spec}: which class of the file? Write {spec.rstrip(':')}:Class")
    if colon and stem.endswith(".py"):
        if not Path(stem).is_file():
            raise ModelNotFound(f"--model {spec}: there is no file {stem}")
        return Named(spec, cls, Path(stem), cls)
    if spec.partition("@")[0] in registered():
        own, shipped = checkpoints / spec / "best.safetensors", SHIPPED / f"{spec}.safetensors"
        for path in (own, shipped):
            if path.is_file():
                return Named(spec, spec, path)
        raise ModelNotFound(
            f"--model {spec}: no weights in {own}, and none are shipped; make some: grannfield train {spec} --minutes 5"
        )
    path = Path(spec)
    if path.is_dir():
        path = path / "best.safetensors"
        if not path.is_file():
            raise ModelNotFound(f"--model {spec}: the folder holds no best.safetensors")
    if path.is_file():
        return Named(spec, path.resolve().parent.name if path.name == "best.safetensors" else path.stem, path)
    raise ModelNotFound(
        f"--model {spec}: neither a model ({', '.join(registered())}), nor a checkpoint file or folder, nor file.py:Class"
    )


def open_model(named: Named) -> ForceField:
    """The force field of what `find` found; errors of a user's own file or class come through as they are."""
    assert named.path is not None
    if not named.cls:
        return load(named.path)
    name = f"grannfield_user_{hashlib.sha256(str(named.path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, named.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: Any = getattr(module, named.cls, None)
    if not (inspect.isclass(found) and issubclass(found, ForceField)):
        there = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, ForceField) and value is not ForceField
        ]
        raise ModelNotFound(f"{named.path} has no ForceField called {named.cls}; it has {', '.join(there) or 'none'}")
    make: Any = found
    field: ForceField = make()
    return field.eval()


def resolve(spec: str, checkpoints: Path = Path("reports/checkpoints")) -> ForceField:
    """The force field that `spec` names."""
    return open_model(find(spec, checkpoints))


def identity(field: ForceField, named: Named) -> str:
    """Hash of a force field's weights and settings, and for a user's class of its file."""
    own = named.path.read_bytes() if named.path is not None and named.cls else b""
    return hashlib.sha256(weights_hash(field).encode() + own).hexdigest()
