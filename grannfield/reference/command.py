"""`grannfield reference`: what it takes and what it prints."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grannfield.md.protocol import Protocol
    from grannfield.reference.make import Order
    from grannfield.reference.maker import Maker

HELP = "make a reference of a material: MD with a calculator or a model, by the paper's protocol, resumable"
DESCRIPTION = """Make references. `make` runs molecular dynamics of a material with an ASE calculator or a model, at one
temperature after the other, and enters each finished run as a reference. `add` copies finished runs to another folder of
datasets. Each has a --help of its own."""
EPILOG = """examples:
  grannfield reference make --material Li3PS4 --calculator 'sevenn.calculator:SevenNetCalculator("sevennet-0")' \\
      --temperatures 800,1000,1200 --ps 10 --ramp-ps 1
  grannfield reference add ~/.local/share/grannfield/datasets --into datasets --name made-sevennet-0
"""
MAKE = """Run a material with a force field and enter the runs as a reference: a ramp from 100 K, which is not stored, then the
stored motion, for each temperature and repeat. The frames go to HDF5 files, the entries to the references.toml beside them, in
the user's data folder, where `grannfield materials` shows them and --reference NAME of `bench`, `train` and others finds them.

A call can be cut off at any moment, by Ctrl-C or by a kill: the same command goes on where it stood, on a CPU with as many
threads bit for bit. A run that is there is not made again; one that another process has in hand is left to it, so that the same
command may be started several times side by side. A run that explodes is reported and not entered. Before the first step the
force field is tried: it must know the elements, its forces should be the gradient of its energy, and equal frames should give
equal bits. The exit code is 0 when all runs are there, 1 when one failed or is in other hands, 2 for a mistake on the command
line, 130 after Ctrl-C."""
MAKE_EPILOG = """Seeds: a run's is its temperature in K, plus 10,000 for each repeat, plus --seed.

examples:
  grannfield reference make --material Li3PS4 --calculator 'sevenn.calculator:SevenNetCalculator("sevennet-0")' \\
      --temperatures 800,1000,1200 --ps 10 --ramp-ps 1
  grannfield reference make --material LGPS --calculator 'my_dft:calculator(kpoints=[2, 2, 1])' --kind aimd \\
      --maker "PBE, VASP 6.4, 400 eV" --temperatures 1000 --interval 2
  grannfield reference make --material Li4GeS4 --model schnet --thermostat langevin --name langevin-schnet
"""
ADD = """Copy the finished runs that a folder of datasets lists to another one, with their entries: each [[reference.run]] block
is added to the reference of the same name, in <formula>/material.toml where that stands, else in <formula>/references.toml. Runs
that are listed there already (same temperature and seed) are left alone."""
THERMOSTATS = ("nose-hoover", "langevin", "rescale", "nve")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands."""
    actions = parser.add_subparsers(title="what to do", required=True, metavar="ACTION")
    raw = argparse.RawDescriptionHelpFormatter
    make = actions.add_parser(
        "make", help="run MD and enter the runs; resumable", description=MAKE, epilog=MAKE_EPILOG, formatter_class=raw
    )
    _add_choices(make)
    _add_entry(make)
    make.set_defaults(action=_make)
    add = actions.add_parser("add", help="copy finished runs to another folder", description=ADD, formatter_class=raw)
    add.add_argument("source", type=Path, metavar="DIR", help="folder of datasets with the finished runs")
    add.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder of datasets that gets them")
    add.add_argument("--name", default="", help="only the reference of this name")
    add.set_defaults(action=_add)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """What is run."""
    parser.add_argument("--material", required=True, metavar="NAME", help="see `grannfield materials`")
    maker = parser.add_mutually_exclusive_group(required=True)
    maker.add_argument("--calculator", metavar="CALL", help="an ASE calculator: 'pkg.mod:factory(key=value)', literals only")
    maker.add_argument("--model", metavar="MODEL", help="a registered model, a checkpoint, or file.py:Class")
    parser.add_argument(
        "--temperatures", "--temperature", default="800,1000,1200", metavar="A,B", help="K (default 800,1000,1200)"
    )
    parser.add_argument("--ps", type=float, default=50.0, help="length of each run after the ramp (default 50)")
    parser.add_argument("--ramp-ps", type=float, default=5.0, help="of heating from 100 K, not stored (default 5)")
    parser.add_argument("--timestep", type=float, help="fs (default: the material's)")
    parser.add_argument("--interval", type=float, default=10.0, help="fs between stored frames (default 10)")
    parser.add_argument(
        "--thermostat", choices=THERMOSTATS, default="nose-hoover",
        help="after the ramp; langevin changes diffusion and is for tests (default nose-hoover)",
    )  # fmt: skip
    parser.add_argument("--damping", type=float, default=100.0, help="fs, of the thermostat (default 100)")
    parser.add_argument("--repeats", type=int, default=1, help="runs at each temperature (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="added to the seeds of all runs (default 0)")
    parser.add_argument("--device", default="cpu", help="of a model: cpu or cuda; a calculator is told in its call (default cpu)")
    parser.add_argument("--again", action="store_true", help="make runs again that are there, and begin failed ones anew")
    parser.add_argument("--accept-forces", action="store_true", help="go on where forces are not the gradient of the energy")
    parser.add_argument("--keep-every", type=float, default=60.0, metavar="S", help="work that a kill may cost (default 60 s)")


def _add_entry(parser: argparse.ArgumentParser) -> None:
    """What the entry says, and where it goes."""
    parser.add_argument("--name", default="", help="of the reference (default made-MAKER)")
    parser.add_argument(
        "--kind", choices=("surrogate", "analytic", "aimd"), default="surrogate",
        help="anything fitted is a surrogate; aimd is density functional theory and nothing else (default surrogate)",
    )  # fmt: skip
    parser.add_argument("--maker", default="", help="what labels call the potential or functional, with its version")
    parser.add_argument("--licence", default="", help="of the runs, for the entry")
    parser.add_argument("--notes", default="", help="for the entry")
    parser.add_argument("--into", type=Path, metavar="DIR", help="folder of datasets (default: the user's data folder)")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or LookupError for one that makes no sense."""
    return int(options.action(options))


def _make(options: argparse.Namespace) -> int:
    """Make the runs asked for, one after the other."""
    from grannfield.reference.make import entered, make, seed_of, summary
    from grannfield.reference.maker import examine

    order = _order(options)
    runs = [
        (protocol, seed_of(protocol.temperature, repeat, options.seed))
        for protocol in _protocols(options, order)
        for repeat in range(options.repeats)
    ]
    if min(seed for _, seed in runs) < 0:
        raise ValueError(f"--seed {options.seed} makes the seed of a run negative; choose a larger one")
    order.require_name(runs[0][0])
    print(f"{order.name} ({order.kind}: {order.maker.name}) of {order.material.short}, into {order.folder}", flush=True)
    if options.again or not all(entered(order, *one) for one in runs):
        seconds, notes = examine(order.maker, order.material.structure, options.device, options.accept_forces)
        minutes = seconds * (runs[0][0].ramp_steps + runs[0][0].frames * runs[0][0].stride) / 60
        print(f"{seconds:.2g} s a step: about {minutes:.3g} minutes a run, of which there are {len(runs)}", flush=True)
        for note in notes:
            print(f"note: {note}", flush=True)
    whole = True
    for k, (protocol, seed) in enumerate(runs, 1):
        label = f"{order.material.short} {protocol.temperature:g} K ({k} of {len(runs)})"
        outcome = make(order, protocol, seed, again=options.again, label=label)
        how = f"; {summary(outcome.run)}" if outcome.run and outcome.state == "made" else ""
        print(f"{protocol.temperature:g} K, seed {seed}: {outcome.state}, {outcome.detail}{how}", flush=True)
        whole &= outcome.state in ("made", "there")
    return int(not whole)


def _order(options: argparse.Namespace) -> Order:
    from grannfield.data.material import load_material, user_datasets_folder
    from grannfield.reference.make import Order

    if options.name and (Path(options.name).name != options.name or options.name.startswith(".")):
        raise ValueError(f"--name {options.name!r} becomes part of file names: no slashes, no dot at its beginning")
    if options.calculator and options.device != "cpu":
        raise ValueError("--device is for --model; a calculator is told in its call, for instance device='cuda'")
    maker = _maker(options)
    return Order(
        material=load_material(options.material), maker=maker, name=options.name or f"made-{maker.slug}", kind=options.kind,
        into=(options.into or user_datasets_folder()).expanduser(), licence=options.licence, notes=options.notes,
        device=options.device, keep_every=options.keep_every,
    )  # fmt: skip


def _maker(options: argparse.Namespace) -> Maker:
    """The force field under the name that --maker gives it; ValueError where it cannot be what --kind says."""
    from dataclasses import replace

    from grannfield.reference.maker import of_calculator, of_model

    maker = of_calculator(options.calculator) if options.calculator else of_model(options.model)
    if options.kind == "aimd":
        if options.model or getattr(maker.field, "networks", None):
            raise ValueError(f"{maker.spec} is a fitted potential, whose reference is a surrogate: leave out --kind aimd")
        if not options.maker:
            raise ValueError('--kind aimd needs --maker, functional and program, for instance "PBE, VASP 6.4, 400 eV"')
    return replace(maker, name=options.maker) if options.maker else maker


def _protocols(options: argparse.Namespace, order: Order) -> list[Protocol]:
    """One protocol for each temperature; ValueError where the lengths do not fit the steps."""
    from grannfield.md.protocol import Protocol

    try:
        temperatures = list(dict.fromkeys(float(text) for text in options.temperatures.split(",")))
    except ValueError:
        raise ValueError(f"--temperatures {options.temperatures!r} should be numbers in K, for instance 800,1000,1200") from None
    if options.repeats < 1:
        raise ValueError(f"--repeats must be at least 1; it is {options.repeats}")
    timestep = order.material.timestep if options.timestep is None else options.timestep
    nve = options.thermostat == "nve"
    protocols = [
        Protocol(
            temperature=temperature, length=1e3 * options.ps, ramp=1e3 * options.ramp_ps, timestep=timestep,
            interval=options.interval, damping=options.damping, ensemble="nve" if nve else "nvt",
            thermostat="nose-hoover" if nve else options.thermostat,
        )
        for temperature in temperatures
    ]  # fmt: skip
    one = protocols[0]
    for name, long, short in (
        ("interval", "interval", "timestep"),
        ("ps", "length", "interval"),
        ("ramp-ps", "ramp", "timestep"),
    ):
        whole, part = getattr(one, long), getattr(one, short)
        if not math.isclose(whole, round(whole / part) * part, rel_tol=1e-9):
            raise ValueError(f"--{name}: {whole:g} fs is no multiple of the {short}, {part:g} fs")
    return protocols


def _add(options: argparse.Namespace) -> int:
    """Copy finished runs to another folder of datasets."""
    from grannfield.reference.adopt import add

    for one in add(options.source, options.into, options.name):
        done = f"added as {one.path}" if one.path else "there already"
        print(f"{one.material} {one.reference} {one.run.temperature:g} K, seed {one.run.seed}: {done}")
    return 0
