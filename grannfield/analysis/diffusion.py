"""Self-diffusion of the mobile ions, from displacements relative to the framework."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.uncertainty import BELOW_DETECTION, TOO_SHORT, Estimate, standard_error, t_quantile
from grannfield.trajectory import Trajectory, TrajectoryError
from grannfield.units import CM2_PER_S

MIN_PRODUCTION = 5000.0
"""fs. Headline lags reach half the production; at 5e-5 cm²/s an ion needs about 2.5 ps for one hop of 2.7 Å
(a²/6D), so a shorter production sees vibration and the first hop, and its slope is no diffusivity."""
RESOLVED_MSD = 2.0
"""Å². Thermal vibration about a site gives up to about 1 Å² at 1200 K (2 u²); one hop gives about 7 Å²."""
HEADLINE_LAGS = (0.05, 0.5)
"""Shares of the production between which the headline line is fitted: past the cage, before the noise."""
N_WINDOWS = 4
"""Separate stretches of the production whose spread shows what correlated ions hide."""
AXES = ("a", "b", "c")


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Diffusivities of the mobile ions (n counts ions) and the curves they come from."""

    diffusivity_cm2_per_s: Estimate
    """The headline: tracer, all time origins, lags 5-50% of the production, framework drift removed."""
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


def slopes(lag: np.ndarray, msd: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Least-squares slopes, with intercept, of curves msd [L, ...] against lag [L] between two shares of the lags.

    All lags in the window weigh the same. The intercept takes up the vibration in the cage.

    >>> float(slopes(np.arange(101.0), 3.0 + 2.0 * np.arange(101.0), (0.05, 0.5)))
    2.0
    """
    low, high = np.ceil(window[0] * (len(lag) - 1) - 1e-9), np.floor(window[1] * (len(lag) - 1) + 1e-9)
    chosen = slice(int(low), int(high) + 1)
    x = lag[chosen] - lag[chosen].mean()
    if len(x) < 2:
        raise TrajectoryError(f"{len(lag)} frames leave {len(x)} lags to fit a line through; store frames more often")
    return np.tensordot(x, msd[chosen], axes=1) / (x @ x)


def diffusion(trajectory: Trajectory, mobile_z: int) -> Diffusion:
    """Self-diffusion of the mobile ions in a production run, in total and along each lattice vector.

    D = slope of MSD/6 (per axis: MSD/2) against lag, ordinary least squares. Pass the production only
    (`trajectory.production()`), cut before the first failure. Along a lattice vector means the component of the
    displacement along it, with the first frame's cell.

    No number: production under 5 ps ("too short"); all-origin MSD at half the production below 2 Å² (per axis 2/3 Å²)
    or a slope that is not positive ("below detection", with an upper bound as interval, see `detection_bound`).
    The single-origin MSD is judged by its mean over the second half of the production.

    Interval: D exp(±h). The ions' own D spread by what few independent windows at long lags and unequal sites leave
    open: h = t s/(D sqrt(n)), t with n - 1 degrees of freedom. It is stretched by the square root of how much more the
    mean D of 4 separate stretches of the production varies than ions that ignore each other would make it (at least 1),
    and never narrower than t s/(D sqrt(4)) of these four. Not yet calibrated: in 120 synthetic runs each of 12 ions
    and 7 to 35 ps it held the true D in 93-94% for random walks, 96-99% for hopping between cages, and 91-94% for ions
    locked together in pairs.

    Raises TrajectoryError for unordered frames, no mobile ion, or too few frames for a line.
    """
    moved = mobile_displacements(trajectory, mobile_z)
    lag = trajectory.time - trajectory.time[0]
    unit_vectors = trajectory.cell[0] / np.linalg.norm(trajectory.cell[0], axis=1, keepdims=True)
    along = moved @ unit_vectors.T
    msd, first = msd_all_origins(moved).sum(axis=2), msd_single_origin(moved).sum(axis=2)
    return Diffusion(
        diffusivity_cm2_per_s=_tracer(moved, lag, msd),
        along_cm2_per_s={name: _tracer(along[..., k : k + 1], lag) for k, name in enumerate(AXES)},
        single_origin_cm2_per_s=_estimate(lag, first, moved, msd_single_origin, (0.0, 1.0)),
        lag=lag,
        msd=msd.mean(axis=1),
        msd_single_origin=first.mean(axis=1),
        drift=framework_drift(trajectory, mobile_z),
    )


def detection_bound(msd_per_ion: np.ndarray, lag: float, n_axes: int) -> float:
    """The largest diffusivity in cm²/s that could have hidden in an unresolved displacement.

    Since vibration only adds to it, D <= MSD/(2 d lag) in d dimensions; for the MSD the largest of the detection limit,
    twice the value seen, and the upper end of its t interval over ions is taken. msd_per_ion [n] Å² at `lag` fs.
    """
    spread = standard_error(msd_per_ion)
    upper = msd_per_ion.mean() + t_quantile(len(msd_per_ion) - 1) * spread if math.isfinite(spread) else 0.0
    return max(RESOLVED_MSD * n_axes / 3, 2 * msd_per_ion.mean(), upper) / (2 * n_axes * lag) * CM2_PER_S


def _tracer(moved: np.ndarray, lag: np.ndarray, msd: np.ndarray | None = None) -> Estimate:
    """D of displacements [F, n, d] along d axes, all time origins."""
    msd = msd_all_origins(moved).sum(axis=2) if msd is None else msd
    return _estimate(lag, msd, moved, msd_all_origins, HEADLINE_LAGS)


def _estimate(
    lag: np.ndarray,
    msd: np.ndarray,
    moved: np.ndarray,
    msd_of: Callable[[np.ndarray], np.ndarray],
    fitted: tuple[float, float],
) -> Estimate:
    """D from the curves msd [L, n] of displacements moved [F, n, d], which `msd_of` makes from any stretch of them."""
    n_axes = moved.shape[2]
    n_ions = msd.shape[1]
    if lag[-1] < MIN_PRODUCTION:
        return Estimate.missing(TOO_SHORT, f"{lag[-1] / 1000:.1f} ps of production, 5 are needed", n=n_ions)
    per_ion = slopes(lag, msd, fitted) / (2 * n_axes) * CM2_PER_S
    value = float(per_ion.mean())
    half = (len(lag) - 1) // 2
    reached = msd[half] if fitted[1] <= 0.5 else msd[half:].mean(axis=0)
    if reached.mean() < RESOLVED_MSD * n_axes / 3 or value <= 0:
        detail = f"the ions moved {reached.mean():.2f} Å², {RESOLVED_MSD * n_axes / 3:.2f} are needed"
        bound = detection_bound(reached, 0.5 * lag[-1], n_axes)
        return Estimate.missing(BELOW_DETECTION, detail, n=n_ions, interval=(0.0, bound))
    windows = [msd_of(piece).sum(axis=2) for piece in np.array_split(moved, N_WINDOWS)]
    per_window = np.array([slopes(lag[: len(w)], w, fitted) for w in windows]) / (2 * n_axes) * CM2_PER_S
    h, source = _half_width(per_ion, per_window)
    interval = (value * math.exp(-h), value * math.exp(h) if h < 700 else math.inf)
    return Estimate(value, interval, n_ions, note=f"{n_ions} ions, {lag[-1] / 1000:.1f} ps; spread over {source}")


def _half_width(per_ion: np.ndarray, per_window: np.ndarray) -> tuple[float, str]:
    """Relative half-width of the mean D from per_ion [n] and per_window [W, n], and what it rests on."""
    n, means = len(per_ion), per_window.mean(axis=1)
    windows = t_quantile(len(means) - 1) * standard_error(means) / means.mean() if means.mean() > 0 else math.inf
    if n < 2:
        return windows, f"{len(means)} time windows"
    alone = float(per_window.var(axis=1, ddof=1).mean()) / n
    together = math.sqrt(max(1.0, float(means.var(ddof=1)) / alone)) if alone > 0 else 1.0
    ions = t_quantile(n - 1) * standard_error(per_ion) / float(per_ion.mean()) * together
    if math.isfinite(windows) and windows > ions:
        return windows, f"{len(means)} time windows"
    return ions, f"ions, times {together:.2f} for moving together"
