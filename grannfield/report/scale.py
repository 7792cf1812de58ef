"""Which of several sets of results of a model the tables show: the one of the largest scale, and they say which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from grannfield.report.results import Results

SCALES = ("smoke", "brief", "tiny", "small", "quick", "paper")
"""Presets, smallest first; any other, such as motion made elsewhere, comes before them."""


def scale_of(one: Results) -> str:
    """The preset that results were made with."""
    return str(one.protocol.get("preset", ""))


def size(scale: str) -> int:
    """Larger for more simulation.

    >>> size("paper") > size("quick") > size("tiny") > size("brief") > size("smoke") > size("given")
    True
    """
    return SCALES.index(scale) if scale in SCALES else -1


def named(one: Results) -> str:
    """The model whose results these are: its label, without a preset that was put behind it to tell two files apart.

    >>> [named(Results(label, protocol={"preset": "tiny"})) for label in ("schnet@tiny", "schnet@published")]
    ['schnet', 'schnet@published']
    """
    return one.label.removesuffix(f"@{scale_of(one)}") if scale_of(one) else one.label


def best(results: Sequence[Results]) -> list[Results]:
    """Of each model and material the results of the largest scale, in the order given; equal scales: those with more numbers.

    A model whose materials are shown at different scales stands there once for each scale.

    >>> from grannfield.score import Score
    >>> def of(scale, *materials):
    ...     made = Results("a", protocol={"preset": scale})
    ...     for m in materials:
    ...         made.add(Score("rdf_mae", "a", m, 0.1, n=1))
    ...     return made
    >>> [(scale_of(one), one.materials) for one in best([of("tiny", "A", "B"), of("paper", "A")])]
    [('tiny', ['B']), ('paper', ['A'])]
    """
    return [of_materials(one, kept) for one, kept in zip(results, _shown(results), strict=True) if kept or not one.materials]


def others(results: Sequence[Results]) -> list[Results]:
    """What `best` leaves out: the same models and materials at smaller scales."""
    rest = [set(one.materials) - kept for one, kept in zip(results, _shown(results), strict=True)]
    return [of_materials(one, left) for one, left in zip(results, rest, strict=True) if left]


def _shown(results: Sequence[Results]) -> list[set[str]]:
    """The materials for which each of the results is the one to show."""
    chosen: dict[tuple[str, str], int] = {}
    for number, one in enumerate(results):
        for material in one.materials:
            key = named(one), material
            if key not in chosen or _rank(one, material) > _rank(results[chosen[key]], material):
                chosen[key] = number
    return [{m for m in one.materials if chosen[named(one), m] == n} for n, one in enumerate(results)]


def of_materials(one: Results, materials: Iterable[str]) -> Results:
    """The results on some of the materials, under the model's name."""
    wanted = set(materials)
    label = named(one)
    if wanted == set(one.materials):
        return one if label == one.label else replace(one, label=label)
    scores = {key: score for key, score in one.scores.items() if key[1] in wanted}
    reference = {key: score for key, score in one.reference.items() if key[1] in wanted}
    return replace(one, label=label, scores=scores, reference=reference)


def _rank(one: Results, material: str) -> tuple[int, int]:
    numbers = sum(score.outcome == "number" for (_, where), score in one.scores.items() if where == material)
    return size(scale_of(one)), numbers
