"""coverage.csv, and what is derived from it for reading."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from grannfield.calibrate.coverage import ENOUGH_HOPS, HOLDS, LEAST, LOST, WIDEST, Row, failures
from grannfield.calibrate.estimators import Estimator
from grannfield.calibrate.synthetic import CONDITIONS
from grannfield.calibrate.temperatures import SETS
from grannfield.files import write_atomically

COLUMNS = tuple(field.name for field in fields(Row))
QUANTITIES = {"D": "D, tracer diffusivity", "Ea": "Ea, activation energy", "neg_log_sigma": "-log10(sigma/(mS/cm)) at 300 K"}


@dataclass(frozen=True)
class Header:
    """What a table was made with."""

    seed: int
    code: str
    """Of the package."""
    versions: dict[str, str]
    """Of the estimators' packages, `not installed` among them."""


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line per estimator, condition and quantity; empty where there is no number."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([_plain(getattr(row, column)) for column in COLUMNS])
    write_atomically(path, out.getvalue())


def read_csv(path: Path) -> list[Row]:
    """The rows of coverage.csv; ValueError that names the file and the line when it is none."""
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: its columns are {table.fieldnames}, expected {list(COLUMNS)}")
        try:
            return [Row(*(_typed(key, line[key]) for key in COLUMNS)) for line in table]
        except (ValueError, TypeError) as problem:
            raise ValueError(f"{path}, line {table.line_num}: {problem}") from problem


def _typed(column: str, text: str) -> Any:
    if column in ("estimator", "condition", "quantity", "verdict"):
        return text
    return int(text) if column == "n" else float(text or "nan")


def _plain(value: str | int | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def write_markdown(path: Path, rows: Sequence[Row], estimators: Sequence[Estimator], header: Header) -> None:
    """The tables by quantity, what the conditions are, and what the columns mean."""
    made = ["# Do the intervals hold?", "", _preamble(header), ""]
    for quantity, title in QUANTITIES.items():
        chosen = [row for row in rows if row.quantity == quantity]
        if chosen:
            made += [f"## {title}", "", *_table(chosen), ""]
    made += ["## Estimators", ""]
    for one in estimators:
        versions = ", ".join(f"{name} {header.versions[name]}" for name in one.packages)
        made.append(f"- **{one.name}**{f' ({versions})' if versions else ''}: {one.about}")
        if one.missing:
            made.append(
                f"  - not installed: `pip install grannfield[rivals]`; rows above, if any, were computed where {one.name} was"
            )
    made += ["", "## Conditions", ""]
    shown = {row.condition for row in rows}
    about = {name: c.about for name, c in CONDITIONS.items()} | {name: s.about for name, s in SETS.items()}
    made += [f"- **{name}**: {text}" for name, text in about.items() if name in shown]
    made += ["", "## Columns", "", *LEGEND, "", *(_verdicts(rows)), ""]
    write_atomically(path, "\n".join(made))


def _preamble(header: Header) -> str:
    return (
        f"Written by `grannfield calibrate --seed {header.seed}`; the table with all columns is [coverage.csv](coverage.csv). "
        "Synthetic trajectories of exactly known diffusivity (20 mobile ions and 30 framework atoms unless a condition says "
        f"otherwise), each estimator's own 95% interval. Package code {header.code}.\n\n"
        "![share of intervals that contain the truth](coverage.svg)\n\n"
        "The command also draws the widths, `width.svg`, and the claimed against the true spread, `spread.svg`."
    )


LEGEND = [
    f"- **coverage**: share of intervals that contain the truth, with its Clopper-Pearson 95% interval. It holds at "
    f"{HOLDS[0]:.0%}-{HOLDS[1]:.0%}, and may hold where n cannot exclude that. An upper bound is an interval; no interval at all "
    "counts as a failure.",
    "- **width**: median width of the intervals over the 2.5-97.5 percentile range of the estimator's own values (1: ideal). "
    "Empty where fewer than half have a value.",
    "- **width, best**: over the narrowest such range of the estimators of that condition whose median is right within a "
    f"tenth of it (at least {LEAST} values).",
    "- **bias**: median error of the values, relative for D and Ea.",
    f"- **below**: share below detection, at most {LOST:.0%} wanted where each ion hops at least {ENOUGH_HOPS:g} times.",
    "- **hops**: expected hops per ion; of a set, at its lowest temperature.",
    "- **s**: seconds per trajectory or set on the machine that computed it.",
]


def _table(rows: Sequence[Row]) -> list[str]:
    head = [
        "condition",
        "estimator",
        "n",
        "coverage",
        "verdict",
        "width",
        "width, best",
        "bias",
        "below",
        "no interval",
        "hops",
        "s",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            row.condition,
            row.estimator,
            str(row.n),
            f"{row.coverage:.3f} [{row.coverage_low:.3f}, {row.coverage_high:.3f}]",
            row.verdict,
            _number(row.width_ratio, ".2f"),
            _number(row.width_ratio_best, ".2f"),
            _number(row.bias, "+.3f") if row.quantity == "neg_log_sigma" else _number(row.bias, "+.1%"),
            f"{row.below_detection:.1%}",
            f"{row.no_interval:.1%}",
            f"{row.hops_per_ion:.3g}",
            f"{row.seconds:.2g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _number(value: float, how: str) -> str:
    if math.isnan(value):
        return ""
    return "none" if math.isinf(value) else format(value, how)


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """What our own rows do not keep."""
    own = [row for row in rows if row.estimator == "grannfield"]
    if not own:
        return []
    promises = [row for row in own if promised(row.condition)]
    kept = sum(not failures(row) for row in promises)
    head = f"Of {len(promises)} rows of grannfield with a promise, {kept} keep it: coverage {HOLDS[0]:.0%}-{HOLDS[1]:.0%}, "
    goal = f"for D a median width of at most {WIDEST} and at most {LOST:.0%} below detection where each ion hops 20 times."
    lines = ["## Kept or not", "", head + goal, *_listed(promises)]
    beyond = [row for row in own if not promised(row.condition)]
    if beyond:
        names = ", ".join(row.condition for row in beyond)
        lines += ["", f"Beyond the promise, to show where it ends ({names}):", *(_listed(beyond) or ["", "- all hold"])]
    return lines


def _listed(rows: Sequence[Row]) -> list[str]:
    failed = [text for row in rows for text in failures(row)]
    return ["", *(f"- {text}" for text in failed)] if failed else []


def promised(name: str) -> bool:
    """Whether --check judges our row of a condition or set."""
    return name not in CONDITIONS or CONDITIONS[name].promised
