"""Estimators under study, ours and others', behind one interface: a trajectory in, an `Estimate` with its 95% interval out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from grannfield.analysis.uncertainty import Estimate
from grannfield.calibrate.synthetic import MOBILE_Z
from grannfield.trajectory import Trajectory

Diffusivity = Callable[[Trajectory], Estimate]
"""cm²/s of the mobile ions of a production run."""
Extrapolation = Callable[[Sequence[float], Sequence[Estimate], int, float], tuple[Estimate, Estimate]]
"""Ea in eV and -log10 sigma(300 K) in mS/cm from temperatures [n] in K, their D, the number of mobile ions and Å³."""


@dataclass(frozen=True)
class Estimator:
    """A way to D, and from several D to Ea and the conductivity at 300 K."""

    name: str
    about: str
    diffusivity: Diffusivity
    extrapolation: Extrapolation
    packages: tuple[str, ...] = ()
    """Distributions that have to be installed besides grannfield's own dependencies."""
    seconds: float = 0.03
    """About what a trajectory takes, for pieces and forecasts."""
    at_most: int = 1_000_000
    """Trajectories per condition, for those that are slow."""
    at_most_sets: int = 1_000_000
    """Sets of temperatures."""
    code: tuple[str, ...] = ()
    """Files of the package that its numbers depend on."""
    together: Callable[[Sequence[Trajectory]], Estimate] | None = None
    """D of several runs at one temperature as one sample, where the estimator knows how; else each run is a point."""

    @property
    def missing(self) -> list[str]:
        """Which of its packages are not installed."""
        return [name for name in self.packages if _version(name) is None]

    @property
    def version(self) -> str:
        """Of the packages, for the names of files; empty for ours."""
        return "".join(f"-{name}-{_version(name)}" for name in self.packages)

    def package_version(self, name: str) -> str:
        return _version(name) or "not installed"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ours(trajectory: Trajectory) -> Estimate:
    from grannfield.analysis.diffusion import diffusion

    return diffusion(trajectory, MOBILE_Z).diffusivity_cm2_per_s


def _ours_together(trajectories: Sequence[Trajectory]) -> Estimate:
    from grannfield.analysis.diffusion import diffusion_of_runs

    return diffusion_of_runs(trajectories, MOBILE_Z)[0]


def _our_line(
    temperatures: Sequence[float], diffusivities: Sequence[Estimate], n_ions: int, volume: float
) -> tuple[Estimate, Estimate]:
    import numpy as np

    from grannfield.analysis.conductivity import conductivity

    found = conductivity(np.asarray(temperatures, dtype=float), diffusivities, n_ions, volume)
    return found.activation_energy, found.minus_log10_sigma


def _reached(*files: str) -> tuple[str, ...]:
    """These files of the package and those of `analysis` that they import, directly or not."""
    package, found = Path(__file__).parents[1], list(files)
    for file in found:  # grows while it is read
        text = (package / file).read_text(encoding="utf-8")
        names = re.findall(r"(?:from|import) grannfield\.analysis\.(\w+)", text)
        found += [new for name in names if (new := f"analysis/{name}.py") not in found]
    return tuple(found)


OURS = Estimator(
    "grannfield",
    "analysis.diffusion.diffusion_of_runs and analysis.conductivity.conductivity, as the benchmarks use them",
    _ours,
    _our_line,
    code=_reached("analysis/diffusion.py", "analysis/conductivity.py"),
    together=_ours_together,
)


def estimators() -> dict[str, Estimator]:
    """All estimators by name, installed or not."""
    from grannfield.calibrate.rivals import RIVALS

    return {one.name: one for one in (OURS, *RIVALS)}


def estimator(name: str) -> Estimator:
    """An estimator by name; LookupError that lists them."""
    known = estimators()
    name = name if name in known else name.replace("-", " ")
    if name not in known:
        raise LookupError(f"no estimator is called {name!r}; there are {', '.join(known)}")
    return known[name]
