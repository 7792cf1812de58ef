"""VASP's vasprun.xml, step by step: what a run that was cut off has finished is kept, and unconverged steps are known.

The energy is the free energy of the electrons, `e_fr_energy` (TOTEN in the OUTCAR): VASP's forces are its derivative, those
of energy(sigma->0) they are not. The two are the same where no level is partly filled, as in an insulator.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from grannfield.data.formats.contents import CUT, Contents, floats, opened
from grannfield.trajectory import TrajectoryError
from grannfield.units import BOLTZMANN, number

ENERGY_NOTE = "energies are the free energy TOTEN, of which VASP's forces are the derivative, not energy(sigma->0)"
UNCONVERGED = "electrons not converged (NELM steps reached)"
MACHINE_LEARNED = "made by VASP's machine-learned force field, not by density functional theory"
NOT_FINITE = "energy or forces are not numbers"
CHUNK = 1 << 20
EV_PER_KBAR = 6.241509074e-4
"""eV/Å³ in one kbar."""


@dataclass
class Steps:
    """The ionic steps of a run, as they are read."""

    settings: dict[str, str] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    cell: list[np.ndarray] = field(default_factory=list)
    fractional: list[np.ndarray] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    forces: list[np.ndarray] = field(default_factory=list)
    kinetic: list[float] = field(default_factory=list)
    electronic: list[int] = field(default_factory=list)
    """Steps of the electronic loop."""
    last: list[float] = field(default_factory=list)
    """Free energy at its end, eV, which lacks dispersion corrections."""

    def number_of(self, key: str) -> float | None:
        text = self.settings.get(key, "").split()
        return float(text[0]) if text else None


def contents(path: Path, format: str = "vasprun", **_: Any) -> Contents:
    """The complete steps of a run; TrajectoryError when there are none, or when the file is not VASP's."""
    steps = Steps()
    problem = ""
    with opened(path) as (stream, tell):
        try:
            _parse(stream, steps, tell)
        except (ET.ParseError, *CUT) as error:
            problem = str(error)
    if not steps.elements:
        raise TrajectoryError(f"{path} lists no atoms ({problem or 'no <atominfo>'}); is it a vasprun.xml, and whole?")
    if not steps.energy:
        why = f"it was cut short in step 1 ({problem})" if problem else "it holds no <calculation>"
        raise TrajectoryError(f"{path}: no complete step: {why}; the run has to finish at least one")
    return _contents(path, steps, problem)


def _parse(stream: IO[bytes], steps: Steps, tell: Any) -> None:
    """Fill `steps` from the file; what has been used is forgotten, so that long runs need little memory."""
    parser: Any = ET.XMLPullParser(["start", "end"])
    inside = 0  # of a <calculation>
    while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]  # what is there, also before a packed file breaks off
        parser.feed(chunk)
        tell()
        for event, element in parser.read_events():
            inside += (element.tag == "calculation") * (1 if event == "start" else -1)
            if event == "start":
                continue
            if element.tag in ("dos", "eigenvalues", "projected", "kpoints"):
                element.clear()
            elif element.tag == "calculation":
                _add_step(element, steps)
                element.clear()
            elif element.tag in ("parameters", "incar", "generator") and not inside:
                _add_settings(element, steps.settings)
            elif element.tag == "atominfo":
                rows = element.findall("array[@name='atoms']/set/rc")
                steps.elements = [(row[0].text or "").strip() for row in rows]
    parser.close()


def _add_settings(element: ET.Element, settings: dict[str, str]) -> None:
    """The first value of each tag stays: <parameters> repeats some, such as NELM, for methods that are not used."""
    for item in element.iter("i"):
        settings.setdefault(item.get("name", ""), item.text or "")


def _add_step(calculation: ET.Element, steps: Steps) -> None:
    structure, energy = calculation.find("structure"), calculation.find("energy")
    if structure is None or energy is None:
        raise ValueError(f"step {len(steps.energy) + 1} has no structure or no energy")
    values = {item.get("name", ""): item.text or "nan" for item in energy.findall("i")}
    fractional = _rows(structure.find("varray[@name='positions']"))
    forces = _rows(calculation.find("varray[@name='forces']"))
    steps.cell.append(_rows(structure.find("crystal/varray[@name='basis']")))
    steps.fractional.append(fractional)
    steps.forces.append(forces if len(forces) else np.full(fractional.shape, np.nan))
    steps.energy.append(floats(values.get("e_fr_energy", "nan"))[0])
    steps.kinetic.append(floats(values.get("kinetic", "nan"))[0])
    loop = calculation.findall("scstep/energy")
    steps.electronic.append(len(loop))
    end = loop[-1].find("i[@name='e_fr_energy']") if loop else None
    steps.last.append(floats(end.text or "nan")[0] if end is not None else float("nan"))


def _rows(array: ET.Element | None) -> np.ndarray:
    if array is None:
        return np.empty((0, 3))
    text = " ".join(row.text or "" for row in array)
    try:
        return np.array(text.split(), dtype=float).reshape(-1, 3)
    except ValueError:
        return np.array([floats(row.text or "") for row in array])


def _contents(path: Path, steps: Steps, problem: str) -> Contents:
    n = len(steps.elements)
    for index, rows in enumerate(steps.fractional):
        if rows.shape != (n, 3) or steps.forces[index].shape != (n, 3) or steps.cell[index].shape != (3, 3):
            raise TrajectoryError(f"{path}: step {index + 1} does not list {n} positions and forces; the file is damaged there")
    cell = np.array(steps.cell)
    kinetic = np.array(steps.kinetic)
    freedom = 3 * max(n - 1, 1)
    found = Contents(
        z=np.array([number("Xe" if name == "X" else name) for name in steps.elements]),
        pos=np.array(steps.fractional) @ cell,
        cell=cell,
        energy=np.array(steps.energy) - _pressure_times_volume(steps, cell),
        forces=np.array(steps.forces),
        temperature=2 * kinetic / (BOLTZMANN * freedom) if np.isfinite(kinetic).any() else None,
        maker=("VASP " + steps.settings.get("version", "").split(" ")[0]).strip(),
        density_functional=True,
        notes=[ENERGY_NOTE],
    )
    read_motion(found, steps.number_of("IBRION"), steps.number_of("POTIM"))
    target(found, steps.number_of("TEBEG"), steps.number_of("TEEND"))
    _judge(found, steps)
    if problem:
        found.losses.append(
            f"{path} was cut short in step {len(steps.energy) + 1} ({problem}); the {len(steps.energy)} complete steps are kept"
        )
    return found


def _pressure_times_volume(steps: Steps, cell: np.ndarray) -> np.ndarray:
    """[F] eV of PSTRESS x V that e_fr_energy holds besides TOTEN; ASE found this out (merge request 2685).

    Where the energy at the end of the electronic loop is that of the step already, nothing was added.
    """
    added = (steps.number_of("PSTRESS") or 0.0) * EV_PER_KBAR * np.abs(np.linalg.det(cell))
    there = np.abs(np.array(steps.energy) - np.array(steps.last)) < 1e-3 * np.abs(added)
    return np.where(there, 0.0, added)


def _judge(found: Contents, steps: Steps) -> None:
    """Which steps have labels that cannot be used."""
    limit = steps.number_of("NELM")
    learned = "T" in steps.settings.get("ML_LMLFF", "").upper()
    assert found.energy is not None and found.forces is not None
    for index, electronic in enumerate(steps.electronic):
        if not (np.isfinite(found.energy[index]) and np.isfinite(found.forces[index]).all()):
            found.unlabelled[index] = NOT_FINITE
        elif learned and electronic == 0:
            found.unlabelled[index] = MACHINE_LEARNED
        elif limit is not None and electronic >= limit > 1:
            found.unlabelled[index] = UNCONVERGED


def read_motion(found: Contents, ibrion: float | None, potim: float | None) -> None:
    """The time step of a VASP run, which only IBRION = 0 has."""
    if ibrion is None or ibrion == 0:
        found.timestep = potim
    elif len(found.pos) > 1:
        found.unordered = f"IBRION = {ibrion:g} is no molecular dynamics"


def target(found: Contents, begin: float | None, end: float | None) -> None:
    """The temperature of a VASP run, when it was to stay the same."""
    if begin and begin == end:
        found.target = begin
