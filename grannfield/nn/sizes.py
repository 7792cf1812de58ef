"""How many numbers are worked on at once: what stays in a processor's cache, everything on a device that waits for launches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

BUFFER = {"cpu": 2**19}
"""Numbers in the largest temporary array, by kind of device: on a CPU what stays in its cache."""
LARGE_BUFFER = 2**28
"""The same on any other device, 1 GiB in single precision: one crystal of 50 atoms at once, and a bound on memory for many."""


def at_once(device: torch.device) -> int:
    """Numbers that a temporary array may have on a device."""
    return BUFFER.get(device.type, LARGE_BUFFER)


@contextmanager
def sized_for(device: str) -> Iterator[None]:
    """Within it arrays are as large as on a device of this kind ("cuda"), wherever they are: to count what it would do."""
    usual = dict(BUFFER)
    BUFFER.clear()
    BUFFER.update(dict.fromkeys({"cpu", device, *usual}, usual.get(device, LARGE_BUFFER)))
    try:
        yield
    finally:
        BUFFER.clear()
        BUFFER.update(usual)
