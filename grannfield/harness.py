"""What the benchmarks share: presets, the expensive work done once and kept, and numbers turned into scores.

Predictions, like MD runs (`grannfield.motion`), are stored under a hash of everything that determines them, so that
analysing again never makes them again; the machine that made them is not in it and stands beside them.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from grannfield import provenance
from grannfield.analysis.errors import EnergyErrors, ForceErrors, TimeBlock, energy_errors, force_errors
from grannfield.analysis.fusion import Failure, first_failure
from grannfield.analysis.jumps import Jumps, find_jumps
from grannfield.analysis.paths import IonDensity, ion_density, mobile_fractional
from grannfield.analysis.rdf import RadialDistribution, radial_distribution
from grannfield.analysis.sites import Sites, find_sites
from grannfield.analysis.thresholds import Thresholds, reference_thresholds
from grannfield.data.checksum import sha256_of_file
from grannfield.data.dataset import FrameSet, frames, gather, spread_indices
from grannfield.data.material import Material
from grannfield.data.predicted import read_predictions, write_predictions
from grannfield.data.reference import Reference
from grannfield.data.symmetry import space_group_operations
from grannfield.files import locked, write_atomically
from grannfield.forcefield import ForceField
from grannfield.given import GivenRuns
from grannfield.graphset import GraphSet
from grannfield.md.simulate import SECONDS_PER_FILE, EngineFailure, MDRun
from grannfield.memory import keep_freed_memory
from grannfield.motion import RDF_INTERVAL, Subject, hash_of, motions
from grannfield.precision import labelled
from grannfield.presets import Preset
from grannfield.progress import progress
from grannfield.report.kinship import by_name
from grannfield.runs import ScoredRun
from grannfield.score import NotAvailable
from grannfield.trajectory import Trajectory
from grannfield.units import number

T = TypeVar("T")
PREDICTION_CODE = ("models", "nn", "forcefield.py", "precision.py", "graph.py", "graphset.py", "neighbors.py", "all_pairs.py")
"""Files and folders of the package on which a prediction depends."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Energies and forces of a model on test frames, beside the reference's."""

    frames: FrameSet
    energy: np.ndarray
    """[M] eV."""
    forces: np.ndarray
    """[M, N, 3] eV/Å."""
    held_out: str
    """Which frames these are, in words."""
    made_on: dict[str, Any] = field(default_factory=dict)
    """Hardware, versions and date of the evaluation."""
    temperatures: tuple[float, ...] = ()
    """K, of the runs that the frames come from; empty for unordered frames, which have none and hang together in no way."""
    pointer: dict[str, Any] = field(default_factory=dict)
    """Where they are kept: file below the store, SHA-256, and that of the frames."""

    @property
    def origin(self) -> np.ndarray | None:
        """[M, 2] run and frame, where frames follow each other in time."""
        return self.frames.origin if self.temperatures else None

    @cached_property
    def force_errors(self) -> ForceErrors:
        return force_errors(self.forces, self.frames.forces, self.frames.z, origin=self.origin)

    @cached_property
    def energy_errors(self) -> EnergyErrors:
        return energy_errors(self.energy, self.frames.energy, len(self.frames.z), origin=self.origin)

    def by_run(self, blocks: Sequence[TimeBlock], factor: float = 1.0) -> list[dict[str, Any]]:
        """Numbers of stretches of time for a score's parts: the same frames for every model, so that two can be compared."""
        found: list[dict[str, Any]] = []
        for one in blocks:
            temperature = self.temperatures[one.run] if self.temperatures else None
            replica = sum(other["temperature_K"] == temperature for other in found)
            value = None if one.value.reason else one.value.value * factor
            row = {"temperature_K": temperature, "replica": replica, "value": value, "interval": None, "reason": one.value.reason}
            found.append(row | {"frames": one.value.n})
        return found


class Once:
    """A memory of expensive results within a session; failures are remembered too, and raised again."""

    def __init__(self) -> None:
        self.kept: dict[Any, tuple[bool, Any]] = {}

    def __call__(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self.kept:
            try:
                self.kept[key] = True, make()
            except Exception as problem:
                self.kept[key] = False, problem
        good, value = self.kept[key]
        if not good:
            raise value
        result: T = value
        return result


@dataclass(frozen=True, eq=False)
class ReferenceData:
    """What a reference says about a material, each analysed once."""

    material: Material
    reference: Reference
    once: Once = field(default_factory=Once)

    def trajectory(self, temperature: float) -> Trajectory:
        """The whole stored run at a temperature; NotAvailable where the reference has none, or only unordered frames."""
        self.require_motion()
        if missing := self.reference.absence(temperature):
            raise NotAvailable("no reference", missing)
        return self.once(("run", temperature), lambda: self.material.trajectory(self.reference.run(temperature)))

    def require_motion(self) -> None:
        """NotAvailable for a reference of unordered frames: forces can be compared with it, motion cannot."""
        if not any(run.kind == "time" for run in self.reference.runs):
            raise NotAvailable("no reference", f"{self.reference.name!r} holds unordered frames: forces and energies, no motion")

    def production(self, temperature: float) -> Trajectory:
        """Its production frames."""
        return self.trajectory(temperature).production(self.reference.drop)

    def distribution(self, temperature: float) -> RadialDistribution:
        return self.once(("rdf", temperature), lambda: radial_distribution(self.production(temperature).every(RDF_INTERVAL)))

    def thresholds(self, temperature: float) -> Thresholds:
        """Failure thresholds from the run at the temperature, or at the nearest one there is."""
        nearest = min(self.reference.temperatures, key=lambda t: abs(t - temperature))
        return self.once(("thresholds", nearest), lambda: self._thresholds(nearest))

    def _thresholds(self, temperature: float) -> Thresholds:
        centres, ligand = self.material.tetrahedra or ((), "S")
        return reference_thresholds(self.production(temperature), number(self.material.mobile_ion), centres, ligand)

    def density(self, trajectory: Trajectory) -> IonDensity:
        """The mobile ions' density of any run of the material, on the grid shared by all of them."""
        group = self.once("symmetry", lambda: space_group_operations(self.material))
        ideal = self.material.structure
        centres = self.material.tetrahedra[0] if self.material.tetrahedra else ()
        return ion_density(
            trajectory,
            number(self.material.mobile_ion),
            ideal.pos,
            ideal.cell,
            group.rotations,
            group.translations,
            centres=centres,
        )

    def reference_density(self, temperature: float) -> IonDensity:
        return self.once(("density", temperature), lambda: self.density(self.production(temperature).every(RDF_INTERVAL)))

    @property
    def sites(self) -> Sites:
        """The mobile ions' sites, from the density of all reference runs together."""
        return self.once("sites", self._sites)

    def _sites(self) -> Sites:
        self.require_motion()
        found = [self.reference_density(t) for t in self.reference.temperatures]
        group, density = self.once("symmetry", lambda: space_group_operations(self.material)), found[0]
        mean = np.mean([one.probability() for one in found], axis=0)
        grids = (mean.reshape(density.shape), density.smoothed(mean).reshape(density.shape))
        return find_sites(*grids, density.cell, group.rotations, group.translations, density.n_ions)

    def jumps(self, trajectory: Trajectory) -> Jumps:
        """Moves of the mobile ions between the reference's sites in any run of the material."""
        centres = self.material.tetrahedra[0] if self.material.tetrahedra else ()
        moved = mobile_fractional(trajectory, number(self.material.mobile_ion), self.material.structure.pos, centres)
        return find_jumps(moved, self.sites, trajectory.timestep)

    def reference_jumps(self, temperature: float) -> Jumps:
        return self.once(("jumps", temperature), lambda: self.jumps(self.production(temperature).every(RDF_INTERVAL)))


class Kept(Protocol):
    """What was made in an earlier session, in place of a store that makes what it lacks (see `grannfield.evidence`)."""

    def predictions(self, subject: Subject, data: ReferenceData, column: Literal["windows", "random"]) -> Predictions: ...

    def runs(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]: ...

    def constant_energy(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]: ...

    def curl_file(self, subject: Subject, data: ReferenceData) -> tuple[Path, dict[str, Any]]: ...

    def speed(self, subject: Subject, metric: str) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Bench:
    """Settings of one session and the store of expensive results."""

    preset: Preset
    seed: int
    device: str
    store: Path
    once: Once = field(default_factory=Once)
    kept: Kept | None = None
    """Evidence of an earlier session, from which numbers are made again; nothing else is read, and nothing is made."""

    def predictions(self, subject: Subject, data: ReferenceData, column: Literal["windows", "random"]) -> Predictions:
        """Energies and forces on the test frames of one split column."""
        return self.once(
            (subject.identity, data.material.formula, data.reference.name, column),
            lambda: self._predictions(subject, data, column),
        )

    def prediction_file(
        self, subject: Subject, data: ReferenceData, column: Literal["windows", "random"]
    ) -> tuple[Path, FrameSet, str]:
        """Where predictions on the test frames of a split column are kept, these frames, and what they are."""
        chosen, described = unseen_frames(subject, data, column, self.preset.test_frames, self.seed)
        subject.field.require_elements(chosen.z)
        precision = labelled(subject.field.precision, subject.computes_on(self.device))  # TF32 rounded by hand is not a GPU's
        key = hash_of(subject.identity, chosen.sha256, precision, provenance.code_hash(*PREDICTION_CODE))
        return self.store / "predictions" / f"{key}.npz", chosen, described

    def _predictions(self, subject: Subject, data: ReferenceData, column: Literal["windows", "random"]) -> Predictions:
        if self.kept is not None:
            return self.kept.predictions(subject, data, column)
        path, chosen, described = self.prediction_file(subject, data, column)
        with locked(path.with_suffix(""), wait=True):  # a second session waits for the first one's work
            if not path.exists():
                partial = path.with_suffix("") / "partial.npz"
                made_on = provenance.stamp(subject.computes_on(self.device), subject.field.precision)
                device = subject.engine_device(self.device)
                energy, forces = predict(subject.field, chosen, device, kept=partial, by=made_on["hardware"])
                write_predictions(path, energy, forces, made_on, chosen.forces)
                partial.unlink(missing_ok=True)
        pointer = {"kind": "predictions", "column": column, "path": path.relative_to(self.store).as_posix()}
        pointer |= {"sha256": sha256_of_file(path), "frames_sha256": chosen.sha256}
        return predictions_in(path, data, chosen, described, pointer)

    def runs(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]:
        """All MD runs of the preset for a model and a material, with their failures."""
        return self.once((subject.identity, data.material.formula, "runs"), lambda: self._runs(subject, data))

    def _runs(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]:
        data.require_motion()  # without it nothing could be said of a run
        if self.kept is not None:
            return self.kept.runs(subject, data)
        if subject.given is not None:
            return self._given(subject.given, data)
        scored = []
        for motion in motions(subject, data.material, data.reference, self.preset, self.seed):
            found = motion.simulated(self.store, self.device)
            for run, pointer in zip(found, motion.pointers(self.store), strict=True):
                scored.append(judged(run, motion.protocol.temperature, data, motion.made_on(self.store), pointer))
        return scored

    def _given(self, given: GivenRuns, data: ReferenceData) -> list[ScoredRun]:
        """Runs made elsewhere, judged as if they were made here."""
        found = given.read(data.material)
        if not found:
            raise NotAvailable("no runs", f"{given.path} has none of {data.material.short}")
        runs = [(one, one.run(data.reference.drop, data.material.timestep)) for one in found]
        scored = []
        for one, run in runs:
            pointer = {"kind": "given", "temperature_K": one.stated.temperature, "files": one.sha256}
            scored.append(judged(run, one.stated.temperature, data, [one.made_on], pointer))
        return scored


def predictions_in(path: Path, data: ReferenceData, chosen: FrameSet, described: str, pointer: dict[str, Any]) -> Predictions:
    """The predictions of a file on the frames they were made for; also of fresh ones, numbers are made from what is read back."""
    energy, forces, made_on = read_predictions(path, chosen.forces)
    ordered = all(run.kind == "time" for run in data.reference.runs)
    temperatures = tuple(run.temperature for run in data.reference.runs) if ordered else ()
    return Predictions(chosen, energy, forces, described, made_on, temperatures, pointer)


def unseen_frames(
    subject: Subject, data: ReferenceData, column: Literal["windows", "random"], limit: int, seed: int
) -> tuple[FrameSet, str]:
    """The frames a model is tested on, and what they are: held out of training, or any of a material it has not seen."""
    kinds = {run.kind for run in data.reference.runs}
    if subject.trained_on(data.material, data.reference):
        if column == "windows" and "time" not in kinds:
            raise NotAvailable("no windows", f"the frames of {data.reference.name!r} have no order in time")
        kind = "held-out time windows" if column == "windows" else "random frames between training frames"
        return frames(data.material, data.reference, "test", column, limit), kind
    whole = "production frames" if "time" in kinds else "unordered frames"
    found = [data.material.trajectory(run) for run in data.reference.runs]
    runs = [run.production(data.reference.drop) if run.kind == "time" else run for run in found]
    labelled = [np.flatnonzero(np.asarray(run.labelled)) for run in runs]
    everything = gather(runs, labelled)
    if len(everything) > limit:
        everything = everything[spread_indices(len(everything), limit, seed)]
    trained = subject.field.provenance.get("material")
    if trained is None:
        known = by_name(getattr(subject.field, "known_as", ""))
        story = "what the model was trained on is not known" if known is None else f"trained on {', '.join(known.training)}"
        return everything, f"{whole}; {story}"
    other = "another reference of the material trained on" if trained == data.material.formula else "a material not trained on"
    return everything, f"{whole}; {other}"


def predict(
    field: ForceField, chosen: FrameSet, device: str, batch: int = 8, *, kept: Path | None = None, by: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Energies [M] eV and forces [M,N,3] eV/Å of frames; FloatingPointError naming the first frame with NaN or infinity.

    With a file `kept`, work that is cut off goes on from there, on the same hardware `by`.
    """
    keep_freed_memory()
    field = field.to(device).eval()
    graphs = GraphSet.build(chosen.z, chosen.pos, chosen.cell, field.cutoff)
    energy, forces = _cut_off(kept, by)
    done, written = sum(map(len, energy)), time.monotonic()
    with progress(len(graphs), "forces", "frames") as bar:
        bar.update(done)
        try:
            for start in range(done, len(graphs), batch):
                prediction = field.predict(graphs.batch(slice(start, start + batch)).to(device))
                one = prediction.energy.double().cpu().numpy()
                each = prediction.forces.double().cpu().numpy().reshape(-1, len(chosen.z), 3)
                for f in range(len(one)):
                    if not (np.isfinite(one[f]) and np.isfinite(each[f]).all()):
                        run, frame = chosen.origin[start + f]
                        raise FloatingPointError(f"{field.name} gives NaN or infinity on reference frame {frame} of run {run}")
                energy.append(one)
                forces.append(each)
                bar.update(len(one))
                if time.monotonic() > written + SECONDS_PER_FILE:
                    _keep_cut_off(kept, by, energy, forces)
                    written = time.monotonic()
        except KeyboardInterrupt:
            _keep_cut_off(kept, by, energy, forces)
            raise
    return np.concatenate(energy), np.concatenate(forces)


def _cut_off(kept: Path | None, by: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What an earlier call has left of its work, in whole batches; nothing where another machine made it."""
    if kept is None or not kept.exists():
        return [], []
    try:
        with np.load(kept, allow_pickle=False) as file:
            return ([file["energy"]], [file["forces"]]) if str(file["by"]) == by else ([], [])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return [], []


def _keep_cut_off(kept: Path | None, by: str, energy: list[np.ndarray], forces: list[np.ndarray]) -> None:
    done = min(len(energy), len(forces))  # an interrupt may fall between the two
    if kept is None or not done:
        return
    buffer = io.BytesIO()
    np.savez(buffer, energy=np.concatenate(energy[:done]), forces=np.concatenate(forces[:done]), by=np.array(by))
    write_atomically(kept, buffer.getvalue())


def judged(
    run: MDRun,
    temperature: float,
    data: ReferenceData,
    made_on: Sequence[dict[str, Any]] = (),
    pointer: dict[str, Any] | None = None,
) -> ScoredRun:
    """A run with its first failure: the engine's own, or the earliest its frames show."""
    failure: Failure | EngineFailure | None = run.failure
    if run.trajectory is not None and run.trajectory.n_frames > 1:
        limits = data.thresholds(temperature)
        seen = first_failure(run.trajectory, limits, temperature, number(data.material.mobile_ion))
        if seen is not None and (failure is None or seen.time <= failure.time):
            failure = seen
    found = ScoredRun(run, temperature, failure, tuple(made_on))
    return replace(found, pointer=(pointer or {}) | {"ended": found.ending})
