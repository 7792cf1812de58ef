"""reports/details.md: every cell of the board in full, a table for each model, with what stands behind it."""

from __future__ import annotations

from collections.abc import Sequence

from grannfield.report.board import cell_of, reference_rows, row_name
from grannfield.report.cells import score_record
from grannfield.report.columns import COLUMNS
from grannfield.report.origins import behind, surrogate_note
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Page, Table

LINE = "\n"
ABOUT = """Every number with its interval and sample size, the reference's own number or floor with the verdict of the test,
and for a number that there is none of what was seen. The short form is leaderboard.md; a machine reads leaderboard-long.csv."""


def details(results: Sequence[Results], left: Sequence[Results]) -> Page:
    """A page of the models on the board, and after them of the `left`: the same models at smaller scales."""
    tables = [_reference(results), *(_model(one, "") for one in results), *(_model(one, ", a smaller scale") for one in left)]
    foot = (("What stands behind the numbers", tuple(behind([*results, *left]))),)
    more = tuple(score_record(one, one.scores[key]) for one in left for key in sorted(one.scores))
    kept = tuple(table for table in tables if table.columns)
    return Page("details", "Every cell in full", (ABOUT, surrogate_note(results)), kept, foot, more)


def _model(one: Results, beside: str) -> Table:
    materials, rows = one.materials, []
    for metric, column in COLUMNS.items():
        texts = [cell_of(one, metric, material, LINE) for material in materials]
        if any(text != "not run" for text in texts):
            rows.append((Cell((column.heading,)), *(Cell(tuple(text.split(LINE))) for text in texts)))
    title = f"{row_name(one)}, preset {scale_of(one) or 'unknown'}{beside}"
    return Table(title, "", ("column",), tuple(materials), tuple(rows))


def _reference(results: Sequence[Results]) -> Table:
    """The references' own numbers: what halves of it score against each other, or what it gives itself."""
    rows = reference_rows(results, COLUMNS, LINE)
    labels = {row["reference"] for row in rows}
    names = [row["material"] + (f" ({row['reference']})" if len(labels) > 1 else "") for row in rows]
    made = []
    for column in COLUMNS.values():
        texts = [row[column.heading] for row in rows]
        if any(texts):
            made.append((Cell((column.heading,)), *(Cell(tuple(text.split(LINE)) if text else ()) for text in texts)))
    return Table("The reference's own numbers", "", ("column",), tuple(names), tuple(made))
