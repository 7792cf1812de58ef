"""What must not change: the crystal turned, mirrored, moved, wrapped, or its atoms in another order.

The error of a case is the larger of two: forces that do not follow (rms, relative to the rms force) and an energy that changes
(per atom, relative to the energy's scale).
"""

from __future__ import annotations

import numpy as np

from grannfield.contract.alive import Case, response
from grannfield.contract.samples import Sample, random_rotation
from grannfield.contract.verdict import Finding, judged

ROTATION_SINGLE, ROTATION_DOUBLE, REFLECTION = 1e-4, 1e-6, 1e-6
"""Tolerances; 1e-6 in float64 leaves room for constants that were rounded to float32."""
SAME = 1e-8
"""Tolerance of moves that change nothing but rounding, in float64."""
TURNS = 4
"""Random rotations of each cell."""


def rotation(case: Case) -> list[Finding]:
    """Energy and forces under random rotations, in both precisions."""
    return [_rotation(case, precision, "rotation") for precision in case.subject.precisions]


def _rotation(case: Case, precision: str, check: str) -> Finding:
    claim = case.subject.claims.rotation
    high: float | None = ROTATION_DOUBLE if precision == "float64" else ROTATION_SINGLE
    worst, typical, parts = rotation_error(case, precision)
    detail = f"energy {parts['energy']:.0e}, forces {parts['forces']:.0e}"
    value, rival = worst, case.subject.rival
    if claim == "approximate":
        value, high, detail = typical, None, f"rms over the rotations; largest {worst:.1e}"
        if rival is not None:
            other = Case(rival, case.samples, case.seed)
            for cell in case.samples:
                other.scales[cell] = response(other, cell)[2]
            _, high, _ = rotation_error(other, precision)
            parts["published"] = high
            detail += f"; published arithmetic under the same weights {high:.1e}"
    claimed = claim == "exact" or high is not None and claim == "approximate"
    words = {"exact": "exact", "approximate": "approximate, not worse than published" if rival else "approximate", "none": "none"}
    return judged(check, value, claimed=claimed, high=high, n=2 * TURNS, of="rotations", precision=precision, detail=detail,
                  claim=words[claim], parts=parts)  # fmt: skip


def rotation_error(case: Case, precision: str) -> tuple[float, float, dict[str, float]]:
    """(largest, rms over the rotations, largest of energy and of forces) on both cells."""
    rng, energy, forces = case.rng("rotation"), [], []
    for cell in case.samples:
        here = case.base(cell, precision)
        for _ in range(TURNS):
            turn = random_rotation(rng)
            there = case.subject.answer(cell.turned(turn), precision)
            energy.append(case.energy_error(there.energy - here.energy, cell))
            forces.append(case.force_error(there.forces - here.forces @ turn.T, cell))
    each = np.maximum(energy, forces)
    return float(each.max()), float(np.sqrt(np.square(each).mean())), {"energy": max(energy), "forces": max(forces)}


def reflection(case: Case) -> list[Finding]:
    """Energy and forces of the mirror images r -> -r, and of one mirror plane."""
    claims, errors = case.subject.claims, []
    plane = np.diag([1.0, -1.0, -1.0])  # after the inversion: the mirror plane x = 0
    for cell in case.samples:
        for turn in (np.eye(3), plane):
            errors.append(_error(case, cell, cell.inverted().turned(turn), turn=-turn))
    claimed = claims.reflection and claims.rotation == "exact"
    return [judged("reflection", max(errors), claimed=claimed, high=case.allowed(REFLECTION), n=len(errors), of="mirror images",
                   precision=case.double)]  # fmt: skip


def translation(case: Case) -> list[Finding]:
    """The whole crystal moved by some Å."""
    rng = case.rng("translation")
    errors = [_error(case, cell, cell.displaced(rng.normal(scale=5.0, size=3))) for cell in case.samples for _ in range(3)]
    return [_same(case, "translation", errors, "moves")]


def wrapping(case: Case) -> list[Finding]:
    """Each atom moved by lattice vectors of its own."""
    rng = case.rng("wrapping")
    errors = [
        _error(case, cell, cell.rewrapped(rng.integers(-3, 4, (len(cell), 3)))) for cell in case.samples for _ in range(3)
    ]
    return [_same(case, "re-wrapping", errors, "choices of images")]


def permutation(case: Case) -> list[Finding]:
    """The same atoms in another order."""
    rng, errors = case.rng("permutation"), []
    for cell in case.samples:
        for _ in range(3):
            order = rng.permutation(len(cell))
            errors.append(_error(case, cell, cell.reordered(order), order=order))
    return [_same(case, "permutation", errors, "orders")]


def _error(
    case: Case, cell: Sample, changed: Sample, *, turn: np.ndarray | None = None, order: np.ndarray | None = None
) -> float:
    here, there = case.base(cell, case.double), case.subject.answer(changed, case.double)
    expected = here.forces if turn is None else here.forces @ turn.T
    expected = expected if order is None else expected[order]
    return max(case.energy_error(there.energy - here.energy, cell), case.force_error(there.forces - expected, cell))


def _same(case: Case, check: str, errors: list[float], of: str) -> Finding:
    value = max(errors) if np.isfinite(errors).all() else np.nan
    return judged(check, value, claimed=True, high=case.allowed(SAME), n=len(errors), of=of, precision=case.double)
