"""Weights hashed again, and some frames evaluated again: what a consistent forgery of the kept files cannot pass."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from grannfield.data.dataset import FrameSet
from grannfield.data.store import read_rounding
from grannfield.evidence.compare import Cell
from grannfield.evidence.files import Altered, NotKept
from grannfield.evidence.kept import Evidence, KeptRun
from grannfield.forcefield import ForceField, to_precision
from grannfield.harness import Predictions, predict
from grannfield.plugin import ModelNotFound, find, identity, open_model
from grannfield.report.results import Results

FORCE_ALLOWANCE = {"float64": 1.5e-3, "float32": 2.5e-3, "tf32": 5e-2}
"""eV/Å by which a force may differ from the kept one: rounding of 1e-3 of the file, and another processor's of the network."""
RELATIVE = 1e-3
"""And in units of the largest force of the frame."""
DEVIATIONS = 5
"""Energies may differ by so many standard deviations of what the rounding of positions makes of them (at most 3 are found)."""
DIRECT = 20
"""Times that where forces are no gradient, and say little of how the energy changes."""


def weights_of(one: Results, reports: Path) -> ForceField | None:
    """The force field behind results, where its weights are here; None for motion, calculators and weights that are not.

    Altered when the weights of that name are not those that were scored.
    """
    if one.model.get("kind") != "model" or ":" in str(one.model.get("spec")):
        return None
    try:
        named = find(str(one.model.get("spec")), reports / "checkpoints")
        field = open_model(named)
    except (ModelNotFound, FileNotFoundError):
        return None
    found, said = identity(field, named), str(one.model.get("identity"))
    if found != said:
        if not one.model.get("shipped"):
            return None
        raise Altered(f"{named.path} hashes to {found[:12]}..., {one.label} was scored with weights {said[:12]}...")
    return to_precision(field, str(one.model.get("precision") or "float32").split(" ")[0])


def evaluated_again(evidence: Evidence, formulas: list[str], frames: int) -> list[Cell]:
    """Weights and, of each kind of kept thing, a few frames at random, as cells beside those of the board."""
    label = evidence.results.label
    try:
        field = weights_of(evidence.results, evidence.reports)
    except Altered as problem:
        return [Cell(label, "", "weights", "different", str(problem), beside=True)]
    if field is None:
        where = "its forces cannot be evaluated here: the weights are not on this machine, or not a file of this package"
        return [Cell(label, "", "weights", "cannot", where, beside=True)]
    cells = [Cell(label, "", "weights", "same", beside=True)]
    random = np.random.default_rng()  # nobody can know before which frames will be looked at
    for formula in formulas if frames else []:
        for column in ("windows", "random"):
            try:
                kept = evidence.predictions(formula, column)  # type: ignore[arg-type]
                said = "" if kept is None else _forces(field, kept, frames, random)
            except (NotKept, Altered) as problem:
                cells.append(_outcome(label, formula, f"forces ({column})", problem))
                continue
            if kept is not None:
                cells.append(Cell(label, formula, f"forces ({column})", "different" if said else "same", said, beside=True))
        cells += _moved(field, evidence, formula, frames, random)
    return cells


def _outcome(label: str, formula: str, what: str, problem: Exception) -> Cell:
    return Cell(label, formula, what, "cannot" if isinstance(problem, NotKept) else "different", str(problem), beside=True)


def _forces(field: ForceField, kept: Predictions, frames: int, random: np.random.Generator) -> str:
    """Where kept forces are not those of the weights; empty where they are."""
    chosen = np.sort(random.choice(len(kept.frames), min(frames, len(kept.frames)), replace=False))
    forces = predict(field, kept.frames[chosen], "cpu")[1]
    gap = np.abs(forces - kept.forces[chosen]).max(axis=(1, 2))
    allowed = FORCE_ALLOWANCE[field.precision] + RELATIVE * np.abs(forces).max(axis=(1, 2))
    worst = int((gap / allowed).argmax())
    if gap[worst] <= allowed[worst]:
        return ""
    return (
        f"frame {chosen[worst]}: a kept force is {gap[worst]:.2g} eV/Å from that of the weights, {allowed[worst]:.2g} is allowed"
    )


def _moved(field: ForceField, evidence: Evidence, formula: str, frames: int, random: np.random.Generator) -> list[Cell]:
    """The energies that runs keep against those of the weights at the positions they keep."""
    label, cells = evidence.results.label, []
    for kind in ("md", "nve"):
        try:
            runs = evidence.runs(formula, kind)  # type: ignore[arg-type]
            said = [text for run in runs if (text := _energies(field, run, frames, random))]
        except (NotKept, Altered, ValueError) as problem:
            cells.append(_outcome(label, formula, f"energies ({kind})", problem))
            continue
        if runs:
            outcome: Literal["same", "different"] = "different" if said else "same"
            cells.append(Cell(label, formula, f"energies ({kind})", outcome, "; ".join(said[:2]), beside=True))
    return cells


def _energies(field: ForceField, run: KeptRun, frames: int, random: np.random.Generator) -> str:
    whole = run.trajectory()
    if whole is None or whole.energy is None:
        return ""
    chosen = np.sort(random.choice(whole.n_frames, min(frames, whole.n_frames), replace=False))
    part = whole[chosen]
    assert part.energy is not None
    nothing = np.zeros_like(part.pos)
    origin = np.stack([np.zeros(len(chosen), dtype=int), chosen], axis=1)
    try:
        energy, forces = predict(field, FrameSet(part.z, part.pos, part.cell, np.zeros(len(chosen)), nothing, origin), "cpu")
    except FloatingPointError as problem:
        return str(problem)
    gap = np.abs(energy - part.energy)
    slope = np.sqrt((forces**2).sum(axis=(1, 2)))
    rounding = read_rounding(run.path)
    moved = 2.0**-rounding.position_bits / np.sqrt(12) if rounding else 0.0  # Å, rms
    allowed = 1e-2 + 1e-5 * np.abs(energy) + DEVIATIONS * (1 if field.conservative else DIRECT) * moved * slope
    worst = int((gap / allowed).argmax())
    if gap[worst] <= allowed[worst]:
        return ""
    return (
        f"{run.path.name} at {run.temperature:g} K, frame {chosen[worst]}: its energy is {gap[worst]:.2g} eV from the weights' "
        f"at its positions, {allowed[worst]:.2g} is allowed"
    )
