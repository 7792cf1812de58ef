"""How a number came to be, in words: definition, runs, reference, weights, code, machine, and what recomputes it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grannfield.evidence.files import Altered, NotKept
from grannfield.evidence.kept import Evidence, KeptRun
from grannfield.report.columns import COLUMNS
from grannfield.report.kinship import UNKNOWN
from grannfield.report.origins import through_ase, training
from grannfield.report.verdicts import EXACT, own_number, verdict_of
from grannfield.score import Score, significant

WIDTH = 118


def explained(evidence: Evidence, metric: str, formula: str) -> str:
    """The story of one cell."""
    one = evidence.results
    score = one.scores[metric, formula]
    sections = {
        f"{COLUMNS[metric].title} of {one.label} on {formula}": [f"{score.text} {COLUMNS[metric].unit}".strip(), *_exact(score)],
        "What it is": _definition(metric, score),
        "What the verdict rests on": list(_verdict(evidence, metric, formula)),
        "Made from": list(_made_from(evidence, score, formula)),
        "Against": list(_against(evidence, score, formula)),
        "By": list(_model(evidence)),
        "How, when and where": list(_conditions(evidence, score)),
        "Its parts": list(_parts(score)),
        "Recompute it": [f"grannfield verify {_quoted(one.label)} {formula} {metric} --reports {evidence.reports}"],
    }
    return "\n\n".join(f"{title}\n{_indented(lines)}" for title, lines in sections.items() if lines)


def _indented(lines: list[str]) -> str:
    return "\n".join(textwrap.fill(f"  {line}", WIDTH, subsequent_indent="    ", break_on_hyphens=False) for line in lines)


def _quoted(label: str) -> str:
    return label if label.replace("-", "").replace(".", "").replace("_", "").isalnum() else f"'{label}'"


def _exact(score: Score) -> list[str]:
    """All digits, for who wants to compare."""
    if score.outcome != "number":
        return []
    name = "quartiles" if "quartiles" in score.note else "95% interval"
    interval = "no interval" if score.interval is None else f"{name} {score.interval[0]!r} to {score.interval[1]!r}"
    return [f"stored as {score.value!r}, {interval}, n = {score.n}"]


def _definition(metric: str, score: Score) -> list[str]:
    column = COLUMNS[metric]
    better = {"higher": "higher is better", "lower": "lower is better", "closer": "the closer to the reference the better"}
    lines = [f"{column.about}; {better[column.better]}"]
    if score.note:
        lines.append(f"interval and sample: {score.note}")
    if column.measured_on:
        lines.append(f"measured on {column.measured_on} alone")
    if score.outcome == "n/a":
        lines.append(f"no number: {score.reason}" + (f": {score.detail}" if score.detail else ""))
    return lines


def _verdict(evidence: Evidence, metric: str, formula: str) -> Iterator[str]:
    """The reference's own number, the margin, and the test on the difference."""
    one, column = evidence.results, COLUMNS[metric]
    score, own, said = one.scores[metric, formula], own_number(one, metric, formula), verdict_of(one, metric, formula)
    if score.verdict:
        yield f"of the runs: {score.verdict}"
    if own is not None and not own.reason:
        what = "halves of the reference against each other" if column.floor else "the reference's own number"
        low, high = own.interval
        yield f"{what}: {significant(own.value)}" + (
            " (exact)" if own.note == EXACT else f" [{significant(low)}, {significant(high)}]"
        )
    if said is not None and column.margin is not None:
        gap = said.difference
        low, high = gap.interval
        scale = " of the decimal logarithms" if column.log10 else ""
        value = "no number" if gap.reason else significant(gap.value)
        within = f" [{significant(low)}, {significant(high)}]" if math.isfinite(low) or math.isfinite(high) else ""
        yield (
            f"{said.label}: difference{scale} {value}{within}, margin ±{column.margin:g}"
            + (f"; {said.detail}" if said.detail else "")
        )


def _made_from(evidence: Evidence, score: Score, formula: str) -> Iterator[str]:
    """Each piece of evidence, with what was used of it."""
    pointers: list[dict[str, Any]] = score.provenance.get("evidence", [])
    if not pointers:
        yield (
            "nothing that is kept: it follows from the model and the reference alone"
            if score.outcome == "n/a"
            else "not recorded"
        )
    for pointer in pointers:
        kind = pointer["kind"]
        if kind in ("md", "nve"):
            yield from _run(evidence, pointer, formula)
        elif kind == "predictions":
            yield _predictions(evidence, pointer, formula)
        elif kind == "curl":
            yield f"products of the Jacobian of the forces, {pointer['path']}, sha256 {pointer['sha256'][:16]}"
        elif kind == "given":
            files = ", ".join(f"{name} {sha256[:16]}" for name, sha256 in sorted(pointer["files"].items()))
            yield f"run made elsewhere at {pointer['temperature_K']:g} K: {files}"
        elif "not_kept" in pointer:
            yield f"{pointer['metric']}: {pointer['not_kept']}"
        else:
            rounds = ", ".join(f"{seconds:.4g}" for seconds in score.parts.get("rounds_s", ()))
            yield f"seconds of {len(score.parts.get('rounds_s', ()))} rounds: {rounds}"


def _run(evidence: Evidence, pointer: dict[str, Any], formula: str) -> Iterator[str]:
    """A run: its file, how it was made and ended, and how many of its frames were used."""
    protocol = pointer["protocol"]
    kind = "NVE" if pointer["kind"] == "nve" else "NVT"
    yield (
        f"{kind} run at {pointer['temperature_K']:g} K, replica {pointer['replica']}, seed {pointer['seed']}: "
        f"{protocol['length'] * 1e-3:g} ps in steps of {protocol['timestep']:g} fs after a ramp of {protocol['ramp'] * 1e-3:g} "
        f"ps from {protocol['start_temperature']:g} K, a frame every {protocol['interval']:g} fs; ended: {pointer['ended']}"
    )
    yield f"  {pointer['path']}, sha256 {pointer['sha256'][:16]}; {_frames(evidence, pointer, formula)}"


def _frames(evidence: Evidence, pointer: dict[str, Any], formula: str) -> str:
    try:
        run = KeptRun(pointer, evidence.folders, evidence.reference(formula))
        whole, scored = run.trajectory(), run.scored()
    except (NotKept, Altered) as problem:
        return f"frames not counted: {problem}"
    if whole is None:
        return "no frame before its failure"
    if pointer["kind"] == "nve":
        return f"{whole.n_frames} frames"
    used = 0 if scored.production is None else scored.production.n_frames
    equilibration = int((whole.time < run.drop * run.protocol["length"] - 1e-6).sum())
    after = whole.n_frames - used - equilibration
    lost = f", {after} after the failure" if after > 0 else ""
    return f"{used} of {whole.n_frames} frames used, dropped: {min(equilibration, whole.n_frames)} of equilibration{lost}"


def _predictions(evidence: Evidence, pointer: dict[str, Any], formula: str) -> str:
    text = f"{pointer['path']}, sha256 {pointer['sha256'][:16]}"
    try:
        kept = evidence.predictions(formula, pointer["column"])
    except (NotKept, Altered) as problem:
        return f"predictions on {pointer['column']} frames, {text}; {problem}"
    assert kept is not None
    where = f" of runs at {', '.join(f'{t:g}' for t in kept.temperatures)} K" if kept.temperatures else ""
    return f"predictions on {len(kept.frames)} frames of {len(kept.frames.z)} atoms{where} ({kept.held_out}), {text}"


def _against(evidence: Evidence, score: Score, formula: str) -> Iterator[str]:
    stamp = score.provenance
    if not stamp.get("reference"):
        return
    yield f"{stamp['reference']}" + (
        " (a published machine-learned potential, not AIMD)" if str(stamp["reference"]).startswith("surrogate") else ""
    )
    if stamp.get("kinship") not in ("", None, UNKNOWN):
        yield f"kinship: {stamp['kinship']}"
    try:
        runs = {run.path.name: run for run in evidence.reference(formula).reference.runs}
    except NotKept as problem:
        runs = {}
        yield str(problem)
    for name, sha256 in sorted(stamp.get("reference_runs", {}).items()):
        run = runs.get(name)
        about = "" if run is None or run.kind != "time" else (
            f": {run.temperature:g} K, {run.length_ps:g} ps, {run.equilibration_ps:g} of them equilibration"
        )  # fmt: skip
        yield f"{name}{about}, sha256 {sha256[:16]}"


def _model(evidence: Evidence) -> Iterator[str]:
    model = evidence.results.model
    size = f", {model['n_parameters']:,} parameters" if model.get("n_parameters") else ""
    shipped = ", shipped with the package" if model.get("shipped") else ""
    name = f"{evidence.results.label} (reduced)" if model.get("reduced") else evidence.results.label
    yield f"{name}{size}; weights {model.get('identity', '')[:16]}{shipped}"
    yield through_ase(model) or training(model.get("provenance") or {})


def _conditions(evidence: Evidence, score: Score) -> Iterator[str]:
    """Protocol, then who made what: the runs, the predictions, the score."""
    protocol, stamp = evidence.results.protocol, score.provenance
    yield f"preset {protocol.get('preset')}: {protocol.get('described')}; master seed {protocol.get('seed')}"
    for key in ("runs_made_on", "nve_made_on", "predictions_made_on", "curl_made_on", "speed_made_on"):
        for maker in stamp.get(key, ()):
            yield f"{key.removesuffix('_made_on')}: {_stamped(maker)}"
    yield f"scored{' from kept evidence' if stamp.get('rescored') else ''}: {_stamped(stamp)}"


def _stamped(stamp: dict[str, Any]) -> str:
    if stamp.get("made") == "elsewhere":
        return "elsewhere"
    versions = stamp.get("versions", {})
    others = ", ".join(f"{name} {value}" for name, value in versions.items() if name not in ("code", "grannfield"))
    precision = f", {stamp['precision']}" if stamp.get("precision") else ""
    code = f"grannfield {versions.get('grannfield')} (code {versions.get('code')})"
    engine = f", moved by {stamp['engine']}" if stamp.get("engine") else ""
    return f"{stamp.get('date')}, {stamp.get('hardware')}{precision}, {code}, {others}{engine}"


def _parts(score: Score) -> Iterator[str]:
    """What each run contributes, then the other parts in a line each."""
    for row in score.parts.get("by_run", ()):
        where = ", ".join(f"{row[key]:g} K" if key == "temperature_K" else f"replica {row[key]}"
                          for key in ("temperature_K", "replica") if row.get(key) is not None)  # fmt: skip
        value = "none" if row.get("value") is None else significant(float(row["value"]))
        more = [f"{k} {_brief(v)}" for k, v in row.items() if k not in ("temperature_K", "replica", "value", "interval") and v]
        interval = row.get("interval")
        within = f" [{_brief(interval[0])}, {_brief(interval[1])}]" if interval else ""
        yield f"{where or 'all'}: {value}{within}" + (f"; {', '.join(more)}" if more else "")
    for name, part in score.parts.items():
        if name != "by_run":
            yield f"{name}: {_brief(part)}"


def _brief(value: Any, depth: int = 0) -> str:
    """A part as a person reads it; long ones are cut, `verify` compares all of it."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return significant(float(value))
    if isinstance(value, dict) and "value" in value:
        interval = value.get("interval")
        within = f" [{_brief(interval[0])}, {_brief(interval[1])}]" if interval else ""
        return f"n/a: {value.get('reason')}" if value["value"] is None else f"{_brief(value['value'])}{within}"
    items = [f"{k} {_brief(v, depth + 1)}" for k, v in value.items()] if isinstance(value, dict) else []
    items = [_brief(v, depth + 1) for v in value] if isinstance(value, list | tuple) else items
    if items:
        shown = items if len(items) <= 8 else [*items[:8], f"... {len(items) - 8} more"]
        return f"({', '.join(shown)})" if depth else ", ".join(shown)
    return str(value)


def story(reports: Path, model: str, material: str, metric: str) -> str:
    """The story of the cell that a user names; LookupError with the nearest name where there is none."""
    from grannfield.evidence.chosen import chosen_material, chosen_metric, chosen_results

    one = chosen_results(reports, model)[0]
    formula = chosen_material(one, material)
    return explained(Evidence(one, reports), chosen_metric(one, metric, formula), formula)
