"""A model in words: what it is, its weights, how it was trained, which arithmetic it follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grannfield.html.cells import kinship_mark
from grannfield.html.parts import text_of, words
from grannfield.report.contract import measured_symmetry
from grannfield.report.origins import kinship_of, made_elsewhere, reference_of, through_ase, training
from grannfield.report.paper import TITLES, table1
from grannfield.report.results import Results

Contracts = dict[str, dict[str, dict[str, Any]]]
KINDS = {
    "model": "a force field of this package",
    "calculator": "a potential used through ASE",
    "trajectories": "MD made elsewhere, without a force field",
    "control": "a control: wrong, or right, in one known way on purpose",
}


def behaviour_of(one: Results) -> tuple[str, str]:
    """(registered name, "default" or "published") of a model."""
    name, _, published = str(one.model.get("name", "")).partition("@")
    return name, "published" if (one.model.get("settings") or {}).get("as_published") or published else "default"


def about(one: Results, contracts: Contracts) -> dict[str, Any]:
    """A model's page but for its numbers: [heading, rows of (what, text)] and the list of deviations from the paper."""
    name, behaviour = behaviour_of(one)
    measured = contracts.get(name, {}).get(behaviour, {})
    sections = [["What it is", _identity(one, name, measured)], ["Training", _training(one)], ["How it was scored", _scored(one)]]
    return {
        "label": one.label,
        "reduced": bool(one.model.get("reduced")),
        "kind": str(one.model.get("kind", "model")),
        "behaviour": behaviour if name in TITLES else "",
        "sections": [[heading, [row for row in rows if row[1]]] for heading, rows in sections],
        "differences": [str(text) for text in measured.get("differences") or ()],
    }


def _identity(one: Results, name: str, measured: Mapping[str, Any]) -> list[list[str]]:
    model = one.model
    published = table1().get(name, {}).get("parameters_million")
    count = f"{model['n_parameters']:,}" if model.get("n_parameters") else ""
    if count and published:
        count += f" (Table 1: {published} million)"
    size = "reduced: smaller than Table 1, so that its place says little of the architecture" if model.get("reduced") else ""
    kind = KINDS.get(str(model.get("kind", "")), str(model.get("kind", "")))
    behaviour = behaviour_of(one)[1]
    arithmetic = "as published" if behaviour == "published" else "default of this package, defects of the published code mended"
    return [
        ["kind", f"{TITLES[name]}, {kind}" if name in TITLES else kind],
        ["size", size],
        ["parameters", count],
        ["forces", "" if "conservative" not in model else _forces(bool(model["conservative"]))],
        ["symmetry measured", measured_symmetry(dict(measured)) if measured.get("findings") else ""],
        ["symmetry claimed", str(model.get("symmetry") or "")],
        ["arithmetic", arithmetic if name in TITLES else ""],
        ["precision", str(model.get("precision") or "")],
        ["weights (SHA-256)", str(model.get("identity") or "")],
        ["shipped with the package", "yes" if model.get("shipped") else ""],
        ["about", str(model.get("about") or "")],
        ["settings", text_of({k: v for k, v in (model.get("settings") or {}).items() if k != "as_published"})],
    ]


def _forces(conservative: bool) -> str:
    return "the gradient of an energy" if conservative else "direct: predicted beside the energy, they conserve nothing"


def _training(one: Results) -> list[list[str]]:
    elsewhere = made_elsewhere(one.model) or through_ase(one.model)
    if elsewhere:
        return [["story", elsewhere]]
    story: dict[str, Any] = one.model.get("provenance") or {}
    kept = ("split", "training_frames", "epochs", "seed", "loss", "date")
    rows = [["story", training(story)], *([words(key), text_of(story.get(key))] for key in kept)]
    recipe = story.get("recipe") or {}
    return [*rows, ["recipe", text_of(recipe)], ["training data (SHA-256)", str(story.get("training_data") or "")]]


def _scored(one: Results) -> list[list[str]]:
    protocol = one.protocol
    described = f"preset {protocol.get('preset')}: {protocol.get('described', '')}".rstrip(": ")
    kin = {m: kinship_of(one, m) for m in one.materials}
    texts = sorted({text for text in kin.values() if kinship_mark(text)})
    kinship = "; ".join(f"{text} ({', '.join(m for m in kin if kin[m] == text)})" if len(texts) > 1 else text for text in texts)
    return [
        ["protocol", described],
        ["reference", "; ".join(sorted({reference_of(one, m) for m in one.materials} - {""}))],
        ["kinship with its maker", kinship],
        ["hardware", str(protocol.get("hardware") or "")],
        ["seed", str(protocol.get("seed", ""))],
    ]
