"""A claim of the paper with the rule that decides it, as claims.toml keeps it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from grannfield.claims.logic import TOGETHER
from grannfield.report.columns import COLUMNS
from grannfield.report.paper import TITLES, table1
from grannfield.report.scale import SCALES

REFERENCE = "reference"
"""Stands for the reference itself, where a claim is about it."""
LEAST = "small"
"""Smallest preset that may decide a claim: that of the scale of the same name."""
SHORT = {"Li10GeP2S12": "LGPS"}
KINDS = ("cells", "order", "materials", "counted", "symmetry")
QUANTITIES = {
    "samples_per_s": "training samples per second",
    "sigma_distance": "distance of -log10 sigma(300 K) from the reference's, summed over the materials",
}
"""Of the rule `order`, beside the columns of the board."""
NEEDS: dict[str, tuple[str, ...]] = {
    "above": ("metric", "limit"),
    "below": ("metric", "limit"),
    "stable": (),
    "mode": ("mode",),
    "agrees": ("metric", "within"),
    "resolved": ("metric",),
    "strays": (),
    "differs": ("metric",),
}
"""Conditions, and what each has to be told."""


class ClaimError(ValueError):
    """claims.toml says something that no rule understands."""


@dataclass(frozen=True)
class Claim:
    """What the paper asserts, about which models and materials, and how it would be confirmed or refuted."""

    id: str
    group: str
    title: str
    text: str
    source: str
    kind: str
    models: tuple[str, ...] = tuple(TITLES)
    materials: tuple[str, ...] = ()
    condition: tuple[dict[str, Any], ...] = ()
    over: Literal["every", "any"] = "every"
    """Materials on which the conditions must hold."""
    among: Literal["every", "most", "any"] = "every"
    """Models of which it must hold."""
    first: tuple[str, ...] = ()
    than: tuple[str, ...] = ()
    column: str = ""
    """Of the paper's Table 1, for its own order."""
    metric: str = ""
    better: Literal["higher", "lower"] = "higher"
    moves: dict[str, list[str]] = field(default_factory=dict)
    least: str = LEAST
    device: str = ""
    published: bool = False

    def __post_init__(self) -> None:
        known = (*TITLES, REFERENCE)
        for name in (*self.models, *self.first, *self.than):
            if name not in known:
                raise ClaimError(f"claims.toml, {self.id}: there is no model {name!r}; there are {', '.join(known)}")
        if self.kind not in KINDS or self.least not in SCALES:
            raise ClaimError(f"claims.toml, {self.id}: kind {self.kind!r} or least {self.least!r} is not known")
        if self.over not in TOGETHER or self.among not in TOGETHER:
            raise ClaimError(f"claims.toml, {self.id}: over and among are {', '.join(TOGETHER)}")
        metrics = [self.metric, *(one.get("metric", "") for one in self.condition)]
        if unknown := [m for m in metrics if m and m not in COLUMNS and m not in QUANTITIES]:
            raise ClaimError(f"claims.toml, {self.id}: there is no column {unknown[0]!r}")
        for one in self.condition:
            if one.get("is") not in NEEDS:
                raise ClaimError(f"claims.toml, {self.id}: there is no condition {one.get('is')!r}; there are {', '.join(NEEDS)}")
            if lacking := [key for key in NEEDS[one["is"]] if key not in one]:
                raise ClaimError(f"claims.toml, {self.id}: the condition {one['is']!r} needs {', '.join(lacking)}")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Those whose findings are put together; in an order by Table 1, all that have another below them."""
        return tuple(name for name in self.models if below(self.column, name)) if self.column else self.first or self.models

    @property
    def words(self) -> str:
        """The rule in words: of one model, then of all together."""
        who = f"Of {title(self.subjects[0])}" if len(self.subjects) == 1 else "Of each model"
        return f"{who}: {_OF_ONE[self.kind](self)} {_together(self)}{_limits(self)}".strip()


@dataclass(frozen=True)
class Book:
    """All claims, and where they come from."""

    title: str
    journal: str
    doi: str
    sections: str
    claims: tuple[Claim, ...]
    untested: tuple[tuple[str, str], ...]
    """What the paper asserts and no run here can test, and why."""


@cache
def book() -> Book:
    """claims.toml, checked; ClaimError where it says something that no rule understands."""
    content = tomllib.loads(resources.files("grannfield.claims").joinpath("claims.toml").read_text(encoding="utf-8"))
    claims = tuple(claim_of(entry) for entry in content["claim"])
    if len({one.id for one in claims}) < len(claims):
        raise ClaimError("claims.toml: two claims have the same id")
    untested = tuple((one["text"], one["why"]) for one in content["untested"])
    return Book(content["title"], content["journal"], content["doi"], content["sections"], claims, untested)


def claim_of(entry: dict[str, Any]) -> Claim:
    """A claim from its entry; "all" are the paper's eleven models, and whom an order leaves out are all the others."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    if values.get("models", "all") == "all":
        values["models"] = tuple(TITLES)
    if values["kind"] == "order" and "first" in values and "than" not in values:
        values["than"] = tuple(name for name in TITLES if name not in values["first"])
    try:
        return Claim(**values)
    except TypeError as problem:
        raise ClaimError(f"claims.toml, {entry.get('id', 'a claim without id')}: {problem}") from problem


def below(column: str, model: str) -> tuple[str, ...]:
    """Models that the paper's Table 1 has below another in a column.

    >>> below("md_ns_per_day", "scn")
    ('dimenet',)
    """
    printed = {name: float(row[column]) for name, row in table1().items() if row[column] and name != "AIMD"}
    return tuple(name for name in printed if printed[name] < printed[model])


def titles(names: tuple[str, ...] | list[str]) -> str:
    """Models as the paper calls them, in a list."""
    return ", ".join(title(name) for name in names)


def title(name: str) -> str:
    return TITLES.get(name, "the reference" if name == REFERENCE else name)


def place(material: str) -> str:
    """A material as tables call it."""
    return SHORT.get(material, material)


def quantity(metric: str) -> str:
    """What a metric is called."""
    if metric in QUANTITIES:
        return QUANTITIES[metric]
    column = COLUMNS[metric]
    return f"{column.title}{f' ({column.unit})' if column.unit else ''}"


def said(condition: dict[str, Any]) -> str:
    """A condition in words, as it must be for the claim to hold.

    >>> said({"is": "above", "metric": "force_r2", "limit": 0.98})
    'force R² (windows) is above 0.98'
    >>> said({"is": "stable", "expect": {"Li10GeP2S12": True, "Li3PS4": False}})
    'the structure is stable (LGPS), is not stable (Li3PS4)'
    """
    subject, verb = _PHRASES[condition["is"]](condition)
    expect = condition.get("expect", True)
    if isinstance(expect, dict):
        return f"{subject} " + ", ".join(f"{_turned(verb, yes)} ({place(where)})" for where, yes in expect.items())
    return f"{subject} {_turned(verb, expect)}"


def _turned(verb: str, yes: bool) -> str:
    first, _, rest = verb.partition(" ")
    if yes:
        return verb
    return {"is": f"is not {rest}", "has": f"has no {rest.removeprefix('a ')}"}.get(
        first, f"does not {first.removesuffix('s')} {rest}"
    )


_PHRASES: dict[str, Any] = {
    "above": lambda c: (quantity(c["metric"]), f"is above {c['limit']:g}"),
    "below": lambda c: (quantity(c["metric"]), f"is below {c['limit']:g}"),
    "stable": lambda c: ("the structure", "is stable"),
    "mode": lambda c: ("MD", f"ends in {c['mode']}"),
    "agrees": lambda c: (quantity(c["metric"]), f"is within ±{c['within']:g} of the reference's"),
    "resolved": lambda c: (quantity(c["metric"]), "has a number"),
    "strays": lambda c: ("Li outside channels, or the framework,", "is different from the reference's"),
    "differs": lambda c: (quantity(c["metric"]), "is different from the reference's by test"),
}


def _cells(claim: Claim) -> str:
    conditions = " and ".join(said(one) for one in claim.condition)
    where = {"every": " and ", "any": " or "}[claim.over].join(map(place, claim.materials))
    return f"{conditions}, on {where}."


def _order(claim: Claim) -> str:
    way = {"higher": "larger", "lower": "smaller"}[claim.better]
    others = "those that Table 1 has below it" if claim.column else f"each of {titles(claim.than)}"
    where = f" on {' and '.join(map(place, claim.materials))}" if claim.materials and claim.metric != "sigma_distance" else ""
    more = _SPEEDS.get(claim.metric, "")
    return f"its {quantity(claim.metric)}{where} is {way} than that of {others}; intervals that meet decide nothing.{more}"


_SPEEDS = {
    "ns_per_day": " The interval of a speed runs from its slowest to its fastest round.",
    "samples_per_s": " A speed of training is counted once, over the whole budget, and taken as known to a tenth.",
    "sigma_distance": " The interval of the sum adds those of its parts, which is wider than 95%.",
}
"""What the interval of a quantity is, where it is not that of the board."""
_OF_ONE: dict[str, Any] = {
    "cells": _cells,
    "order": _order,
    "materials": lambda c: (
        f"{quantity(c.metric)} grows in the order {', '.join(map(place, c.materials))}; intervals that meet decide nothing."
    ),
    "counted": lambda c: "the count, in millions to two decimals, is the number printed. Exact, so no scale is needed.",
    "symmetry": lambda c: (
        "the moves that the word in Table 1 names change energies by rounding alone, or by no more "
        "than repeated calls differ, on seeded weights, so no scale is needed. SO(2) is about features along one edge and "
        "names no move of the whole."
    ),
}


def _together(claim: Claim) -> str:
    if len(claim.subjects) == 1:
        return ""
    n = len(claim.subjects)
    return {
        "every": f"All {n} together: confirmed when each of them is, refuted as soon as one is.",
        "most": f"All {n} together: confirmed when it holds for more than half, refuted when it cannot any more.",
        "any": f"All {n} together: confirmed as soon as it holds for one, refuted when it holds for none.",
    }[claim.among]


def _limits(claim: Claim) -> str:
    found = []
    if claim.least != LEAST:
        found.append(f"Decided at preset `{claim.least}` only, since the number depends on the length of the runs.")
    if claim.device:
        found.append("Decided by models timed on the same GPU only.")
    return "".join(f" {text}" for text in found)
