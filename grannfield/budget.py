"""What a budget of training is counted in: the time of the device that computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """A clock for budgets and what its seconds are called."""

    name: str
    now: Callable[[], float]
    """s, from an arbitrary beginning."""


WALL = Clock("wall time", time.monotonic)


def device_clock(device: str) -> Clock:
    """Seconds in which the device works for this process.

    On a processor that is the time of the process divided by torch's threads, so that neither other work on the machine nor a
    pause takes anything from a budget that models are to share equally; a GPU, which has one user at a time, is on wall time.
    """
    if not device.startswith("cpu"):
        return WALL
    import torch

    threads = torch.get_num_threads()
    return Clock(f"processor time of {threads} thread{'s' * (threads > 1)}", lambda: time.process_time() / threads)
