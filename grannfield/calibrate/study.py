"""The study: every estimator on every condition, each result computed once and kept, so that tables are made anew for nothing."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from grannfield.calibrate.coverage import Row, Said, against_best, row
from grannfield.calibrate.estimators import Estimator, estimator
from grannfield.calibrate.synthetic import CONDITIONS, N_IONS, condition, trajectory
from grannfield.calibrate.temperatures import SETS, VOLUME, temperature_set, trajectories
from grannfield.files import locked
from grannfield.progress import progress
from grannfield.provenance import code_hash

PIECE_S = 2.0
"""Seconds of work that a kill can lose, about."""


@dataclass(frozen=True)
class Piece:
    """Some trajectories of one condition for one estimator."""

    estimator: str
    condition: str
    seed: int
    numbers: tuple[int, ...]


def all_conditions() -> list[str]:
    return [*CONDITIONS, *SETS]


def known_condition(name: str) -> str:
    """A condition or set by name, with hyphens for spaces where one likes; LookupError that lists them."""
    for known in (name, name.replace("-", " ")):
        if known in all_conditions():
            return known
    raise LookupError(f"no condition is called {name!r}; there are {', '.join(all_conditions())}")


def quantities(name: str) -> tuple[str, ...]:
    return ("D",) if name in CONDITIONS else ("Ea", "neg_log_sigma")


def truth_of(name: str, quantity: str) -> float:
    """cm²/s, eV, or -log10 of mS/cm."""
    if name in CONDITIONS:
        return condition(name).truth.diffusivity_cm2_per_s
    truth = temperature_set(name).truth
    return {"Ea": truth.activation_energy, "neg_log_sigma": truth.neg_log_sigma}[quantity]


def hops_of(name: str) -> float:
    return (condition(name) if name in CONDITIONS else temperature_set(name)).truth.hops_per_ion


@cache
def fingerprint(name: str, seed: int) -> str:
    """Changes when the trajectories of a condition or set do: of the positions of the first, to 1e-6 Å, and of the truth."""
    runs = [trajectory(name, seed)[0]] if name in CONDITIONS else [run for _, run in trajectories(name, seed)[0]]
    digest = hashlib.sha256(repr([truth_of(name, quantity) for quantity in quantities(name)]).encode())
    for run in runs:
        digest.update(np.rint(run.pos * 1e6).astype(np.int64).tobytes() + repr((run.timestep, run.cell[0].tolist())).encode())
    return digest.hexdigest()[:12]


def judge(one: Estimator, name: str, seed: int, number: int) -> list[Said]:
    """What an estimator says of one trajectory (D) or set of temperatures (Ea, -log10 sigma)."""
    if name in CONDITIONS:
        run, _ = trajectory(name, seed, number)
        start = time.perf_counter()
        return [Said.of(number, "D", one.diffusivity(run), time.perf_counter() - start)]
    runs, _ = trajectories(name, seed, number)
    start = time.perf_counter()
    if one.together is None:
        points = [(t, one.diffusivity(run)) for t, run in runs]
    else:
        temperatures = dict.fromkeys(t for t, _ in runs)
        points = [(t, one.together([run for at, run in runs if at == t])) for t in temperatures]
    both = one.extrapolation([t for t, _ in points], [d for _, d in points], N_IONS, VOLUME)
    seconds = time.perf_counter() - start
    return [Said.of(number, quantity, estimate, seconds) for quantity, estimate in zip(quantities(name), both, strict=True)]


def coverage_of(estimator_: str | Estimator, name: str, n: int, seed: int) -> list[Row]:
    """The rows of n trajectories or sets of a condition, computed here and now: one for D, or two for Ea and -log10 sigma.

    >>> [(row.quantity, row.n) for row in coverage_of("grannfield", "short", n=2, seed=0)]
    [('D', 2)]
    """
    one = estimator(estimator_) if isinstance(estimator_, str) else estimator_
    said = [s for number in range(n) for s in judge(one, name, seed, number)]
    return _rows(one.name, name, said)


def _rows(name: str, condition_: str, said: Sequence[Said]) -> list[Row]:
    made = []
    for quantity in quantities(condition_):
        of = [one for one in said if one.quantity == quantity]
        if of:
            made.append(row(name, condition_, of, truth_of(condition_, quantity), hops_of(condition_)))
    return made


class Store:
    """Results on disk: STATE/seed-S/ESTIMATOR/CONDITION-DATA-CODE.jsonl, one line each, appended as they come.

    DATA is the fingerprint of the trajectories and CODE that of the estimator: what either change makes invalid is computed
    again, and so is a line that a kill cut off.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder / f"seed-{seed}", seed

    def path(self, one: Estimator, name: str) -> Path:
        """Where results of this code are; where a package is missing, those that were computed last with any version of it."""
        folder = self.folder / one.name.replace(" ", "-")
        stem = f"{name.replace(' ', '-')}-{fingerprint(name, self.seed)}-{code_hash(*one.code)}"
        if one.missing and (kept := sorted(folder.glob(f"{stem}-*.jsonl"), key=lambda path: path.stat().st_mtime)):
            return kept[-1]
        return folder / f"{stem}{one.version}.jsonl"

    def read(self, one: Estimator, name: str) -> dict[int, list[Said]]:
        """What is known, by number of the trajectory; only complete ones."""
        path = self.path(one, name)
        found: dict[int, dict[str, Said]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                said = Said(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the end of a line that a kill cut off
            found.setdefault(said.number, {})[said.quantity] = said
        wanted = quantities(name)
        return {number: [of[q] for q in wanted] for number, of in found.items() if set(wanted) <= set(of)}

    def append(self, one: Estimator, name: str, said: Sequence[Said]) -> None:
        path = self.path(one, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            whole = file.tell() == 0
            if not whole:
                file.seek(-1, os.SEEK_END)
                whole = file.read(1) == b"\n"
            lines = "".join(json.dumps(asdict(s)) + "\n" for s in said)
            file.write((b"" if whole else b"\n") + lines.encode())


@dataclass(frozen=True)
class Study:
    """Which estimators on which conditions, how often."""

    seed: int
    estimators: tuple[Estimator, ...]
    conditions: tuple[str, ...]
    n: int
    """Trajectories per condition."""
    n_sets: int
    """Sets of temperatures."""
    state: Path

    def wanted(self, one: Estimator, name: str) -> int:
        """How often this estimator judges this condition: slow ones less often."""
        return min(self.n, one.at_most) if name in CONDITIONS else min(self.n_sets, one.at_most_sets)

    def missing(self) -> list[Piece]:
        """What is not in the store yet, in pieces of a few seconds."""
        store, found = Store(self.state, self.seed), []
        for one in self.estimators:
            for name in [] if one.missing else self.conditions:
                known = store.read(one, name)
                numbers = [k for k in range(self.wanted(one, name)) if k not in known]
                size = max(1, int(PIECE_S / nominal_seconds(one, name)))
                found += [Piece(one.name, name, self.seed, tuple(numbers[k : k + size])) for k in range(0, len(numbers), size)]
        return found

    def run(self, jobs: int = 1) -> None:
        """Compute what is missing with some processes; FolderBusy when another study writes to the same folder."""
        with locked(self.state):
            pieces, store = self.missing(), Store(self.state, self.seed)
            total = sum(nominal(piece) for piece in pieces)
            with progress(total, "calibrate", "s of work") as bar:
                for piece, said in _computed(pieces, jobs):
                    store.append(estimator(piece.estimator), piece.condition, said)
                    bar.update(nominal(piece) if total else 0)
                    bar.set_postfix_str(f"{piece.estimator}: {piece.condition}")

    def rows(self) -> list[Row]:
        """The table of what is in the store, the first `n` of each condition."""
        store, made = Store(self.state, self.seed), []
        for name in self.conditions:
            for one in self.estimators:
                known = store.read(one, name)
                said = [s for k in range(self.wanted(one, name)) for s in known.get(k, [])]
                made += _rows(one.name, name, said)
        return against_best(made)

    def said(self, one: Estimator, name: str) -> list[Said]:
        """What one estimator said of one condition, in order."""
        known = Store(self.state, self.seed).read(one, name)
        return [s for k in range(self.wanted(one, name)) for s in known.get(k, [])]


def nominal_seconds(one: Estimator, name: str) -> float:
    """About how long one trajectory or set takes, generation included."""
    return (one.seconds + 0.01) * (1 if name in CONDITIONS else len(SETS[name].temperatures) * SETS[name].replicas)


def nominal(piece: Piece) -> float:
    return len(piece.numbers) * nominal_seconds(estimator(piece.estimator), piece.condition)


def compute(piece: Piece) -> list[Said]:
    """The results of a piece."""
    one = estimator(piece.estimator)
    return [said for number in piece.numbers for said in judge(one, piece.condition, piece.seed, number)]


def _computed(pieces: Sequence[Piece], jobs: int) -> Iterator[tuple[Piece, list[Said]]]:
    """Pieces with their results as they are done, by processes of one thread each when `jobs` is more than one."""
    if jobs <= 1 or len(pieces) <= 1:
        for piece in pieces:
            yield piece, compute(piece)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes: threads beside each other only get in the way
    with ProcessPoolExecutor(min(jobs, len(pieces)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(compute, piece): piece for piece in pieces}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
