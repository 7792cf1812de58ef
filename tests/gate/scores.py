"""Results with known answers, small enough to read."""

from __future__ import annotations

from typing import Any

from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.score import Score

PROTOCOL = {"preset": "quick", "described": "500 frames", "ramp_ps": 1.0, "length_ps": 10.0, "seed": 0, "split": "windows",
            "reference": "", "device": "cpu", "hardware": "a machine"}  # fmt: skip
WAVES = (1.0, 1.05, 0.94, 1.1, 0.97, 1.02, 0.99, 1.08, 0.93, 1.01, 1.04, 0.96)
WOBBLES = (1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.015, 0.985, 1.0, 0.995, 1.005)


def results(*scores: Score, label: str = "toy", **protocol: Any) -> Results:
    found = Results(label, {"name": label, "precision": "float32", "kind": "model"}, PROTOCOL | protocol)
    for score in scores:
        found.add(score)
    return found


def rows(values: list[float | None], temperatures: tuple[float, ...] = (1000.0, 1200.0)) -> list[dict[str, Any]]:
    keys = [(t, r) for t in temperatures for r in range(len(values) // len(temperatures))]
    return [
        {"temperature_K": t, "replica": r, "value": value, "reason": "fused" if value is None else ""}
        for (t, r), value in zip(keys, values, strict=True)
    ]


def score(metric: str, value: float, by_run: list[float | None] | None = None, material: str = "Li3PS4", **more: Any) -> Score:
    parts = more.pop("parts", {}) | ({"by_run": rows(by_run)} if by_run else {})
    return Score(metric, "toy", material, value, better=COLUMNS[metric].better, n=10, parts=parts, **more)


def force_mae(factor: float = 1.0, wobble: tuple[float, ...] = WOBBLES, material: str = "Li3PS4") -> Score:
    values: list[float | None] = [100.0 * factor * wave * own for wave, own in zip(WAVES, wobble, strict=True)]
    return score("force_mae", 100.0 * factor, values, material, interval=(98.0 * factor, 102.0 * factor))


def missing(metric: str, reason: str, material: str = "Li3PS4", error: bool = False) -> Score:
    return Score(metric, "toy", material, reason=reason, error=error)


def speed(slower: float = 1.0, machine: float = 1.0, hardware: str = "a machine", yardstick: int = 1) -> Score:
    parts = {
        "rounds_s": [slower * machine] * 5,
        "yardstick_s": [0.1 * machine] * 5,
        "yardstick": yardstick,
        "steps_per_round": 20,
        "hardware": hardware,
        "precision": "float32",
    }
    return score("ns_per_day", 3.4 / (slower * machine), material="Li10GeP2S12", parts=parts)
