"""Whether the suite saw in each control what it should see, and nothing else: from results alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grannfield.analysis.equivalence import compare
from grannfield.analysis.uncertainty import EXPLODED, FUSED, Estimate
from grannfield.controls import Control, parsed
from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.report.verdicts import estimate_of, verdict_of

IDEAL: dict[str, tuple[float, float]] = {
    "force_r2": (1.0, 0.01),
    "force_r2_random": (1.0, 0.01),
    "force_mae": (0.0, 5.0),
    "force_mae_high": (0.0, 10.0),
    "force_slope": (1.0, 0.05),
    "force_cosine": (1.0, 0.01),
    "energy_rank": (1.0, 0.1),
}
"""What forces and energies are when they are right, and how far from it does not matter, in the columns' units. A model is
ranked by these columns, not judged; a control is held against what it should be."""
MOVES = "moves as a whole"
"""The verdict of the column for drift of the framework."""


@dataclass(frozen=True)
class Judgement:
    """What the columns made of one control in one material."""

    control: Control
    material: str
    flagged: tuple[str, ...]
    """Columns that found it wanting."""
    silent: tuple[str, ...]
    """Columns with a number that found nothing."""
    causes: str
    """Causes of failure, as survival names them."""

    @property
    def missed(self) -> tuple[str, ...]:
        """Columns that should have flagged it and did not."""
        missed = [column for column in self.control.required if column in self.silent]
        catching = self.control.caught_by
        if any(c in self.silent for c in catching) and not any(c in self.flagged for c in catching):
            missed += [c for c in catching if c in self.silent and c not in missed]
        if self.control.cause and "failed_share" in self.flagged and self.control.cause not in self.causes:
            missed.append(f"failed_share (the cause is {self.control.cause}, not {self.causes})")
        return tuple(missed)

    @property
    def wrong(self) -> tuple[str, ...]:
        """Columns that flagged it and should not have."""
        return tuple(c for c in self.flagged if "*" in self.control.not_by or c in self.control.not_by)

    @property
    def right(self) -> bool:
        return not self.missed and not self.wrong

    @property
    def text(self) -> str:
        """In a line: what caught it, what did not, what was wrong."""
        parts = [f"flagged by {', '.join(self.flagged)}" if self.flagged else f"flagged by none of {len(self.silent)} columns"]
        parts += [f"NOT SEEN by {', '.join(self.missed)}"] * bool(self.missed)
        parts += [f"WRONGLY by {', '.join(self.wrong)}"] * bool(self.wrong)
        return f"{self.control.label} on {self.material}: {'; '.join(parts)}"


def flagged(one: Results, metric: str, material: str) -> bool | None:
    """Whether a column finds a model wanting; None where it has no number for another reason than a failure of the model.

    A failed run, a framework that moves as a whole, an error; else the verdict of the test against the reference's own number, or
    against what is right (`IDEAL`): only "different" is a flag.
    """
    score = one.scores.get((metric, material))
    if score is None:
        return None
    if score.error:
        return True
    if score.outcome == "n/a" and score.reason in (EXPLODED, FUSED):
        return True
    if score.outcome == "n/a" and verdict_of(one, metric, material) is None:
        return None
    if metric == "failed_share":
        return score.value > 0
    if metric == "framework_drift":
        return score.verdict.startswith(MOVES)
    if metric in IDEAL:
        value, margin = IDEAL[metric]
        return compare(estimate_of(score), Estimate(value, (value, value), 1), margin).label == "different"
    tested = verdict_of(one, metric, material)
    return None if tested is None else tested.label == "different"


def judge(one: Results, material: str) -> Judgement:
    """What the columns made of a control in a material."""
    found = {metric: flagged(one, metric, material) for metric in COLUMNS}
    survival = one.scores.get(("failed_share", material))
    return Judgement(
        control=parsed(one.label),
        material=material,
        flagged=tuple(metric for metric, flag in found.items() if flag),
        silent=tuple(metric for metric, flag in found.items() if flag is False),
        causes=survival.verdict if survival is not None else "",
    )


def judgements(results: Iterable[Results]) -> list[Judgement]:
    """Of all controls among the results, those least flagged first: the sound ones must come before the broken ones."""
    controls = [one for one in results if one.model.get("kind") == "control"]
    found = [judge(one, material) for one in controls for material in one.materials]
    share = lambda j: len(j.flagged) / max(1, len(j.flagged) + len(j.silent))  # noqa: E731
    return sorted(found, key=lambda j: (share(j), j.control.label, j.material))
