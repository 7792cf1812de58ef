"""Along which lattice vectors the ions diffuse: shares of D along a, b and c, and their distance from a reference's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from grannfield.analysis.uncertainty import LEVEL, Estimate

N_DRAWS = 2000


def axis_shares(along: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Shares of the diffusivity along each lattice vector, from D along each; a D that is only bounded counts half its bound.

    Intervals from 2,000 draws of each D from its own interval (lognormal; uniform below a bound). An axis without even a
    bound passes its reason on to all.

    >>> shares = axis_shares({k: Estimate(v, (0.9 * v, 1.1 * v), 20) for k, v in {"a": 1e-5, "b": 1e-5, "c": 3e-5}.items()})
    >>> round(shares["c"].value, 2)
    0.6
    """
    found = _drawn(along, 0)
    if isinstance(found, Estimate):
        return dict.fromkeys(along, found)
    point, draws = found
    low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
    n = min(e.n for e in along.values())
    return {
        axis: Estimate(float(p), (float(min(p, a)), float(max(p, b))), max(1, n), note="draws from the intervals of D along each")
        for axis, p, a, b in zip(along, point, low, high, strict=True)
    }


def share_distance(along: Mapping[str, Estimate], reference: Mapping[str, Estimate]) -> tuple[Estimate, Estimate]:
    """Distance between the shares of D along a, b, c of a run and a reference, and what chance alone would show.

    Half the sum of absolute differences (total variation): 0 the same way, 1 along different axes. Interval: the distance
    moves by no more than the noise in both, of which 95% of 2,000 draws stay below the half-width; the low end is not cut at
    0, so that it says how far from certain a difference is. Chance: the mean distance of draws about equal shares.

    >>> e = {k: Estimate(1e-5, (0.8e-5, 1.2e-5), 20) for k in "abc"}
    >>> distance, chance = share_distance(e, e)
    >>> distance.value, 0.02 < chance.value < 0.1
    (0.0, True)
    """
    own, other = _drawn(along, 0), _drawn(reference, 1)
    for missing in (own, other):
        if isinstance(missing, Estimate):
            return missing, missing
    assert not isinstance(own, Estimate) and not isinstance(other, Estimate)
    value = float(0.5 * np.abs(own[0] - other[0]).sum())
    noise = 0.5 * np.abs((own[1] - own[1].mean(axis=0)) - (other[1] - other[1].mean(axis=0))).sum(axis=1)
    half = float(np.quantile(noise, LEVEL))
    n = max(1, min(e.n for e in (*along.values(), *reference.values())))
    note = "ions; draws from the intervals of D along each axis"
    chance = Estimate(float(noise.mean()), (float(noise.min()), float(noise.max())), n, note=note)
    return Estimate(value, (value - half, min(1.0, value + half)), n, note=note), chance


def _drawn(along: Mapping[str, Estimate], seed: int) -> tuple[np.ndarray, np.ndarray] | Estimate:
    """Shares [3] as measured and drawn [2000, 3], or the first D that has neither a value nor a bound."""
    generator = np.random.default_rng(seed)
    points, draws = [], []
    for one in along.values():
        low, high = one.interval
        if one.reason:
            if not (math.isfinite(high) and high > 0):
                return one
            points.append(0.5 * high)
            draws.append(generator.uniform(0.0, high, N_DRAWS))
            continue
        if not (low > 0 and math.isfinite(high)):
            return Estimate.missing("undefined", f"D along an axis is {one.value:.2g} in an open interval", n=one.n)
        width = math.log(high / low) / (2 * float(stats.norm.ppf(0.5 + LEVEL / 2)))
        points.append(one.value)
        draws.append(one.value * np.exp(width * generator.standard_normal(N_DRAWS)))
    drawn = np.stack(draws, axis=1)
    point = np.array(points)
    return point / point.sum(), drawn / drawn.sum(axis=1, keepdims=True)
