"""What a curve is made of: arrays and labels that plots and pages draw without computing anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Rdf(NamedTuple):
    """One g(r) of one run beside the reference's at that temperature."""

    temperature: float
    replica: int
    pair: str
    """"Li-S", or "all" for all atoms."""
    r: np.ndarray
    """[B] Å."""
    g: np.ndarray
    g_reference: np.ndarray
    verdict: str
    """Of the whole run, by its g(r) of all atoms: stable, fusion, lattice mismatch, or what it failed of."""


class Msd(NamedTuple):
    """Mean squared displacement of the mobile ions in one run, all time origins, framework drift removed."""

    temperature: float
    replica: int
    lag_ps: np.ndarray
    """[L]"""
    msd: np.ndarray
    """[L] Å²."""
    reference_msd: np.ndarray | None
    """[L] Å² at the same lags, NaN where the reference is too short; None without a reference run at the temperature."""
    error: np.ndarray
    """[L] Å², half of the 95% interval of the mean over the run's ions, each counted as independent: ions that move together
    make it wider, which the intervals of D account for."""
    reference_error: np.ndarray | None
    """The same of the reference."""


class RunNote(NamedTuple):
    """One run behind the curves: how much of it entered them, and how it ended."""

    temperature: float
    replica: int
    seed: int
    sha256: str
    frames: int
    """Production frames before any failure."""
    spread_frames: int
    """Of these, those 20 fs apart, which enter g(r) and the density."""
    production_ps: float
    watched_ps: float
    """Until the failure, or the whole length."""
    cause: str
    """Of its failure, empty for none."""
    ending: str
    """In words."""


class Point(NamedTuple):
    """D at one temperature, all runs there together; NaN with a reason, then `high` is an upper bound where one is known."""

    temperature: float
    value: float
    """cm²/s."""
    low: float
    high: float
    n: int
    """Ions."""
    reason: str


@dataclass(frozen=True, eq=False)
class Line:
    """An Arrhenius line of D with its 95% band; each interval is (value, low, high)."""

    temperature: np.ndarray
    """[T] K, from 300 K to the hottest point."""
    diffusivity: np.ndarray
    """[T] cm²/s."""
    low: np.ndarray
    high: np.ndarray
    activation_energy: tuple[float, float, float]
    """eV."""
    neg_log_sigma: tuple[float, float, float]
    """-log10(sigma/(mS/cm)) at 300 K."""
    n: int
    """Temperatures."""


@dataclass(frozen=True, eq=False)
class ArrheniusCurve:
    """D against temperature of a model and of its reference."""

    points: list[Point]
    reference_points: list[Point]
    line: Line | None
    reference_line: Line | None
    no_line: str
    """Why the model has no line; empty where it has one."""
    no_reference_line: str
    sigma_T_per_D: float
    """K mS s/cm³: sigma T over D, by Nernst and Einstein."""


@dataclass(frozen=True, eq=False)
class SurvivalBand:
    """Share of runs without a failure after a time, all temperatures together, with its 95% band (Kaplan and Meier)."""

    time_ps: np.ndarray
    """[K]; values hold up to the next time, the last one is the horizon."""
    survival: np.ndarray
    low: np.ndarray
    """NaN for fewer than 5 runs."""
    high: np.ndarray
    causes: dict[str, int]
    n: int
    """Runs."""
    cold: int
    """Runs without a failure whose crystal is at rest and flies as a whole (`ScoredRun.cold`)."""
    horizon_ps: float
    censored_ps: np.ndarray
    """When runs without a failure ceased to be watched."""
    mean_ps: tuple[float, float, float]
    """Mean time without a failure up to the horizon, and its interval."""


@dataclass(frozen=True, eq=False)
class ForceParity:
    """Predicted against reference forces of one element along one axis."""

    edges: np.ndarray
    """[K + 1] eV/Å, the same on both axes."""
    counts: np.ndarray
    """[K, K] reference, predicted; what lies beyond the edges is in `beyond`."""
    beyond: int
    n: int
    """Force components."""
    frames: int
    r2: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class EnergyParity:
    """Predicted against reference energies, each less its own mean, in eV/atom."""

    predicted: np.ndarray
    """[M]"""
    reference: np.ndarray
    temperature: np.ndarray
    """[M] K, NaN for unordered frames."""
    rank: tuple[float, float, float]
    """Spearman correlation."""
    mae_meV_per_atom: tuple[float, float, float]
    """After one offset is removed."""
    r2: tuple[float, float, float]
    """Of the energies as they are, no offset removed; meaningful on the material trained on alone."""


@dataclass(frozen=True, eq=False)
class Parity:
    """Predictions beside the reference's labels on the test frames of one split."""

    forces: dict[tuple[str, str], ForceParity]
    """By (element, axis)."""
    energy: EnergyParity
    held_out: str
    """Which frames these are."""
    n: int
    """Frames."""


@dataclass(frozen=True, eq=False)
class Density:
    """Density of the mobile ions in a run and its reference, symmetrised and smoothed by 0.3 Å, on one grid of the ideal cell."""

    model: np.ndarray
    """[A, B, C], sums to 1; origin at the corner of the cell, voxel centres at (index + 0.5)/shape."""
    reference: np.ndarray
    shape: tuple[int, int, int]
    cell: np.ndarray
    """[3, 3] Å."""
    temperature: float
    frames: int
    reference_frames: int
    overlap: float
    """Sum of min(p, q) of these two, unequal in length: what is drawn, not the score."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Ways of the mobile ions in the frame of the ideal cell, and the sites and jumps between them."""

    model: np.ndarray
    """[n, P, 3] Å, running means over 100 fs, unwrapped, starting inside the cell."""
    reference: np.ndarray
    time_ps: np.ndarray
    """[P]"""
    reference_time_ps: np.ndarray
    temperature: float
    cell: np.ndarray
    """[3, 3] Å."""
    sites: np.ndarray
    """[S, 3] fractional, maxima of the reference's density."""
    site_names: list[str]
    """[S] multiplicity and letter of the orbit."""
    jumps: np.ndarray
    """[J, 6] origin, target, cells between them (3), number of jumps along this way in the model's run."""
    reference_jumps: np.ndarray
    n_ions: int


@dataclass(frozen=True, eq=False)
class Curves:
    """All curves of one model in one material; what is None has its reason in `missing`."""

    model: str
    material: str
    reference: str
    """Label of the reference, which stands in every figure."""
    runs: list[RunNote] = field(default_factory=list)
    rdf: list[Rdf] | None = None
    msd: list[Msd] | None = None
    survival: SurvivalBand | None = None
    parity: Parity | None = None
    density: Density | None = None
    paths: Paths | None = None
    arrhenius: ArrheniusCurve | None = None
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReferenceCurves:
    """What the reference alone contributes: computed once for all models."""

    msd: dict[float, tuple[np.ndarray, np.ndarray, np.ndarray]]
    """By temperature: lag [L] ps, msd [L] Å², half of its 95% interval [L] Å²."""
    points: list[Point]
    line: Line | None
    no_line: str
    density: dict[float, np.ndarray]
    """[A, B, C] by temperature, smoothed."""
    frames: dict[float, int]
    """Frames behind each density."""
    paths: dict[float, tuple[np.ndarray, np.ndarray]]
    """By temperature: time [P] ps and ways [n, P, 3] Å."""
    sites: np.ndarray
    site_names: list[str]
    jumps: dict[float, np.ndarray]
    cell: np.ndarray


CURVES = ("rdf", "msd", "survival", "parity", "density", "paths", "arrhenius")
"""Names of the curves, as in `Curves.missing`."""
