"""Does Li move where it should? Density of the mobile ion against the reference's, and motion of the whole framework."""

from __future__ import annotations

import numpy as np
import pytest

from grannfield.analysis.paths import compare_paths, drift_share
from grannfield.analysis.uncertainty import Estimate
from grannfield.harness import RDF_INTERVAL
from grannfield.score import NotAvailable
from grannfield.units import number


@pytest.mark.columns("density_overlap")
def test_density_overlap(runs, data, score):
    """Overlap with the reference's density, mean over runs, beside the reference's own half against half."""
    found = []
    for run in runs():
        if data.reference.absence(run.temperature):
            continue
        density = data.density(run.require_production().every(RDF_INTERVAL))
        found.append(compare_paths(density, data.reference_density(run.temperature)))
    if not found:
        raise NotAvailable("no reference", "at none of the temperatures run")
    floor = mean([c.overlap_floor for c in found]).value
    score(
        "density_overlap",
        mean([c.overlap for c in found]),
        verdict=f"(reference's own halves {floor:.2f})",
        floor=floor,
        jensen_shannon=mean([c.jensen_shannon for c in found]).value,
        jensen_shannon_floor=mean([c.jensen_shannon_floor for c in found]).value,
        outside_channels=mean([c.outside for c in found]).value,
        outside_channels_floor=mean([c.outside_floor for c in found]).value,
    )


@pytest.mark.columns("framework_drift")
def test_framework_drift(runs, data, score, reference_score):
    """Share of the ions' squared displacement that is the framework moving as a whole."""
    mobile = number(data.material.mobile_ion)
    own = mean([drift_share(data.production(t), mobile) for t in data.reference.temperatures])
    reference = reference_score("framework_drift", own)
    score("framework_drift", mean([drift_share(run.require_production(), mobile) for run in runs()]), reference=reference)


def mean(estimates):
    """The mean of runs, with the mean of their intervals: no narrower than one run's."""
    if any(e.reason for e in estimates):
        return next(e for e in estimates if e.reason)
    low, high = (float(np.mean([e.interval[side] for e in estimates])) for side in (0, 1))
    return Estimate(
        float(np.mean([e.value for e in estimates])), (low, high), sum(e.n for e in estimates), note=estimates[0].note
    )
