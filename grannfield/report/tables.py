"""Every table, from stored results alone, as Markdown, CSV and LaTeX; running twice writes the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grannfield.files import write_atomically
from grannfield.report.board import TOP, leaderboard, legend, ranked, row_name, sections
from grannfield.report.contract import all_contracts
from grannfield.report.deviations import write_deviations
from grannfield.report.formats import LINE, markdown, write_table
from grannfield.report.origins import CONTROL, header
from grannfield.report.redundancy import write_redundancy
from grannfield.report.results import Results, all_results
from grannfield.report.table1 import table1
from grannfield.report.table2 import table2
from grannfield.report.tiers import beside_names, tiers, write_tiers

BEGIN, END = "<!-- leaderboard: begin (written by `grannfield report --readme`) -->", "<!-- leaderboard: end -->"
CONTROLS = """Models that are wrong in one known way, or right, on purpose: they show that a column catches what it was built to
catch. They are no candidates, and stand in no other table."""


def write_reports(folder: str | Path, readme: str | Path | None = None) -> list[Path]:
    """Write every table below a reports folder from its results/*.json; optionally the top of the board into a README.

    Controls have a table of their own and enter no other. FileNotFoundError without results.
    """
    folder = Path(folder)
    everything = ranked(all_results(folder))
    if not everything:
        raise FileNotFoundError(f"no results in {folder / 'results'}; run `pytest benchmarks/` first")
    results = [one for one in everything if one.model.get("kind") != CONTROL]
    controls = [one for one in everything if one.model.get("kind") == CONTROL]
    written = _write_models(folder, results) if results else []
    if controls:
        text = f"# Controls\n\n{CONTROLS}\n\n{header(controls)}\n\n{sections(controls)}{legend()}"
        written += write_table(folder / "controls", leaderboard(controls), text)
    deviations = write_deviations(folder)
    written += [] if deviations is None else [deviations]
    if readme is not None:
        written.append(_into_readme(Path(readme), results))
    return written


def _write_models(folder: Path, results: list[Results]) -> list[Path]:
    found = tiers(results)
    names = beside_names(found)
    first, second = table1(results, all_contracts(folder)), table2(results)
    head = header(results)
    board = f"# Leaderboard\n\n{head}\n\n{sections(results, names)}{legend()}"
    return [
        *write_table(folder / "leaderboard", leaderboard(results, tiers=names), board),
        *write_table(
            folder / "table1", first, f"# Table 1: models, epochs within the budget, speed\n\n{head}\n\n{markdown(first)}\n"
        ),
        *write_table(folder / "table2", second, f"# Table 2: -log10(sigma/(mS/cm)) at 300 K\n\n{head}\n\n{markdown(second)}\n"),
        *write_tiers(folder, found, {one.label: row_name(one) for one in results}),
        *write_redundancy(folder, results),
    ]


def top(results: list[Results], names: Mapping[str, str]) -> str:
    """The short board with what it rests on, as the README shows it."""
    return f"{markdown(leaderboard(results, TOP, names, LINE))}\n{header(results)}"


def _into_readme(path: Path, results: list[Results]) -> Path:
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the markers {BEGIN!r} and {END!r}, between which the leaderboard goes")
    if not results:
        raise FileNotFoundError(f"there are no results but controls, which do not go into {path}; run `pytest benchmarks/` first")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomically(path, f"{before}{BEGIN}\n{top(results, beside_names(tiers(results)))}\n{END}{after}")
    return path
