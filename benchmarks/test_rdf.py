"""Does the structure stay what it is? g(r) of the run against g(r) of the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from grannfield.analysis.rdf import (
    distance_from_reference,
    half_floor,
    radial_distribution,
    rdf_mae,
    rdf_wasserstein,
)
from grannfield.analysis.thresholds import lindemann
from grannfield.analysis.uncertainty import Estimate, mean_of_runs
from grannfield.analysis.verdict import MAE_THRESHOLD, as_parts, close_pairs, shell_changes, significance, verdict
from grannfield.harness import RDF_INTERVAL
from grannfield.runs import ScoredRun, replicas
from grannfield.score import NotAvailable
from grannfield.units import number

DISTANCES = {"rdf_mae": rdf_mae, "rdf_wasserstein": rdf_wasserstein}


@dataclass(frozen=True)
class Judged:
    """What g(r) says about one run; without distances where too little came before its failure."""

    run: ScoredRun
    replica: int
    distances: dict[str, Estimate]
    floors: dict[str, Estimate]
    scored: object = None
    verdict: object = None

    def by_run(self, metric):
        one = self.distances[metric]
        found = {"temperature_K": self.run.temperature, "replica": self.replica} | one.parts()
        if self.verdict is not None:
            found |= {"floor": self.floors[metric].value, "verdict": self.verdict.label, "verdict_paper": self.verdict.paper}
        return found


@pytest.mark.columns("rdf_mae", "rdf_wasserstein")
def test_rdf(runs, data, score):
    """Mean over runs of the distances between g(r) and the reference's, all atoms; the worst run gives the verdict.

    Temperatures without a reference run are left out. A run that failed before it gave enough frames leaves no number: a
    mean over the survivors would flatter the model.
    """
    compared = [run for run in runs() if not data.reference.absence(run.temperature)]
    if not compared:
        raise NotAvailable("no reference", "at none of the temperatures run")
    judged = [judge(run, replica, data) for run, replica in zip(compared, replicas(compared), strict=True)]
    measured = [one for one in judged if one.verdict is not None]
    verdicts = overall(judged, measured, data) if len(measured) == len(judged) else {}
    for metric in DISTANCES:
        found = mean_of_runs([one.distances[metric] for one in judged])
        parts = {"by_run": [one.by_run(metric) for one in judged]}
        if measured:
            floor = mean_of_runs([one.floors[metric] for one in measured])
            parts["floor"] = floor.parts()
            parts["by_pair"] = by_pair(measured, metric, data)
        if found.reason:
            score(metric, found, evidence="; ".join(run.ending for run in compared if run.failure), **parts)
        elif metric == "rdf_mae":
            found = replace(found, note=f"production frames {RDF_INTERVAL:g} fs apart; {found.note}")
            score(metric, found, **verdicts, **parts)
        else:
            score(metric, found, **parts)


def judge(run, replica, data):
    """Distances, floors and verdict of one run; a run with a failure is never stable."""
    try:
        scored = radial_distribution(run.require_production().every(RDF_INTERVAL))
    except NotAvailable as problem:
        nothing = {metric: Estimate.missing(problem.reason, problem.detail) for metric in DISTANCES}
        return Judged(run, replica, nothing, {})
    reference = data.distribution(run.temperature)
    found = {m: distance_from_reference(scored, reference, distance=d) for m, d in DISTANCES.items()}
    floors = {m: half_floor(reference, scored.n_frames, distance=d) for m, d in DISTANCES.items()}
    fused = getattr(run.failure, "cause", "") == "fusion"
    said = verdict(found["rdf_mae"].value, floors["rdf_mae"].value, fused, scored, reference)
    if run.failure is not None:
        failed = "fusion" if fused else "lattice mismatch"  # the two modes that the paper knows
        paper = failed if said.paper == "stable" else said.paper
        label = run.failure.cause if said.label == "stable" else said.label
        said = replace(said, label=label, paper=paper, detail="; ".join(filter(None, [run.ending, said.detail])))
    return Judged(run, replica, found, floors, scored, said)


def overall(judged, measured, data):
    """Verdicts of a material, by rule, by the paper's rule and by test, with what they rest on."""
    worst = max(measured, key=lambda one: (one.verdict.label != "stable", one.verdict.mae / one.verdict.threshold))
    said = worst.verdict
    failed = [one.run for one in judged if one.run.failure]
    stable = not failed and np.mean([one.verdict.mae for one in measured]) < MAE_THRESHOLD
    paper = "stable" if stable else next(one.verdict.paper for one in (worst, *measured) if one.verdict.paper != "stable")
    temperatures = dict.fromkeys(one.run.temperature for one in measured)
    at = {t: [one for one in measured if one.run.temperature == t] for t in temperatures}
    groups = [([one.scored for one in found], data.distribution(t)) for t, found in at.items()]
    means = [mean_of_runs([getattr(one, side)["rdf_mae"] for one in measured]) for side in ("distances", "floors")]
    test = significance(*means, groups)
    excess = test.comparison.difference
    return {
        "verdict": f"{said.label} (worst {said.mae:.3f}, limit {said.threshold:.3f})",
        "ok": said.label == "stable",
        "worst": said.mae,
        "threshold": said.threshold,
        "paper_threshold": MAE_THRESHOLD,
        "verdict_paper": paper,
        "test": {
            "label": test.comparison.label,
            "excess": excess.value,
            "interval": list(excess.interval),
            "margin": test.comparison.margin,
            "p": test.p,
        },
        "evidence": said.detail or "; ".join(run.ending for run in failed),
        "evidence_parts": evidence(worst, data),
    }


def evidence(one, data):
    """Both ways to fail, in numbers: pairs too near, shells that moved, how far the framework shakes."""
    reference, limits = data.distribution(one.run.temperature), data.thresholds(one.run.temperature)
    production = one.run.require_production().every(RDF_INTERVAL)
    ratio = lindemann(production, number(data.material.mobile_ion), limits.spacing, limits.window)
    full = min(len(ratio) - 1, int(limits.window / production.timestep))
    return {
        "temperature_K": one.run.temperature,
        "replica": one.replica,
        "fusion_event": getattr(one.run.failure, "evidence", {}) if getattr(one.run.failure, "cause", "") == "fusion" else {},
        "since_ps": None if one.run.failure is None else one.run.failure.time * 1e-3,
        "close_pairs": [as_parts(pair) for pair in close_pairs(one.scored, reference)],
        "shells": [as_parts(change) for change in shell_changes(one.scored, reference)],
        "lindemann": {"run": float(ratio[full:].mean()), "reference": limits.lindemann, "limit": 3 * limits.lindemann},
    }


def by_pair(measured, metric, data):
    """Distance of each pair of species that the material names, mean over runs."""
    distance, found = DISTANCES[metric], {}
    for a, b in data.material.rdf_pairs:
        pair = tuple(sorted((number(a), number(b))))
        values = [distance(one.scored.mean(pair), data.distribution(one.run.temperature).mean(pair)) for one in measured]
        found[f"{a}-{b}"] = float(np.mean(values))
    return found
