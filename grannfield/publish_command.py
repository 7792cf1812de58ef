"""`grannfield publish`: the board from what `grannfield reproduce` has made."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "put what `grannfield reproduce` has made on the board: results, evidence, weights, tables, README, pages"
DESCRIPTION = """Take the scored models of one or more states of `grannfield reproduce` over into REPORTS: their results,
the runs, predictions and learning curves behind them (REPORTS/evidence, so that `grannfield verify` holds from a
clone), and, in a clone of the repository, their weights (grannfield/checkpoints). Then everything derived is
written anew, as by `grannfield report`. A model is taken over whole or not at all; what is on the board at a
larger scale stays there unless --replace."""
EPILOG = """examples:
  grannfield publish reports/reproduce
  grannfield publish reports/reproduce --readme README.md && grannfield verify --strict
  grannfield publish gpu-1 gpu-2 --reports my-reports --only tables
"""
WEIGHTS = Path("grannfield/checkpoints")
"""Of a clone, beside its reports folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from grannfield.report_command import PARTS

    parser.add_argument("states", nargs="+", type=Path, metavar="STATE", help="folders of `grannfield reproduce`")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="the board's folder (default: reports)"
    )
    parser.add_argument("--replace", action="store_true", help="also where the board has a larger scale")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="also put the short board between the markers of this file")
    parser.add_argument(
        "--only", default=",".join(PARTS), metavar="PARTS", help=f"of what is derived: {','.join(PARTS)} (default: all)"
    )


def run(options: argparse.Namespace) -> int:
    """0, or 1 where a model was left out, 2 where a part could not be written."""
    from grannfield.publish import publish
    from grannfield.report_command import run as report

    beside = options.reports.resolve().parent / WEIGHTS
    left_out = False
    for state in options.states:
        for one in publish(state, options.reports, beside if beside.is_dir() else None, options.replace):
            print(one, flush=True)
            left_out |= not one.done
    failed = report(argparse.Namespace(reports=options.reports, only=options.only, readme=options.readme, quiet=True))
    return failed or int(left_out)
