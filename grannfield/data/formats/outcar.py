"""VASP's OUTCAR: for runs whose vasprun.xml is lost. Positions have 5 decimals there, forces 6.

Energies are the free energy TOTEN, as in `grannfield.data.formats.vasprun`. A step whose electronic loop took NELM steps
counts as unconverged, as it does there: VASP 5 prints the same line at the end of the loop either way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.formats.contents import CUT, Contents, columns, floats, opened_text
from grannfield.data.formats.vasprun import ENERGY_NOTE, MACHINE_LEARNED, NOT_FINITE, UNCONVERGED, read_motion, target
from grannfield.trajectory import TrajectoryError
from grannfield.units import number

SAME_PLACE = 2e-5
"""Å. A step of density functional theory at the place of a machine-learned one is that step made again."""
SETTING = re.compile(r"\b(NELM|IBRION|POTIM|TEBEG|TEEND|NWRITE)\s*=\s*(-?[\d.]+)")
VERSION = re.compile(r"vasp\.([\w.]+)")


@dataclass
class Step:
    """One ionic step."""

    pos: np.ndarray
    forces: np.ndarray
    cell: np.ndarray
    energy: float = float("nan")
    temperature: float = float("nan")
    why_not: str = ""
    """Why its labels cannot be used."""


@dataclass
class Run:
    """What is known of a run while its lines are read."""

    settings: dict[str, float] = field(default_factory=dict)
    version: str = ""
    named: list[str] = field(default_factory=list)
    """Elements of the potentials, from their VRHFIN lines."""
    listed: list[str] = field(default_factory=list)
    """The same from the POTCAR lines, which are repeated."""
    counts: list[int] = field(default_factory=list)
    cell: np.ndarray | None = None
    electronic: int = 0
    ended_unconverged: bool = False
    pending: Step | None = None
    steps: list[Step] = field(default_factory=list)


def contents(path: Path, format: str = "outcar", **_: Any) -> Contents:
    """The complete steps of a run; TrajectoryError when there are none."""
    run, problem = Run(), ""
    with opened_text(path) as (file, tell):
        lines = iter(file)
        try:
            for index, line in enumerate(lines):
                _take(line, lines, run, path)
                if index % 10_000 == 0:
                    tell()
        except TrajectoryError:
            raise
        except CUT as error:
            problem = str(error) or "it ends inside a table"
    if not run.steps:
        where = f"it was cut short in step 1 ({problem})" if run.pending or problem else "it lists no positions with energies"
        raise TrajectoryError(f"{path}: no complete step: {where}; is it an OUTCAR, and did the run finish a step?")
    return _contents(path, run, problem)


def _take(line: str, lines: Iterator[str], run: Run, path: Path) -> None:
    """What one line says; it may draw the lines of its table."""
    if "TOTAL-FORCE" in line and "POSITION" in line:
        run.pending = _table(line, lines, run, path)
    elif "free  energy" in line and "TOTEN" in line:
        _finish(line, run, path)
    elif "Iteration" in line and (found := re.search(r"Iteration\s+\d+\(\s*(\d+)\)", line)):
        run.electronic = int(found[1])
        run.ended_unconverged = False
    elif "EDIFF was not reached" in line:
        run.ended_unconverged = True
    elif "direct lattice vectors" in line and "reciprocal" in line:
        run.cell = np.array([columns(next(lines), 3, 13, 3) for _ in range(3)])
    elif "EKIN_LAT" in line and run.steps:
        words = line.replace("(temperature", " ").split()
        run.steps[-1].temperature = floats(words[-2])[0]
    elif not run.steps and run.pending is None:
        _take_header(line, run)


def _take_header(line: str, run: Run) -> None:
    if "VRHFIN" in line:
        run.named.append(line.partition("=")[2].partition(":")[0].strip())
    elif "POTCAR:" in line and len(line.split()) > 2:
        run.listed.append(line.split()[2].partition("_")[0])
    elif "ions per type" in line:
        run.counts = [int(word) for word in line.partition("=")[2].split()]
    elif not run.version and (found := VERSION.search(line)):
        run.version = ".".join(found[1].split(".")[:3])
    elif "=" in line:
        for key, value in SETTING.findall(line):
            run.settings.setdefault(key, float(value))


def _table(line: str, lines: Iterator[str], run: Run, path: Path) -> Step:
    if run.cell is None or not run.counts:
        raise TrajectoryError(f"{path}: positions come before the lattice vectors or the numbers of ions; its head is missing")
    next(lines)
    rows = np.array([_row(next(lines)) for _ in range(sum(run.counts))])
    return Step(rows[:, :3], rows[:, 3:], run.cell, why_not=MACHINE_LEARNED if "(ML)" in line else "")


def _row(line: str) -> list[float]:
    try:
        values = floats(line)
    except ValueError:
        values = []
    if len(values) == 6:
        return values
    return columns(line, 0, 13, 3) + columns(line, 42, 14, 3)  # numbers that touch


def _finish(line: str, run: Run, path: Path) -> None:
    """The energy ends a step."""
    if "eV" not in line:
        raise EOFError("it ends inside a line")
    step, run.pending = run.pending, None
    if step is None:
        raise TrajectoryError(
            f"{path}: step {len(run.steps) + 1} lists no positions, as with NWRITE = {run.settings.get('NWRITE', 0):g}; "
            "read the vasprun.xml of the run instead"
        )
    step.energy = floats(line.rpartition("=")[2].replace("eV", " "))[0]
    learned = bool(step.why_not)
    if not (np.isfinite(step.energy) and np.isfinite(step.forces).all()):
        step.why_not = step.why_not or NOT_FINITE
    elif not learned and (run.ended_unconverged or run.electronic >= run.settings.get("NELM", np.inf) > 1):
        step.why_not = UNCONVERGED
    last = run.steps[-1] if run.steps else None
    if last is not None and not learned and last.why_not == MACHINE_LEARNED and np.abs(last.pos - step.pos).max() < SAME_PLACE:
        run.steps.pop()
    run.steps.append(step)
    run.electronic = 0


def _elements(path: Path, run: Run) -> list[str]:
    """One element for each number of ions."""
    types = len(run.counts)
    for names in (run.named, run.listed[:types]):
        if len(names) == types:
            return names
    raise TrajectoryError(
        f"{path} names {len(run.named) or len(run.listed)} potentials for {types} types of ions; "
        "read the vasprun.xml of the run instead"
    )


def _contents(path: Path, run: Run, problem: str) -> Contents:
    steps = run.steps
    names = _elements(path, run)
    temperature = np.array([step.temperature for step in steps])
    found = Contents(
        z=np.repeat([number(name) for name in names], run.counts),
        pos=np.array([step.pos for step in steps]),
        cell=np.array([step.cell for step in steps]),
        energy=np.array([step.energy for step in steps]),
        forces=np.array([step.forces for step in steps]),
        temperature=temperature if np.isfinite(temperature).any() else None,
        maker=f"VASP {run.version}".strip(),
        density_functional=True,
        unlabelled={index: step.why_not for index, step in enumerate(steps) if step.why_not},
        notes=[ENERGY_NOTE, "an OUTCAR has positions to 5 decimals; the vasprun.xml of the run has 8"],
    )
    settings = run.settings
    read_motion(found, settings.get("IBRION"), settings.get("POTIM"))
    target(found, settings.get("TEBEG"), settings.get("TEEND"))
    if run.pending is not None or run.electronic or problem:
        found.losses.append(
            f"{path} was cut short in step {len(steps) + 1}{f' ({problem})' if problem else ''}; "
            f"the {len(steps)} complete steps are kept"
        )
    return found
