"""The command `grannfield gate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.report.results import Results

HELP = "hold stored results against a baseline: fails on significant loss only; or measure how often that is wrong"
DESCRIPTION = """Holds the results of a reports folder against a baseline, as `pytest benchmarks/ --baseline FILE` does after it
has measured, and prints what moved. Exit code 1 on a significant loss, 2 where nothing can be compared, else 0.

A loss is significant when all that was compared is counted: Holm's procedure, any false alarm at 3%. Numbers from the same
frames, or runs from the same seeds, are paired; failures are tested exactly; speeds are compared on the same hardware alone, each
round beside a fixed piece of work that tells how fast the machine was just then."""
EPILOG = """examples:
  grannfield gate --write-baseline reports/baseline.json      from reports/results/*.json
  grannfield gate --baseline reports/baseline.json            the stored results against it
  grannfield gate --check                                     false alarms and losses caught, on synthetic repeats"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--baseline", type=Path, metavar="FILE", help="a baseline, a results file or a reports folder")
    what.add_argument("--write-baseline", type=Path, metavar="FILE", help="make the stored results the baseline")
    what.add_argument("--check", action="store_true", help="measure false alarms and power on synthetic repeats; exit code 1 "
                      "where a goal is missed")  # fmt: skip
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder with results/*.json (default: reports)")
    parser.add_argument("--model", action="append", default=[], metavar="M", help="only these labels; commas or repeated")
    parser.add_argument("--repeats", type=int, default=1000, help="of --check, for each case with a goal (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of --check (default: 0)")


def run(options: argparse.Namespace) -> int:
    if options.check:
        return _check(options.repeats, options.seed)
    from grannfield.gate.baseline import read_baseline, require_comparable, write_baseline
    from grannfield.gate.judge import judge
    from grannfield.gate.table import lines, write_page

    results = _chosen(options.reports, options.model)
    if options.write_baseline:
        path = write_baseline(options.write_baseline, results)
        print(f"{path}: {', '.join(one.label for one in results)}; {path.stat().st_size / 1e3:.0f} kB")
        return 0
    baseline = read_baseline(options.baseline)
    if not {one.label for one in results} & {one.label for one in baseline}:
        require_comparable(options.baseline, baseline, [one.label for one in results], {})
    found = judge(baseline, results)
    if not found.moved:
        raise ValueError(f"{options.baseline} and {options.reports} cannot be compared: {'; '.join(found.left_out)}")
    print("\n".join(lines(found)))
    print(f"all of it: {write_page(options.reports / 'gate.md', found, str(options.baseline))}")
    return 1 if found.losses else 0


def _chosen(reports: Path, asked: list[str]) -> list[Results]:
    """The stored results that were asked for; FileNotFoundError or LookupError saying what is missing."""
    from grannfield.report.results import all_results

    results = [one for one in all_results(reports) if one.model.get("kind") != "control"]
    if not results:
        raise FileNotFoundError(f"no results in {reports / 'results'}; run `pytest benchmarks/` first")
    labels = [name.strip() for text in asked for name in text.split(",") if name.strip()]
    missing = set(labels) - {one.label for one in results}
    if missing:
        raise LookupError(f"--model {', '.join(sorted(missing))}: there are {', '.join(one.label for one in results)}")
    return [one for one in results if not labels or one.label in labels]


def _check(repeats: int, seed: int) -> int:
    from grannfield.gate.check import rates, table

    found = rates(repeats, seed)
    print(table(found))
    missed = [one.case.name for one in found if not one.right]
    print(f"gate check: goals missed: {', '.join(missed)}" if missed else "gate check: both goals are met")
    if repeats < 300:
        print("(fewer than 300 repeats say little about 5%)", file=sys.stderr)
    return 1 if missed else 0
