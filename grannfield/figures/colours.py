"""One colour, marker and dash for each model, everywhere; read by figures and pages alike, and free of any plotting library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from grannfield.report.paper import TITLES

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#808000")
"""Okabe and Ito's without yellow, which paper swallows, and three of Tol's: people with any kind of colour vision tell
neighbours in this list apart. Okabe and Ito, https://jfly.uni-koeln.de/color/; Tol, SRON technical note 09-002 (2021)."""
MARKERS = ("o", "s", "^", "D")
DASHES = ("solid", "dashed", "dashdot", "dotted")
REFERENCE = "#262626"
"""Of the reference, which is no model."""
BAND = "#bdbdbd"
"""Of the reference's interval or floor."""
QUIET = "#6e6e6e"
"""Of notes and n/a."""
VERDICTS = {"stable": "#00694d", "fusion": "#a33c00", "lattice mismatch": "#8a3f6d"}
"""Of the words of a verdict, dark enough to read; any other cause of failure looks like a fusion."""
ELEMENTS = {"Li": "#004d38", "P": "#CC79A7", "S": "#F0E442", "Ge": "#0072B2"}
"""Of atoms; grey for others."""


class Style(NamedTuple):
    """How a model looks in every figure."""

    colour: str
    marker: str
    dash: str


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """The look of each model: registered ones have theirs for good, others follow in the order of the alphabet.

    >>> styles(["CHGNet", "schnet"])["schnet"] == styles(["schnet", "zzz", "leftnet"])["schnet"]
    True
    """
    fixed = {name: k for k, name in enumerate(TITLES)}
    others = sorted(set(labels) - set(fixed))
    place = fixed | {label: len(fixed) + k for k, label in enumerate(others)}
    return {label: _style(place[label]) for label in labels}


def _style(k: int) -> Style:
    turn = k // len(COLOURS)
    return Style(COLOURS[k % len(COLOURS)], MARKERS[turn % len(MARKERS)], DASHES[turn % len(DASHES)])


def verdict_colour(verdict: str) -> str:
    """Of the word that stands for a verdict."""
    return VERDICTS.get(verdict, VERDICTS["fusion"])
