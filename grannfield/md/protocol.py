"""How a run of molecular dynamics is made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal


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
    """fs, of the thermostat: that of the Nosé-Hoover chain, the time in which random forces replace velocities."""
    drop: float = 0.3
    """Share of `length` that is equilibration."""
    ensemble: Literal["nvt", "nve"] = "nvt"
    thermostat: Literal["nose-hoover", "langevin", "rescale"] = "nose-hoover"
    """Of NVT: a Nosé-Hoover chain, Langevin dynamics (never for D), or stochastic velocity rescaling."""

    RANDOM: ClassVar[tuple[str, ...]] = ("langevin", "rescale")
    """Thermostats with random forces."""

    def __post_init__(self) -> None:
        for name in ("temperature", "length", "timestep", "interval", "start_temperature", "damping"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; it is {getattr(self, name)!r}")
        if not self.ramp >= 0 or not 0 <= self.drop < 1:
            raise ValueError(f"ramp {self.ramp!r} fs must not be negative and drop {self.drop!r} must be in [0, 1)")
        if math.inf in (self.length, self.ramp, self.interval, self.temperature):
            raise ValueError("length, ramp, interval and temperature must be finite")
        if round(self.interval / self.timestep) < 1 or round(self.length / self.interval) < 1:
            raise ValueError(
                f"frames every {self.interval:g} fs do not fit steps of {self.timestep:g} fs and a length of {self.length:g} fs"
            )
        if self.thermostat not in ("nose-hoover", *self.RANDOM) or self.ensemble not in ("nvt", "nve"):
            raise ValueError(f"no thermostat {self.thermostat!r} or ensemble {self.ensemble!r} is known")
        if self.ensemble == "nve" and self.thermostat != "nose-hoover":
            raise ValueError(f"an NVE run has no thermostat; {self.thermostat!r} needs the ensemble nvt")

    @property
    def settings(self) -> dict[str, Any]:
        """What identifies the protocol: a thermostat only where it is not the chain that all runs had once."""
        chosen = asdict(self)
        if self.thermostat == "nose-hoover":
            del chosen["thermostat"]
        return chosen

    @property
    def random(self) -> bool:
        """Whether random forces act after the ramp."""
        return self.thermostat in self.RANDOM

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
