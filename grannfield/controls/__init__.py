"""Controls: models whose faults, or lack of them, are known, so that the suite itself can be tested.

`control:NAME` stands where a model stands. What each is, which columns must flag it and which must not is said in
`controls.toml`; the analytic force field behind most of them is `grannfield.controls.analytic`.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

PREFIX = "control:"


class UnknownControl(LookupError):
    """No control has that name, or its strength is none."""


@dataclass(frozen=True)
class Control:
    """One control as it is asked for."""

    name: str
    about: str
    moves: bool
    """Whether it is motion alone, without a force field."""
    caught_by: tuple[str, ...]
    """Columns at least one of which must flag it, where any of them has a number."""
    required: tuple[str, ...]
    """Columns each of which must flag it wherever it has a number, or names a failure."""
    not_by: tuple[str, ...]
    """Columns that must not flag it; "*" for all."""
    cause: str = ""
    """The cause of failure that survival must name."""
    strength: float = math.nan
    unit: str = ""

    @property
    def label(self) -> str:
        """What tables call it.

        >>> parsed("control:noise=0.10").label, parsed("control:replay").label
        ('control:noise=0.1', 'control:replay')
        """
        return f"{PREFIX}{self.name}" + ("" if math.isnan(self.strength) else f"={self.strength:g}")


@cache
def table() -> dict[str, dict[str, Any]]:
    """`controls.toml`: by name, in the order in which `--model controls` runs them."""
    return tomllib.loads(resources.files("grannfield.controls").joinpath("controls.toml").read_text(encoding="utf-8"))


def parsed(spec: str) -> Control:
    """The control of `control:NAME` or `control:NAME=STRENGTH`; UnknownControl names those there are.

    >>> parsed("control:noise").strength, parsed("control:noise=0.2").strength
    (0.05, 0.2)
    """
    name, equals, text = spec.removeprefix(PREFIX).partition("=")
    if name not in table():
        raise UnknownControl(f"--model {spec}: there is no such control; there are {', '.join(table())}")
    row = table()[name]
    default = float(row.get("strength", math.nan))
    try:
        strength = float(text) if equals else default
    except ValueError:
        strength = math.nan
    if equals and (math.isnan(default) or not 0 < strength < math.inf):
        cure = "it has no strength" if math.isnan(default) else f"write a number above 0, in {row['unit']}"
        raise UnknownControl(
            f"--model {spec}: {cure}, for instance {PREFIX}{name}" + ("" if math.isnan(default) else f"={default:g}")
        )
    return Control(
        name, row["about"], row["moves"], tuple(row["caught_by"]), tuple(row["required"]), tuple(row["not_by"]),
        row.get("cause", ""), strength, row.get("unit", ""),
    )  # fmt: skip


def every() -> list[str]:
    """All controls, as `--model controls` names them."""
    return [f"{PREFIX}{name}" for name in table()]
