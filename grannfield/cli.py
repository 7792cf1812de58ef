"""The command `grannfield`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from grannfield import __version__
from grannfield.call import assignment
from grannfield.interrupt import Terminated, how_to_go_on, sigterm_as_interrupt

EXAMPLES = """examples:
  grannfield train schnet --minutes 5
  grannfield md --model reports/checkpoints/schnet --material LGPS --temperature 1000 --ps 5 --out run.h5
  grannfield check schnet
  grannfield bench --preset smoke --model schnet
  grannfield report
"""


def command_line() -> argparse.ArgumentParser:
    """The parser of `grannfield`, with all its commands."""
    parser = argparse.ArgumentParser(
        prog="grannfield",
        description="Find out whether a machine-learned force field can be trusted to move atoms.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"grannfield {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_train, _add_md, _add_check, _add_bench, _add_report, _add_models, _add_materials, _add_speed, _add_reproduce,
        _add_study, _add_reference, _add_data, _add_calibrate, _add_board, _add_figures, _add_evidence, _add_gate, _add_lammps,
        _add_checkpoint, _add_convert, _add_publish,
    ):  # fmt: skip
        add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; errors that a user can mend are one line on standard error and exit code 2."""
    parser = command_line()
    if (sys.argv[1:] if arguments is None else arguments)[:1] == ["bench"]:
        options, rest = parser.parse_known_args(arguments)
        options.rest = rest
    else:
        options = parser.parse_args(arguments)
    try:
        with sigterm_as_interrupt():
            return int(options.run(options) or 0)
    except KeyboardInterrupt as problem:
        typed = None if arguments is None else ["grannfield", *arguments]
        print(f"\n{how_to_go_on(typed)}", file=sys.stderr)
        return 143 if isinstance(problem, Terminated) else 130
    except (ValueError, LookupError, FileNotFoundError, RuntimeError) as problem:
        print(f"grannfield: {problem.args[0] if problem.args else problem}", file=sys.stderr)
        return 2


def _command(commands: Any, name: str, run: Any, help_: str, **more: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=help_,
        description=more.pop("description", help_),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        **more,
    )
    parser.set_defaults(run=run)
    return parser


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", _train, "train a model on a reference for a number of minutes; resumable")
    parser.add_argument("model", help="registered model, see `grannfield models`; `name@published` for the paper's arithmetic")
    parser.add_argument("--minutes", type=float, default=5.0, help="budget of wall time, validation included")
    parser.add_argument("--material", default="LGPS", help="what to train on")
    parser.add_argument("--reference", default="", help="name of its reference (default: the first)")
    parser.add_argument(
        "--split", choices=("windows", "random"), default="windows", help="validation frames that choose the checkpoint"
    )
    parser.add_argument("--validation-frames", type=int, default=60, help="at most so many; the paper's recipe takes all")
    parser.add_argument(
        "--recipe", choices=("default", "paper"), default="default", help="paper: EMA 0.999 from step 1, one validation per epoch"
    )
    parser.add_argument("--batch-size", type=int, help="frames differentiated at once (default: the recipe's, 2)")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches in a step of the optimiser")
    parser.add_argument(
        "--compile", choices=("auto", "off", "trace", "on"), default="auto",
        help="the step as written (off), recorded (trace) or compiled (on); auto: on for cuda, trace for a cpu",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a model setting, such as hidden_channels=64"
    )
    parser.add_argument("--reduced", action="store_true", help="a size that trains on a CPU in minutes; tables say so")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches; the split keeps seed 0")
    parser.add_argument("--precision", default="float32", help="of the network: float32, tf32 (emulated on a cpu) or float64")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="folder (default: reports/checkpoints/MODEL)")
    parser.add_argument("--restart", action="store_true", help="discard what the folder holds")


def _train(options: argparse.Namespace) -> None:
    from dataclasses import replace

    import torch

    from grannfield.data.dataset import frames
    from grannfield.data.material import load_material
    from grannfield.forcefield import create, is_reduced, reduced_settings, split_name, to_precision
    from grannfield.recipe import RECIPES
    from grannfield.train import fit

    name, behaviour = split_name(options.model)
    settings = (reduced_settings(name) if options.reduced else {}) | dict(assignment(text) for text in options.set)
    if behaviour == "published":
        settings["as_published"] = True
    torch.manual_seed(options.seed)
    field = to_precision(create(name, **settings), options.precision)
    recipe = replace(RECIPES[options.recipe], accumulate=options.accumulate)
    if options.batch_size is not None:
        recipe = replace(recipe, batch_size=options.batch_size)
    material = load_material(options.material)
    reference = material.reference(options.reference)
    training = frames(material, reference, "train")
    limit = None if options.recipe == "paper" else options.validation_frames
    validation = frames(material, reference, "validation", column=options.split, limit=limit)
    folder = options.out or Path("reports/checkpoints") / options.model
    if options.restart and folder.exists():
        shutil.rmtree(folder)
    source = {
        "material": material.formula,
        "reference": reference.label,
        "training_data": training.sha256,
        "split": options.split,
    }
    size = " (reduced)" if is_reduced(field) else ""
    print(f"{name}{size}: {field.n_parameters:,} parameters; {len(training)} training and {len(validation)} validation frames of "
          f"{material.short} ({reference.label}); batch {recipe.step_size}, recipe {recipe.name}, into {folder}")  # fmt: skip
    path = fit(
        field, training, validation, folder, budget_s=60 * options.minutes, recipe=recipe, seed=options.seed,
        device=options.device, source=source, compiling=options.compile,
    )  # fmt: skip
    from grannfield.forcefield import load

    story = load(path).provenance
    errors = story["validation"]
    print(f"best after {story['seconds']:.0f} s, {story['steps']} steps, {story['epochs']:.2f} epochs: force MAE "
          f"{errors['force_mae'] * 1e3:.0f} meV/Å, R² {errors['force_r2']:.3f}, energy MAE {errors['energy_mae'] * 1e3:.1f} "
          f"meV/atom on {len(validation)} {options.split} validation frames; {path}")  # fmt: skip


def _add_md(commands: Any) -> None:
    parser = _command(commands, "md", _md, "run molecular dynamics of a material with a force field; resumable")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="name, checkpoint file or folder, or file.py:Class")
    source.add_argument(
        "--calculator",
        metavar="CALL",
        help="an ASE calculator: 'pkg.mod:factory(key=value)', literals only; it chooses its device",
    )
    parser.add_argument("--material", default="LGPS")
    parser.add_argument("--temperature", type=float, default=1000.0, help="K")
    parser.add_argument("--ps", type=float, default=10.0, help="length after the ramp")
    parser.add_argument("--ramp-ps", type=float, default=1.0, help="heating from 100 K, not stored")
    parser.add_argument("--timestep", type=float, default=2.0, help="fs")
    parser.add_argument("--interval", type=float, default=20.0, help="fs between stored frames")
    parser.add_argument("--replicas", type=int, default=1, help="moved together, each with its own seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", help="float32, tf32 (emulated on a cpu) or float64, instead of the weights' own")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--compile", choices=("auto", "off", "trace", "on"), default="auto", help="energy and forces compiled; auto: on a GPU"
    )
    parser.add_argument("--out", type=Path, default=Path("run.h5"), help="H5 file; replicas beyond the first get -1, -2, ...")


def _md(options: argparse.Namespace) -> None:
    from grannfield.data.material import load_material
    from grannfield.data.store import write_trajectory
    from grannfield.forcefield import to_precision
    from grannfield.md.simulate import Protocol, simulate
    from grannfield.plugin import find_calculator, open_model, resolve
    from grannfield.precision import labelled

    material = load_material(options.material)
    if options.calculator and (options.precision or options.device != "cpu"):
        raise ValueError("a calculator takes its precision and device in its own arguments, not by --precision and --device")
    if options.calculator:
        field = open_model(find_calculator(options.calculator))
    else:
        field = to_precision(resolve(options.model), options.precision)
    protocol = Protocol(
        temperature=options.temperature, length=options.ps * 1e3, ramp=options.ramp_ps * 1e3,
        timestep=options.timestep, interval=options.interval,
    )  # fmt: skip
    if options.replicas < 1:
        raise ValueError(f"--replicas must be at least 1; it is {options.replicas}")
    out = options.out
    names = [out if r == 0 else out.with_name(f"{out.stem}-{r}{out.suffix}") for r in range(options.replicas)]
    structure = material.structure
    partial = out.with_name(out.name + ".partial")
    runs = simulate(
        field, structure.z, structure.pos, structure.cell, protocol, [options.seed + r for r in range(options.replicas)],
        device=options.device, mode=options.compile, folder=partial,
        label=f"{field.name} {material.short} {options.temperature:g} K",
    )  # fmt: skip
    for run, path in zip(runs, names, strict=True):
        ended = (
            f"stopped at {run.failure.time * 1e-3:.2f} ps: {run.failure.cause}, {run.failure.detail}"
            if run.failure
            else "complete"
        )
        if run.trajectory is not None:
            about = {"model": field.name, "seed": run.seed, "target_temperature": options.temperature, "ended": ended}
            about["precision"] = labelled(field.precision, options.device)
            about |= {"calculator": options.calculator} if options.calculator else {}
            write_trajectory(path, run.trajectory, about)
        frames = run.trajectory.n_frames if run.trajectory else 0
        moved = f"internal temperature {run.internal_temperature:.0f} K, centre of mass {run.drift:.2g} Å/ps"
        print(f"{path}: {frames} frames, {ended}; {moved}")
    shutil.rmtree(partial)


def _add_check(commands: Any) -> None:
    from grannfield.contract import command

    _add_documented(commands, "check", command)


def _add_documented(commands: Any, name: str, command: Any) -> None:
    """A command whose module says what it is and what it takes."""
    parser = commands.add_parser(
        name,
        help=command.HELP,
        description=command.DESCRIPTION,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _add_board(commands: Any) -> None:
    from grannfield.html import command

    _add_documented(commands, "board", command)


def _add_gate(commands: Any) -> None:
    from grannfield.gate import command

    _add_documented(commands, "gate", command)


def _add_lammps(commands: Any) -> None:
    from grannfield.lammps import command

    _add_documented(commands, "lammps", command)


def _add_checkpoint(commands: Any) -> None:
    from grannfield import checkpoint_command

    _add_documented(commands, "checkpoint", checkpoint_command)


def _add_publish(commands: Any) -> None:
    from grannfield import publish_command

    _add_documented(commands, "publish", publish_command)


def _add_convert(commands: Any) -> None:
    from grannfield.convert import command

    _add_documented(commands, "convert", command)


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="run the benchmarks; same options as `pytest benchmarks/`", add_help=False)
    parser.add_argument("-h", "--help", action="store_true", dest="teach")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    if options.teach:
        return _teach_bench()
    import pytest

    package = Path(__file__).resolve().parent
    suite = package / "suite" if (package / "suite").is_dir() else package.parent
    if not (suite / "benchmarks").is_dir():
        raise FileNotFoundError(
            f"the benchmarks are neither in {package / 'suite'} nor in {package.parent}; install grannfield again"
        )
    fixed = [str(suite / "benchmarks"), f"--rootdir={suite}", f"--confcutdir={suite}", "-c", os.devnull, "-p", "no:cacheprovider"]
    return int(pytest.main([*fixed, *options.rest]))


def _teach_bench() -> int:
    from grannfield.presets import OPTIONS

    parser = argparse.ArgumentParser(
        prog="grannfield bench",
        description="Score models on all materials and write reports/leaderboard.md. The same suite as `pytest benchmarks/` in a "
        "clone; pytest's own options (-k, -x, -q, ...) apply as well.",
        epilog="examples: grannfield bench --preset smoke --model schnet --material Li3PS4; grannfield bench --preset brief "
        "--calculator 'chgnet.model.dynamics:CHGNetCalculator()' --calculator 'MACE=mace.calculators:mace_mp(model=\"small\")'",
    )
    for name, keywords in OPTIONS.items():
        parser.add_argument(f"--{name}", **keywords)
    parser.print_help()
    return 0


def _add_report(commands: Any) -> None:
    from grannfield import report_command

    _add_documented(commands, "report", report_command)


def _add_models(commands: Any) -> None:
    _command(commands, "models", _models, "list the models with their parameter counts beside Table 1's")


def _models(options: argparse.Namespace) -> None:
    from tabulate import tabulate

    from grannfield.forcefield import create, registered
    from grannfield.report.paper import table1

    published = table1()
    rows = []
    for name, cls in registered().items():
        counts = [f"{create(name, as_published=flag).n_parameters:,}{' (inferred)' * cls.inferred}" for flag in (False, True)]
        rows.append([name, cls.symmetry, *counts, published.get(name, {}).get("parameters_million", "")])
    headers = ["model", "symmetry (claimed)", "parameters", "@published", "Table 1 (million)"]
    print(tabulate(rows, headers=headers, disable_numparse=True))


def _add_speed(commands: Any) -> None:
    parser = _command(
        commands,
        "speed",
        _speed,
        "time our models and others' with the same weights: interleaved, medians and ratios, into reports/speed/",
    )
    parser.add_argument("models", nargs="*", help="registered models (none: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=10, help="of every comparison")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the steps of one model, at all numbers of replicas")
    parser.add_argument("--precision", default="float32", help="of the models' own times: float32, tf32 (cuda) or float64")
    parser.add_argument(
        "--only",
        action="append",
        choices=("comparisons", "models", "training", "operations"),
        help="a part of the suite; may be given several times (none: all)",
    )
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder that gets speed/<hardware>.json")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a number in the file misses its goal")


def _speed(options: argparse.Namespace) -> int:
    import json

    from grannfield.forcefield import registered
    from grannfield.speed import table, verdicts, write_speed

    for name in ("rounds", "seconds"):
        if not getattr(options, name) > 0:
            raise ValueError(f"--{name} must be positive; it is {getattr(options, name):g}")
    if unknown := sorted(set(options.models) - set(registered())):
        raise ValueError(f"no model is called {', '.join(unknown)}; there are {', '.join(registered())}")
    path = write_speed(
        options.reports, options.rounds, options.models, device=options.device, seconds=options.seconds, only=options.only,
        precision=options.precision,
    )  # fmt: skip
    for rows in table(path):
        _print_table(rows)
    print(path)
    if not options.check:
        return 0
    found = verdicts(json.loads(path.read_text(encoding="utf-8")))
    missed = [verdict for verdict in found if verdict.met is False]
    measured = sum(verdict.met is not None for verdict in found)
    print(f"{measured - len(missed)} of {measured} goals met, {len(found) - measured} not measured")
    for verdict in missed:
        print(f"missed: {verdict}")
    return int(bool(missed))


def _print_table(rows: list[dict[str, str]]) -> None:
    """Rows under the names of all their columns; without lines where tabulate is not installed."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(key, "") for key in columns] for row in rows]
    try:
        from tabulate import tabulate
    except ImportError:
        widths = [max(len(x) for x in column) for column in zip(columns, *cells, strict=True)]
        lines = ["  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in (columns, *cells)]
        print("\n".join(lines), end="\n\n")
    else:
        print(tabulate(cells, headers=columns, disable_numparse=True), end="\n\n")


def _add_reproduce(commands: Any) -> None:
    from grannfield.reproduce import command

    _add_documented(commands, "reproduce", command)


def _add_study(commands: Any) -> None:
    from grannfield.studies import command

    _add_documented(commands, "study", command)


def _add_reference(commands: Any) -> None:
    from grannfield.reference import command

    _add_documented(commands, "reference", command)


def _add_data(commands: Any) -> None:
    from grannfield.data import command

    _add_documented(commands, "data", command)


def _add_calibrate(commands: Any) -> None:
    from grannfield.calibrate import command

    _add_documented(commands, "calibrate", command)


def _add_figures(commands: Any) -> None:
    from grannfield.figures import command

    _add_documented(commands, "figures", command)


def _add_evidence(commands: Any) -> None:
    from grannfield.evidence import explain_command, keep_command, rescore_command, verify_command

    _add_documented(commands, "explain", explain_command)
    _add_documented(commands, "verify", verify_command)
    _add_documented(commands, "rescore", rescore_command)
    _add_documented(commands, "keep", keep_command)


def _add_materials(commands: Any) -> None:
    _command(commands, "materials", _materials, "list the materials and their references")


def _materials(options: argparse.Namespace) -> None:
    from tabulate import tabulate

    from grannfield.data.material import load_material, materials

    rows = []
    for name in materials():
        material = load_material(name)
        for reference in material.references:
            temperatures = ", ".join(f"{t:g}" for t in reference.temperatures) or "unordered frames"
            rows.append(
                [material.formula, material.short, len(material.structure.z), reference.name, reference.label, temperatures]
            )
    print(tabulate(rows, headers=["formula", "short", "atoms", "reference", "made by", "K"], disable_numparse=True))


if __name__ == "__main__":
    sys.exit(main())
