"""Units, physical constants and the elements.

Everything inside the package is in Å, eV, fs, u (unified atomic mass), K and e; a name that says nothing about its unit
is in these. Values: CODATA 2018 (https://doi.org/10.1103/RevModPhys.93.025010).
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import numpy as np

BOLTZMANN = 8.617333262e-5
"""eV/K."""
ACCELERATION = 9.648533212331e-3
"""Å/fs² of a mass of 1 u under a force of 1 eV/Å; also (eV/u) in (Å/fs)²."""
ELEMENTARY_CHARGE_C = 1.602176634e-19
BOLTZMANN_J_PER_K = 1.380649e-23
CM2_PER_S = 0.1
"""cm²/s in one Å²/fs."""


def ns_per_day(seconds_per_step: float, timestep: float) -> float:
    """Simulated nanoseconds in one day of computing.

    >>> round(ns_per_day(0.001, 2.0), 1)
    172.8
    """
    return 86_400.0 / seconds_per_step * timestep * 1e-6


@cache
def _elements() -> tuple[tuple[str, ...], np.ndarray]:
    text = resources.files("grannfield").joinpath("elements.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")][1:]
    symbols, masses = ["X"], [np.nan]
    for number, symbol, mass in rows:
        assert int(number) == len(symbols)
        symbols.append(symbol)
        masses.append(float(mass))
    return tuple(symbols), np.array(masses)


def symbol(number: int) -> str:
    """Chemical symbol of an atomic number.

    >>> symbol(3)
    'Li'
    """
    symbols, _ = _elements()
    if not 0 < number < len(symbols):
        raise ValueError(f"no element has atomic number {number}; they run from 1 to {len(symbols) - 1}")
    return symbols[number]


def number(symbol: str) -> int:
    """Atomic number of a chemical symbol; ValueError for a name that is none.

    >>> number("Ge")
    32
    """
    symbols, _ = _elements()
    if symbol not in symbols[1:]:
        raise ValueError(f"{symbol!r} is not a chemical symbol (they look like 'Li', 'S', 'Ge')")
    return symbols.index(symbol)


def masses(z: np.ndarray) -> np.ndarray:
    """Standard atomic masses [N] in u of atomic numbers z [N]."""
    _, table = _elements()
    return table[np.asarray(z)]


def formula(z: np.ndarray) -> str:
    """Composition of a set of atoms, elements by atomic number.

    >>> formula([3, 16, 3])
    'Li2S1'
    """
    numbers, counts = np.unique(np.asarray(z), return_counts=True)
    return "".join(f"{symbol(int(a))}{n}" for a, n in zip(numbers, counts, strict=True))
