"""Pieces of one run, as restarts leave them, as one trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from grannfield.trajectory import Trajectory, TrajectoryError, heights

SAME = 1e-3
"""Å. A piece that starts where the last one ended holds that frame twice."""


def joined(pieces: Sequence[Trajectory]) -> Trajectory:
    """One trajectory of the pieces in their order, each continued from the end of the one before.

    A frame that ends one piece and starts the next is taken once. Atoms that a restart put back into the cell are
    followed by the nearest image. Raises TrajectoryError when the pieces differ in atoms or time step, are unordered, or
    when an atom moves more than a quarter of the smallest cell height from piece to piece.
    """
    first = pieces[0]
    step = next((piece.timestep for piece in pieces if piece.n_frames > 1), 0.0)
    parts = [first]
    for piece in pieces[1:]:
        before = parts[-1]
        _check(first, piece, step)
        parts.append(_continued(before, piece))
    pos = np.concatenate([part.pos for part in parts])
    whole = lambda key: _stacked([getattr(part, key) for part in parts], [getattr(part, "pos") for part in parts], key)  # noqa: E731, B009
    return replace(
        first,
        pos=pos,
        cell=np.concatenate([part.cell for part in parts]),
        time=np.arange(len(pos)) * step,
        temperature=whole("temperature"),
        energy=whole("energy"),
        forces=whole("forces"),
        labelled=np.concatenate([np.asarray(part.labelled) for part in parts]),
        source=" + ".join(piece.source for piece in pieces),
    )


def _check(first: Trajectory, piece: Trajectory, step: float) -> None:
    for one in (first, piece):
        if one.kind != "time":
            raise TrajectoryError(f"{one.source}: its frames have no order in time; only runs can be joined")
    if not np.array_equal(first.z, piece.z):
        raise TrajectoryError(f"{piece.source} holds other atoms than {first.source}, or in another order; import them apart")
    if piece.n_frames > 1 and not np.isclose(piece.timestep, step, rtol=1e-6):
        raise TrajectoryError(
            f"{piece.source} has a frame every {piece.timestep:g} fs, {first.source} every {step:g} fs; import them apart"
        )


def _continued(before: Trajectory, piece: Trajectory) -> Trajectory:
    """The piece moved by whole lattice vectors to the end of the one before, without a frame that both hold."""
    cell = np.asarray(piece.cell[0])
    apart = np.asarray(piece.pos[0] - before.pos[-1])
    images = np.rint(apart @ np.linalg.inv(cell))
    apart = apart - images @ cell
    distance = np.linalg.norm(apart, axis=1)
    limit = 0.25 * float(heights(cell).min())
    if distance.max() > limit:
        raise TrajectoryError(
            f"{piece.source} does not go on where {before.source} ends: atom {int(distance.argmax())} is {distance.max():.2f} Å "
            "away; is the order right, and no piece missing?"
        )
    moved = replace(piece, pos=piece.pos - images[None] @ np.asarray(piece.cell))
    return moved[1:] if distance.max() < SAME and piece.n_frames > 1 else moved


def _stacked(values: Sequence[np.ndarray | None], pos: Sequence[np.ndarray], key: str) -> np.ndarray | None:
    if all(value is None for value in values):
        return None
    shape = lambda place: place.shape if key == "forces" else place.shape[:1]  # noqa: E731
    return np.concatenate(
        [np.full(shape(place), np.nan) if value is None else value for value, place in zip(values, pos, strict=True)]
    )
