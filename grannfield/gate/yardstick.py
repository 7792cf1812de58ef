"""A fixed piece of work, timed beside a model's steps: how fast the machine itself is just then.

Two sessions on the same machine differ by clock rate, temperature and neighbours. What is compared between sessions is therefore
the ratio of a model's round to the yardstick's in the same round: a machine that is slower today is slower in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

VERSION = 1
"""Of the work: rounds beside another yardstick are not compared."""
REPEATS = {"cpu": 300, "cuda": 300}


def yardstick(device: str) -> Callable[[], float]:
    """Seconds of the work on a device, when called: products of matrices and exponentials of small arrays, as in a step of MD."""
    import torch

    generator = torch.Generator().manual_seed(0)
    a = torch.randn(512, 64, generator=generator).to(device)
    b = torch.randn(64, 64, generator=generator).to(device)
    n = REPEATS["cuda" if device.startswith("cuda") else "cpu"]

    def work() -> float:
        finished(device)
        start = time.perf_counter()
        with torch.no_grad():
            x = a
            for _ in range(n):
                x = torch.tanh(x @ b * 0.1) + torch.exp(-x.abs())
                x = x - x.sum(1, keepdim=True) / 64
        finished(device)
        return time.perf_counter() - start

    return work


def finished(device: str) -> None:
    """Wait until a device has done all that was asked of it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
