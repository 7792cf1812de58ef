"""Do two columns rank the models alike? Spearman's correlation within materials, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from grannfield.analysis.uncertainty import LEVEL, UNDEFINED, Estimate

FEWEST_MODELS = 5
"""Models below which a rank correlation is not worth a number."""
FEWEST_FOR_REDUNDANT = 8
REDUNDANT = 0.8
"""Lower end of the interval from which a column says what another has said."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of two columns, both oriented so that higher is better."""

    rho: Estimate
    """n counts (model, material) cells."""
    n_models: int

    @property
    def redundant(self) -> bool:
        """Whether the two rank models alike beyond doubt: the interval's lower end of |rho| is 0.8 or more, of 8 models."""
        low, high = self.rho.interval
        enough = self.n_models >= FEWEST_FOR_REDUNDANT and not self.rho.reason
        return enough and (low >= REDUNDANT or high <= -REDUNDANT)


def agreement(x: np.ndarray, y: np.ndarray, materials: Sequence[str], models: Sequence[str]) -> Agreement:
    """Spearman's correlation of two columns over cells, each a model in a material.

    Models are ranked within each material, so that a material that is hard in both columns is not taken for agreement; the
    ranks, scaled to -1..1, are then pooled. Interval: Fisher's z with the standard error of Bonett and Wright, Psychometrika 65,
    23 (2000), https://doi.org/10.1007/BF02294183, as if the materials repeated each other: n in it is the number of models.
    Perfect agreement counts as half a step short of it. Cells of a material with fewer than two models are left out; no number
    below five models. ValueError for columns of different lengths or with gaps.

    >>> models, material = [f"m{i}" for i in range(9)], ["LGPS"] * 9
    >>> found = agreement(np.arange(9.0), np.arange(9.0) ** 3, material, models)
    >>> found.rho.value, found.rho.n, found.redundant
    (1.0, 9, True)
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(x) == len(y) == len(materials) == len(models) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"columns of {len(x)} and {len(y)} cells should have the same cells, all with finite numbers")
    ranks = [np.zeros(len(x)), np.zeros(len(x))]
    kept = np.zeros(len(x), dtype=bool)
    for name in sorted(set(materials)):
        inside = np.array([other == name for other in materials])
        if inside.sum() < 2:
            continue
        kept |= inside
        for rank, values in zip(ranks, (x, y), strict=True):
            rank[inside] = 2 * (stats.rankdata(values[inside]) - 1) / (inside.sum() - 1) - 1
    n, k = int(kept.sum()), len({model for model, one in zip(models, kept, strict=True) if one})
    if k < FEWEST_MODELS:
        return Agreement(Estimate.missing(f"too few models (n={k})", n=n), k)
    first, second = (rank[kept] for rank in ranks)
    size = math.sqrt(float((first**2).sum() * (second**2).sum()))
    if size == 0:
        return Agreement(Estimate.missing(UNDEFINED, "one column is the same for all models", n=n), k)
    rho = float(np.clip((first * second).sum() / size, -1.0, 1.0))
    return Agreement(Estimate(rho, spearman_interval(rho, k), n, note=f"{k} models; Fisher's z"), k)


def spearman_interval(rho: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a rank correlation of n independent pairs, n > 3; it always holds rho.

    >>> [round(x, 3) for x in spearman_interval(0.9, 11)]
    [0.572, 0.98]
    """
    nearest = 1 - 3 / (n * (n * n - 1))
    z = math.atanh(max(-nearest, min(nearest, rho)))
    half = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half))
