"""Does Li move at the right pace? D(T), activation energy and -log10 sigma(300 K), for the model and for the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from grannfield.analysis.conductivity import conductivity
from grannfield.analysis.diffusion import diffusion, diffusion_of_runs
from grannfield.analysis.uncertainty import TOO_SHORT
from grannfield.data.diffusion_analyzer import pymatgen_diffusivity
from grannfield.runs import REASON_OF, by_run
from grannfield.score import NotAvailable
from grannfield.units import number


@cache
def of_reference(data):
    """D of the reference at each of its temperatures: {temperature: Estimate}."""
    data.require_motion()
    mobile = number(data.material.mobile_ion)
    return {t: diffusion(data.production(t), mobile).diffusivity_cm2_per_s for t in data.reference.temperatures}


def of_runs(runs, material):
    """D of every run of the model; a run that failed before its production ends the matter."""
    found = [(run, diffusion(run.require_production(), number(material.mobile_ion))) for run in runs]
    for run, one in found:
        if run.failure is not None and one.diffusivity_cm2_per_s.reason == TOO_SHORT:
            raise NotAvailable(REASON_OF[run.failure.cause], run.ending)  # short because it failed
    return found


def at_temperatures(runs, material):
    """D and D along a, b, c at each temperature, of all its runs together: {temperature: (Estimate, {axis: Estimate})}."""
    of_runs(runs, material)
    temperatures = sorted({run.temperature for run in runs})
    together = {t: [run.production for run in runs if run.temperature == t] for t in temperatures}
    return {t: diffusion_of_runs(all_runs, number(material.mobile_ion)) for t, all_runs in together.items()}


def arrhenius(points, material):
    """Conductivity from {temperature: D}."""
    structure = material.structure
    ions = int((structure.z == number(material.mobile_ion)).sum())
    temperatures = np.array(list(points))
    return conductivity(temperatures, list(points.values()), ions, structure.volume, charge=material.mobile_charge)


@pytest.mark.columns("diffusivity")
def test_diffusivity(runs, data, score, reference_score):
    """D at the highest temperature run, all its runs together; pymatgen's value, the axes and all runs in the parts."""
    hottest = max(run.temperature for run in runs())
    own = of_reference(data).get(hottest)
    reference = "no run at this temperature" if own is None else reference_score("diffusivity", own, temperature_K=hottest)
    found = of_runs(runs(), data.material)
    total, along = at_temperatures(runs(), data.material)[hottest]
    hot = [(run, one) for run, one in found if run.temperature == hottest]
    pymatgen = [pymatgen_diffusivity(run.production, data.material.mobile_ion, hottest) for run, _ in hot if not total.reason]
    score(
        "diffusivity",
        total,
        temperature_K=hottest,
        reference=reference,
        pymatgen=float(np.mean(pymatgen)) if pymatgen else None,
        single_origin=[one.single_origin_cm2_per_s.parts() for _, one in hot],
        along={axis: e.parts() for axis, e in along.items()},
        by_run=by_run([(run, one.diffusivity_cm2_per_s) for run, one in found]),
    )


@pytest.mark.columns("activation_energy")
def test_activation_energy(runs, data, score, reference_score):
    reference = reference_score("activation_energy", arrhenius(of_reference(data), data.material).activation_energy)
    points = {t: total for t, (total, _) in at_temperatures(runs(), data.material).items()}
    score("activation_energy", shortened(arrhenius(points, data.material).activation_energy, points), reference=reference)


@pytest.mark.columns("neg_log_sigma")
def test_conductivity(runs, data, score, reference_score):
    reference = reference_score("neg_log_sigma", arrhenius(of_reference(data), data.material).minus_log10_sigma)
    points = {t: total for t, (total, _) in at_temperatures(runs(), data.material).items()}
    found = shortened(arrhenius(points, data.material).minus_log10_sigma, points)
    score("neg_log_sigma", found, reference=reference, by_temperature={f"{t:g} K": d.parts() for t, d in points.items()})


def shortened(estimate, points):
    """When every run was too short, that is the reason, not the number of temperatures."""
    reasons = {d.reason for d in points.values()}
    return next(iter(points.values())) if estimate.reason and reasons == {TOO_SHORT} else estimate
