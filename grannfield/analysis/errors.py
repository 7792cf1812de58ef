"""Errors of predicted forces and energies against a reference, pooled over frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from grannfield import units
from grannfield.analysis.uncertainty import UNDEFINED, Estimate, block_bootstrap, clipped

AXES = ("x", "y", "z")
_N, _REF, _REF2, _PRED, _CROSS, _RES2, _ABS = range(7)


@dataclass(frozen=True)
class ForceErrors:
    """Quality of forces over the 3N components of all frames; n counts frames, MAE and RMSE are in eV/Å."""

    r2: Estimate
    """1 - SS_res/SS_tot, SS_tot about the mean of the reference components."""
    mae: Estimate
    rmse: Estimate
    cosine: Estimate
    """Mean over atoms of the cosine between predicted and reference force; 0 for a predicted force of zero."""
    slope: Estimate
    """Least-squares slope (with intercept) of predicted on reference components; below 1 the surface is too soft."""
    r2_by_element: dict[str, Estimate]
    mae_by_element: dict[str, Estimate]
    r2_by_component: dict[str, Estimate]


@dataclass(frozen=True)
class EnergyErrors:
    """Quality of total energies; n counts frames, errors are in eV/atom."""

    r2: Estimate
    """1 - SS_res/SS_tot of the energies as they are, no offset removed."""
    mae_per_atom: Estimate
    mae_per_atom_shifted: Estimate
    """MAE after removing one offset (the mean error), as for a material the model was not trained on."""
    spearman: Estimate
    """Rank correlation: is the order of the frames right?"""


def force_errors(
    predicted: np.ndarray,
    reference: np.ndarray,
    z: np.ndarray,
    *,
    block: int = 1,
    seed: int = 0,
    n_resamples: int = 500,
) -> ForceErrors:
    """Agreement of predicted with reference forces [F, N, 3] in eV/Å of atoms z [N].

    Intervals: bootstrap over frames in moving blocks of `block` consecutive frames; give the correlation time for
    frames that follow each other, 1 for frames drawn at random. Raises ValueError for unequal shapes and for a
    non-finite force, naming the frame.

    >>> f = np.random.default_rng(0).normal(size=(20, 4, 3))
    >>> e = force_errors(0.5 * f, f, [3, 3, 15, 16])
    >>> round(e.slope.value, 3), round(e.cosine.value, 3), round(e.r2.value, 2)
    (0.5, 1.0, 0.75)
    """
    predicted, reference, z = np.asarray(predicted, float), np.asarray(reference, float), np.asarray(z)
    if predicted.shape != reference.shape or predicted.shape[1:] != (len(z), 3) or not len(predicted):
        raise ValueError(f"predicted {predicted.shape} and reference {reference.shape} forces should be [F, {len(z)}, 3]")
    _require_finite("predicted forces", predicted)
    _require_finite("reference forces", reference)
    species = np.unique(z)
    sums = _force_sums(predicted, reference, z, species)
    cosines = _cosine_sums(predicted, reference)

    def statistic(index: np.ndarray) -> np.ndarray:
        return _force_statistics(sums[index].sum(axis=0), cosines[index].sum(axis=0))

    values = statistic(np.arange(len(sums)))
    low, high = block_bootstrap(len(sums), statistic, block=block, seed=seed, n_resamples=n_resamples)

    def pick(k: int, floor: float = -np.inf, ceiling: float = np.inf) -> Estimate:
        return _estimate(values[k], clipped((low[k], high[k]), floor, ceiling), len(sums), block)

    names, m = [units.symbol(int(a)) for a in species], 3 + 1 + len(species) + 3
    return ForceErrors(
        r2=pick(3, ceiling=1.0),
        mae=pick(m, floor=0.0),
        rmse=pick(0, floor=0.0),
        cosine=pick(1, -1.0, 1.0),
        slope=pick(2),
        r2_by_element={name: pick(4 + k, ceiling=1.0) for k, name in enumerate(names)},
        mae_by_element={name: pick(m + 1 + k, floor=0.0) for k, name in enumerate(names)},
        r2_by_component={axis: pick(4 + len(names) + k, ceiling=1.0) for k, axis in enumerate(AXES)},
    )


def energy_errors(
    predicted: np.ndarray, reference: np.ndarray, n_atoms: int, *, block: int = 1, seed: int = 0, n_resamples: int = 500
) -> EnergyErrors:
    """Agreement of predicted with reference total energies [F] in eV of frames of n_atoms atoms.

    Intervals and errors raised as for `force_errors`.

    >>> e = energy_errors([1.0, 2.0, 4.0], [0.0, 1.0, 3.0], n_atoms=2)
    >>> e.mae_per_atom.value, e.mae_per_atom_shifted.value, round(e.spearman.value, 6)
    (0.5, 0.0, 1.0)
    """
    predicted, reference = np.asarray(predicted, float), np.asarray(reference, float)
    if predicted.shape != reference.shape or predicted.ndim != 1 or not len(predicted):
        raise ValueError(f"predicted {predicted.shape} and reference {reference.shape} energies should be [F]")
    _require_finite("predicted energies", predicted)
    _require_finite("reference energies", reference)

    def statistic(index: np.ndarray) -> np.ndarray:
        p, r = predicted[index], reference[index]
        error = p - r
        spread = ((r - r.mean()) ** 2).sum()
        r2 = 1 - _ratio((error**2).sum(), np.asarray(spread if spread > 1e-24 * (r**2).sum() else 0.0))
        rank = _correlation(stats.rankdata(p), stats.rankdata(r))
        return np.array([r2, np.abs(error).mean() / n_atoms, np.abs(error - error.mean()).mean() / n_atoms, rank])

    values = statistic(np.arange(len(predicted)))
    low, high = block_bootstrap(len(predicted), statistic, block=block, seed=seed, n_resamples=n_resamples)
    limits = ((-np.inf, 1.0), (0.0, np.inf), (0.0, np.inf), (-1.0, 1.0))
    found = [_estimate(values[k], clipped((low[k], high[k]), *limits[k]), len(predicted), block) for k in range(len(limits))]
    return EnergyErrors(*found)


def _force_sums(predicted: np.ndarray, reference: np.ndarray, z: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Sums [F, elements, 3, 7] over the atoms of each element, from which every error follows."""
    terms = (
        np.ones_like(reference),
        reference,
        reference**2,
        predicted,
        predicted * reference,
        (predicted - reference) ** 2,
        np.abs(predicted - reference),
    )
    per_element = [np.stack([term[:, z == a].sum(axis=1) for term in terms], axis=-1) for a in species]
    return np.stack(per_element, axis=1)


def _force_statistics(sums: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """RMSE, cosine, slope, then R² and then MAE of all components, each element, and each axis, from sums [E, 3, 7]."""
    kinds = np.concatenate([sums.sum(axis=(0, 1))[None], sums.sum(axis=1), sums.sum(axis=0)])
    pooled = kinds[0]
    head = [np.sqrt(pooled[_RES2] / pooled[_N]), _ratio(*cosines), _slope(pooled)]
    return np.concatenate([head, _r2(kinds), kinds[:, _ABS] / kinds[:, _N]])


def _cosine_sums(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sum of cosines and number of atoms with a reference force [F, 2]."""
    lengths = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(reference, axis=-1)
    dot = np.einsum("fnx,fnx->fn", predicted, reference)
    cosine = np.divide(dot, lengths, out=np.zeros_like(dot), where=lengths > 0)
    has_direction = np.linalg.norm(reference, axis=-1) > 0
    return np.stack([cosine.sum(axis=1), has_direction.sum(axis=1)], axis=-1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _spread(s: np.ndarray) -> np.ndarray:
    """SS_tot; zero when it is no more than rounding error, so that a constant reference has no R² instead of -1e15."""
    spread = s[..., _REF2] - s[..., _REF] ** 2 / s[..., _N]
    return np.where(spread > 1e-12 * s[..., _REF2], spread, 0.0)


def _r2(s: np.ndarray) -> np.ndarray:
    return 1 - _ratio(s[..., _RES2], _spread(s))


def _slope(s: np.ndarray) -> np.ndarray:
    return _ratio(s[..., _CROSS] - s[..., _PRED] * s[..., _REF] / s[..., _N], _spread(s))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(_ratio(x @ y, np.sqrt((x @ x) * (y @ y))))


def _estimate(value: float, interval: tuple[float, float], n: int, block: int) -> Estimate:
    note = f"{n} frames, bootstrap in blocks of {block}"
    if not np.isfinite(value):
        return Estimate.missing(UNDEFINED, "the reference does not vary", n=n)
    low, high = (min(interval[0], value), max(interval[1], value))
    return Estimate(float(value), (float(low), float(high)), n, note=note)


def _require_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        frame = int(np.argmin(finite))
        raise ValueError(f"{name} are not finite in frame {frame} ({int((~finite).sum())} of {len(finite)} frames)")
