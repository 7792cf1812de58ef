"""Curves of runs in time: g(r), mean squared displacements, D against temperature, survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from grannfield import units
from grannfield.analysis.conductivity import ROOM_TEMPERATURE, conductivity, nernst_einstein
from grannfield.analysis.diffusion import diffusion_of_runs, mobile_displacements, msd_all_origins
from grannfield.analysis.rdf import distance_from_reference, half_floor, radial_distribution
from grannfield.analysis.survival import survival
from grannfield.analysis.uncertainty import TOO_SHORT, Estimate
from grannfield.analysis.verdict import verdict
from grannfield.curves.kinds import ArrheniusCurve, Line, Msd, Point, Rdf, ReferenceCurves, SurvivalBand
from grannfield.data.material import Material
from grannfield.harness import ReferenceData
from grannfield.motion import RDF_INTERVAL
from grannfield.runs import ScoredRun, replicas
from grannfield.score import NotAvailable
from grannfield.trajectory import Trajectory, TrajectoryError

LAGS = 160
"""Lags kept of a mean squared displacement: more than a line on paper shows."""
LONGEST_LAG = 0.5
"""Of the production: longer lags have few origins, and enter no D."""
LINE_POINTS = 60


def rdf_of(runs: Sequence[ScoredRun], data: ReferenceData) -> list[Rdf]:
    """g(r) of every run that has frames to count, all atoms and the pairs that the material names.

    NotAvailable, with the reason of the first run, when none has.
    """
    found: list[Rdf] = []
    reason: NotAvailable | None = None
    for run, replica in zip(runs, replicas(runs), strict=True):
        try:
            scored = radial_distribution(run.require_production().every(RDF_INTERVAL))
            reference = data.distribution(run.temperature)
        except NotAvailable as problem:
            reason = reason or problem
            continue
        said = rdf_verdict(run, scored, reference)
        pairs = [tuple(sorted((units.number(a), units.number(b)))) for a, b in data.material.rdf_pairs]
        for name, pair in [("all", None), *zip(("-".join(p) for p in data.material.rdf_pairs), pairs, strict=True)]:
            g, other = (one.mean(pair).astype(np.float32) for one in (scored, reference))  # type: ignore[arg-type]
            found.append(Rdf(run.temperature, replica, name, scored.r, g, other, said))
    if not found and reason is not None:
        raise reason
    return found


def rdf_verdict(run: ScoredRun, scored: Any, reference: Any) -> str:
    """What g(r) of all atoms says of a run, as the column RDF MAE: a run with a failure is never stable."""
    mae = distance_from_reference(scored, reference).value
    floor = half_floor(reference, scored.n_frames).value
    cause = getattr(run.failure, "cause", "")
    said = verdict(mae, floor, cause == "fusion", scored, reference)
    return cause if cause and said.label == "stable" else said.label


def displacement(
    trajectory: Trajectory, mobile_z: int, longest: float = LONGEST_LAG, most: int = LAGS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lags [L] in ps up to a share of the production, thinned to about `most`; the ions' mean squared displacement [L] in Å².

    Third, half of its 95% interval [L] by the spread between the ions (Student's t), NaN for a single ion.
    """
    of_ions = msd_all_origins(mobile_displacements(trajectory, mobile_z)).sum(axis=2)
    msd, n = of_ions.mean(axis=1), of_ions.shape[1]
    error = of_ions.std(axis=1, ddof=1) * stats.t.ppf(0.975, n - 1) / np.sqrt(n) if n > 1 else np.full(len(msd), np.nan)
    last = max(1, int(longest * (len(msd) - 1)))
    lags = np.unique(np.append(np.geomspace(1, last, most).round(), np.linspace(1, last, most).round()).astype(int))
    return lags * trajectory.timestep * 1e-3, msd[lags], error[lags]


def msd_of(runs: Sequence[ScoredRun], data: ReferenceData, reference: ReferenceCurves | None) -> list[Msd]:
    """Mean squared displacements of the mobile ions in every run that has frames; NotAvailable when none has."""
    found: list[Msd] = []
    reason: NotAvailable | None = None
    for run, replica in zip(runs, replicas(runs), strict=True):
        try:
            lag, msd, error = displacement(run.require_production(), units.number(data.material.mobile_ion))
        except NotAvailable as problem:
            reason = reason or problem
            continue
        other = None if reference is None else reference.msd.get(run.temperature)
        beside = [None, None] if other is None else [np.interp(lag, other[0], y, right=np.nan) for y in other[1:]]
        found.append(Msd(run.temperature, replica, lag, msd, beside[0], error, beside[1]))
    if not found and reason is not None:
        raise reason
    return found


def survival_of(runs: Sequence[ScoredRun]) -> SurvivalBand:
    """The survival of all runs of a model in a material together."""
    durations = [run.run.protocol.length for run in runs]
    found = survival([run.failure for run in runs], durations)  # type: ignore[misc]
    curve, mean = found.curve, found.mean_time
    return SurvivalBand(
        curve.time * 1e-3, curve.survival, curve.low, curve.high, dict(found.causes), len(runs), sum(run.cold for run in runs),
        found.horizon * 1e-3, np.array(found.censored_times) * 1e-3,
        (mean.value * 1e-3, mean.interval[0] * 1e-3, mean.interval[1] * 1e-3),
    )  # fmt: skip


def points_of(by_temperature: Mapping[float, Sequence[ScoredRun]], mobile_z: int) -> dict[float, Estimate]:
    """D at each temperature, all its runs together; where one failed before its production, the reason instead."""
    found: dict[float, Estimate] = {}
    for temperature, runs in sorted(by_temperature.items()):
        try:
            together = [run.require_production() for run in runs]
        except NotAvailable as problem:
            found[temperature] = Estimate.missing(problem.reason, problem.detail)
            continue
        found[temperature] = _diffusivity(together, mobile_z)
        short = [
            run
            for run in runs
            if run.failure is not None and _diffusivity([run.require_production()], mobile_z).reason == TOO_SHORT
        ]
        if short:
            found[temperature] = Estimate.missing(short[0].failure.cause, short[0].ending)  # type: ignore[union-attr]
    return found


def _diffusivity(runs: Sequence[Trajectory], mobile_z: int) -> Estimate:
    try:
        return diffusion_of_runs(runs, mobile_z)[0]
    except TrajectoryError as problem:  # too few frames for a line
        return Estimate.missing(TOO_SHORT, str(problem))


def as_points(found: Mapping[float, Estimate]) -> list[Point]:
    return [Point(float(t), e.value, *e.interval, e.n, _because(e)) for t, e in sorted(found.items())]


def _because(estimate: Estimate) -> str:
    return f"{estimate.reason} ({estimate.detail})" if estimate.reason and estimate.detail else estimate.reason


def line_of(found: Mapping[float, Estimate], material: Material) -> tuple[Line | None, str]:
    """The Arrhenius line through D(T) with its band down to 300 K, or why there is none."""
    structure = material.structure
    ions = int((structure.z == units.number(material.mobile_ion)).sum())
    temperature = np.array(list(found))
    made = conductivity(temperature, list(found.values()), ions, structure.volume, charge=material.mobile_charge)
    if made.line is None:
        return None, _because(made.minus_log10_sigma)
    cold = np.linspace(1 / ROOM_TEMPERATURE, 1 / max(found), LINE_POINTS)
    ln_d = [made.line.ln_diffusivity_at(1 / x) for x in cold]
    ends = [np.exp(np.clip([e.interval[k] for e in ln_d], -700, 700)) for k in (0, 1)]
    energy, sigma = made.activation_energy, made.minus_log10_sigma
    return Line(
        1 / cold, np.exp([e.value for e in ln_d]), ends[0], ends[1], (energy.value, *energy.interval),
        (sigma.value, *sigma.interval), energy.n,
    ), ""  # fmt: skip


def sigma_T_per_D(material: Material) -> float:
    """sigma T over D in K mS/cm per cm²/s, by Nernst and Einstein for the starting cell."""
    structure = material.structure
    ions = int((structure.z == units.number(material.mobile_ion)).sum())
    return nernst_einstein(1.0, ions, structure.volume, 1.0, material.mobile_charge)


def arrhenius_of(runs: Sequence[ScoredRun], data: ReferenceData, reference: ReferenceCurves | None) -> ArrheniusCurve:
    """D against temperature of the model's runs and of the reference; a line where the board has a conductivity."""
    groups: dict[float, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(run.temperature, []).append(run)
    found = points_of(groups, units.number(data.material.mobile_ion))
    lost = [f"{t:g} K: {_because(e)}" for t, e in found.items() if e.reason and any(r.failure for r in groups[t])]
    line, why = (None, lost[0]) if lost else line_of(found, data.material)
    if line is None and all(e.reason.startswith(TOO_SHORT) for e in found.values()):
        why = _because(next(iter(found.values())))
    return ArrheniusCurve(
        as_points(found),
        [] if reference is None else reference.points,
        line,
        None if reference is None else reference.line,
        why,
        "the reference has no motion" if reference is None else reference.no_line,
        sigma_T_per_D(data.material),
    )
