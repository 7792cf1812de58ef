"""What one benchmark session shares: models, materials, settings, and the results it fills."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.analysis.uncertainty import Estimate
from grannfield.controls import parsed
from grannfield.controls.reference import ControlRuns
from grannfield.data.material import Material, reference_at
from grannfield.data.reference import Reference
from grannfield.files import locked
from grannfield.forcefield import is_reduced, to_precision
from grannfield.given import GivenRuns
from grannfield.given.controlled import control_motion
from grannfield.harness import Bench, Once, ReferenceData, Subject
from grannfield.plugin import SHIPPED, Named, open_model
from grannfield.precision import labelled
from grannfield.report.columns import COLUMNS
from grannfield.report.kinship import kinship
from grannfield.report.results import Results, continued, set_aside
from grannfield.score import Score


@dataclass
class Session:
    """Everything one benchmark session shares."""

    reports: Path
    bench: Bench
    models: list[Named]
    materials: list[Material]
    reference: str
    split: Any
    gate: bool
    protocol: dict[str, Any]
    precision: str = ""
    """Of the networks, where one was asked for; else that of their weights."""
    given: dict[str, GivenRuns] = field(default_factory=dict)
    """Motion made elsewhere, by label."""
    once: Once = field(default_factory=Once)
    results: dict[str, Results] = field(default_factory=dict)
    touched: bool = False
    unwritten: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """(metric, material) of numbers of the reference that go into a model's file with its next score."""
    undecided: list[str] = field(default_factory=list)
    """Cells that pass the gate although the test could not decide."""

    def subject(self, named: Named) -> Subject:
        key = "model", named.label, named.spec
        if named.kind == "trajectories":
            return self.once(key, lambda: Subject(named, None, self.given[named.label]))
        if named.kind == "control" and named.motion_only:
            motion = control_motion(parsed(named.spec), lambda material: self.control_runs(named, material))
            return self.once(key, lambda: Subject(named, None, motion))
        return self.once(key, lambda: Subject(named, to_precision(open_model(named), self.precision or None)))

    def data(self, material: Material, named: Named | None = None) -> ReferenceData:
        """The reference a model is scored against: that of the session, and for a control its own."""
        if named is not None and named.kind == "control":
            runs = self.control_runs(named, material)
            key = "control reference", material.formula, runs.kind
            return self.once(key, lambda: ReferenceData(material, runs.reference()))
        return self.once(("reference", material.formula), lambda: ReferenceData(material, self._reference(material)))

    def control_runs(self, named: Named, material: Material) -> ControlRuns:
        """What a control is held against in a material."""
        preset = self.bench.preset
        temperatures = preset.temperatures or material.temperatures
        length = 1e3 * preset.length_ps
        return ControlRuns.of(parsed(named.spec), material, temperatures, length, self.bench.seed, self.bench.store)

    def _reference(self, material: Material) -> Reference:
        if self.reference and Path(self.reference).exists():
            return reference_at(self.reference, material)
        return material.reference(self.reference)

    def origin(self, named: Named, material: Material | None) -> dict[str, Any]:
        """What stands behind one number: reference, weights, hardware, versions, date."""
        behind: dict[str, Any] = provenance.stamp(self.bench.device)
        behind |= {"engine": self.protocol["engine"]} if "engine" in self.protocol else {}
        if material is not None:
            with suppress(LookupError, ValueError, OSError):  # a reference that cannot be read: the test reports that
                reference = self.data(material, named).reference
                behind |= {"reference": reference.label, "reference_runs": {run.path.name: run.sha256 for run in reference.runs}}
                behind["kinship"] = kinship(self.results_of(named).model, reference.label, material.formula)
        behind["weights"] = self.results_of(named).model.get("identity", "")
        behind["precision"] = self.results_of(named).model.get("precision", "")
        return behind

    def results_of(self, named: Named) -> Results:
        """The results file a model's scores go to, with what is known of the model."""
        if named.label not in self.results:
            protocol = self.protocol
            about: dict[str, Any] = {"spec": named.spec, "kind": named.kind, "kin": list(named.kin)}
            if named.kind == "control":
                about["about"] = parsed(named.spec).about
            try:
                subject = self.subject(named)
            except Exception as problem:  # whatever a user's file raises; each of its tests reports it
                about["not_loaded"] = repr(problem)
            else:
                if subject.given is not None:
                    made = Results(named.label, about | subject.given.about, protocol | subject.given.protocol)
                    return self.results.setdefault(named.label, continued(self.reports, made))
                model, device = subject.field, subject.computes_on(self.bench.device)
                if device != self.bench.device:
                    protocol = protocol | {"device": device, "hardware": provenance.hardware(device)}
                about |= {
                    "name": model.name,
                    "identity": subject.identity,
                    "n_parameters": model.n_parameters,
                    "symmetry": model.symmetry,
                    "reduced": is_reduced(model),
                    "precision": labelled(model.precision, device),
                }
                about |= {"conservative": model.conservative, "settings": model.settings, "provenance": model.provenance}
                about["potential"] = getattr(model, "known_as", "")
                about["elements"] = None if model.elements is None else [int(z) for z in model.elements]
                about["shipped"] = named.path is not None and named.path.parent == SHIPPED
            self.results[named.label] = continued(self.reports, Results(named.label, about, protocol))
        return self.results[named.label]

    def keep(self, named: Named, score: Score) -> None:
        """Store a score at once: what is done survives a kill."""
        results = self.results_of(named)
        results.add(score)
        with locked(self.bench.store / "results" / results.path(Path()).stem, wait=True):
            self._take_over(results, (score.metric, score.material))
            results.write(self.reports)
        self.touched = True

    def keep_reference(self, named: Named, score: Score) -> None:
        """A number of the reference, stored with the next score of the model."""
        self.results_of(named).add_reference(score)
        self.unwritten.setdefault(named.label, set()).add((score.metric, score.material))

    def _take_over(self, results: Results, new: tuple[str, str]) -> None:
        """What other processes have written to the same file since, but for what is about to be written."""
        empty = Results(results.label, results.model, results.protocol)
        stored = continued(self.reports, empty)
        if stored is empty:
            set_aside(self.reports, results)
        own = self.unwritten.pop(results.label, set())
        results.scores |= {key: one for key, one in stored.scores.items() if key != new}
        results.reference |= {key: one for key, one in stored.reference.items() if key not in own}


def to_score(
    metric: str,
    model: str,
    material: str,
    e: Estimate,
    factor: float,
    verdict: str,
    parts: dict[str, Any],
    origin: dict[str, Any],
) -> Score:
    """An estimate as a cell of the board, times `factor` to reach the column's unit."""
    column = COLUMNS[metric]
    low, high = e.interval[0] * factor, e.interval[1] * factor
    bounded = math.isfinite(low) or math.isfinite(high)
    return Score(
        metric=metric,
        model=model,
        material=material,
        value=e.value * factor,
        unit=column.unit,
        better=column.better,
        n=e.n,
        interval=(low, high) if bounded else None,
        reason=e.reason,
        detail=e.detail,
        verdict=verdict,
        note=e.note,
        parts=parts,
        provenance=origin,
    )
