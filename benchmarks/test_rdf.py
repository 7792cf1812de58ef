"""Does the structure stay what it is? g(r) of the run against g(r) of the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grannfield.analysis.rdf import half_floor, mae_from_reference, radial_distribution, rdf_mae, verdict
from grannfield.analysis.uncertainty import mean_of_runs
from grannfield.harness import RDF_INTERVAL
from grannfield.score import NotAvailable
from grannfield.units import number


@pytest.mark.columns("rdf_mae")
def test_rdf(runs, data, score):
    """Mean over runs of the MAE of the total g(r); the worst run gives the verdict.

    Temperatures without a reference run are left out. A run that failed before it gave enough frames leaves no number: a
    mean over the survivors would flatter the model.
    """
    judged = [(run, *judge(run, data)) for run in runs() if not data.reference.absence(run.temperature)]
    if not judged:
        raise NotAvailable("no reference", "at none of the temperatures run")
    estimates = [mae for _, mae, _, _ in judged]
    worst = max((found for _, _, found, _ in judged), key=lambda v: (v.label != "stable", v.mae / v.threshold))
    failed = [run for run in runs() if run.failure]
    label = failed[0].failure.cause if failed and worst.label == "stable" else worst.label
    note = f"production frames {RDF_INTERVAL:g} fs apart; {estimates[0].note}"
    score(
        "rdf_mae",
        replace(mean_of_runs(estimates), note=note),
        verdict=f"{label} (worst {worst.mae:.3f}, limit {worst.threshold:.3f}, floor {worst.floor:.3f})",
        ok=label == "stable",
        worst=worst.mae,
        floor=worst.floor,
        threshold=worst.threshold,
        paper_threshold=0.02,
        evidence=worst.detail or "; ".join(run.ending for run in failed),
        by_run=[{"temperature_K": run.temperature, "mae": mae.value, "verdict": found.label} for run, mae, found, _ in judged],
        by_pair={pair: float(np.mean([pairs[pair] for *_, pairs in judged])) for pair in judged[0][3]},
    )


def judge(run, data):
    """MAE and verdict of one run, and the MAE of each pair of species; a run with a failure is never stable."""
    scored = radial_distribution(run.require_production().every(RDF_INTERVAL))
    reference = data.distribution(run.temperature)
    mae = mae_from_reference(scored, reference)
    floor = half_floor(reference, scored.n_frames)
    found = verdict(mae.value, floor.value, getattr(run.failure, "cause", "") == "fusion", scored, reference)
    if run.failure is not None and found.label == "stable":
        found = replace(found, label=run.failure.cause, detail=run.ending)
    pairs = {f"{a}-{b}": tuple(sorted((number(a), number(b)))) for a, b in data.material.rdf_pairs}
    return mae, found, {name: rdf_mae(scored.mean(pair), reference.mean(pair)) for name, pair in pairs.items()}
