"""Everything about one cell, for the panel that opens on it: how the number came to be, in texts to be shown as they are."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from grannfield.analysis.equivalence import Comparison
from grannfield.html.cells import between, failed, own_text
from grannfield.html.packs import rounded
from grannfield.html.parts import tables_of, text_of, words
from grannfield.report.columns import COLUMNS, Column
from grannfield.report.origins import kinship_of, reference_of
from grannfield.report.results import Results
from grannfield.report.verdicts import own_number, verdict_of
from grannfield.score import Score, significant

HEXADECIMAL = re.compile(r"[0-9a-f]{10,64}")
SHOWN_ELSEWHERE = frozenset({"reference", "kinship", "evidence"})
DATED = re.compile(r"\d{4}-\d\d-\d\d")


def detail_of(one: Results, score: Score, tier: str = "") -> dict[str, Any]:
    """A score with all that is known of it; `tier` is what its column says of its model."""
    column = COLUMNS[score.metric]
    own, verdict = own_number(one, score.metric, score.material), verdict_of(one, score.metric, score.material)
    made = {
        "outcome": score.outcome,
        "failed": failed(score),
        "value": significant(score.value) if score.outcome == "number" else "",
        "reason": score.reason,
        "detail": score.detail,
        "interval": between(score),
        "bounds": interval_name(column),
        "n": score.n,
        "note": score.note,
        "verdict": score.verdict,
        "own": own_text(own),
        "own_name": "its floor" if column.floor else "the reference",
        "test": _tested(verdict, column),
        "tier": tier,
        "reference": reference_of(one, score.material),
        "kinship": kinship_of(one, score.material),
        "tables": [table.as_json() for table in tables_of(score.parts)],
        "runs": _points(score.parts.get("by_run"), column),
        "curve": rounded(score.parts.get("curve") or {}),
        "origin": origin_rows(one, score),
        "commands": commands(one.label, score.material, score.metric),
    }
    return {key: value for key, value in made.items() if value not in ("", None, [], {}, False)}


def own_detail(score: Score) -> dict[str, Any]:
    """A number of the reference itself."""
    made = {
        "outcome": score.outcome,
        "value": significant(score.value) if score.outcome == "number" else "",
        "reason": score.reason,
        "detail": score.detail,
        "interval": between(score),
        "bounds": interval_name(COLUMNS[score.metric]),
        "n": score.n,
        "note": score.note,
        "reference": score.model,
        "tables": [table.as_json() for table in tables_of(score.parts)],
        "runs": _points(score.parts.get("by_run"), COLUMNS[score.metric]),
        "origin": _flat(score.provenance),
    }
    return {key: value for key, value in made.items() if value not in ("", None, [], {})}


def interval_name(column: Column) -> str:
    """What the brackets hold: quartiles of speeds, else 95% intervals."""
    return "quartiles" if column.measured_on else "95% interval"


def commands(label: str, material: str, metric: str) -> list[str]:
    """What to type to see how a number came to be, and to have it computed again.

    >>> commands("my model", "LGPS", "rdf_mae")[0]
    "grannfield explain 'my model' LGPS rdf_mae"
    """
    cell = shlex.join([label, material, metric])
    return [f"grannfield explain {cell}", f"grannfield verify {cell}"]


def origin_rows(one: Results, score: Score) -> list[list[str]]:
    """Hashes, protocol, machine, versions, date and seed behind a score, in that order: [what, text]."""
    protocol = [[words(f"protocol_{key}"), text_of(value)] for key, value in one.protocol.items() if value not in ("", None)]
    model = [["model identity (SHA-256)", str(one.model.get("identity", ""))]]
    rows = [*model, *_flat(score.provenance), *_pointers(score.provenance.get("evidence") or ()), *protocol]
    return [row for row in rows if row[1]]


def _pointers(evidence: Any) -> list[list[str]]:
    """The files a score points to, each with its hash."""
    found = []
    for one in evidence:
        if isinstance(one, Mapping):
            where = f"{one.get('temperature_K', 0):g} K, replica {one.get('replica', 0)}" if "replica" in one else ""
            name = ", ".join(filter(None, [f"evidence ({one.get('kind', '')})", where]))
            found.append([name, " ".join(str(one[key]) for key in ("path", "sha256") if one.get(key))])
    return found


def _flat(stamp: Mapping[str, Any], before: str = "") -> list[list[str]]:
    """A provenance as rows, nested keys joined; hashes first, then the rest, then versions."""
    rows: list[list[str]] = []
    for key, value in stamp.items():
        if key in SHOWN_ELSEWHERE and not before:
            continue
        name = f"{before}{str(key) if '.' in str(key) else words(str(key))}"
        if key == "versions" and isinstance(value, Mapping):
            rows.append([name, ", ".join(f"{package} {version}" for package, version in value.items())])
        elif isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                rows += _flat(item, f"{name}{f' {number}' if len(value) > 1 else ''}: ")
        elif value not in (None, "", []):
            rows.append([name, text_of(value)])
    return rows if before else sorted(rows, key=_order)


def _order(row: list[str]) -> tuple[int, str]:
    name, text = row
    if HEXADECIMAL.fullmatch(text):
        return 0, name
    return (1 if name in ("hardware", "precision", "date", "versions") else 2), name


def _tested(verdict: Comparison | None, column: Column) -> dict[str, Any]:
    if verdict is None:
        return {}
    gap = verdict.difference
    low, high = gap.interval
    value = "" if gap.reason else significant(gap.value)
    scale = "log10 of the ratio" if column.log10 else "difference"
    ends = f"[{_end(low, '-∞')}, {_end(high, '∞')}]" if math.isfinite(low) or math.isfinite(high) else ""
    text = " ".join(filter(None, [scale, value, ends, f"margin ±{verdict.margin:g}"]))
    return {"label": verdict.label, "text": text + (f"; {verdict.detail}" if verdict.detail else "")}


def _end(x: float, infinite: str) -> str:
    return significant(x) if math.isfinite(x) else infinite


def _points(runs: Any, column: Column) -> list[list[Any]]:
    """Single runs as points of a plot: temperature, replica, value, low, high, cause."""
    points = []
    for run in runs if isinstance(runs, list) else ():
        if not isinstance(run, Mapping) or not isinstance(run.get("value"), int | float):
            continue
        low, high = (run.get("interval") or (None, None))[:2]
        said = str(run.get("verdict") or run.get("cause") or "")
        points.append([run.get("temperature_K"), run.get("replica"), run["value"], low, high, said])
    found: list[list[Any]] = rounded(points)
    return found
