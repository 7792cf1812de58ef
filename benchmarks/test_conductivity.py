"""Does Li move at the right pace? D(T), activation energy and -log10 sigma(300 K), for the model and for the reference."""

from __future__ import annotations

from functools import cache

import pytest

from grannfield.analysis.conductivity import conductivity
from grannfield.analysis.diffusion import diffusion
from grannfield.analysis.uncertainty import TOO_SHORT
from grannfield.data.diffusion_analyzer import pymatgen_diffusivity
from grannfield.runs import REASON_OF
from grannfield.score import NotAvailable
from grannfield.units import number


def measured(production, material):
    return diffusion(production, number(material.mobile_ion))


@cache
def of_reference(data):
    """D of every reference run: [(temperature, Diffusion)]."""
    data.require_motion()
    return [(t, measured(data.production(t), data.material)) for t in data.reference.temperatures]


def of_runs(runs, material):
    """D of every run of the model; a run that failed before its production ends the matter."""
    points = [(run.temperature, measured(run.require_production(), material), run) for run in runs]
    for _, found, run in points:
        if run.failure is not None and found.diffusivity_cm2_per_s.reason == TOO_SHORT:
            raise NotAvailable(REASON_OF[run.failure.cause], run.ending)  # short because it failed
    return points


def arrhenius(points, material):
    structure = material.structure
    ions = int((structure.z == number(material.mobile_ion)).sum())
    return conductivity(
        [t for t, *_ in points],
        [d.diffusivity_cm2_per_s for _, d, *_ in points],
        ions,
        structure.volume,
        charge=material.mobile_charge,
    )


@pytest.mark.columns("diffusivity")
def test_diffusivity(runs, data, score, reference_score):
    """D at the highest temperature run; pymatgen's value, the axes and all temperatures in the parts."""
    hottest = max(run.temperature for run in runs())
    own = dict(of_reference(data)).get(hottest)
    reference = "no run at this temperature" if own is None else reference_score("diffusivity", own.diffusivity_cm2_per_s)
    points = of_runs(runs(), data.material)
    _, found, run = next(point for point in points if point[0] == hottest)
    resolved = not found.diffusivity_cm2_per_s.reason
    score(
        "diffusivity",
        found.diffusivity_cm2_per_s,
        temperature_K=hottest,
        reference=reference,
        pymatgen=pymatgen_diffusivity(run.production, data.material.mobile_ion, hottest) if resolved else None,
        single_origin=parts_of(found.single_origin_cm2_per_s),
        along={axis: parts_of(e) for axis, e in found.along_cm2_per_s.items()},
        by_run=[{"temperature_K": t} | parts_of(d.diffusivity_cm2_per_s) for t, d, _ in points],
    )


@pytest.mark.columns("activation_energy")
def test_activation_energy(runs, data, score, reference_score):
    reference = reference_score("activation_energy", arrhenius(of_reference(data), data.material).activation_energy)
    points = of_runs(runs(), data.material)
    score("activation_energy", shortened(arrhenius(points, data.material).activation_energy, points), reference=reference)


@pytest.mark.columns("neg_log_sigma")
def test_conductivity(runs, data, score, reference_score):
    reference = reference_score("neg_log_sigma", arrhenius(of_reference(data), data.material).minus_log10_sigma)
    points = of_runs(runs(), data.material)
    score("neg_log_sigma", shortened(arrhenius(points, data.material).minus_log10_sigma, points), reference=reference)


def shortened(estimate, points):
    """When every run was too short, that is the reason, not the number of temperatures."""
    reasons = {d.diffusivity_cm2_per_s.reason for _, d, *_ in points}
    return points[0][1].diffusivity_cm2_per_s if estimate.reason and reasons == {TOO_SHORT} else estimate


def parts_of(estimate):
    return {
        "value": None if estimate.reason else estimate.value,
        "interval": list(estimate.interval),
        "n": estimate.n,
        "reason": estimate.reason,
    }
