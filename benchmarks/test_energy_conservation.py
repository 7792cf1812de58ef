"""Does motion keep its energy? Drift of the total energy in NVE, and whether forces are the gradient of anything."""

from __future__ import annotations

import pytest

from grannfield.conserved import STEP, curl, curl_in, drift_of, nve_runs
from grannfield.harness import unseen_frames
from grannfield.motion import distinct

MEV_PER_PS = 1e6
"""From eV/fs."""


@pytest.mark.columns("nve_drift")
def test_nve_drift(subject, data, score, session, shown, behind):
    """Slope of the total energy of NVE runs at 2 fs, from equilibrated frames of the reference at its lowest temperature."""
    bench, model = session.bench, subject()
    field = model.field
    with shown():
        if bench.kept is None:
            runs = nve_runs(model, data, bench.preset, bench.seed, bench.store, bench.device)
        else:
            runs = bench.kept.constant_energy(model, data)
    behind["nve_made_on"] = distinct([stamp for run in runs for stamp in run.made_on])
    behind["evidence"] = [run.pointer for run in runs]
    found = drift_of(runs)
    length, temperature = runs[0].run.protocol.length, runs[0].temperature
    by_run = [
        {"temperature_K": temperature, "replica": r, "value": slope * MEV_PER_PS, "interval": None, "reason": ""}
        for r, slope in enumerate(found.by_run)
    ]
    score(
        "nve_drift",
        found.drift,
        factor=MEV_PER_PS,
        verdict="gradient forces" if field.conservative else "direct forces",
        reference=0.0,
        conservative=field.conservative,
        swing_meV_per_atom=1e3 * found.swing,
        ps=length * 1e-3,
        temperature_K=temperature,
        by_run=by_run,
    )


@pytest.mark.columns("force_curl")
def test_curl(subject, data, score, session, shown, behind):
    """The antisymmetric share of the Jacobian of the forces: 0 up to rounding where they are a gradient."""
    bench, model = session.bench, subject()
    field = model.field
    chosen, described = unseen_frames(model, data, session.split, bench.preset.test_frames, bench.seed)
    with shown():
        if bench.kept is None:
            found = curl(model, chosen, bench.preset, bench.seed, bench.store, bench.device)
        else:
            path, pointer = bench.kept.curl_file(model, data)
            found = curl_in(path, STEP[field.precision], pointer)
    behind["curl_made_on"] = [found.made_on]
    behind["evidence"] = [found.pointer]
    measured = found.asymmetry
    score(
        "force_curl",
        measured.share,
        verdict=f"{'gradient' if field.conservative else 'direct'} forces, seen from {measured.floor:.1g}",
        reference=0.0,
        conservative=field.conservative,
        resolved_from=measured.floor,
        step_A=found.step,
        frames=described,
    )
