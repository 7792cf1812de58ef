"""Speed now against speed then: rounds beside the yardstick's, on the same hardware alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from grannfield.gate.evidence import RATIO, Evidence
from grannfield.score import Score

BETWEEN = 0.02
"""Standard deviation of ln(round/yardstick) from session to session that is allowed for beyond what the rounds of each show: an
allowance. Measured on two cores shared with five other programs, seven sessions: 0.25 of bare rounds, 0.09 of the ratio, of which
the scatter within the sessions (0.1 to 0.5) explains all."""
BETWEEN_WITHOUT = 0.05
"""The same of bare rounds, where a score has no yardstick beside it."""


def of_speed(old: Score, new: Score) -> Evidence | str:
    """How much slower a model has become, as ln of the ratio; or why speeds are not compared."""
    if old.reason or new.reason:
        return new.reason or old.reason
    machines = [str(one.parts.get("hardware") or one.provenance.get("hardware", "")) for one in (old, new)]
    if machines[0] != machines[1] or not machines[0]:
        return f"other hardware: {machines[0] or 'not stated'} then, {machines[1] or 'not stated'} now"
    precisions = [one.parts.get("precision") for one in (old, new)]
    if precisions[0] != precisions[1]:
        return f"other precision: {precisions[0]} then, {precisions[1]} now"
    a, b = _ratios(old.parts), _ratios(new.parts)
    if old.parts.get("yardstick") == new.parts.get("yardstick") and a is not None and b is not None:
        return _shift(a, b, BETWEEN, f"{len(a)} and {len(b)} rounds, each beside the yardstick")
    a, b = _rounds(old), _rounds(new)
    if a is None or b is None:
        return "no rounds are stored"
    return _shift(a, b, BETWEEN_WITHOUT, f"{len(a)} and {len(b)} rounds, without a yardstick")


def _shift(old: np.ndarray, new: np.ndarray, between: float, how: str) -> Evidence:
    """Difference of medians of logarithms; their spread from quartiles, which one disturbed round leaves alone."""
    delta = float(np.median(new) - np.median(old))
    variances = [_variance_of_median(one) for one in (old, new)]
    session = 2 * between**2
    se = math.sqrt(sum(variances) + session)
    return Evidence(delta, se, math.inf, how, tolerance=RATIO["ns_per_day"])


def _variance_of_median(values: np.ndarray) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    sigma = float(high - low) / (2 * float(special.ndtri(0.75)))
    return math.pi / 2 * sigma**2 / len(values)


def _ratios(parts: dict[str, Any]) -> np.ndarray | None:
    """[n] ln of each round's seconds per step over the yardstick's."""
    rounds, beside, steps = (parts.get(key) for key in ("rounds_s", "yardstick_s", "steps_per_round"))
    if not (rounds and beside and steps) or len(rounds) != len(beside):
        return None
    return np.log(np.array(rounds, float) / steps / np.array(beside, float))


def _rounds(score: Score) -> np.ndarray | None:
    """[n] ln of seconds per step; five numbers with the score's median and quartiles where the rounds are not stored."""
    parts = score.parts
    if parts.get("rounds_s") and parts.get("steps_per_round"):
        return np.log(np.array(parts["rounds_s"], float) / parts["steps_per_round"])
    if score.interval is None or not all(math.isfinite(x) and x > 0 for x in score.interval):
        return None
    low, high = score.interval
    return -np.log(np.array([low, low, score.value, high, high]))
