"""What moved, as lines for a terminal and as a Markdown page."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from grannfield.files import write_atomically
from grannfield.gate.evidence import RATIO
from grannfield.gate.judge import Judgement, Moved
from grannfield.report.columns import COLUMNS
from grannfield.score import significant

HEADERS = ["", "model", "column", "material", "then", "now", "worse by", "95% interval", "p", "test"]
ORDER = ("loss", "gain", "cannot tell", "unchanged", "not compared")
NEAREST = 3
"""Undecided numbers that are shown beside what moved: those nearest to a loss."""


def worse_by(one: Moved, value: float) -> str:
    """A loss on the scale that a reader knows: percent for ratios, factors for decimal logarithms, else the column's unit."""
    if not math.isfinite(value):
        return ""
    column = COLUMNS[one.metric]
    if one.metric in RATIO:
        return f"{100 * math.expm1(value):+.1f}%"
    if column.log10:
        return f"{value:+.2f} dex"
    return f"{'+' if value > 0 else ''}{significant(value, 2)}{f' {column.unit}' if column.unit else ''}"


def row(one: Moved) -> list[str]:
    evidence = one.evidence
    if evidence is None:
        return [one.label, one.model, COLUMNS[one.metric].title, one.material, one.old, one.new, "", "", "", one.why]
    low, high = evidence.interval
    interval = f"{worse_by(one, low)} to {worse_by(one, high)}" if math.isfinite(low) else ""
    worse, p = worse_by(one, evidence.delta), f"{one.p:.2g}"
    return [one.label, one.model, COLUMNS[one.metric].title, one.material, one.old, one.new, worse, interval, p, one.why]


def counts(found: Judgement) -> str:
    """How many of each.

    >>> counts(Judgement([]))
    'nothing was compared'
    """
    number = Counter[str](one.label for one in found.moved)
    return ", ".join(f"{number[label]} {label}" for label in ORDER if number[label]) or "nothing was compared"


def verdict(found: Judgement) -> str:
    """The last line: what a person who reads nothing else must know."""
    losses = found.losses
    level = f"{found.tested} tests, any false alarm at {100 * found.level:g}%, Holm"
    if losses:
        names = dict.fromkeys(f"{one.model} {COLUMNS[one.metric].title}" for one in losses)
        return f"gate: LOSS in {', '.join(names)} ({counts(found)}; {level})"
    if not found.moved:
        return "gate: nothing was compared"
    return f"gate: no significant loss ({counts(found)}; {level})"


def lines(found: Judgement) -> list[str]:
    """What moved, what came nearest to it, and the verdict."""
    from tabulate import tabulate

    moved = [one for label in ("loss", "gain") for one in found.moved if one.label == label]
    undecided = [one for one in found.moved if one.label == "cannot tell" and one.evidence is not None and one.p < 0.05]
    chosen = [*moved, *sorted(undecided, key=lambda one: one.p)[:NEAREST]]
    said = [f"left out: {text}" for text in found.left_out]
    refused = Counter(one.why for one in found.moved if one.label == "not compared")
    said += [f"not compared: {n} number{'s' * (n > 1)}, {why}" for why, n in refused.items()]
    if chosen:
        table = tabulate([row(one) for one in chosen], headers=HEADERS, disable_numparse=True)
        said += [line.rstrip() for line in table.splitlines()]
    return [*said, verdict(found)]


def write_page(path: Path, found: Judgement, then: str) -> Path:
    """Everything that was compared, as Markdown."""
    from tabulate import tabulate

    rows = [row(one) for label in ORDER for one in found.moved if one.label == label]
    table = tabulate([[cell.replace("|", r"\|") for cell in one] for one in rows], headers=HEADERS, tablefmt="github",
                     disable_numparse=True)  # fmt: skip
    left = "".join(f"\n- left out: {text}" for text in found.left_out)
    text = (
        f"# Against the baseline\n\n{verdict(found)}\n\nBaseline: {then}. Worse by: positive is a loss; p: of a loss that large "
    )
    text += f"by chance (of a gain, where it is one).\n{left}\n\n{table}\n"
    write_atomically(path, text)
    return path
