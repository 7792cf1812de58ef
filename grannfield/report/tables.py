"""Every table, from stored results alone, as Markdown, CSV, LaTeX and HTML; running twice writes the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from grannfield.files import write_atomically
from grannfield.progress import progress
from grannfield.report import paper
from grannfield.report.board import ranked, row_name
from grannfield.report.boards import board
from grannfield.report.contract import all_contracts
from grannfield.report.details import details
from grannfield.report.deviations import write_deviations
from grannfield.report.errors import errors
from grannfield.report.formats import write_page
from grannfield.report.origins import CONTROL
from grannfield.report.redundancy import redundancy
from grannfield.report.results import Results, all_results
from grannfield.report.scale import best, others
from grannfield.report.table import Page
from grannfield.report.table1 import table1_page
from grannfield.report.table2 import table2_page
from grannfield.report.tiers import beside_names, tiers, tiers_page
from grannfield.report.top import top
from grannfield.report.transport import Ions, transport

BEGIN, END = "<!-- leaderboard: begin (written by `grannfield report --readme`) -->", "<!-- leaderboard: end -->"
CONTROLS = """Models that are wrong in one known way, or right, on purpose: they show that a column catches what it was built to
catch. They are no candidates, and stand in no other table."""
READ = (".md", ".html")
"""Forms of what is only read: its numbers are the board's."""


def write_reports(folder: str | Path, readme: str | Path | None = None, ions: Mapping[str, Ions] | None = None) -> list[Path]:
    """Write every table below a reports folder from its results/*.json; optionally the top of the board into a README.

    ions: by formula, the cells from which D becomes a conductivity. Of a model with results of several scales, the largest of
    each material. Controls have a table of their own and enter no other. FileNotFoundError without results.
    """
    folder = Path(folder)
    everything = all_results(folder)
    if not everything:
        raise FileNotFoundError(f"no results in {folder / 'results'}; run `pytest benchmarks/` first")
    results = [one for one in everything if one.model.get("kind") != CONTROL]
    controls = [one for one in everything if one.model.get("kind") == CONTROL]
    shown = ranked(best(results))
    names = beside_names(found := tiers(results), shown)
    makers: list[Callable[[], Sequence[Path]]] = []
    if results:
        pages = _pages(folder, shown, others(results), names, ions or {})
        makers += [*pages, lambda: write_page(folder, tiers_page(found, {one.label: row_name(one) for one in shown}))]
        makers += [lambda: write_page(folder, redundancy(results))]
    if controls:
        makers.append(lambda: write_page(folder, _controls(ranked(controls))))
    makers.append(lambda: [path] if (path := write_deviations(folder)) is not None else [])
    if readme is not None:
        makers.append(lambda: [_into_readme(Path(readme), shown, names)])
    written: list[Path] = []
    with progress(len(makers), "tables", "pages") as bar:
        for make in makers:
            written += make()
            bar.update(1)
    return written


def _pages(
    folder: Path, shown: list[Results], left: list[Results], names: Mapping[str, str], ions: Mapping[str, Ions]
) -> list[Callable[[], Sequence[Path]]]:
    """What writes the board, its details, the paper's tables and its supplement's."""
    made: list[Callable[[], Page]] = [
        lambda: board(shown, names),
        lambda: table1_page(shown, all_contracts(folder)),
        lambda: table2_page(shown),
    ]
    published = [key for key in paper.table2()["AIMD"] if key != "model"]
    for material in sorted({m for one in shown for m in one.materials}):
        number = published.index(material) + 1 if material in published else None
        made.append(lambda m=material, k=number: errors(shown, m, k))  # type: ignore[misc]
        made.append(lambda m=material, k=number: transport(shown, m, k and k + 3, ions.get(m)))  # type: ignore[misc]
    written: list[Callable[[], Sequence[Path]]] = [lambda make=make: write_page(folder, make()) for make in made]  # type: ignore[misc]
    return [*written, lambda: write_page(folder, details(shown, left), READ)]


def _controls(controls: list[Results]) -> Page:
    page = board(controls, name="controls")
    return Page(page.name, page.title, (CONTROLS, *page.head), page.tables, page.foot)


def short_board(everything: Sequence[Results]) -> str:
    """What `--readme` puts between the markers, from all results of a folder."""
    results = [one for one in everything if one.model.get("kind") != CONTROL]
    shown = ranked(best(results))
    return top(shown, beside_names(tiers(results), shown))


def _into_readme(path: Path, shown: list[Results], names: Mapping[str, str]) -> Path:
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the markers {BEGIN!r} and {END!r}, between which the leaderboard goes")
    if not shown:
        raise FileNotFoundError(f"there are no results but controls, which do not go into {path}; run `pytest benchmarks/` first")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomically(path, f"{before}{BEGIN}\n{top(shown, names)}\n{END}{after}")
    return path
