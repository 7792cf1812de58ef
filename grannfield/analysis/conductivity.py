"""Ionic conductivity at room temperature, from diffusivities at several higher temperatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grannfield.analysis.uncertainty import TOO_FEW_TEMPERATURES, Estimate, t_quantile
from grannfield.units import BOLTZMANN, BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

ROOM_TEMPERATURE = 300.0
MIN_TEMPERATURES = 3
"""Two points always lie on a line: only a third can show that it is none."""


@dataclass(frozen=True)
class Arrhenius:
    """A straight line of ln D against 1/T: D = D0 exp(-Ea/kT)."""

    inverse_temperature: np.ndarray
    """[n] 1/K."""
    ln_diffusivity: np.ndarray
    """[n], D in cm²/s."""
    half_width: np.ndarray
    """[n] of the 95% intervals of ln D (infinite where open)."""
    slope: float
    """K."""
    intercept: float

    def _spread(self) -> float:
        return float(((self.inverse_temperature - self.inverse_temperature.mean()) ** 2).sum())

    def residual_error(self) -> float:
        """Standard deviation of ln D about the line, n - 2 degrees of freedom."""
        residual = self.ln_diffusivity - self.intercept - self.slope * self.inverse_temperature
        return math.sqrt(float((residual**2).sum()) / (len(residual) - 2))

    def _half(self, weights: np.ndarray) -> float:
        """Half-width of a linear combination of the ln D, by the scatter about the line or the D(T) intervals."""
        scatter = t_quantile(len(weights) - 2) * self.residual_error() * math.sqrt(float((weights**2).sum()))
        carried = np.multiply(weights, self.half_width, out=np.zeros(len(weights)), where=weights != 0)
        given = math.sqrt(float((carried**2).sum()))
        return max(scatter, given)

    def activation_energy(self) -> Estimate:
        """Ea in eV, minus the slope times k."""
        weights = (self.inverse_temperature - self.inverse_temperature.mean()) / self._spread()
        half, value = BOLTZMANN * self._half(weights), -BOLTZMANN * self.slope
        return Estimate(value, (value - half, value + half), len(weights), note="temperatures")

    def ln_diffusivity_at(self, temperature: float) -> Estimate:
        """ln D (D in cm²/s) on the line at a temperature in K."""
        x = self.inverse_temperature
        weights = 1 / len(x) + (1 / temperature - x.mean()) * (x - x.mean()) / self._spread()
        half, value = self._half(weights), self.intercept + self.slope / temperature
        return Estimate(value, (value - half, value + half), len(x), note="temperatures")


@dataclass(frozen=True)
class Conductivity:
    """The conductivity at one temperature and the Arrhenius line behind it; n counts temperatures."""

    activation_energy: Estimate
    """eV."""
    diffusivity_cm2_per_s: Estimate
    sigma_mS_per_cm: Estimate
    minus_log10_sigma: Estimate
    """-log10 of sigma in mS/cm, as in the paper's Table 2; lower is better."""
    line: Arrhenius | None = None


def arrhenius(temperature: np.ndarray, diffusivity_cm2_per_s: Sequence[Estimate]) -> Arrhenius:
    """The least-squares line of ln D against 1/T, every temperature weighing the same.

    temperature [n] K; repeated runs at one temperature are separate points. ValueError with fewer than 3 different
    temperatures or for a D that is not a number.
    """
    value = np.array([d.value for d in diffusivity_cm2_per_s])
    x = 1 / np.asarray(temperature, dtype=np.float64)
    if len(np.unique(x)) < MIN_TEMPERATURES or len(x) != len(value) or not (value > 0).all():
        raise ValueError(f"D {value} at {np.asarray(temperature)} K: positive numbers at 3 different temperatures are needed")
    low, high = np.array([d.interval for d in diffusivity_cm2_per_s]).T
    with np.errstate(divide="ignore"):
        below, above = np.log(value) - np.log(np.maximum(low, 0.0)), np.log(high) - np.log(value)
    slope, intercept = np.polyfit(x - x.mean(), np.log(value), 1)
    return Arrhenius(x, np.log(value), np.maximum(below, above), float(slope), float(intercept - slope * x.mean()))


def nernst_einstein(diffusivity_cm2_per_s: float, n_ions: int, volume: float, temperature: float, charge: float = 1.0) -> float:
    """Conductivity in mS/cm of n ions of some charge (e) in a volume (Å³) that diffuse independently of each other.

    sigma = 1000 n z² e² D / (V k T), with D in cm²/s, V in cm³, e in C and k in J/K.

    >>> round(nernst_einstein(1e-7, 20, 984.7, 300.0), 2)
    12.59
    """
    volume_cm3 = volume * 1e-24
    charge_C = charge * ELEMENTARY_CHARGE_C
    return 1000 * n_ions * charge_C**2 * diffusivity_cm2_per_s / (volume_cm3 * BOLTZMANN_J_PER_K * temperature)


def conductivity(
    temperature: np.ndarray,
    diffusivity_cm2_per_s: Sequence[Estimate],
    n_ions: int,
    volume: float,
    *,
    charge: float = 1.0,
    at: float = ROOM_TEMPERATURE,
) -> Conductivity:
    """Ionic conductivity at a temperature (K), extrapolated along the Arrhenius line of D.

    temperature [n] K and D(T) as `diffusion` gives it; volume in Å³ of the starting cell and the n_ions mobile ions in
    it. D is extrapolated and turned into sigma at the *new* temperature: it is ln(sigma T), not ln sigma, that is
    straight. Estimates without a value are left out; fewer than 3 different temperatures with one: no number.

    Interval: the larger of the line's own (t quantile with n - 2 degrees of freedom) and that of the D(T) intervals
    carried through the fit. With 3 temperatures t is 12.7, and intervals of several decades are what the data say.
    """
    usable = [(t, d) for t, d in zip(np.asarray(temperature, float), diffusivity_cm2_per_s, strict=True) if not d.reason]
    if len({t for t, _ in usable}) < MIN_TEMPERATURES:
        lost = zip(np.asarray(temperature, float), diffusivity_cm2_per_s, strict=True)
        detail = ", ".join(f"{t:g} K {d.reason or 'resolved'}" for t, d in lost)
        none = Estimate.missing(TOO_FEW_TEMPERATURES, detail, n=len({t for t, _ in usable}))
        return Conductivity(none, none, none, none)
    line = arrhenius(np.array([t for t, _ in usable]), [d for _, d in usable])
    ln_d = line.ln_diffusivity_at(at)
    to_log10_sigma = math.log(nernst_einstein(1.0, n_ions, volume, at, charge))
    ln_sigma = _shifted(ln_d, to_log10_sigma)
    low, high = (x / math.log(10) for x in ln_sigma.interval)
    minus_log10 = Estimate(-ln_sigma.value / math.log(10), (-high, -low), ln_d.n, note=ln_d.note)
    return Conductivity(line.activation_energy(), _exponential(ln_d), _exponential(ln_sigma), minus_log10, line)


def _shifted(estimate: Estimate, by: float) -> Estimate:
    low, high = estimate.interval
    return Estimate(estimate.value + by, (low + by, high + by), estimate.n, note=estimate.note)


def _exponential(estimate: Estimate) -> Estimate:
    low, high = estimate.interval
    ends = math.exp(low), math.exp(high) if high < 700 else math.inf
    return Estimate(math.exp(estimate.value), ends, estimate.n, note=estimate.note)
