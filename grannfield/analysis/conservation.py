"""Whether motion keeps its energy and whether forces are a gradient: the drift of NVE runs, the asymmetry of the Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield import units
from grannfield.analysis.blocks import correlation_time
from grannfield.analysis.uncertainty import TOO_SHORT, UNDEFINED, Estimate, jackknife_half_width, t_quantile

SEGMENTS = 6
"""Of a run, whose own slopes show whether its energy wanders."""
FEWEST_FRAMES = 30
LEAST = 1e-30
"""Share of the squares of all products below which a sum counts as this much, so that it has a logarithm."""
WIDEST = 300.0
"""Half-width of a logarithm that still has an exponential."""


@dataclass(frozen=True)
class EnergyDrift:
    """How the total energy of NVE runs changes; n counts frames."""

    drift: Estimate
    """eV/fs per atom, slope of the straight line through the total energy, mean over runs."""
    by_run: tuple[float, ...]
    """eV/fs per atom."""
    swing: float
    """eV per atom, rms of the total energy about these lines."""


@dataclass(frozen=True)
class Asymmetry:
    """How much of a force field's Jacobian J = dF/dx is antisymmetric: none where forces are the gradient of an energy."""

    share: Estimate
    """|A|/|J| by Frobenius norm, A the antisymmetric part; n counts pairs of directions."""
    floor: float
    """The same of the change between two steps of the differences: what rounding and curvature leave to be seen."""


def total_energy(potential: np.ndarray, temperature: np.ndarray, n_atoms: int) -> np.ndarray:
    """Potential and kinetic energy [F] in eV; the kinetic temperature [F] in K is that of 3 n - 3 degrees of freedom.

    >>> round(float(total_energy(np.array([-1.0]), np.array([1000.0]), 2)[0]), 4)
    -0.8707
    """
    return np.asarray(potential) + 0.5 * max(1, 3 * n_atoms - 3) * units.BOLTZMANN * np.asarray(temperature)


def energy_drift(energies: Sequence[np.ndarray], interval: float, n_atoms: int) -> EnergyDrift:
    """The linear drift of total energies [F] in eV, one array for each run, of frames `interval` fs apart.

    Two things blur the slope of a run of length L. Noise, with the variance and correlation time of what is left of SEGMENTS
    parts of the run without their own lines: sigma² tau / sum t². And a wandering of the energy: where the means of successive
    parts differ by more than noise explains, V beyond it, a random walk that would do so gives the slope a variance 1.8 SEGMENTS
    V / L². The interval takes the first with the normal quantile and the second with Student's t. "too short" below 30 frames.
    ValueError for energies that are not finite.

    >>> e = energy_drift([np.arange(100.0) * 1e-4 + 1e-3 * np.cos(np.arange(100.0))], 2.0, 10)
    >>> round(e.drift.value * 1e6, 1)  # 1e-4 eV every 2 fs of 10 atoms
    5.0
    """
    energies = [np.asarray(one, dtype=float) / n_atoms for one in energies]
    frames = sum(map(len, energies))
    if not energies or min(map(len, energies)) < FEWEST_FRAMES:
        return EnergyDrift(Estimate.missing(TOO_SHORT, f"{frames} frames, {FEWEST_FRAMES} are needed", n=frames), (), np.nan)
    if not all(np.isfinite(one).all() for one in energies):
        raise ValueError("total energies are not finite: cut the run before that frame")
    lines = [_line(one, interval) for one in energies]
    slopes, count = np.array([slope for slope, _ in lines]), len(energies)
    noise, beyond = zip(*(_blur(one, interval) for one in energies), strict=True)
    degrees = count * (SEGMENTS - 2)
    longest = interval * max(map(len, energies))
    wandering = 1.8 * SEGMENTS * max(0.0, float(np.mean(beyond))) / longest**2
    half = float(np.sqrt((t_quantile(10_000) ** 2 * np.mean(noise) + t_quantile(degrees) ** 2 * wandering) / count))
    value = float(slopes.mean())
    note = f"frames; slope of {count} run{'s' * (count > 1)}, noise and wandering from {SEGMENTS} parts of each"
    swing = float(np.sqrt(np.mean(np.concatenate([rest for _, rest in lines]) ** 2)))
    return EnergyDrift(Estimate(value, (value - half, value + half), frames, note=note), tuple(map(float, slopes)), swing)


def _line(energy: np.ndarray, interval: float) -> tuple[float, np.ndarray]:
    """Slope of the line through a series, and the rest."""
    time = interval * (np.arange(len(energy)) - (len(energy) - 1) / 2)
    slope = float(time @ (energy - energy.mean())) / float(time @ time)
    return slope, energy - energy.mean() - slope * time


def _blur(energy: np.ndarray, interval: float) -> tuple[float, float]:
    """Variance that noise gives the slope of a run, and by how much the means of its parts differ beyond noise."""
    parts = np.array_split(energy, SEGMENTS)
    rest = np.concatenate([_line(part, interval)[1] for part in parts])
    owner = np.repeat(np.arange(SEGMENTS), [len(part) for part in parts])
    variance = float(rest @ rest) / max(1, len(rest) - 2 * SEGMENTS)
    lasting = variance * correlation_time(rest, [np.flatnonzero(owner == k) for k in range(SEGMENTS)], owner)
    time = interval * (np.arange(len(energy)) - (len(energy) - 1) / 2)
    steps = np.diff([part.mean() for part in parts])
    return lasting / float(time @ time), float(steps.var(ddof=1)) - 2 * lasting / (len(energy) / SEGMENTS)


def asymmetry(forward: np.ndarray, backward: np.ndarray, fine: tuple[np.ndarray, np.ndarray] | None = None) -> Asymmetry:
    """The antisymmetric share of Jacobians from products u.J v (`forward`) and v.J u (`backward`), [frames, directions].

    For random u and v, E (u.J v - v.J u)² = 4 |A|² and E (u.J v + v.J u)² = 4 |S|², so that |A|²/|J|² is the first over the sum
    of both. `fine`: the same products from a shorter step, for the floor. The interval is a jackknife over frames of the
    logarithm of |A|²/|S|²: a few stiff bonds give the products long tails, and an interval symmetric about the share would reach
    zero in a third of the samples of forces that are no gradient. Where it would begin below the floor, the share is not told
    from rounding: the interval then begins at zero and ends a half-width of the share itself above it. No number where the forces
    do not change at all.

    >>> rotation = asymmetry(np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[-1.0, 2.0], [-0.5, -3.0]]))
    >>> rotation.share.value, asymmetry(np.ones((2, 2)), np.ones((2, 2))).share.value
    (1.0, 0.0)
    """
    forward, backward = np.asarray(forward, dtype=float), np.asarray(backward, dtype=float)
    if forward.shape != backward.shape or forward.ndim != 2 or not forward.size:
        raise ValueError(f"products {forward.shape} and {backward.shape} should be [frames, directions]")
    if not (np.isfinite(forward).all() and np.isfinite(backward).all()):
        raise ValueError("differences of forces are not finite")
    odd, even = ((forward - backward) ** 2).sum(axis=1), ((forward + backward) ** 2).sum(axis=1)
    total = odd.sum() + even.sum()
    if not total:
        return Asymmetry(Estimate.missing(UNDEFINED, "the forces do not change with the positions", n=forward.size), np.nan)
    value = float(np.sqrt(odd.sum() / total))
    floor = np.nan
    if fine is not None:
        change = (forward - backward) - (np.asarray(fine[0]) - np.asarray(fine[1]))
        floor = float(np.sqrt((change**2).sum() / total))
    note = f"pairs of directions in {len(odd)} frames, jackknife over frames"
    return Asymmetry(Estimate(value, _share_interval(odd, even, value, floor), forward.size, note=note), floor)


def _share_interval(odd: np.ndarray, even: np.ndarray, value: float, floor: float) -> tuple[float, float]:
    """Of value = sqrt(odd/(odd + even)) for sums over frames [M]; everything, where one frame says nothing of the spread."""
    if len(odd) < 2:
        return 0.0, 1.0
    least = LEAST * (odd.sum() + even.sum())
    odd_rest, even_rest = (np.maximum(one.sum() - one, least) for one in (odd, even))
    half = min(jackknife_half_width(np.log(odd_rest / even_rest)), WIDEST)
    low, high = (float(np.sqrt(odd.sum() * k / (odd.sum() * k + even.sum()))) for k in np.exp([-half, half]))
    if low < floor:
        return 0.0, min(1.0, value + jackknife_half_width(np.sqrt(odd_rest / (odd_rest + even_rest))))
    return low, high
