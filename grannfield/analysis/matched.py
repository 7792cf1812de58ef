"""A run beside its reference at equal length, so that a distance means what the reference's distance from itself means.

A similarity of two samples depends on how long they are: short runs of the same material always look less alike. Here both
are cut into stretches of one length; the mean over pairs (run, reference) stands beside the mean over pairs (reference,
reference), the *floor*, and is equal to it on average where the two are samples of the same motion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.uncertainty import LEVEL, Estimate, mean_of_runs, t_quantile

MOST_SPANS = 6
"""Spans of the longer run that are held against the shorter one."""
MOST_PARTS = 20
"""Parts exchanged between the runs: each ion, or groups of ions where there are more."""
FEWEST_IONS = 6
"""Ions below which the 2^n exchanges are too few for an interval of 95%."""
N_EXCHANGES = 100

Parts = Callable[[np.ndarray, list[np.ndarray]], np.ndarray]
"""What each group of ions [g] adds to the description of a stretch of frames: [g, D], additive."""
Statistic = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Quantities [Q] of (run, reference) and their floors [Q], from the two stretches [2, D] of either."""


@dataclass(frozen=True)
class Matched:
    """A quantity between a run and its reference, beside the reference's own at equal length."""

    value: Estimate
    """Its interval is that of its difference from the floor, since the two share the reference: the floor outside it means
    that the motions differ."""
    floor: Estimate
    """With the scatter of the floor alone."""


def matched(
    n_scored: int,
    scored: Parts,
    n_reference: int,
    reference: Parts,
    n_ions: int,
    statistic: Statistic,
    *,
    seed: int = 0,
    note: str = "",
) -> list[Matched]:
    """Quantities between a run and a reference of n frames each beside their floors, with intervals by exchange of ions.

    Both are cut into spans as long as the shorter one, and each span into two stretches. `statistic` compares the stretches
    of a span of the run with those of a span of the reference, and the latter with each other (`mean_over_pairs`); values
    are means over spans.

    Intervals: if the two were samples of one motion, each ion of the run could as well have been the same ion of the
    reference. Ions are exchanged in random subsets, 100 times; the half-width is what 97.5% of the differences that arise do
    not reach, or 1.96 times their root mean square where that is more. An ion keeps its whole history, so that slow hops
    need no correlation time; and nothing is drawn twice, which would make a run look less alike than it is. Ions that keep
    out of each other's sites make the interval too wide, ions that all move together too narrow. Fewer than 6 ions: unbounded.
    Good, Permutation, Parametric and Bootstrap Tests of Hypotheses (2005), https://doi.org/10.1007/b138696.
    ValueError for fewer than 2 frames.
    """
    length = min(n_scored, n_reference) // 2
    if length < 1:
        raise ValueError(f"{n_scored} scored and {n_reference} reference frames: 2 of each are the least that compare")
    groups = np.array_split(np.arange(n_ions), min(MOST_PARTS, n_ions))
    own = np.array([[scored(s, groups) for s in span] for span in spans(n_scored, length)])
    other = np.array([[reference(s, groups) for s in span] for span in spans(n_reference, length)])

    def measured(swapped: np.ndarray) -> np.ndarray:
        """Differences from the floors, and floors [2, Q], after an exchange of groups [g] of ions."""
        weights = np.array([~swapped, swapped], dtype=own.dtype)
        a, b = (np.moveaxis(weights @ side, 2, 0) for side in (own, other))  # [2, spans, 2, D]: what stays, what goes
        pairs = [statistic(a[0, k] + b[1, m], b[0, m] + a[1, k]) for k in range(len(own)) for m in range(len(other))]
        across, within = np.mean(pairs, axis=0)
        return np.array([across - within, within])

    difference, floor = measured(np.zeros(len(groups), dtype=bool))
    half = np.full((2, len(floor)), math.inf)
    if n_ions >= FEWEST_IONS:
        generator = np.random.default_rng(seed)
        exchanged = np.array([measured(generator.random(len(groups)) < 0.5) for _ in range(N_EXCHANGES)])
        wide = t_quantile(10**6, LEVEL) * np.sqrt((exchanged[:, 0] ** 2).mean(axis=0))
        tail = np.quantile(np.abs(exchanged[:, 0]), 0.5 + LEVEL / 2, axis=0)  # all of it may lie on one side
        half = np.array([np.maximum(wide, tail), t_quantile(10**6, LEVEL) * exchanged[:, 1].std(axis=0)])
    text = f"frames; stretches of {length} frames, ions exchanged" + (note and f"; {note}")
    made = lambda x, h, n: Estimate(float(x), (float(x - h), float(x + h)), n, note=text)  # noqa: E731
    return [
        Matched(made(f + d, h, n_scored), made(f, own_half, n_reference))
        for d, f, h, own_half in zip(difference, floor, *half, strict=True)
    ]


def over_temperatures(estimates: Mapping[float, Sequence[Estimate]]) -> Estimate:
    """The mean over temperatures of the means of each one's runs, which share a reference and so part of their errors.

    Within a temperature half-widths are averaged, as if runs erred together; between temperatures they add in quadrature. The
    first run without a number speaks for all. ValueError without any run.

    >>> e = Estimate(1.0, (0.0, 2.0), 5)
    >>> over_temperatures({800.0: [e, e], 1000.0: [e]}).interval
    (0.2928932188134524, 1.7071067811865475)
    """
    if not any(estimates.values()):
        raise ValueError("a mean over temperatures needs at least one run")
    means = [mean_of_runs(runs) for runs in estimates.values() if runs]
    for one in means:
        if one.reason:
            return one
    value = float(np.mean([one.value for one in means]))
    low = math.hypot(*(one.value - one.interval[0] for one in means)) / len(means)
    high = math.hypot(*(one.interval[1] - one.value for one in means)) / len(means)
    return Estimate(value, (value - low, value + high), sum(one.n for one in means), note=means[0].note)


def spans(n_frames: int, length: int) -> list[list[np.ndarray]]:
    """At most six disjoint spans of two neighbouring stretches of `length` frames, evenly spread, as index arrays.

    >>> [[len(s) for s in span] for span in spans(100, 20)]
    [[20, 20], [20, 20]]
    """
    count = min(n_frames // (2 * length), MOST_SPANS)
    starts = np.rint(np.linspace(0, n_frames - 2 * length, count)).astype(int) if count > 1 else [0]
    return [[np.arange(start + k * length, start + (k + 1) * length) for k in (0, 1)] for start in starts]


def mean_over_pairs(
    run: np.ndarray, reference: np.ndarray, quantity: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of quantity(run, reference) [Q] over the four pairs of stretches, and of the reference with itself, both ways."""
    across = np.mean([quantity(p, q) for p in run for q in reference], axis=0)
    within = np.mean([quantity(reference[0], reference[1]), quantity(reference[1], reference[0])], axis=0)
    return across, within
