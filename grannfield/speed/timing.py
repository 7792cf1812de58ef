"""Timing of several calls in turn, as medians, quartiles and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from grannfield.memory import keep_freed_memory
from grannfield.progress import progress

T = TypeVar("T")
WARM_UP = 2
"""Rounds that are not counted."""


class Clock:
    """Seconds spent inside the calls it has been put around, round by round."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rounds: list[float] = []

    def around(self, call: Callable[..., T]) -> Callable[..., T]:
        """The same call, timed (on the host: a device must have finished when it returns)."""

        def timed(*args: Any, **kwargs: Any) -> T:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return timed

    def lap(self, counted: bool) -> None:
        """End a round."""
        if counted:
            self.rounds.append(self.seconds)
        self.seconds = 0.0


def finished(device: str) -> None:
    """Return when the device has done all it was asked to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def interleaved(
    calls: dict[str, Callable[[], Any]],
    rounds: int,
    label: str = "",
    clocks: dict[str, Clock] | None = None,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Seconds of every call in every round, after two rounds that are not counted; the order turns from round to round.

    `clocks` are read and set back after every call of their name.

    >>> times = interleaved({"a": lambda: None, "b": lambda: None}, 3)
    >>> [len(x) for x in times.values()]
    [3, 3]
    """
    keep_freed_memory()
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    with progress(rounds + WARM_UP, label or "timing", "rounds") as bar:
        for number in range(-WARM_UP, rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                finished(device)
                start = time.perf_counter()
                calls[name]()
                finished(device)
                if number >= 0:
                    times[name].append(time.perf_counter() - start)
                if clocks and name in clocks:
                    clocks[name].lap(number >= 0)
            bar.update(1)
    return times


def compared(times: dict[str, list[float]], ours: str) -> dict[str, Any]:
    """Median and quartiles of each contender's time, in ms, and of its ratio to ours, round by round.

    >>> compared({"us": [1.0, 2.0, 4.0], "them": [3.0, 4.0, 8.0]}, "us")["them"]["ratio"]
    {'median': 2.0, 'quartiles': [2.0, 2.5], 'n': 3}
    """
    summary = {}
    for name, seconds in times.items():
        summary[name] = {"ms": quartiles(1e3 * np.array(seconds))}
        if name != ours:
            summary[name]["ratio"] = quartiles(np.array(seconds) / np.array(times[ours]))
    return summary


def quartiles(values: np.ndarray) -> dict[str, Any]:
    """Median, quartiles and number of values, to four digits."""
    low, middle, high = (float(f"{x:.4g}") for x in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"median": middle, "quartiles": [low, high], "n": len(values)}
