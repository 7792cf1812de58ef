"""`grannfield speed`: what an evaluation, a step of molecular dynamics and a training step cost, beside what others take.

Absolute times mean little on a shared machine; a ratio of two calls made one after the other means much. Each round times
every contender once, in turn; the ratio of a round is theirs over ours, and its quartiles over the rounds are the spread.
"""

from __future__ import annotations

from grannfield.speed.comparisons import against_ase, against_loops, against_rival
from grannfield.speed.costs import operations
from grannfield.speed.goals import verdicts
from grannfield.speed.models import of_model
from grannfield.speed.subjects import awake
from grannfield.speed.suite import SECTIONS, table, write_speed
from grannfield.speed.timing import compared, interleaved

__all__ = [
    "SECTIONS",
    "against_ase",
    "against_loops",
    "against_rival",
    "awake",
    "compared",
    "interleaved",
    "of_model",
    "operations",
    "table",
    "verdicts",
    "write_speed",
]
