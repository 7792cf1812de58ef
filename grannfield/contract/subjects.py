"""What can be measured: a force field of the package in both precisions, or an ASE calculator as it is.

Random numbers are reset before every call, so that a model which draws some is random in one check only: the one that asks
whether calls repeat.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from grannfield.contract.samples import Sample
from grannfield.forcefield import Claims, ForceField, Prediction, registered, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph

PRECISIONS = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True, eq=False)
class Answer:
    """Energy, forces and stress of one sample, in double precision whatever made them."""

    energy: float
    """eV."""
    forces: np.ndarray
    """[N, 3] eV/Å."""
    stress: np.ndarray | None = None
    """[3, 3] eV/Å³."""

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.energy) and np.isfinite(self.forces).all())


class Subject(Protocol):
    """Anything with an energy."""

    label: str
    claims: Claims
    conservative: bool
    has_stress: bool
    cutoff: float | None
    """Å; None where nobody says."""
    precisions: tuple[str, ...]
    """From the lowest to the highest; one entry where there is no choice."""
    exact_precision: bool
    """Whether the highest precision is known to be float64; else tolerances allow for the noise that is found."""
    field: ForceField | None
    rival: Subject | None
    """The published behaviour under the same weights, which an approximate symmetry must not be worse than."""
    must_couple: bool
    """Whether atoms must change each other's forces on third ones: true of networks, not of a pair potential."""

    def answer(self, sample: Sample, precision: str, *, stress: bool = False, frozen: bool = True) -> Answer:
        """One sample, computed anew. With `frozen` the random-number generators start from the same state at each call."""

    def together(self, group: Sequence[Sample], precision: str) -> list[Answer] | None:
        """Several samples in one call; None where there is no such thing."""


class FieldSubject:
    """A force field of the package: copies of it in float32 and float64 (one of them for a field without weights)."""

    exact_precision = True

    def __init__(self, field: ForceField, label: str, *, rival: Subject | None = None, must_couple: bool = False) -> None:
        self.label, self.rival, self.must_couple = label, rival, must_couple
        self.claims, self.conservative, self.has_stress = field.claims, field.conservative, field.conservative
        self.field: ForceField | None = field
        self.cutoff: float | None = field.cutoff
        self.fields: dict[str, ForceField] = {}
        for dtype in (torch.float32, torch.float64):
            one = to_precision(copy.deepcopy(field), dtype).eval()
            self.fields.setdefault(PRECISIONS[one.dtype], one)
        self.precisions = tuple(self.fields)

    def answer(self, sample: Sample, precision: str, *, stress: bool = False, frozen: bool = True) -> Answer:
        if frozen:
            reset_random_numbers()
        return _answers(self.fields[precision].predict(self._graph(sample), stress=stress), [sample])[0]

    def together(self, group: Sequence[Sample], precision: str) -> list[Answer] | None:
        reset_random_numbers()
        return _answers(self.fields[precision].predict(collate([self._graph(sample) for sample in group])), group)

    def _graph(self, sample: Sample) -> AtomGraph:
        assert self.cutoff is not None
        return neighbor_graph(sample.z, sample.pos, sample.cell, self.cutoff, sample.periodic)

    @property
    def registered(self) -> bool:
        """Whether a checkpoint could say how to rebuild the field."""
        assert self.field is not None
        return registered().get(self.field.name) is type(self.field)


class CalculatorSubject:
    """An ASE calculator. It is held to what most claim: a conservative, continuous energy that turns with the crystal."""

    claims = Claims()
    conservative = True
    cutoff: float | None = None
    precisions: tuple[str, ...] = ("as it is",)
    exact_precision = False
    field: ForceField | None = None
    rival: Subject | None = None
    must_couple = False

    def __init__(self, calculator: Any, label: str) -> None:
        self.label, self.calculator = label, calculator
        offered = getattr(calculator, "implemented_properties", ["energy", "forces"])
        self.has_stress = "stress" in offered
        self.free_energy = "free_energy" in offered
        if "forces" not in offered:
            raise ValueError(f"{label} has no forces; it offers {', '.join(offered)}")

    def answer(self, sample: Sample, precision: str, *, stress: bool = False, frozen: bool = True) -> Answer:
        from ase import Atoms

        if frozen:
            reset_random_numbers()
        if hasattr(self.calculator, "reset"):
            self.calculator.reset()  # else ASE answers a repeated question from memory
        atoms = Atoms(numbers=sample.z, positions=sample.pos, cell=sample.cell, pbc=sample.periodic, calculator=self.calculator)
        energy = float(atoms.get_potential_energy(force_consistent=self.free_energy))
        forces = np.array(atoms.get_forces(), dtype=float)
        return Answer(energy, forces, np.array(atoms.get_stress(voigt=False), dtype=float) if stress else None)

    def together(self, group: Sequence[Sample], precision: str) -> list[Answer] | None:
        return None


def _answers(prediction: Prediction, group: Sequence[Sample]) -> list[Answer]:
    energy, forces = prediction.energy.double().numpy(), prediction.forces.detach().double().numpy()
    ends = np.cumsum([len(sample) for sample in group])
    parts = np.split(forces, ends[:-1])
    stress = [None] * len(group) if prediction.stress is None else list(prediction.stress.double().numpy())
    return [Answer(float(e), f, s) for e, f, s in zip(energy, parts, stress, strict=True)]


def reset_random_numbers() -> None:
    """Put the generators that a model may draw from into the same state."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global state that a model may draw from)
    random.seed(0)


@contextmanager
def undisturbed() -> Iterator[None]:
    """One thread, for the cells are small and threads that wait for a busy core cost more than they give; afterwards threads
    and random numbers of the process are what they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


def rms(vectors: np.ndarray) -> float:
    """Root mean square length of vectors [..., 3]."""
    return float(np.sqrt(np.square(vectors).sum(axis=-1).mean()))
