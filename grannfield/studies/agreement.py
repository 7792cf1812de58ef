"""How well one row of numbers puts models in the order of another: Kendall's tau-b over several materials, by models.

Pairs of models are compared within a material (and preset) only, so that a material that is hard in both rows is not taken for
agreement. Materials of one model are not independent: intervals and tests redraw and exchange whole models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.correlation import FEWEST_MODELS
from grannfield.analysis.uncertainty import UNDEFINED, Estimate, block_bootstrap, clipped

METHOD = f"""Kendall's tau-b of pairs of models within a material and preset, pooled over them: (concordant - discordant) / \
sqrt(pairs not tied in one x pairs not tied in the other); 95% interval: bootstrap over models (1,000 resamples, each model with \
all its materials, percentiles with their arms stretched by Student's t); p: two-sided, by exchange of whole models (2,000); no \
number below {FEWEST_MODELS} models"""
SOURCE = "Kendall, Biometrika 33, 239 (1945), https://doi.org/10.1093/biomet/33.3.239"
N_EXCHANGES = 2000


@dataclass(frozen=True, eq=False)
class Rows:
    """Two rows of numbers for the same models in several cells, higher being better: NaN failed, and ranks last."""

    x: np.ndarray
    """[cells, models]."""
    y: np.ndarray
    """[cells, models]."""
    known: np.ndarray
    """[cells, models] where both rows say something, if only that it failed."""

    @property
    def n_models(self) -> int:
        return int(self.known.any(axis=0).sum())


def signs(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[cells, k, k]: 1 where the first of two models is better, -1 where worse, 0 for ties and where one is not known.

    >>> signs(np.array([[2.0, 1.0, np.nan]]), np.ones((1, 3), bool))[0].tolist()
    [[0, 1, 1], [-1, 0, 1], [-1, -1, 0]]
    """
    filled = np.where(np.isnan(values), -np.inf, values)
    above = filled[:, :, None] > filled[:, None, :]
    below = filled[:, :, None] < filled[:, None, :]
    return (above.astype(int) - below.astype(int)) * (known[:, :, None] & known[:, None, :])


@dataclass(frozen=True, eq=False)
class Pairs:
    """What every tau is made of, for each pair of models: [k, k] each."""

    agreeing: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, rows: Rows) -> Pairs:
        x, y = signs(rows.x, rows.known), signs(rows.y, rows.known)
        return cls((x * y).sum(axis=0), (x * x).sum(axis=0), (y * y).sum(axis=0))

    def tau(self, weights: np.ndarray | None = None) -> float:
        """Tau-b with models [k] counted so many times; NaN where one row does not order any pair."""
        w = np.ones(len(self.agreeing)) if weights is None else weights
        size = math.sqrt(float(w @ self.first @ w) * float(w @ self.second @ w))
        return float(w @ self.agreeing @ w) / size if size > 0 else math.nan


@dataclass(frozen=True)
class Found:
    """The agreement of one pair of rows."""

    tau: Estimate
    """n counts (model, material) cells."""
    p: float
    """NaN where there is no tau."""
    n_models: int


def agreements(rows: Sequence[Rows], units: Sequence[str], seed: int) -> tuple[list[Found], np.ndarray]:
    """Tau of each pair of rows, and [resamples, rows] of them in bootstrap resamples common to all, NaN where there is none.

    units: for each model the one that is redrawn, since two behaviours of an architecture are no two models.
    """
    pairs = [Pairs.of(one) for one in rows]
    names = sorted(set(units))
    place = np.array([names.index(one) for one in units])
    drawn: list[np.ndarray] = []

    def statistic(index: np.ndarray) -> np.ndarray:
        weights = np.bincount(index, minlength=len(names))[place].astype(float)
        drawn.append(np.array([one.tau(weights) for one in pairs]))
        return drawn[-1]

    if len(names) < FEWEST_MODELS:
        few = Estimate.missing(f"too few models (n={len(names)})")
        return [Found(few, math.nan, one.n_models) for one in rows], np.empty((0, len(rows)))
    low, high = block_bootstrap(len(names), statistic, block=1, seed=seed, moving=False)
    found = [_found(one, pairs[i], units, (low[i], high[i]), seed + i) for i, one in enumerate(rows)]
    return found, np.array(drawn[1:])


def _found(rows: Rows, pairs: Pairs, units: Sequence[str], interval: tuple[float, float], seed: int) -> Found:
    there, n = np.asarray(rows.known.any(axis=0)), int(rows.known.sum())
    k = len({unit for unit, one in zip(units, there.tolist(), strict=True) if one})
    if k < FEWEST_MODELS:
        return Found(Estimate.missing(f"too few models (n={k})", n=n), math.nan, k)
    value = pairs.tau()
    if math.isnan(value):
        return Found(Estimate.missing(UNDEFINED, "one row is the same for all models", n=n), math.nan, k)
    ends = clipped((np.asarray(interval[0]), np.asarray(interval[1])), -1.0, 1.0)
    tau = Estimate(value, (min(ends[0], value), max(ends[1], value)), n, note=f"{k} models")
    return Found(tau, exchange_p(rows, seed), k)


def exchange_p(rows: Rows, seed: int, n_exchanges: int = N_EXCHANGES) -> float:
    """Probability of so large a |tau| if any model's second row could as well belong to another model.

    Whole models are exchanged, among those that are known in the same cells; (1 + number of exchanges with at least the true
    |tau|)/(1 + their number). Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 39 (2010), https://doi.org/10.2202/1544-6115.1585.
    """
    generator = np.random.default_rng(seed)
    patterns = [tuple(column) for column in rows.known.T.tolist()]
    alike = [np.flatnonzero([other == one for other in patterns]) for one in dict.fromkeys(patterns)]
    seen, reached = abs(Pairs.of(rows).tau()), 0
    for _ in range(n_exchanges):
        order = np.arange(len(patterns))
        for group in alike:
            order[group] = generator.permutation(group)
        exchanged = abs(Pairs.of(Rows(rows.x, rows.y[:, order], rows.known)).tau())
        reached += exchanged >= seen - 1e-12
    return (1 + reached) / (1 + n_exchanges)


def holm_adjusted(p: Sequence[float]) -> list[float]:
    """p values that count how many were looked at: below a level with any false one at most so often. NaN is not counted.

    Holm, Scand. J. Statist. 6, 65 (1979).

    >>> holm_adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    found, largest = [math.nan] * len(values), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[k]))
        found[int(k)] = float(largest)
    return found
