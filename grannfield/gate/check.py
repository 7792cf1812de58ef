"""How often the gate is wrong: false alarms without a change, and losses of known size caught, on synthetic repeats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from grannfield.analysis.uncertainty import clopper_pearson
from grannfield.gate.judge import judge
from grannfield.gate.synthetic import FORCES, Planted, measured_twice
from grannfield.progress import progress

MOST_FALSE, FEWEST_CAUGHT = 0.05, 0.95
SPEEDS = ("ns_per_day", "ns_per_day_batched")


@dataclass(frozen=True)
class Case:
    """One thing that is planted, and the columns that should show it."""

    name: str
    planted: Planted
    columns: tuple[str, ...]
    """Empty: none may."""
    goal: str = ""


CASES = (
    Case("nothing has changed", Planted(), (), f"at most {100 * MOST_FALSE:g}%"),
    Case("forces 5% worse", Planted(forces=1.05), FORCES),
    Case("forces 10% worse", Planted(forces=1.1), FORCES, f"at least {100 * FEWEST_CAUGHT:g}%"),
    Case("forces 20% worse", Planted(forces=1.2), FORCES),
    Case("10% slower", Planted(slower=1.1), SPEEDS),
    Case("20% slower", Planted(slower=1.2), SPEEDS),
)


@dataclass(frozen=True)
class Rate:
    """How often the gate fell in one case."""

    case: Case
    alarms: int
    repeats: int
    by_column: dict[str, int]

    @property
    def share(self) -> float:
        return self.alarms / self.repeats

    @property
    def interval(self) -> tuple[float, float]:
        """95%, exact (Clopper and Pearson)."""
        return clopper_pearson(self.alarms, self.repeats)

    @property
    def right(self) -> bool:
        """Whether the goal is met, where there is one."""
        if not self.case.goal:
            return True
        return self.share >= FEWEST_CAUGHT if self.case.columns else self.share <= MOST_FALSE


def rates(repeats: int, seed: int, cases: tuple[Case, ...] = CASES) -> list[Rate]:
    """Every case with a goal `repeats` times, the others a quarter as often, through the code that judges real scores.

    The same for the same seed.
    """
    if repeats < 1:
        raise ValueError(f"--repeats must be at least 1; it is {repeats}")
    times = [repeats if case.goal else -(-repeats // 4) for case in cases]
    found = []
    with progress(sum(times), "gate on synthetic repeats", "repeats") as bar:
        for number, (case, n) in enumerate(zip(cases, times, strict=True)):
            alarms, columns = 0, Counter[str]()
            for k in range(n):
                old, new = measured_twice((seed * len(cases) + number) * 1_000_000 + k, case.planted)
                losses = judge([old], [new]).losses
                names = {one.metric for one in losses if not case.columns or one.metric in case.columns}
                alarms += bool(names)
                columns.update(names)
                bar.update(1)
            found.append(Rate(case, alarms, n, dict(columns.most_common())))
    return found


def table(found: list[Rate]) -> str:
    """The rates with their exact intervals, and which columns fell."""
    from tabulate import tabulate

    rows = []
    for one in found:
        low, high = one.interval
        which = ", ".join(f"{name} {n}" for name, n in list(one.by_column.items())[:4])
        said = f"{100 * one.share:.1f}%", f"{100 * low:.1f}-{100 * high:.1f}%"
        kind = "caught" if one.case.columns else "false alarms"
        rows.append([one.case.name, kind, one.repeats, *said, one.case.goal, "" if one.right else "MISSED", which])
    headers = ["planted", "", "repeats", "share", "95% interval", "goal", "", "columns that fell"]
    return str(tabulate(rows, headers=headers, disable_numparse=True))
