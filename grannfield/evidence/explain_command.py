"""`grannfield explain`: how a number of the board came to be."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "print how a number of the board came to be: definition, runs, frames, hashes, weights, machine, parts"
DESCRIPTION = """Print the story of one cell of the board: its value, sample and interval and what they mean, what its verdict
rests on, every run or prediction behind it with file, SHA-256, seed, length and end, how many frames were used and why others
were not, the reference, the weights and their training, code, versions, machines and dates, and its parts."""
EPILOG = """examples:
  grannfield explain schnet Li3PS4 rdf_mae
  grannfield explain CHGNet-0.3.0 LGPS force_r2
  grannfield explain schnet LGPS ns_per_day --reports reports
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", metavar="MODEL", help="as the board calls it")
    parser.add_argument("material", metavar="MATERIAL", help="formula or short name")
    parser.add_argument("metric", metavar="METRIC", help="a column, such as rdf_mae")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of results (default: reports)"
    )


def run(options: argparse.Namespace) -> int:
    """Print it; LookupError with the nearest name for a model, material or metric that is not there."""
    from grannfield.evidence.explain import story

    print(story(options.reports, options.model, options.material, options.metric))
    return 0
