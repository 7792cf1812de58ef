"""`grannfield rescore`: scores made again from what is kept, after the analysis has changed."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "score again from the kept runs and predictions, without MD, after the analysis changed"
DESCRIPTION = """Score stored models again with today's analysis code, from the kept trajectories, predictions and samples, and
write the results. No atom is moved. The date of rescoring stands beside that of the runs. A cell whose evidence is not here keeps
its stored number."""
EPILOG = """examples:
  grannfield rescore                    (all models)
  grannfield rescore schnet CHGNet-0.3.0
  grannfield verify                     (says what would change, and writes nothing)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="as the board calls them (default: all)")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of results (default: reports)"
    )


def run(options: argparse.Namespace) -> int:
    """Write new results and print what changed; 1 where a file is not the one that the results point to."""
    from grannfield.evidence.chosen import chosen_results
    from grannfield.evidence.rescore import rescored

    found = [one for name in options.models or [""] for one in chosen_results(options.reports, name)]
    altered = 0
    for one in found:
        path, cells = rescored(one, options.reports)
        changed = [cell for cell in cells if cell.outcome == "different" and not cell.unsound]
        left = [cell for cell in cells if cell.outcome == "cannot" or cell.unsound]
        altered += sum(cell.unsound for cell in cells)
        same = len(cells) - len(changed) - len(left)
        print(f"{path}: {same} cells the same, {len(changed)} changed, {len(left)} left as they were")
        for cell in changed + left:
            print(f"  {'changed' if cell in changed else 'left':<8} {cell.material} {cell.metric}: {cell.detail}")
    return int(altered > 0)
