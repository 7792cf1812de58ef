"""From what a user names to what can be measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from grannfield.call import parsed
from grannfield.contract.samples import Samples, samples
from grannfield.contract.subjects import CalculatorSubject, FieldSubject, Subject
from grannfield.contract.weights import Vacuous, Weights, enliven, shared
from grannfield.forcefield import ForceField, create, reduced_settings, registered, split_name
from grannfield.plugin import ModelNotFound, find, open_model

LARGE = ("escn", "scn")
"""Models of more than 15 million parameters: all checks at the size of Table 1 take more than two minutes on a CPU."""
DRAWS = 3
"""Weights drawn before a model is called vacuous."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A subject with the cells it is measured on and what is known of it."""

    subject: Subject
    samples: Samples
    about: dict[str, Any] = field(default_factory=dict)
    """Parameters, settings, claims, how the weights came to be."""
    seeded: bool = False
    """Whether the weights were made here."""


def open_name(spec: str, seed: int, full_size: bool = False) -> Opened:
    """A registered model, `name` or `name@published`, with seeded weights; reduced settings unless `full_size`.

    At full size the weights are scaled on the 5-atom cell, to save time. Raises Vacuous where no weights give it life.
    """
    name, behaviour = split_name(spec)
    published = behaviour == "published"
    fewer = {} if full_size else reduced().get(name, {})
    field, cells, weights = _alive(name, seed, full_size, as_published=published, **fewer)
    rival: Subject | None = None
    if not published and field.claims.rotation == "approximate" and not full_size:
        rival = FieldSubject(shared(field, seeded(name, seed, as_published=True, **fewer)), f"{name}@published")
    subject = FieldSubject(field, spec, rival=rival, must_couple=True)
    about = described(field) | {"reduced": fewer, "weights": asdict(weights)}
    if fewer:
        about["n_parameters"] = create(name, as_published=published).n_parameters
    return Opened(subject, cells, about, seeded=True)


def _alive(name: str, seed: int, full_size: bool, **settings: Any) -> tuple[ForceField, Samples, Weights]:
    """A field with living weights; weights that no gain wakes, such as saturated gates, are drawn again from another seed."""
    for draw in range(DRAWS):
        field = seeded(name, seed + 1000 * draw, **settings)
        cells = samples(seed, field.elements)
        try:
            return field, cells, enliven(field, [cells.skew] if full_size else [*cells], seed + 1000 * draw)
        except Vacuous:
            if draw == DRAWS - 1:
                raise
    raise AssertionError


def open_file(spec: str, seed: int) -> Opened:
    """A checkpoint, or the class of a Python file, with the weights it comes with."""
    torch.manual_seed(seed)
    try:
        named = find(spec)
    except ModelNotFound as problem:
        raise ModelNotFound(str(problem.args[0]).removeprefix("--model ")) from None
    own = open_model(named)
    return Opened(FieldSubject(own, named.label), samples(seed, own.elements), described(own))


def open_calculator(text: str, seed: int) -> Opened:
    """An ASE calculator from `pkg.mod:factory(key=value, ...)`."""
    subject = CalculatorSubject(make_calculator(text), text)
    return Opened(subject, samples(seed), {"claims": asdict(subject.claims), "conservative": True})


def is_registered(spec: str) -> bool:
    return spec.partition("@")[0] in registered()


def seeded(name: str, seed: int, **settings: Any) -> ForceField:
    """A registered model with fresh weights from a seed."""
    torch.manual_seed(seed)
    return create(name, **settings)


def reduced() -> dict[str, dict[str, Any]]:
    """Settings of the large models, at which all is measured; rotation and repeatability once more at that of Table 1."""
    return {name: reduced_settings(name) for name in LARGE}


def described(field: ForceField) -> dict[str, Any]:
    """What a report says of a force field before anything is measured."""
    return {
        "class": type(field).__name__,
        "n_parameters": field.n_parameters,
        "settings": field.settings,
        "symmetry": field.symmetry,
        "claims": asdict(field.claims),
        "conservative": field.conservative,
        "differences": differences(type(field)),
    }


def differences(cls: type) -> list[str]:
    """The bullets under "Differs from the published arithmetic:" in a class docstring.

    >>> class Model:
    ...     '''A model.
    ...
    ...     Differs from the published arithmetic:
    ...     - a sum over atoms
    ...       instead of a mean;
    ...     - an envelope.
    ...
    ...     More.
    ...     '''
    >>> differences(Model)
    ['a sum over atoms instead of a mean', 'an envelope']
    """
    _, _, after = (cls.__doc__ or "").partition("Differs from the published arithmetic:")
    found: list[str] = []
    for line in map(str.strip, after.splitlines()):
        if line.startswith(("- ", "* ")):
            found.append(line[2:])
        elif found and line:
            found[-1] += f" {line}"
        elif found:
            break
    return [text.rstrip(".;") for text in found]


def make_calculator(text: str) -> Any:
    """The object that `pkg.mod:factory(key=value, ...)` makes; CalculatorNotMade, a ValueError, says why there is none."""
    return parsed(text).make()
