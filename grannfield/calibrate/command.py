"""`grannfield calibrate`: what it takes, what it prints, what it writes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.calibrate.coverage import Row
    from grannfield.calibrate.study import Study
    from grannfield.calibrate.synthetic import Condition

HELP = "measure how often the 95%% intervals of D, Ea and -log10 sigma contain the truth, ours and other packages'"
DESCRIPTION = """Make trajectories whose diffusivity is known exactly (free, caged, correlated, slow, short, drifting, ...; sets
of temperatures), let every estimator judge them, and count how often its own 95% interval contains the truth and how wide it is.
Every result is kept as it comes, by seed, condition and code: a call that was stopped goes on where it was, and tables are
made anew without computing. Writes coverage.csv, coverage.md and figures (with matplotlib) into --out. The exit code is 0;
with --check 1 when a row of grannfield does not keep what is promised; 2 for a mistake on the command line, 130 after Ctrl-C."""
EPILOG = """promised: coverage of 90-98% as far as n can tell, median width for D at most 1.3 x ideal, and at most 5% "below
detection" where each ion hops 20 times (--list marks a condition beyond the promise). pymatgen is always there;
`pip install grannfield[rivals]` adds kinisi and GEMDAT. Slow estimators judge fewer trajectories; n says how many.

examples:
  grannfield calibrate --seed 7                          all, 1000 trajectories and 200 sets a condition: an hour of one core
  grannfield calibrate --seed 7 --estimators grannfield --check        ours alone: ten minutes
  grannfield calibrate --seed 7 --quick                  100 and 20
  grannfield calibrate --conditions caged,slow --n 300 --out /tmp/coverage
  grannfield calibrate --list
"""
DEFAULT_OUT = Path("reports/calibration")
DEFAULT_STATE = Path("reports/store/calibration")
QUICK = 100
SETS_SHARE = 5
"""Trajectories to one set of temperatures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers; any will do (default 0)")
    parser.add_argument("--conditions", action="append", default=[], metavar="A,B", help="only these, see --list (default all)")
    parser.add_argument("--estimators", action="append", default=[], metavar="A,B", help="only these, see --list (default all)")
    parser.add_argument("--n", type=int, metavar="N", help="trajectories of each condition (default 1000)")
    parser.add_argument("--sets", type=int, metavar="N", help="sets of temperatures of each condition (default: a fifth of --n)")
    parser.add_argument("--quick", action="store_true", help=f"--n {QUICK}")
    parser.add_argument("--jobs", type=int, metavar="J", help="processes (default: one per usable core)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"of the tables (default {DEFAULT_OUT})")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help=f"of results (default {DEFAULT_STATE})")
    parser.add_argument("--table", action="store_true", help="compute nothing, make the tables of what is there")
    parser.add_argument("--check", action="store_true", help="exit 1 when a row of grannfield does not keep what is promised")
    parser.add_argument("--list", action="store_true", help="show conditions and estimators")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or LookupError for one that makes no sense."""
    from grannfield.provenance import usable_cores

    if options.list:
        _print_list()
        return 0
    study = _study(options)
    jobs = usable_cores() if options.jobs is None else options.jobs
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: at least one process is needed")
    for one in study.estimators:
        if one.missing:
            print(f"{one.name}: not installed ({', '.join(one.missing)}): pip install grannfield[rivals]")
    if not options.table:
        study.run(jobs)
    rows = study.rows()
    if not rows:
        raise ValueError(
            f"{options.state} holds no results for seed {options.seed} and this code; leave out --table to compute them"
        )
    _write(options.out, study, rows)
    _print(rows)
    return _judged(rows) if options.check else 0


def _study(options: argparse.Namespace) -> Study:
    from grannfield.calibrate.estimators import estimator, estimators
    from grannfield.calibrate.study import Study, all_conditions, known_condition

    n = options.n if options.n is not None else QUICK if options.quick else 1000
    n_sets = options.sets if options.sets is not None else max(2, n // SETS_SHARE)
    if n < 2 or n_sets < 2:
        raise ValueError(f"--n {n} --sets {n_sets}: a share and a spread need at least 2")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed}: 0 or more is needed")
    chosen = [estimator(name) for name in _names(options.estimators)] or list(estimators().values())
    conditions = [known_condition(name) for name in _names(options.conditions)] or all_conditions()
    return Study(options.seed, tuple(chosen), tuple(dict.fromkeys(conditions)), n, n_sets, options.state)


def _names(given: Sequence[str]) -> list[str]:
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def _write(out: Path, study: Study, rows: Sequence[Row]) -> None:
    from grannfield.calibrate.plots import write_figures
    from grannfield.calibrate.tables import Header, write_csv, write_markdown
    from grannfield.provenance import code_hash

    versions = {name: one.package_version(name) for one in study.estimators for name in one.packages}
    write_csv(out / "coverage.csv", rows)
    write_markdown(out / "coverage.md", rows, study.estimators, Header(study.seed, code_hash("calibrate", "analysis"), versions))
    try:
        write_figures(out, rows)
    except ImportError as problem:
        print(f"no figures: {problem}; pip install grannfield[report]")
    print(f"{out / 'coverage.csv'}, {out / 'coverage.md'}")


def _print(rows: Sequence[Row]) -> None:
    from tabulate import tabulate

    lines = [
        [
            row.quantity,
            row.condition,
            row.estimator,
            row.n,
            f"{row.coverage:.3f} [{row.coverage_low:.3f}, {row.coverage_high:.3f}]",
            row.verdict,
            f"{row.width_ratio:.2f}",
            f"{row.bias:+.3f}",
            f"{row.below_detection:.1%}",
        ]
        for row in sorted(rows, key=lambda row: (row.quantity, row.condition))
    ]
    headers = ["", "condition", "estimator", "n", "coverage", "verdict", "width", "bias", "below"]
    print(tabulate(lines, headers=headers, disable_numparse=True))


def _judged(rows: Sequence[Row]) -> int:
    """1 when one of our rows that is promised fails, with the reasons printed."""
    from grannfield.calibrate.coverage import failures
    from grannfield.calibrate.tables import promised

    own = [row for row in rows if row.estimator == "grannfield" and promised(row.condition)]
    if not own:
        raise ValueError("--check judges the estimator grannfield, under a condition with a promise; the options leave that out")
    failed = [text for row in own for text in failures(row)]
    print("\n".join(f"failed: {text}" for text in failed) or f"all {len(own)} rows of grannfield keep what is promised")
    return int(bool(failed))


def _marked(condition: Condition) -> str:
    return condition.name if condition.promised else f"{condition.name} (beyond the promise)"


def _print_list() -> None:
    from grannfield.calibrate.estimators import estimators
    from grannfield.calibrate.synthetic import CONDITIONS
    from grannfield.calibrate.temperatures import SETS

    for name, about in [(_marked(c), c.about) for c in CONDITIONS.values()] + [(k, s.about) for k, s in SETS.items()]:
        print(f"{name}\n    {about}")
    for each in estimators().values():
        print(f"{each.name}{' (not installed)' if each.missing else ''}\n    {each.about}")
