"""How a run of molecular dynamics is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Protocol:
    """How a run is made. The paper: 5 ps ramp from 100 K by velocity scaling, then 50 ps NVT, 30% of it equilibration."""

    temperature: float
    """K."""
    length: float = 50_000.0
    """fs of stored motion after the ramp: equilibration and production."""
    ramp: float = 5_000.0
    """fs of heating, which is not stored."""
    timestep: float = 2.0
    """fs."""
    interval: float = 20.0
    """fs between stored frames."""
    start_temperature: float = 100.0
    """K."""
    damping: float = 100.0
    """fs, of the Nosé-Hoover chain."""
    drop: float = 0.3
    """Share of `length` that is equilibration."""
    ensemble: Literal["nvt", "nve"] = "nvt"

    def __post_init__(self) -> None:
        for name in ("temperature", "length", "timestep", "interval", "start_temperature", "damping"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; it is {getattr(self, name)!r}")
        if self.ramp < 0 or not 0 <= self.drop < 1:
            raise ValueError(f"ramp {self.ramp!r} fs must not be negative and drop {self.drop!r} must be in [0, 1)")
        if round(self.interval / self.timestep) < 1 or round(self.length / self.interval) < 1:
            raise ValueError(
                f"frames every {self.interval:g} fs do not fit steps of {self.timestep:g} fs and a length of {self.length:g} fs"
            )

    @property
    def stride(self) -> int:
        """Steps between stored frames."""
        return round(self.interval / self.timestep)

    @property
    def ramp_steps(self) -> int:
        return round(self.ramp / self.timestep)

    @property
    def frames(self) -> int:
        """Stored frames of a run that does not fail."""
        return round(self.length / self.interval)

    def target(self, step: int) -> float:
        """Temperature in K that the thermostat holds after `step` steps, counted from the start of the ramp."""
        return self.temperature if step >= self.ramp_steps else self.heating(step)

    def heating(self, step: Any) -> Any:
        """The same within the ramp, also of a step number that is a tensor."""
        return self.start_temperature + (self.temperature - self.start_temperature) * step / self.ramp_steps
