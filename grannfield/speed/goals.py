"""Goals as data, and which of them a speed file meets."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """One goal beside what was measured."""

    what: str
    value: float | None
    """None where the file has no such number."""
    least: float = float("-inf")
    most: float = float("inf")
    source: str = ""

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        return None if self.value is None else self.least <= self.value <= self.most

    def __str__(self) -> str:
        limit = f"at most {self.most:g}" if self.most < float("inf") else f"at least {self.least:g}"
        found = "not measured" if self.value is None else f"{self.value:g}"
        return f"{self.what}: {found}, goal {limit} ({self.source})"


def table_of_goals() -> dict[str, Any]:
    """goals.toml."""
    return tomllib.loads(resources.files("grannfield.speed").joinpath("goals.toml").read_text(encoding="utf-8"))


def operation_goals() -> dict[str, int]:
    """Most device operations of an evaluation, by model."""
    return {name: n for name, n in table_of_goals()["operations"].items() if name != "source"}


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """Every goal that concerns the hardware of a speed file's content."""
    table, on = table_of_goals(), str(result.get("hardware", ""))
    found = [_verdict(goal, result) for goal in table["goal"] if goal.get("on", "") in on]
    source = table["operations"]["source"]
    for name, most in operation_goals().items():
        where = ["operations", name]
        found.append(Verdict(f"{name}: device operations", value_at(result, [*where, "operations"]), most=most, source=source))
        waits = value_at(result, [*where, "synchronisations"])
        found.append(Verdict(f"{name}: host synchronisations", waits, most=0, source=source))
    if table["gpu"]["on"] in on:
        for name, goal in table["gpu"].items():
            if isinstance(goal, dict):
                found += _of_gpu(name, goal, result, table["gpu"]["source"])
    return found


def value_at(result: Any, place: list[str]) -> float | None:
    """The number at a place of nested tables, None where there is none."""
    for key in place:
        result = result.get(key) if isinstance(result, dict) else None
    return None if result is None else float(result)


def _verdict(goal: dict[str, Any], result: dict[str, Any]) -> Verdict:
    value, most = value_at(result, goal["at"]), goal.get("at_most", float("inf"))
    if "than" in goal:
        other = value_at(result, goal["than"])
        value, most = (None if other is None else value), (float("inf") if other is None else other)
    return Verdict(goal["what"], value, goal.get("at_least", float("-inf")), most, goal["source"])


def _of_gpu(name: str, goal: dict[str, float], result: dict[str, Any], source: str) -> list[Verdict]:
    steps, trained = ["models", name, "steps"], ["training", name]
    measured = {
        "one": ("ns/day of one LGPS replica", [*steps, "1", "ns_per_day"]),
        "ninety": ("ns/day of 90 LGPS replicas", [*steps, "90", "ns_per_day_of_all"]),
        "peak_gb": ("GB of 90 LGPS replicas", [*steps, "90", "peak_gb"]),
        "batch_2": ("training frames/s at batch 2", [*trained, "samples_per_s_at_batch_2"]),
        "best": ("training frames/s at the best batch", [*trained, "best_samples_per_s"]),
    }
    found = []
    for key, limit in goal.items():
        what, place = measured[key]
        bound = {"most": limit} if key == "peak_gb" else {"least": limit}
        found.append(Verdict(f"{name}: {what}", value_at(result, place), source=source, **bound))
    return found
