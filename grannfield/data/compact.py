"""Trajectories of MD in a fraction of their size: fixed-point numbers, what a linear prediction leaves of them, compressed.

Positions are multiples of a power of two of an Å (a `Rounding`), so that everything after rounding is exact integer arithmetic,
the same on every machine. Between frames 10 fs apart an atom's next step is nearly a linear function of its last ones (its
vibrations are slower than that): the steps of each species are predicted from the `ORDER` before them with coefficients fitted
by least squares, as lossless audio coders do (T. Robinson, SHORTEN, CUED/F-INFENG/TR.156, 1994), and only the differences are
kept. Where forces are kept beside them they say more than the past does: `grannfield.data.newton`.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

POSITION_BITS = 10
"""Of files that do not say theirs, which are of version 2: positions in units of 2^-10 Å."""
ENERGY_BITS = 20
"""Energies in units of 2^-20 eV, below the rounding of a float32 network's energy of 50 atoms."""
TEMPERATURE_BITS = 12
"""Kinetic temperatures in units of 2^-12 K: 2e-6 eV of the kinetic energy of 50 atoms."""
ORDER = 8
"""Steps from which the next one is predicted."""
SHIFT = 12
"""Coefficients are integers in units of 2^-12."""
LARGEST = 2**40
"""Units from which on an array is not kept in fixed point: products with coefficients would leave 64 bits."""
WIDEST = 127
"""Largest residual of one byte; others are kept aside."""


@dataclass(frozen=True)
class Rounding:
    """How finely a compact file keeps a motion."""

    position_bits: int
    """Positions in units of 2^-position_bits Å."""
    force_bits: int | None = None
    """Forces in units of 2^-force_bits eV/Å; None: not at all, or as a plain file has them."""


MOTION = Rounding(7)
"""MD that is only analysed: 0.0023 Å rms, below the width of any peak."""
CONSTANT_ENERGY = Rounding(6)
"""NVE runs, whose energies and temperatures alone become a number: 0.0045 Å rms show where atoms are, whether any have fused, and
whether the energies are those of the weights at these positions (0.04 eV rms for 50 atoms, of 0.5 eV that they vary by)."""
LABELLED = Rounding(15, 11)
"""Frames that models learn from and are scored on: 0.9e-5 Å and 0.14 meV/Å rms."""
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]


def fixed_point(values: np.ndarray, bits: int) -> np.ndarray | None:
    """Values as integers in units of 2^-bits; None where one is NaN, infinite or too large."""
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all() or (np.abs(values) >= LARGEST / 2**bits).any():
        return None
    return np.rint(np.ldexp(values, bits)).astype(np.int64)


def floating(units: np.ndarray, bits: int) -> np.ndarray:
    """The values of `fixed_point`, exactly.

    >>> x = np.array([0.1, -3.7])
    >>> bool(np.abs(floating(fixed_point(x, 10), 10) - x).max() <= 2**-11)
    True
    """
    return np.ldexp(units.astype(np.float64), -bits)


def predicted_steps(steps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """[F, C] what the `ORDER` steps before each predict of it; before the first all are zero."""
    history = np.concatenate([np.zeros((ORDER, steps.shape[1]), dtype=np.int64), steps])
    total = np.full(steps.shape, 1 << (SHIFT - 1), dtype=np.int64)
    for k, coefficient in enumerate(coefficients.tolist(), 1):
        total += coefficient * history[ORDER - k : len(history) - k]
    return total >> SHIFT


def coefficients_of(steps: np.ndarray) -> np.ndarray:
    """[ORDER] integers in units of 2^-SHIFT that predict steps [F, C] best, in the sense of least squares."""
    known = len(steps) - ORDER
    if known < 2:
        return np.zeros(ORDER, dtype=np.int64)
    before = np.stack([steps[ORDER - k : len(steps) - k].ravel() for k in range(1, ORDER + 1)], axis=1).astype(np.float64)
    found = np.linalg.lstsq(before, steps[ORDER:].ravel().astype(np.float64), rcond=None)[0]
    return np.rint(np.clip(found, -16, 16) * 2**SHIFT).astype(np.int64)


def packed_positions(units: np.ndarray, z: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """Arrays from which `unpacked_positions` makes the positions (or forces) [F, N, 3] in units again."""
    return {f"{prefix}first": units[0]} | packed_steps(np.diff(units, axis=0), z, prefix)


def unpacked_positions(arrays: Mapping[str, np.ndarray], z: np.ndarray, prefix: str = "") -> np.ndarray:
    """[F, N, 3] positions in units, from the arrays of `packed_positions`."""
    first = arrays[f"{prefix}first"].astype(np.int64)
    return np.concatenate([first[None], first + np.cumsum(unpacked_steps(arrays, z, prefix), axis=0)])


def packed_steps(steps: np.ndarray, z: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """What prediction leaves of integers [F, N, 3] that follow each other in time, for each species."""
    arrays = {}
    for element in np.unique(z).tolist():
        own = steps[:, z == element].reshape(len(steps), 3 * int((z == element).sum()))
        coefficients = coefficients_of(own)
        left = np.ascontiguousarray((own - predicted_steps(own, coefficients)).T)  # each coordinate's motion in one piece
        arrays[f"{prefix}coefficients-{element}"] = coefficients
        far = np.abs(left) > WIDEST
        if far.sum() <= 0.05 * left.size:
            arrays[f"{prefix}far-{element}"] = left[far]
            left = np.where(far, -WIDEST - 1, left).astype(np.int8)
        arrays[f"{prefix}residuals-{element}"] = left
    return arrays


def unpacked_steps(arrays: Mapping[str, np.ndarray], z: np.ndarray, prefix: str = "") -> np.ndarray:
    """[F, N, 3] the integers of `packed_steps`."""
    elements = np.unique(z).tolist()
    n_steps = arrays[f"{prefix}residuals-{elements[0]}"].shape[1]
    steps = np.zeros((n_steps, len(z), 3), dtype=np.int64)
    for element in elements:
        whole = arrays[f"{prefix}residuals-{element}"].astype(np.int64)
        if f"{prefix}far-{element}" in arrays:
            whole[whole == -WIDEST - 1] = arrays[f"{prefix}far-{element}"]
        left = np.ascontiguousarray(whole.T)
        own = _steps(left, arrays[f"{prefix}coefficients-{element}"].astype(np.int64))
        steps[:, z == element] = own.reshape(n_steps, left.shape[1] // 3, 3)
    return steps


def _steps(left: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """[F, C] steps from what prediction left of them, one frame after the other."""
    found = np.zeros((ORDER + len(left), left.shape[1]), dtype=np.int64)
    backwards, half = coefficients[::-1, None], 1 << (SHIFT - 1)
    for f in range(len(left)):
        found[ORDER + f] = left[f] + (((backwards * found[f : f + ORDER]).sum(axis=0) + half) >> SHIFT)
    return found[ORDER:]


def packed_series(values: np.ndarray, bits: int) -> np.ndarray | None:
    """[F] differences of successive values in units of 2^-bits; None where they do not fit."""
    units = fixed_point(values, bits)
    return None if units is None else np.diff(units, prepend=0)


def unpacked_series(differences: np.ndarray, bits: int) -> np.ndarray:
    """[F] the values of `packed_series`.

    >>> unpacked_series(packed_series(np.array([700.5, 710.25]), TEMPERATURE_BITS), TEMPERATURE_BITS).tolist()
    [700.5, 710.25]
    """
    return floating(np.cumsum(differences.astype(np.int64)), bits)


def to_bytes(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, list[Any]]:
    """Arrays as one compressed string, integers as narrow as they can be, and the list that says which is where."""
    pieces, layout = [], []
    for name, array in arrays.items():
        array = _narrow(np.ascontiguousarray(array))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        layout.append([name, array.dtype.str, list(array.shape)])
        pieces.append(array.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T.tobytes())
    return lzma.compress(b"".join(pieces), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=FILTERS), layout


def from_bytes(content: bytes, layout: list[Any]) -> dict[str, np.ndarray]:
    """The arrays of `to_bytes`; ValueError or lzma.LZMAError where the content is damaged."""
    raw, start, arrays = lzma.decompress(content, format=lzma.FORMAT_XZ), 0, {}
    for name, kind, shape in layout:
        dtype, size = np.dtype(kind), int(np.prod(shape))
        piece = np.frombuffer(raw, dtype=np.uint8, count=size * dtype.itemsize, offset=start)
        start += len(piece)
        arrays[name] = np.ascontiguousarray(piece.reshape(dtype.itemsize, size).T).view(dtype).reshape(shape)
    return arrays


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.int64 or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array
