"""A stored number against the reference's own, by test: everything from results files alone."""

from __future__ import annotations

import math
from typing import Any

from grannfield.analysis.equivalence import Comparison, compare, no_worse
from grannfield.analysis.uncertainty import UNBOUNDED, Estimate
from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.score import Score

NO_INTERVAL = "no interval stored"
EXACT = "exact"


def estimate_of(score: Score) -> Estimate:
    """A stored score as a number with its interval, or its reason with the bound there may be.

    >>> estimate_of(Score("rdf_mae", "m", "LGPS", 0.03, n=5, interval=(0.02, 0.04))).interval
    (0.02, 0.04)
    """
    low, high = score.interval or UNBOUNDED
    if score.outcome != "number":
        return Estimate.missing(score.reason, score.detail, n=score.n, interval=(low, high))
    return Estimate(score.value, (min(low, score.value), max(high, score.value)), score.n, note=score.note)


def own_number(one: Results, metric: str, material: str) -> Estimate | None:
    """The reference's own number where a model's score is compared with one: its value, or its halves against each other.

    A floor that was stored as a bare number has no interval; a number that the score itself names as the reference's, such as the
    slope 1 of forces that are right, is exact. None where the score was taken against another reference than
    the number was, and where there is none.
    """
    stored, score = one.reference.get((metric, material)), one.scores.get((metric, material))
    if stored is not None:
        against = "" if score is None else score.provenance.get("reference", "")
        return estimate_of(stored) if against in ("", stored.model) else None
    if score is None:
        return None
    if COLUMNS[metric].floor:
        return _floor(score.parts.get("floor"))
    exact = score.parts.get("reference")
    return Estimate(exact, (exact, exact), n=1, note=EXACT) if isinstance(exact, float) else None


def _floor(stored: Any) -> Estimate | None:
    """A floor kept beside a score, as an Estimate, as what JSON makes of one, or as a bare number."""
    if isinstance(stored, Estimate):
        return stored
    if isinstance(stored, dict):
        if stored.get("value") is None:
            return Estimate.missing(str(stored.get("reason") or "undefined"))
        low, high = stored.get("interval") or (None, None)
        interval = (-math.inf if low is None else low, math.inf if high is None else high)
        return Estimate(stored["value"], interval, max(1, int(stored.get("n") or 1)))
    return Estimate(float(stored), n=1, note=NO_INTERVAL) if isinstance(stored, float) else None


def verdict_of(one: Results, metric: str, material: str) -> Comparison | None:
    """Whether a model's number is the reference's, within the column's margin; None where there is nothing to compare.

    Columns with a floor are tested one-sidedly: to be nearer to the reference than its own halves are is no difference. A test
    that was made on the runs themselves and is stored with the score goes before that on the two intervals.
    """
    column, score = COLUMNS[metric], one.scores.get((metric, material))
    own = own_number(one, metric, material)
    if score is None or column.margin is None or score.error:
        return None
    if isinstance(score.parts.get("test"), dict):
        return _stored(score.parts["test"], score.n, column.margin)
    if own is None:
        return None
    if column.floor and column.better != "closer":
        return no_worse(estimate_of(score), own, column.margin, column.better)
    return compare(estimate_of(score), own, column.margin, log10=column.log10)


def _stored(test: dict[str, Any], n: int, margin: float) -> Comparison | None:
    """A verdict that a benchmark reached: label, excess over the floor with its interval, margin, p."""
    label, excess, (low, high) = test.get("label"), test.get("excess"), test.get("interval") or (None, None)
    if label not in ("indistinguishable", "different", "undecided"):
        return None
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if isinstance(excess, float) and math.isfinite(excess):
        gap = Estimate(excess, (min(low, excess), max(high, excess)), max(1, n))
    else:
        gap = Estimate.missing("undefined", interval=(low, high))
    detail = f"p = {test['p']:.2g}" if isinstance(test.get("p"), float) else ""
    return Comparison(label, gap, float(test.get("margin") or margin), detail)
