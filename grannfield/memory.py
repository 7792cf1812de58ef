"""Keeping freed memory within the process, so that arrays of the same size are not new pages every step.

By default glibc gives arrays above 128 KiB to 32 MiB back to the system when they are freed and asks again a moment later; the
kernel then zeroes the same pages at every step. On LGPS and two CPU cores that was 4% (DimeNet) to 22% (LEFTNet) of a prediction
and up to 30% of a training step.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Names of glibc's `mallopt`, malloc.h."""
KEPT = 2**31 - 1
"""Bytes at the top of the heap that are kept when free."""
LARGEST = 32 * 2**20
"""Bytes of the largest array taken from the heap, the most that glibc allows."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees, once for its life; whether that was possible (glibc only).

    The peak of memory stays what it was; less of it is returned in between. GRANNFIELD_KEEP_MEMORY=0 leaves all as it is.
    """
    if os.environ.get("GRANNFIELD_KEEP_MEMORY", "1") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    # The thresholds stop being dynamic with the first call, so all three are set.
    wanted = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, 2**26))
    return all([mallopt(name, value) == 1 for name, value in wanted])
