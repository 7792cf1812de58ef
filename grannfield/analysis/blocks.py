"""Frames that remember each other: how long, and intervals from blocks of them.

Frames a few fs apart repeat each other, so an interval that counted them as independent would be several times too narrow. How
long errors remember is measured on the errors themselves; the intervals are a jackknife over blocks several times as long,
stratified by run, because the runs of a reference (its temperatures) are chosen and not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.uncertainty import UNDEFINED, Estimate, t_quantile

CORRELATION_TIMES = 4
"""Integrated correlation times in a block."""
BLOCKS_PER_RUN, FEWEST_BLOCKS = 8, 4
"""At most, and at least where a run has the frames: a correlation time is badly known, and blocks that are too short make an
interval too narrow, too few of them only wide."""
MOST_BLOCKS = 100
"""Of frames without an order, where nothing is lost by small ones: more cost time and no longer change an interval."""
ROUNDS, MOST_TAKEN = 5, 0.25
"""Of the correction of correlations for the mean that was removed, and the largest share of the variance it is taken for."""
TIME_BLOCKS = 6
"""Stretches of time that each run is divided into for `by_run`."""
FEWEST_FRAMES = 4
"""Of such a stretch."""

Transform = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
LINEAR: Transform = (lambda x: x, lambda y: y)
POSITIVE: Transform = (np.log, np.exp)
BELOW_ONE: Transform = (lambda x: np.log(1 - x), lambda y: 1 - np.exp(y))
CORRELATION: Transform = (np.arctanh, np.tanh)
"""Scales on which the spread of an error, an R² and a correlation hardly depends on their value: intervals are made there."""


@dataclass(frozen=True, eq=False)
class Frames:
    """How frames hang together in time: their runs, and blocks of neighbours that hardly depend on each other."""

    run: np.ndarray
    """[F] number of the run of each."""
    blocks: tuple[np.ndarray, ...]
    """Index arrays, each within one run."""
    block: int
    """Frames in a block, about."""
    correlation: float
    """Integrated correlation time in frames: 1 for frames that know nothing of each other."""

    @classmethod
    def of(cls, n: int, origin: np.ndarray | None, series: np.ndarray) -> Frames:
        """Blocks for n frames whose errors enter the number as `series` [F]; ValueError for an origin of another length."""
        if origin is None:
            size = max(1, -(-n // MOST_BLOCKS))
            return cls(np.zeros(n, int), tuple(np.array_split(np.arange(n), max(1, n // size))), size, 1.0)
        origin = np.asarray(origin)
        if origin.shape != (n, 2):
            raise ValueError(f"the origin {origin.shape} of {n} frames should be [{n}, 2]: run and frame")
        run = origin[:, 0]
        time = correlation_time(series, stretches(origin), run)
        parts = [np.flatnonzero(run == one) for one in np.unique(run)]
        longest = max(map(len, parts))
        wanted = int(np.ceil(CORRELATION_TIMES * time)) if time > 1 else 1
        size = max(-(-longest // BLOCKS_PER_RUN), min(wanted, max(1, longest // FEWEST_BLOCKS)))
        blocks = [piece for part in parts for piece in np.array_split(part, max(1, len(part) // size))]
        return cls(run, tuple(blocks), size, time)

    @property
    def note(self) -> str:
        return f"{len(self.run)} frames, jackknife over {len(self.blocks)} blocks of about {self.block}"

    def without_each(self, sums: np.ndarray) -> np.ndarray:
        """Sums over all frames but one block, for each block: [B, ...] from sums [F, ...] of each frame."""
        return np.stack([sums.sum(axis=0) - sums[block].sum(axis=0) for block in self.blocks])

    def intervals(self, values: np.ndarray, left_out: np.ndarray, transforms: Sequence[Transform]) -> list[Estimate]:
        """95% intervals of values [K], from the values without each block [B, K], each on its own scale.

        The variance is the sum over runs of (B_r - 1)/B_r sum_b (x_-b - mean)², Student's t with the degrees of freedom of
        Welch and Satterthwaite; runs of a single block are taken together. Blocks of L frames still know of their neighbours,
        which makes that variance short by a factor 1 - tau/(2 L) for a correlation time tau: it is divided by it.
        """
        owner = np.array([self.run[block[0]] for block in self.blocks])
        if min(np.count_nonzero(owner == one) for one in np.unique(owner)) < 2:
            owner = np.zeros_like(owner)
        short = 1 - (self.correlation - 1) / (2 * self.block) if self.correlation > 1 else 1.0
        runs, found = np.unique(owner), []
        for k, (there, back) in enumerate(transforms):
            with np.errstate(divide="ignore", invalid="ignore"):
                x, y = there(left_out[:, k]), there(values[k])
            each = np.array([_jackknife(x[owner == one]) for one in runs])
            freedom = np.array([np.count_nonzero(owner == one) - 1 for one in runs])
            half = _half_width(each, freedom, short)
            found.append(_estimate(values[k], y, half, back, len(self.run), self.note))
        return found

    def by_time(self, statistic: Callable[[np.ndarray], dict[str, float]]) -> list[tuple[int, int, int, dict[str, float]]]:
        """(run, stretch, frames, numbers) for TIME_BLOCKS stretches of each run; which frames, never depends on a model."""
        found = []
        for one in np.unique(self.run):
            mine = np.flatnonzero(self.run == one)
            pieces = np.array_split(mine, min(TIME_BLOCKS, max(1, len(mine) // FEWEST_FRAMES)))
            found += [(int(one), k, len(piece), statistic(piece)) for k, piece in enumerate(pieces)]
        return found


def stretches(origin: np.ndarray) -> list[np.ndarray]:
    """Index arrays of frames without a gap in time: origin [F, 2] is run and frame; a gap is 3 times the usual step of the run.

    >>> [s.tolist() for s in stretches(np.array([[0, 0], [0, 2], [0, 3], [0, 40], [0, 42], [1, 43]]))]
    [[0, 1, 2], [3, 4], [5]]
    """
    found = []
    for one in np.unique(origin[:, 0]):
        mine = np.flatnonzero(origin[:, 0] == one)
        step = np.diff(origin[mine, 1])
        usual = np.median(step) if len(step) else 1
        cuts = np.flatnonzero((step > 3 * usual) | (step <= 0)) + 1
        found += list(np.split(mine, cuts))
    return found


def correlation_time(series: np.ndarray, pieces: Sequence[np.ndarray], run: np.ndarray | None = None) -> float:
    """Integrated correlation time 1 + 2 sum rho_k in frames of a series [F] in stretches of time; at least 1.

    The mean of each run is removed (run [F]; by default all are of one); what that takes from the correlations, the variance of
    such a mean, is given back in a few rounds. Pairs rho_2k + rho_2k+1 are summed while they stand above their noise (after
    Geyer, Statist. Sci. 7, 473 (1992), https://doi.org/10.1214/ss/1177011137), up to half the longest stretch.

    >>> x = np.repeat(np.random.default_rng(0).normal(size=500), 4)
    >>> round(correlation_time(x, [np.arange(2000)]))
    4
    """
    run = np.zeros(len(series), int) if run is None else run
    x = np.array(series, dtype=float)
    for one in np.unique(run):
        x[run == one] -= x[run == one].mean()
    parts = [x[piece] for piece in pieces if len(piece) > 1]
    norm = float(x @ x) / len(x)
    if norm <= 0 or not parts:
        return 1.0
    longest = max(len(part) for part in parts) // 2
    lags = range(1, longest + 1)
    pairs = np.array([sum(max(0, len(part) - lag) for part in parts) for lag in lags])
    found = np.array([sum(float(part[:-lag] @ part[lag:]) for part in parts if len(part) > lag) for lag in lags]) / pairs / norm
    each, time = len(x) / len(np.unique(run)), 1.0
    for _ in range(ROUNDS):
        taken = min(time / each, MOST_TAKEN)
        rho = (1 - taken) * found + taken
        two = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
        seen = two > 2 * taken + np.sqrt(1 / pairs[: len(two) * 2 : 2])
        positive = len(two) if seen.all() else int(np.argmin(seen))
        time = max(1.0, 1 + 2 * float(two[:positive].sum()))
    return time


def _jackknife(left_out: np.ndarray) -> float:
    n = len(left_out)
    if n < 2 or not np.isfinite(left_out).all():
        return np.inf
    return float((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())


def _half_width(variance: np.ndarray, freedom: np.ndarray, short: float) -> float:
    """Of the interval of a sum of variances [R] with their degrees of freedom [R]; infinite where one is not known."""
    if not (np.isfinite(variance).all() and (freedom > 0).all()):
        return np.inf
    total = float(variance.sum())
    if total == 0:
        return 0.0
    return t_quantile(int(total**2 / (variance**2 / freedom).sum())) * float(np.sqrt(total / short))


def _estimate(value: float, y: np.ndarray, half: float, back: Callable[..., np.ndarray], n: int, note: str) -> Estimate:
    """The number with its interval, made on another scale where `y` stands in the middle; the number itself at a pole."""
    if not np.isfinite(value):
        return Estimate.missing(UNDEFINED, "the reference or the prediction does not vary", n=n)
    value = float(value)
    if not np.isfinite(y):
        return Estimate(value, (value, value), n, note=f"{note}; no error at all")
    with np.errstate(over="ignore"):
        ends = [float(back(np.asarray(y - half))), float(back(np.asarray(y + half)))]
    return Estimate(value, (min(*ends, value), max(*ends, value)), n, note=note)
