"""Random motion with a diffusivity that is known exactly: vibration, hops one by one, in strings, with returns, in environments.

A hop is an event: an ion starts at some time and moves by a step during a flight of some 0.1-0.3 ps. Sites do not exclude
each other: an ion may hop to where another one is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

HOP = 2.7
"""Å between neighbouring sites, as between the Li sites of sulfide conductors."""
FLIGHTS = (100.0, 300.0)
"""fs a hop takes, uniformly distributed between these."""
LEAD_IN = 2000.0
"""fs that events begin before the first frame, so that flights, waits and returns are in their steady state there."""
MEAN_FLIGHT = sum(FLIGHTS) / 2


@dataclass(frozen=True, eq=False)
class Hops:
    """Events of a run, in any order."""

    ion: np.ndarray
    """[E] which ion."""
    start: np.ndarray
    """[E] fs since the first frame."""
    flight: np.ndarray
    """[E] fs."""
    step: np.ndarray
    """[E, 3] Å."""


def path(hops: Hops, n_ions: int, n_frames: int, interval: float) -> np.ndarray:
    """Displacements [F, n, 3] in Å that hops make, frames `interval` fs apart; a flight is uniform.

    >>> one = Hops(np.array([0]), np.array([5.0]), np.array([20.0]), np.array([[2.0, 0.0, 0.0]]))
    >>> path(one, 1, 5, 10.0)[:, 0, 0].tolist()
    [0.0, 0.5, 1.5, 2.0, 2.0]
    """
    first = np.floor(hops.start / interval).astype(int) + 1
    frame = first[:, None] + np.arange(int(FLIGHTS[1] / interval) + 2)
    before, after = (np.clip((f * interval - hops.start[:, None]) / hops.flight[:, None], 0.0, 1.0) for f in (frame - 1, frame))
    share = np.where((frame > 0) & (frame < n_frames), after - before, 0.0)
    place = np.clip(frame, 0, n_frames - 1) * n_ions + hops.ion[:, None]
    moved = np.empty((n_frames, n_ions, 3))
    for axis in range(3):
        weight = (share * hops.step[:, axis, None]).ravel()
        moved[..., axis] = np.bincount(place.ravel(), weight, minlength=n_frames * n_ions).reshape(n_frames, n_ions)
    return np.cumsum(moved, axis=0)


def steps(count: int, rng: np.random.Generator, axis_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)) -> np.ndarray:
    """Steps [count, 3] in Å to one of the six neighbours on a cubic lattice of sites, each axis with its share of the hops."""
    axis = np.searchsorted(np.cumsum(axis_shares), rng.random(count) * sum(axis_shares), side="right")
    made = np.zeros((count, 3))
    made[np.arange(count), np.minimum(axis, 2)] = rng.choice((-HOP, HOP), size=count)
    return made


def flights(shape: tuple[int, ...] | int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(*FLIGHTS, size=shape)


def single(
    rate: float,
    n_ions: int,
    duration: float,
    rng: np.random.Generator,
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3),
) -> Hops:
    """Ions that ignore each other: exponential wait in the cage, flight to a neighbour at random, wait, ...

    rate: hops per ion and fs, 1 / (mean wait + mean flight). A renewal process without memory: D = rate HOP²/6.
    """
    return _renewal(1 / rate - MEAN_FLIGHT, n_ions, duration, 0.0, 0.0, rng, shares)


def returning(rate: float, n_ions: int, duration: float, share: float, wait_back: float, rng: np.random.Generator) -> Hops:
    """After any hop, with probability `share`, a hop straight back after a short wait (mean `wait_back` fs).

    Otherwise the wait is long, so that the rate of all hops is `rate`, and the direction is random. The mean cosine between
    successive hops is -share, hence D = rate HOP²/6 (1 - share)/(1 + share), the persistent random walk; waits do not enter
    otherwise (Haus and Kehr, Phys. Rep. 150, 263 (1987), https://doi.org/10.1016/0370-1573(87)90005-6).
    """
    wait = (1 / rate - MEAN_FLIGHT - share * wait_back) / (1 - share)
    return _renewal(wait, n_ions, duration, share, wait_back, rng)


def _renewal(
    wait: float,
    n_ions: int,
    duration: float,
    share: float,
    wait_back: float,
    rng: np.random.Generator,
    axis_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3),
) -> Hops:
    """Alternating waits and flights of each ion, from LEAD_IN before the first frame past the last."""
    if wait <= 0:
        raise ValueError(f"hops so frequent leave {wait:g} fs to wait between flights of {MEAN_FLIGHT:g} fs; lower the rate")
    span = duration + LEAD_IN
    expected = span / ((1 - share) * wait + share * wait_back + MEAN_FLIGHT)
    count = int(expected + 8 * np.sqrt(expected) + 20)
    back = rng.random((n_ions, count)) < share
    back[:, 0] = False
    waits = rng.exponential(size=(n_ions, count)) * np.where(back, wait_back, wait)
    flight = flights((n_ions, count), rng)
    start = np.cumsum(waits, axis=1) + np.cumsum(flight, axis=1) - flight - LEAD_IN
    if start[:, -1].min() < duration:
        raise RuntimeError(f"{count} hops end at {start[:, -1].min():g} fs, before the run does")  # odds below 1e-12
    fresh = steps(n_ions * count, rng, axis_shares).reshape(n_ions, count, 3)
    index = np.arange(count)
    origin = np.maximum.accumulate(np.where(back, 0, index), axis=1)
    sign = np.where((index - origin) % 2, -1.0, 1.0)
    step = np.take_along_axis(fresh, origin[..., None], axis=1) * sign[..., None]
    inside = start < duration
    ion = np.broadcast_to(np.arange(n_ions)[:, None], start.shape)
    return Hops(ion[inside], start[inside], flight[inside], step[inside])


def strings(rate: float, n_ions: int, duration: float, lengths: tuple[int, ...], rng: np.random.Generator) -> Hops:
    """Events that move 2-4 ions that are neighbours on a ring by the same step, each starting within 50 fs of the one before.

    Every ion takes part at `rate`, at times that are a Poisson process: D of a single ion is rate HOP²/6 exactly, while
    displacements of neighbours are correlated, so that n ions say less than n ions that ignore each other.
    """
    span = duration + LEAD_IN
    count = rng.poisson(rate * n_ions / np.mean(lengths) * span)
    length = rng.choice(lengths, size=count)
    begin = rng.uniform(-LEAD_IN, duration, size=count)
    event = np.repeat(np.arange(count), length)
    place = np.arange(len(event)) - np.repeat(np.cumsum(length) - length, length)
    ion = (rng.integers(n_ions, size=count)[event] + place) % n_ions
    start = begin[event] + place * rng.uniform(0.0, 50.0, size=count)[event]
    return Hops(ion, start, flights(count, rng)[event], steps(count, rng)[event])


def environments(rates: tuple[float, float], exchange: float, n_ions: int, duration: float, rng: np.random.Generator) -> Hops:
    """Ions that hop at one of two rates and change between the two environments, which they find equally often.

    `exchange` is the mean stay in fs. Hops in random directions at a rate that does not depend on them: D = (mean rate) HOP²/6.
    """
    fast = max(rates)
    span = duration + LEAD_IN
    expected = fast * span
    count = int(expected + 8 * np.sqrt(expected) + 20)
    gap = rng.exponential(1 / fast, size=(n_ions, count))
    stays = rng.random((n_ions, count)) < 0.5 * (1 + np.exp(-2 * gap / exchange))
    stays[:, 0] = rng.random(n_ions) < 0.5
    state = np.cumsum(~stays, axis=1) % 2
    start = np.cumsum(gap, axis=1) - LEAD_IN
    happens = (start < duration) & (rng.random((n_ions, count)) < np.array(rates)[state] / fast)
    ion = np.broadcast_to(np.arange(n_ions)[:, None], start.shape)[happens]
    return Hops(ion, start[happens], flights(len(ion), rng), steps(len(ion), rng))


def brownian(diffusivity: float, n_ions: int, n_frames: int, interval: float, rng: np.random.Generator) -> np.ndarray:
    """Displacements [F, n, 3] in Å of Brownian particles; diffusivity in Å²/fs."""
    moved = rng.standard_normal((n_frames, n_ions, 3)) * np.sqrt(2 * diffusivity * interval)
    moved[0] = 0.0
    return np.cumsum(moved, axis=0)


def vibration(n_frames: int, n_atoms: int, interval: float, width: float, memory: float, rng: np.random.Generator) -> np.ndarray:
    """Vibration [F, N, 3] about a site: a stationary Ornstein-Uhlenbeck process, `width` Å rms per axis, `memory` fs.

    Its mean squared displacement is 6 width² (1 - exp(-t/memory)): it adds a constant to an MSD, not a slope.
    """
    kept = np.exp(-interval / memory)
    kicks = rng.standard_normal((n_frames, n_atoms * 3))
    kicks[1:] *= np.sqrt(1 - kept**2)
    return width * lfilter([1.0], [1.0, -kept], kicks, axis=0).reshape(n_frames, n_atoms, 3)
