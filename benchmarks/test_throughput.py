"""How fast does it move atoms? NVT at 2 fs on LGPS, neighbours included, no output, through pytest-benchmark."""

from __future__ import annotations

import pytest
from pytest_benchmark.stats import Stats

from grannfield import units
from grannfield.analysis.uncertainty import Estimate
from grannfield.data.material import load_material
from grannfield.energy import SHORTEST_S, Meter
from grannfield.gate.yardstick import VERSION, finished, yardstick
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.simulate import Protocol, advance
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import Watch
from grannfield.provenance import hardware, stamp
from grannfield.score import NotAvailable
from grannfield.workers import ALONE

LGPS = "Li10GeP2S12"
WARM_UP = 20
TIMESTEP = 2.0
"""fs."""


@pytest.mark.columns("ns_per_day", on=LGPS)
def test_ns_per_day(subject, session, score, request, shown, behind):
    measure(subject(), session, score, request, shown, behind, "ns_per_day", 1)


@pytest.mark.columns("ns_per_day_batched", on=LGPS)
def test_ns_per_day_batched(subject, session, score, request, shown, behind):
    measure(subject(), session, score, request, shown, behind, "ns_per_day_batched", session.bench.preset.batch)


def measure(subject, session, score, request, shown, behind, metric, replicas):
    """Median and quartiles of at least five rounds after 20 warm-up steps, the machine's own speed beside each of them."""
    preset, device = session.bench.preset, subject.engine_device(session.bench.device)
    names = ["ASE"] * (subject.named.kind == "calculator") + ["LAMMPS"] * (subject.named.engine == "lammps")
    through = f"through {' and '.join(names)}" if names else ""
    if through and replicas > 1:
        raise NotAvailable("not batched", f"{through} one structure is computed after the other")
    behind["evidence"] = [{"kind": "speed", "metric": metric, "samples": "rounds_s"}]
    if session.bench.kept is not None:
        kept = session.bench.kept.speed(subject, metric)
        behind["speed_made_on"] = kept.pop("made_on")
        return record(score, metric, through, **kept)
    made_on = stamp(subject.computes_on(device), subject.field.precision)
    behind["speed_made_on"] = [made_on | ({"engine": session.protocol["engine"]} if "engine" in session.protocol else {})]
    if hasattr(request.config, "workerinput"):
        raise NotAvailable(ALONE, "other workers compute at the same time; run `-k ns_per_day` without -n")
    structure = load_material(LGPS).structure
    protocol = Protocol(temperature=1000.0, length=1e6, ramp=0.0, timestep=TIMESTEP)
    engine = in_lammps if subject.named.engine == "lammps" else in_process
    steps, alive = engine(subject.field, structure, protocol, replicas, device)
    steps(WARM_UP)
    beside, machine = [], yardstick(device)
    machine()
    benchmark = request.getfixturevalue("benchmark")  # only now: pytest-benchmark objects to a model that never gets here
    with shown():
        benchmark.pedantic(
            lambda: steps(preset.steps_per_round),
            setup=lambda: beside.append(machine()),
            rounds=preset.rounds,
            iterations=1,
        )
    about = {
        "replicas": replicas,
        "precision": str(subject.field.dtype),
        "hardware": hardware(subject.computes_on(device)),
        "still_running_after": alive(),
        "rounds_s": list(benchmark.stats.stats.data),
        "yardstick_s": beside,
        "yardstick": VERSION,
        "steps_per_round": preset.steps_per_round,
        "energy": energy_of(lambda: steps(preset.steps_per_round), preset.steps_per_round * replicas, protocol.timestep, device),
    }
    return record(score, metric, through, **about)


def in_process(field, structure, protocol, replicas, device):
    """What takes a number of steps in the package's own engine, and what says whether all replicas are well."""
    state = initial_state(structure.z, structure.pos, structure.cell, protocol.temperature, list(range(replicas)))
    state = MDState(**{key: value.to(device) for key, value in vars(state).items()})
    evaluate = Evaluate(field.to(device).eval(), state)
    holder = [evaluated(state, evaluate), Watch.new(replicas, protocol.timestep, device), 0]

    def steps(n):
        holder[0], holder[1] = advance(holder[0], holder[1], evaluate, protocol, holder[2], n)
        holder[2] += n
        finished(device)

    return steps, lambda: bool(holder[1].alive.all())


def in_lammps(field, structure, protocol, replicas, device):
    """The same in LAMMPS, which moves one replica."""
    from grannfield.lammps.runs import Moving

    vel = initial_state(structure.z, structure.pos, structure.cell, protocol.temperature, [0]).vel[0].numpy()
    moving = Moving(field, structure.z, structure.pos, structure.cell, protocol, vel, device=device, stopping=False)
    return moving.advance, lambda: moving.failure is None


def record(score, metric, through, *, rounds_s, steps_per_round, replicas, **about):
    """The speed and its quartiles from the seconds that each round took."""
    stats = Stats()
    for seconds in rounds_s:
        stats.update(seconds)
    speed = lambda seconds: replicas * units.ns_per_day(seconds / steps_per_round, TIMESTEP)  # noqa: E731
    note = f"rounds of {steps_per_round} steps of {replicas} replica{'s' * (replicas > 1)}; median and quartiles"
    return score(
        metric,
        Estimate(speed(stats.median), (speed(stats.q3), speed(stats.q1)), len(rounds_s), note=note),
        on=LGPS,
        verdict=through,
        ms_per_step=1e3 * stats.median / steps_per_round,
        rounds_s=rounds_s,
        steps_per_round=steps_per_round,
        replicas=replicas,
        **about,
    )


def energy_of(work, steps, timestep, device):
    """Wh per ns of the motion, over at least two seconds where the device has a counter; else why there is none."""
    meter, steps_done = Meter(device), 0
    with meter:
        while meter.available and (steps_done == 0 or meter.now().seconds < SHORTEST_S):
            work()
            steps_done += steps
    return meter.energy.parts(steps_done * timestep * 1e-6)
