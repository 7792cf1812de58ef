"""How near a time is to what the hardware could do: the floor of a calculation, from rates measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from grannfield.speed.timing import finished

REPEATS = 5


def hardware_rates(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """The most that this device gives now: GFLOP/s of a large matrix product, GB/s of a copy (read and written)."""
    cuda = device.startswith("cuda")
    n, length = (8192, 2**28) if cuda else (1536, 2**25)
    a, b = torch.randn(n, n, dtype=dtype, device=device), torch.randn(n, n, dtype=dtype, device=device)
    source = torch.ones(length, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    product, copy = _fastest(lambda: torch.mm(a, b), device), _fastest(lambda: target.copy_(source), device)
    return {
        "gflop_per_s": float(f"{2 * n**3 / product * 1e-9:.4g}"),
        "gbyte_per_s": float(f"{2 * source.nbytes / copy * 1e-9:.4g}"),
    }


def floor_seconds(gflop: float, n_bytes: float, rates: dict[str, float]) -> float:
    """The longer of the times that the arithmetic and the memory need at full rate.

    >>> floor_seconds(10.0, 1e9, {"gflop_per_s": 100.0, "gbyte_per_s": 100.0})
    0.1
    """
    return max(gflop / rates["gflop_per_s"], n_bytes * 1e-9 / rates["gbyte_per_s"])


def _fastest(call: Callable[[], Any], device: str) -> float:
    call()
    best = float("inf")
    for _ in range(REPEATS):
        finished(device)
        start = time.perf_counter()
        call()
        finished(device)
        best = min(best, time.perf_counter() - start)
    return best
