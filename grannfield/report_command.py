"""`grannfield report`: tables, figures and pages, from stored results alone."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from grannfield.report.results import all_results

if TYPE_CHECKING:
    from grannfield.report.transport import Ions

HELP = "write leaderboard, tables, figures and pages from stored results alone"
DESCRIPTION = """Write everything that is derived from REPORTS/results/*.json: the leaderboard and its details, Tables 1 and 2
beside the paper's, S1-S6, tiers and redundancy (Markdown, CSV, LaTeX, HTML), REPRODUCTION.md with the paper's
claims and their verdicts, the figures, and index.html to click on. Nothing is simulated and nothing is asked of
a network; written twice, every file has the same bytes. Figures and pages show more where the runs behind the
results are still in REPORTS/store. A part that needs a package which is not installed is named and left out;
the rest is written."""
EPILOG = """where things go, below REPORTS
  leaderboard.md, details.md     every model on every material, in short and in full
  table1, table2                 the paper's tables, ours beside the published
  supplement/S1 ... S6           errors (S1-S3), diffusivity and conductivity (S4-S6) on each material
  tiers, redundancy              which models can be told apart, which columns say the same
  REPRODUCTION.md                what the paper asserts, claim by claim: confirmed, refuted or undecided, with the evidence
  *-long.csv                     a row for each number: value, low, high, n, unit, reason, verdict, reference, hash of the weights
  figures/, index.html           pictures, and the board as one file that opens without a network

examples:
  grannfield report
  grannfield report --only tables --readme README.md
  grannfield report --reports my-reports --only html && xdg-open my-reports/index.html
"""
PARTS = ("tables", "figures", "html")
WRITERS = {"figures": ("grannfield.figures", "write_figures"), "html": ("grannfield.html", "write_site")}
EXTRA = "pip install grannfield[report]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder with results/*.json (default: reports)"
    )
    parser.add_argument(
        "--only", default=",".join(PARTS), metavar="PARTS", help=f"some of {','.join(PARTS)}, with commas (default: all)"
    )
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also put the short board between the markers of this file")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no list of files")


def run(options: argparse.Namespace) -> int:
    """0, or 2 when figures or pages could not be written; ValueError or FileNotFoundError for what concerns all parts."""
    parts = chosen(options.only)
    if options.readme is not None and "tables" not in parts:
        raise ValueError("--readme is written with the tables; add them to --only")
    if not all_results(options.reports):
        raise FileNotFoundError(
            f"no results in {options.reports / 'results'}: run `pytest benchmarks/` first, or name the folder by --reports DIR"
        )
    failed = False
    for part in parts:
        try:
            written, seconds = timed(lambda part=part: write_part(part, options))  # type: ignore[misc]
        except ImportError as problem:
            print(f"{part}: left out: {lacking(part, problem)}", file=sys.stderr)
            continue
        except (ValueError, LookupError, OSError, RuntimeError) as problem:
            if part == "tables":
                raise
            print(f"{part}: not written: {problem.args[0] if problem.args else problem}", file=sys.stderr)
            failed = True
            continue
        if not options.quiet:
            print("\n".join(map(str, written)))
        print(f"{part}: {len(written)} files in {seconds:.1f} s", file=sys.stderr, flush=True)
    return 2 if failed else 0


def chosen(only: str) -> list[str]:
    """The parts asked for, in the order in which they are written.

    >>> chosen("html, tables")
    ['tables', 'html']
    """
    asked = [part.strip() for part in only.split(",") if part.strip()]
    if unknown := [part for part in asked if part not in PARTS]:
        raise ValueError(f"--only {only}: there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if not asked:
        raise ValueError(f"--only names no part; there are {', '.join(PARTS)}")
    return [part for part in PARTS if part in asked]


def write_part(part: str, options: argparse.Namespace) -> list[Path]:
    """Write one part; ImportError where something that it needs is not installed."""
    if part == "tables":
        return write_tables(options.reports, options.readme)
    module, name = WRITERS[part]
    written: Iterable[Path] = getattr(importlib.import_module(module), name)(options.reports)
    return list(written)


def write_tables(reports: Path, readme: Path | None = None) -> list[Path]:
    """All tables, with the cells of the materials of this installation."""
    from grannfield.claims.told import write_reproduction
    from grannfield.report.tables import write_reports

    formulas = sorted({material for one in all_results(reports) for material in one.materials})
    written = write_reports(reports, readme, {f: ions for f in formulas if (ions := ions_of(f)) is not None})
    return [*written, write_reproduction(reports, sections_of(reports))]


def sections_of(reports: Path) -> list[tuple[str, str]]:
    """What the studies found that the paper could not say, as (heading, Markdown)."""
    from grannfield.studies.told import sections

    return sections(reports)


def ions_of(formula: str) -> Ions | None:
    """The mobile ions in the starting cell of a material; None where the installation does not have it."""
    from grannfield.data.material import UnknownMaterialError, load_material
    from grannfield.report.transport import Ions
    from grannfield.units import number

    try:
        material = load_material(formula)
    except UnknownMaterialError:
        return None
    structure = material.structure
    return Ions(int((structure.z == number(material.mobile_ion)).sum()), structure.volume, material.mobile_charge)


def lacking(part: str, problem: ImportError) -> str:
    """What to install for a part."""
    if problem.name == WRITERS.get(part, ("",))[0]:
        return f"this installation has no {problem.name}"
    return f"{problem.name or problem} is not installed; {EXTRA}"


def timed(make: Callable[[], list[Path]]) -> tuple[list[Path], float]:
    """What was made, and the seconds it took."""
    start = time.monotonic()
    return make(), time.monotonic() - start
