"""Other packages' diffusivities with the errors that they claim themselves, settings as their documentation has them.

A standard deviation is read as a normal interval of 1.96 times it, as its readers do; a posterior gives its own percentiles.
An exception of theirs is a reason for no number, not an error of the study.
"""

from __future__ import annotations

import contextlib
import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np

from grannfield.analysis.conductivity import ROOM_TEMPERATURE, nernst_einstein
from grannfield.analysis.uncertainty import Estimate
from grannfield.calibrate.estimators import Estimator
from grannfield.calibrate.synthetic import MOBILE_Z
from grannfield.trajectory import Trajectory
from grannfield.units import symbol

MOBILE = symbol(MOBILE_Z)
NORMAL = 1.96
"""Standard deviations on each side of a 95% interval."""
FAILED = "failed"
PARTS = 10
"""GEMDAT's own default."""
KINISI_LAGS = 50
KINISI_START = 2000.0
"""fs, the shortest lag of the line, at most a fifth of the run: past the cage."""
KINISI_CHAIN = {"n_samples": 400, "n_walkers": 32, "n_burn": 200, "n_thin": 10}
"""Its defaults are 1000 samples after 500; the posterior of a line needs less."""


def _normal(value: float, deviation: float | None, n: int, low: float = -math.inf) -> Estimate:
    """A value with the interval that its standard deviation stands for; without one, a value without an interval."""
    if not math.isfinite(value):
        return Estimate.missing(FAILED, f"value {value}")
    if deviation is None or not math.isfinite(deviation):
        return Estimate(value, n=n)
    return Estimate(value, (max(low, value - NORMAL * deviation), value + NORMAL * deviation), n)


def _or_reason(estimate: Callable[..., Any]) -> Callable[..., Any]:
    """What a package says, silently and with seeded random numbers, or its last word where it fails."""

    @wraps(estimate)
    def guarded(*arguments: Any) -> Any:
        try:
            of = arguments[0].source if isinstance(arguments[0], Trajectory) else repr(arguments)
            with _quiet(zlib.crc32(of.encode())):
                return estimate(*arguments)
        except Exception as problem:  # whatever a foreign package raises
            none = Estimate.missing(FAILED, f"{type(problem).__name__}: {problem}"[:200])
            return none if isinstance(arguments[0], Trajectory) else (none, none)

    return guarded


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """No progress bars nor warnings, and NumPy's global random numbers, which kinisi draws from, seeded."""
    import warnings

    np.random.seed(seed)  # noqa: NPY002  (it is what kinisi and emcee use)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _pymatgen(smoothed: str | bool) -> Callable[[Trajectory], Estimate]:
    """`DiffusionAnalyzer.diffusivity` and `diffusivity_std_dev`."""

    @_or_reason
    def diffusivity(trajectory: Trajectory) -> Estimate:
        from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
        from pymatgen.core import Structure

        structure = Structure(
            trajectory.cell[0], [symbol(int(a)) for a in trajectory.z], trajectory.pos[0], coords_are_cartesian=True
        )
        moved = np.asarray(trajectory.pos[1:] - trajectory.pos[0], dtype=float).transpose(1, 0, 2)
        time_step: Any = trajectory.timestep  # annotated as int, used as a number
        analyzer = DiffusionAnalyzer(structure, moved, MOBILE, _temperature(trajectory), time_step, 1, smoothed=smoothed)
        return _normal(float(analyzer.diffusivity), float(analyzer.diffusivity_std_dev), _n_ions(trajectory), low=0.0)

    return diffusivity


@_or_reason
def _pymatgen_line(
    temperatures: Sequence[float], diffusivities: Sequence[Estimate], n_ions: int, volume: float
) -> tuple[Estimate, Estimate]:
    """`fit_arrhenius` and `get_extrapolated_diffusivity`; it states no error of the conductivity."""
    from pymatgen.analysis.diffusion.analyzer import fit_arrhenius, get_extrapolated_diffusivity

    t, d = _usable(temperatures, diffusivities)
    energy, _, deviation = fit_arrhenius(t, d.value)
    cold = get_extrapolated_diffusivity(t.tolist(), d.value.tolist(), ROOM_TEMPERATURE)
    return _normal(float(energy), deviation, len(t)), Estimate(_neg_log_sigma(cold, n_ions, volume), n=len(t))


@_or_reason
def _gemdat(trajectory: Trajectory) -> Estimate:
    """Mean and standard deviation of the end-to-end diffusivities of ten parts, as its `ArrheniusFit.from_trajectories`."""
    from gemdat.metrics import TrajectoryMetricsStd
    from gemdat.trajectory import Trajectory as GemdatTrajectory
    from pymatgen.core import Element

    fractional = trajectory.pos @ np.linalg.inv(trajectory.cell[0])
    whole = GemdatTrajectory(
        species=[Element(symbol(int(a))) for a in trajectory.z],
        coords=fractional % 1,
        lattice=trajectory.cell[0],
        constant_lattice=True,
        time_step=trajectory.timestep * 1e-15,
        metadata={"temperature": _temperature(trajectory)},
    )
    ions = whole.apply_drift_correction(floating_species=MOBILE).filter(MOBILE)
    found = TrajectoryMetricsStd(ions.split(n_parts=PARTS, equal_parts=True)).tracer_diffusivity(dimensions=3)
    return _normal(float(found.n) * 1e4, float(found.s) * 1e4, _n_ions(trajectory), low=0.0)  # m²/s to cm²/s


@_or_reason
def _gemdat_line(
    temperatures: Sequence[float], diffusivities: Sequence[Estimate], n_ions: int, volume: float
) -> tuple[Estimate, Estimate]:
    """`ArrheniusFit`, weighted by the standard deviations it was given."""
    from gemdat.metrics import ArrheniusFit

    t, d = _usable(temperatures, diffusivities)
    fit = ArrheniusFit(temperatures=t, diffusivities=d.value * 1e-4, diffusivities_std=d.deviation * 1e-4)
    energy, cold = fit.activation_energy(), fit.extrapolate_diffusivity(ROOM_TEMPERATURE)
    value = _neg_log_sigma(float(cold.n) * 1e4, n_ions, volume)
    relative = NORMAL * float(cold.s / cold.n)
    low = value - math.log10(1 + relative)
    high = value - math.log10(1 - relative) if relative < 1 else math.inf
    return _normal(float(energy.n), float(energy.s), len(t)), Estimate(value, (low, high), len(t))


@_or_reason
def _kinisi(trajectory: Trajectory) -> Estimate:
    """Mean and 2.5-97.5 percentiles of the posterior of `DiffusionAnalyzer.diffusion`."""
    import scipp as sc
    from ase import Atoms
    from kinisi.analyze import DiffusionAnalyzer

    frames = [Atoms(trajectory.z, frame, cell=trajectory.cell[0], pbc=True) for frame in trajectory.pos]
    lags = np.unique(np.linspace(1, trajectory.n_frames - 1, KINISI_LAGS).astype(int)) * trajectory.timestep
    femtosecond = sc.Unit("fs")
    analyzer = DiffusionAnalyzer.from_ase(
        frames,
        MOBILE,
        time_step=trajectory.timestep * femtosecond,
        step_skip=1 * sc.units.dimensionless,
        dt=sc.array(dims=["time interval"], values=lags, unit=femtosecond),
        progress=False,
    )
    start = min(KINISI_START, trajectory.duration / 5)
    analyzer.diffusion(start * femtosecond, progress=False, **KINISI_CHAIN)
    return _posterior(np.asarray(sc.to_unit(analyzer.D, "cm2/s").values), _n_ions(trajectory))


@_or_reason
def _kinisi_line(
    temperatures: Sequence[float], diffusivities: Sequence[Estimate], n_ions: int, volume: float
) -> tuple[Estimate, Estimate]:
    """Posteriors of `Arrhenius(...).mcmc()` and `extrapolate`."""
    import scipp as sc
    from kinisi.arrhenius import Arrhenius

    t, d = _usable(temperatures, diffusivities)
    data = sc.DataArray(
        data=sc.array(dims=["temperature"], values=d.value, variances=d.deviation**2, unit="cm^2/s"),
        coords={"temperature": sc.array(dims=["temperature"], values=t, unit="K")},
    )
    line = Arrhenius(data)
    line.mcmc(**KINISI_CHAIN)
    cold = line.extrapolate(ROOM_TEMPERATURE * sc.Unit("K"))
    sigma = np.array([_neg_log_sigma(x, n_ions, volume) for x in np.asarray(cold.values)])
    return _posterior(np.asarray(line.activation_energy.values), len(t)), _posterior(sigma, len(t))


def _posterior(samples: np.ndarray, n: int) -> Estimate:
    low, high = (float(x) for x in np.percentile(samples, [2.5, 97.5]))
    return Estimate(float(np.clip(samples.mean(), low, high)), (low, high), n)


class _Points:
    """D at several temperatures, [n] each: values and standard deviations in cm²/s."""

    def __init__(self, diffusivities: Sequence[Estimate]) -> None:
        self.value = np.array([d.value for d in diffusivities])
        self.deviation = np.array([d.interval[1] - d.value for d in diffusivities]) / NORMAL


def _usable(temperatures: Sequence[float], diffusivities: Sequence[Estimate]) -> tuple[np.ndarray, _Points]:
    """The temperatures with a positive D; ValueError with fewer than two different ones."""
    kept = [(t, d) for t, d in zip(temperatures, diffusivities, strict=True) if d.value > 0]
    if len({t for t, _ in kept}) < 2:
        raise ValueError(f"{len(kept)} of {len(temperatures)} runs have a diffusivity")
    return np.array([t for t, _ in kept]), _Points([d for _, d in kept])


def _neg_log_sigma(diffusivity_cm2_per_s: float, n_ions: int, volume: float) -> float:
    return -math.log10(nernst_einstein(diffusivity_cm2_per_s, n_ions, volume, ROOM_TEMPERATURE))


def _n_ions(trajectory: Trajectory) -> int:
    return int((trajectory.z == MOBILE_Z).sum())


def _temperature(trajectory: Trajectory) -> float:
    return float(np.mean(trajectory.temperature)) if trajectory.temperature is not None else ROOM_TEMPERATURE


CODE = ("calibrate/rivals.py",)
PYMATGEN = ("pymatgen-analysis-diffusion",)
RIVALS: tuple[Estimator, ...] = (
    Estimator(
        "pymatgen max",
        'DiffusionAnalyzer(smoothed="max"), its default; 1.96 of its standard deviation',
        _pymatgen("max"),
        _pymatgen_line,
        packages=PYMATGEN,
        code=CODE,
    ),
    Estimator(
        "pymatgen",
        "DiffusionAnalyzer(smoothed=False), as the paper; 1.96 of its standard deviation",
        _pymatgen(False),
        _pymatgen_line,
        packages=PYMATGEN,
        code=CODE,
    ),
    Estimator(
        "gemdat",
        f"tracer diffusivity of {PARTS} parts, drift corrected; 1.96 of its standard deviation over the parts",
        _gemdat,
        _gemdat_line,
        packages=("gemdat",),
        code=CODE,
        seconds=0.1,
        at_most=200,
        at_most_sets=50,
    ),
    Estimator(
        "kinisi",
        f"DiffusionAnalyzer, {KINISI_LAGS} lags, line from {KINISI_START / 1000:g} ps (at most a fifth of the run); posterior "
        f"by {KINISI_CHAIN['n_samples']} x {KINISI_CHAIN['n_walkers']} steps after {KINISI_CHAIN['n_burn']}, fewer than its own",
        _kinisi,
        _kinisi_line,
        packages=("kinisi",),
        code=CODE,
        seconds=1.0,
        at_most=60,
        at_most_sets=15,
    ),
)
