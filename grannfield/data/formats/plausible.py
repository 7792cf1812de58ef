"""Can these numbers be Å, eV and eV/Å? Five tests by physics, and which other units would pass them.

1. Nearest neighbours: the median over atoms of the distance to the nearest atom lies near the sum of covalent radii
   (ratio 0.9 to 1.2 in solids and molecules; 1.9 for Bohr read as Å, 0.1 for nm).
2. Work: between similar frames the energy changes by -(F1 + F2)/2 . dx, whatever the field.
3. Newton: frames a few fs apart give m a = F, up to the thermostat.
4. Stiffness: forces fall with displacement as in a harmonic solid of 2 to 45 THz (Li conductors: 8 to 9), and within a
   factor of 2.5 of what another trajectory of the same material has, where there is one.
5. Size: the rms force of frames that move lies between 0.005 and 25 eV/Å, and within a factor of 8 of that other one's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from grannfield.analysis.distances import minimum_distances
from grannfield.data.formats.units import UNITS, units_of
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import ACCELERATION, BOLTZMANN, masses

NEIGHBOUR = (0.65, 1.5)
"""Of the median nearest distance over the sum of covalent radii."""
FORCE = (0.005, 25.0)
"""eV/Å rms."""
SLOPE = 3.0
"""A slope of work or of m a beyond this factor of 1 is no rounding: the nearest wrong units are a factor of 10 off."""
CORRELATED = 0.8
THZ = (2.0, 45.0)
LIKE_THZ, LIKE_FORCE = 2.5, 8.0
"""Factors between two trajectories of one material at different temperatures and strains."""
SAMPLE = 40
NEWTON_FS = 6.0
"""Largest time between frames at which second differences are accelerations."""
TRIALS = (
    "metal", "atomic", "real", "gromacs", "rydberg", "Å,Ha,Ha/Bohr", "Å,Ha,eV/Å", "Å,eV,Ha/Bohr", "Å,kJ/mol,kJ/mol/nm",
    "Å,kJ/mol,kJ/mol/Å", "Å,Ha,Ha/Å", "Å,Ry,Ry/Bohr", "Bohr,eV,eV/Å", "Bohr,Ha,eV/Å", "Bohr,eV,Ha/Bohr", "nm,eV,eV/Å",
)  # fmt: skip
"""Units that sets are found in, tried in this order."""


class ImplausibleUnits(TrajectoryError):
    """The numbers of a file cannot be in the units it is read in."""


def complaint(trajectory: Trajectory, like: Trajectory | None = None) -> str:
    """What is wrong with a trajectory taken for Å and eV, and which units would fit; empty when nothing is.

    `like`: another trajectory of the same material, in the right units.
    """
    usual = (frequency(like), force_rms(like)) if like is not None else (math.nan, math.nan)
    found = list(_problems(trajectory, usual))
    if not found:
        return ""
    fitting = [name for name in TRIALS if not list(_problems(_scaled(trajectory, name), usual))]
    names = [f"{name} ({UNITS[name]})" if name in UNITS else name for name in fitting[:3]]
    known = f"units that would fit: {' or '.join(names)}" if names else "no units known explain it"
    return f"{found[0]}; {known}; say which, or units metal if Å and eV are right after all"


def _scaled(trajectory: Trajectory, name: str) -> Trajectory:
    units = units_of(name)
    times = lambda values, factor: None if values is None else np.asarray(values, float) * factor  # noqa: E731
    return replace(
        trajectory,
        pos=trajectory.pos * units.length,
        cell=trajectory.cell * units.length,
        energy=times(trajectory.energy, units.energy),
        forces=times(trajectory.forces, units.force),
    )


def _problems(trajectory: Trajectory, usual: tuple[float, float]) -> Iterator[str]:
    ratio = neighbour_ratio(trajectory)
    if ratio is not None and not NEIGHBOUR[0] < ratio < NEIGHBOUR[1]:
        yield f"its nearest atoms are {ratio:.2g} times the sum of their covalent radii apart"
    if trajectory.forces is None:
        return
    rms = force_rms(trajectory)
    if math.isfinite(rms) and rms > 0 and not FORCE[0] < rms < FORCE[1]:
        yield f"its rms force of {rms:.3g} (eV/Å) is none that atoms in motion have"
    if usual[1] / LIKE_FORCE > rms > 0 or rms > usual[1] * LIKE_FORCE:
        yield f"its rms force of {rms:.3g} (eV/Å) is {rms / usual[1]:.2g} times that of another trajectory of the material"
    stiffness = frequency(trajectory)
    if not math.isnan(stiffness) and not THZ[0] < stiffness < THZ[1]:
        yield f"its forces change with displacement as in a solid of {stiffness:.2g} THz"
    elif stiffness * LIKE_THZ < usual[0] or stiffness > usual[0] * LIKE_THZ:
        yield (
            f"its forces change with displacement as in a solid of {stiffness:.2g} THz, those of another trajectory of the "
            f"material as in one of {usual[0]:.2g}"
        )
    slope, correlation = work(trajectory)
    if correlation > CORRELATED and not 1 / SLOPE < slope < SLOPE:
        yield f"its energies change by {slope:.3g} times the work of its forces"
    slope, correlation = newton(trajectory)
    if correlation > CORRELATED and not 1 / SLOPE < slope < SLOPE:
        fitting = trajectory.timestep / math.sqrt(slope)
        yield (
            f"its forces are {slope:.3g} times mass times acceleration: is the time between frames {fitting:.3g} fs, not "
            f"{trajectory.timestep:g} fs, or are the units others"
        )


def neighbour_ratio(trajectory: Trajectory) -> float | None:
    """Median over the atoms of a few frames of the nearest distance over the sum of covalent radii."""
    radii = _radii()
    z = np.asarray(trajectory.z)
    if len(z) < 2 or len(z) > 2000:
        return None
    chosen = np.unique(np.linspace(0, trajectory.n_frames - 1, 5).astype(int))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(len(z)), np.arange(len(z)), indexing="ij"))
    i, j = i[i != j], j[i != j]
    pos, cell = np.asarray(trajectory.pos)[chosen], np.asarray(trajectory.cell)[chosen]
    reach = float(np.cbrt(np.abs(np.linalg.det(cell)).max() / len(z)))
    distance = minimum_distances(pos, cell, i, j, 2 * reach) / (radii[z[i]] + radii[z[j]])
    return float(np.median(distance.reshape(len(chosen), len(z), -1).min(axis=2)))


@cache
def _radii() -> np.ndarray:
    from ase.data import covalent_radii

    return np.asarray(covalent_radii)


def force_rms(trajectory: Trajectory) -> float:
    """Root mean square of the force components that are there, eV/Å."""
    if trajectory.forces is None:
        return float("nan")
    values = np.asarray(trajectory.forces, float)
    finite = np.isfinite(values)
    return float(np.sqrt(np.square(values[finite]).mean())) if finite.any() else float("nan")


def work(trajectory: Trajectory) -> tuple[float, float]:
    """(slope, correlation) of the energy changes on the work of the forces, over pairs of similar frames of one cell.

    NaN for both where there are fewer than five such pairs.
    """
    if trajectory.energy is None or trajectory.forces is None:
        return float("nan"), float("nan")
    pairs = _similar(trajectory)
    if len(pairs) < 5:
        return float("nan"), float("nan")
    a, b = pairs.T
    forces, energy = np.asarray(trajectory.forces, float), np.asarray(trajectory.energy)
    done = -0.5 * np.einsum("pnx,pnx->p", forces[a] + forces[b], _moves(trajectory, a, b))
    return _line(done, energy[b] - energy[a])


def frequency(trajectory: Trajectory) -> float:
    """THz of the harmonic solid whose forces change as these do between similar frames; NaN without enough of them."""
    pairs = _similar(trajectory) if trajectory.forces is not None else np.empty((0, 2), int)
    if len(pairs) < 5:
        return math.nan
    a, b = pairs.T
    moved, forces = _moves(trajectory, a, b), np.asarray(trajectory.forces, float)
    restoring = -float(np.sum((forces[b] - forces[a]) * moved))
    inertia = float(np.einsum("n,pnx->", masses(trajectory.z), np.square(moved)))
    return 1e3 / (2 * math.pi) * math.sqrt(max(restoring, 0.0) * ACCELERATION / inertia)


def newton(trajectory: Trajectory) -> tuple[float, float]:
    """(slope, correlation) of the forces on mass times acceleration, for frames at most a few fs apart."""
    if trajectory.forces is None or trajectory.kind != "time" or trajectory.n_frames < 3 or trajectory.timestep > NEWTON_FS:
        return float("nan"), float("nan")
    last = min(trajectory.n_frames, 200)
    pos = np.asarray(trajectory.pos[:last])
    second = (pos[2:] - 2 * pos[1:-1] + pos[:-2]) / trajectory.timestep**2
    product = masses(trajectory.z)[:, None] * second / ACCELERATION
    forces = np.asarray(trajectory.forces[1 : last - 1], float)
    finite = np.isfinite(forces)
    return _line(product[finite], forces[finite]) if finite.sum() > 30 else (float("nan"), float("nan"))


def kinetic_temperature(trajectory: Trajectory) -> float:
    """K that the displacements between frames amount to; below the true one the further apart the frames are."""
    if trajectory.kind != "time" or trajectory.n_frames < 2:
        return float("nan")
    velocity = np.diff(np.asarray(trajectory.pos), axis=0) / trajectory.timestep
    mass = masses(trajectory.z)
    velocity = velocity - np.einsum("n,fnx->fx", mass / mass.sum(), velocity)[:, None]
    twice = np.einsum("n,fnx->f", mass, np.square(velocity)).mean() / ACCELERATION
    return float(twice / (3 * max(trajectory.n_atoms - 1, 1) * BOLTZMANN))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope through the origin and correlation."""
    xx, yy, xy = float(x @ x), float(y @ y), float(x @ y)
    if not (xx > 0 and yy > 0):
        return float("nan"), float("nan")
    return xy / xx, xy / math.sqrt(xx * yy)


def _similar(trajectory: Trajectory) -> np.ndarray:
    """[P, 2] labelled frames of the same cell whose atoms are less than a tenth of their spacing apart (rms)."""
    labelled = np.flatnonzero(np.asarray(trajectory.labelled))
    chosen = labelled[np.unique(np.linspace(0, max(len(labelled) - 1, 0), SAMPLE).astype(int))] if len(labelled) else labelled
    a, b = (x.ravel() for x in np.meshgrid(chosen, chosen, indexing="ij"))
    following = labelled[:-1][np.diff(labelled) == 1][:200]
    pairs = np.concatenate([np.stack([a, b], 1)[a < b], np.stack([following, following + 1], 1)])
    pairs = np.unique(pairs, axis=0)
    if not len(pairs):
        return pairs
    cell = np.asarray(trajectory.cell)
    spacing = np.cbrt(np.abs(np.linalg.det(cell[pairs[:, 0]])) / trajectory.n_atoms)
    same = np.abs(cell[pairs[:, 0]] - cell[pairs[:, 1]]).max(axis=(1, 2)) < 1e-4 * spacing
    pairs, spacing = pairs[same], spacing[same]
    if not len(pairs):
        return pairs
    apart = np.sqrt(np.square(_moves(trajectory, pairs[:, 0], pairs[:, 1])).sum(axis=2).mean(axis=1))
    return pairs[(apart < 0.1 * spacing) & (apart > 0)]


def _moves(trajectory: Trajectory, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[P, N, 3] from frame a to frame b; of unordered frames the nearest image."""
    pos, cell = np.asarray(trajectory.pos), np.asarray(trajectory.cell)
    move = pos[b] - pos[a]
    if trajectory.kind == "frames":
        fractional = move @ np.linalg.inv(cell[a])
        move = (fractional - np.rint(fractional)) @ cell[a]
    return np.asarray(move)
