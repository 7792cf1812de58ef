"""How fast does it move atoms? NVT at 2 fs on LGPS, neighbours included, no output, through pytest-benchmark."""

from __future__ import annotations

import pytest

from grannfield import units
from grannfield.analysis.uncertainty import Estimate
from grannfield.data.material import load_material
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.simulate import Protocol, advance
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import Watch
from grannfield.provenance import hardware
from grannfield.score import NotAvailable

LGPS = "Li10GeP2S12"
WARM_UP = 20


@pytest.mark.columns("ns_per_day", on=LGPS)
def test_ns_per_day(subject, session, score, request, shown):
    measure(subject(), session, score, request, shown, "ns_per_day", 1)


@pytest.mark.columns("ns_per_day_batched", on=LGPS)
def test_ns_per_day_batched(subject, session, score, request, shown):
    measure(subject(), session, score, request, shown, "ns_per_day_batched", session.bench.preset.batch)


def measure(subject, session, score, request, shown, metric, replicas):
    """Median and quartiles of at least five rounds after 20 warm-up steps."""
    preset, device = session.bench.preset, subject.engine_device(session.bench.device)
    through_ase = subject.named.kind == "calculator"
    if through_ase and replicas > 1:
        raise NotAvailable("not batched", "through ASE one structure is computed after the other")
    structure = load_material(LGPS).structure
    protocol = Protocol(temperature=1000.0, length=1e6, ramp=0.0)
    state = initial_state(structure.z, structure.pos, structure.cell, protocol.temperature, list(range(replicas)))
    state = MDState(**{key: value.to(device) for key, value in vars(state).items()})
    evaluate = Evaluate(subject.field.to(device).eval(), state)
    holder = [evaluated(state, evaluate), Watch.new(replicas, protocol.timestep, device), 0]

    def steps(n):
        holder[0], holder[1] = advance(holder[0], holder[1], evaluate, protocol, holder[2], n)
        holder[2] += n
        if device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    steps(WARM_UP)
    benchmark = request.getfixturevalue("benchmark")  # only now: pytest-benchmark objects to a model that never gets here
    with shown():
        benchmark.pedantic(steps, args=(preset.steps_per_round,), rounds=preset.rounds, iterations=1)
    stats = benchmark.stats.stats
    speed = lambda seconds: replicas * units.ns_per_day(seconds / preset.steps_per_round, protocol.timestep)  # noqa: E731
    note = f"rounds of {preset.steps_per_round} steps of {replicas} replica{'s' * (replicas > 1)}; median and quartiles"
    estimate = Estimate(speed(stats.median), (speed(stats.q3), speed(stats.q1)), preset.rounds, note=note)
    alive = bool(holder[1].alive.all())
    about = {
        "replicas": replicas,
        "precision": str(subject.field.dtype),
        "hardware": hardware(subject.computes_on(device)),
        "still_running_after": alive,
    }
    score(
        metric,
        estimate,
        on=LGPS,
        verdict="through ASE" * through_ase,
        ms_per_step=1e3 * stats.median / preset.steps_per_round,
        **about,
    )
