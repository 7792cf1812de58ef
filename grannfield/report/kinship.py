"""Who learnt from whom: errors that a model shares with what made the reference, its relative, do not show against it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

SELF = "is the reference"
UNKNOWN = "unknown"
NONE = "none known"
MEASURED = ("AIMD", "analytic force field", "control")
"""Kinds of reference that no training set is shared with by way of a potential."""


@dataclass(frozen=True)
class Potential:
    """A published potential, and what it was trained on."""

    name: str
    package: str
    makers: str
    training: tuple[str, ...]
    source: str
    arguments: tuple[str, ...]
    """What its calculator is asked for, in small letters."""
    weights: str
    """Fingerprint of its parameters."""
    version: str = ""
    default: bool = False
    """Whether its package's calculator is this one when asked for nothing."""

    @property
    def full_name(self) -> str:
        """Name and version, as a reference's maker is written."""
        return f"{self.name} ({self.version})" if self.version else self.name


@cache
def potentials() -> tuple[Potential, ...]:
    """All in the table of the package."""
    text = resources.files("grannfield.report").joinpath("potentials.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["potential"]
    return tuple(Potential(**row | {key: tuple(row[key]) for key in ("training", "arguments")}) for row in rows)


def by_weights(fingerprints: Iterable[str]) -> Potential | None:
    """The potential whose parameters these are, if it is one of them and the only one."""
    found = [p for f in set(fingerprints) for p in potentials() if p.weights == f]
    return found[0] if len(found) == 1 else None


def by_call(package: str, arguments: Iterable[Any]) -> Potential | None:
    """The potential that a package's calculator makes of these arguments; None where that is not known."""
    texts = {x.lower() for x in arguments if isinstance(x, str)}
    own = [p for p in potentials() if p.package == package]
    return next((p for p in own if texts & set(p.arguments) or (p.default and not texts)), None)


def by_name(text: str) -> Potential | None:
    """The potential of a name: with its version, without one where that is clear, or as the call that makes it.

    >>> by_name("SevenNet-0 (11Jul2024)") is by_name("SevenNetCalculator('sevennet-0') (sevenn 0.13.0)") is not None
    True
    >>> by_name("SevenNet-l3i5").training, by_name("SevenNet-0"), by_name("PBE")
    (('MPtrj',), None, None)
    """
    wanted = text.strip().lower()
    found = [p for p in potentials() if wanted in (p.name.lower(), p.full_name.lower())]
    if len(found) == 1:
        return found[0]
    called = re.fullmatch(r"\w+(?:\('([^']*)'\))? \((\w+) [^)]*\)", text.strip())
    return by_call(called[2], [called[1]] if called[1] else []) if called and not found else None


def kinship(model: Mapping[str, Any], reference: str, material: str) -> str:
    """How a model is related to what made a reference, in words; empty where the reference is no potential.

    model: what a results file says of it (`potential`, `kin`, `provenance`); reference: its label, "kind: maker".

    >>> l3i5, surrogate = {"potential": "SevenNet-l3i5"}, "surrogate: SevenNet-0 (11Jul2024)"
    >>> kinship(l3i5, surrogate, "Li3PS4")
    'kin: same training set (MPtrj), same authors'
    >>> kinship({"potential": "CHGNet-0.3.0"}, surrogate, "Li3PS4")
    'kin: same training set (MPtrj)'
    >>> kinship(l3i5, "surrogate: SevenNet-l3i5", "LGPS"), kinship({}, surrogate, "LGPS"), kinship(l3i5, "AIMD: PBE", "LGPS")
    ('is the reference', 'unknown', '')
    """
    kind, _, maker = reference.partition(": ")
    story = model.get("provenance") or {}
    if story.get("reference") == reference:
        return "trained on it" if story.get("material") == material else "trained on its maker's labels"
    if not maker or kind in MEASURED:
        return ""
    theirs, declared = by_name(maker), tuple(model.get("kin") or ())
    own = by_name(str(model.get("potential") or "")) or by_name(str(story.get("reference", "")).partition(": ")[2])
    if declared:
        return _declared(declared, maker, theirs)
    if own is not None and own is theirs:
        return SELF if model.get("potential") else "trained on its maker's labels"
    if theirs is None or (own is None and "reference" not in story):
        return UNKNOWN
    return _related(own, theirs) if own is not None else NONE


def _related(own: Potential, theirs: Potential) -> str:
    shared = [name for name in own.training if name in theirs.training]
    reasons = [f"same training set ({', '.join(shared)})"] * bool(shared) + ["same authors"] * (own.makers == theirs.makers)
    return f"kin: {', '.join(reasons)}" if reasons else NONE


def _declared(kin: Iterable[str], maker: str, theirs: Potential | None) -> str:
    """What a user said a model was trained on, held against what is known of the maker of the reference."""
    names = [name for name in kin if name.lower() != "none"]
    if any(name.lower() in maker.lower() or (theirs is not None and by_name(name) is theirs) for name in names):
        return "kin: learnt from the reference's maker (declared)"
    sets = [*names, *(s for name in names if (p := by_name(name)) for s in p.training)]
    shared = [] if theirs is None else [s for s in theirs.training if s.lower() in {x.lower() for x in sets}]
    if shared:
        return f"kin: same training set ({', '.join(shared)}, declared)"
    return (
        f"{NONE} (declared: {', '.join(names) or 'none'})"
        if theirs is not None
        else f"{UNKNOWN} (declared: {', '.join(names) or 'none'})"
    )
