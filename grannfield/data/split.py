"""Which frames of a reference train, validate and test a model.

One training set serves both splits. Each run is divided into ten blocks in time; two are held out whole as the
"windows" test and one as the "windows" validation, with gaps of 0.2 ps on each side that belong to nothing. In what
remains, the training span, 15 % drawn at random are the "random" test, 10 % the "random" validation, and the rest
trains. A random test frame has a training frame 10 fs away, a near-duplicate; a windows test frame has none within
0.2 ps. The held-out blocks rotate with the run: run r tests on blocks s and s+4 and validates on s+7 with s = 3 r, all
modulo ten, so that held-out blocks never touch and ten runs hold out every stretch of time twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from grannfield.trajectory import Trajectory

BLOCKS = 10
TEST_BLOCKS = (0, 4)
VALIDATION_BLOCK = 7
ROTATION = 3
GAP_FS = 200.0
TEST_SHARE = 0.15
VALIDATION_SHARE = 0.10

Column = Literal["random", "windows"]
Purpose = Literal["train", "validation", "test"]
PARTS = ("train", "validation_random", "validation_windows", "test_random", "test_windows")


class SplitError(ValueError):
    """A run cannot be divided into training, validation and test frames."""


@dataclass(frozen=True, eq=False)
class Split:
    """Frame numbers of each part, one ascending array per run; the parts of a run are disjoint."""

    train: tuple[np.ndarray, ...]
    validation_random: tuple[np.ndarray, ...]
    validation_windows: tuple[np.ndarray, ...]
    test_random: tuple[np.ndarray, ...]
    test_windows: tuple[np.ndarray, ...]
    seed: int

    def part(self, purpose: Purpose, column: Column = "windows") -> tuple[np.ndarray, ...]:
        """Frame numbers per run of "train", "validation" or "test" in a column; both columns train on the same."""
        name = "train" if purpose == "train" else f"{purpose}_{column}"
        if name not in PARTS:
            raise SplitError(f"no part {purpose!r} of the split {column!r}; parts are {', '.join(PARTS)}")
        frames: tuple[np.ndarray, ...] = getattr(self, name)
        return frames

    @property
    def counts(self) -> dict[str, int]:
        """Number of frames of each part over all runs."""
        return {name: sum(map(len, getattr(self, name))) for name in PARTS}


def split_runs(trajectories: Sequence[Trajectory], seed: int = 0, gap: float = GAP_FS) -> Split:
    """The split of several runs of one material, by run number; only labelled frames take part.

    `gap` in fs. The random draws of run r come from numpy's SeedSequence(seed, spawn_key=(r,)), so a run's split does
    not depend on the others. An unordered set (kind "frames") has no windows: those parts are empty. Raises SplitError
    for a run too short to fill every part.
    """
    parts = [_split_run(run, index, seed, gap) for index, run in enumerate(trajectories)]
    columns = {name: tuple(part[name] for part in parts) for name in PARTS}
    return Split(seed=seed, **columns)


def held_out_blocks(run: int) -> tuple[tuple[int, ...], int]:
    """Blocks (test, validation) that run number `run` holds out.

    >>> held_out_blocks(0), held_out_blocks(1)
    (((0, 4), 7), ((3, 7), 0))
    """
    shift = ROTATION * run
    return tuple((shift + block) % BLOCKS for block in TEST_BLOCKS), (shift + VALIDATION_BLOCK) % BLOCKS


def _split_run(run: Trajectory, index: int, seed: int, gap: float) -> dict[str, np.ndarray]:
    labelled = np.flatnonzero(np.asarray(run.labelled))
    nothing = np.empty(0, dtype=np.int64)
    windows = {"test_windows": nothing, "validation_windows": nothing}
    span = np.arange(run.n_frames)
    if run.kind == "time":
        windows, span = _windows(run.n_frames, run.timestep, index, gap)
    parts = {name: np.intersect1d(frames, labelled) for name, frames in windows.items()}
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    shuffled = random.permutation(np.intersect1d(span, labelled))
    n_test, n_validation = round(TEST_SHARE * len(shuffled)), round(VALIDATION_SHARE * len(shuffled))
    cuts = np.split(shuffled, [n_test, n_test + n_validation])
    parts |= {name: np.sort(cut) for name, cut in zip(("test_random", "validation_random", "train"), cuts, strict=True)}
    empty = [name for name in PARTS if len(parts[name]) == 0 and (run.kind == "time" or "windows" not in name)]
    if empty or (run.kind == "time" and run.n_frames * run.timestep < BLOCKS * gap):
        raise SplitError(_too_short(run, index, len(labelled), gap, empty))
    return parts


def _windows(n_frames: int, timestep: float, index: int, gap: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    edges = np.linspace(0, n_frames, BLOCKS + 1).round().astype(int)
    blocks = [np.arange(start, stop) for start, stop in pairwise(edges)]
    test, validation = held_out_blocks(index)
    margin = math.ceil(gap / timestep - 1e-9) if timestep > 0 else n_frames
    span = np.ones(n_frames, dtype=bool)
    for block in (*test, validation):
        span[max(0, edges[block] - margin) : edges[block + 1] + margin] = False
    held_test = np.sort(np.concatenate([blocks[block] for block in test]))
    return {"test_windows": held_test, "validation_windows": blocks[validation]}, np.flatnonzero(span)


def _too_short(run: Trajectory, index: int, n_labelled: int, gap: float, empty: Sequence[str]) -> str:
    length = f", {run.duration / 1000:g} ps" if run.kind == "time" else ""
    missing = f": nothing is left for {', '.join(empty)}" if empty else ""
    return (
        f"{run.source or f'run {index}'}: {n_labelled} labelled frames{length} are too few to split"
        f"{missing}; {BLOCKS} blocks with gaps of {gap / 1000:g} ps need a run of at least "
        f"{BLOCKS * gap / 1000:g} ps with labelled frames throughout; store a longer run, or pass a smaller gap"
    )
