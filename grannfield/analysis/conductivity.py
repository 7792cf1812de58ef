"""Ionic conductivity at room temperature, from diffusivities at several higher temperatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import stats

from grannfield.analysis.uncertainty import TOO_FEW_TEMPERATURES, Estimate, t_quantile
from grannfield.units import BOLTZMANN, BOLTZMANN_J_PER_K, ELEMENTARY_CHARGE_C

ROOM_TEMPERATURE = 300.0
MIN_TEMPERATURES = 3
"""Two points always lie on a line: only a third can show that it is none."""
CURVED = 0.05
"""Significance at which points do not lie on a line."""
MOST_DOF = 1000.0


@dataclass(frozen=True)
class Arrhenius:
    """A straight line of ln D against 1/T: D = D0 exp(-Ea/kT), each point weighing by its own uncertainty."""

    inverse_temperature: np.ndarray
    """[n] 1/K."""
    ln_diffusivity: np.ndarray
    """[n], D in cm²/s."""
    error: np.ndarray
    """[n] standard errors of ln D (infinite where an interval is open)."""
    dof: np.ndarray
    """[n] degrees of freedom of these errors."""

    @cached_property
    def weight(self) -> np.ndarray:
        """[n], proportional to 1/error², adding up to 1; all the same when one of them is open."""
        known = 1 / self.error**2 if np.isfinite(self.error).all() else np.ones(len(self.error))
        return np.asarray(known / known.sum())

    @property
    def _middle(self) -> float:
        return float(self.weight @ self.inverse_temperature)

    @property
    def _by_slope(self) -> np.ndarray:
        """[n], what each ln D is multiplied by to give the slope."""
        x = self.inverse_temperature - self._middle
        return np.asarray(self.weight * x / (self.weight @ x**2))

    @property
    def slope(self) -> float:
        """K."""
        return float(self._by_slope @ self.ln_diffusivity)

    @property
    def intercept(self) -> float:
        return float(self.weight @ self.ln_diffusivity) - self.slope * self._middle

    @property
    def residuals(self) -> np.ndarray:
        """[n] of ln D about the line."""
        return self.ln_diffusivity - self.intercept - self.slope * self.inverse_temperature

    @property
    def straight(self) -> bool:
        """Whether the points lie as near to a line as their errors let expect (p > 0.05, by F)."""
        if not np.isfinite(self.error).all():
            return True
        beyond = len(self.error) - 2
        f = float(((self.residuals / self.error) ** 2).sum()) / beyond
        return bool(stats.f.sf(f, beyond, float(self.dof.sum())) > CURVED)

    def _half(self, by: np.ndarray) -> float:
        """Half-width of the interval of a linear combination by [n] of the ln D."""
        if not np.isfinite(self.error).all():
            return math.inf
        variance = by**2 * self.error**2
        carried = t_quantile(variance.sum() ** 2 / float((variance**2 / self.dof).sum())) * math.sqrt(variance.sum())
        if self.straight:
            return carried
        beyond = len(by) - 2
        scale = float(((self.residuals / self.error) ** 2).sum()) / beyond
        return max(carried, t_quantile(beyond) * math.sqrt(scale * variance.sum()))

    def activation_energy(self) -> Estimate:
        """Ea in eV, minus the slope times k."""
        half, value = BOLTZMANN * self._half(self._by_slope), -BOLTZMANN * self.slope
        return Estimate(value, (value - half, value + half), len(self.error), note=self._note)

    def ln_diffusivity_at(self, temperature: float) -> Estimate:
        """ln D (D in cm²/s) on the line at a temperature in K."""
        half = self._half(self.weight + (1 / temperature - self._middle) * self._by_slope)
        value = self.intercept + self.slope / temperature
        return Estimate(value, (value - half, value + half), len(self.error), note=self._note)

    @property
    def _note(self) -> str:
        return "temperatures" if self.straight else "temperatures; not on a line within their errors: by their scatter"


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
    """The line of ln D against 1/T through D(T), each with the error that its interval and degrees of freedom say.

    temperature [n] K; several points at one temperature are allowed. ValueError with fewer than 3 different temperatures or
    for a D that is not a number.
    """
    value = np.array([d.value for d in diffusivity_cm2_per_s])
    x = 1 / np.asarray(temperature, dtype=np.float64)
    if len(np.unique(x)) < MIN_TEMPERATURES or len(x) != len(value) or not (value > 0).all():
        raise ValueError(f"D {value} at {np.asarray(temperature)} K: positive numbers at 3 different temperatures are needed")
    low, high = np.array([d.interval for d in diffusivity_cm2_per_s]).T
    dof = np.array([min(d.dof, MOST_DOF) for d in diffusivity_cm2_per_s])
    with np.errstate(divide="ignore"):
        width = np.log(high) - np.log(np.maximum(low, 0.0))
    return Arrhenius(x, np.log(value), 0.5 * width / np.array([t_quantile(n) for n in dof]), dof)


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

    Interval: the errors of the D(T) carried through the fit, t quantile. Where the points miss the line by more than these
    errors allow (p < 0.05), their scatter speaks instead, by the t quantile with n - 2 degrees of freedom: with 3
    temperatures t is 12.7, and intervals of several decades are what the data say. With fewer than 3 temperatures, the
    conductivity still has the bound that D falls with temperature (`cold_bound`).
    """
    usable = [(t, d) for t, d in zip(np.asarray(temperature, float), diffusivity_cm2_per_s, strict=True) if not d.reason]
    if len({t for t, _ in usable}) < MIN_TEMPERATURES:
        lost = zip(np.asarray(temperature, float), diffusivity_cm2_per_s, strict=True)
        detail = ", ".join(f"{t:g} K {d.reason or 'resolved'}" for t, d in lost)
        found = len({t for t, _ in usable})
        none = Estimate.missing(TOO_FEW_TEMPERATURES, detail, n=found)
        most = cold_bound(np.asarray(temperature, float), diffusivity_cm2_per_s, at)
        sigma = nernst_einstein(most, n_ions, volume, at, charge)
        least = -math.log10(sigma) if math.isfinite(sigma) else -math.inf
        at_most = lambda bound: replace(none, interval=(0.0, bound))  # noqa: E731
        return Conductivity(none, at_most(most), at_most(sigma), replace(none, interval=(least, math.inf)))
    line = arrhenius(np.array([t for t, _ in usable]), [d for _, d in usable])
    ln_d = line.ln_diffusivity_at(at)
    to_log10_sigma = math.log(nernst_einstein(1.0, n_ions, volume, at, charge))
    ln_sigma = _shifted(ln_d, to_log10_sigma)
    low, high = (x / math.log(10) for x in ln_sigma.interval)
    minus_log10 = Estimate(-ln_sigma.value / math.log(10), (-high, -low), ln_d.n, note=ln_d.note)
    return Conductivity(line.activation_energy(), _exponential(ln_d), _exponential(ln_sigma), minus_log10, line)


def cold_bound(temperature: np.ndarray, diffusivity_cm2_per_s: Sequence[Estimate], at: float) -> float:
    """Upper bound in cm²/s of D at a temperature below all others: the smallest upper end, since D does not fall on heating.

    Infinite when nothing was measured above that temperature.

    >>> seen = [Estimate.missing("below detection", interval=(0.0, 1e-6)), Estimate(3e-6, (0, 9e-6), n=5)]
    >>> cold_bound(np.array([800.0, 1000.0]), seen, at=300.0)
    1e-06
    """
    return min((d.interval[1] for t, d in zip(temperature, diffusivity_cm2_per_s, strict=True) if t >= at), default=math.inf)


def _shifted(estimate: Estimate, by: float) -> Estimate:
    low, high = estimate.interval
    return Estimate(estimate.value + by, (low + by, high + by), estimate.n, note=estimate.note)


def _exponential(estimate: Estimate) -> Estimate:
    low, high = estimate.interval
    ends = math.exp(low), math.exp(high) if high < 700 else math.inf
    return Estimate(math.exp(estimate.value), ends, estimate.n, note=estimate.note)
