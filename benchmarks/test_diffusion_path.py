"""Does Li move where it should? Density of the mobile ion against the reference's, and motion of the whole framework."""

from __future__ import annotations

import pytest

from grannfield.analysis.paths import compare_paths, drift_share
from grannfield.analysis.uncertainty import mean_of_runs
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
    floor = mean_of_runs([c.overlap_floor for c in found]).value
    score(
        "density_overlap",
        mean_of_runs([c.overlap for c in found]),
        verdict=f"(reference's own halves {floor:.2f})",
        floor=floor,
        jensen_shannon=mean_of_runs([c.jensen_shannon for c in found]).value,
        jensen_shannon_floor=mean_of_runs([c.jensen_shannon_floor for c in found]).value,
        outside_channels=mean_of_runs([c.outside for c in found]).value,
        outside_channels_floor=mean_of_runs([c.outside_floor for c in found]).value,
    )


@pytest.mark.columns("framework_drift")
def test_framework_drift(runs, data, score, reference_score):
    """Share of the ions' squared displacement that is the framework moving as a whole."""
    data.require_motion()
    mobile = number(data.material.mobile_ion)
    own = mean_of_runs([drift_share(data.production(t), mobile) for t in data.reference.temperatures])
    reference = reference_score("framework_drift", own)
    score("framework_drift", mean_of_runs([drift_share(run.require_production(), mobile) for run in runs()]), reference=reference)
