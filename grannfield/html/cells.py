"""Cells of the board as a page shows them: text, badges, the key they sort by, and what is said on hover or focus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grannfield.analysis.uncertainty import EXPLODED, FUSED, Estimate
from grannfield.report.board import row_name
from grannfield.report.columns import COLUMNS, Column
from grannfield.report.kinship import NONE, SELF, UNKNOWN
from grannfield.report.origins import kinship_of, reference_of
from grannfield.report.paired import oriented
from grannfield.report.results import Results
from grannfield.report.verdicts import EXACT, NO_INTERVAL, own_number, verdict_of
from grannfield.score import Score, significant

VERDICTS = ("stable", "fusion", "lattice mismatch", "cold", "indistinguishable", "different", "undecided", "n/a", "error")
"""What a cell can be filtered by."""
DEFAULT = (
    "force_r2",
    "rdf_mae",
    "failed_share",
    "diffusivity",
    "neg_log_sigma",
    "density_overlap",
    "ns_per_day",
)
"""Columns shown before anybody chooses."""
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Cell:
    """One cell of the board."""

    metric: str
    state: str
    """"number", "n/a", "error", "elsewhere" (measured on another material) or "not run"."""
    text: str
    """The value, or the reason for none in a few words."""
    interval: str = ""
    n: int = 0
    key: float | None = None
    """What to sort by: higher is better; None for what has no rank."""
    badges: tuple[str, ...] = ()
    hint: tuple[str, ...] = ()
    """Lines shown on hover and focus."""
    failed: bool = False
    """Whether there is no number because the run went wrong."""

    @property
    def opens(self) -> bool:
        return self.state in ("number", "n/a", "error")


@dataclass(frozen=True)
class Row:
    """A model in one material."""

    model: int
    """Place in the list of models."""
    label: str
    name: str
    material: str
    preset: str
    reference: str
    marks: tuple[tuple[str, str], ...]
    """What is said beside the name, and the same at length."""
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[str]:
        return sorted({badge for cell in self.cells.values() for badge in cell.badges})


def formula(text: str) -> str:
    """A chemical formula with its indices below the line.

    >>> formula("Li10GeP2S12")
    'Li₁₀GeP₂S₁₂'
    """
    return text.translate(SUBSCRIPTS)


def kinship_mark(kinship: str) -> str:
    """A few words for how a model is related to what made the reference; empty where it is not."""
    if kinship in ("", NONE):
        return ""
    if kinship.startswith("kin"):
        return "kin"
    known = {SELF: "is the reference", UNKNOWN: "kinship unknown", "trained on it": "trained on it"}
    return known.get(kinship, "maker's labels" if "maker's labels" in kinship else kinship.partition(" (")[0])


def own_rows(results: Sequence[Results]) -> list[tuple[Row, dict[str, Score]]]:
    """What each reference measures of itself, by reference and material, with the scores behind it.

    Where presets asked for different numbers (another temperature or length), that of the most samples is shown.
    """
    found: dict[tuple[str, str], dict[str, tuple[int, Cell, Score | None]]] = {}
    for one in results:
        for material in one.materials:
            row = found.setdefault((reference_of(one, material), material), {})
            for metric, column in COLUMNS.items():
                own = own_number(one, metric, material)
                if own is not None and own.note != EXACT and (metric not in row or own.n > row[metric][0]):
                    row[metric] = own.n, _own_cell(metric, own, column), one.reference.get((metric, material))
    made = []
    for (label, material), row in sorted(found.items()):
        cells = {metric: row[metric][1] if metric in row else Cell(metric, "not run", "") for metric in COLUMNS}
        scores = {metric: score for metric, (_, _, score) in row.items() if score is not None}
        if label and row:
            made.append((Row(-1, label, "reference", material, "", label, (), cells), scores))
    return made


def _own_cell(metric: str, own: Estimate, column: Column) -> Cell:
    name = "floor: halves of the reference against each other" if column.floor else "the reference's own number"
    hint = (name, own_text(own), *([own.note] if own.note and own.note != NO_INTERVAL else []))
    if own.reason:
        return Cell(metric, "n/a", own.reason + _bound(own), n=own.n, hint=hint)
    interval = "" if own.interval[0] == own.interval[1] else between(own)
    interval = f"floor {interval or '(no interval)'}" if column.floor else interval
    return Cell(metric, "number", significant(own.value), interval, own.n, hint=hint)


def rows_of(results: Sequence[Results], tiers: Mapping[str, str]) -> list[Row]:
    """The board: a row for each model and material, models in the order given; `tiers` is what stands beside a name, by label."""
    found = []
    for number, one in enumerate(results):
        for material in one.materials:
            marks = _marks(one, material, tiers.get(one.label, ""))
            preset, reference = str(one.protocol.get("preset", "")), reference_of(one, material)
            cells = {metric: cell_of(one, metric, material) for metric in COLUMNS}
            found.append(Row(number, one.label, row_name(one), material, preset, reference, marks, cells))
    return found


def _marks(one: Results, material: str, tier: str) -> tuple[tuple[str, str], ...]:
    kinship = kinship_of(one, material)
    marks = [("reduced", f"smaller than Table 1: {one.model.get('n_parameters', 0):,} parameters")] * bool(
        one.model.get("reduced")
    )
    if short := kinship_mark(kinship):
        marks.append((short, f"kinship with what made the reference: {kinship}"))
    if tier:
        marks.append((tier, "overall tier: within one, no model is told from the best of it"))
    return tuple(marks)


def cell_of(one: Results, metric: str, material: str) -> Cell:
    """A model's cell, whatever the outcome."""
    score, column = one.scores.get((metric, material)), COLUMNS[metric]
    if score is None:
        if column.measured_on and one.model.get("kind") == "trajectories":
            return Cell(metric, "elsewhere", "no force field")
        if column.measured_on not in ("", material):
            return Cell(metric, "elsewhere", f"measured on {formula(column.measured_on)}")
        return Cell(metric, "not run", "not run")
    verdict, own = verdict_of(one, metric, material), own_number(one, metric, material)
    badges = badges_of(score, verdict.label if verdict else "")
    hint = tuple(_hint(score, column, own, verdict.label if verdict else ""))
    if score.outcome != "number":
        text = "error" if score.error else _reason(score)
        return Cell(metric, score.outcome, text, n=score.n, badges=badges, hint=hint, failed=failed(score))
    key = oriented(column, score.value, own)
    return Cell(metric, "number", significant(score.value), between(score), score.n, key, badges, hint)


def badges_of(score: Score, tested: str) -> tuple[str, ...]:
    """The verdicts on a score: what it says of itself, and what a test against the reference says."""
    if score.outcome != "number":
        fused = score.reason == FUSED and score.metric.startswith("rdf_")
        return ("error" if score.error else "n/a", *(["fusion"] if fused else []), *([tested] if tested == "different" else []))
    said = [verdict for verdict in ("stable", "fusion", "lattice mismatch") if score.verdict.startswith(verdict)]
    return (*said, *(["cold"] if score.parts.get("cold") else []), *([tested] if tested else []))


def between(score: Score | Estimate) -> str:
    """An interval in brackets, empty where there is none.

    >>> between(Score("d", "m", "LGPS", 1.0, n=3, interval=(0.5, math.inf)))
    '[0.5, ∞]'
    """
    low, high = score.interval or (-math.inf, math.inf)
    if not (math.isfinite(low) or math.isfinite(high)):
        return ""
    return f"[{significant(low) if math.isfinite(low) else '-∞'}, {significant(high) if math.isfinite(high) else '∞'}]"


def failed(score: Score) -> bool:
    """Whether there is no number because the run went wrong."""
    return score.error or score.reason in (FUSED, EXPLODED)


def own_text(own: Estimate | None) -> str:
    """The reference's own number, or why it has none; empty without one."""
    if own is None:
        return ""
    if own.reason:
        return f"n/a: {own.reason}{_bound(own)}"
    if own.note == EXACT:
        return significant(own.value)
    known = f" ({NO_INTERVAL})" if own.note == NO_INTERVAL else f" (n={own.n})"
    interval = "" if own.interval[0] == own.interval[1] else between(own)
    return f"{significant(own.value)}{interval and ' ' + interval}{known}"


def _reason(score: Score) -> str:
    return score.reason + _bound(Estimate.missing(score.reason, interval=score.interval or (-math.inf, math.inf)))


def _bound(own: Estimate) -> str:
    low, high = own.interval
    if math.isfinite(high):
        return f", ≤ {significant(high)}"
    return f", ≥ {significant(low)}" if math.isfinite(low) else ""


def _hint(score: Score, column: Column, own: Estimate | None, tested: str) -> list[str]:
    """What a cell says on hover: value with unit, interval and n, what n counts, the reference's own number, the verdicts."""
    if score.outcome != "number":
        lines = [f"{'ERROR' if score.error else 'n/a'}: {_reason(score)}", *filter(None, [score.detail])]
    else:
        interval = between(score)
        name = "quartiles" if column.measured_on else "95%"
        lines = [f"{significant(score.value)} {column.unit}".strip() + (f", {name} {interval}" if interval else ", no interval")]
        lines.append(f"n = {score.n}" + (f" ({score.note})" if score.note else ""))
        lines += [score.verdict] if score.verdict else []
    if own is not None and (score.outcome == "number" or tested == "different"):
        lines.append(f"{'floor' if column.floor else 'reference'} {own_text(own)}" + (f": {tested}" if tested else ""))
    return lines
