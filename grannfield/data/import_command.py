"""`grannfield data import`: what it takes, what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grannfield.data.formats import FORMATS, UNITS
from grannfield.data.reference import KINDS
from grannfield.trajectory import Trajectory

if TYPE_CHECKING:
    from grannfield.data.formats import Reading
    from grannfield.data.importing import Entry, Prepared
    from grannfield.data.material import Material

HELP = "make a reference of AIMD or MD that exists: VASP, LAMMPS, DeePMD, ASE, extended XYZ"
DESCRIPTION = """Read trajectories and make them a reference of a material, in your own data folder: models are then scored
against it with --reference NAME. The format is recognised by content, units are checked by physics (distances, work of the
forces, vibrations), wrapped atoms are followed, unconverged steps and NaN keep their place in time without labels, atoms and
axes are put in the order of the material's structure. A set without time is imported as unordered frames, for force errors
alone.
Nothing is written when anything is wrong."""
EPILOG = f"""PATH is a file, a folder of VASP files or of a DeePMD set; text may be compressed (.gz, .bz2, .xz):
{chr(10).join(f"  {name:12s} {text}" for name, text in FORMATS.items())}

units (--units): {"; ".join(f"{name} = {text}" for name, text in UNITS.items())};
or three of your own, LENGTH,ENERGY,FORCE, such as Å,Ha,Ha/Bohr

examples:
  grannfield data import run/vasprun.xml.gz --material LGPS --name pbe --temperature 1000
  grannfield data import run1 run2 run3 --join --material LGPS --name pbe --temperature 1200 --skip 5 --interval 10
  grannfield data import 800K/OUTCAR 1000K/OUTCAR --material Li3PS4 --name pbe --temperature 800,1000
  grannfield data import dump.lammpstrj --log log.lammps --species Li,Ge,P,S --timestep 20 --temperature 1000 \\
      --material LGPS --name my-potential --kind surrogate --maker "my potential v2"
  grannfield data import LiGePS-init.system --species Li,Ge,P,S --material LGPS --name dft-frames --kind aimd --maker "PBE"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="each becomes a run of the reference, see below")
    add("--material", required=True, metavar="NAME", help="see `grannfield materials`")
    add("--name", required=True, metavar="REF", help="what the reference is called from now on")
    add("--kind", choices=list(KINDS), help="aimd: density functional theory; surrogate: a fitted potential (default: aimd for "
        "VASP files, unstated otherwise)")  # fmt: skip
    add(
        "--maker",
        default="",
        metavar="TEXT",
        help="functional or potential with its version, for every label (default: what the file says)",
    )
    add("--format", choices=list(FORMATS), metavar="F", help="instead of the one recognised")
    add("--species", default="", metavar="A,B", help="elements of numbered types, in their order: Li,Ge,P,S")
    add("--timestep", type=float, metavar="FS", help="between two frames of the file, where it does not say (not the MD step)")
    add("--temperature", default="", metavar="K", help="of the thermostat; one, or one for each PATH with commas")
    add("--units", metavar="U", help="of the file, where they are not the format's own; see below")
    add("--log", type=Path, metavar="FILE", help="LAMMPS log with the energies of a dump (Step and PotEng)")
    add(
        "--labels",
        default="",
        metavar="E,F",
        help="names of energy and forces in extended XYZ and ASE files: REF_energy,REF_forces",
    )
    add("--no-unwrap", action="store_true", help="positions are continuous already, however far they jump")
    add("--join", action="store_true", help="the PATHs are pieces of one run, in this order")
    add("--skip", type=float, default=0.0, metavar="PS", help="leave out the start of each run: a ramp (default 0)")
    add("--ramp-ps", type=float, default=0.0, metavar="PS", help="length of a ramp that is not in the file (default 0)")
    add("--interval", type=float, metavar="FS", help="keep frames this far apart (default: all)")
    add("--drop", type=float, default=0.3, metavar="SHARE", help="of each run that is equilibration (default 0.3)")
    add("--thermostat", default="not stated", metavar="TEXT", help="noted in the entry")
    add("--licence", default="", metavar="TEXT", help="noted in the entry")
    add("--notes", default="", metavar="TEXT", help="noted in the entry")
    add("--into", type=Path, metavar="DIR", help="folder of datasets (default: your data folder)")
    add("--replace", action="store_true", help="put a run in the place of the one at its temperature")
    add("--repeat", action="store_true", help="add a run beside the one at its temperature")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError, LookupError or FileNotFoundError, in one line, for what cannot be."""
    from grannfield.data.importing import refuse_name, store
    from grannfield.data.material import load_material, user_datasets_folder
    from grannfield.data.summary import rounding

    material = load_material(options.material)
    folder = (options.into or user_datasets_folder()) / material.formula
    refuse_name(options.name, material, folder)
    if options.replace and options.repeat:
        raise ValueError("--replace and --repeat contradict each other; give one")
    readings = _read(options, material)
    temperatures = _temperatures(options, 1 if options.join else len(readings))
    runs = _prepared(options, material, readings, temperatures)
    entry = _entry(options, material, folder, readings)
    paths = store(entry, runs, options.replace, options.repeat)
    for path, one in zip(paths, runs, strict=True):
        print(f"stored in {path} ({path.stat().st_size / 1e6:.1f} MB): {rounding(one.trajectory, path)}")
    label = f"{KINDS[entry.kind]}: {entry.maker}"
    print(f"entered as {entry.name!r} ({label}) of {material.short} in {entry.folder / 'references.toml'}")
    _print_next(entry, runs, options.into)
    return 0


def _read(options: argparse.Namespace, material: Material) -> list[Reading]:
    """Every file, each reported as soon as it is read."""
    from grannfield.data.formats import studied
    from grannfield.data.formats.atoms import LABELS
    from grannfield.data.summary import lines

    labels = tuple(part.strip() for part in options.labels.split(",")) if options.labels else None
    if labels is not None and len(labels) != len(LABELS):
        raise ValueError(f"--labels {options.labels!r} should be two names, of energy and forces: REF_energy,REF_forces")
    like, found = _like(material), []
    for path in options.paths:
        one = studied(
            path, format=options.format, species=[part.strip() for part in options.species.split(",") if part.strip()],
            timestep=options.timestep, wrapped=False if options.no_unwrap else None, units=options.units, log=options.log,
            labels=labels, like=like,
        )  # fmt: skip
        print(f"{one.path}: {FORMATS[one.format]}, read in units {one.units.described}")
        for what, text in lines(one.trajectory, one.contents.unlabelled):
            print(f"  {what:12s} {text}")
        for note in one.notes:
            print(f"  note: {note}")
        for loss in one.losses:
            print(f"  WARNING: {loss}")
        found.append(one)
    return found


def _like(material: Material) -> Trajectory | None:
    """Frames of the material in the right units, to compare with: its first reference's first run, some of it."""
    for reference in material.references[:1]:
        found = material.trajectory(reference.runs[0])
        return found[:200] if np.asarray(found.labelled)[:200].any() else None
    return None


def _temperatures(options: argparse.Namespace, runs: int) -> list[float | None]:
    if not options.temperature:
        return [None] * runs
    try:
        given: list[float | None] = [float(text) for text in options.temperature.split(",")]
    except ValueError:
        raise ValueError(f"--temperature {options.temperature!r} should be K, or one for each PATH: 800,1000") from None
    if len(given) not in (1, runs):
        raise ValueError(f"--temperature names {len(given)} temperatures for {runs} runs; give one, or one for each")
    return given * runs if len(given) == 1 else given


def _prepared(
    options: argparse.Namespace, material: Material, readings: Sequence[Reading], temperatures: Sequence[float | None]
) -> list[Prepared]:
    from grannfield.data.importing import prepared
    from grannfield.data.join import joined

    trajectories = [one.trajectory for one in readings]
    targets = [one.contents.target for one in readings]
    if options.join:
        trajectories, targets = [joined(trajectories)], targets[:1]
        print(f"joined: {trajectories[0].n_frames} frames, {trajectories[0].duration / 1e3:g} ps")
    made = []
    for trajectory, given, target in zip(trajectories, temperatures, targets, strict=True):
        one = prepared(
            trajectory, material, given if given is not None else target, options.skip, options.interval, options.ramp_ps
        )
        for note in one.notes:
            print(f"  note: {note}")
        made.append(one)
    return made


def _entry(options: argparse.Namespace, material: Material, folder: Path, readings: Sequence[Reading]) -> Entry:
    from grannfield.data.importing import Entry

    by_density_functional = all(one.contents.density_functional for one in readings)
    makers = list(dict.fromkeys(one.contents.maker for one in readings if one.contents.maker))
    kind = options.kind or ("aimd" if by_density_functional else "unstated")
    maker = options.maker or ", ".join(makers) or ", ".join(dict.fromkeys(one.path.name for one in readings))
    if kind == "unstated":
        print("  note: it does not say what made it; --kind and --maker do, for every table it appears in")
    return Entry(
        material=material, folder=folder, name=options.name, kind=kind, maker=maker,
        thermostat=options.thermostat, drop=options.drop, licence=options.licence, notes=options.notes,
    )  # fmt: skip


def _print_next(entry: Entry, runs: Sequence[Prepared], into: Path | None) -> None:
    where = str(into) if into else entry.name
    labelled = any(np.asarray(one.trajectory.labelled).any() for one in runs)
    moving = any(one.trajectory.kind == "time" for one in runs)
    if labelled:
        print(f"next: pytest benchmarks/test_forces.py --model schnet --material {entry.material.short} --reference {where}")
    if moving:
        print(f"next: pytest benchmarks/ --model schnet --material {entry.material.short} --reference {where}")
