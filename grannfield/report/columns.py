"""The columns of the leaderboard: what each is called, its unit, which way is better, and what it means in a line."""

from __future__ import annotations

import tomllib
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

    @property
    def heading(self) -> str:
        """Title, unit and direction.

        >>> COLUMNS["force_mae"].heading
        'force MAE (meV/Å) ↓'
        """
        arrow = {"higher": " ↑", "lower": " ↓", "closer": ""}[self.better]
        return f"{self.title}{f' ({self.unit})' if self.unit else ''}{arrow}"


COLUMNS: dict[str, Column] = {
    metric: Column(metric, **entry)
    for metric, entry in tomllib.loads(resources.files("grannfield.report").joinpath("columns.toml").read_text("utf-8")).items()
}
"""All columns by metric, in the order of the board."""
