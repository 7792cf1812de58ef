"""What stops a replica while it runs: the failures an engine can see without a reference structure.

Non-finite energy or forces, a force above 50 eV/Å, and a kinetic temperature above 1.5 times the target averaged over
100 fs (definitions: "Failure events"). Flags live beside the state, so that reading them is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grannfield import units
from grannfield.md.state import MDState, kinetic_energy, kinetic_temperature

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
    force: Tensor
    """[R] eV/Å, the largest force at that step."""
    heat: Tensor
    """[R] kinetic temperature over target at that step, averaged over the last W steps."""
    ratio: Tensor
    """[R, W] kinetic temperature over target in the last W steps, the latest last; one before the start."""

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
            force=torch.zeros(replicas, dtype=torch.float64, device=device),
            heat=torch.zeros(replicas, dtype=torch.float64, device=device),
            ratio=torch.ones(replicas, window, dtype=torch.float64, device=device),
        )

    def after(self, state: MDState, step: int | Tensor, target: float | Tensor, overflow: Tensor) -> Watch:
        """The flags after a step that led to `state` with the thermostat at `target` K."""
        latest = torch.nan_to_num(kinetic_temperature(state) / target, nan=1.0, posinf=1e6)
        ratio = torch.cat([self.ratio[:, 1:], latest.unsqueeze(1)], dim=1)
        heat = ratio.mean(dim=1)
        squared = state.forces.square().sum(dim=-1).amax(dim=-1)
        # One NaN or infinity anywhere makes the sum one.
        total = squared + state.energy + state.pos.sum(dim=(1, 2))
        force = squared.sqrt()
        causes = torch.stack([~torch.isfinite(total), force > LARGEST_FORCE, heat > HOTTEST, overflow])
        failed = causes.any(dim=0) & self.alive
        return Watch(
            step=torch.where(failed, step, self.step),
            cause=torch.where(failed, causes.to(torch.int8).argmax(dim=0) + 1, self.cause),
            force=torch.where(failed, force, self.force),
            heat=torch.where(failed, heat, self.heat),
            ratio=ratio,
        )

    def after_all(self, states: Sequence[MDState], targets: Sequence[float]) -> Watch | None:
        """The flags after several steps, or None where a replica failed in one of them (no overflow is looked for)."""
        of = lambda name: torch.stack([getattr(state, name) for state in states])  # noqa: E731
        per_target = torch.tensor(targets, dtype=torch.float64).mul_(states[0].degrees_of_freedom * units.BOLTZMANN / 2)
        latest = kinetic_energy(of("vel"), states[0].mass) / per_target.view(-1, 1)
        ratio = torch.cat([self.ratio, latest.T], dim=1)
        window = self.ratio.shape[1]
        heat = ratio.unfold(1, window, 1)[:, 1:].mean(dim=-1)
        squared = of("forces").square().sum(dim=-1).amax(dim=-1)
        total = squared + of("energy") + of("pos").sum(dim=(2, 3))
        good = (heat <= HOTTEST).all() & (squared <= LARGEST_FORCE**2).all() & torch.isfinite(total).all()
        if not good:
            return None
        return Watch(self.step, self.cause, self.force, self.heat, ratio[:, -window:].contiguous())


def keep_failed_still(alive: Tensor, new: MDState, old: MDState) -> MDState:
    """The new state, with replicas that have failed left where they were before the failing step."""
    pick = lambda a, b: torch.where(alive.view(-1, *[1] * (a.dim() - 1)), a, b)  # noqa: E731
    return new.moved(
        **{key: pick(getattr(new, key), getattr(old, key)) for key in ("pos", "vel", "energy", "forces", "xi", "v_xi")}
    )
