"""Runs, predictions and samples behind the results of one model, as they are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from grannfield.analysis.fusion import Failure
from grannfield.data.material import load_material, reference_at
from grannfield.data.store import read_trajectory
from grannfield.evidence.files import Altered, NotKept, checked, located
from grannfield.evidence.subject import described_subject
from grannfield.harness import Predictions, ReferenceData, judged, predictions_in, unseen_frames
from grannfield.md.simulate import EngineFailure, MDRun, Protocol
from grannfield.motion import Subject, read_done
from grannfield.presets import PRESETS, Preset
from grannfield.report.results import Results
from grannfield.runs import ScoredRun
from grannfield.trajectory import Trajectory

PER_MODEL = "evidence"
"""Folder below the reports with one folder for each model, which is tracked."""


@dataclass(frozen=True, eq=False)
class KeptRun:
    """One MD run behind a model's numbers."""

    pointer: Mapping[str, Any]
    """What the results say of it."""
    folders: tuple[Path, ...]
    """Where its files are looked for, the shipped ones first."""
    data: ReferenceData

    @property
    def temperature(self) -> float:
        """K."""
        return float(self.pointer["temperature_K"])

    @property
    def replica(self) -> int:
        return int(self.pointer["replica"])

    @property
    def seed(self) -> int:
        return int(self.pointer["seed"])

    @property
    def protocol(self) -> dict[str, Any]:
        """How it was made: see `grannfield.md.simulate.Protocol`."""
        return dict(self.pointer["protocol"])

    @property
    def drop(self) -> float:
        """Share of the planned length that is equilibration."""
        return float(self.protocol["drop"])

    @property
    def sha256(self) -> str:
        """Of the file; empty for a run that failed before its first frame."""
        return str(self.pointer["sha256"])

    @property
    def path(self) -> Path:
        """Its file on this machine; NotKept where there is none."""
        return located(self.folders, str(self.pointer["path"]))

    @cached_property
    def note(self) -> dict[str, Any]:
        """What the engine says of it, and what made it; Altered where that is not what the results point to."""
        path = checked(located(self.folders, str(self.pointer["notes"])), str(self.pointer["notes_sha256"]))
        found = read_done(path.parent)
        number = int(Path(str(self.pointer["path"])).stem.partition("-")[2])
        return {"made_on": found["made_on"], **found["runs"][number]}

    @cached_property
    def _whole(self) -> Trajectory | None:
        return read_trajectory(checked(self.path, self.sha256)) if self.sha256 else None

    def trajectory(self) -> Trajectory | None:
        """The whole run; None where it failed before its first frame. NotKept or Altered, naming the file."""
        return self._whole

    @cached_property
    def _scored(self) -> ScoredRun:
        note = self.note
        failure = None if note["failure"] is None else EngineFailure(**note["failure"])
        internal = float("nan") if note["internal_temperature"] is None else note["internal_temperature"]
        run = MDRun(Protocol(**self.protocol), note["seed"], self._whole, failure, note["seconds"], note["drift"], internal)
        return judged(run, self.temperature, self.data, note["made_on"], dict(self.pointer))

    def scored(self) -> ScoredRun:
        """The run with its first failure, as the benchmarks see it."""
        return self._scored

    @property
    def failure(self) -> Failure | EngineFailure | None:
        """When and how it failed first."""
        return self._scored.failure


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that stands behind one model's results; nothing is read until it is asked for."""

    results: Results
    reports: Path
    memory: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def kept_in(self) -> Path:
        """The model's own folder, which is tracked."""
        return self.reports / PER_MODEL / self.results.path(self.reports).stem

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where files are looked for: what is shipped, then what was made here."""
        return (self.kept_in, self.reports / "store")

    @cached_property
    def pointers(self) -> dict[str, list[dict[str, Any]]]:
        """By formula, each thing once that any score of the model points to."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for (_, formula), score in sorted(self.results.scores.items()):
            for pointer in score.provenance.get("evidence", ()):
                found.setdefault(formula, {}).setdefault(json.dumps(pointer, sort_keys=True), pointer)
        return {formula: list(pointers.values()) for formula, pointers in found.items()}

    @property
    def materials(self) -> list[str]:
        """Formulas with anything behind them."""
        return sorted(self.pointers)

    @property
    def preset(self) -> Preset:
        """How much was run; NotKept where the preset of that name is another one today."""
        protocol = self.results.protocol
        found = PRESETS.get(str(protocol.get("preset")))
        if found is None or found.described != protocol.get("described"):
            raise NotKept(
                f"{self.results.label} was scored with the preset {protocol.get('preset')!r}: {protocol.get('described')}; "
                f"today there is {'none of that name' if found is None else found.described}: score the model again"
            )
        return found

    @cached_property
    def subject(self) -> Subject:
        """The model as its results describe it."""
        return described_subject(self.results)

    def of_kind(self, formula: str, kind: str) -> list[dict[str, Any]]:
        """Pointers of one kind: md, nve, given, predictions, curl, speed."""
        return [one for one in self.pointers.get(formula, ()) if one["kind"] == kind]

    def runs(self, formula: str, kind: Literal["md", "nve"] = "md") -> list[KeptRun]:
        """The MD runs in a material, by temperature and replica; NotKept where a file of them is not on this machine."""
        if given := self.of_kind(formula, "given") if kind == "md" else []:
            names = ", ".join(sorted({name for one in given for name in one["files"]}))
            raise NotKept(
                f"the runs of {self.results.label} in {formula} were made elsewhere ({names}): score them again from there"
            )
        key = "runs", formula, kind
        if key not in self.memory:
            runs = [KeptRun(one, self.folders, self.reference(formula)) for one in self.of_kind(formula, kind)]
            self.memory[key] = sorted(runs, key=lambda run: (run.temperature, run.replica))
        found: list[KeptRun] = self.memory[key]
        for run in found:
            located(self.folders, str(run.pointer["notes"]))
            if run.sha256:
                located(self.folders, str(run.pointer["path"]))
        return found

    def predictions(self, formula: str, column: Literal["windows", "random"]) -> Predictions | None:
        """Energies and forces on the test frames of a split column; None where no number came from them."""
        found = [one for one in self.of_kind(formula, "predictions") if one["column"] == column]
        if not found:
            return None
        key = "predictions", formula, column
        if key not in self.memory:
            self.memory[key] = self._predictions(formula, column, found[0])
        kept: Predictions = self.memory[key]
        return kept

    def _predictions(self, formula: str, column: Literal["windows", "random"], pointer: dict[str, Any]) -> Predictions:
        data = self.reference(formula)
        chosen, described = unseen_frames(self.subject, data, column, self.preset.test_frames, self.results.protocol["seed"])
        path = checked(located(self.folders, pointer["path"]), pointer["sha256"])
        if chosen.sha256 != pointer["frames_sha256"]:
            raise NotKept(f"{path} is of other frames than the {len(chosen)} that are chosen today: score the model again")
        found = predictions_in(path, data, chosen, described, pointer)
        if found.forces.shape != chosen.forces.shape:
            raise Altered(f"{path} holds forces {list(found.forces.shape)} of frames {list(chosen.forces.shape)}")
        return found

    def curl_file(self, formula: str) -> tuple[Path, dict[str, Any]]:
        """The file with products of the model's Jacobian, and its pointer; NotKept where there is none."""
        for pointer in self.of_kind(formula, "curl"):
            return checked(located(self.folders, pointer["path"]), pointer["sha256"]), pointer
        raise NotKept(f"no samples of the Jacobian of {self.results.label} in {formula} were kept")

    def reference(self, formula: str) -> ReferenceData:
        """The reference that the scores of a material were made against; NotKept where it is not the one on this machine."""
        stamps = [s.provenance for (_, where), s in sorted(self.results.scores.items()) if where == formula]
        hashes: dict[str, str] = next((stamp["reference_runs"] for stamp in stamps if stamp.get("reference_runs")), {})
        data = reference_data(formula, str(self.results.protocol.get("reference") or ""))
        found = {run.path.name: run.sha256 for run in data.reference.runs}
        if hashes and found != hashes:
            raise NotKept(
                f"{self.results.label} on {formula} was scored against {', '.join(sorted(hashes))}; the reference here "
                f"({data.reference.label}) has other files or sums: {', '.join(sorted(found))}; score the model again"
            )
        return data

    def speed(self) -> dict[str, Any]:
        """Raw samples of the speed measurements, by metric: seconds of each round and what they were measured under."""
        found = {}
        for (metric, _), score in sorted(self.results.scores.items()):
            if score.parts.get("rounds_s"):
                made_on = score.provenance.get("speed_made_on", [])
                found[metric] = {k: v for k, v in score.parts.items() if k != "ms_per_step"} | {"made_on": made_on}
        return found


def evidence_of(results: Results, reports: Path) -> Evidence:
    """What stands behind a model's results under a reports folder; nothing is read until it is asked for."""
    return Evidence(results, Path(reports))


@lru_cache(maxsize=32)
def reference_data(formula: str, name: str) -> ReferenceData:
    """The reference of a name (a path, or empty for the first) and its analyses, shared by all models of a process."""
    material = load_material(formula)
    reference = reference_at(name, material) if name and Path(name).exists() else material.reference(name)
    return ReferenceData(material, reference)
