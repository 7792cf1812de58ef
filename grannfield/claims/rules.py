"""What each kind of condition says of one model on one material."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grannfield.analysis.equivalence import difference_of
from grannfield.analysis.uncertainty import EXPLODED, FUSED
from grannfield.claims.evidence import Evidence, Look
from grannfield.claims.logic import Truth, beyond, negated, some
from grannfield.report.columns import COLUMNS
from grannfield.report.verdicts import verdict_of
from grannfield.score import Score

BROKEN = (FUSED, EXPLODED)
"""Reasons for which there is no number that are themselves an answer: the structure did not stay."""
RDF_LIMIT, TIMES_FLOOR = 0.02, 1.5
"""Of the verdict stable: the error of g(r) below the larger of 0.02 and one and a half times the reference's own."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one condition: whether it holds, the numbers in words, and the numbers."""

    holds: Truth
    text: str
    looks: tuple[Look, ...] = ()


NOT_RUN = Seen(None, "not run")
Rule = Callable[[dict[str, Any], Evidence, str, str], Seen]


def above(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether a column is above a limit."""
    look = evidence.look(condition["metric"], model, material)
    if look is None:
        return NOT_RUN
    return Seen(beyond(look.found, condition["limit"]), _named(condition["metric"], look), (look,))


def below(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    seen = above(condition, evidence, model, material)
    return Seen(negated(seen.holds), seen.text, seen.looks)


def stable(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether the radial distribution function stays the reference's, on intervals.

    Yes: the board's verdict is stable and the interval of the mean lies below the limit. No: an event in a run (fusion and so
    on), or a run whose whole interval lies above its limit.
    """
    look = evidence.look("rdf_mae", model, material)
    if look is None or look.score is None:
        return NOT_RUN
    score, word = look.score, look.score.verdict.partition(" (")[0]
    if look.found.reason:
        return Seen(False if look.found.reason in BROKEN else None, look.text, (look,))
    limit = score.parts.get("threshold")
    text = f"RDF MAE {look.text}, {word}" + (f" (limit {limit:.3f})" if isinstance(limit, float) else "")
    if word == "stable":
        high = look.found.interval[1]
        return Seen(True if isinstance(limit, float) and high < limit else None, text, (look,))
    event = word not in ("", "lattice mismatch")
    return Seen(False if event or any(map(_above_its_limit, score.parts.get("by_run", []))) else None, text, (look,))


def _above_its_limit(run: dict[str, Any]) -> bool:
    """Whether the whole interval of one run's RDF error is above the limit of the verdict."""
    low = (run.get("interval") or (None, None))[0]
    return low is not None and low > max(RDF_LIMIT, TIMES_FLOOR * (run.get("floor") or 0.0))


def mode(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether MD ends in one of the two failures that the paper knows."""
    seen = stable({}, evidence, model, material)
    if not seen.looks or (score := seen.looks[0].score) is None:
        return seen
    found = {FUSED: "fusion"}.get(score.reason, score.reason) or score.verdict.partition(" (")[0]
    if found == condition["mode"]:
        return Seen(negated(seen.holds), seen.text, seen.looks)
    unclear = seen.holds is None and score.outcome != "number"  # too short, no reference: nothing was seen at all
    return Seen(None if unclear else False, seen.text, seen.looks)


def agrees(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether a number is within so much of the reference's own: the interval of the difference inside, or outside."""
    look = evidence.look(condition["metric"], model, material)
    if look is None:
        return NOT_RUN
    if look.own is None:
        return Seen(_broken(look), f"{look.text}; the reference has none", (look,))
    own, within = Look(look.own, one=look.one), condition["within"]
    text = f"{look.text}, reference {own.text}"
    if look.found.reason in BROKEN:
        return Seen(False, text, (look,))
    low, high = difference_of(look.found, look.own).interval
    inside = not look.found.reason and not look.own.reason and -within < low and high < within
    return Seen(True if inside else False if low > within or high < -within else None, text, (look,))


def resolved(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether there is a number; that there is none for want of simulation says nothing."""
    look = evidence.look(condition["metric"], model, material)
    if look is None:
        return NOT_RUN
    printed = look.one is None and bool(look.found.reason)
    return Seen(False if printed else _broken(look) if look.found.reason else True, look.text, (look,))


def _broken(look: Look) -> Truth:
    return False if look.found.reason in BROKEN else None


def strays(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether the mobile ions leave the reference's channels by test, or the whole cell moves."""
    outside = differs({"metric": "outside_channels"}, evidence, model, material)
    drift = evidence.look("framework_drift", model, material)
    if drift is None or drift.score is None:
        return outside
    word = drift.score.verdict
    moving = None if drift.found.reason else word == "moves as a whole"
    said = drift.text if drift.found.reason else f"framework {word}"
    return Seen(some([outside.holds, moving]), f"{outside.text}; {said}", (*outside.looks, drift))


def differs(condition: dict[str, Any], evidence: Evidence, model: str, material: str) -> Seen:
    """Whether a column differs from the reference's own number, or is worse than its floor, by the board's test."""
    metric = condition["metric"]
    look = evidence.look(metric, model, material)
    if look is None or look.one is None:
        return NOT_RUN
    test = verdict_of(look.one, metric, material)
    if test is None or look.found.reason:
        return Seen(None, _named(metric, look), (look,))
    holds = {"different": True, "indistinguishable": False}.get(test.label)
    return Seen(holds, f"{_named(metric, look)}, {test.label}{_floor(look.score)}", (look,))


def _floor(score: Score | None) -> str:
    """The reference's own number beside a score, in words."""
    stored = score.parts.get("floor") if score is not None else None
    value = stored.get("value") if isinstance(stored, dict) else stored
    return f" (reference itself {value:.2g})" if isinstance(value, float) and math.isfinite(value) else ""


def _named(metric: str, look: Look) -> str:
    return f"{COLUMNS[metric].title} {look.text}"


RULES: dict[str, Rule] = {
    "above": above,
    "below": below,
    "stable": stable,
    "mode": mode,
    "agrees": agrees,
    "resolved": resolved,
    "strays": strays,
    "differs": differs,
}
