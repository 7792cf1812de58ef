"""From what a user writes after --model to a force field."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from grannfield.call import parsed
from grannfield.controls import PREFIX, table
from grannfield.controls import parsed as parsed_control
from grannfield.forcefield import ForceField, load, registered, weights_hash
from grannfield.report.kinship import by_call

SHIPPED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with the package, MODEL.safetensors."""

VIA_LAMMPS = " via LAMMPS"
"""After the label of a model that LAMMPS moves."""


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
    kind: Literal["model", "calculator", "trajectories", "control"] = "model"
    """What the numbers come from: a force field of this package or of a file, an ASE calculator, motion made elsewhere, a control
    of the suite."""
    kin: tuple[str, ...] = ()
    """What it was trained on, as the user says: data sets, or potentials whose labels it learnt."""
    engine: str = "grannfield"
    """What moves its atoms: the package itself, or lammps."""

    @property
    def own_label(self) -> str:
        """Its label without what says which engine moves it: seeds are the same in all of them."""
        return self.label.removesuffix(VIA_LAMMPS) if self.engine == "lammps" else self.label

    @property
    def motion_only(self) -> bool:
        """Whether there is motion but no force field to ask."""
        return self.kind == "trajectories" or (self.kind == "control" and parsed_control(self.spec).moves)


def find_calculator(text: str) -> Named:
    """What `--calculator` names: `pkg.mod:factory(...)`, or `label=pkg.mod:factory(...)`. Nothing is imported yet.

    CalculatorNotMade for what is no such call, or whose package is not installed.
    """
    label, equals, spec = text.partition("=")
    if not equals or ":" in label or "(" in label:
        label, spec = "", text
    call = parsed(spec.strip())
    call.require_installed()
    known = by_call(call.package, call.arguments)
    return Named(spec.strip(), label.strip() or (call.label if known is None else known.name), None, kind="calculator")


def with_kin(models: list[Named], declared: list[str]) -> list[Named]:
    """The same models, with what `--kin LABEL=SETS` says of them; ModelNotFound for a label that none of them has."""
    said: dict[str, tuple[str, ...]] = {}
    for text in declared:
        label, equals, sets = text.partition("=")
        names = tuple(name.strip() for name in sets.split(",") if name.strip())
        if not equals or not names:
            raise ModelNotFound(f"--kin {text!r}: write LABEL=SETS, for instance MACE-my=MPtrj, or LABEL=none")
        if label.strip() not in [m.label for m in models]:
            raise ModelNotFound(f"--kin {text!r}: no model is called {label!r}; there are {', '.join(m.label for m in models)}")
        said[label.strip()] = names
    return [replace(m, kin=said.get(m.label, m.kin)) for m in models]


def find(spec: str, checkpoints: Path = Path("reports/checkpoints")) -> Named:
    """What `--model` names: a registered model, a checkpoint file or folder, file.py:Class, or control:NAME.

    For a registered model the weights are those under `checkpoints`/NAME if there are any, else the shipped ones.
    ModelNotFound says what was looked for and where.
    """
    if spec.startswith(PREFIX):
        label = parsed_control(spec).label
        return Named(label, label, None, kind="control")
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
        f"--model {spec}: neither a model ({', '.join(registered())}), nor a checkpoint file or folder, nor file.py:Class, nor a "
        f"control ({PREFIX}{f', {PREFIX}'.join(table())})"
    )


def open_model(named: Named) -> ForceField:
    """The force field of what `find` found; errors of a user's own file or class come through as they are."""
    if named.kind == "calculator":
        from grannfield.foreign import calculator_field

        foreign = calculator_field(named.spec).eval()
        foreign.settings = foreign.identified()
        return foreign
    if named.kind == "control":
        from grannfield.controls.faulty import control_field

        return control_field(named.spec)
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
    if not (inspect.isclass(found) and issubclass(found, nn.Module)) or found is ForceField:
        there = ", ".join(_networks(module)) or "none"
        raise ModelNotFound(f"{named.path} has no ForceField called {named.cls}; it has {there}")
    make: Any = found
    made = make()
    if isinstance(made, ForceField):
        return made.eval()
    from grannfield.pyg import pyg_field

    return pyg_field(made).eval()


def _networks(module: Any) -> list[str]:
    """Classes of a file that can be scored: force fields, and networks of its own."""
    return [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and value is not ForceField
        and (issubclass(value, ForceField) or (issubclass(value, nn.Module) and value.__module__ == module.__name__))
    ]


def resolve(spec: str, checkpoints: Path = Path("reports/checkpoints")) -> ForceField:
    """The force field that `spec` names."""
    return open_model(find(spec, checkpoints))


def field_of(named: ForceField | str | Path) -> ForceField:
    """A force field given as such, by the path of a checkpoint or of its folder, or in the words of `--model`."""
    if isinstance(named, ForceField):
        return named
    path = Path(named)
    if isinstance(named, Path) or path.suffix == ".safetensors":
        return load(path / "best.safetensors" if path.is_dir() else path)
    return resolve(named)


def identity(field: ForceField, named: Named) -> str:
    """Hash of a force field's weights and settings, and for a user's class of its file."""
    own = named.path.read_bytes() if named.path is not None and named.cls else b""
    return hashlib.sha256(weights_hash(field).encode() + own).hexdigest()
