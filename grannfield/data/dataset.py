"""Labelled frames gathered from the runs of a reference, ready for training or testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.data.checksum import sha256_of_arrays
from grannfield.data.material import Material
from grannfield.data.reference import Reference
from grannfield.data.split import Column, Purpose, Split, split_runs
from grannfield.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class FrameSet:
    """M labelled frames of the same N atoms, in Å and eV, each traceable to its run and frame."""

    z: np.ndarray
    """[N] atomic numbers."""
    pos: np.ndarray
    """[M, N, 3] Å, unwrapped."""
    cell: np.ndarray
    """[M, 3, 3] Å."""
    energy: np.ndarray
    """[M] eV."""
    forces: np.ndarray
    """[M, N, 3] eV/Å."""
    origin: np.ndarray
    """[M, 2] int: (number of the run, frame in that run)."""

    def __post_init__(self) -> None:
        m, n = len(self.pos), len(self.z)
        shapes = {"z": (n,), "pos": (m, n, 3), "cell": (m, 3, 3), "energy": (m,), "forces": (m, n, 3), "origin": (m, 2)}
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name))
            if array.shape != shape:
                raise ValueError(f"frames: {name} {array.shape} should be {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"frames: {name} holds NaN or infinity; use labelled frames only")
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.pos)

    def __getitem__(self, index: slice | np.ndarray) -> FrameSet:
        """The frames of a slice or an index array."""
        per_frame = (self.pos, self.cell, self.energy, self.forces, self.origin)
        return FrameSet(self.z, *(array[index] for array in per_frame))

    @property
    def sha256(self) -> str:
        """Hash of all arrays: two sets with the same hash train and test alike."""
        names = ("z", "pos", "cell", "energy", "forces", "origin")
        return sha256_of_arrays({name: getattr(self, name) for name in names})

    def spread(self, limit: int | None, seed: int = 0) -> FrameSet:
        """At most `limit` frames, one drawn from each of `limit` equal stretches of the set; all of them for None.

        >>> frames = FrameSet([3], np.zeros((9, 1, 3)), np.ones((9, 3, 3)), np.zeros(9), np.zeros((9, 1, 3)),
        ...                   np.stack([np.zeros(9, int), np.arange(9)], axis=1))
        >>> [int(frame) // 3 for run, frame in frames.spread(3).origin]
        [0, 1, 2]
        """
        return self if limit is None or limit >= len(self) else self[spread_indices(len(self), limit, seed)]


def spread_indices(total: int, limit: int, seed: int = 0) -> np.ndarray:
    """[limit] ascending indices below `total`, one drawn at random from each of `limit` stretches of equal length."""
    if not 0 < limit <= total:
        raise ValueError(f"cannot spread {limit} frames over {total}; ask for 1 to {total}")
    edges = np.arange(limit + 1) * total // limit
    random = np.random.default_rng(np.random.SeedSequence(seed))
    return random.integers(edges[:-1], edges[1:])


def gather(trajectories: Sequence[Trajectory], frames: Sequence[np.ndarray]) -> FrameSet:
    """The chosen frames of several runs of the same atoms, run after run.

    Raises ValueError when none is chosen, when a run carries no labels, or when the atoms differ between runs.
    """
    pairs = enumerate(zip(trajectories, frames, strict=True))
    chosen = [(number, run, np.asarray(index)) for number, (run, index) in pairs if len(index)]
    if not chosen:
        raise ValueError("no frames are chosen; an unordered set has no windows, use its random split")
    z = chosen[0][1].z
    for number, run, _ in chosen:
        if not np.array_equal(run.z, z):
            raise ValueError(f"run {number} ({run.source}) has other atoms than run {chosen[0][0]}; gather them apart")
        if run.energy is None or run.forces is None:
            raise ValueError(f"run {number} ({run.source}) carries no energies and forces")
    return FrameSet(
        z=z,
        pos=np.concatenate([run.pos[index] for _, run, index in chosen]),
        cell=np.concatenate([run.cell[index] for _, run, index in chosen]),
        energy=np.concatenate([run.energy[index] for _, run, index in chosen if run.energy is not None]),
        forces=np.concatenate([run.forces[index] for _, run, index in chosen if run.forces is not None]),
        origin=np.concatenate([np.stack([np.full(len(index), number), index], axis=1) for number, _, index in chosen]),
    )


def split_reference(material: Material, reference: Reference, seed: int = 0) -> Split:
    """The split of all runs of a reference, in the order of its file."""
    return split_runs([material.trajectory(run) for run in reference.runs], seed)


def frames(
    material: Material,
    reference: Reference,
    purpose: Purpose,
    column: Column = "windows",
    limit: int | None = None,
    seed: int = 0,
) -> FrameSet:
    """The frames of one part of a reference's split; `limit` spreads at most that many evenly over runs and time.

    `seed` fixes both the split and the spread. `origin` counts runs in the order of `reference.runs`.
    """
    runs = [material.trajectory(run) for run in reference.runs]
    return gather(runs, split_runs(runs, seed).part(purpose, column)).spread(limit, seed)
