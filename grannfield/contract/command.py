"""`grannfield check`: what it takes, what it prints, what it leaves behind."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = "measure what a model claims: symmetries, forces, extensivity, continuity, repeatability"
DESCRIPTION = """Measure a force field against what it claims, on two small cells and in about a minute: rotation, reflection,
translation, re-wrapping, permutation; forces and stress against finite differences; net force; supercells; jumps of the
energy at the cut-off; batches, files and repeated calls; drift in NVE. With --precision instead what that precision costs: its
errors of the forces against float64, and the energy it gains or loses in NVE beyond float64's. The exit code is 0 when every
claim holds, 1 when one does not, 2 for a mistake on the command line."""
EPILOG = """MODEL is one of
  schnet                 a registered model (see `grannfield models`), with seeded weights scaled to forces of 0.3-3 eV/A:
                         freshly made weights can be zero or almost linear, and would pass for nothing
  schnet@published       the same in the published arithmetic, which fails what the default behaviour mends
  checkpoint             a file, or a folder with best.safetensors
  my_model.py:MyField    a ForceField class of your own
  all                    every registered model in both behaviours; resumable; writes REPORTS/contract/*.json and
                         REPORTS/deviations.md, and fails when a default behaviour does

examples:
  grannfield check schnet
  grannfield check reports/checkpoints/schnet --json schnet.json
  grannfield check schnet --precision tf32      (a name stands for its trained weights here)
  grannfield check --calculator 'ase.calculators.lj:LennardJones(sigma=2.2, epsilon=0.1, rc=5.0, smooth=True)'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="what to measure, see below")
    parser.add_argument(
        "--calculator", default="", metavar="CALL", help="an ASE calculator instead: 'pkg.mod:factory(key=value)', literals only"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, displacements and rotations (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to a file")
    parser.add_argument(
        "--precision", metavar="P", help="float32, tf32 or float64: measure what it costs a trained model, and nothing else"
    )
    parser.add_argument("--device", default="cpu", help="with --precision: cpu (which emulates TF32) or cuda (default cpu)")
    parser.add_argument(
        "--reports", type=Path, metavar="DIR", help="keep the numbers of registered models below this folder (`all`: reports)"
    )


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or LookupError for one that makes no sense."""
    if bool(options.model) == bool(options.calculator):
        raise ValueError("name one thing to check: a MODEL or --calculator CALL; `grannfield check --help` lists what there is")
    if options.precision:
        return _precision(options)
    if options.device != "cpu":
        raise ValueError("--device is for --precision; what a model claims is measured on the CPU, in float32 and float64")
    if options.model == "all":
        return _all(options)
    from grannfield.contract.check import check_calculator, check_model

    check = check_calculator if options.calculator else check_model
    report = check(options.calculator or options.model, options.seed)
    print(table(report))
    print(verdict(report))
    _keep(options, report)
    return 1 if report["failed"] else 0


def _precision(options: argparse.Namespace) -> int:
    """What a precision costs one model, or every registered one with weights."""
    import torch

    from grannfield.contract.check import check_precision
    from grannfield.forcefield import registered
    from grannfield.precision import checked
    from grannfield.report.contract import write_contract

    checked(options.precision)
    if options.calculator or options.reports is not None:
        raise ValueError("--precision is for a MODEL, and its numbers go to --json FILE")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {options.device}: torch {torch.__version__} sees no GPU here; use --device cpu")
    made = {}
    for spec in registered() if options.model == "all" else [options.model]:
        made[spec] = check_precision(spec, options.precision, options.seed, options.device)
        print(table(made[spec]))
        print(verdict(made[spec]), flush=True)
    if options.json is not None:
        write_contract(options.json, options.model, made)
    return 1 if any(report["failed"] for report in made.values()) else 0


def table(report: dict[str, Any]) -> str:
    """Every finding as a row."""
    from tabulate import tabulate

    from grannfield.contract.verdict import from_dict

    rows = []
    for one in map(from_dict, report["findings"]):
        sample = f"{one.n} {one.of}" if one.n else ""
        rows.append([one.check, one.precision, one.text, one.bounds, one.claim, one.verdict, sample])
    headers = ["check", "precision", "measured", "tolerance", "claim", "verdict", "n"]
    return str(tabulate(rows, headers=headers, disable_numparse=True))


def verdict(report: dict[str, Any]) -> str:
    """The outcome in a few lines: what broke, and what was seen."""
    from grannfield.contract.verdict import from_dict

    label, seconds = report["label"], f"{report['seconds']:.0f} s"
    findings = [from_dict(values) for values in report["findings"]]
    failed = [one for one in findings if one.failed]
    if not failed:
        count = sum(one.verdict == "pass" for one in findings)
        rest = [one.check for one in findings if one.verdict == "not judged" and not one.check.startswith("alive")]
        more = f"; measured, not claimed: {', '.join(dict.fromkeys(rest))}" if rest else ""
        return f"{label}: all {count} claims hold ({seconds}){more}"
    head = f"{label}: {len(failed)} claims do not hold ({seconds})"
    if failed[0].check.startswith("alive"):
        head = f"{label}: vacuous: what held for these forces would hold for nothing; nothing else was measured ({seconds})"
        if failed[0].verdict == "ERROR":
            head = f"{label}: it cannot be evaluated ({seconds})"
    return "\n".join([head, *(f"  {one.sentence}" for one in failed)])


def _keep(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Write the files that were asked for."""
    from grannfield.contract.check import fingerprint
    from grannfield.contract.opened import is_registered
    from grannfield.forcefield import split_name
    from grannfield.report.contract import write_contract

    name, behaviour = (options.model, "default")
    if options.model and is_registered(options.model):
        name, behaviour = split_name(options.model)
        report |= {"fingerprint": fingerprint(name)}
        if options.reports is not None:
            store(options.reports, name, behaviour, report)
    if options.json is not None:
        write_contract(options.json, name or options.calculator, {behaviour: report})


def store(reports: Path, name: str, behaviour: str, report: dict[str, Any]) -> None:
    """Put a behaviour's report into the model's file, and write what is derived from all files."""
    from grannfield.report.contract import contract_path, read_contract, write_contract
    from grannfield.report.deviations import write_deviations

    path = contract_path(reports, name)
    write_contract(path, name, read_contract(path) | {behaviour: report})
    write_deviations(reports)


def _all(options: argparse.Namespace) -> int:
    """Every registered model in both behaviours; what was measured by the same code is not measured again."""
    from grannfield.contract.check import check_name, fingerprint
    from grannfield.forcefield import registered
    from grannfield.report.contract import contract_path, read_contract
    from grannfield.report.deviations import write_deviations

    reports, failed = options.reports or Path("reports"), []
    if options.json is not None:
        raise ValueError("`all` writes REPORTS/contract/*.json; --json is for one model")
    for name in registered():
        for behaviour in ("default", "published"):
            spec, mark = name if behaviour == "default" else f"{name}@published", fingerprint(name)
            stored = read_contract(contract_path(reports, name)).get(behaviour, {})
            if stored.get("fingerprint") == mark and stored.get("seed") == options.seed:
                report, note = stored, " (stored)"
            else:
                report, note = check_name(spec, options.seed) | {"fingerprint": mark}, ""
                store(reports, name, behaviour, report)
            print(verdict(report) + note, flush=True)
            if report["failed"] and behaviour == "default":
                failed.append(name)
    print(write_deviations(reports))
    if failed:
        print(f"default behaviours that do not keep what they claim: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
