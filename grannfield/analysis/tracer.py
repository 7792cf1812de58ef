"""The diffusivity of tagged ions with an interval that holds: generalised least squares on the MSD, spread from the data.

What makes an interval of D hard is that neither ions nor times are independent. Ions that hop together count once, times
within a lag overlap, and with 12 ions and 7 ps the spread itself is uncertain. Here the scatter between ions is the base;
how much more their mean varies in time than it would if each ion ignored the others stretches it; and the degrees of
freedom of both widen it by Student's t. `grannfield calibrate` measures that these intervals hold, on motion of known D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, stats

from grannfield.analysis.uncertainty import BELOW_DETECTION, LEVEL, TOO_SHORT, Estimate, t_quantile
from grannfield.trajectory import TrajectoryError
from grannfield.units import CM2_PER_S

MIN_PRODUCTION = 5000.0
"""fs. Headline lags reach half the production; at 5e-5 cm²/s an ion needs about 2.5 ps for one hop of 2.7 Å
(a²/6D), so a shorter production sees vibration and the first hop, and its slope is no diffusivity."""
RESOLVED_MSD = 2.0
"""Å². Thermal vibration about a site gives up to about 1 Å² at 1200 K (2 u²); one hop gives about 7 Å²."""
HEADLINE_LAGS = (0.05, 0.5)
"""Shares of the production between which the line is fitted: past the cage, before the noise."""
LEAVES_CAGE = 1000.0
"""fs. No lag below: in the shipped references the slope falls until 0.75 to 1 ps (at 0.2 ps it is up to 1.7 times as large),
and stays."""
N_LAGS = 10
JUMP = 3.0
"""Å, a length of hop that is not often exceeded: what bounds the diffusivity of ions that were not seen to hop."""
ALONE = 8.0
"""Degrees of freedom with which ions are taken to move nearly independently until their mean says otherwise: without them the
few windows of a 7 ps run would call every second set of independent ions collective."""
NEARLY = 1.25
"""How many ions move as one, as far as it is not known: in superionic conductors seldom one alone."""
EVENT_TIME = 500.0
"""fs, longer than a hop and its echo: ions that hop together do so within it, and averages over it are free of vibration."""
NARROWEST = 0.5
"""Of the variance between ions: its least share when the mean varies less in time than independent ions would make it."""
WINDOWS = 25
"""Stretches of time, at most, over which the ions' common variation is looked at; fewer where a lag needs longer ones."""
FEWEST_GROUPS = 5.0
"""Ions that move on their own, below which their scatter says too little and variation in time alone must do."""
IN_TIME = 1.4
"""Variance of the fitted slope over that of the differences from which the variation in time is taken, for hops in cages."""


@dataclass(frozen=True, eq=False)
class Slope:
    """The diffusivity of each ion in one run, and what tells how far their mean can be trusted."""

    per_ion: np.ndarray
    """[n] Å²/fs."""
    duration: float
    """fs."""
    n_axes: int
    together: float
    """Variance of the mean D in time over what it would be if every ion ignored all others: 1 then, n for n that are one."""
    windows: float
    """Degrees of freedom of that ratio."""
    in_time: float
    """(Å²/fs)², variance of the mean D as its variation in time shows it."""
    long_windows: float
    """Degrees of freedom of that variance."""


def diffusivity(runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Estimate:
    """Tracer diffusivity in cm²/s of the ions of one or several runs of the same system; n counts ions in all runs.

    Each run is its displacements [F, n, d] in Å along d axes, framework drift removed, and its times [F] in fs.

    D = slope of MSD/2d over 10 lags, geometric between 5% of the run (or 1 ps) and 50%, all time origins, by generalised
    least squares with the covariance that Brownian motion gives to these lags; the intercept takes up the vibration. The
    runs' D are weighted by their durations. Bullerjahn et al., J. Chem. Phys. 153, 024116 (2020),
    https://doi.org/10.1063/5.0008312; Qian et al., Biophys. J. 60, 910 (1991), https://doi.org/10.1016/S0006-3495(91)82125-7.

    Interval: D exp(±t s/D). s² is the variance between ions over n, times g for moving together, over 1 - (g-1)/(n-1) for the
    scatter between ions that common motion hides. g is the variance of the mean's slope in time over that of single ions'
    slopes (1 when each ignores the others), drawn towards 1.25 with 8 degrees of freedom. t has the degrees of freedom of n/g
    ions and of g. With fewer than 5 ions, or groups of ions, s² is the variance of the mean in time. Ions of which some never
    leave their sites widen it, as if other ions might have been drawn: nothing in one run says otherwise.

    No number: runs under 5 ps ("too short"), or ions that diffused less than 2 Å² (2/3 Å² for each axis) over the run
    ("below detection"): then the interval is (0, upper bound), see `detection_bound`. TrajectoryError where the frames are
    too few for a line.
    """
    n_ions = sum(moved.shape[1] for moved, _ in runs)
    longest = max((float(time[-1] - time[0]) for _, time in runs), default=0.0)
    if longest < MIN_PRODUCTION:
        return Estimate.missing(TOO_SHORT, f"{longest / 1000:.1f} ps of production, 5 are needed", n=n_ions)
    return combined([slope(moved, time - time[0]) for moved, time in runs if time[-1] - time[0] >= MIN_PRODUCTION])


def slope(moved: np.ndarray, lag: np.ndarray) -> Slope:
    """What one run says: displacements moved [F, n, d] in Å at times lag [F] in fs since the first."""
    step = float(lag[1] - lag[0])
    lags = headline_lags(len(lag), step)
    msd = mean_squares(moved, lags)
    scale = 1 / (2 * moved.shape[2] * step)
    per_ion = np.array(gls_weights(len(lag), lags)) @ msd * scale
    event = max(1, min(lags[0], round(EVENT_TIME / step)))
    mean, alone, windows = _variation_in_time(_averaged(moved, event), event, scale)
    in_time, _, long_windows = _variation_in_time(moved, lags[0], scale)
    together = mean / alone if alone > 0 else 1.0
    return Slope(per_ion, float(lag[-1]), moved.shape[2], together, windows, IN_TIME * in_time, long_windows)


def combined(slopes: Sequence[Slope]) -> Estimate:
    """The mean diffusivity of several runs with its interval, see `diffusivity`."""
    weight = np.array([run.duration for run in slopes]) / sum(run.duration for run in slopes)
    value = float(weight @ [run.per_ion.mean() for run in slopes])
    variance, dof, g = _variance(slopes, weight)
    n_ions, n_axes = sum(len(run.per_ion) for run in slopes), slopes[0].n_axes
    duration = float(weight @ [run.duration for run in slopes])
    reached, needed = 2 * n_axes * value * duration, RESOLVED_MSD * n_axes / 3
    if reached < needed:
        bound = detection_bound(slopes, value, variance, dof, g)
        detail = f"the ions diffused {max(reached, 0.0):.2f} Å² in {duration / 1000:.1f} ps, {needed:.2f} are needed"
        return Estimate.missing(BELOW_DETECTION, detail, n=n_ions, interval=(0.0, bound))
    h = t_quantile(dof) * math.sqrt(variance) / value
    interval = (value * math.exp(-h) * CM2_PER_S, value * math.exp(h) * CM2_PER_S if h < 700 else math.inf)
    runs = f" in {len(slopes)} runs" if len(slopes) > 1 else ""
    note = f"{n_ions} ions{runs}, {duration / 1000:.1f} ps; {dof:.0f} degrees of freedom, {g:.2f} for moving together"
    return Estimate(value * CM2_PER_S, interval, n_ions, note=note, dof=dof)


def detection_bound(slopes: Sequence[Slope], value: float, variance: float, dof: float, together: float) -> float:
    """The largest diffusivity in cm²/s that ions which were not seen to diffuse can have, at the upper end of 95%.

    The mean number of hops of 3 Å behind what was seen has the Poisson bound chi²(2N + 2)/2; ions that hop together make
    fewer, larger events. Never below the upper end that the scatter of the slopes gives.
    """
    ion_time = sum(len(run.per_ion) * run.duration for run in slopes)
    event = JUMP**2 * max(together, 1.0) / (2 * slopes[0].n_axes * ion_time)
    seen = max(value, 0.0) / event
    most = float(stats.chi2.ppf(0.5 + LEVEL / 2, 2 * seen + 2)) / 2 * event
    scatter = value + t_quantile(dof) * math.sqrt(variance)
    return max(most, scatter if math.isfinite(scatter) else 0.0) * CM2_PER_S


def headline_lags(n_frames: int, step: float) -> tuple[int, ...]:
    """Lags in frames through which the line goes: 10, geometric, from 5% of the run (at least 1 ps) to half of it.

    >>> headline_lags(701, 50.0)
    (35, 45, 58, 75, 97, 126, 162, 210, 271, 350)
    """
    first = max(1, math.ceil(HEADLINE_LAGS[0] * (n_frames - 1) - 1e-9), round(LEAVES_CAGE / step))
    last = int(HEADLINE_LAGS[1] * (n_frames - 1) + 1e-9)
    if last < first + 1:
        raise TrajectoryError(
            f"{n_frames} frames leave {max(0, last - first + 1)} lags to fit a line through; store frames more often"
        )
    return tuple(int(x) for x in np.unique(np.geomspace(first, last, N_LAGS).round()))


def mean_squares(moved: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """Mean squared displacement [L, n] in Å² of each ion of moved [F, n, d] at some lags in frames, over all time origins."""
    return np.array([((moved[m:] - moved[:-m]) ** 2).sum(axis=2).mean(axis=0) for m in lags])


@lru_cache(maxsize=64)
def gls_weights(n_frames: int, lags: tuple[int, ...]) -> tuple[float, ...]:
    """What each MSD is multiplied by to give the slope per frame: the best linear estimate for Brownian motion.

    >>> weights = np.array(gls_weights(101, (5, 10, 20, 50)))
    >>> float((weights @ [5, 10, 20, 50]).round(9)), float(abs(weights.sum()).round(9))
    (1.0, 0.0)
    """
    covariance = brownian_covariance(n_frames, lags)
    covariance += 1e-9 * np.trace(covariance) / len(lags) * np.eye(len(lags))
    design = np.stack([np.ones(len(lags)), np.array(lags, dtype=np.float64)], axis=1)
    weighted = np.linalg.solve(covariance, design)
    return tuple(float(w) for w in np.linalg.solve(design.T @ weighted, weighted.T)[1])


def brownian_covariance(n_frames: int, lags: Sequence[int]) -> np.ndarray:
    """Covariance [L, L] between time-averaged MSDs of Brownian motion in one dimension with <x²> = 1 per frame.

    Two increments that share k frames have covariance k, their squares 2 k²; the sum runs over all pairs of origins.
    """
    found = np.empty((len(lags), len(lags)))
    for a, p in enumerate(lags):
        for b, q in enumerate(lags[: a + 1]):
            offset = np.arange(-q, p + 1)
            shared = np.clip(np.minimum(p, offset + q) - np.maximum(0, offset), 0, None)
            origins = np.clip(np.minimum(n_frames - p, n_frames - q - offset) - np.maximum(0, -offset), 0, None)
            found[a, b] = found[b, a] = 2.0 * float((shared.astype(float) ** 2) @ origins) / ((n_frames - p) * (n_frames - q))
    return found


def long_run_variance(series: np.ndarray, window: int) -> np.ndarray:
    """Variance of the mean of correlated series [S, ...], from their correlations up to a window (Bartlett weights).

    Newey and West, Econometrica 55, 703 (1987), https://doi.org/10.2307/1913610.

    >>> float(long_run_variance(np.array([1.0, -1.0, 1.0, -1.0]), 0))
    0.25
    """
    centred = series - series.mean(axis=0)
    length = fft.next_fast_len(2 * len(series), real=True)
    spectrum = fft.rfft(centred, length, axis=0)
    correlation = fft.irfft(np.abs(spectrum) ** 2, length, axis=0)[: window + 1] / len(series)
    weights = 2 * (1 - np.arange(window + 1) / (window + 1))
    weights[0] = 1.0
    return np.asarray(np.maximum(np.tensordot(weights, correlation, axes=1), 0.0) / len(series))


def _averaged(moved: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` frames of displacements [F, n, d], [F - width + 1, n, d]."""
    total = np.cumsum(np.concatenate([np.zeros_like(moved[:1]), moved]), axis=0)
    return (total[width:] - total[:-width]) / width


def _variation_in_time(moved: np.ndarray, m: int, scale: float) -> tuple[float, float, float]:
    """Variance of the mean D seen in time, the same for ions that ignore each other, and the degrees of freedom of both.

    Each origin gives an ion a slope, between the squares of its displacement after m and after 2m frames.
    """
    once = ((moved[m:] - moved[:-m]) ** 2).sum(axis=2)
    twice = ((moved[2 * m :] - moved[: -2 * m]) ** 2).sum(axis=2)
    local = (twice - 0.5 * (once[:-m] + once[m:])) * scale / m
    window = max(2 * m, len(local) // WINDOWS)
    if len(local) <= 2 * window:
        return 0.0, 0.0, 0.0
    together = float(long_run_variance(local.mean(axis=1), window))
    alone = float(long_run_variance(local, window).mean()) / local.shape[1]
    return together, alone, 1.5 * len(local) / window


def _variance(slopes: Sequence[Slope], weight: np.ndarray) -> tuple[float, float, float]:
    """Variance of the mean D in (Å²/fs)², its degrees of freedom, and how many ions move as one."""
    windows = np.array([run.windows for run in slopes])
    g = float((ALONE * NEARLY + windows @ [run.together for run in slopes]) / (ALONE + windows.sum()))
    fewest = min(len(run.per_ion) for run in slopes)
    if fewest / max(g, 1.0) < FEWEST_GROUPS:
        return float(weight**2 @ [run.in_time for run in slopes]), sum(run.long_windows for run in slopes), g
    g = max(g, NARROWEST)
    between = float(weight**2 @ [run.per_ion.var(ddof=1) / len(run.per_ion) for run in slopes])
    ions = sum(len(run.per_ion) / max(g, 1.0) - 1 for run in slopes)
    uncertain = float(windows.sum()) / (ALONE + float(windows.sum())) ** 2
    return between * g / (1 - (g - 1) / (fewest - 1)), 1 / (1 / ions + uncertain), g
