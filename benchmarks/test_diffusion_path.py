"""Does Li move where it should, and only Li? Densities, jumps, axes of diffusion, drift of the framework."""

from __future__ import annotations

from functools import cache

import pytest

from grannfield.analysis.anisotropy import axis_shares, share_distance
from grannfield.analysis.diffusion import diffusion_of_runs
from grannfield.analysis.drift import cell_motion, drift_share
from grannfield.analysis.jumps import FEWEST_JUMPS, compare_graphs
from grannfield.analysis.matched import over_temperatures
from grannfield.analysis.paths import compare_paths
from grannfield.analysis.uncertainty import BELOW_DETECTION, Estimate, mean_of_runs
from grannfield.harness import RDF_INTERVAL
from grannfield.runs import by_run
from grannfield.score import NotAvailable
from grannfield.units import number


@pytest.mark.columns("density_overlap")
def test_density_overlap(runs, data, score):
    """Overlap with the reference's density at equal length, beside the reference with itself."""
    found = [(run, compared_paths(run, data)) for run in with_reference(runs(), data)]
    value, floor = (averaged([(run, getattr(c, name)) for run, c in found]) for name in ("overlap", "overlap_floor"))
    score(
        "density_overlap",
        value,
        floor=as_floor(floor),
        jensen_shannon=averaged([(run, c.jensen_shannon) for run, c in found]).parts(),
        jensen_shannon_floor=averaged([(run, c.jensen_shannon_floor) for run, c in found]).value,
        by_run=floored([(run, c.overlap, c.overlap_floor) for run, c in found]),
    )


@pytest.mark.columns("outside_channels")
def test_outside_channels(runs, data, score):
    """Ions outside the reference's channels; how near to a gas's the density is, in the parts."""
    found = [(run, compared_paths(run, data)) for run in with_reference(runs(), data)]
    floor = averaged([(run, c.outside_floor) for run, c in found])
    score(
        "outside_channels",
        averaged([(run, c.outside) for run, c in found]),
        floor=as_floor(floor),
        random_motion=averaged([(run, c.random_motion) for run, c in found]).parts(),
        by_run=floored([(run, c.outside, c.outside_floor) for run, c in found]),
    )


@pytest.mark.columns("jump_rate")
def test_jump_rate(runs, data, score, reference_score):
    """Jumps per ion and ps at the highest temperature run, with their ways, lengths and returns."""
    data.require_motion()
    own = {t: data.reference_jumps(t) for t in data.reference.temperatures}
    hottest = max(run.temperature for run in runs())
    reference = "no run at this temperature"
    if hottest in own:
        reference = reference_score("jump_rate", own[hottest].rate(), temperature_K=hottest)
    found = [(run, jumps_of(run, data)) for run in runs()]
    there = [jumps for run, jumps in found if run.temperature == hottest]
    score(
        "jump_rate",
        mean_of_runs([jumps.rate() for jumps in there]),
        temperature_K=hottest,
        reference=reference,
        reference_by_temperature={t: jumps.rate().parts() for t, jumps in own.items()},
        sites=dict(zip(data.sites.names, described(data.sites), strict=True)),
        described=[about(jumps) for jumps in there],
        described_reference=about(own[hottest]) if hottest in own else None,
        by_run=by_run([(run, jumps.rate()) for run, jumps in found]),
    )


@pytest.mark.columns("path_overlap")
def test_path_overlap(runs, data, score):
    """Overlap of the jump graphs; temperatures at which the reference itself hardly jumps say nothing and are left out.

    So are runs of the model with too few jumps, which the jump rate shows; without any other the column says why.
    """
    found, seen = [], {}
    for run in with_reference(runs(), data):
        own = data.reference_jumps(run.temperature)
        seen[run.temperature] = len(own.ion)
        if len(own.ion) >= FEWEST_JUMPS:
            found.append((run, compare_graphs(jumps_of(run, data), own)))
    if not found:
        counts = ", ".join(f"{n} at {t:g} K" for t, n in seen.items())
        raise NotAvailable(BELOW_DETECTION, f"jumps in the reference: {counts}; {FEWEST_JUMPS} are needed")
    numbers = [(run, c) for run, c in found if not isinstance(c, Estimate)]
    if not numbers:
        raise NotAvailable(found[0][1].reason, found[0][1].detail)
    score(
        "path_overlap",
        averaged([(run, c.overlap) for run, c in numbers]),
        floor=as_floor(averaged([(run, c.floor) for run, c in numbers])),
        new_ways=averaged([(run, c.new) for run, c in numbers]).parts(),
        by_run=by_run([(run, c if isinstance(c, Estimate) else c.overlap) for run, c in found]),
    )


@pytest.mark.columns("diffusion_anisotropy")
def test_diffusion_anisotropy(runs, data, score):
    """Shares of D along a, b and c against the reference's, all runs of a temperature together."""
    mobile = number(data.material.mobile_ion)
    pairs, shares = {}, {}
    for t in sorted({run.temperature for run in with_reference(runs(), data)}):
        _, model = diffusion_of_runs([run.require_production() for run in runs() if run.temperature == t], mobile)
        _, own = diffusion_of_runs([data.production(t)], mobile)
        pairs[t] = share_distance(model, own)
        shares[t] = {
            name: {axis: e.parts() for axis, e in axis_shares(d).items()} for name, d in (("model", model), ("reference", own))
        }
    resolved = {t: pair for t, pair in pairs.items() if not pair[0].reason} or pairs
    floor = over_temperatures({t: [chance] for t, (_, chance) in resolved.items()})
    score(
        "diffusion_anisotropy",
        over_temperatures({t: [distance] for t, (distance, _) in resolved.items()}),
        floor=as_floor(floor),
        shares=shares,
        by_run=[{"temperature_K": t, "replica": 0} | distance.parts() for t, (distance, _) in pairs.items()],
    )


@pytest.mark.columns("framework_drift")
def test_framework_drift(runs, data, score, reference_score):
    """Share of the ions' squared displacement that is the framework moving; whether it recoils or the whole cell moves."""
    data.require_motion()
    mobile = number(data.material.mobile_ion)
    own = mean_of_runs([drift_share(data.production(t), mobile) for t in data.reference.temperatures])
    reference = reference_score("framework_drift", own)
    found = [(run, drift_share(run.require_production(), mobile), cell_motion(run.production, mobile)) for run in runs()]
    moving = [motion for *_, motion in found if motion.label == "moves as a whole"]
    score(
        "framework_drift",
        mean_of_runs([share for _, share, _ in found]),
        verdict="moves as a whole" if moving else "recoil only",
        ok=not moving,
        reference=reference,
        speed_A_per_ps=mean_of_runs([motion.speed_A_per_ps for *_, motion in found]).parts(),
        centre_of_mass_A=[motion.displacement for *_, motion in found],
        recoil_A=[motion.recoil for *_, motion in found],
        reference_centre_of_mass_A=[cell_motion(data.production(t), mobile).displacement for t in data.reference.temperatures],
        by_run=by_run([(run, share) for run, share, _ in found]),
    )


@cache
def compared_paths(run, data):
    density = data.density(run.require_production().every(RDF_INTERVAL))
    return compare_paths(density, data.reference_density(run.temperature))


@cache
def jumps_of(run, data):
    return data.jumps(run.require_production().every(RDF_INTERVAL))


def with_reference(runs, data):
    """Runs at temperatures of which the reference has one."""
    found = [run for run in runs if not data.reference.absence(run.temperature)]
    if not found:
        raise NotAvailable("no reference", "at none of the temperatures run")
    return found


def averaged(found):
    """The mean of [(run, Estimate)] over temperatures and runs."""
    temperatures = {run.temperature for run, _ in found}
    return over_temperatures({t: [estimate for run, estimate in found if run.temperature == t] for t in sorted(temperatures)})


def as_floor(floor):
    """A floor without an interval of its own: the score's interval is that of the difference from it."""
    value = None if floor.reason else floor.value
    return {"value": value, "interval": [value, value], "n": floor.n, "reason": floor.reason}


def floored(found):
    """What each run [(run, Estimate, floor)] contributes, its floor beside it."""
    rows = by_run([(run, one) for run, one, _ in found])
    return [row | {"floor": floor.value} for row, (*_, floor) in zip(rows, found, strict=True)]


def about(jumps):
    return {
        "jumps": len(jumps.ion),
        "mean_length_A": jumps.mean_length().parts(),
        "straight_back": jumps.back_share().parts(),
        "correlation_factor": jumps.correlation().parts(),
        "ways": jumps.graph(),
    }


def described(sites):
    first = [int((sites.orbit == k).argmax()) for k in range(len(sites.names))]
    return [{"at": sites.fractional[k].round(3).tolist(), "ions": round(float(sites.occupancy[k]), 2)} for k in first]
