"""What a benchmark session would compute, and what that costs: pieces of work, time from measured speed, disk.

Cost is counted in evaluations of one structure's forces, of which an MD step is one; an evaluation takes as long as a step of the
speed measurement, in proportion to the atoms. Speeds come from stored scores of the same model on the same hardware, else from a
few steps now.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grannfield import provenance
from grannfield.data.material import Material, load_material
from grannfield.plugin import Named
from grannfield.progress import duration
from grannfield.report.results import Results, ResultsError, read_results

if TYPE_CHECKING:
    from grannfield.session import Session  # which needs the whole installation: what a state of `reproduce` costs does not

LGPS, ATOMS = "Li10GeP2S12", 50
"""What speeds are measured on, and its atoms."""
GUESS = 0.05
"""Seconds of a step where nothing is known, for the order of an estimate that the session itself corrects."""
STORED_RANGE, MEASURED_RANGE = (0.4, 1.6), (0.7, 1.5)
"""Factors on the time that evaluations take: a stored speed may come from a busy machine, hot crystals have more neighbours."""
START_S, MATERIAL_S, SCORE_S = 7.0, 3.0, 0.1
"""Seconds without any force, measured on two cores: to start, of a model in a material, of a test."""
MD_BYTES, NVE_BYTES, PREDICTION_BYTES = 1.5, 0.9, 4.0
"""Of each atom of a stored frame, after packing, as measured on the shipped board."""
MEASURE_S = 2.0
KINDS = ("predictions", "MD", "NVE", "curl", "speed")


@dataclass(frozen=True)
class Piece:
    """One expensive thing that tests share."""

    kind: str
    model: str
    material: str
    what: str
    evaluations: float
    """Of the forces of one structure,"""
    atoms: int
    together: int = 1
    """so many of them at once."""
    disk: float = 0.0
    """Bytes."""
    made: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.kind, self.model, self.material, self.what


@dataclass(frozen=True)
class Speed:
    """Seconds of a step of LGPS, alone and as a share of a batch, and where that is known from."""

    alone: float
    batched: float
    source: str
    span: tuple[float, float] = STORED_RANGE

    def seconds(self, piece: Piece) -> float:
        each = self.batched if piece.together > 1 else self.alone
        return piece.evaluations * each * piece.atoms / ATOMS


def metrics_of(item: Any) -> tuple[str, ...]:
    """The columns that a test fills."""
    marker = item.get_closest_marker("columns")
    return marker.args if marker else ()


def pieces_of(session: Session, item: Any) -> Iterator[Piece]:
    """What a test needs, made already or not."""
    metrics, preset = metrics_of(item), session.bench.preset
    named = item.callspec.params.get("named") if metrics else None
    if not isinstance(named, Named):  # of motion made elsewhere no speed is asked for: the test is skipped
        return
    material: Material = item.callspec.params.get("material") or load_material(LGPS)
    label, formula, atoms, dt = named.label, material.formula, len(material.structure.z), material.timestep
    common: dict[str, Any] = {"model": label, "material": formula, "atoms": atoms}
    fixtures = item.fixturenames
    if "predictions" in fixtures and not named.motion_only:
        column = {"force_r2": "windows", "force_r2_random": "random"}.get(metrics[0], str(session.split))
        n = preset.test_frames
        yield Piece("predictions", what=column, evaluations=n, together=8, disk=PREDICTION_BYTES * n * atoms, **common)
    if "runs" in fixtures and not named.motion_only:
        steps = 1e3 * (preset.length_ps + preset.ramp_ps) / dt
        interval = 10.0 if preset.length_ps <= 10 else 20.0
        disk = preset.replicas * 1e3 * preset.length_ps / interval * atoms * MD_BYTES
        for kelvin in preset.temperatures or material.temperatures:
            said = f"{kelvin:g} K, {preset.replicas} x {preset.length_ps:g} ps"
            yield Piece("MD", what=said, evaluations=steps * preset.replicas, together=preset.replicas, disk=disk, **common)
    if "nve_drift" in metrics and not named.motion_only:
        steps, frames = 1e3 * preset.nve_ps / dt, 1e3 * preset.nve_ps / dt / 2
        said = f"{preset.nve_runs} x {preset.nve_ps:g} ps"
        disk = preset.nve_runs * frames * atoms * NVE_BYTES
        yield Piece("NVE", what=said, evaluations=steps * preset.nve_runs, together=preset.nve_runs, disk=disk, **common)
    if "force_curl" in metrics and not named.motion_only:
        n = preset.curl_frames * preset.curl_directions * 8
        yield Piece("curl", what=f"{preset.curl_frames} frames", evaluations=n, together=8, disk=4e3, **common)
    if metrics[0].startswith("ns_per_day"):
        batch = preset.batch if metrics[0].endswith("batched") else 1
        if batch == 1 or (named.kind != "calculator" and named.engine != "lammps"):
            n = batch * (20 + preset.rounds * preset.steps_per_round)
            yield Piece("speed", what=f"{batch} at once", evaluations=n, together=batch, **common)


def expected_seconds(session: Session, items: Sequence[Any]) -> dict[str, float]:
    """About how long each test takes, by its id, when nothing is stored: each piece counts where it is needed first."""
    speeds: dict[str, Speed] = {}
    seen: set[tuple[str, ...]] = set()
    found = {}
    for item in items:
        total = SCORE_S
        for piece in pieces_of(session, item):
            if piece.key not in seen:
                seen.add(piece.key)
                named = item.callspec.params["named"]
                speed = speeds.setdefault(piece.model, stored_speed(session, named) or Speed(GUESS, GUESS, "a guess"))
                total += speed.seconds(piece)
        found[item.nodeid] = total
    return found


def stored_speed(session: Session, named: Named) -> Speed | None:
    """The speed that stored scores of the same model give for this hardware; None without any."""
    path = Results(named.label).path(session.reports)
    if not path.exists():
        return None
    try:
        results = read_results(path)
    except ResultsError:
        return None
    scores = [results.scores.get((metric, LGPS)) for metric in ("ns_per_day", "ns_per_day_batched")]
    one = scores[0]
    if one is None or one.outcome != "number" or one.parts.get("hardware") != provenance.hardware(session.bench.device):
        return None
    both = [0.1728 / score.value if score is not None and score.outcome == "number" else None for score in scores]
    alone = both[0] or GUESS
    return Speed(alone, both[1] or alone, f"{one.value:.3g} ns/day stored in {path}")


def measured_speed(session: Session, named: Named) -> Speed:
    """The speed of a few steps now."""
    from grannfield.md.evaluate import Evaluate
    from grannfield.md.integrators import evaluated
    from grannfield.md.simulate import Protocol, advance
    from grannfield.md.state import MDState, initial_state
    from grannfield.md.watch import Watch

    subject = session.subject(named)
    device, structure = subject.engine_device(session.bench.device), load_material(LGPS).structure
    protocol = Protocol(temperature=1000.0, length=1e6, ramp=0.0)
    made: list[float] = []
    for replicas in (1, 4) if named.kind != "calculator" else (1,):
        state = initial_state(structure.z, structure.pos, structure.cell, 1000.0, list(range(replicas)))
        state = MDState(**{key: value.to(device) for key, value in vars(state).items()})
        evaluate = Evaluate(subject.field.to(device).eval(), state)
        state, watch = evaluated(state, evaluate), Watch.new(replicas, protocol.timestep, device)
        state, watch = advance(state, watch, evaluate, protocol, 0, 2)
        spent: list[float] = []
        while len(spent) < 3 or sum(spent) < MEASURE_S / 2:
            start = time.perf_counter()
            state, watch = advance(state, watch, evaluate, protocol, 2 + len(spent), 1)
            float(state.energy.sum())  # a device has finished
            spent.append(time.perf_counter() - start)
        made.append(sorted(spent)[len(spent) // 2] / replicas)  # the median: a step may fall into a pause of the machine
    return Speed(made[0], made[-1], f"{0.1728 / made[0]:.3g} ns/day in a few steps now", MEASURED_RANGE)


def known(session: Session, item: Any, pieces: Sequence[Piece]) -> list[Piece]:
    """The same pieces with what the store holds of them."""
    from dataclasses import replace

    from grannfield.motion import constant_energy, motions

    params = item.callspec.params
    named, material = params["named"], params.get("material")
    if material is None or not pieces:
        return list(pieces)
    bench, subject = session.bench, session.subject(named)
    data = session.data(material, named)
    found = []
    for piece in pieces:
        made = False
        if piece.kind == "MD":
            runs = motions(subject, material, data.reference, bench.preset, bench.seed)
            made = next(
                (run.made(bench.store) for run in runs if piece.what.startswith(f"{run.protocol.temperature:g} K")), False
            )
        elif piece.kind == "NVE":
            made = constant_energy(subject, material, data.reference, bench.preset, bench.seed).made(bench.store)
        elif piece.kind == "predictions":
            made = bench.prediction_file(subject, data, piece.what)[0].exists()  # type: ignore[arg-type]
        found.append(replace(piece, made=made))
    return found


def forecast(session: Session, items: Sequence[Any]) -> list[str]:
    """Jobs, time and disk of a session, as lines."""
    pieces: dict[tuple[str, ...], Piece] = {}
    problems: dict[str, str] = {}
    for item in items:
        wanted = [one for one in pieces_of(session, item) if one.key not in pieces]
        try:
            wanted = known(session, item, wanted)
        except Exception as problem:  # a model or a reference that cannot be read is reported by its tests
            name = item.callspec.params["named"].label
            problems[name] = f"{type(problem).__name__}: {problem}".splitlines()[0]
        pieces |= {one.key: one for one in wanted}
    speeds: dict[str, Speed] = {}
    for named in session.models:
        if any(one.model == named.label for one in pieces.values()) and named.label not in problems:
            speeds[named.label] = stored_speed(session, named) or measured_speed(session, named)
    return _written(session, items, list(pieces.values()), speeds, problems)


def _written(
    session: Session, items: Sequence[Any], pieces: list[Piece], speeds: dict[str, Speed], problems: dict[str, str]
) -> list[str]:
    from tabulate import tabulate

    rows, total, low, high = [], 0.0, 0.0, 0.0
    for model in dict.fromkeys(one.model for one in pieces):
        for kind in KINDS:
            mine = [one for one in pieces if (one.model, one.kind) == (model, kind)]
            todo = [one for one in mine if not one.made]
            if not mine or model not in speeds:
                continue
            speed = speeds[model]
            seconds = sum(map(speed.seconds, todo))
            total, low, high = total + seconds, low + seconds * speed.span[0], high + seconds * speed.span[1]
            counted = f"{sum(one.evaluations for one in todo):,.0f}"
            rows.append([model, kind, len(mine), len(mine) - len(todo), counted, duration(seconds) if todo else "-"])
    headers = ["model", "piece", "jobs", "in the store", "force evaluations", "time"]
    said = [f"forecast of preset {session.bench.preset.name}: {session.bench.preset.described}"]
    said += str(tabulate(rows, headers=headers, disable_numparse=True)).splitlines()
    said += [f"{model}: speed {speed.source}" for model, speed in speeds.items()]
    said += [f"{model}: not counted, {problem}" for model, problem in problems.items()]
    params = [item.callspec.params for item in items if metrics_of(item)]
    pairs = {(one["named"].label, str(one.get("material"))) for one in params}
    analysis = START_S + MATERIAL_S * len(pairs) + SCORE_S * len(items)
    disk = sum(one.disk for one in pieces if not one.made)
    device, place = provenance.hardware(session.bench.device), Path(session.bench.store)
    between = f"{duration(low + 0.7 * analysis)} to {duration(high + 1.5 * analysis)}"
    said.append(f"{len(items)} tests: about {duration(total + analysis)} ({between}) on {device}, of which {duration(analysis)} "
                f"without forces; about {disk / 1e6:.1f} MB in {place}")  # fmt: skip
    return [*said, "nothing was run (--forecast)"]
