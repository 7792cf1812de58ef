"""One cell of the leaderboard."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


class NotAvailable(Exception):
    """The physics gave no number: `reason` is the code of an n/a, `detail` what was seen."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Score:
    """A number with its unit, sample size and interval, or the reason why there is none.

    Three outcomes (see `outcome`): *number*; *n/a*, the physics gave none (`reason` says why); *error*, the harness or
    the model broke (`reason` is the last line of the traceback). A score without a finite value must have a reason.

    >>> Score("rdf_mae", "schnet", "Li3PS4", 0.031, better="lower", n=175, interval=(0.027, 0.036)).text
    '0.031 [0.027, 0.036] (n=175)'
    >>> Score("sigma", "schnet", "Li3PS4", reason="too short", detail="0.7 ps of production").text
    'n/a: too short (0.7 ps of production)'
    """

    metric: str
    model: str
    material: str
    value: float = math.nan
    unit: str = ""
    better: Literal["higher", "lower", "closer", ""] = ""
    n: int = 0
    """Sample size behind the value; `note` says of what."""
    interval: tuple[float, float] | None = None
    """95% interval; `note` says by which method."""
    reason: str = ""
    """Code of an n/a ("exploded", "too short", ...) or the last line of a traceback."""
    detail: str = ""
    error: bool = False
    verdict: str = ""
    note: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    """What the number is made of or stands beside: per element, per temperature, the reference's own value."""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) and not self.reason:
            raise ValueError(f"{self.metric} of {self.model} on {self.material} is {self.value} without a reason")
        if math.isfinite(self.value) and self.n < 1:
            raise ValueError(f"{self.metric} of {self.model} on {self.material} is a number without a sample size n")

    @property
    def outcome(self) -> Literal["number", "n/a", "error"]:
        if self.error:
            return "error"
        return "number" if math.isfinite(self.value) else "n/a"

    @property
    def text(self) -> str:
        """The cell as a table shows it: value, interval, n; or the reason."""
        if self.outcome == "error":
            return f"ERROR: {self.reason}"
        if self.outcome == "n/a":
            return f"n/a: {self.reason}{self._bound}" + (f" ({self.detail})" if self.detail else "")
        low_high = "" if self.interval is None else f" [{significant(self.interval[0])}, {significant(self.interval[1])}]"
        verdict = f" {self.verdict}" if self.verdict else ""
        return f"{significant(self.value)}{low_high} (n={self.n}){verdict}"

    @property
    def _bound(self) -> str:
        """What is known of a number that there is none of: at most, or at least, so much."""
        low, high = self.interval or (-math.inf, math.inf)
        if math.isfinite(high):
            return f", at most {significant(high)}"
        return f", at least {significant(low)}" if math.isfinite(low) else ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN and infinity become None."""
        values: dict[str, Any] = _finite(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Score:
        values = dict(values)
        values["value"] = math.nan if values["value"] is None else values["value"]
        if values.get("interval") is not None:
            low, high = values["interval"]
            values["interval"] = (-math.inf if low is None else low, math.inf if high is None else high)
        return cls(**values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def significant(x: float, digits: int = 3) -> str:
    """A number to `digits` significant digits, without trailing exponent noise.

    >>> significant(0.0123456), significant(1234.5), significant(-math.inf), significant(4.7e-05)
    ('0.0123', '1234', '-inf', '4.70e-05')
    """
    if not math.isfinite(x):
        return str(x)
    if x != 0 and (abs(x) < 1e-3 or abs(x) >= 1e6):
        return f"{x:.{digits - 1}e}"
    if abs(x) >= 10 ** (digits - 1):
        return f"{x:.0f}"
    return f"{x:.{digits}g}"
