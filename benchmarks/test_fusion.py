"""Does it survive? Failure events of MD runs: fusion, broken tetrahedra, runaway, melting, NaN."""

from __future__ import annotations

import pytest

from grannfield.analysis.fusion import survival


@pytest.mark.columns("failed_share")
def test_survival(runs, score):
    """Share of runs that failed, with the time and cause of each first failure."""
    all_runs = runs()
    outcome = survival([run.failure for run in all_runs], [run.run.protocol.length for run in all_runs])
    causes = ", ".join(f"{n} {cause}" for cause, n in outcome.causes.items())
    score(
        "failed_share",
        outcome.failed,
        verdict=causes or f"all {all_runs[0].run.protocol.length * 1e-3:g} ps",
        ok=not outcome.failure_times,
        failures=[run.ending for run in all_runs if run.failure],
        watched_ps=[run.watched * 1e-3 for run in all_runs],
        centre_of_mass_A_per_ps=[run.run.drift for run in all_runs],
        internal_temperature_K=[run.run.internal_temperature for run in all_runs if run.run.trajectory is not None],
    )
