"""The one trajectory type: AIMD, surrogate, LAMMPS and our own MD are all a `Trajectory`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np


class TrajectoryError(ValueError):
    """The arrays do not make a trajectory, or the analysis asked for does not apply to it."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Positions of the same N atoms in F frames, unwrapped, in Å and fs.

    Arrays are checked on construction and read-only afterwards; a malformed set raises TrajectoryError naming the
    array, the frame and the value.

    >>> still = Trajectory(z=[3], pos=np.zeros((2, 1, 3)), cell=4 * np.eye(3), time=[0.0, 2.0])
    >>> still.timestep, still.n_frames, still.cell.shape
    (2.0, 2, (2, 3, 3))
    """

    z: np.ndarray
    """[N] atomic numbers."""
    pos: np.ndarray
    """[F, N, 3] Å, unwrapped: an atom that leaves the cell keeps counting."""
    cell: np.ndarray
    """[F, 3, 3] Å, rows are lattice vectors; [3, 3] is broadcast to all frames without a copy."""
    time: np.ndarray
    """[F] fs, ascending by a constant step when `kind` is "time"; frame numbers when it is "frames"."""
    temperature: np.ndarray | None = None
    """[F] K, kinetic temperature of each frame (NaN where unknown)."""
    energy: np.ndarray | None = None
    """[F] eV (NaN where not labelled)."""
    forces: np.ndarray | None = None
    """[F, N, 3] eV/Å (NaN where not labelled)."""
    labelled: np.ndarray | None = None
    """[F] bool: which frames carry energy and forces; derived when not given."""
    kind: Literal["time", "frames"] = "time"
    """"time": ordered, constant step; "frames": an unordered set, refused by every time-dependent analysis."""
    source: str = field(default="", compare=False)
    """Where the data came from, for error messages and provenance."""

    def __post_init__(self) -> None:
        name = self.source or "trajectory"
        store = lambda key, value: object.__setattr__(self, key, value)  # noqa: E731  (the dataclass is frozen)
        z = np.asarray(self.z, dtype=np.int64)
        pos = np.asarray(self.pos)
        if pos.ndim != 3 or pos.shape[2] != 3 or z.shape != pos.shape[1:2]:
            raise TrajectoryError(f"{name}: positions {pos.shape} and atomic numbers {z.shape} should be [F,N,3] and [N]")
        n_frames, n_atoms = pos.shape[:2]
        if n_frames == 0 or n_atoms == 0:
            raise TrajectoryError(f"{name}: it holds {n_frames} frames of {n_atoms} atoms; at least one of each is needed")
        cell = np.asarray(self.cell, dtype=np.float64)
        if cell.shape == (3, 3):
            cell = np.broadcast_to(cell, (n_frames, 3, 3))
        if cell.shape != (n_frames, 3, 3):
            raise TrajectoryError(f"{name}: cell {cell.shape} should be [3,3] or [{n_frames},3,3]")
        time = np.asarray(self.time, dtype=np.float64)
        if time.shape != (n_frames,):
            raise TrajectoryError(f"{name}: time {time.shape} should be [{n_frames}]")
        _all_finite(name, "pos", pos)
        _all_finite(name, "cell", cell)
        if self.kind == "time" and n_frames > 1:
            steps = np.diff(time)
            if steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-6, atol=1e-6):
                odd = int(np.argmax(~np.isclose(steps, steps[0], rtol=1e-6, atol=1e-6)))
                raise TrajectoryError(
                    f"{name}: the time step changes from {steps[0]:g} fs to {steps[odd]:g} fs at frame {odd + 1}; "
                    'resample it, or mark it kind="frames"'
                )
        store("z", z)
        store("pos", pos)
        store("cell", cell)
        store("time", time)
        for key, shape in (("temperature", (n_frames,)), ("energy", (n_frames,)), ("forces", pos.shape)):
            value = getattr(self, key)
            if value is not None:
                value = np.asarray(value)
                if value.shape != shape:
                    raise TrajectoryError(f"{name}: {key} {value.shape} should be {list(shape)}")
                store(key, value)
        has_labels = np.zeros(n_frames, dtype=bool)
        if self.energy is not None and self.forces is not None:
            has_labels = np.isfinite(self.energy) & np.isfinite(self.forces).all(axis=(1, 2))
        given = has_labels if self.labelled is None else np.asarray(self.labelled, dtype=bool)
        if given.shape != (n_frames,) or (given & ~has_labels).any():
            raise TrajectoryError(f"{name}: `labelled` names frames without a finite energy and forces")
        store("labelled", given)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                view = value.view()
                view.flags.writeable = False
                store(item.name, view)

    @property
    def n_frames(self) -> int:
        return int(self.pos.shape[0])

    @property
    def n_atoms(self) -> int:
        return int(self.pos.shape[1])

    @property
    def timestep(self) -> float:
        """fs between two stored frames; TrajectoryError for unordered frames."""
        self.require_time()
        return float(self.time[1] - self.time[0]) if self.n_frames > 1 else 0.0

    @property
    def duration(self) -> float:
        """fs from the first to the last frame."""
        self.require_time()
        return float(self.time[-1] - self.time[0])

    def require_time(self) -> None:
        """Refuse an unordered set of frames."""
        if self.kind != "time":
            raise TrajectoryError(
                f"{self.source or 'trajectory'}: its {self.n_frames} frames are unordered (kind 'frames'); "
                "RDF and force errors work on it, anything that needs time does not"
            )

    def __getitem__(self, index: slice | np.ndarray) -> Trajectory:
        """The frames of a slice or an index array; picking out of order makes it kind "frames"."""
        time = self.time[index]
        steps = np.diff(time)
        ordered = self.kind == "time" and bool(len(steps) == 0 or (steps[0] > 0 and np.allclose(steps, steps[0])))
        pick = lambda value: None if value is None else value[index]  # noqa: E731
        return replace(
            self,
            pos=self.pos[index],
            cell=self.cell[index],
            time=time,
            temperature=pick(self.temperature),
            energy=pick(self.energy),
            forces=pick(self.forces),
            labelled=pick(self.labelled),
            kind="time" if ordered else "frames",
        )

    def production(self, drop: float = 0.3) -> Trajectory:
        """The frames after equilibration: the first `drop` of the run is left out (the paper's 15 of 50 ps)."""
        self.require_time()
        return self[int(np.ceil(drop * self.n_frames)) :]

    def every(self, interval: float) -> Trajectory:
        """Frames `interval` fs apart (all of them when they are further apart than that already)."""
        self.require_time()
        stride = max(1, round(interval / self.timestep)) if self.n_frames > 1 else 1
        return self[::stride]


def unwrap(pos: np.ndarray, cell: np.ndarray, source: str = "trajectory") -> np.ndarray:
    """Continuous positions [F, N, 3] from wrapped ones, by the nearest image of successive frames.

    cell is [3, 3] or [F, 3, 3]. Raises TrajectoryError when any atom moves more than a quarter of the smallest cell
    height between two frames, because the nearest image is then a guess.

    >>> x = np.array([[[3.9, 0, 0]], [[0.1, 0, 0]]])
    >>> float(unwrap(x, 4 * np.eye(3))[1, 0, 0].round(6))
    4.1
    """
    pos = np.asarray(pos, dtype=np.float64)
    cell = np.broadcast_to(np.asarray(cell, dtype=np.float64), (len(pos), 3, 3))
    fractional = pos @ np.linalg.inv(cell)
    step = np.diff(fractional, axis=0)
    step -= np.rint(step)
    moved = np.linalg.norm(step @ cell[1:], axis=-1)
    limit = 0.25 * heights(cell).min()
    if moved.size and moved.max() > limit:
        frame, atom = np.unravel_index(int(moved.argmax()), moved.shape)
        raise TrajectoryError(
            f"{source}: atom {atom} moves {moved.max():.2f} Å between frames {frame} and {frame + 1}, more than a quarter of "
            f"the smallest cell height ({limit:.2f} Å); frames are too far apart to unwrap. Store image flags or more frames."
        )
    continuous = np.concatenate([fractional[:1], fractional[:1] + np.cumsum(step, axis=0)])
    return continuous @ cell


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances [..., 3] in Å between opposite faces of cells [..., 3, 3].

    >>> heights(np.diag([2.0, 3.0, 4.0])).round(6).tolist()
    [2.0, 3.0, 4.0]
    """
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=-2)


def _all_finite(name: str, key: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        frame = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise TrajectoryError(f"{name}: {key} holds NaN or infinity, first at frame {frame}; cut the trajectory there")
