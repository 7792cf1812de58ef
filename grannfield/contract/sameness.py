"""What must come out the same: larger cells, batches, files, repeated calls; and the forces' sum."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from grannfield.contract.alive import Case
from grannfield.contract.samples import Sample
from grannfield.contract.subjects import Answer, FieldSubject, rms
from grannfield.contract.verdict import Finding, judged, not_applicable
from grannfield.forcefield import load, save

EXTENSIVE = 1e-5
BATCH = {"float32": 1e-4, "float64": 1e-10}
"""Sums over rows of another length are ordered differently: rounding, which a network amplifies."""
NET_FORCE = 1e-10


def extensivity(case: Case) -> list[Finding]:
    """Energy per atom and forces of supercells."""
    errors = []
    for cell, counts in (
        (case.samples.skew, (2, 1, 1)),
        (case.samples.skew, (1, 2, 1)),
        (case.samples.skew, (1, 1, 2)),
        (case.samples.gamma, (1, 1, 2)),
    ):
        copies, here = int(np.prod(counts)), case.base(cell, case.double)
        there = case.subject.answer(cell.repeated(counts), case.double)
        energy = case.energy_error(there.energy / copies - here.energy, cell)
        errors.append(max(energy, case.force_error(there.forces - np.tile(here.forces, (copies, 1)), cell)))
    return [judged("extensivity", max(errors), claimed=True, high=case.allowed(EXTENSIVE), n=len(errors), of="supercells",
                   precision=case.double)]  # fmt: skip


def batch(case: Case) -> list[Finding]:
    """Structures of different sizes in one batch, against each alone."""
    group = [case.samples.gamma, case.samples.skew, case.samples.skew.repeated((2, 1, 1))]
    cells = [case.samples.gamma, case.samples.skew, case.samples.skew]
    findings = []
    for precision in case.subject.precisions:
        together = case.subject.together(group, precision)
        if together is None:
            return [not_applicable("batch = single", "one structure at a time")]
        errors = []
        for sample, cell, there in zip(group, cells, together, strict=True):
            here = case.subject.answer(sample, precision)
            energy = abs(there.energy - here.energy) / len(sample) / case.scales[cell].energy
            errors.append(max(energy, case.force_error(there.forces - here.forces, cell)))
        findings.append(
            judged("batch = single", max(errors), claimed=True, high=BATCH[precision], n=3, of="structures", precision=precision)
        )
    return findings


def save_load(case: Case) -> list[Finding]:
    """A checkpoint written and read again gives the same bits."""
    check, subject = "save = load", case.subject
    if not (isinstance(subject, FieldSubject) and subject.registered):
        return [not_applicable(check, "not a registered model")]
    errors = []
    for precision, field in subject.fields.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "field.safetensors"
            save(field, path)
            again = FieldSubject(load(path), subject.label)
        for cell in case.samples:
            errors.append(_differ(case.base(cell, precision), again.answer(cell, precision), case, cell))
    return [judged(check, max(errors), claimed=True, high=0.0, n=len(errors), of="predictions",
                   precision=", ".join(subject.fields))]  # fmt: skip


def repeatability(case: Case) -> list[Finding]:
    """Three calls, others between them, with random numbers running on: the same bits."""
    errors = []
    for precision in case.subject.precisions:
        first = [case.subject.answer(cell, precision, frozen=False) for cell in case.samples]
        for _ in range(2):
            for cell, before in zip(case.samples, first, strict=True):
                errors.append(_differ(before, case.subject.answer(cell, precision, frozen=False), case, cell))
    return [judged("repeatability", max(errors), claimed=True, high=0.0, n=len(errors), of="repeated calls",
                   precision=", ".join(case.subject.precisions))]  # fmt: skip


def _differ(here: Answer, there: Answer, case: Case, cell: Sample) -> float:
    """Zero when two answers are the same bit for bit."""
    if here.energy == there.energy and np.array_equal(here.forces, there.forces):
        return 0.0
    energy, forces = there.energy - here.energy, there.forces - here.forces
    return max(case.energy_error(energy, cell), case.force_error(forces, cell), np.finfo(float).tiny)


def net_force(case: Case) -> list[Finding]:
    """The sum of all forces, per atom: zero for any energy that does not know where the crystal is."""
    errors = []
    for cell in case.samples:
        forces = case.base(cell, case.double).forces
        errors.append(rms(forces.mean(axis=0)[None]) / case.scales[cell].force)
    claimed = case.subject.conservative
    return [judged("net force", max(errors), claimed=claimed, high=case.allowed(NET_FORCE), n=len(errors), of="cells",
                   precision=case.double, claim="zero" if claimed else "direct forces")]  # fmt: skip
