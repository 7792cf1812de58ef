"""What makes a reference: a model or a calculator, what it is called, and whether it can be trusted to make one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch

from grannfield.data.structure import Structure
from grannfield.forcefield import ForceField, UnsupportedElement
from grannfield.md.evaluate import Evaluate
from grannfield.md.state import initial_state

STEP = 0.01
"""Å, rms displacement of a coordinate in the finite difference: its energy stands above the rounding of float32 networks."""
SHAKEN = 0.03
"""Å, rms displacement from the ideal structure, where forces vanish and say nothing."""
DOUBTFUL, WRONG = 0.01, 0.1
"""Errors of the force along a direction, relative to the norm of all forces: worth a warning, and not worth a reference."""


class NotAMaker(ValueError):
    """A force field cannot make a reference of a material."""


@dataclass(frozen=True)
class Maker:
    """A force field under the names that a reference gives it."""

    field: ForceField
    spec: str
    """What was written after --calculator or --model."""
    name: str
    """What the label of the reference says: the potential or functional with its version."""
    slug: str
    """The same as part of a file name."""


def of_calculator(spec: str) -> Maker:
    """The maker of `package.module:factory(arguments)`, or `label=...`; CalculatorNotMade when there is none.

    A published potential is known by its weights, whatever its calculator is called.
    """
    from grannfield.foreign import calculator_field
    from grannfield.plugin import find_calculator

    named = find_calculator(spec)
    field = calculator_field(named.spec)
    field.settings = {**field.settings, **field.identified()}  # what a run that goes on must not differ in
    asked = next((repr(x) for x in field.call.arguments if isinstance(x, str)), "")
    name = f"{field.call.factory}{f'({asked})' if asked else ''} ({field.call.package} {_version(field.call.package)})"
    return Maker(field, named.spec, field.known_as or name, _slug(named.label))


def of_model(spec: str, precision: str | None = None) -> Maker:
    """The maker of a registered model, checkpoint or file.py:Class; ModelNotFound when there is none."""
    from grannfield.forcefield import to_precision, weights_hash
    from grannfield.plugin import find, open_model

    named = find(spec)
    field = to_precision(open_model(named), precision)
    return Maker(field, spec, f"{named.label} (weights {weights_hash(field)[:12]})", _slug(named.label))


def examine(maker: Maker, structure: Structure, device: str = "cpu", accept: bool = False) -> tuple[float, list[str]]:
    """Seconds a step, and in words what is doubtful about a maker; NotAMaker for what cannot make a reference.

    The slightly shaken structure is evaluated twice, with others between: equal bits, or a resumed run is not the
    uninterrupted one. Its force along a random direction is compared with the difference of energies; `accept` turns a
    refusal for that into a warning.
    """
    evaluate = _evaluation(maker, structure, device)
    random = np.random.default_rng(0)
    pos = structure.pos + SHAKEN * random.standard_normal(structure.pos.shape)
    along = random.standard_normal(structure.pos.shape)
    energy, forces = evaluate(pos)
    ahead, behind = evaluate(pos + STEP * along)[0], evaluate(pos - STEP * along)[0]
    begin = time.monotonic()
    again = evaluate(pos)
    seconds = time.monotonic() - begin
    if not (np.isfinite([energy, ahead, behind]).all() and np.isfinite(forces).all()):
        raise NotAMaker(f"{maker.spec} gives a NaN or infinite energy or force close to the structure")
    notes = []
    if again[0] != energy or not np.array_equal(again[1], forces):
        largest = float(np.abs(again[1] - forces).max())
        notes.append(
            f"{maker.spec} does not repeat itself (the same frame twice: forces differ by up to {largest:.1e} eV/Å), so that a "
            "run that was cut off continues, but not bit for bit as it would have gone on"
        )
    norm, force = float(np.linalg.norm(forces)), float((forces * along).sum())
    slope = -(ahead - behind) / (2 * STEP)
    error = abs(force - slope) / max(norm, 1e-3)
    said = (
        f"the forces of {maker.spec} are not the gradient of its energy: {force:.3f} eV/Å along a random direction, where the "
        f"energy falls by {slope:.3f} eV/Å ({100 * error:.1f}% of the norm of the forces)"
    )
    if error > WRONG and not accept and maker.field.conservative:
        raise NotAMaker(f"{said}; check its units, or accept it with --accept-forces")
    return seconds, [*notes, said] if error > DOUBTFUL else notes


def _evaluation(maker: Maker, structure: Structure, device: str) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Energy and forces [N,3] at positions [N,3], by the way that MD takes; NotAMaker, in words, for what fails there."""
    state = initial_state(structure.z, structure.pos, structure.cell, 300.0, [0])
    evaluate = Evaluate(maker.field.to(device).eval(), state.moved(cell=state.cell.to(device)))

    def at(pos: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            energy, forces = evaluate(torch.from_numpy(pos[None]).to(device))
        except UnsupportedElement:
            raise
        except Exception as problem:  # somebody else's code: whatever it raises is the answer
            raise NotAMaker(
                f"{maker.spec} cannot evaluate {len(structure.z)} atoms of the material: {type(problem).__name__}: {problem}"
            ) from problem
        return float(energy[0]), forces[0].cpu().numpy()

    return at


def _slug(text: str) -> str:
    return "-".join("".join(x if x.isalnum() or x in "._" else " " for x in text.lower()).split()) or "made"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"
