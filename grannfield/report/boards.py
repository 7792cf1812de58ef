"""The leaderboard, and that of the controls, in short cells: one row for each model and material."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from grannfield.report.board import cell, cell_of, own_numbers, reading, row_name
from grannfield.report.cells import estimate_cell, score_cell
from grannfield.report.columns import COLUMNS, grouped
from grannfield.report.origins import behind, kinship_of, reference_of, references_of, surrogate_note
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Page, Table, plain
from grannfield.report.verdicts import EXACT

WHO = ("model", "material", "preset")
"""What names a row."""
SHORT = """A cell is the number with its 95% interval (speed: quartiles), its sample size n and, where there is something to
compare with, the verdict of the test; or why there is no number. What was seen, the reference's own numbers beside ours and
the paper's limits are in details.md; every number in full, for a machine, is in the file that ends in -long.csv."""
MOST_COLUMNS = 5
"""Of numbers that a page has room for."""
NOTHING = ("", "not run", "elsewhere")


def board(results: Sequence[Results], tiers: Mapping[str, str] | None = None, name: str = "leaderboard") -> Page:
    """The whole board: a table for each group of columns, since one of all columns is too wide to be read."""
    title = name.capitalize()
    known = references_of(results)
    caption = f"Against {'; '.join(known)}" if known else ""
    tables = []
    for heading, metrics in _narrow():
        rows = [*_reference_cells(results, metrics), *_model_cells(results, metrics, tiers or {})]
        shown = [row for row in rows if any(cell.lines and cell.lines[0] not in NOTHING for cell in row[len(WHO) :])]
        if not shown:
            text = f"Not run by any of these models: {', '.join(COLUMNS[m].title for m in metrics)}."
            tables.append(Table(heading, "", WHO, (), (), (text,)))
            continue
        tables.append(Table(heading, caption, WHO, tuple(COLUMNS[m].heading for m in metrics), tuple(shown)))
    tables.append(_who(results, tiers or {}))
    foot = (("What stands behind the numbers", tuple(behind(results))), ("How to read it", tuple(reading())))
    return Page(name, title, (surrogate_note(results), SHORT), tuple(tables), foot)


def _narrow() -> list[tuple[str, tuple[str, ...]]]:
    """Groups of columns, those too wide for a page in parts."""
    found = []
    for heading, metrics in grouped().items():
        wide = math.ceil(len(metrics) / math.ceil(len(metrics) / MOST_COLUMNS))
        parts = [metrics[start : start + wide] for start in range(0, len(metrics), wide)]
        found += [(heading + (f" ({k + 1} of {len(parts)})" if len(parts) > 1 else ""), part) for k, part in enumerate(parts)]
    return found


def _model_cells(results: Sequence[Results], metrics: Sequence[str], tiers: Mapping[str, str]) -> list[tuple[Cell, ...]]:
    return [
        (*_names(one, material, tiers), *(board_cell(one, metric, material) for metric in metrics))
        for one in results
        for material in one.materials
    ]


def _names(one: Results, material: str, tiers: Mapping[str, str]) -> tuple[Cell, Cell, Cell]:
    beside = tiers.get(one.label, "")
    return Cell((f"{row_name(one)}{beside and f' ({beside})'}",)), Cell((material,)), Cell((scale_of(one),))


def board_cell(one: Results, metric: str, material: str) -> Cell:
    """A cell in short."""
    score, column = one.scores.get((metric, material)), COLUMNS[metric]
    if score is not None:
        return score_cell(one, score, cell(one, score))
    text = cell_of(one, metric, material)
    return Cell(("elsewhere" if text.startswith("n/a: measured on") else text,), full=f"measured on {column.measured_on}")


def _who(results: Sequence[Results], tiers: Mapping[str, str]) -> Table:
    """What each model was held against, and how it is related to that."""
    rows = []
    for one in results:
        for material in one.materials:
            told = (plain(reference_of(one, material)), plain(kinship_of(one, material)))
            rows.append((*_names(one, material, tiers), *told))
    return Table("What was scored, against what", "", WHO, ("reference", "kinship"), tuple(rows))


def _reference_cells(results: Sequence[Results], metrics: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Rows of what each reference measures of itself."""
    known = sorted({(reference_of(one, material), material) for one in results for material in one.materials})
    several, rows = len({label for label, _ in known}) > 1, []
    for label, material in known:
        cells = [own_cell(results, label, metric, material) for metric in metrics]
        if label and any(any(record["note"] != EXACT for record in cell.records) for cell in cells):
            name = f"reference: {label}" if several else "the reference itself"
            rows.append((Cell((name,)), Cell((material,)), Cell(), *cells))
    return rows


def own_cell(results: Sequence[Results], label: str, metric: str, material: str) -> Cell:
    """The reference's own number in short; where presets asked for different ones, each with its preset."""
    found = own_numbers(results, label, metric, material)
    made = []
    for (_, at), (own, presets) in found.items():
        record: dict[str, Any] = {"model": f"reference: {label}", "material": material, "preset": ", ".join(presets)}
        record |= {"column": metric, "unit": COLUMNS[metric].unit, "source": "measured", "reference": label, "note": own.note}
        record |= {"temperature_K": float(at.split()[1]) if at else None}
        record |= {"part": "floor: halves against each other" if COLUMNS[metric].floor else "the reference's own"}
        made.append((estimate_cell(own, record, at), presets))
    if len(made) == 1:
        return made[0][0]
    lines = [f"{one.text} ({', '.join(presets)})" for one, presets in made]
    return Cell(tuple(lines), records=tuple(record for one, _ in made for record in one.records))
