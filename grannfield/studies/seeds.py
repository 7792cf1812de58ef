"""Seeds: how much of the scatter comes from the seed of the training, how much from that of the MD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from grannfield.analysis.diffusion import diffusion
from grannfield.analysis.equivalence import logarithm
from grannfield.analysis.rdf import distance_from_reference, radial_distribution
from grannfield.analysis.uncertainty import Estimate, clopper_pearson
from grannfield.data.material import Material, load_material
from grannfield.harness import Bench, ReferenceData
from grannfield.motion import RDF_INTERVAL, motions
from grannfield.presets import PRESETS, Preset
from grannfield.runs import ScoredRun
from grannfield.score import NotAvailable
from grannfield.studies import variance
from grannfield.studies.pieces import Piece
from grannfield.studies.training import Training, on_material
from grannfield.units import number

WINDOWS: Literal["windows"] = "windows"
SECONDS_PER_PS = 15.0
"""About what one replica of a small model takes on one core."""
QUANTITIES = {"rdf_mae": "g(r) MAE", "log10_D": "log10(D/(cm²/s))"}


@dataclass(frozen=True, eq=False)
class Seeds:
    """k trainings of each model that differ in their seed alone, m runs of MD with each."""

    models: tuple[str, ...]
    formula: str
    minutes: float
    """Of device time, for each training."""
    trainings_each: int
    runs_each: int
    length_ps: float
    seed: int
    device: str
    state: Path
    preset_name: str = "tiny"
    name: str = "seeds"

    @property
    def preset(self) -> Preset:
        return replace(PRESETS[self.preset_name], length_ps=self.length_ps, replicas=self.runs_each)

    @cached_property
    def material(self) -> Material:
        return load_material(self.formula)

    @cached_property
    def data(self) -> ReferenceData:
        return ReferenceData(self.material, self.material.reference())

    @cached_property
    def bench(self) -> Bench:
        return Bench(self.preset, self.seed, self.device, self.state)

    @cached_property
    def trainings(self) -> dict[str, list[Training]]:
        """By model, one for each seed; the split of the frames is the same for all."""
        about = self.material, self.material.reference(), self.minutes
        return {
            model: [
                on_material(model, f"{model}:{self.material.short}:seed{s}", *about, s, self.device, self.state)
                for s in range(self.seed, self.seed + self.trainings_each)
            ]
            for model in self.models
        }

    def pieces(self) -> list[Piece]:
        found = []
        for training in (one for some in self.trainings.values() for one in some):
            found += [training.piece, self._forces(training), self._motion(training)]
        return found

    def _forces(self, training: Training) -> Piece:
        def do() -> None:
            self.bench.predictions(training.subject, self.data, WINDOWS)

        def done() -> bool:
            return training.done and self.bench.prediction_file(training.subject, self.data, WINDOWS)[0].exists()

        return Piece(f"forces:{training.label}", 30.0, done, do, (training.piece.name,))

    def _motion(self, training: Training) -> Piece:
        def all_of() -> Any:
            return motions(training.subject, self.material, self.data.reference, self.preset, self.seed)

        def do() -> None:
            for motion in all_of():
                motion.simulated(self.state, self.device)

        def done() -> bool:
            return training.done and all(motion.made(self.state) for motion in all_of())

        seconds = SECONDS_PER_PS * (self.length_ps + self.preset.ramp_ps) * self.runs_each
        return Piece(f"md:{training.label}", seconds, done, do, (training.piece.name,))

    def report(self, failed: dict[str, str]) -> dict[str, Any]:
        protocol = {"length_ps": self.length_ps, "ramp_ps": self.preset.ramp_ps, "temperatures_K": self.preset.temperatures}
        reference = self.material.reference()
        return {
            "question": "variance between seeds of the training against variance between seeds of the MD",
            "reference": {self.material.formula: reference.label},
            "reference_runs": {run.path.name: run.sha256 for run in reference.runs},
            "settings": {
                "models": list(self.models), "material": self.material.formula, "short": self.material.short,
                "train_minutes": self.minutes, "training_seeds": self.trainings_each, "md_seeds": self.runs_each, "md": protocol,
                "drop": reference.drop, "seed": self.seed, "device": self.device, "test_frames": self.preset.test_frames,
            },
            "method": variance.FORMULA, "source": variance.SOURCE,
            "trainings": {t.label: t.about for some in self.trainings.values() for t in some if t.done},
            "models": [self._of_model(model, some) for model, some in self.trainings.items()],
        }  # fmt: skip

    def _of_model(self, model: str, trainings: list[Training]) -> dict[str, Any]:
        fitted = [
            {"seed": one.seed} | self._force_r2(one)
            for one, piece in ((t, self._forces(t)) for t in trainings)
            if piece.done()
        ]  # fmt: skip
        moved = [
            {"seed": one.seed} | row
            for one, piece in ((t, self._motion(t)) for t in trainings)
            if piece.done()
            for row in self._rows(one)
        ]  # fmt: skip
        return {"model": model, **summary(fitted, moved), "by_training": fitted, "by_run": moved}

    def _force_r2(self, training: Training) -> dict[str, Any]:
        errors = self.bench.predictions(training.subject, self.data, WINDOWS).force_errors
        return {"force_r2": errors.r2.parts(), "force_mae_meV_per_A": errors.mae.parts(1e3)}

    def _rows(self, training: Training) -> list[dict[str, Any]]:
        runs = self.bench.runs(training.subject, self.data)
        return [{"md_seed": run.run.seed, "temperature_K": run.temperature} | judged(run, self.data) for run in runs]


def judged(run: ScoredRun, data: ReferenceData) -> dict[str, Any]:
    """What one run says: distance of g(r) from the reference's, log10 D, and how it ended."""
    found: dict[str, Any] = {"failed": run.failure is not None, "ending": run.ending, "watched_ps": run.watched * 1e-3}
    try:
        production = run.require_production()
    except NotAvailable as problem:
        missing = Estimate.missing(problem.reason, problem.detail).parts()
        return found | dict.fromkeys(QUANTITIES, missing)
    scored = radial_distribution(production.every(RDF_INTERVAL))
    found["rdf_mae"] = distance_from_reference(scored, data.distribution(run.temperature)).parts()
    moved = diffusion(production, number(data.material.mobile_ion)).diffusivity_cm2_per_s
    return found | {"log10_D": logarithm(moved).parts()}


def summary(fitted: list[dict[str, Any]], moved: list[dict[str, Any]]) -> dict[str, Any]:
    """Variance components of one model: of force R² between trainings alone, of what runs say between trainings and runs."""
    r2 = [one["force_r2"]["value"] for one in fitted if not one["force_r2"]["reason"]]
    found: dict[str, Any] = {"force_r2": {"n": len(r2), "mean": sum(r2) / len(r2) if r2 else None}}
    found["force_r2"]["between"] = variance.spread(r2).parts() | {"detail": variance.spread(r2).detail}
    for key in QUANTITIES:
        found[key] = parts_of(grouped(moved, key))
    seeds = list(dict.fromkeys(one["seed"] for one in moved))
    failures = [sum(one["failed"] for one in moved if one["seed"] == s) for s in seeds]
    sizes = [sum(one["seed"] == s for one in moved) for s in seeds]
    found["failed"] = {"by_training": failures, "runs": sizes, "n": sum(sizes), "share": None, "interval": None, "p": None}
    if moved:
        share = {"share": sum(failures) / sum(sizes), "interval": list(clopper_pearson(sum(failures), sum(sizes)))}
        found["failed"] |= share | {"p": variance.clustering(failures, sizes) if len(seeds) > 1 and max(sizes) > 1 else None}
    return found


def grouped(moved: list[dict[str, Any]], key: str) -> list[list[float]]:
    """The numbers of a quantity by training; a training whose runs gave none has an empty group."""
    seeds = dict.fromkeys(one["seed"] for one in moved)
    return [[one[key]["value"] for one in moved if one["seed"] == s and not one[key]["reason"]] for s in seeds]


def parts_of(groups: list[list[float]]) -> dict[str, Any]:
    """The components of numbers in groups, or that there are none."""
    if not any(groups):
        return {"n": 0, "groups": 0}
    found = variance.components(groups)
    named = {name: getattr(found, name) for name in ("between", "within", "share", "total")}
    told = {name: one.parts() | {"detail": one.detail, "note": one.note} for name, one in named.items()}
    return {"n": found.n, "groups": found.k, "mean": found.mean, "f": found.f, "p": found.p, **told}
