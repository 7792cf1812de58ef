"""Scores as cells of tables: short for the eye, complete for a machine."""

from __future__ import annotations

import math
from typing import Any

from grannfield.analysis.uncertainty import TOO_FEW_TEMPERATURES, Estimate
from grannfield.report.columns import COLUMNS
from grannfield.report.origins import reference_of
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, measured, significant
from grannfield.report.verdicts import NO_INTERVAL, verdict_of
from grannfield.score import Score

SHORTER = {TOO_FEW_TEMPERATURES: "< 3 temperatures", "element not supported": "no such element", "below detection": "not seen"}
"""Reasons as narrow columns show them."""
LONGEST = 60
"""Characters of an error in a narrow column."""


def behind(one: Results, material: str = "") -> dict[str, Any]:
    """The part of a record that all numbers of a model on a material share."""
    return {
        "model": one.label, "material": material, "preset": scale_of(one), "source": "measured",
        "reference": reference_of(one, material) if material else "", "weights": str(one.model.get("identity") or ""),
    }  # fmt: skip


def score_record(one: Results, score: Score) -> dict[str, Any]:
    """A score with everything that a machine may want of it."""
    low, high = score.interval or (None, None)
    test = verdict_of(one, score.metric, score.material)
    at = score.parts.get("temperature_K")
    return behind(one, score.material) | {
        "column": score.metric, "temperature_K": at if isinstance(at, int | float) else None, "value": score.value,
        "low": low, "high": high, "n": score.n or None, "unit": score.unit or COLUMNS[score.metric].unit,
        "reason": f"ERROR: {score.reason}" if score.error else score.reason, "detail": score.detail,
        "verdict": score.verdict, "note": score.note,
        "against_reference": test.label if test and score.outcome == "number" else "",
    }  # fmt: skip


def part(record: dict[str, Any], name: str, found: Any, scale: float = 1.0, at: float | None = None) -> Cell:
    """A number kept among the parts of a score, {"value", "interval", "n", "reason"}, as a cell; empty where it is not there.

    scale: from its unit to that of the record; at: K.
    """
    if not isinstance(found, dict):
        return Cell()
    value, reason = found.get("value"), str(found.get("reason") or "")
    interval = _scaled(found.get("interval"), scale)
    made = record | {"part": name, "temperature_K": at, "detail": str(found.get("detail") or ""), "n": found.get("n") or None}
    made |= {"low": interval[0] if interval else None, "high": interval[1] if interval else None, "reason": reason}
    if value is None:
        made["reason"] = reason or "no number stored"
        return Cell((missing(made["reason"], interval),), records=(made,))
    n = str(made["n"] or "")
    return Cell((measured(value * scale, interval),), n, records=(made | {"value": value * scale},))


def _scaled(interval: Any, scale: float) -> tuple[float, float] | None:
    """An interval as JSON keeps it, open ends None; None where both are open."""
    low, high = interval or (None, None)
    if low is None and high is None:
        return None
    return (-math.inf if low is None else low * scale, math.inf if high is None else high * scale)


def score_cell(one: Results, score: Score, full: str = "") -> Cell:
    """A score in a few short lines: number and n, the column's own verdict, that of the test."""
    record = (score_record(one, score),)
    if score.outcome == "error":
        text = f"ERROR: {score.reason}"
        return Cell((text if len(text) <= LONGEST else text[: LONGEST - 1] + "…",), full=full or text, records=record)
    if score.outcome == "n/a":
        return Cell((missing(score.reason, score.interval),), full=full or score.text, records=record)
    lines = [measured(score.value, score.interval)]
    if score.metric == "failed_share":
        lines = [f"{round(score.value * score.n)} of {score.n}", f"share {lines[0]}"]
    said = [score.verdict.partition(" (")[0].partition(",")[0]] if score.metric == "rdf_mae" and score.verdict else []
    said += [test.label] if (test := verdict_of(one, score.metric, score.material)) else []
    lines += [", ".join(said)] if said else []
    n = "" if score.metric == "failed_share" else str(score.n)
    return Cell(tuple(lines), n, full or score.text, record)


def missing(reason: str, interval: tuple[float, float] | None = None) -> str:
    """Why there is no number, and what is known all the same.

    >>> missing("below detection", (0.0, 1e-6)), missing("fewer than 3 usable temperatures", (-4.04, math.inf)), missing("fused")
    ('n/a: not seen, ≤ 1.00·10⁻⁶', 'n/a: < 3 temperatures, ≥ -4.04', 'n/a: fused')
    """
    low, high = interval or (-math.inf, math.inf)
    bound = f", ≤ {significant(high)}" if math.isfinite(high) else f", ≥ {significant(low)}" if math.isfinite(low) else ""
    return f"n/a: {SHORTER.get(reason, reason)}{bound}"


def estimate_cell(own: Estimate, record: dict[str, Any], beside: str = "") -> Cell:
    """A number of the reference, with what it is of beside it (a temperature, a preset)."""
    low, high = own.interval
    made = record | {"value": own.value, "low": low, "high": high, "n": own.n or None, "reason": own.reason, "detail": own.detail}
    if own.reason:
        return Cell((missing(own.reason, own.interval),), records=(made,))
    sharp = low == high or not (math.isfinite(low) or math.isfinite(high))
    text = measured(own.value, None if sharp else own.interval) + beside
    lines = (text, NO_INTERVAL) if own.note == NO_INTERVAL else (text,)
    n = "" if own.note == NO_INTERVAL or own.note == "exact" else str(own.n)
    return Cell(lines, n, records=(made,))
