"""The columns of the leaderboard: what each is called, its unit, which way is better, and what it means in a line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One observable of the suite."""

    metric: str
    title: str
    about: str
    better: Literal["higher", "lower", "closer"]
    unit: str = ""
    measured_on: str = ""
    """The one material a column is measured on, where it is not measured on all."""
    margin: float | None = None
    """Largest difference that does not matter, in the column's unit, or of decimal logarithms with `log10`."""
    log10: bool = False
    floor: bool = False
    """Whether the reference's own number is that of its halves against each other: only worse than that is different."""
    group: str = ""
    """Heading under which the board shows it."""

    @property
    def heading(self) -> str:
        """Title, unit and direction.

        >>> COLUMNS["force_mae"].heading
        'force MAE (meV/Å) ↓'
        """
        arrow = {"higher": " ↑", "lower": " ↓", "closer": ""}[self.better]
        return f"{self.title}{f' ({self.unit})' if self.unit else ''}{arrow}"


def _read() -> dict[str, Column]:
    text = resources.files("grannfield.report").joinpath("columns.toml").read_text(encoding="utf-8")
    columns, group = {}, ""
    for metric, entry in tomllib.loads(text).items():
        group = entry.get("group", group)
        columns[metric] = Column(metric, **entry | {"group": group})
    return columns


COLUMNS: dict[str, Column] = _read()
"""All columns by metric, in the order of the board."""


def grouped(metrics: Iterable[str] = tuple(COLUMNS)) -> dict[str, tuple[str, ...]]:
    """Metrics by the heading under which the board shows them, in its order.

    >>> grouped(("force_r2", "force_mae", "ns_per_day"))
    {'Forces and energies': ('force_r2', 'force_mae'), 'Speed': ('ns_per_day',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for metric in metrics:
        group = COLUMNS[metric].group
        found[group] = (*found.get(group, ()), metric)
    return found
