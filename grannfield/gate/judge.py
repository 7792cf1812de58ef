"""The judgement over all cells: which losses are significant when everything that was compared is counted.

Three families of tests, each at a third of the nominal level: single cells (model, column, material), where a model that breaks
in one material shows; columns over all materials, where a small loss everywhere shows; and speeds, which are few. Within each
Holm's procedure, which keeps the probability of any false alarm below its level whatever the tests have in common: columns made
from the same forces or the same runs hang together. Holm, Scand. J. Statist. 6, 65 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from grannfield.gate.baseline import differing, mark
from grannfield.gate.evidence import SPEED, Evidence, evidence_on, tolerance
from grannfield.gate.speed import of_speed
from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.runs import REASON_OF
from grannfield.score import Score, significant

LEVEL = 0.03
"""Nominal probability of any false alarm in a session."""
EVERYWHERE = "all materials"
PHYSICAL = frozenset(REASON_OF.values())
"""Reasons of an n/a that are a run's failure: chance has a part in them, so that the test of failures judges."""
BY_ORDER = frozenset({"element not supported", "no force field", "not batched", "no windows", "no runs", "not determined"})
"""Reasons in which chance has no part."""
Label = Literal["loss", "gain", "unchanged", "cannot tell", "not compared"]


@dataclass(frozen=True, eq=False)
class Moved:
    """What became of one number, or of a column over all materials."""

    model: str
    metric: str
    material: str
    label: Label
    old: str = ""
    new: str = ""
    evidence: Evidence | None = None
    why: str = ""

    @property
    def p(self) -> float:
        """That of a loss, or of a gain where it is one; NaN without a test."""
        if self.evidence is None:
            return math.nan
        return self.evidence.p_gain if self.label == "gain" else self.evidence.p_loss


@dataclass(frozen=True, eq=False)
class Judgement:
    """All that was compared."""

    moved: list[Moved]
    level: float = LEVEL
    left_out: list[str] = field(default_factory=list)

    @property
    def losses(self) -> list[Moved]:
        return [one for one in self.moved if one.label == "loss"]

    @property
    def tested(self) -> int:
        """Numbers in the family."""
        return sum(one.evidence is not None for one in self.moved)


def judge(old: Sequence[Results], new: Sequence[Results], level: float = LEVEL) -> Judgement:
    """Hold each model's scores against those of the same label; models that the baseline lacks are left out, and said."""
    known = {one.label: one for one in old}
    cells: list[Moved] = []
    left_out = []
    for one in new:
        before = known.get(one.label)
        said = ["it is not in the baseline"] if before is None else differing(before.protocol, one.protocol)
        if before is None or said:
            left_out.append(f"{one.label}: {'; '.join(said)}")
            continue
        cells += [_cell(before, one, *key) for key in sorted(before.scores, key=_order) if key in one.scores]
    speed, rest = ([one for one in cells if (one.metric in SPEED) is wanted] for wanted in (True, False))
    families = (_pooled(rest), rest, speed)
    return Judgement([one for family in families for one in _labelled(family, level / len(families))], level, left_out)


def holm(p: Sequence[float], level: float) -> list[bool]:
    """Which of several hypotheses fall, with the probability of any error at most `level`.

    >>> holm([0.001, 0.02, 0.03], 0.05)
    [True, True, True]
    >>> holm([0.001, 0.03, 0.04], 0.05)
    [True, False, False]
    """
    fallen = [False] * len(p)
    for rank, k in enumerate(np.argsort(p, kind="stable")):
        if p[k] > level / (len(p) - rank):
            break
        fallen[k] = True
    return fallen


def _order(key: tuple[str, str]) -> tuple[int, str]:
    return list(COLUMNS).index(key[0]) if key[0] in COLUMNS else len(COLUMNS), key[1]


def _cell(old: Results, new: Results, metric: str, material: str) -> Moved:
    """One cell before it is known how many there are."""
    a, b = old.scores[metric, material], new.scores[metric, material]
    about = Moved(new.label, metric, material, "cannot tell", shown(a), shown(b))
    if metric not in COLUMNS:
        return replace(about, label="not compared", why="no such column any more")
    if b.error or a.error:
        label: Label = "unchanged" if a.error and b.error else "loss" if b.error else "gain"
        return replace(about, label=label, why="an error, in which chance has no part")
    if refused := _refused(old, new, a, b):
        return replace(about, label="not compared", why=refused)
    if b.reason in BY_ORDER and a.outcome == "number":
        return replace(about, label="loss", why=f"{b.reason}: chance has no part in it")
    found = of_speed(a, b) if metric in SPEED else evidence_on(old, new, metric, material)
    if isinstance(found, Evidence):
        return replace(about, evidence=found, why=found.how)
    if metric in SPEED:
        return replace(about, label="not compared", why=found)
    if a.outcome == "n/a" == b.outcome:
        return replace(about, label="unchanged" if a.reason == b.reason else "cannot tell", why=found)
    if a.outcome == "n/a":
        return replace(about, label="gain", why=f"a number where there was none ({a.reason})")
    judged = "; the test of failed runs judges it" if b.reason in PHYSICAL else ""
    return replace(about, why=f"{found}{judged}")


def _refused(old: Results, new: Results, a: Score, b: Score) -> str:
    """Why two scores of equal protocols are not comparable all the same."""
    then, now = mark(a), mark(b)
    if then and now and then != now:
        return "the reference's runs have changed"
    precisions = [one.model.get("precision") for one in (old, new)]
    if precisions[0] != precisions[1]:
        return f"precision: {precisions[0]} then, {precisions[1]} now"
    return ""


def _pooled(cells: list[Moved]) -> list[Moved]:
    """Each model's column over all materials where there are several."""
    groups: dict[tuple[str, str], list[Moved]] = {}
    for one in cells:
        if one.evidence is not None and math.isfinite(one.evidence.delta):
            groups.setdefault((one.model, one.metric), []).append(one)
    found = []
    for (model, metric), members in groups.items():
        if len(members) > 1:
            evidence = _together([one.evidence for one in members if one.evidence is not None], metric)
            where = f"{EVERYWHERE} ({len(members)})"
            found.append(Moved(model, metric, where, "cannot tell", evidence=evidence, why=evidence.how))
    return found


def _together(parts: list[Evidence], metric: str) -> Evidence:
    """The mean loss of several materials; degrees of freedom by Welch and Satterthwaite."""
    if all(one.pairs is not None for one in parts):
        pairs = np.concatenate([one.pairs for one in parts if one.pairs is not None])
        return Evidence(float(pairs.mean()), math.nan, math.nan, f"exact, {len(pairs)} runs", pairs)
    squares = np.array([one.se**2 for one in parts])
    over = float(sum(s**2 / one.dof for s, one in zip(squares, parts, strict=True)))
    dof = float(squares.sum() ** 2 / over) if over > 0 else math.inf
    se = math.sqrt(float(squares.sum())) / len(parts)
    how = f"mean of {len(parts)} materials"
    return Evidence(float(np.mean([one.delta for one in parts])), se, dof, how, tolerance=tolerance(COLUMNS[metric]))


def _labelled(cells: list[Moved], level: float) -> list[Moved]:
    """The same with verdicts, when all of them are counted."""
    tested = [k for k, one in enumerate(cells) if one.evidence is not None]
    evidence = [cells[k].evidence for k in tested]
    lost = holm([one.p_loss for one in evidence if one is not None], level)
    won = holm([one.p_gain for one in evidence if one is not None], level)
    found = list(cells)
    for k, loss, gain in zip(tested, lost, won, strict=True):
        label: Label = "loss" if loss else "gain" if gain else _same(cells[k])
        found[k] = replace(cells[k], label=label)
    return found


def _same(one: Moved) -> Label:
    """Unchanged: nothing differs, or the interval of the difference lies within the column's margin."""
    evidence = one.evidence
    assert evidence is not None
    if evidence.delta == 0 and (evidence.se == 0 or (evidence.pairs is not None and not evidence.pairs.any())):
        return "unchanged"
    margin = max(COLUMNS[one.metric].margin or 0.0, 2 * evidence.tolerance)
    low, high = evidence.interval
    return "unchanged" if -margin < low and high < margin else "cannot tell"


def shown(score: Score) -> str:
    """A score in few characters."""
    if score.outcome == "number":
        return significant(score.value)
    return "ERROR" if score.error else f"n/a: {score.reason}"
