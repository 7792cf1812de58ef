"""What there is to decide claims by: our results, and, for the paper's agreement with itself, its own Table 2."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from grannfield.analysis.equivalence import difference_of
from grannfield.analysis.uncertainty import Estimate
from grannfield.claims.claim import REFERENCE
from grannfield.claims.logic import size_of, total
from grannfield.report import paper
from grannfield.report.cells import missing
from grannfield.report.origins import reference_of
from grannfield.report.results import Results
from grannfield.report.scale import best, scale_of, size
from grannfield.report.table import measured
from grannfield.report.table1 import architecture, behaviour
from grannfield.report.verdicts import estimate_of, own_number
from grannfield.score import Score

OTHER_SIZE = 0.05
"""Share by which parameters may differ from Table 1's count, which has two decimals, before a model is of another size."""
SURROGATE = "the reference is a surrogate, not AIMD"


@dataclass(frozen=True)
class Look:
    """One number, as far as there is one, and whose it is."""

    found: Estimate
    own: Estimate | None = None
    """The reference's own number."""
    score: Score | None = None
    one: Results | None = None
    """The results it stands in; None for a number that the paper prints."""
    surrogate: bool = False
    """Whether it is a number of a reference that is not AIMD."""
    hardware: str = ""
    """On which it was timed, where it is a speed."""
    rest: tuple[Look, ...] = ()
    """The others of a sum."""

    @property
    def text(self) -> str:
        """The number with its interval and n, or why there is none."""
        if self.found.reason:
            return missing(self.found.reason, self.found.interval)
        low, high = self.found.interval
        sharp = low == high or not (math.isfinite(low) or math.isfinite(high))
        n = f" (n={self.found.n})" if self.one is not None and self.found.n else ""
        return measured(self.found.value, None if sharp else self.found.interval) + n

    def bars(self, least: str, device: str) -> tuple[str, ...]:
        """Why this number may not decide a claim; empty where it may."""
        if self.one is None:
            return ()
        found = [SURROGATE] if self.surrogate else []
        if size(scale_of(self.one)) < size(least):
            found.append(f"scale {scale_of(self.one)}")
        if not self.surrogate and (other := other_size(self.one)):
            found.append(other)
        if device == "cuda" and (not self.hardware or " cores" in self.hardware):
            found.append("timed on a processor")
        return tuple(dict.fromkeys([*found, *(bar for look in self.rest for bar in look.bars(least, device))]))


class Evidence(Protocol):
    """Where numbers come from."""

    def look(self, metric: str, model: str, material: str) -> Look | None:
        """A model's number on a material; None where it was not run."""


def other_size(one: Results) -> str:
    """How the size of one of the paper's models differs from Table 1's; empty where it is that.

    >>> other_size(Results("schnet", {"name": "schnet", "n_parameters": 494_209}))
    ''
    >>> other_size(Results("schnet", {"name": "schnet", "n_parameters": 31_000}))
    'reduced size (0.03 of 0.49 million parameters)'
    """
    printed = paper.table1().get(architecture(one), {}).get("parameters_million", "")
    count = one.model.get("n_parameters")
    if count is None or not printed:
        return "size not known"
    off = abs(count / 1e6 - float(printed)) > max(0.005, OTHER_SIZE * float(printed))
    if not (off or one.model.get("reduced")):
        return ""
    word = "reduced size" if count / 1e6 <= float(printed) else "another size"
    return f"{word} ({count / 1e6:.2f} of {printed} million parameters)"


@dataclass(frozen=True)
class Measured:
    """Our results in one behaviour of the models; of each model and material those of the largest scale."""

    results: Sequence[Results]
    behaviour: str = "default"
    contracts: Mapping[str, Mapping[str, dict[str, Any]]] = field(default_factory=dict)
    """What `grannfield check` measured, by model and behaviour."""

    @cached_property
    def shown(self) -> list[Results]:
        """Of each model and material the results of the largest scale."""
        return best(self.results)

    def of(self, model: str, material: str) -> Results | None:
        """The results that speak for a model on a material: those under its plain name, trained and run as all the others."""
        own = [one for one in self.shown if architecture(one) == model and one.label in (model, f"{model}@published")]
        found = [one for one in own if material in one.materials and behaviour(one) == self.behaviour]
        return max(found, key=lambda one: size(scale_of(one)), default=None)

    def look(self, metric: str, model: str, material: str) -> Look | None:
        if model == REFERENCE:
            return self._reference(metric, material)
        one = self.of(model, material)
        if one is None:
            return None
        if metric == "samples_per_s":
            return _training_speed(one)
        score = one.scores.get((metric, material))
        if score is None or score.outcome == "error":
            return None
        hardware = str(score.parts.get("hardware") or score.provenance.get("hardware") or "")
        found = rounds_of(score) if metric == "ns_per_day" else estimate_of(score)
        return Look(found, own_number(one, metric, material), score, one, hardware=hardware)

    def _reference(self, metric: str, material: str) -> Look | None:
        """The reference's own number: AIMD's before a surrogate's, that of the longest runs first."""
        looks = []
        for one in self.shown:
            own = own_number(one, metric, material)
            label = reference_of(one, material)
            if own is not None and label:
                looks.append(Look(own, None, None, one, label.startswith("surrogate")))
        return min(
            looks, key=lambda k: (k.surrogate, k.one is not None and -size(scale_of(k.one)), bool(k.found.reason)), default=None
        )


def rounds_of(score: Score) -> Estimate:
    """A speed with the interval from its slowest to its fastest round; the board shows median and quartiles of the same.

    That is a 94% interval of the median for five rounds, a 97% one for six (binomial).

    >>> score = Score("ns_per_day", "m", "LGPS", 10.0, n=3, interval=(9.9, 10.1), parts={"rounds_s": [1.0, 0.8, 1.25]})
    >>> rounds_of(score).interval
    (8.0, 12.5)
    """
    rounds = score.parts.get("rounds_s") or []
    if score.outcome != "number" or not rounds:
        return estimate_of(score)
    middle = statistics.median(rounds)
    return Estimate(score.value, (score.value * middle / max(rounds), score.value * middle / min(rounds)), len(rounds))


COUNTED = 0.1
"""Half-width, relative, given to a speed of training, which is counted once over the whole budget."""


def _training_speed(one: Results) -> Look | None:
    story = one.model.get("provenance") or {}
    whole = story.get("whole_budget", story)
    rate = whole.get("samples_per_s")
    if not rate:
        return None
    found = Estimate(rate, ((1 - COUNTED) * rate, (1 + COUNTED) * rate), max(1, int(whole.get("samples", 1))))
    return Look(found, None, None, one, hardware=str(story.get("hardware", "")))


@dataclass(frozen=True)
class Published:
    """The conductivities of the paper's Table 2, each taken as exact: whether its text agrees with its numbers."""

    def look(self, metric: str, model: str, material: str) -> Look | None:
        name = "AIMD" if model == REFERENCE else model
        if metric != "neg_log_sigma":
            return None
        text = paper.table2().get(name, {}).get(material, "")
        own = exact(paper.table2()["AIMD"][material])
        return Look(exact(text), own) if text else Look(Estimate.missing("N/A in the paper"), own)


def exact(text: str) -> Estimate:
    """A printed number."""
    return Estimate(float(text), (float(text), float(text)), n=1)


def sigma_distance(evidence: Evidence, model: str, materials: Sequence[str]) -> Look | None:
    """Distance of -log10 sigma(300 K) from the reference's, summed over materials; None where one of them is missing."""
    looks, parts = [], []
    for material in materials:
        look = evidence.look("neg_log_sigma", model, material)
        if look is None or look.own is None:
            return None
        looks.append(look)
        parts.append(size_of(difference_of(look.found, look.own)))
    return Look(total(parts), None, None, looks[0].one, rest=tuple(looks[1:]))
