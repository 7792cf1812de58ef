"""What one model costs: time a step of molecular dynamics by number of replicas, operations, memory, share of the roofline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from grannfield import units
from grannfield.data.structure import Structure
from grannfield.forcefield import ForceField
from grannfield.md.block import LONGEST, Blocks
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import Watch
from grannfield.precision import checked, matrix_products
from grannfield.progress import progress
from grannfield.speed.costs import costs, evaluation_of, minimal_bytes, operations
from grannfield.speed.loops import PROTOCOL
from grannfield.speed.roofline import floor_seconds, hardware_rates
from grannfield.speed.subjects import GENTLE, awake, crystal
from grannfield.speed.timing import finished, quartiles

REPLICAS = (1, 6, 30, 90)
FEWEST_BLOCKS, MOST_BLOCKS = 3, 30
WARM_UP_STEPS = 2
USABLE = 0.8
"""Share of a computer's free memory that a number of replicas may be expected to need."""


def of_model(
    name: str,
    device: str = "cpu",
    *,
    replicas: Sequence[int] = REPLICAS,
    seconds: float = 60.0,
    precision: str = "float32",
) -> dict[str, Any]:
    """Speed of one model at Table 1's size on LGPS, as numbers that JSON can hold; steps as `simulate` makes them.

    `steps` has for each number of replicas moved together the ms a step (median and quartiles of blocks, each from the same
    start), ns/day at 2 fs of one and of all, and the share of the roofline: the time that matrix products and unavoidable
    bytes need at the rates which `hardware` says this device reached in the same run, over the time measured. None with
    the reason where the forecast exceeds what is left of `seconds`, or the memory.
    """
    if checked(precision) == "tf32" and not device.startswith("cuda"):
        raise ValueError("tf32 is an arithmetic of NVIDIA's GPUs; on the CPU there are float32 and float64")
    with matrix_products(precision, device):
        structure, field = crystal("LGPS"), awake(name, device=device, precision=precision, strength=GENTLE)
        rates = hardware_rates(device, field.dtype)
        evaluate = evaluation_of(field, structure, device)
        evaluate()
        cost = costs(evaluate)
        result: dict[str, Any] = {
            "what": f"{name} at Table 1 size ({field.n_parameters:,} parameters), LGPS ({len(structure.z)} atoms), NVT at 2 fs",
            "precision": precision,
            "hardware": rates,
            "evaluation": operations([name])[name]
            | {
                "gflop": float(f"{cost.flop * 1e-9:.4g}"),
                "moved_mb": round(cost.moved * 1e-6, 1),
                "minimal_mb": round(minimal_bytes(field, structure) * 1e-6, 2),
                "peak_mb": round(cost.peak * 1e-6, 1),
                "note": "matrix products; bytes of operands and results; peak of live results at 1 replica, weights not counted",
            },
        }
        result["steps"] = _by_replicas(field, structure, device, replicas, seconds, cost.peak)
        for key, again in hardware_rates(device, field.dtype).items():  # a busy machine can be slower than it is
            rates[key] = max(rates[key], again)
        for number, found in result["steps"].items():
            if found["ms"] is not None:
                floor = floor_seconds(
                    result["evaluation"]["gflop"] * int(number), minimal_bytes(field, structure, int(number)), rates
                )
                found["share_of_roofline"] = float(f"{1e3 * floor / found['ms']['median']:.3g}")
    return result


def _by_replicas(
    field: ForceField, structure: Structure, device: str, replicas: Sequence[int], seconds: float, peak: int
) -> dict[str, dict[str, Any]]:
    end, found = time.monotonic() + seconds, dict[str, dict[str, Any]]()
    per_replica = 0.0
    with progress(len(replicas), f"{field.name} steps", "sizes") as bar:
        for place, number in enumerate(replicas):
            left = end - time.monotonic()
            forecast = per_replica * number * (FEWEST_BLOCKS + WARM_UP_STEPS + 2)
            need, free = peak * number, float("inf") if device.startswith("cuda") else free_memory()  # a GPU says when it is full
            if forecast > left or left <= 0:
                found[str(number)] = {"ms": None, "reason": f"forecast {forecast:.0f} s, {max(0.0, left):.0f} s left"}
            elif need > USABLE * free:
                found[str(number)] = {"ms": None, "reason": f"forecast {need * 1e-9:.1f} GB, {free * 1e-9:.1f} GB free"}
            else:
                found[str(number)] = _steps(field, structure, device, number, left / (len(replicas) - place))
            if found[str(number)]["ms"]:
                per_replica = 1e-3 * found[str(number)]["ms"]["median"] / number
            bar.update(1)
    return found


def _steps(field: ForceField, structure: Structure, device: str, number: int, seconds: float) -> dict[str, Any]:
    """Blocks of steps from one start, in about so many seconds."""
    start = initial_state(structure.z, structure.pos, structure.cell, PROTOCOL.temperature, list(range(number)))
    try:
        return _blocks(field, MDState(**{key: value.to(device) for key, value in vars(start).items()}), device, seconds)
    except RuntimeError as problem:
        if not isinstance(problem, torch.OutOfMemoryError) and "not enough memory" not in str(problem):
            raise
        reason = str(problem).split("\n")[0]
    torch.cuda.empty_cache()
    return {"ms": None, "reason": reason}


def _blocks(field: ForceField, start: MDState, device: str, seconds: float) -> dict[str, Any]:
    cuda, number = device.startswith("cuda"), start.replicas
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    evaluate = Evaluate(field, start)
    start, watch = evaluated(start, evaluate), Watch.new(number, PROTOCOL.timestep, device)
    blocks = Blocks(evaluate, PROTOCOL, start.pos.device)

    def timed(n: int) -> float:
        finished(device)
        begin = time.perf_counter()
        blocks(start, watch, 0, n)
        finished(device)
        return time.perf_counter() - begin

    timed(1)
    one = timed(WARM_UP_STEPS - 1)
    n = max(1, min(LONGEST, int(seconds / (MOST_BLOCKS * one))))
    timed(n if cuda else 1)  # what is captured is captured for a number of steps
    end, times = time.monotonic() + seconds, list[float]()
    while len(times) < FEWEST_BLOCKS or (len(times) < MOST_BLOCKS and time.monotonic() + times[-1] < end):
        times.append(timed(n))
    milliseconds = quartiles(1e3 * np.array(times) / n)
    single = units.ns_per_day(1e-3 * milliseconds["median"], PROTOCOL.timestep)
    found: dict[str, Any] = {
        "ms": milliseconds,
        "steps_in_a_block": n,
        "captured": blocks.captured,
        "ns_per_day": float(f"{single:.4g}"),
        "ns_per_day_of_all": float(f"{number * single:.4g}"),
    }
    if cuda:
        found["peak_gb"] = round(torch.cuda.max_memory_allocated(device) * 1e-9, 3)
    return found


def free_memory() -> float:
    """Bytes that this process may still allocate without anything being swapped out, infinity where that cannot be known."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError):
        return float("inf")
