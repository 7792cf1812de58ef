"""Whether motion keeps its energy: NVE on the small cell, the error of the integrator taken off.

Velocity Verlet changes the energy by an amount that falls as the square of the time step. Two runs over the same time, one with
twice the step of the other, tell that amount from a loss that no step is short enough to avoid.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from grannfield import units
from grannfield.contract.alive import Case
from grannfield.contract.verdict import Finding, judged
from grannfield.md.integrators import evaluated, velocity_verlet
from grannfield.md.state import initial_state, kinetic_energy

TOLERANCE = 2e-3
"""Largest change of the total energy in the limit of short steps, relative to the mean kinetic energy."""
STEPS, TEMPERATURE = 200, 300.0
RESOLVED = 0.1
"""Time step times the highest frequency of the cell."""
LONGEST = 2.0
"""fs."""
SHORTER = (1.0, 0.25, 0.0625)
"""Time steps tried in turn, as parts of the first, while the energy is not conserved: motion may come to steeper places than the
start, and kinks of the energy let the error fall only in proportion to the step."""
EXPLAINS = {"forces against the energy", "jump of the energy"}
"""Failures that make a drift certain, so that no shorter step is tried."""


def nve(case: Case) -> list[Finding]:
    """Drift of the total energy over 200 steps; judged where a conservative, continuous energy is claimed."""
    claimed = case.subject.conservative and case.subject.claims.continuous
    engine = _Engine(case)
    first = min(LONGEST, RESOLVED / engine.highest_frequency())
    for part in SHORTER:
        timestep = part * first
        drift, swing, ratio = engine.drift(timestep)
        drift = min(drift, swing)
        if drift <= TOLERANCE or not claimed or case.failed & EXPLAINS:
            break
    detail = f"{timestep:.2g} fs; as run {swing:.1e}, {ratio:.1f} times that at twice the step"
    return [judged("NVE drift", drift, claimed=claimed, high=case.allowed(TOLERANCE), n=STEPS, of="steps", precision=case.double,
                   detail=detail, claim="conserved" if claimed else "not claimed",
                   parts={"as_run": swing, "ratio": ratio, "timestep_fs": timestep})]  # fmt: skip


class _Engine:
    """The small cell in motion."""

    def __init__(self, case: Case) -> None:
        self.case, self.cell = case, case.samples.skew
        start = initial_state(self.cell.z, self.cell.pos, self.cell.cell, TEMPERATURE, [case.seed])
        self.start = evaluated(start, self.evaluate)

    def evaluate(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Energy [1] and forces [1, n, 3] at positions [1, n, 3]."""
        answer = self.case.subject.answer(replace(self.cell, pos=pos[0].numpy()), self.case.double)
        return torch.tensor([answer.energy], dtype=torch.float64), torch.from_numpy(np.array(answer.forces))[None]

    def highest_frequency(self) -> float:
        """1/fs, root of the largest eigenvalue of the mass-weighted Hessian, by power iteration on differences of forces."""
        root, here = self.start.mass.sqrt(), self.start.forces
        vector = torch.from_numpy(self.case.rng("frequency").normal(size=(1, len(self.cell), 3)))
        size, step = 0.0, 1e-3
        for _ in range(10):
            vector = vector / vector.norm()
            move = step * vector / root
            vector = -(self.evaluate(self.start.pos + move)[1] - here) / root / step * units.ACCELERATION
            size = float(vector.norm())
        return max(np.sqrt(size), 1e-6)

    def drift(self, timestep: float) -> tuple[float, float, float]:
        """(largest change of energy extrapolated to no time step, as run, ratio of changes at twice the step to those)."""
        fine, kinetic = self.energies(timestep, STEPS)
        coarse, _ = self.energies(2 * timestep, STEPS // 2)
        change, at_twice = fine[2::2] - fine[0], coarse[1:] - coarse[0]
        unit = float(kinetic.mean())
        as_run = float(np.abs(change).max()) / unit
        spread = float(np.sqrt(np.mean(change**2)))
        ratio = float(np.sqrt(np.mean(at_twice**2))) / spread if spread > 0 else 0.0
        return float(np.abs(4 * change - at_twice).max()) / 3 / unit, as_run, ratio

    def energies(self, timestep: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Total and kinetic energy in eV before and after each step: [steps + 1]."""
        state, total, kinetic = self.start, [], []
        for step in range(steps + 1):
            state = state if step == 0 else velocity_verlet(state, self.evaluate, timestep)
            kinetic.append(float(kinetic_energy(state.vel, state.mass)[0]))
            total.append(float(state.energy[0]) + kinetic[-1])
            if not np.isfinite(total[-1]):
                break
        missing = steps + 1 - len(total)
        return np.array(total + [np.nan] * missing), np.array(kinetic + [np.nan] * missing)
