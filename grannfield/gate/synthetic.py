"""Scores of models whose quality is known: the same model measured twice, or once with a loss planted, with realistic scatter."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from grannfield.report.columns import COLUMNS
from grannfield.report.results import Results
from grannfield.score import Score

FORCES = ("force_mae", "force_mae_high", "force_r2", "force_r2_random", "force_cosine", "force_slope", "energy_rank")
MOTION = ("rdf_mae", "rdf_wasserstein", "density_overlap", "diffusivity", "jump_rate")
AT_ONE_TEMPERATURE = ("diffusivity", "jump_rate")
ALONE = ("force_curl", "nve_drift")
PROTOCOL = {"preset": "synthetic", "seed": 0, "split": "windows", "reference": "synthetic"}


@dataclass(frozen=True)
class Planted:
    """What is worse in the second measurement."""

    forces: float = 1.0
    """Factor on the force error."""
    slower: float = 1.0
    """Factor on the time of a step."""


@cache
def scatter() -> dict[str, Any]:
    """How far numbers scatter, measured on shipped results."""
    return tomllib.loads(resources.files("grannfield.gate").joinpath("scatter.toml").read_text(encoding="utf-8"))


def measured_twice(seed: int, planted: Planted) -> tuple[Results, Results]:
    """A model's scores before and after: the same test frames, other noise."""
    random = np.random.default_rng(seed)
    about, materials = scatter()["stretches"], scatter()["materials"]
    n = len(about["temperatures"]) * about["per_temperature"]
    shared = about["common"] * random.standard_normal((len(materials), n))
    return _measured(random, shared, Planted()), _measured(random, shared, planted)


def _measured(random: np.random.Generator, shared: np.ndarray, planted: Planted) -> Results:
    results = Results("synthetic", {"name": "synthetic", "precision": "float32"}, dict(PROTOCOL))
    for m, material in enumerate(scatter()["materials"]):
        error = shared[m] + _own(random, shared.shape[1]) + math.log(planted.forces)
        for metric in FORCES:
            results.add(_force_score(random, metric, material, m, error))
        for score in _motion(random, material, m):
            results.add(score)
        for metric in ALONE:
            entry = scatter()[metric]
            half = entry["halves"][m]
            value = entry["values"][m] + half / 1.96 * random.standard_normal()
            value = abs(value) if metric == "force_curl" else value
            parts = {"reference": 0.0}
            results.add(_score(metric, material, float(value), (value - half, value + half), parts))
    for metric in ("ns_per_day", "ns_per_day_batched"):
        results.add(_speed_score(random, metric, planted.slower))
    return results


def _own(random: np.random.Generator, n: int) -> np.ndarray:
    """[n] a model's own share of ln error on stretches: neighbours of the same temperature are correlated."""
    about = scatter()["stretches"]
    rho, each = about["neighbours"], about["per_temperature"]
    white = random.standard_normal(n)
    for k in range(n):
        if k % each:
            white[k] = rho * white[k - 1] + math.sqrt(1 - rho**2) * white[k]
    return np.asarray(about["own"] * white)


def _force_score(random: np.random.Generator, metric: str, material: str, m: int, error: np.ndarray) -> Score:
    entry, about = scatter()[metric], scatter()["stretches"]
    log = entry["power"] * error + entry["extra"] * random.standard_normal(len(error))
    best, value = (0.0 if metric.startswith("force_mae") else 1.0), entry["values"][m]
    values = best - (best - value) * np.exp(log)
    times = [t for t in about["temperatures"] for _ in range(about["per_temperature"])]
    rows = [_row(t, k % about["per_temperature"], float(v)) for k, (t, v) in enumerate(zip(times, values, strict=True))]
    half = 2.2 * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    parts: dict[str, Any] = {"by_run": rows} | ({"reference": 1.0} if metric == "force_slope" else {})
    return _score(metric, material, mean, (mean - half, mean + half), parts)


def _motion(random: np.random.Generator, material: str, m: int) -> list[Score]:
    """Failures, and what is measured on the runs that live."""
    about = scatter()["runs"]
    keys = [(t, r) for t in about["temperatures"] for r in range(about["replicas"])]
    share = np.repeat(about["failing"], about["replicas"])
    failed = random.random(len(keys)) < share
    times = np.where(failed, about["length_ps"] * random.random(len(keys)), about["length_ps"])
    rows = [[_row(t, r, float(x)) for (t, r), x in zip(keys, values, strict=True)] for values in (failed, times)]
    found = [
        _score("failed_share", material, float(failed.mean()), None, {"by_run": rows[0]}),
        _score("survival_ps", material, float(times.mean()), None, {"by_run": rows[1]}),
    ]
    for metric in MOTION:
        found.append(_motion_score(random, metric, material, m, keys, failed))
    return found


def _motion_score(
    random: np.random.Generator, metric: str, material: str, m: int, keys: list[tuple[float, int]], failed: np.ndarray
) -> Score:
    entry, top = scatter()[metric], max(scatter()["runs"]["temperatures"])
    values = entry["values"][m] * np.exp(entry["between"] * random.standard_normal(len(keys)))
    if metric == "density_overlap":
        values = np.minimum(values, 1.0)
    rows = [
        _row(t, r, None if bad else float(x), "fused" if bad else "")
        for (t, r), x, bad in zip(keys, values, failed, strict=True)
        if metric not in AT_ONE_TEMPERATURE or t == top
    ]
    good = [row["value"] for row in rows if row["value"] is not None]
    parts: dict[str, Any] = {"by_run": rows}
    if metric in AT_ONE_TEMPERATURE:
        parts |= {"temperature_K": top, "reference": entry["reference"][m]}
    if len(good) < len(rows):
        return Score(metric, "synthetic", material, reason="fused", parts=parts)
    value = float(np.mean(good))
    widened = math.exp(entry["half"] / math.sqrt(len(good)))
    return _score(metric, material, value, (value / widened, value * widened), parts)


def _speed_score(random: np.random.Generator, metric: str, slower: float) -> Score:
    about = scatter()["speed"]
    machine, session = about["machine"] * random.standard_normal(), about["session"] * random.standard_normal()
    noise = about["within"] * random.standard_normal((2, about["rounds"]))
    rounds = about["round_s"] * slower * np.exp(machine + session + noise[0])
    beside = about["yardstick_s"] * np.exp(machine + noise[1])
    parts = {
        "rounds_s": rounds.tolist(),
        "yardstick_s": beside.tolist(),
        "yardstick": 1,
        "steps_per_round": 20,
        "hardware": "synthetic",
        "precision": "float32",
    }
    value = 0.1728 * 20 / float(np.median(rounds))
    return _score(metric, COLUMNS[metric].measured_on, value, (0.9 * value, 1.1 * value), parts)


def _score(metric: str, material: str, value: float, interval: tuple[float, float] | None, parts: dict[str, Any]) -> Score:
    return Score(metric, "synthetic", material, value, better=COLUMNS[metric].better, n=10, interval=interval, parts=parts)


def _row(temperature: float, replica: int, value: float | None, reason: str = "") -> dict[str, Any]:
    return {"temperature_K": temperature, "replica": replica, "value": value, "reason": reason}
