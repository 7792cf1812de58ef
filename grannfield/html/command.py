"""`grannfield board`: the results as one HTML file, opened in the browser."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import webbrowser
from pathlib import Path

from grannfield.files import write_atomically

HELP = "see the board: one HTML file that works without a network, opened in the browser"
DESCRIPTION = """Write the results as one HTML file (REPORTS/index.html) and open it in the browser, or print its address where
there is none to open it in. A file that is already made from these results by this version is opened as it is. Without --reports
it is ./reports, or where that has no results, those that come with the package."""
EPILOG = """examples:
  grannfield board                          the shipped results, or yours where there are some
  grannfield board --reports my/reports     another folder with results/*.json
  grannfield board --print                  only write it and print its address
  grannfield board --out board.html         a copy to send to somebody: it needs nothing else

The plots are drawn from the runs behind the numbers (reports/evidence, reports/store), or from what was kept of them
(reports/curves); where neither is there, their place says how to make them.
"""
MARK = '<meta name="grannfield-inputs" content="'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--reports", type=Path, help="folder with results/*.json (default: ./reports, else the package's)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: REPORTS/index.html)")
    parser.add_argument("--open", action="store_true", help="open it even where standard output is not a terminal")
    parser.add_argument("--print", action="store_true", dest="quiet", help="do not open it, only print its address")
    parser.add_argument("--fresh", action="store_true", help="write it again even if nothing has changed")


def run(options: argparse.Namespace) -> None:
    """Write the file if it is not there or not of these results, print its address, open it."""
    reports = options.reports or shipped()
    path = options.out or reports / "index.html"
    if not options.out and not os.access(reports, os.W_OK):
        path = Path("grannfield-board.html")
    try:
        if options.fresh or not current(path, reports):
            write_board(path, reports)
    except ModuleNotFoundError as problem:
        raise LookupError(str(problem)) from problem
    address = path.resolve().as_uri()
    print(address)
    if options.open or (sys.stdout.isatty() and not options.quiet and _has_browser()):
        webbrowser.open(address)


def write_board(path: Path, reports: Path) -> None:
    """Write the board of a reports folder to a file."""
    from grannfield.html.site import site

    write_atomically(path, site(reports))


def shipped() -> Path:
    """The folder of results: ./reports where it has some, else inside the package or beside it; FileNotFoundError without any."""
    package = Path(__file__).resolve().parents[1]
    places = (Path("reports"), package / "reports", package.parent / "reports")
    for folder in places:
        if any((folder / "results").glob("*.json")):
            return folder
    named = ", ".join(str(place / "results") for place in places)
    raise FileNotFoundError(f"no results in {named}; run `pytest benchmarks/`, or name a folder by --reports")


def current(path: Path, reports: Path) -> bool:
    """Whether a file is there and made from what is in the reports folder now, by this version."""
    from grannfield.html.site import inputs_of

    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return f"{MARK}{inputs_of(reports)}" in file.read(4000)


def _has_browser() -> bool:
    """Whether there is a screen: without one, browsers of text would take over the terminal."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or shutil.which("wslview"))
    return True
