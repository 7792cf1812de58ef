"""Whether forces and stress are the slopes of the energy: central differences, extrapolated to a step of zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from grannfield.contract.alive import Case
from grannfield.contract.samples import Sample
from grannfield.contract.verdict import Finding, judged, not_applicable

TOLERANCE = 1e-5
STEPS = (5e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Å (and strain). The first is extrapolated to zero and far below the width of a network's radial functions, 0.06 Å. The others
are for an energy with kinks or jumps nearby, which the first would count as an error of the slope: a network of rectifiers can
have a kink every 1e-5 Å. Rounding is 1e-6 of a force at the last of them."""


def slope_error(energy: Callable[[float], float], stated: float, steps: tuple[float, ...], unit: float) -> tuple[float, float]:
    """(error of a stated slope dE/dx at 0, relative to `unit`; the step that gave it): the smallest over steps that shrink.

    >>> error, step = slope_error(lambda x: np.exp(3 * x), 3.0, (1e-3,), 3.0)
    >>> error < 1e-10, slope_error(lambda x: x + 7 * (x > 1e-4), 1.0, (1e-3, 1e-5), 1.0)[1]
    (True, 1e-05)
    """
    best = (np.inf, steps[0])
    for n, step in enumerate(steps):
        found = _extrapolated(energy, step, unit) if n == 0 else _central(energy, step)
        best = min(best, (float(abs(found - stated) / unit if unit else found != stated), step))
        if best[0] <= TOLERANCE:
            break
    return best


def _central(energy: Callable[[float], float], h: float) -> float:
    return (energy(h) - energy(-h)) / (2 * h)


def _extrapolated(energy: Callable[[float], float], h: float, unit: float) -> float:
    """Richardson extrapolation of central differences, three levels where the first two differ by 1e-3 of `unit`."""
    wide, narrow = _central(energy, h), _central(energy, h / 2)
    once = (4 * narrow - wide) / 3
    if abs(narrow - wide) < 1e-3 * unit:
        return once
    twice = (4 * _central(energy, h / 4) - narrow) / 3
    return (16 * twice - once) / 15


def forces(case: Case) -> list[Finding]:
    """Forces along random directions of all atoms together, and single components, against the energy."""
    rng, claimed = case.rng("forces"), case.subject.conservative
    errors = [error for cell in case.samples for error in _force_errors(case, cell, rng)]
    return [judged("forces against the energy", max(errors)[0], claimed=claimed, high=_tolerance(case), n=len(errors),
                   of="directions", precision=case.double, claim="gradient" if claimed else "direct forces",
                   detail=_steps_used(errors))]  # fmt: skip


def _force_errors(case: Case, cell: Sample, rng: np.random.Generator) -> list[tuple[float, float]]:
    here, scale = case.base(cell, case.double), case.scales[cell].force
    directions = [rng.normal(size=(len(cell), 3)) for _ in range(2)]
    for place in rng.choice(3 * len(cell), 3, replace=False):
        single = np.zeros(3 * len(cell))
        single[place] = 1.0
        directions.append(single.reshape(-1, 3))
    errors = []
    for direction in directions:
        direction = direction / np.linalg.norm(direction)

        def energy(t: float, move: np.ndarray = direction) -> float:
            return case.subject.answer(cell.displaced(t * move), case.double).energy

        errors.append(slope_error(energy, -float((here.forces * direction).sum()), _steps(case), scale))
    return errors


def stress(case: Case) -> list[Finding]:
    """The stress against the energy under random symmetric strains, relative to its own size."""
    check = "stress against the energy"
    if not case.subject.has_stress:
        return [not_applicable(check, "no stress" if case.subject.conservative else "direct forces: no stress")]
    rng, errors = case.rng("stress"), []
    for cell, count in ((case.samples.gamma, 1), (case.samples.skew, 3)):
        tensor = case.subject.answer(cell, case.double, stress=True).stress
        assert tensor is not None
        volume = abs(float(np.linalg.det(cell.cell)))
        for _ in range(count):
            strain = rng.normal(size=(3, 3))
            strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)

            def energy(t: float, strain: np.ndarray = strain, cell: Sample = cell) -> float:
                return case.subject.answer(cell.strained(t * strain), case.double).energy

            stated, unit = volume * float((tensor * strain).sum()), volume * float(np.linalg.norm(tensor))
            errors.append(slope_error(energy, stated, _steps(case), unit))
    return [judged(check, max(errors)[0], claimed=case.subject.conservative, high=_tolerance(case), n=len(errors), of="strains",
                   precision=case.double, claim="gradient", detail=_steps_used(errors))]  # fmt: skip


def _steps_used(errors: list[tuple[float, float]]) -> str:
    smallest = min(step for _, step in errors)
    kinks = ", as it took to pass kinks or jumps nearby" if smallest < STEPS[0] and max(errors)[0] <= TOLERANCE else ""
    return f"central differences, steps down to {smallest:g} Å{kinks}"


def _steps(case: Case) -> tuple[float, ...]:
    """One larger step, at most 0.02, where rounding noise would drown the differences."""
    if not case.subject.conservative:
        return STEPS[:1]  # nothing to be missed
    if not case.noise[0]:
        return STEPS
    least = min(scale.force for scale in case.scales.values())
    return (float(np.clip(np.cbrt(case.noise[0] / least), STEPS[0], 0.02)),)


def _tolerance(case: Case) -> float:
    return case.allowed(TOLERANCE, 10.0 / _steps(case)[0] if case.noise[0] else 0.0)
