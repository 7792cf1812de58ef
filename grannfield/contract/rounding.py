"""What a precision costs: errors of the forces against float64 with the same weights, and what they do to the energy of motion.

A force field passes in a precision when its forces are close to those of float64 on crystals and on crystals in thermal disorder,
and when motion without a thermostat loses or gains no more energy than it does in float64.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield import units
from grannfield.contract.samples import Sample, in_known_elements, materials_at_rest, relaxed_gamma
from grannfield.contract.subjects import reset_random_numbers, rms
from grannfield.contract.verdict import Finding, broken, judged
from grannfield.forcefield import ForceField, to_precision
from grannfield.md.integrators import evaluated, velocity_verlet
from grannfield.md.state import initial_state, kinetic_energy
from grannfield.neighbors import neighbor_graph
from grannfield.precision import labelled

LARGEST = {"float32": 5e-5, "tf32": 1e-2, "float64": 1e-10}
"""Largest error of a force component over the largest component in thermal disorder. float32 and float64: some hundred units of
rounding, which is what sums over 50 neighbours in a few layers cost."""
ROOT_MEAN_SQUARE = {"float32": 5e-5, "tf32": 5e-3, "float64": 1e-10}
"""Rms error over rms force in thermal disorder. TF32: thermal forces are near 1 eV/Å, so this is 5 meV/Å, a tenth of the 50 meV/Å
of a good model; errors that are independent add as squares, so that a model of 50 becomes one of 50.2 meV/Å."""
DISORDER = (0.0, 0.05, 0.1)
"""Å, standard deviation of each coordinate: the crystal, and displacements as in thermal motion and beyond."""
THERMAL = 0.05
"""Å, the disorder whose forces, 0.4 to 1 eV/Å rms, are the unit: those of a crystal at rest cancel, and a share of nothing is no
measure."""
MARGIN = 0.05
"""meV per atom and ps that a precision may add to the drift of float64: within the 50 ps of the paper's runs 2.5 meV per atom,
which heats a harmonic crystal (3 kT) of 1,000 K by 1%, were there no thermostat."""
HOPELESS = 20 * MARGIN
"""meV per atom and ps, tolerance at which nothing would be seen: motion that bursts, and no energy to be conserved."""
TIMESTEP, LENGTH = 2.0, 2_000.0
"""fs."""
START = 1000.0
"""K of the first velocities; half of it goes into the springs of the crystal, which was at rest."""
BLOCKS = 10
"""Parts of a run whose mean energies the drift is fitted to: vibrations average out."""


@dataclass(frozen=True)
class Drift:
    """Change of the total energy in motion without a thermostat."""

    value: float
    """meV per atom and ps."""
    error: float
    """Its standard error, from the scatter of the blocks about a straight line."""
    temperature: float
    """K, mean of the run."""


def rounding(field: ForceField, precision: str, seed: int, device: str = "cpu") -> list[Finding]:
    """What was found of a field in a precision; ValueError where it has no such precision, for want of weights."""
    fields = {name: to_precision(copy.deepcopy(field), name).to(device).eval() for name in (precision, "float64")}
    label = labelled(precision, device)
    found = [replace(one, precision=label) for one in force_errors(fields, precision, seed)]
    return [*found, replace(drift_excess(fields, precision, seed), precision=label)]


def force_errors(fields: dict[str, ForceField], precision: str, seed: int) -> list[Finding]:
    """Largest and rms error of the forces over all materials, each relative to its own thermal forces.

    float64 is measured against itself with the atoms in another order, so that sums are rounded in other ways.
    """
    largest, mean, cells = (0.0, ""), (0.0, ""), in_known_elements(materials_at_rest(), fields[precision].elements)[0]
    for name, rest in cells.items():
        rng = np.random.default_rng(seed)
        cases = {r: rest.displaced(rng.normal(scale=r, size=rest.pos.shape)) for r in DISORDER}
        exact = {r: forces(fields["float64"], case) for r, case in cases.items()}
        for r, case in cases.items():
            order = rng.permutation(len(case)) if precision == "float64" else np.arange(len(case))
            wrong = forces(fields[precision], case.reordered(order)) - exact[r][order]
            where = f"{name}, {'at rest' if r == 0 else f'{r:g} Å of disorder'}: {1e3 * rms(wrong):.2g} meV/Å rms"
            largest = max(largest, (_share(np.abs(wrong).max(), np.abs(exact[THERMAL]).max()), where))
            mean = max(mean, (_share(rms(wrong), rms(exact[THERMAL])), where))
    common: dict[str, Any] = {"claimed": True, "n": len(cells) * len(DISORDER), "of": "structures"}
    return [
        judged("force error", largest[0], high=LARGEST[precision], detail=f"largest for {largest[1]}", **common),
        judged("force error, rms", mean[0], high=ROOT_MEAN_SQUARE[precision], detail=f"largest for {mean[1]}", **common),
    ]


def _share(error: float, whole: float) -> float:
    """An error as part of a whole; infinite where there is no whole, NaN where either is."""
    return float(error / whole) if whole != 0 else np.inf


def forces(field: ForceField, case: Sample) -> np.ndarray:
    """[N, 3] eV/Å, in double precision whatever made them."""
    return _evaluate(field, case, torch.from_numpy(case.pos)[None])[1][0].numpy()


def _evaluate(field: ForceField, case: Sample, pos: Tensor) -> tuple[Tensor, Tensor]:
    """Energy [1] and forces [1, N, 3] of a sample's atoms at positions [1, N, 3]."""
    if not torch.isfinite(pos).all():
        raise FloatingPointError(f"the motion of {field.name} in {field.precision} leaves what is finite")
    reset_random_numbers()
    graph = neighbor_graph(case.z, pos[0].numpy(), case.cell, field.cutoff).to(next(field.buffers()).device)
    prediction = field.predict(graph)
    return prediction.energy.detach().cpu(), prediction.forces.detach().double().cpu()[None]


def drift_excess(fields: dict[str, ForceField], precision: str, seed: int) -> Finding:
    """How much more energy than in float64 is lost or gained without a thermostat; judged where forces are a gradient.

    Where float64 itself wanders, its standard error says how well two runs that have parted can agree: three of them are added
    to the tolerance. In float64 it is the drift itself. An error where that leaves nothing to be judged.
    """
    claimed = fields[precision].conservative
    try:
        own = energy_drift(fields[precision], seed)
        exact = own if precision == "float64" else energy_drift(fields["float64"], seed)
        if claimed and not 3 * exact.error < HOPELESS:
            raise FloatingPointError(f"float64 itself drifts by {exact.value:.2g} ± {exact.error:.1g} meV/atom/ps")
    except FloatingPointError as problem:
        return broken("NVE drift", problem) if claimed else judged("NVE drift", np.nan, claimed=False, detail=str(problem))
    excess = abs(own.value) - (0.0 if precision == "float64" else abs(exact.value))
    detail = f"{own.value:.2g} ± {own.error:.1g} at {own.temperature:.0f} K"
    detail += "" if precision == "float64" else f"; float64 {exact.value:.2g} ± {exact.error:.1g}"
    return judged("NVE drift", excess, claimed=claimed, high=MARGIN + 3 * exact.error, n=round(LENGTH / TIMESTEP), of="steps",
                  unit="meV/atom/ps", claim="conserved" if claimed else "direct forces", detail=detail,
                  parts={"drift": own.value, "standard_error": own.error, "float64": exact.value,
                         "float64_standard_error": exact.error, "temperature": own.temperature})  # fmt: skip


def energy_drift(field: ForceField, seed: int) -> Drift:
    """Slope of the total energy of 16 atoms of gamma-Li3PS4, without the integrator's oscillation.

    Velocity Verlet conserves not H but H + dt² (v V'' v / 12 - F F / (24 m)) + O(dt⁴) (Engle, Skeel & Drees, J. Comput. Phys.
    206, 432 (2005), 10.1016/j.jcp.2004.12.009), where only slow terms are left; V'' v is the change of the forces with time.
    FloatingPointError where the motion ends in NaN or infinity.
    """
    cell = in_known_elements({"": relaxed_gamma()}, field.elements)[0][""]
    evaluate = lambda pos: _evaluate(field, cell, pos)  # noqa: E731
    state = evaluated(initial_state(cell.z, cell.pos, cell.cell, START, [seed]), evaluate)
    total, vel, force, kinetic = [], [], [], []
    for step in range(round(LENGTH / TIMESTEP) + 1):
        state = velocity_verlet(state, evaluate, TIMESTEP) if step else state
        kinetic.append(kinetic_energy(state.vel, state.mass))
        total.append(state.energy + kinetic[-1])
        vel.append(state.vel)
        force.append(state.forces)
    v, f = torch.cat(vel), torch.cat(force)
    bend = -(v[1:-1] * (f[2:] - f[:-2])).sum(dim=(1, 2)) / (2 * TIMESTEP)
    push = (f[1:-1].square() / state.mass).sum(dim=(1, 2)) * units.ACCELERATION
    shadow = torch.cat(total)[1:-1] + TIMESTEP**2 * (bend / 12 - push / 24)
    temperature = float(2 * torch.cat(kinetic).mean() / (state.degrees_of_freedom * units.BOLTZMANN))
    return Drift(*slope(1e3 * shadow.numpy() / len(cell), TIMESTEP * 1e-3), temperature)


def slope(values: np.ndarray, step: float) -> tuple[float, float]:
    """(slope, standard error) of a straight line through the means of ten blocks of a series with a step of time.

    >>> value, error = slope(3.0 * 0.01 * np.arange(1000) + np.sin(np.arange(1000)), 0.01)
    >>> abs(value - 3) < 0.01, 0 < error < 0.01
    (True, True)
    """
    width = len(values) // BLOCKS
    means = values[: width * BLOCKS].reshape(BLOCKS, width).mean(axis=1)
    line, covariance = np.polyfit(np.arange(BLOCKS) * width * step, means, 1, cov=True)
    return float(line[0]), float(np.sqrt(covariance[0, 0]))
