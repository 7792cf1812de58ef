"""Motion of the framework and of the whole cell, told apart from the motion of the ions in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grannfield import units
from grannfield.analysis.diffusion import framework_drift, mobile_displacements, msd_all_origins
from grannfield.analysis.uncertainty import TOO_SHORT, Estimate, block_bootstrap, clipped, standard_error, t_quantile
from grannfield.trajectory import Trajectory

N_BLOCKS = 8
AT_REST = 0.1
"""Å. A centre of mass that has moved less is at rest: rounding of stored positions and of single-precision forces gives
1e-3 Å, a net force of 1 meV/Å on a cell of 1200 u moves it by as much within half a picosecond."""


@dataclass(frozen=True)
class CellMotion:
    """The centre of mass of all atoms, and the framework's share of recoil from the ions."""

    displacement: float
    """Å of the centre of mass between first and last frame: 0 where forces add up to nothing and none is set in motion."""
    speed_A_per_ps: Estimate
    """Mean velocity of the framework, its magnitude."""
    recoil: float
    """Å by which the framework moved against the centre of mass: what the ions' own motion explains."""

    @property
    def label(self) -> str:
        """ "recoil only" or "moves as a whole"."""
        return "moves as a whole" if self.displacement > AT_REST else "recoil only"


def drift_share(trajectory: Trajectory, mobile_z: int, *, seed: int = 0) -> Estimate:
    """Share of the mobile ions' squared displacement that is the framework drifting and not the ions diffusing.

    MSD(framework's mean) / (MSD(framework's mean) + MSD(ions relative to it)), both over all time origins at a lag of
    half the run; 0 for a framework at rest, 1 when everything moves together. n counts ions, the interval is a
    bootstrap over ions: the drift itself is taken as it happened.
    """
    moved = mobile_displacements(trajectory, mobile_z)
    lag = (len(moved) - 1) // 2
    n_ions = moved.shape[1]
    if lag < 1:
        return Estimate.missing(TOO_SHORT, f"{len(moved)} frames", n=n_ions)
    drift = float(msd_all_origins(framework_drift(trajectory, mobile_z)[:, None])[lag].sum())
    ions = msd_all_origins(moved)[lag].sum(axis=1)
    share = lambda index: drift / max(drift + float(ions[index].mean()), 1e-300)  # noqa: E731
    interval = clipped(block_bootstrap(n_ions, share, block=1, seed=seed), 0.0, 1.0)
    return Estimate(share(np.arange(n_ions)), interval, n_ions, note=f"ions, lag {lag} frames")


def cell_motion(trajectory: Trajectory, mobile_z: int) -> CellMotion:
    """Whether the whole cell moves, or the framework only recoils from the ions.

    Where forces are the gradient of an energy they add up to zero, and the centre of mass of all atoms stays where it was,
    whatever the ions do; the framework moves against it by at most m_Li |sum of the ions' displacements| / M. A force
    field without an energy has a net force, and the cell moves as a whole. The speed's interval: 8 blocks of time, t
    quantile, each Cartesian component by itself. TrajectoryError for unordered frames.
    """
    trajectory.require_time()
    mass = units.masses(trajectory.z)
    moved = trajectory.pos - trajectory.pos[0]
    centre = np.einsum("fnx,n->fx", moved, mass / mass.sum())
    frame = framework_drift(trajectory, mobile_z)
    against = frame - centre
    return CellMotion(float(np.linalg.norm(centre[-1])), _speed(frame, trajectory.timestep), float(np.linalg.norm(against[-1])))


def _speed(path: np.ndarray, timestep: float) -> Estimate:
    """Magnitude in Å/ps of the mean velocity along a path [F, 3]."""
    if len(path) < 2:
        return Estimate.missing(TOO_SHORT, f"{len(path)} frames")
    edges = np.unique(np.rint(np.linspace(0, len(path) - 1, N_BLOCKS + 1)).astype(int))
    velocity = np.diff(path[edges], axis=0) / (np.diff(edges)[:, None] * timestep * 1e-3)
    mean = float(np.linalg.norm(path[-1] - path[0]) / ((len(path) - 1) * timestep * 1e-3))
    spread = math.sqrt(sum(standard_error(velocity[:, k]) ** 2 for k in range(3)))
    half = t_quantile(len(velocity) - 1) * spread if math.isfinite(spread) else math.inf
    return Estimate(mean, (max(0.0, mean - half), mean + half), len(velocity), note="blocks of time")
