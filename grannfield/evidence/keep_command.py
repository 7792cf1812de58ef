"""`grannfield keep`: what stands behind the board, copied to where it is tracked and shipped."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "copy the runs, predictions and samples behind stored scores into reports/evidence, to be shipped with them"
DESCRIPTION = """Copy what stands behind the scores of a model from the store, which is not tracked, into
REPORTS/evidence/<model>, which is, so that whoever has the results can verify them. Each file is checked against the SHA-256
that the results hold. What no score points to any more is removed from there."""
EPILOG = """examples:
  grannfield keep                      (all models)
  grannfield keep schnet
  grannfield verify --strict           (after it, from a clone: every cell follows from what is shipped)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="as the board calls them (default: all)")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of results (default: reports)"
    )


def run(options: argparse.Namespace) -> int:
    """Copy, and print what it takes; LookupError where something is missing, ValueError where it was altered."""
    from grannfield.evidence.chosen import chosen_results
    from grannfield.evidence.shipping import keep

    total = 0
    for one in [one for name in options.models or [""] for one in chosen_results(options.reports, name)]:
        folder, sizes = keep(one, options.reports)
        total += sum(sizes.values())
        kinds = ", ".join(f"{kind} {size / 1e3:.0f} kB" for kind, size in sizes.items())
        print(f"{folder}: {kinds or 'nothing to keep'}")
    print(f"{total / 1e6:.2f} MB")
    return 0
