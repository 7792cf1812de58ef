"""From the paper's names to a force field of this package, with an account of every weight."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from grannfield.convert.sizes import settings_of
from grannfield.convert.state import ConversionError, Published
from grannfield.forcefield import ForceField, create, registered, to_precision

ENERGY_HEADS = {
    "forcenet": "energy.",
    "scn": "readout.energy.linear3.",
    "escn": "readout.energy.linear3.",
    "leftnet": "energy.",
}
"""Last layer of the energy in models that predict forces apart from it: what the ratio of two scales is put into."""
UNKNOWN = "?"
SEED = 0
"""Of weights that a file does not hold and `partial` lets stay as they are made."""
CAPPED = {"dimenet": 50, "dimenet_pp": 50}
"""Nearest neighbours that the paper's package kept of every atom, whatever the setting; at 6 Å some atoms of LGPS have more."""
OURS = ("scale.", "rbf.coeff")
"""What files of the paper's package need not hold: units, and what follows from the rest."""


@dataclass(frozen=True)
class Conversion:
    """A converted force field, and what became of every weight of the file."""

    field: ForceField
    mapped: dict[str, list[str]]
    """Ours for each of the paper's names."""
    constants: list[str]
    """The paper's names of what is made anew here."""
    unused: list[str]
    missing: list[str]
    """Our names of what the file does not hold."""
    notes: list[str] = field(default_factory=list)


@cache
def rules() -> dict[str, dict[str, Any]]:
    """How each model's weights are called, from names.toml."""
    text = resources.files("grannfield.convert").joinpath("names.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def our_name(model: str, name: str) -> str:
    """What the paper's weight is called here; empty for a constant, UNKNOWN for a name that the paper's model does not have.

    >>> our_name("cgcnn", "fcs.4.weight")
    'head.3.weight'
    >>> our_name("escn", "layer_blocks.0.message_block.so2_block_target.so2_conv.1.fc2_i.weight")
    'layers.0.orders.2.target.second.1'
    >>> our_name("cgcnn", "convs.0.bn1.num_batches_tracked")
    ''
    """
    table = rules()[model]
    if any(re.search(pattern, name) for pattern in rules()["all"]["constants"] + table["constants"]):
        return ""
    renamed = [(pattern, ours) for pattern, ours in table.items() if pattern != "constants"]
    if not any(re.search(pattern, name) for pattern, _ in renamed):
        return UNKNOWN
    for pattern, ours in renamed:
        name = re.sub(pattern, ours, name)
    return re.sub(r"<(\d+)(?:/(\d+))?\+1>", lambda m: str(int(m[1]) // int(m[2] or 1) + 1), name)


def likeliest(weights: dict[str, Tensor]) -> str:
    """The model whose names a file uses most."""

    def known(model: str) -> int:
        patterns = [p for p in rules()[model] if p != "constants"]
        return sum(any(re.search(p, name) for p in patterns) for name in weights)

    return max(registered(), key=known)


def convert(published: Published, model: str, settings: dict[str, Any] | None = None, *, partial: bool = False) -> Conversion:
    """The force field of a file, in the published arithmetic unless `settings` say otherwise; units are not yet applied.

    settings: what shapes do not tell, such as a cut-off other than 6 Å. ConversionError names every weight that has no place
    and every one that is missing, unless `partial`, and always those of another shape or with numbers that are not finite.
    """
    if model not in registered():
        raise ConversionError(f"no model is called {model!r}; there are {', '.join(registered())}")
    weights = {key: value.detach().clone() for key, value in published.weights.items()}
    found = settings_of(model, weights, settings)
    made = _made(published, model, {"as_published": True} | found | (settings or {}))
    state = made.state_dict()
    placed, mapped, constants, unused, wrong = _placed(model, weights, state)
    missing = sorted(key for key in state if key not in placed and not key.startswith(OURS))
    if wrong or (not partial and (unused or missing)):
        raise ConversionError(_refusal(published, model, unused, missing, wrong))
    if odd := _not_finite(made, placed):
        raise ConversionError(f"{published.path}: {', '.join(odd)} hold NaN or infinity: these weights are broken")
    _derive(placed, state)
    precision = torch.float64 if any(x.dtype == torch.float64 for x in placed.values()) else torch.float32
    to_precision(made, precision).load_state_dict({**state, **placed})
    notes = [f"{', '.join(f'{k} = {v!r}' for k, v in found.items())} read from the shapes"]
    if "cutoff" not in found and "cutoff" not in (settings or {}):
        notes.append(f"cutoff = {made.cutoff:g} Å, the paper's: the file does not say (--set cutoff=...)")
    if model in CAPPED:
        notes.append(
            f"the paper's package kept the {CAPPED[model]} nearest neighbours of an atom; here all within the cut-off count"
        )
    if published.step is not None:
        notes.append(f"weights of step {published.step}, not averaged: best_model.pth.tar would hold the averaged ones")
    if missing:
        notes.append(f"{len(missing)} missing weights are random (seed {SEED}): this is not the published model")
    return Conversion(made.eval(), mapped, constants, unused, missing, notes)


def _made(published: Published, model: str, settings: dict[str, Any]) -> ForceField:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            return create(model, **settings)
        except (ValueError, TypeError, RuntimeError, AssertionError) as problem:
            raise ConversionError(f"{published.path}: {model} cannot be made with {settings}: {problem}") from problem


def _placed(
    model: str, weights: dict[str, Tensor], state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, list[str]], list[str], list[str], list[str]]:
    """Weights under our names; what went where; constants; unused; and sentences about what does not fit."""
    placed: dict[str, Tensor] = {}
    mapped: dict[str, list[str]] = {}
    constants, unused, wrong = [], [], []
    for name, value in weights.items():
        ours = our_name(model, name)
        if not ours:
            constants.append(name)
            continue
        places = _places(ours, state)
        if not places:
            unused.append(name)
        elif value.numel() != sum(state[p].numel() for p in places):
            shapes = " and ".join(str(tuple(state[p].shape)) for p in places)
            wrong.append(f"{name} has shape {tuple(value.shape)}, {', '.join(places)} needs {shapes}")
        else:
            mapped[name] = places
            parts = value.reshape(-1).split([state[p].numel() for p in places])
            for place, part in zip(places, parts, strict=True):
                if not _same_shape(value, state[place], len(places)):
                    wrong.append(f"{name} has shape {tuple(value.shape)}, {place} needs {tuple(state[place].shape)}")
                elif place in placed and not torch.equal(placed[place], part.view(state[place].shape)):
                    wrong.append(f"{name} and another weight are both {place}, and differ")
                placed[place] = part.view(state[place].shape)
    return placed, mapped, constants, unused, wrong


def _places(ours: str, state: dict[str, Tensor]) -> list[str]:
    if ours.endswith(".weights.*"):
        stem = ours.removesuffix("*")
        return sorted((key for key in state if key.startswith(stem)), key=lambda key: int(key.removeprefix(stem)))
    return [ours] if ours in state else []


def _same_shape(value: Tensor, ours: Tensor, places: int) -> bool:
    """Whether shapes are the same but for axes of length 1; flat arrays of several matrices have been counted."""
    whole = lambda x: [n for n in x.shape if n != 1]  # noqa: E731
    return places > 1 or value.dim() == 1 or whole(value) == whole(ours)


def _derive(placed: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """The steepness of Gaussians that stand at the file's centres, where it is no number of the file's own."""
    centers = placed.get("rbf.centers")
    if centers is not None and "rbf.coeff" in state and "rbf.coeff" not in placed and len(centers) > 1:
        placed["rbf.coeff"] = (-0.5 / (centers[1] - centers[0]).double() ** 2).to(centers.dtype)


def _not_finite(made: ForceField, placed: dict[str, Tensor]) -> list[str]:
    """Names of what training changes and is not finite; tables of elements may hold NaN for those without data."""
    trained = {key for key, p in made.named_parameters() if p.requires_grad}
    return [key for key, value in placed.items() if key in trained and not torch.isfinite(value).all()]


def _refusal(published: Published, model: str, unused: list[str], missing: list[str], wrong: list[str]) -> str:
    parts = list(wrong)
    if unused:
        parts.append(f"no place for {', '.join(unused)}")
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    like = likeliest(published.weights)
    hint = f"; its names look like those of {like}" if like != model else ""
    cure = "" if wrong else "; --partial converts what fits"
    return f"{published.path} is not a whole {model}: {'; '.join(parts)}{hint}{cure}"


def in_units(conversion: Conversion, energy: tuple[float, float], forces: tuple[float, float], atoms: int) -> Conversion:
    """The same force field giving eV and eV/Å: energy and forces are (mean, standard deviation) of the training data.

    The published forces are std_F times the network's, its energies std_E times the network's plus a mean per structure. One
    scale multiplies both here, and it is std_F, for forces move atoms. Where the energy does not give the forces, the ratio of
    the two goes into the last layer of the energy, and energies are the published ones too. `atoms` of the training cell share
    the mean energy.
    """
    (mean_energy, std_energy), (mean_force, std_force) = energy, forces
    made, notes = conversion.field, list(conversion.notes)
    ratio = std_energy / std_force
    head = ENERGY_HEADS.get(made.name)
    with torch.no_grad():
        made.scale.scale.fill_(std_force)
        made.scale.shift.fill_(mean_energy / atoms)
        if head is not None:
            for key, p in made.named_parameters():
                if key.startswith(head):
                    p.mul_(ratio)
    if head is None and abs(ratio - 1) > 1e-12:
        notes.append(
            f"energies are {1 / ratio:.4g} times the published ones around their mean: one scale, that of the forces, keeps "
            f"the energy the integral of the forces; the paper's two ({std_energy:g} eV, {std_force:g} eV/Å) do not"
        )
    if abs(mean_force) > 1e-6 * std_force:
        notes.append(f"the mean force component, {mean_force:g} eV/Å, is left out: it would push every atom the same way")
    notes.append(f"scale {std_force:g} eV/Å; mean energy {mean_energy:g} eV shared by {atoms} atoms")
    return Conversion(made, conversion.mapped, conversion.constants, conversion.unused, conversion.missing, notes)
