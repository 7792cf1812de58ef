"""Trajectories of exactly known diffusivity, one kind of motion per condition."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from grannfield.calibrate import walks
from grannfield.trajectory import Trajectory
from grannfield.units import CM2_PER_S

MOBILE_Z = 3
N_IONS = 20
FRAMEWORK = (16,) * 24 + (15,) * 6
"""Atomic numbers of the atoms that stay: with the ions 50 atoms, the size of the cells of the paper."""
CAGE = 0.3
"""Å rms per axis, vibration of an ion in its cage near 1000 K."""
PURPOSES = 5
"""For which a trajectory draws random numbers, each from its own stream."""
MEMORY = 200.0
"""fs, over which vibrations forget."""
FRAMEWORK_WIDTH = 0.15
CELLS = (
    np.array([[8.7, 0.0, 0.0], [0.0, 8.9, 0.0], [0.0, 0.0, 12.7]]),
    np.array([[8.8, 0.0, 0.0], [1.9, 8.6, 0.0], [-1.1, 2.3, 12.6]]),
)
"""Å, orthorhombic and triclinic; which one is drawn."""


@dataclass(frozen=True)
class Truth:
    """What is known of a synthetic trajectory."""

    diffusivity_cm2_per_s: float
    """Exact, in the limit of long times."""
    hops_per_ion: float
    """Expected in the run; for Brownian motion 6 D t/HOP²."""


@dataclass(frozen=True)
class Condition:
    """A kind of motion, and how much of it is seen."""

    name: str
    about: str
    """Physics and exact truth."""
    walk: Callable[[Condition, np.random.Generator], np.ndarray]
    """Displacements [F, n, 3] in Å of the ions, without vibration."""
    hops: float
    """Expected per ion in the run."""
    duration: float = 35_000.0
    """fs of production; 35 ps is the paper's."""
    interval: float = 35.0
    """fs between frames."""
    correlation: float = 1.0
    """D over that of uncorrelated hops at the same rate (Bardeen-Herring factor)."""
    cage: float = CAGE
    drifts: bool = False
    promised: bool = True
    """Whether our intervals are held to what is promised; otherwise the condition shows where they end."""
    n_ions: int = N_IONS
    temperature: float = 1000.0

    @property
    def n_frames(self) -> int:
        return round(self.duration / self.interval) + 1

    @property
    def rate(self) -> float:
        """Hops per ion and fs."""
        return self.hops / self.duration

    @property
    def diffusivity(self) -> float:
        """Å²/fs, exact: rate HOP²/6 times the correlation factor."""
        return self.correlation * self.rate * walks.HOP**2 / 6

    @property
    def truth(self) -> Truth:
        return Truth(self.diffusivity * CM2_PER_S, self.hops)


def _free(c: Condition, rng: np.random.Generator) -> np.ndarray:
    return walks.brownian(c.diffusivity, c.n_ions, c.n_frames, c.interval, rng)


def _laid(c: Condition, hops: walks.Hops) -> np.ndarray:
    return walks.path(hops, c.n_ions, c.n_frames, c.interval)


def _caged(c: Condition, rng: np.random.Generator) -> np.ndarray:
    return _laid(c, walks.single(c.rate, c.n_ions, c.duration, rng))


def _channel(c: Condition, rng: np.random.Generator) -> np.ndarray:
    return _laid(c, walks.single(c.rate, c.n_ions, c.duration, rng, CHANNEL))


def _correlated(c: Condition, rng: np.random.Generator) -> np.ndarray:
    return _laid(c, walks.strings(c.rate, c.n_ions, c.duration, (2, 3, 4), rng))


def _backjump(c: Condition, rng: np.random.Generator) -> np.ndarray:
    return _laid(c, walks.returning(c.rate, c.n_ions, c.duration, BACK, WAIT_BACK, rng))


def _heterogeneous(c: Condition, rng: np.random.Generator) -> np.ndarray:
    rates = (c.rate * 2 * FAST_SHARE, c.rate * 2 * (1 - FAST_SHARE))
    return _laid(c, walks.environments(rates, STAY, c.n_ions, c.duration, rng))


def _frozen(c: Condition, rng: np.random.Generator) -> np.ndarray:
    mobile = c.n_ions // FROZEN
    moved = np.zeros((c.n_frames, c.n_ions, 3))
    hops = walks.single(c.rate * c.n_ions / mobile, mobile, c.duration, rng)
    moved[:, :mobile] = walks.path(hops, mobile, c.n_frames, c.interval)
    return moved


CHANNEL = (0.1, 0.1, 0.8)
"""Share of the hops along each axis."""
BACK, WAIT_BACK = 0.5, 400.0
"""Probability that a hop is followed by a return, and the mean wait before it in fs."""
FAST_SHARE, STAY = 0.9, 10_000.0
"""Share of the hops that happen in the fast environment (nine times the other's rate), and the mean stay in fs."""
FROZEN = 4
"""One ion in so many is mobile."""

CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("free", "Brownian motion without cages: D is that of the increments.", _free, hops=24, cage=0.0),
        Condition(
            "caged",
            "Ions vibrate in cages (0.3 Å rms per axis, memory 0.2 ps) and hop 2.7 Å to one of six neighbouring sites: "
            "exponential waits, flights of 0.1-0.3 ps. Successive hops are independent: D = rate a²/6.",
            _caged,
            hops=24,
        ),
        Condition(
            "correlated",
            "As caged, but every event moves a string of 2-4 neighbouring ions by the same step. Each ion's own hops are a "
            "Poisson process: D of a tracer = rate a²/6; 20 ions are worth about half as many.",
            _correlated,
            hops=24,
        ),
        Condition(
            "backjump",
            "As caged, but half of all hops are followed by a hop straight back, after 0.4 ps on average. Persistent random "
            "walk with mean cosine -1/2: D = rate a²/6 (1 - 1/2)/(1 + 1/2), a third of what its hops suggest.",
            _backjump,
            hops=30,
            correlation=(1 - BACK) / (1 + BACK),
        ),
        Condition(
            "heterogeneous",
            "As caged, but each ion changes (mean stay 10 ps, of 35 ps) between a fast and a slow environment, nine times "
            "apart in rate. D = mean rate a²/6.",
            _heterogeneous,
            hops=24,
        ),
        Condition("anisotropic", "As caged, with 80% of the hops along one axis: a channel. D = rate a²/6.", _channel, hops=24),
        Condition(
            "drifting",
            "As caged, but the whole cell drifts: 10 Å at constant velocity, and a random walk besides of about 2 Å per axis. "
            "D relative to the framework = rate a²/6.",
            _caged,
            hops=24,
            drifts=True,
        ),
        Condition("slow", "As caged, but each ion hops once in the run on average. D = rate a²/6.", _caged, hops=1),
        Condition("rare", "As caged, but one ion in five hops at all: mostly below detection. D = rate a²/6.", _caged, hops=0.2),
        Condition(
            "short",
            "As caged, 7 ps of production (what the preset `quick` leaves) with about three hops per ion. D = rate a²/6.",
            _caged,
            hops=3,
            duration=7_000.0,
            interval=20.0,
        ),
        Condition(
            "short correlated",
            "As correlated, but 7 ps of production with four hops per ion: some 25 strings in all. D = rate a²/6.",
            _correlated,
            hops=4,
            duration=7_000.0,
            interval=20.0,
        ),
        Condition(
            "frozen",
            "As caged, but three ions in four never hop, while the fourth hops 48 times. D = mean rate a²/6 of just these ions: "
            "their inequality is no uncertainty, but nothing in a single run says so.",
            _frozen,
            hops=12,
            promised=False,
        ),
    )
}


def condition(name: str) -> Condition:
    """A condition by name; LookupError that lists them."""
    if name not in CONDITIONS:
        raise LookupError(f"no condition is called {name!r}; there are {', '.join(CONDITIONS)}")
    return CONDITIONS[name]


def generators(seed: int, *keys: int | str, count: int) -> list[np.random.Generator]:
    """Independent random numbers for `count` purposes of what the keys name; nothing is shared between different keys or seeds.

    >>> a, b = (generators(0, "caged", k, count=1)[0].random() for k in (0, 1))
    >>> a == b
    False
    """
    spawn_key = tuple(zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys)
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed, spawn_key=spawn_key).spawn(count)]


def trajectory(name: str | Condition, seed: int, number: int = 0) -> tuple[Trajectory, Truth]:
    """A trajectory of a condition and its truth; the same for the same condition, seed and number.

    z is 3 for the mobile ions, 16 and 15 for the framework; production only, no equilibration to drop.

    >>> run, truth = trajectory("caged", seed=0)
    >>> run.n_frames, run.n_atoms, f"{truth.diffusivity_cm2_per_s:.3g}"
    (1001, 50, '8.33e-05')
    """
    c = name if isinstance(name, Condition) else condition(name)
    made = drawn(c, generators(seed, c.name, number, count=PURPOSES), f"{c.name}, seed {seed}, number {number}")
    return made, c.truth


def drawn(c: Condition, rngs: Sequence[np.random.Generator], source: str) -> Trajectory:
    """A trajectory of a condition from random numbers for hops, cages, framework, drift and cell."""
    for_hops, for_cages, for_framework, for_drift, for_cell = rngs
    ions = c.walk(c, for_hops)
    if c.cage:
        ions = ions + walks.vibration(c.n_frames, c.n_ions, c.interval, c.cage, MEMORY, for_cages)
    framework = walks.vibration(c.n_frames, len(FRAMEWORK), c.interval, FRAMEWORK_WIDTH, MEMORY, for_framework)
    cell = CELLS[for_cell.integers(len(CELLS))]
    z = np.array([MOBILE_Z] * c.n_ions + list(FRAMEWORK))
    pos = np.concatenate([ions, framework], axis=1) + for_cell.random((len(z), 3)) @ cell
    if c.drifts:
        pos += _drift(c, for_drift)[:, None]
    time = c.interval * np.arange(c.n_frames)
    return Trajectory(z, pos, cell, time, np.full(c.n_frames, c.temperature), source=source)


def _drift(c: Condition, rng: np.random.Generator) -> np.ndarray:
    """Displacement [F, 3] of everything: 10 Å in a random direction, and a random walk of 2 Å rms per axis."""
    direction = rng.standard_normal(3)
    share = np.arange(c.n_frames)[:, None] / (c.n_frames - 1)
    steps = rng.standard_normal((c.n_frames, 3)) * 2.0 / np.sqrt(c.n_frames)
    return 10.0 * share * direction / np.linalg.norm(direction) + np.cumsum(steps, axis=0)


def at(name: str, **changes: float) -> Condition:
    """A condition with other settings, such as `at("caged", hops=5)`."""
    return replace(condition(name), **changes)  # type: ignore[arg-type]  # numbers for numbers
