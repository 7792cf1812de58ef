"""Whether there is anything to measure: forces of a sensible size that answer to the atoms, and not just in proportion.

Also the scales that every later error is relative to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from grannfield.contract.samples import Sample, Samples
from grannfield.contract.subjects import Answer, Subject, rms
from grannfield.contract.verdict import Finding, judged

SIZE = (0.3, 3.0)
"""eV/Å, where the rms force under seeded weights must lie."""
SMALLEST = 0.01
"""eV/Å, least rms force of a model with weights of its own."""
FLOOR = 0.01
"""Least curvature and coupling, relative."""
MOVES = "random displacements"
STEP = 0.1
"""Å, standard deviation of each coordinate's displacement."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What is one unit of error on one cell."""

    force: float
    """eV/Å, rms length of the forces."""
    energy: float
    """eV per atom: how far the energy goes when atoms move by 1 Å at random, from a small displacement. It is the rms force times
    1 Å where forces are the gradient, and the energy's own measure where they are not."""


@dataclass(eq=False)
class Case:
    """A subject on the two cells."""

    subject: Subject
    samples: Samples
    seed: int
    scales: dict[Sample, Scale] = field(default_factory=dict)
    noise: tuple[float, float] = (0.0, 0.0)
    """eV and eV/Å, rounding noise of energy and forces where the precision is not known, else zero."""
    kept: dict[tuple[Sample, str], Answer] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    """Checks that failed so far."""

    @property
    def single(self) -> str:
        return self.subject.precisions[0]

    @property
    def double(self) -> str:
        return self.subject.precisions[-1]

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of one check, from the seed and its name."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def base(self, cell: Sample, precision: str) -> Answer:
        """The answer for one of the two cells as it is."""
        if (cell, precision) not in self.kept:
            self.kept[cell, precision] = self.subject.answer(cell, precision)
        return self.kept[cell, precision]

    def energy_error(self, difference: float, cell: Sample) -> float:
        """A difference of energies [eV] of a cell, per atom and relative."""
        return abs(difference) / len(cell) / self.scales[cell].energy

    def force_error(self, difference: np.ndarray, cell: Sample) -> float:
        """Differences of forces [N, 3], rms length and relative."""
        return rms(difference) / self.scales[cell].force

    def allowed(self, tolerance: float, noise_factor: float = 10.0) -> float:
        """A tolerance, widened to some times the relative rounding noise where the precision is not known."""
        least = min(scale.force for scale in self.scales.values())
        return max(tolerance, noise_factor * max(self.noise) / least)


def alive(case: Case, seeded: bool) -> list[Finding]:
    """Size of the forces, their curvature and their coupling; fills the case's scales on the way."""
    forces, curvatures, responses = [], [], []
    for cell in case.samples:
        here = case.base(cell, case.double).forces
        slope, curvature, scale = response(case, cell)
        case.scales[cell] = scale
        forces.append(rms(here))
        responses.append(slope)
        curvatures.append(curvature)
    if not case.subject.exact_precision:
        case.noise = _noise(case, case.samples.gamma)
    energy = min(s.energy / s.force if s.force else 0.0 for s in case.scales.values())
    low, high = SIZE if seeded else (SMALLEST, None)
    detail = "root mean square length"
    findings = [
        ("size of forces", forces[0], low, high, len(case.samples.gamma), "atoms", detail),
        ("size of forces, skewed cell", forces[1], low / 100, high and 100 * high, len(case.samples.skew), "atoms", detail),
        ("response", min(responses), FLOOR, None, 8, MOVES, f"change of the forces under moves of {STEP} Å, relative to them"),
        ("curvature", min(curvatures), FLOOR, None, 8, MOVES, "second difference of the forces relative to the first"),
        ("energy response", energy, 1e-6, None, 8, MOVES, "slope of the energy relative to the forces"),
    ]
    return [
        judged(f"alive: {what}", value, claimed=True, claim="needed", low=least, high=most, n=n, of=of, detail=why,
               unit="eV/Å" if what.startswith("size") else "", precision=case.double)
        for what, value, least, most, n, of, why in findings
    ] + [_coupling(case)]  # fmt: skip


def response(case: Case, cell: Sample) -> tuple[float, float, Scale]:
    """(first difference of forces relative to them, second relative to first, scale) under random displacements."""
    rng, here = case.rng("alive"), case.base(cell, case.double)
    first, second, energy = [], [], []
    for _ in range(4):
        move = rng.normal(scale=STEP, size=(len(cell), 3))
        up, down = (case.subject.answer(cell.displaced(s * move), case.double) for s in (1, -1))
        first.append(rms(up.forces - down.forces) / 2)
        second.append(rms(up.forces + down.forces - 2 * here.forces) / 2)
        energy.append((up.energy - down.energy) / 2)
    force = rms(here.forces)
    slope, curvature = float(np.mean(first)), float(np.mean(second))
    scale = Scale(force, float(np.sqrt(np.mean(np.square(energy)) / len(cell)) / STEP))
    return slope / force if force else 0.0, curvature / slope if slope else 0.0, scale


def _coupling(case: Case) -> Finding:
    """How far two atoms' moves act together on a third atom: zero for any sum over pairs, also for a linearised network."""
    cell, rng = case.samples.gamma, case.rng("coupling")
    here = case.base(cell, case.double).forces
    mixed, plain = [], []
    for a in rng.choice(len(cell), 3, replace=False):
        b = _nearest(cell, int(a))
        moves = np.zeros((2, len(cell), 3))
        moves[0, a], moves[1, b] = rng.normal(scale=2 * STEP, size=(2, 3))
        third = np.delete(np.arange(len(cell)), [int(a), b])
        one, two, both = (
            (case.subject.answer(cell.displaced(m), case.double).forces - here)[third] for m in (moves[0], moves[1], moves.sum(0))
        )
        mixed.append(rms(both - one - two))
        plain.append((rms(one) + rms(two)) / 2)
    value = float(np.mean(mixed) / np.mean(plain)) if np.mean(plain) else 0.0
    needed = case.subject.must_couple
    return judged(
        "alive: coupling", value, claimed=needed, low=FLOOR, n=3, of="pairs of atoms", precision=case.double,
        claim="needed" if needed else "", detail="what two moves together do to a third atom, beyond their sum",
    )  # fmt: skip


def _nearest(cell: Sample, atom: int) -> int:
    """The atom nearest to another, images included."""
    fractional = (cell.pos - cell.pos[atom]) @ np.linalg.inv(cell.cell)
    length = np.linalg.norm((fractional - np.round(fractional)) @ cell.cell, axis=1)
    length[atom] = np.inf
    return int(length.argmin())


def _noise(case: Case, cell: Sample) -> tuple[float, float]:
    """Rounding noise of energy (eV) and forces (eV/Å): second differences over 1e-6 Å, where no physics is left."""
    rng, here = case.rng("noise"), case.base(cell, case.double)
    energy, forces = [], []
    for _ in range(4):
        move = rng.normal(scale=1e-6, size=(len(cell), 3))
        up, down = (case.subject.answer(cell.displaced(s * move), case.double) for s in (1, -1))
        energy.append(abs(up.energy + down.energy - 2 * here.energy))
        forces.append(rms(up.forces + down.forces - 2 * here.forces))
    return max(energy), max(forces)
