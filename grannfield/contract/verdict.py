"""One measured number, the claim it stands against, and whether the claim holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "FAIL", "not judged", "n/a", "ERROR"]


@dataclass(frozen=True)
class Finding:
    """One row of the contract."""

    check: str
    """What was measured; a force field has one finding for each check and precision."""
    value: float = math.nan
    low: float | None = None
    """The value must not be smaller, where that is judged."""
    high: float | None = None
    """The value must not be larger, where that is judged."""
    unit: str = ""
    claim: str = ""
    """What the model says of itself."""
    verdict: Verdict = "not judged"
    n: int = 0
    of: str = ""
    """What n counts."""
    precision: str = ""
    detail: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    """Numbers the value is made of or stands beside."""

    @property
    def failed(self) -> bool:
        return self.verdict in ("FAIL", "ERROR")

    @property
    def bounds(self) -> str:
        """The tolerance as a table shows it."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.high is not None:
            return "identical" if self.high == 0 else f"≤ {self.high:.2g}"
        return "" if self.low is None else f"≥ {self.low:g}"

    @property
    def text(self) -> str:
        """The value as a table shows it."""
        if self.verdict in ("n/a", "ERROR"):
            return ""
        return "0" if self.value == 0 else f"{self.value:.1e}{' ' if self.unit else ''}{self.unit}"

    @property
    def sentence(self) -> str:
        """What was seen, in a line."""
        if self.verdict == "ERROR":
            return f"{self.check}: {self.detail}"
        value = f"{self.check} {self.precision}".strip() + f": {self.text}, should be {self.bounds}"
        return value + (f" ({self.detail})" if self.detail else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become None (an infinite value is a failure whose detail says why)."""
        values = asdict(self)
        values["value"] = self.value if math.isfinite(self.value) else None
        values["parts"] = {key: x if math.isfinite(x) else None for key, x in self.parts.items()}
        return values | {"bounds": self.bounds}


def from_dict(values: dict[str, Any]) -> Finding:
    """A finding as a JSON file holds it."""
    kept = {key: x for key, x in values.items() if key != "bounds"}
    return Finding(**kept | {"value": math.inf if values["value"] is None else values["value"]})


def judged(
    check: str, value: float, *, claimed: bool, low: float | None = None, high: float | None = None, **more: Any
) -> Finding:
    """A finding with its verdict: a value that is NaN or infinite, or outside its bounds, breaks a claim.

    >>> judged("rotation", 2e-7, claimed=True, high=1e-4).verdict, judged("rotation", 0.1, claimed=False, high=1e-4).verdict
    ('pass', 'not judged')
    >>> judged("rotation", math.nan, claimed=True, high=1e-4).verdict
    'FAIL'
    """
    holds = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    verdict: Verdict = ("pass" if holds else "FAIL") if claimed else "not judged"
    more.setdefault("claim", "claimed" if claimed else "not claimed")
    return Finding(check, value, low if claimed else None, high if claimed else None, verdict=verdict, **more)


def not_applicable(check: str, why: str) -> Finding:
    """A finding for what a model cannot have."""
    return Finding(check, verdict="n/a", detail=why)


def broken(check: str, problem: BaseException) -> Finding:
    """A finding for a check that the model did not survive."""
    line = (str(problem).strip().splitlines() or [""])[0]
    return Finding(check, verdict="ERROR", detail=f"{type(problem).__name__}: {line}"[:200])
