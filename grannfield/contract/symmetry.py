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
TURNS, MORE_TURNS = 4, 16
"""Random rotations of each cell, where rotation is exact (or not claimed) and where it is approximate."""


def rotation(case: Case) -> list[Finding]:
    """Energy and forces under random rotations, in both precisions."""
    make = _approximate_rotation if case.subject.claims.rotation == "approximate" else _rotation
    return [make(case, precision) for precision in case.subject.precisions]


def _rotation(case: Case, precision: str) -> Finding:
    """The largest error; judged where rotations are claimed to be exact."""
    energy, forces = rotation_errors(case, precision, TURNS)
    parts = {"energy": float(energy.max()), "forces": float(forces.max())}
    high = ROTATION_DOUBLE if precision == "float64" else ROTATION_SINGLE
    claim = case.subject.claims.rotation
    return judged("rotation", max(parts.values()), claimed=claim == "exact", high=high, n=len(energy), of="rotations",
                  precision=precision, claim=claim, parts=parts, detail=f"energy {parts['energy']:.0e}, "
                  f"forces {parts['forces']:.0e}")  # fmt: skip


def _approximate_rotation(case: Case, precision: str) -> Finding:
    """The root mean square error; judged against the published arithmetic under the same weights, where there is that."""
    errors = np.maximum(*rotation_errors(case, precision, MORE_TURNS))
    value, detail = _rms(errors), f"rms over the rotations; largest {errors.max():.1e}"
    rival, claim, high, parts = case.subject.rival, "approximate", None, {"largest": float(errors.max())}
    if rival is not None:
        other = Case(rival, case.samples, case.seed)
        for cell in case.samples:
            other.scales[cell] = response(other, cell)[2]
        theirs = np.maximum(*rotation_errors(other, precision, MORE_TURNS))
        spread = float(np.hypot(_standard_error(errors), _standard_error(theirs)))
        parts |= {"published": _rms(theirs), "standard_error": spread}
        claim, high = "approximate, not above published", _rms(theirs) + 2 * spread
        detail += f"; published arithmetic, same weights {_rms(theirs):.1e}, tolerance two standard errors above"
    return judged("rotation", value, claimed=rival is not None, high=high, n=len(errors), of="rotations", precision=precision,
                  claim=claim, parts=parts, detail=detail)  # fmt: skip


def rotation_errors(case: Case, precision: str, turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of energy and forces for some random rotations of each cell: two arrays [2 * turns]."""
    rng, energy, forces = case.rng("rotation"), [], []
    for cell in case.samples:
        here = case.base(cell, precision)
        for _ in range(turns):
            turn = random_rotation(rng)
            there = case.subject.answer(cell.turned(turn), precision)
            energy.append(case.energy_error(there.energy - here.energy, cell))
            forces.append(case.force_error(there.forces - here.forces @ turn.T, cell))
    return np.array(energy), np.array(forces)


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.square(errors).mean()))


def _standard_error(errors: np.ndarray) -> float:
    """Of the root mean square of independent errors."""
    return float(np.square(errors).std(ddof=1) / np.sqrt(len(errors)) / (2 * _rms(errors))) if errors.any() else 0.0


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
    errors = [_error(case, cell, cell.rewrapped(rng.integers(-3, 4, (len(cell), 3)))) for cell in case.samples for _ in range(3)]
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
