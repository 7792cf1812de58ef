"""Does it survive? Failure events of MD runs: fusion, broken tetrahedra, runaway, melting, NaN."""

from __future__ import annotations

import pytest

from grannfield.analysis.survival import survival
from grannfield.runs import replicas


@pytest.mark.columns("failed_share", "survival_ps")
def test_survival(runs, score):
    """Share of runs that failed, and their mean time without a failure, with the time and cause of each first one."""
    all_runs = runs()
    outcome = survival([run.failure for run in all_runs], [run.run.protocol.length for run in all_runs])
    causes = ", ".join(f"{n} {cause}" for cause, n in outcome.causes.items())
    said = causes or f"all {all_runs[0].run.protocol.length * 1e-3:g} ps"
    inside = [run.run.internal_temperature for run in all_runs if run.cold]
    parts = {
        "failures": [run.ending for run in all_runs if run.failure],
        "watched_ps": [run.watched * 1e-3 for run in all_runs],
        "centre_of_mass_A_per_ps": [run.run.drift for run in all_runs],
        "internal_temperature_K": [run.run.internal_temperature for run in all_runs if run.run.trajectory is not None],
        "by_run": by_run(all_runs, [float(run.failure is not None) for run in all_runs]),
    }
    if inside:  # no event, and no picture of the crystal at that temperature either
        said += f"; {len(inside)} cold, {min(inside):.0f} K without the motion of the whole"
        parts["cold"] = len(inside)
    score("failed_share", outcome.failed, verdict=said, ok=not outcome.failure_times and not inside, **parts)
    score(
        "survival_ps",
        outcome.mean_time,
        factor=1e-3,
        verdict=f"of {outcome.horizon * 1e-3:g}",
        horizon_ps=outcome.horizon * 1e-3,
        median_ps=in_ps(outcome.median_time),
        curve=curve(outcome.curve),
        incidence={cause: share.tolist() for cause, share in outcome.curve.incidence.items()},
        by_run=by_run(all_runs, parts["watched_ps"]),
    )


def by_run(all_runs, values):
    """One entry for each run: its value, and what ended it."""
    found = []
    for run, replica, value in zip(all_runs, replicas(all_runs), values, strict=True):
        cause = run.failure.cause if run.failure else ""
        entry = {"temperature_K": run.temperature, "replica": replica, "value": value, "interval": None}
        found.append(entry | {"reason": "", "cause": cause})
    return found


def in_ps(estimate):
    return estimate.parts(1e-3) | {"detail": estimate.detail}


def curve(found):
    """The survival curve as columns, for plots."""
    names = ("at_risk", "failed", "survival", "low", "high")
    return {"time_ps": (found.time * 1e-3).tolist()} | {name: getattr(found, name).tolist() for name in names}
