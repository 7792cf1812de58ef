"""The paper's Table 2, ours beside the published: -log10 of the conductivity at 300 K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from grannfield.report import paper
from grannfield.report.board import cell, row_name
from grannfield.report.boards import own_cell
from grannfield.report.cells import score_cell
from grannfield.report.origins import references_of, surrogate_note
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Page, Table
from grannfield.report.table1 import in_paper_order

if TYPE_CHECKING:
    from pandas import DataFrame

METRIC = "neg_log_sigma"
HEAD = """Ours beside the paper's (Digital Discovery 3, 2177, 2024), whose reference is AIMD and ours is not: compare each
column with its own reference. Lower is a better conductor. At least three temperatures with a resolved D are needed; with
fewer a bound stands with the reason. N/A: the paper gives none."""


def table2(results: Sequence[Results]) -> DataFrame:
    """The table as a frame of texts."""
    return table2_page(results).frame()


def table2_page(results: Sequence[Results]) -> Page:
    """One table: our reference and the paper's, then the paper's models in its order, then others."""
    materials = [key for key in paper.table2()["AIMD"] if key != "model"]
    rows = [_reference(results, label, materials) for label in references_of(results)]
    empty = [Cell(), *(cell for m in materials for cell in (Cell(), published("AIMD", m)))]
    rows.append((Cell(("AIMD (paper)",)), *empty))
    rows += [_model(results, name, one, materials) for name, one in in_paper_order(results)]
    columns = tuple(text for m in materials for text in (m, f"{m}, paper"))
    table = Table("", "-log10(sigma/(mS/cm)) at 300 K", ("model", "preset"), columns, tuple(rows))
    return Page("table2", "Table 2: -log10(sigma/(mS/cm)) at 300 K", (HEAD, surrogate_note(results)), (table,))


def _reference(results: Sequence[Results], label: str, materials: Sequence[str]) -> tuple[Cell, ...]:
    cells = [cell for m in materials for cell in (own_cell(results, label, METRIC, m), Cell())]
    return (Cell((f"reference ({label})",)), Cell(), *cells)


def _model(results: Sequence[Results], name: str, one: Results | None, materials: Sequence[str]) -> tuple[Cell, ...]:
    own = [] if one is None else [each for each in results if each.label == one.label]
    scales = sorted({scale_of(each) for each in own})
    cells = [made for m in materials for made in (_cell(own, m), published(name, m))]
    return (Cell((paper.TITLES[name] if one is None else row_name(one),)), Cell((", ".join(scales),) if scales else ()), *cells)


def _cell(own: Sequence[Results], material: str) -> Cell:
    for one in own:
        if (METRIC, material) in one.scores:
            score = one.scores[METRIC, material]
            return score_cell(one, score, cell(one, score))
    return Cell(("not run" if own else "not scored",))


def published(name: str, material: str) -> Cell:
    """The paper's number of a registered model, N/A where it prints none; empty for a model that is not in it."""
    row = paper.table2().get(name)
    if row is None or material not in row:
        return Cell()
    record = {"model": name, "material": material, "column": METRIC, "source": "published"}
    text = row[material]
    number = {"value": float(text)} if text else {"reason": "N/A in the paper"}
    return Cell((text or "N/A",), records=(record | number,))
