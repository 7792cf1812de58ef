"""Reference trajectories of a material: what made them, under which protocol, at which temperatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.checksum import verify
from grannfield.data.store import read_trajectory
from grannfield.data.table import TableError, checked
from grannfield.trajectory import Trajectory
from grannfield.units import formula

KINDS = {
    "aimd": "AIMD",
    "surrogate": "surrogate",
    "analytic": "analytic force field",
    "control": "control",
    "unstated": "origin not stated",
}
"""Kinds of reference and their public names: `aimd` only for density functional theory, `surrogate` for any fitted
potential, `analytic` for a force field written down and not fitted, `control` for what the suite tests itself with, `unstated`
for data that say nothing of what made them."""

RUN_KEYS: dict[str, Any] = {
    "file": str,
    "temperature": float,
    "ramp_ps": float,
    "length_ps": float,
    "interval_fs": float,
    "sha256": str,
    "seed": (int, -1),
}
FRAME_KEYS: dict[str, Any] = {"file": str, "kind": str, "sha256": str}
"""Of a run that is a set of unordered frames (kind = "frames"): it has no length, and temperatures and volumes may vary."""
REFERENCE_KEYS: dict[str, Any] = {
    "name": str,
    "kind": str,
    "maker": str,
    "thermostat": str,
    "start_temperature": (float, 100.0),
    "drop": (float, 0.3),
    "licence": (str, ""),
    "notes": (str, ""),
    "run": list,
}


class RunMissingError(LookupError):
    """A reference holds no run at the temperature asked for."""


@dataclass(frozen=True)
class Run:
    """One stored reference run at one temperature, and the three lengths of its protocol."""

    path: Path
    temperature: float
    """K, the target; NaN for unordered frames."""
    ramp_ps: float
    """Length of the heating ramp, which is not stored."""
    length_ps: float
    """Length of what is stored: equilibration and production."""
    interval_fs: float
    """fs between stored frames."""
    seed: int
    """-1 when unknown."""
    sha256: str
    drop: float = 0.3
    """Share of the stored run that is equilibration."""
    kind: str = "time"
    """"time", or "frames" for an unordered set."""
    described_in: str = field(default="material.toml", compare=False)

    @property
    def equilibration_ps(self) -> float:
        """Length of the start of the stored run that enters no analysis."""
        return self.drop * self.length_ps

    @property
    def production_ps(self) -> float:
        """Length of what is analysed."""
        return self.length_ps - self.equilibration_ps

    def trajectory(self) -> Trajectory:
        """The stored frames, equilibration included; time 0 is the end of the ramp.

        Raises ChecksumError or StoreError for a damaged file, TableError when it is not the run described.
        """
        verify(self.path, self.sha256, self.described_in)
        found = read_trajectory(self.path)
        if self.kind == "frames" and found.kind == "time":
            raise TableError(f'{self.path} holds a run in time, but {self.described_in} says kind = "frames"; correct that')
        if found.kind == "time" and found.n_frames > 1:
            length = found.n_frames * found.timestep / 1000
            if not np.allclose([found.timestep, length], [self.interval_fs, self.length_ps], rtol=1e-3):
                raise TableError(
                    f"{self.path} holds {length:g} ps at {found.timestep:g} fs, but {self.described_in} says "
                    f"{self.length_ps:g} ps at {self.interval_fs:g} fs; correct the one that is wrong"
                )
        return found


@dataclass(frozen=True)
class Reference:
    """Runs of one material by one maker, against which models are scored."""

    name: str
    kind: str
    maker: str
    """The potential or functional with its version, for instance "SevenNet-0 (11Jul2024)"."""
    thermostat: str
    runs: tuple[Run, ...]
    start_temperature: float = 100.0
    """K, where the heating ramp starts."""
    drop: float = 0.3
    """Share of each run that is equilibration and enters no analysis."""
    licence: str = ""
    notes: str = ""
    material: str = ""
    """Formula of the material, for messages."""

    @property
    def label(self) -> str:
        """What every table, plot and file calls this reference.

        >>> Reference("s", "surrogate", "SevenNet-0 (11Jul2024)", "none", ()).label
        'surrogate: SevenNet-0 (11Jul2024)'
        """
        return f"{KINDS[self.kind]}: {self.maker}"

    @property
    def temperatures(self) -> tuple[float, ...]:
        """K, ascending, those for which there is at least one run."""
        return tuple(sorted({run.temperature for run in self.runs if run.kind == "time"}))

    def repeats(self, temperature: float) -> tuple[Run, ...]:
        """All runs at a temperature (to 0.5 K), in the order of the file; empty when there is none."""
        return tuple(run for run in self.runs if abs(run.temperature - temperature) < 0.5)

    def run(self, temperature: float, repeat: int = 0) -> Run:
        """The run at a temperature in K; RunMissingError says which temperatures there are and how to add more."""
        found = self.repeats(temperature)
        if repeat < len(found):
            return found[repeat]
        raise RunMissingError(self.absence(temperature, repeat))

    def absence(self, temperature: float, repeat: int = 0) -> str:
        """Why a run is not there and how to add it; an empty string when it is there."""
        found = self.repeats(temperature)
        if repeat < len(found):
            return ""
        which = f"no run at {temperature:g} K" if not found else f"no repeat {repeat} at {temperature:g} K"
        there = ", ".join(f"{t:g}" for t in self.temperatures) or "none"
        if not self.temperatures:
            return f"the reference {self.name!r} ({self.label}) holds unordered frames: forces and energies, no motion"
        return (
            f"the reference {self.name!r} ({self.label}) of {self.material or 'this material'} has {which} "
            f"(there: {there} K); make it with the same maker (`grannfield reference make`), or import it (`grannfield data "
            "import`)"
        )


def parse_reference(values: Mapping[str, Any], folder: Path, where: str, material: str) -> Reference:
    """A checked reference from one [[reference]] block, its files in `folder`; TableError if malformed."""
    block = checked(values, REFERENCE_KEYS, f"{where}, [[reference]] {values.get('name', '')!r}")
    if block["kind"] not in KINDS:
        raise TableError(f"{where}: a reference of kind {block['kind']!r}; use one of {', '.join(KINDS)}")
    if not 0 <= block["drop"] < 1:
        raise TableError(f"{where}: drop = {block['drop']:g} is not a share of the run (0 to 1)")
    runs = tuple(_run(run, folder, block["drop"], where) for run in block.pop("run"))
    return Reference(runs=runs, material=material, **block)


def check_atoms(trajectory: Trajectory, z: np.ndarray, where: str) -> None:
    """Refuse a run whose atoms are not those of the material's structure, in the same order."""
    if not np.array_equal(trajectory.z, z):
        raise TableError(
            f"{where} holds {formula(trajectory.z)}, the structure {formula(z)}, or the order of the atoms differs; "
            "store the run with the atoms in the order of the structure"
        )


def _run(values: Mapping[str, Any], folder: Path, drop: float, described_in: str) -> Run:
    where = f"{described_in}, [[reference.run]] {values.get('file', '')!r}"
    if "kind" in values:
        block = checked(values, FRAME_KEYS, where)
        if block["kind"] != "frames":
            raise TableError(f'{where}: kind = {block["kind"]!r} should be "frames", or be left out for a run in time')
        return Run(
            path=folder / block["file"], temperature=float("nan"), ramp_ps=0.0, length_ps=0.0, interval_fs=0.0, seed=-1,
            sha256=block["sha256"], drop=0.0, kind="frames", described_in=described_in,
        )  # fmt: skip
    block = checked(values, RUN_KEYS, where)
    for key in ("temperature", "length_ps", "interval_fs"):
        if not block[key] > 0:
            raise TableError(f"{where}: {key} = {block[key]:g} should be positive")
    return Run(path=folder / block.pop("file"), drop=drop, described_in=described_in, **block)
