"""Claims with their verdicts: of each model by the rule, of all together by how many must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grannfield.claims.claim import Claim, below, place, title
from grannfield.claims.evidence import Evidence, Look, Measured, sigma_distance
from grannfield.claims.logic import TOGETHER, Truth, apart, every
from grannfield.claims.rules import RULES, Seen
from grannfield.report import paper
from grannfield.report.contract import measured_symmetry

Word = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True)
class Observation:
    """What was seen in one place: on a material, or against another model."""

    where: str
    holds: Truth
    text: str
    bars: tuple[str, ...] = ()
    """Why it may not decide, whatever it says."""
    run: bool = True
    looks: tuple[Look, ...] = ()
    """The numbers it rests on."""

    @property
    def decided(self) -> Truth:
        return None if self.bars else self.holds


@dataclass(frozen=True)
class Finding:
    """What a claim comes to for one model."""

    subject: str
    observations: tuple[Observation, ...]
    over: str = "every"
    text: str = ""
    """In place of what was seen in each place."""

    @property
    def seen(self) -> Truth:
        """What the numbers say, whether or not they may decide."""
        return TOGETHER[self.over](one.holds for one in self.observations)

    @property
    def decided(self) -> Truth:
        return TOGETHER[self.over](one.decided for one in self.observations)

    @property
    def run(self) -> bool:
        return any(one.run for one in self.observations)

    @property
    def bars(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(bar for one in self.observations for bar in one.bars))

    @property
    def word(self) -> Word:
        return word_for(self.decided)


@dataclass(frozen=True)
class Judged:
    """A claim, the findings of its models, and the verdict on all together."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def decided(self) -> Truth:
        return TOGETHER[self.claim.among](one.decided for one in self.findings)

    @property
    def seen(self) -> Truth:
        return TOGETHER[self.claim.among](one.seen for one in self.findings)

    @property
    def run(self) -> bool:
        return any(one.run for one in self.findings)

    @property
    def word(self) -> Word:
        return word_for(self.decided)


def word_for(value: Truth) -> Word:
    """
    >>> word_for(True), word_for(False), word_for(None)
    ('confirmed', 'refuted', 'undecided')
    """
    return "undecided" if value is None else "confirmed" if value else "refuted"


def judge(claim: Claim, evidence: Evidence) -> Judged:
    """A claim by the rule of its kind."""
    return Judged(claim, tuple(OF_KIND[claim.kind](claim, evidence, name) for name in claim.subjects))


def cells(claim: Claim, evidence: Evidence, model: str) -> Finding:
    """All conditions together on each material."""
    observations = []
    for material in claim.materials:
        seens = [RULES[one["is"]](one, evidence, model, material) for one in claim.condition]
        holds = every(
            _as_expected(seen, one.get("expect", True), material) for seen, one in zip(seens, claim.condition, strict=True)
        )
        run = any(seen.looks for seen in seens)
        looks = [look for seen in seens for look in seen.looks]
        text = "; ".join(seen.text for seen in seens) if run else "not run"
        observations.append(Observation(place(material), holds, text, _bars(looks, claim), run, tuple(looks)))
    return Finding(model, tuple(observations), claim.over)


def _as_expected(seen: Seen, expect: bool | dict[str, bool], material: str) -> Truth:
    wanted = expect.get(material, True) if isinstance(expect, dict) else expect
    return None if seen.holds is None else seen.holds == wanted


def _bars(looks: Sequence[Look], claim: Claim) -> tuple[str, ...]:
    return tuple(dict.fromkeys(bar for look in looks for bar in look.bars(claim.least, claim.device)))


def order(claim: Claim, evidence: Evidence, model: str) -> Finding:
    """A model against each that it should be ahead of, by intervals that do not meet."""
    places = (claim.materials or ("Li10GeP2S12",)) if claim.metric != "sigma_distance" else ("all",)
    others = below(claim.column, model) if claim.column else claim.than
    observations, own = [], []
    for material in places:
        mine = _amount(claim, evidence, model, material)
        on = f"{place(material)} " if len(places) > 1 else ""
        own += [f"{on}{mine.text}"] if mine is not None else []
        observations += [_ahead(claim, mine, _amount(claim, evidence, name, material), f"{on}{title(name)}") for name in others]
    return Finding(model, tuple(observations), text="; ".join([*own, *_groups(observations)]))


def _amount(claim: Claim, evidence: Evidence, model: str, material: str) -> Look | None:
    if claim.metric == "sigma_distance":
        return sigma_distance(evidence, model, claim.materials)
    return evidence.look(claim.metric, model, material)


def _ahead(claim: Claim, mine: Look | None, other: Look | None, name: str) -> Observation:
    if mine is None or other is None:
        return Observation(name, None, "not run", _bars([mine], claim) if mine else (), mine is not None, (mine,) if mine else ())
    first, second = (mine, other) if claim.better == "higher" else (other, mine)
    bars = _bars([mine, other], claim)
    if mine.hardware != other.hardware:
        bars = (*bars, "not on the same hardware")
    return Observation(name, apart(first.found, second.found), "", bars, looks=(mine, other))


def _groups(observations: Sequence[Observation]) -> list[str]:
    """Against whom it holds, against whom not, and where nothing can be told."""
    words = {True: "ahead of", False: "behind", None: "not told apart from"}
    found = []
    for value, word in words.items():
        names = [one.where for one in observations if one.holds is value and one.text != "not run"]
        found += [f"{word} {', '.join(names)}"] if names else []
    missing = sum(one.text == "not run" for one in observations)
    return [*found, f"{missing} not run or without a number"] if missing else found


def materials(claim: Claim, evidence: Evidence, model: str) -> Finding:
    """A quantity that should grow from each material to the next."""
    looks = {m: evidence.look(claim.metric, model, m) for m in claim.materials}
    observations = []
    for a, b in zip(claim.materials, claim.materials[1:], strict=False):
        first, second = looks[a], looks[b]
        name = f"{place(a)} below {place(b)}"
        if first is None or second is None:
            observations.append(Observation(name, None, "not run", run=first is not None or second is not None))
        else:
            observations.append(
                Observation(name, apart(second.found, first.found), "", _bars([first, second], claim), True, (first, second))
            )
    text = "; ".join(f"{place(m)} {'not run' if look is None else look.text}" for m, look in looks.items())
    return Finding(model, tuple(observations), text=text)


def counted(claim: Claim, evidence: Evidence, model: str) -> Finding:
    """Parameters at Table 1's size, in millions to two decimals."""
    found = _contract(evidence, model)
    printed = paper.table1()[model]["parameters_million"]
    if found is None or not found.get("n_parameters"):
        return Finding(model, (Observation("count", None, "not counted", run=False),))
    count = found["n_parameters"]
    return Finding(model, (Observation("count", f"{count / 1e6:.2f}" == printed, f"{count:,}; Table 1: {printed} million"),))


MOVES_OF = {
    "E(3)": {"translation", "rotation", "reflection"},
    "SE(3)": {"translation", "rotation"},
    "O(3)": {"rotation", "reflection"},
    "SO(3)": {"rotation"},
    "translation only": {"translation"},
    "approximate": {"translation"},
    "none": set[str](),
}
"""What a symmetry, as `measured_symmetry` calls it, says is exact."""


def symmetry(claim: Claim, evidence: Evidence, model: str) -> Finding:
    """The moves behind the word that Table 1 has for a model, as measured on seeded weights."""
    found, word = _contract(evidence, model), paper.table1()[model]["symmetry"]
    if found is None:
        return Finding(model, (Observation("symmetry", None, "not measured", run=False),))
    text, wanted = measured_symmetry(found), set(claim.moves[word])
    exact = MOVES_OF.get(text.partition(":")[0])
    if exact is not None and "not translation" in text:
        exact = exact - {"translation"}
    holds = None if exact is None or not wanted else wanted <= exact
    vague = "" if wanted else " (the word names no move of the whole)"
    return Finding(model, (Observation("symmetry", holds, f"Table 1: {word}{vague}; measured: {text}"),))


def _contract(evidence: Evidence, model: str) -> dict[str, Any] | None:
    if not isinstance(evidence, Measured):
        return None
    found = evidence.contracts.get(model, {}).get(evidence.behaviour)
    return found or None


OF_KIND: dict[str, Callable[[Claim, Evidence, str], Finding]] = {
    "cells": cells,
    "order": order,
    "materials": materials,
    "counted": counted,
    "symmetry": symmetry,
}
