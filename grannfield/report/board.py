"""Cells of the board in full: a number with its interval and verdict, the reference's own beside it, or the reason for none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from grannfield.analysis.equivalence import Comparison
from grannfield.analysis.uncertainty import Estimate
from grannfield.report.columns import COLUMNS
from grannfield.report.kinship import SELF
from grannfield.report.origins import kinship_of, reference_of
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.verdicts import EXACT, NO_INTERVAL, own_number, verdict_of
from grannfield.score import Score, significant

if TYPE_CHECKING:
    from pandas import DataFrame

TOP = ("force_r2", "rdf_mae", "failed_share", "ns_per_day", "neg_log_sigma", "density_overlap")
"""Columns of the short leaderboard."""


def ranked(results: list[Results]) -> list[Results]:
    """Best first: by mean force R² on the windows split over all materials; without a number last.

    What made a reference it is scored against has no rank, and stands below all that have one. A model with results of several
    scales stands in one place.
    """
    values: dict[str, list[float]] = {}
    for one in results:
        found = [s.value for (metric, _), s in sorted(one.scores.items()) if metric == "force_r2" and math.isfinite(s.value)]
        values.setdefault(one.label, []).extend(found)

    def key(one: Results) -> tuple[bool, float, str, str]:
        itself = any(kinship_of(one, material) == SELF for material in one.materials)
        own = values[one.label]
        return (itself, -sum(own) / len(own) if own else math.inf, one.label, scale_of(one))

    return sorted(results, key=key)


def leaderboard(
    results: Sequence[Results],
    metrics: Iterable[str] = tuple(COLUMNS),
    tiers: Mapping[str, str] | None = None,
    line: str = "; ",
) -> DataFrame:
    """The reference's own numbers, then one row for each model and material; a cell is a number, or the reason for none.

    tiers: what stands beside a model's name, by label; line: between the lines of a cell.
    """
    from pandas import DataFrame

    metrics = tuple(metrics)
    rows = reference_rows(results, metrics, line)
    for one in results:
        beside = (tiers or {}).get(one.label, "")
        for material in one.materials:
            row = {"model": f"{row_name(one)}{beside and f' ({beside})'}", "material": material}
            row |= {"preset": str(one.protocol.get("preset", "")), "reference": reference_of(one, material)}
            row["kinship"] = kinship_of(one, material)
            for metric in metrics:
                row[COLUMNS[metric].heading] = cell_of(one, metric, material, line)
            rows.append(row)
    return DataFrame(rows)


def reference_rows(results: Sequence[Results], metrics: Iterable[str], line: str = "; ") -> list[dict[str, str]]:
    """What each reference measures of itself: one row for each reference and material that a model was held against."""
    known = {(reference_of(one, material), material) for one in results for material in one.materials}
    rows = []
    for label, material in sorted(known):
        cells = {COLUMNS[metric].heading: _reference_cell(results, label, metric, material, line) for metric in metrics}
        if label and any(cells.values()):
            row = {"model": f"reference ({label})", "material": material, "preset": "", "reference": label, "kinship": ""}
            rows.append(row | cells)
    return rows


def _reference_cell(results: Sequence[Results], label: str, metric: str, material: str, line: str) -> str:
    """The reference's own number; where presets asked for different ones (another temperature), each with its preset."""
    found = [(text, presets) for (text, _), (_, presets) in own_numbers(results, label, metric, material).items()]
    if len(found) == 1:
        return found[0][0]
    return line.join(f"{text} ({', '.join(presets)})" for text, presets in found)


def own_numbers(
    results: Sequence[Results], label: str, metric: str, material: str
) -> dict[tuple[str, str], tuple[Estimate, list[str]]]:
    """The different numbers that a reference has of itself, with the presets they belong to, by text and temperature."""
    found: dict[tuple[str, str], tuple[Estimate, list[str]]] = {}
    for one in results:
        own = own_number(one, metric, material) if label == reference_of(one, material) else None
        if own is not None:
            score = one.scores.get((metric, material))
            stored = one.reference.get((metric, material), score)
            at = "" if own.reason else _temperature(stored) or _temperature(score)
            presets = found.setdefault((_text(own) + at, at), (own, []))[1]
            presets += [scale_of(one)] * (scale_of(one) not in presets)
            presets.sort()
    return dict(sorted(found.items(), key=lambda item: item[1][1]))


def _text(own: Estimate) -> str:
    if own.reason:
        low, high = own.interval
        bound = f", at most {significant(high)}" if math.isfinite(high) else ""
        return f"n/a: {own.reason}" + (bound or (f", at least {significant(low)}" if math.isfinite(low) else ""))
    if own.note == EXACT:
        return significant(own.value)
    return significant(own.value) + _interval(own) + (f" (n={own.n})" if own.note != NO_INTERVAL else f" ({NO_INTERVAL})")


def _interval(own: Estimate) -> str:
    """Its interval in brackets, nothing where it is open on both sides, or has no width because the score's has it in it."""
    if not any(map(math.isfinite, own.interval)) or own.interval[0] == own.interval[1]:
        return ""
    return f" [{significant(own.interval[0])}, {significant(own.interval[1])}]"


def row_name(one: Results) -> str:
    """A model as the tables call it; one of another size than Table 1's is marked."""
    return f"{one.label} (reduced)" if one.model.get("reduced") else one.label


def cell_of(one: Results, metric: str, material: str, line: str = "; ") -> str:
    """A cell in full: the score, or why there is none."""
    score, column = one.scores.get((metric, material)), COLUMNS[metric]
    if score is not None:
        return cell(one, score, line)
    if column.measured_on and one.model.get("kind") == "trajectories":
        return "n/a: no force field"
    return f"n/a: measured on {column.measured_on}" if column.measured_on not in ("", material) else "not run"


def cell(one: Results, score: Score, line: str = "; ") -> str:
    """A score as the board shows it: the number, pymatgen's, the reference's own with the verdict by test, the paper's."""
    lines = [score.text.replace("\n", " ") + (_temperature(score) if score.outcome == "number" else "")]
    if score.outcome == "number" and isinstance(pymatgen := score.parts.get("pymatgen"), float):
        lines.append(f"pymatgen {significant(pymatgen)}")
    own, verdict = own_number(one, score.metric, score.material), verdict_of(one, score.metric, score.material)
    said = score.outcome == "number" or (verdict is not None and verdict.label == "different")
    if own is not None and not own.reason and said:
        name = "floor" if COLUMNS[score.metric].floor else "reference"
        known = f" ({NO_INTERVAL})" if own.note == NO_INTERVAL else "" if own.note == EXACT else _interval(own)
        lines.append(f"{name} {significant(own.value)}{known}" + (f": {_said(verdict)}" if verdict else ""))
    limit = score.parts.get("paper_threshold")
    if score.outcome == "number" and isinstance(limit, float):
        paper = score.parts.get("verdict_paper") or ("stable" if score.value < limit else "not stable")
        lines.append(f"the paper's limit {significant(limit)}: {paper}")
    return line.join(lines)


def _said(verdict: Comparison) -> str:
    return verdict.label + (f" ({verdict.detail})" if verdict.detail.startswith("p = ") else "")


def _temperature(score: Score | None) -> str:
    found = None if score is None else score.parts.get("temperature_K")
    return f" at {found:g} K" if isinstance(found, int | float) else ""


def reading(metrics: Iterable[str] = tuple(COLUMNS)) -> list[tuple[str, str]]:
    """What each column means, and how verdicts and tiers come about, as (term, text)."""
    verdict = (
        "tests on the 95% interval of the difference from the reference's own number, or from the floor, what halves of the "
        "reference score against each other: indistinguishable inside the margin, different when zero is outside and the "
        "difference beyond the margin, else undecided. Against a floor only being worse counts. Margins: "
        f"{margins()}."
    )
    tiers = "Tiers and P(rank 1) are in tiers.md, columns that say the same in redundancy.md."
    return [("n/a", "why the physics gave no number"), ("verdicts", verdict), ("tiers", tiers),
            *((COLUMNS[m].title, COLUMNS[m].about) for m in metrics)]  # fmt: skip


def margins() -> str:
    """The margins of all columns, in words."""
    known = [column for column in COLUMNS.values() if column.margin is not None]
    return "; ".join(f"{'log10 ' * c.log10}{c.title} ±{c.margin:g}{'' if c.log10 or not c.unit else f' {c.unit}'}" for c in known)


def legend(metrics: Iterable[str] = tuple(COLUMNS)) -> str:
    """How to read the board, as Markdown: a line for each thing."""
    return "\n".join(f"- **{term}**: {text}" for term, text in reading(metrics)) + "\n"


def short(score: Score) -> str:
    """A cell as the terminal shows it."""
    return (
        f"{COLUMNS[score.metric].title} of {score.model} on {score.material}: {score.text} {COLUMNS[score.metric].unit}".strip()
    )
