"""What stands behind the numbers of a model: weights, training, reference, protocol, hardware."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from grannfield.report.kinship import UNKNOWN, by_name, kinship
from grannfield.report.results import Results

CONTROL = "control"
"""Kind of a model that is made to be wrong, or right, in one known way."""
KIN = (
    "Kinship with the potential that made the reference: `kin` learnt from the same labels, so that errors the two share do not "
    "show here; `trained on it` or `on its maker's labels` imitates that potential; `is the reference` is that potential itself "
    "and has no rank."
)
SURROGATE = "a surrogate is a published machine-learned potential, not AIMD: errors against it are errors against it"


def behind(results: Sequence[Results]) -> list[tuple[str, str]]:
    """What the numbers rest on, as (term, text): weights, protocol and hardware of each model, and the reference."""
    entries = []
    for one in results:
        protocol = one.protocol
        shipped = ", shipped with the package" if one.model.get("shipped") else ""
        size = f"; reduced: {one.model['n_parameters']:,} parameters" if one.model.get("reduced") else ""
        what = {"trajectories": "runs", CONTROL: "control"}.get(one.model.get("kind", ""), "weights")
        weights = f"{what} `{str(one.model.get('identity') or '')[:10]}`{shipped}{size}"
        scored = f"preset `{protocol.get('preset')}`: {protocol.get('described')}; {protocol.get('hardware')}"
        entries.append((one.label, f"{weights}; {story(one)}. Scored with {scored}; seed {protocol.get('seed')}."))
    entries.append(("reference", surrogate_note(results).removeprefix("Reference: ")))
    if any(kinship_of(one, material) not in ("", UNKNOWN) for one in results for material in one.materials):
        entries.append(("kinship", KIN))
    return entries


def story(one: Results) -> str:
    """How what moves the atoms came to be, in a line."""
    return (
        one.model.get("about")
        or made_elsewhere(one.model)
        or through_ase(one.model)
        or training(one.model.get("provenance") or {})
    )


def references_of(results: Iterable[Results]) -> list[str]:
    """Labels of all references that results were taken against."""
    return sorted({reference_of(one, material) for one in results for material in one.materials} - {""})


def surrogate_note(results: Iterable[Results]) -> str:
    """The references by name, in a sentence that says what a surrogate is."""
    labels = references_of(results)
    said = "; ".join(labels) or "not stated in the results"
    return f"Reference: {said}" + (f" ({SURROGATE})." if any(label.startswith("surrogate") for label in labels) else ".")


def reference_of(one: Results, material: str) -> str:
    """What made the reference that a model was scored against on a material; a surrogate is called one."""
    labels = {s.provenance.get("reference", "") for (_, where), s in one.scores.items() if where == material}
    return ", ".join(sorted(labels - {""}))


def kinship_of(one: Results, material: str) -> str:
    """How a model is related to what made the reference it was scored against: as its results say, else from the table."""
    behind = [s.provenance for (_, where), s in one.scores.items() if where == material and s.provenance.get("reference")]
    found = {stamp["kinship"] if "kinship" in stamp else kinship(one.model, stamp["reference"], material) for stamp in behind}
    return ", ".join(sorted(found - {""}))


def made_elsewhere(model: dict[str, Any]) -> str:
    """Of motion that was made elsewhere: the files and their sums, and what moved it as far as it is stated; empty for others."""
    if model.get("kind") != "trajectories":
        return ""
    files = ", ".join(f"{name} `{sha256[:10]}`" for name, sha256 in sorted(model.get("files", {}).items()))
    notes = "; ".join(dict.fromkeys(note for found in model.get("notes", {}).values() for note in found))
    by = f" by {model['potential']}" if model.get("potential") else ", by what is not stated"
    return f"MD made elsewhere{by}; no force field was given; {files}" + (f"; notes: {notes}" if notes else "")


def through_ase(model: dict[str, Any]) -> str:
    """Which call and packages a calculator comes from, and what it was trained on where that is known; empty for others."""
    if model.get("kind") != "calculator":
        return ""
    settings = model.get("settings") or {}
    packages = ", ".join(f"{name} {version[:12]}" for name, version in settings.get("packages", {}).items())
    known = by_name(str(model.get("potential") or ""))
    sets = ", ".join(known.training if known else model.get("kin") or ())
    trained = (
        f"trained on {sets}" + (f" ({known.source})" if known else " (declared)") if sets else "trained on what is not known"
    )
    return f"`{settings.get('calculator', model.get('spec', ''))}` through ASE ({packages or 'no package'}); {trained}"


def budget_of(story: dict[str, Any]) -> str:
    """What a training could spend: minutes, or frames where the time was not limited; empty where that is not known.

    >>> budget_of({"budget_s": 480.0}), budget_of({"whole_budget": {"samples": 20000}}), budget_of({})
    ('8 min', '20,000 frames', '')
    """
    if "budget_s" in story:
        return f"{story['budget_s'] / 60:g} min"
    samples = story.get("whole_budget", {}).get("samples")
    return "" if samples is None else f"{samples:,} frames"


def training(story: dict[str, Any]) -> str:
    """How weights came to be, in a line."""
    if "seconds" not in story:
        return "origin of the weights unknown"
    return (
        f"best of {budget_of(story) or 'a budget'} of training, after {story['seconds'] / 60:.3g} min, {story['steps']} steps of "
        f"{story['recipe']['batch_size']}, on {story['material']} ({story['reference']}), {story['samples_per_s']:.3g} samples/s "
        f"on {story['hardware']}"
    )
