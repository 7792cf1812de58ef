"""Sets of trajectories at several temperatures whose activation energy and conductivity at 300 K are exactly known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.conductivity import ROOM_TEMPERATURE, nernst_einstein
from grannfield.calibrate.synthetic import CELLS, N_IONS, PURPOSES, Condition, at, drawn, generators
from grannfield.calibrate.walks import HOP
from grannfield.trajectory import Trajectory
from grannfield.units import BOLTZMANN, CM2_PER_S

VOLUME = abs(float(np.linalg.det(CELLS[0])))
"""Å³; the conductivity is that of the orthorhombic cell, whichever was drawn."""


@dataclass(frozen=True)
class TruthOfSet:
    """What is known of a set."""

    activation_energy: float
    """eV."""
    neg_log_sigma: float
    """-log10 of the conductivity at 300 K in mS/cm, by Nernst-Einstein."""
    hops_per_ion: float
    """Expected at the lowest temperature."""


@dataclass(frozen=True)
class TemperatureSet:
    """Runs at some temperatures, D = D0 exp(-Ea/kT)."""

    name: str
    about: str
    temperatures: tuple[float, ...]
    """K."""
    replicas: int = 1
    activation_energy: float = 0.25
    """eV, typical of superionic sulfides."""
    diffusivity_1200K: float = 1e-4
    """cm²/s, as in Li10GeP2S12."""
    kind: str = "caged"
    duration: float = 35_000.0
    interval: float = 35.0

    def diffusivity(self, temperature: float) -> float:
        """cm²/s."""
        exponent = self.activation_energy / BOLTZMANN * (1 / 1200.0 - 1 / temperature)
        return self.diffusivity_1200K * math.exp(exponent)

    def condition(self, temperature: float) -> Condition:
        """Caged hoppers at a temperature: the rate follows from D, vibrations grow as the square root of T."""
        base = at(self.kind, duration=self.duration, interval=self.interval, temperature=temperature)
        hops = self.diffusivity(temperature) / CM2_PER_S * 6 / HOP**2 * self.duration / base.correlation
        return at(
            self.kind,
            hops=hops,
            duration=self.duration,
            interval=self.interval,
            temperature=temperature,
            cage=base.cage * math.sqrt(temperature / 1000.0),
        )

    @property
    def truth(self) -> TruthOfSet:
        sigma = nernst_einstein(self.diffusivity(ROOM_TEMPERATURE), N_IONS, VOLUME, ROOM_TEMPERATURE)
        return TruthOfSet(self.activation_energy, -math.log10(sigma), self.condition(min(self.temperatures)).hops)


FIVE = (800.0, 900.0, 1000.0, 1100.0, 1200.0)
SETS = {
    one.name: one
    for one in (
        TemperatureSet("five temperatures", "Caged hoppers, 800-1200 K, one run of 35 ps each; Ea = 0.25 eV.", FIVE),
        TemperatureSet(
            "five temperatures twice", "Caged hoppers, 800-1200 K, two runs of 35 ps each; Ea = 0.25 eV.", FIVE, replicas=2
        ),
        TemperatureSet(
            "five temperatures correlated",
            "Strings of 2-4 ions moving together, 800-1200 K, one run of 35 ps each; Ea = 0.25 eV.",
            FIVE,
            kind="correlated",
        ),
        TemperatureSet(
            "few temperatures",
            "Caged hoppers at 800, 1000 and 1200 K only, one run of 35 ps each; Ea = 0.25 eV.",
            (800.0, 1000.0, 1200.0),
        ),
        TemperatureSet(
            "few temperatures short",
            "What the preset `quick` gives: 800, 1000 and 1200 K, two runs of 7 ps each; Ea = 0.25 eV.",
            (800.0, 1000.0, 1200.0),
            replicas=2,
            duration=7_000.0,
            interval=20.0,
        ),
        TemperatureSet(
            "cold temperatures",
            "Caged hoppers, 600-1200 K, one run of 35 ps each, Ea = 0.4 eV: at the lowest temperatures an ion hops once or less, "
            "and leaving out what is below detection would bias the line.",
            (600.0, 700.0, 800.0, 1000.0, 1200.0),
            activation_energy=0.4,
            diffusivity_1200K=5e-5,
        ),
    )
}


def temperature_set(name: str) -> TemperatureSet:
    """A set by name; LookupError that lists them."""
    if name not in SETS:
        raise LookupError(f"no set of temperatures is called {name!r}; there are {', '.join(SETS)}")
    return SETS[name]


def trajectories(name: str | TemperatureSet, seed: int, number: int = 0) -> tuple[list[tuple[float, Trajectory]], TruthOfSet]:
    """[(K, trajectory)] of a set, replicas one after the other, and its truth; the same for the same name, seed and number.

    >>> runs, truth = trajectories("few temperatures short", seed=0)
    >>> [t for t, _ in runs], truth.activation_energy, round(truth.neg_log_sigma, 3)
    ([800.0, 800.0, 1000.0, 1000.0, 1200.0, 1200.0], 0.25, -0.951)
    """
    one = name if isinstance(name, TemperatureSet) else temperature_set(name)
    made = []
    for k, temperature in enumerate(t for t in one.temperatures for _ in range(one.replicas)):
        source = f"{one.name}, seed {seed}, number {number}, run {k}"
        rngs = generators(seed, one.name, number, k, count=PURPOSES)
        made.append((temperature, drawn(one.condition(temperature), rngs, source)))
    return made, one.truth
