"""Self-diffusion of the mobile ions, from displacements relative to the framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.tracer import MIN_PRODUCTION, RESOLVED_MSD, diffusivity
from grannfield.analysis.uncertainty import BELOW_DETECTION, TOO_SHORT, Estimate, standard_error, t_quantile
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import CM2_PER_S

AXES = ("a", "b", "c")


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Diffusivities of the mobile ions (n counts ions) and the curves they come from."""

    diffusivity_cm2_per_s: Estimate
    """The headline: tracer, all time origins, lags 5-50% of the production, framework drift removed (`tracer.diffusivity`)."""
    along_cm2_per_s: dict[str, Estimate]
    """Along the lattice vectors a, b and c."""
    single_origin_cm2_per_s: Estimate
    """From displacements since the first frame, fitted over the whole production, as many papers do."""
    lag: np.ndarray
    """[L] fs."""
    msd: np.ndarray
    """[L] Å², all time origins."""
    msd_single_origin: np.ndarray
    """[L] Å²."""
    drift: np.ndarray
    """[F, 3] Å, the framework's mean displacement since the first frame."""


def mobile_atoms(z: np.ndarray, mobile_z: int) -> np.ndarray:
    """Which atoms [N] are the mobile ions; TrajectoryError when none is."""
    mobile = np.asarray(z) == mobile_z
    if not mobile.any():
        raise TrajectoryError(f"no atom has the atomic number {mobile_z} of the mobile ion; there are {np.unique(z).tolist()}")
    return mobile


def framework_drift(trajectory: Trajectory, mobile_z: int) -> np.ndarray:
    """Mean displacement [F, 3] in Å of the framework, all atoms but the mobile ions, since the first frame.

    The mean is unweighted by mass. Without framework atoms there is nothing to drift with: zeros.

    >>> pos = np.arange(2.0)[:, None, None] * np.ones((2, 3))
    >>> moving = Trajectory(z=[3, 16], pos=pos, cell=9 * np.eye(3), time=[0, 2])
    >>> framework_drift(moving, 3)[1].tolist()
    [1.0, 1.0, 1.0]
    """
    framework = ~mobile_atoms(trajectory.z, mobile_z)
    if not framework.any():
        return np.zeros((trajectory.n_frames, 3))
    mean = trajectory.pos[:, framework].mean(axis=1, dtype=np.float64)
    return mean - mean[0]


def mobile_displacements(trajectory: Trajectory, mobile_z: int) -> np.ndarray:
    """Displacements [F, n, 3] in Å of the mobile ions since the first frame, relative to the framework."""
    trajectory.require_time()
    pos = trajectory.pos[:, mobile_atoms(trajectory.z, mobile_z)].astype(np.float64)
    return pos - pos[0] - framework_drift(trajectory, mobile_z)[:, None]


def msd_all_origins(displacements: np.ndarray) -> np.ndarray:
    """Mean squared displacement [F, n, 3] in Å² of each ion and axis against lag in frames, over all time origins.

    MSD(m) = sum_k |x(k+m) - x(k)|² / (F - m) for displacements x [F, n, 3], the cross term by FFT.
    Calandrini et al., École thématique de la SFN 12, 201 (2011), https://doi.org/10.1051/sfn/201112010.

    >>> msd_all_origins(np.arange(4.0)[:, None, None]).ravel().round(9).tolist()
    [0.0, 1.0, 4.0, 9.0]
    """
    x = displacements - displacements.mean(axis=0)  # keeps the difference of large sums small
    n_frames = len(x)
    counts = np.arange(n_frames, 0, -1.0)
    msd = np.empty(x.shape)
    for ion in range(x.shape[1]):  # ion by ion bounds the memory of the transforms
        spectrum = np.fft.rfft(x[:, ion], n=2 * n_frames, axis=0)
        cross = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n_frames, axis=0)[:n_frames]
        square = np.concatenate([np.zeros((1, x.shape[2])), np.cumsum(x[:, ion] ** 2, axis=0)])
        ends = (square[n_frames] - square[:n_frames]) + square[np.arange(n_frames, 0, -1)]
        msd[:, ion] = (ends - 2 * cross) / counts[:, None]
    msd[0] = 0.0
    return np.maximum(msd, 0.0)


def msd_single_origin(displacements: np.ndarray) -> np.ndarray:
    """Squared displacement [F, n, 3] in Å² of each ion and axis since the first frame."""
    return (displacements - displacements[0]) ** 2


def diffusion(trajectory: Trajectory, mobile_z: int) -> Diffusion:
    """Self-diffusion of the mobile ions in one run, in total and along each lattice vector.

    Pass the production only (`trajectory.production()`), cut before the first failure. Values, intervals and reasons for
    none: `tracer.diffusivity`. Along a lattice vector means the component of the displacement along it, with the first
    frame's cell. Raises TrajectoryError for unordered frames, no mobile ion, or too few frames for a line.
    """
    moved, time = mobile_displacements(trajectory, mobile_z), trajectory.time
    return Diffusion(
        diffusivity_cm2_per_s=diffusivity([(moved, time)]),
        along_cm2_per_s=_along([trajectory], [moved]),
        single_origin_cm2_per_s=_single_origin(moved, time),
        lag=time - time[0],
        msd=msd_all_origins(moved).sum(axis=2).mean(axis=1),
        msd_single_origin=msd_single_origin(moved).sum(axis=2).mean(axis=1),
        drift=framework_drift(trajectory, mobile_z),
    )


def diffusion_of_runs(trajectories: Sequence[Trajectory], mobile_z: int) -> tuple[Estimate, dict[str, Estimate]]:
    """Diffusivity in cm²/s of several runs of one system at one temperature together: in total, and along a, b and c.

    All runs count, also those in which nothing was seen to move: leaving them out would keep the lucky ones. For each run
    as `diffusion`.
    """
    moved = [mobile_displacements(one, mobile_z) for one in trajectories]
    total = diffusivity([(x, one.time) for x, one in zip(moved, trajectories, strict=True)])
    return total, _along(trajectories, moved)


def _along(trajectories: Sequence[Trajectory], moved: Sequence[np.ndarray]) -> dict[str, Estimate]:
    found = {}
    for k, name in enumerate(AXES):
        axes = [one.cell[0][k] / np.linalg.norm(one.cell[0][k]) for one in trajectories]
        runs = [((x @ axis)[..., None], one.time) for x, axis, one in zip(moved, axes, trajectories, strict=True)]
        found[name] = diffusivity(runs)
    return found


def _single_origin(moved: np.ndarray, time: np.ndarray) -> Estimate:
    """D of displacements moved [F, n, 3] since the first frame, a straight line through all of them, as many papers do.

    The interval is the ions' t interval as if each moved on its own: it does not know that one origin is one sample.
    """
    lag, n_ions = time - time[0], moved.shape[1]
    if lag[-1] < MIN_PRODUCTION:
        return Estimate.missing(TOO_SHORT, f"{lag[-1] / 1000:.1f} ps of production, 5 are needed", n=n_ions)
    squares = msd_single_origin(moved).sum(axis=2)
    x = lag - lag.mean()
    per_ion = x @ squares / (x @ x) / 6 * CM2_PER_S
    value, late = float(per_ion.mean()), float(squares[len(lag) // 2 :].mean())
    if late < RESOLVED_MSD or value <= 0:
        detail = f"the ions were {late:.2f} Å² away, {RESOLVED_MSD:.2f} are needed"
        bound = max(RESOLVED_MSD, 2 * late) / (6 * 0.5 * lag[-1]) * CM2_PER_S
        return Estimate.missing(BELOW_DETECTION, detail, n=n_ions, interval=(0.0, bound))
    h = t_quantile(n_ions - 1) * standard_error(per_ion) / value if n_ions > 1 else math.inf
    interval = (value * math.exp(-h), value * math.exp(h) if h < 700 else math.inf)
    return Estimate(value, interval, n_ions, note=f"{n_ions} ions, {lag[-1] / 1000:.1f} ps, one origin", dof=max(1, n_ions - 1))
