"""Does the structure stay what it is? g(r) of the run against g(r) of the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grannfield.analysis.rdf import half_floor, mae_from_reference, radial_distribution, rdf_mae, verdict
from grannfield.analysis.uncertainty import Estimate
from grannfield.harness import RDF_INTERVAL
from grannfield.score import NotAvailable
from grannfield.units import number


@pytest.mark.columns("rdf_mae")
def test_rdf(runs, data, score):
    """Mean over temperatures of the MAE of the total g(r); the worst temperature gives the verdict."""
    parts, missing = {}, None
    for temperature in sorted({run.temperature for run in runs()}):
        same = [run for run in runs() if run.temperature == temperature]
        try:
            parts[temperature] = [judge(run, data) for run in same]
        except NotAvailable as reason:
            if any(run.failure for run in same):
                raise  # a failed run is no number, whatever the other temperatures say
            missing = reason
    if not parts:
        raise missing or NotAvailable("too short", "no run")
    estimates = [e for found in parts.values() for e, _, _ in found]
    verdicts = [v for found in parts.values() for _, v, _ in found]
    worst = max(verdicts, key=lambda v: v.mae / v.threshold)
    low, high = (float(np.mean([e.interval[side] for e in estimates])) for side in (0, 1))
    mean = Estimate(
        float(np.mean([e.value for e in estimates])),
        (low, high),
        sum(e.n for e in estimates),
        note=f"production frames {RDF_INTERVAL:g} fs apart; {estimates[0].note}",
    )
    score(
        "rdf_mae",
        mean,
        verdict=f"{worst.label} (worst {worst.mae:.3f}, limit {worst.threshold:.3f}, floor {worst.floor:.3f})",
        ok=worst.label == "stable",
        worst=worst.mae,
        floor=worst.floor,
        threshold=worst.threshold,
        paper_threshold=0.02,
        evidence=worst.detail,
        by_temperature={f"{t:g}": [e.value for e, _, _ in found] for t, found in parts.items()},
        by_pair={
            pair: float(np.mean([p[pair] for found in parts.values() for *_, p in found]))
            for pair in next(iter(parts.values()))[0][2]
        },
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
