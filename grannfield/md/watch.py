"""What stops a replica while it runs: the failures an engine can see without a reference structure.

Non-finite energy or forces, a force above 50 eV/Å, and a kinetic temperature above 1.5 times the target averaged over
100 fs (definitions: "Failure events"). Flags live beside the state, so that reading them is the caller's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grannfield.md.state import MDState, kinetic_temperature

CAUSES = ("", "non-finite", "runaway", "runaway", "overflow")
"""By number: alive, NaN or infinity, a force too large, too hot, too many neighbours."""
LARGEST_FORCE = 50.0
"""eV/Å."""
HOTTEST = 1.5
"""Times the target temperature."""
AVERAGED_OVER = 100.0
"""fs."""


@dataclass(frozen=True, eq=False)
class Watch:
    """Failure flags of R replicas and the recent temperatures they are judged by."""

    step: Tensor
    """[R] int64, step of the failure; -1 while alive."""
    cause: Tensor
    """[R] int64, index into CAUSES."""
    value: Tensor
    """[R] the offending force (eV/Å) or mean temperature (K)."""
    ratio: Tensor
    """[R, W] kinetic temperature over target in the last W steps."""

    @property
    def alive(self) -> Tensor:
        """[R] bool."""
        return self.step < 0

    @classmethod
    def new(cls, replicas: int, timestep: float, device: torch.device | str = "cpu") -> Watch:
        """Nothing has happened yet."""
        window = max(1, round(AVERAGED_OVER / timestep))
        return cls(
            step=torch.full((replicas,), -1, dtype=torch.int64, device=device),
            cause=torch.zeros(replicas, dtype=torch.int64, device=device),
            value=torch.zeros(replicas, dtype=torch.float64, device=device),
            ratio=torch.ones(replicas, window, dtype=torch.float64, device=device),
        )

    def after(self, state: MDState, step: int, target: float, overflow: Tensor) -> Watch:
        """The flags after a step that led to `state` with the thermostat at `target` K."""
        temperature = kinetic_temperature(state)
        column = step % self.ratio.shape[1]
        ratio = self.ratio.clone()
        ratio[:, column] = torch.nan_to_num(temperature / target, nan=1.0, posinf=1e6)
        force = state.forces.square().sum(dim=-1).amax(dim=-1).sqrt()
        finite = torch.isfinite(force) & torch.isfinite(state.energy) & torch.isfinite(state.pos).all(dim=-1).all(dim=-1)
        mean = ratio.mean(dim=1)
        cause = torch.where(overflow, 4, 0)
        cause = torch.where(mean > HOTTEST, 3, cause)
        cause = torch.where(force > LARGEST_FORCE, 2, cause)
        cause = torch.where(finite, cause, 1)
        value = torch.where(cause == 2, force, mean * target)
        failed = self.alive & (cause > 0)
        return replace(
            self,
            step=torch.where(failed, step, self.step),
            cause=torch.where(failed, cause, self.cause),
            value=torch.where(failed, value, self.value),
            ratio=ratio,
        )


def keep_failed_still(alive: Tensor, new: MDState, old: MDState) -> MDState:
    """The new state, with replicas that have failed left where they were before the failing step."""
    pick = lambda a, b: torch.where(alive.view(-1, *[1] * (a.dim() - 1)), a, b)  # noqa: E731
    return new.moved(
        **{key: pick(getattr(new, key), getattr(old, key)) for key in ("pos", "vel", "energy", "forces", "xi", "v_xi")}
    )
