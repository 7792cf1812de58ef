"""MD runs of the suite: under which protocols and seeds they are made, and the store where each is made once.

A run is kept under a hash of everything that determines it: weights, material, protocol, seeds, precision and the code that
moves atoms. The device is not in it, so that what a GPU has made is scored elsewhere; what made the run stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield import provenance
from grannfield.data.checksum import sha256_of_file
from grannfield.data.compact import CONSTANT_ENERGY, MOTION
from grannfield.data.dataset import frames
from grannfield.data.material import Material
from grannfield.data.reference import Reference
from grannfield.data.store import read_attributes, read_trajectory, write_trajectory
from grannfield.files import locked, write_atomically
from grannfield.forcefield import ForceField
from grannfield.md.simulate import EngineFailure, MDRun, Protocol, simulate
from grannfield.plugin import Named, identity
from grannfield.presets import Preset
from grannfield.score import NotAvailable

if TYPE_CHECKING:
    from grannfield.given import GivenRuns  # which needs SciPy: motion is to run without it

MOTION_CODE = (
    "md", "models", "nn", "forcefield.py", "precision.py", "compiled.py", "recording.py", "graph.py", "neighbors.py",
    "all_pairs.py", "candidates.py", "loops.py", "units.py",
)  # fmt: skip
"""Files and folders of the package on which a motion depends."""
RDF_INTERVAL = 20.0
"""fs between the frames that enter g(r), and of longer runs between those that are stored."""
STEPS_PER_FRAME = 2
"""MD steps between the frames of NVE runs whose energy is kept."""
SHORT_PS = 10.0
"""Runs up to this length are stored every 10 fs."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The model under test."""

    named: Named
    force_field: ForceField | None
    given: GivenRuns | None = None
    """The motion, where it was made elsewhere."""

    @property
    def field(self) -> ForceField:
        """Its force field; NotAvailable where there is only motion that somebody made elsewhere."""
        if self.force_field is None:
            raise NotAvailable("no force field", f"{self.named.label} is motion made elsewhere")
        return self.force_field

    @cached_property
    def identity(self) -> str:
        return identity(self.field, self.named) if self.given is None else self.given.identity

    def engine_device(self, device: str) -> str:
        """Where its motion is computed: that of a calculator or a control stays on the processor, whatever the former runs on."""
        return "cpu" if self.named.kind in ("calculator", "control") else device

    def computes_on(self, device: str) -> str:
        """Where its energies and forces are computed: a calculator has chosen by itself."""
        return str(getattr(self.field, "computes_on", self.engine_device(device)))

    def trained_on(self, material: Material, reference: Reference) -> bool:
        """Whether the weights come from this reference: by its label, or by its frames whatever it is called."""
        story = self.field.provenance
        if story.get("material") != material.formula:
            return False
        return (
            story.get("reference") == reference.label or story.get("training_data") == frames(material, reference, "train").sha256
        )


def seed_for(master: int, *purpose: object) -> int:
    """The seed of one (model, material, temperature, replica, purpose), spawned from the master seed.

    >>> seed_for(0, "schnet", 1000.0, 0) == seed_for(0, "schnet", 1000.0, 0) != seed_for(0, "schnet", 1000.0, 1)
    True
    """
    words = [zlib.crc32(repr(item).encode()) for item in purpose]
    return int(np.random.SeedSequence(master, spawn_key=tuple(words)).generate_state(1)[0])


def protocols(preset: Preset, material: Material, reference: Reference) -> list[Protocol]:
    """How a preset moves a material: one protocol for each temperature, started as the reference was."""
    return [
        Protocol(
            temperature=temperature,
            length=1e3 * preset.length_ps,
            ramp=1e3 * preset.ramp_ps,
            timestep=material.timestep,
            interval=10.0 if preset.length_ps <= SHORT_PS else RDF_INTERVAL,
            start_temperature=reference.start_temperature,
            drop=reference.drop,
        )
        for temperature in preset.temperatures or material.temperatures
    ]


@dataclass(frozen=True, eq=False)
class Motion:
    """The replicas of one model in one material under one protocol, made already or not."""

    subject: Subject
    material: Material
    protocol: Protocol
    seeds: tuple[int, ...]
    start: np.ndarray | None = None
    """[R, n, 3] Å, where the replicas start; None: at the ideal structure."""

    @property
    def label(self) -> str:
        nve = " NVE" if self.protocol.ensemble == "nve" else ""
        return f"{self.subject.named.label} {self.material.short} {self.protocol.temperature:g} K{nve}"

    @cached_property
    def key(self) -> str:
        """Hash of everything that determines the motion."""
        return hash_of(
            self.subject.identity,
            self.material.formula,
            json.dumps(asdict(self.protocol), sort_keys=True),
            list(self.seeds),
            self.subject.field.precision,
            provenance.code_hash(*MOTION_CODE),
            *([] if self.start is None else [hashlib.sha256(np.ascontiguousarray(self.start).tobytes()).hexdigest()]),
            *([] if self.engine == "grannfield" else [self.engine, provenance.code_hash("lammps")]),
        )

    @cached_property
    def engine(self) -> str:
        """What moves the atoms, with its version where it is not the package itself."""
        if self.subject.named.engine != "lammps":
            return "grannfield"
        from grannfield.lammps.runs import engine_name

        return engine_name()

    def folder(self, store: Path) -> Path:
        """Where its runs are kept below a store."""
        return store / "md" / self.key

    def made(self, store: Path) -> bool:
        """Whether the store holds all of it."""
        return (self.folder(store) / "done.json").exists()

    def simulated(self, store: Path, device: str) -> list[MDRun]:
        """Its runs, from the store or made now; a run that was cut off goes on, on whatever device it was begun."""
        folder, start = self.folder(store), self.material.structure
        with locked(folder, wait=True):  # a second session waits for the first one's run instead of making it again
            if not (folder / "done.json").exists():
                about = self.subject.computes_on(device), self.subject.field.precision
                makers = sitting(folder / "partial", *about, "" if self.engine == "grannfield" else self.engine)
                pos = start.pos if self.start is None else self.start
                runs = self._mover(
                    self.subject.field, start.z, pos, start.cell, self.protocol, list(self.seeds),
                    device=self.subject.engine_device(device), folder=folder / "partial", label=self.label,
                )  # fmt: skip
                store_runs(folder, runs, makers)
            # Also a fresh run is read back: a number must not depend on whether it came from the store.
            return stored_runs(folder, self.protocol)

    @property
    def _mover(self) -> Callable[..., list[MDRun]]:
        if self.engine == "grannfield":
            return simulate
        from grannfield.lammps.runs import simulate as through_lammps

        return through_lammps

    def made_on(self, store: Path) -> list[dict[str, Any]]:
        """Hardware, versions and date of what made it, one entry for each kind of machine that moved it on."""
        found: list[dict[str, Any]] = read_done(self.folder(store))["made_on"]
        return found

    def pointers(self, store: Path) -> list[dict[str, Any]]:
        """Where each of its runs is kept, with what identifies it: what results say stands behind a number."""
        return run_pointers(self.folder(store), store, self.protocol)


def run_pointers(folder: Path, store: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """A pointer for each finished run of a folder below a store; its sha256 is empty where it failed before the first frame."""
    done, found = folder / "done.json", []
    for r, note in enumerate(read_done(folder)["runs"]):
        path = folder / f"run-{r}.h5"
        pointer: dict[str, Any] = {
            "kind": "nve" if protocol.ensemble == "nve" else "md",
            "path": path.relative_to(store).as_posix(),
        }
        pointer |= {"sha256": sha256_of_file(path) if path.is_file() else ""}
        pointer |= {"notes": done.relative_to(store).as_posix(), "notes_sha256": sha256_of_file(done)}
        pointer |= {"temperature_K": protocol.temperature, "replica": r, "seed": note["seed"], "protocol": protocol.settings}
        found.append(pointer)
    return found


def motions(subject: Subject, material: Material, reference: Reference, preset: Preset, seed: int) -> list[Motion]:
    """All that a preset runs of a model in a material, one for each temperature."""
    name, formula = subject.named.own_label, material.formula
    found = []
    for protocol in protocols(preset, material, reference):
        seeds = (seed_for(seed, name, formula, protocol.temperature, r, "md") for r in range(preset.replicas))
        found.append(Motion(subject, material, protocol, tuple(seeds)))
    return found


def constant_energy(subject: Subject, material: Material, reference: Reference, preset: Preset, seed: int) -> Motion:
    """The NVE runs of a model: from equilibrated frames of a reference at its lowest temperature, as hot as that."""
    temperature = min(reference.temperatures)
    production = material.trajectory(reference.run(temperature)).production(reference.drop)
    first = np.linspace(0, production.n_frames, preset.nve_runs, endpoint=False).astype(int)
    protocol = Protocol(
        temperature=temperature, length=1e3 * preset.nve_ps, ramp=0.0, timestep=material.timestep,
        interval=STEPS_PER_FRAME * material.timestep, drop=0.0, ensemble="nve",
    )  # fmt: skip
    name = subject.named.own_label
    seeds = tuple(seed_for(seed, name, material.formula, temperature, r, "nve") for r in range(preset.nve_runs))
    return Motion(subject, material, protocol, seeds, np.asarray(production.pos[first], dtype=float))


def sitting(folder: Path, device: str, precision: str, engine: str = "") -> list[dict[str, Any]]:
    """Note in the folder of an unfinished run who works on it from now on; all who have moved it, this one included."""
    path = folder / "sittings.json"
    kept = len(list(folder.glob("*.npz")))
    notes = _read(path, folder) if path.exists() else []
    notes = [note for note in notes if note["from"] < kept]  # who kept nothing has made nothing
    stamp = provenance.stamp(device, precision) | ({"engine": engine} if engine else {})
    notes.append({"from": kept, **stamp})
    write_atomically(path, json.dumps(notes, indent=1))
    return distinct([{key: value for key, value in note.items() if key != "from"} for note in notes])


def distinct(stamps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each kind: stamps that differ in more than their date."""
    found: dict[str, dict[str, Any]] = {}
    for stamp in stamps:
        found.setdefault(json.dumps({k: v for k, v in stamp.items() if k != "date"}, sort_keys=True), stamp)
    return list(found.values())


def store_runs(folder: Path, runs: list[MDRun], made_on: list[dict[str, Any]]) -> None:
    """Keep finished runs as run-<r>.h5 and done.json; only then is the partial state thrown away.

    Frames are kept without forces: no number is made from them, and the engine has looked for forces that are too large at every
    step. Positions are rounded to 2^-7 Å, of NVE runs to 2^-6 Å, which moves the distance of g(r) from the reference's by at most
    1.2e-3 (threshold 0.02) and log10 D by 3.1e-4 (`grannfield.data.store` says on what). Numbers are made from the runs as they
    are read back.
    """
    notes = []
    for r, run in enumerate(runs):
        if run.trajectory is not None:
            about = {"seed": run.seed, "target_temperature": run.protocol.temperature}
            bare = replace(run.trajectory, forces=None, labelled=None)
            rounding = CONSTANT_ENERGY if run.protocol.ensemble == "nve" else MOTION
            write_trajectory(folder / f"run-{r}.h5", bare, about, compactly=rounding)
        note = {"seed": run.seed, "failure": asdict(run.failure) if run.failure else None, "seconds": run.seconds}
        note |= {"drift": run.drift}
        note["internal_temperature"] = run.internal_temperature if np.isfinite(run.internal_temperature) else None
        notes.append(note)
    write_atomically(folder / "done.json", json.dumps({"made_on": made_on, "runs": notes}, indent=1))
    shutil.rmtree(folder / "partial", ignore_errors=True)


def stored_runs(folder: Path, protocol: Protocol) -> list[MDRun]:
    """Runs kept by `store_runs`."""
    runs = []
    for r, note in enumerate(read_done(folder)["runs"]):
        path = folder / f"run-{r}.h5"
        trajectory = read_trajectory(path) if path.exists() else None
        if trajectory is not None and read_attributes(path).get("seed") != note["seed"]:
            raise ValueError(f"{path} does not belong to {folder / 'done.json'}; delete {folder}")
        failure = None if note["failure"] is None else EngineFailure(**note["failure"])
        internal = float("nan") if note["internal_temperature"] is None else note["internal_temperature"]
        runs.append(MDRun(protocol, note["seed"], trajectory, failure, note["seconds"], note["drift"], internal))
    return runs


def read_done(folder: Path) -> dict[str, Any]:
    """What stands beside finished runs: who made them, and how each ended; ValueError, naming the file, when it is damaged."""
    found = _read(folder / "done.json", folder)
    if not (isinstance(found, dict) and {"made_on", "runs"} <= set(found)):
        raise ValueError(f"{folder / 'done.json'} does not describe runs; delete {folder} to make them again")
    return found


def _read(path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{path} cannot be read ({problem}); delete {folder} to make the runs again") from problem


def hash_of(*items: object) -> str:
    """First 24 hex digits of the SHA-256 of several things' texts."""
    return hashlib.sha256("\n".join(map(str, items)).encode()).hexdigest()[:24]
