"""Progress bars for anything that takes more than a few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Lines:
    """A line now and then, for log files and where tqdm is not installed."""

    def __init__(self, total: float, label: str, unit: str, every_s: float = 30.0) -> None:
        self.total, self.label, self.unit, self.every_s = total, label, unit, every_s
        self.done, self.extra, self.start = 0.0, "", time.monotonic()
        self.printed = self.start

    def update(self, amount: float) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.printed > self.every_s:
            self.printed = now
            left = max(0.0, (now - self.start) * (self.total / self.done - 1)) if self.done else float("inf")
            done, total = f"{self.done:.0f}", f"{self.total:.0f}"
            print(f"{self.label}: {done}/{total} {self.unit}, {left:.0f} s left {self.extra}", file=sys.stderr, flush=True)

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        self.extra = text


@contextmanager
def progress(total: float, label: str, unit: str) -> Iterator[Any]:
    """A bar with `update(amount)` and `set_postfix_str(text)`: live on a terminal, a line every 30 s in a log file."""
    if not sys.stderr.isatty():
        yield _Lines(total, label, unit)
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _Lines(total, label, unit)
        return

    class Bar(tqdm):
        """A last step or validation may go past the total, where tqdm has no percentage to show and fails."""

        def update(self, amount: float = 1) -> bool | None:
            return super().update(min(amount, self.total - self.n))

    digits = 1 if total < 20 else 0
    done = f"{{n:.{digits}f}}/{{total:.{digits}f}}"
    layout = f"{{desc}} {{percentage:3.0f}}%|{{bar:20}}| {done} {{unit}} [{{elapsed}}<{{remaining}}] {{postfix}}"
    with Bar(total=total, desc=label, unit=unit, bar_format=layout, leave=False) as bar:
        yield bar
