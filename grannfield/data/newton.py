"""Positions foretold from the forces kept beside them, by Newton's equation: what is left takes a third of linear prediction's.

Where frames lie h apart and a = F/m is the acceleration, x[t+1] - 2 x[t] + x[t-1] = h² (a[t+1] + 10 a[t] + a[t-1]) / 12 up to
h^6 (B. V. Numerov, Mon. Not. R. Astron. Soc. 84, 592 (1924), doi:10.1093/mnras/84.8.592). In place of 1, 10, 1 stand weights on
`REACH` frames before and after, fitted for each species by least squares: vibrations with periods of six frames need more than
three. A Nosé-Hoover thermostat adds -xi v with one xi for all atoms, which is fitted for each frame. What is left then is as
small as the rounding of positions, and the linear prediction of `grannfield.data.compact` takes the rest.

Decoding is arithmetic of 64-bit integers alone: weights and xi are themselves kept as integers, so no mass, no frame spacing and
no rounding of a processor enters, and positions are the same on every machine. `WEIGHT_LIMIT`, `FRICTION_LIMIT` and the limits
of positions (`compact.LARGEST`) and of forces (`FORCE_LIMIT`) keep all sums below 2^62.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from grannfield.data.compact import packed_steps, unpacked_steps

REACH = 4
"""Frames before and after whose forces say where an atom is pushed."""
WEIGHT_SHIFT = 20
"""Weights are integers in units of 2^-20 units of position for one of force."""
WEIGHT_LIMIT = 2**36
FRICTION_SHIFT = 14
"""xi h / 2 is an integer in units of 2^-14."""
FRICTION_LIMIT = 2**14
FORCE_LIMIT = 2**22
"""Units of force from which on forces foretell no positions: (2 REACH + 1) 2^36 2^22 stays below 2^62."""
ROUNDS = 3
"""Weights and friction are fitted in turns; after three the rest no longer falls."""


def packed_motion(units: np.ndarray, forces: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray] | None:
    """Arrays from which `unpacked_motion` makes positions [F, N, 3] in units again, given the forces [F, N, 3] in theirs.

    None where there are fewer than 3 frames, or forces of `FORCE_LIMIT` units and more.
    """
    if len(units) < 3 or np.abs(forces).max() >= FORCE_LIMIT:
        return None
    step = np.diff(units, axis=0)
    second = np.diff(step, axis=0)
    friction = np.zeros(len(second), dtype=np.int64)
    for _ in range(ROUNDS):
        free = second - damped(step[:-1], second, friction)
        weights = {int(element): _weights(free[:, z == element], forces[:, z == element]) for element in np.unique(z)}
        push = pushes(forces, z, weights)
        friction = _friction(second - push, 2 * step[:-1] + push)
    left = second - push - damped(step[:-1], push, friction)
    arrays = {"first": units[0], "first-step": step[0], "friction": np.diff(friction, prepend=0)}
    return arrays | {f"weights-{element}": found for element, found in weights.items()} | packed_steps(left, z)


def unpacked_motion(arrays: Mapping[str, np.ndarray], forces: np.ndarray, z: np.ndarray) -> np.ndarray:
    """[F, N, 3] positions in units, from the arrays of `packed_motion` and the same forces in units."""
    weights = {int(element): arrays[f"weights-{element}"].astype(np.int64) for element in np.unique(z)}
    push, left = pushes(forces, z, weights), unpacked_steps(arrays, z)
    friction = np.cumsum(arrays["friction"].astype(np.int64))
    steps = np.empty((len(left) + 1, len(z), 3), dtype=np.int64)
    steps[0] = arrays["first-step"]
    for f in range(len(left)):
        steps[f + 1] = steps[f] + push[f] + damped(steps[f], push[f], friction[f : f + 1])[0] + left[f]
    first = arrays["first"].astype(np.int64)
    return np.concatenate([first[None], first + np.cumsum(steps, axis=0)])


def pushes(forces: np.ndarray, z: np.ndarray, weights: Mapping[int, np.ndarray]) -> np.ndarray:
    """[F - 2, N, 3] second differences of positions that forces [F, N, 3] make, all in units.

    Beyond the ends stands the first or last frame. With Numerov's weights, for h² / m = 1 in these units:

    >>> f = np.array([0, 12, 24, 36, 60])[:, None, None]
    >>> numerov = np.array([0, 0, 0, 1, 10, 1, 0, 0, 0]) * 2**WEIGHT_SHIFT // 12
    >>> pushes(f, np.array([3]), {3: numerov})[:, 0, 0].tolist()
    [12, 24, 37]
    """
    found = np.zeros((len(forces) - 2, *forces.shape[1:]), dtype=np.int64)
    for element, one in weights.items():
        own, total = z == element, 1 << (WEIGHT_SHIFT - 1)
        for part, weight in zip(_around(forces[:, own]), one.tolist(), strict=True):
            total = total + weight * part
        found[:, own] = total >> WEIGHT_SHIFT
    return found


def damped(step: np.ndarray, push: np.ndarray, friction: np.ndarray) -> np.ndarray:
    """[F, N, 3] what friction [F] adds to second differences: 2 step + push is the way from the frame before to the next."""
    return (friction.reshape(-1, 1, 1) * (2 * step + push) + (1 << (FRICTION_SHIFT - 1))) >> FRICTION_SHIFT


def _around(forces: np.ndarray) -> list[np.ndarray]:
    """Forces `REACH` frames before to `REACH` after each frame but the first and the last."""
    middle = np.arange(1, len(forces) - 1)
    return [forces[np.clip(middle + k, 0, len(forces) - 1)] for k in range(-REACH, REACH + 1)]


def _weights(second: np.ndarray, forces: np.ndarray) -> np.ndarray:
    around = np.stack([part.ravel() for part in _around(forces)], axis=1).astype(np.float64)
    found = np.linalg.lstsq(around, second.ravel().astype(np.float64), rcond=None)[0]
    return np.rint(np.clip(np.ldexp(found, WEIGHT_SHIFT), -WEIGHT_LIMIT, WEIGHT_LIMIT)).astype(np.int64)


def _friction(second: np.ndarray, way: np.ndarray) -> np.ndarray:
    """[F] the friction that makes the least of what pushes leave [F, N, 3], along twice the velocity."""
    along = (second.astype(np.float64) * way).sum(axis=(1, 2))
    length = np.maximum((way.astype(np.float64) ** 2).sum(axis=(1, 2)), 1.0)
    return np.rint(np.clip(np.ldexp(along / length, FRICTION_SHIFT), -FRICTION_LIMIT, FRICTION_LIMIT)).astype(np.int64)
