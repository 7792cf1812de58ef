"""Errors of predicted forces and energies against a reference: pooled, per element and axis, by size of force, and in time.

Intervals know that frames a few fs apart repeat each other, see `blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from grannfield import units
from grannfield.analysis.blocks import BELOW_ONE, CORRELATION, LINEAR, POSITIVE, Frames, Transform
from grannfield.analysis.uncertainty import UNDEFINED, Estimate

AXES = ("x", "y", "z")
_N, _REF, _REF2, _PRED, _CROSS, _RES2, _ABS = range(7)
BINS = 5
"""Of equal numbers of atoms, by the size of the reference force."""
LARGE = 0.1
"""Share of the atoms, those with the largest reference forces, behind `mae_large`."""


@dataclass(frozen=True)
class MagnitudeBin:
    """The error of forces whose reference has a certain size."""

    low: float
    """eV/Å, of the reference force on an atom."""
    high: float
    mae: Estimate
    """eV/Å, of components."""
    relative: Estimate
    """rms error over rms reference force: 1 for a prediction of zero."""
    atoms: int


@dataclass(frozen=True)
class TimeBlock:
    """One stretch of one run."""

    run: int
    """Number of the run in the reference."""
    block: int
    """Number of the stretch within the run."""
    value: Estimate


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
    mae_large: Estimate
    """MAE on the tenth of the atoms with the largest reference forces."""
    r2_by_element: dict[str, Estimate]
    mae_by_element: dict[str, Estimate]
    r2_by_component: dict[str, Estimate]
    r2_by_element_and_component: dict[str, dict[str, Estimate]]
    by_magnitude: tuple[MagnitudeBin, ...]
    block: int
    """Frames in a block of the jackknife."""
    by_time: dict[str, tuple[TimeBlock, ...]]
    """r2, mae, cosine, slope and mae_large of each stretch of each run: what two models are compared on, frame by frame."""


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
    spearman_within_runs: Estimate
    """The same within each run, mean over runs: that hot frames lie above cold ones earns nothing."""
    by_time: dict[str, tuple[TimeBlock, ...]]


def force_errors(predicted: np.ndarray, reference: np.ndarray, z: np.ndarray, *, origin: np.ndarray | None = None) -> ForceErrors:
    """Agreement of predicted with reference forces [F, N, 3] in eV/Å of atoms z [N].

    origin [F, 2]: run and frame number of each, ascending, of frames that follow each other in time; None for frames that have
    nothing to do with one another. Raises ValueError for unequal shapes and for a non-finite force, naming the frame.

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
    species, edges = np.unique(z), _edges(reference)
    sums = _frame_sums(predicted, reference, z, species, edges)
    total = sums[:, : 21 * len(species)].reshape(len(sums), len(species), 3, 7).sum(axis=(1, 2))
    frames = Frames.of(len(sums), origin, _influence(total))
    statistic = partial(_force_statistics, n_species=len(species), n_bins=len(edges) - 1)
    values = statistic(sums.sum(axis=0))
    names, n_bins = _names(species, len(edges) - 1), len(edges) - 1
    estimates = frames.intervals(values, statistic(frames.without_each(sums)), [_transform(name) for name in names])
    by = dict(zip(names, estimates, strict=True))
    symbols = [units.symbol(int(a)) for a in species]
    time = frames.by_time(lambda index: dict(zip(names, statistic(sums[index].sum(axis=0)), strict=True)))
    counts = sums[:, _bin_columns(len(species), n_bins)].sum(axis=0).reshape(n_bins, 4)[:, 0]
    return ForceErrors(
        **{name: by[name] for name in ("r2", "mae", "rmse", "cosine", "slope", "mae_large")},
        r2_by_element={s: by[f"r2 {s}"] for s in symbols},
        mae_by_element={s: by[f"mae {s}"] for s in symbols},
        r2_by_component={axis: by[f"r2 {axis}"] for axis in AXES},
        r2_by_element_and_component={s: {axis: by[f"r2 {s} {axis}"] for axis in AXES} for s in symbols},
        by_magnitude=tuple(
            MagnitudeBin(float(edges[b]), float(edges[b + 1]), by[f"mae bin {b}"], by[f"relative bin {b}"], int(counts[b]))
            for b in range(n_bins)
        ),
        block=frames.block,
        by_time={name: _picked(time, name) for name in ("r2", "mae", "cosine", "slope", "mae_large")},
    )


def energy_errors(
    predicted: np.ndarray, reference: np.ndarray, n_atoms: int, *, origin: np.ndarray | None = None
) -> EnergyErrors:
    """Agreement of predicted with reference total energies [F] in eV of frames of n_atoms atoms.

    Intervals, `origin` and errors raised as for `force_errors`.

    >>> e = energy_errors([1.0, 2.0, 4.0], [0.0, 1.0, 3.0], n_atoms=2)
    >>> e.mae_per_atom.value, e.mae_per_atom_shifted.value, round(e.spearman.value, 6)
    (0.5, 0.0, 1.0)
    """
    predicted, reference = np.asarray(predicted, float), np.asarray(reference, float)
    if predicted.shape != reference.shape or predicted.ndim != 1 or not len(predicted):
        raise ValueError(f"predicted {predicted.shape} and reference {reference.shape} energies should be [F]")
    _require_finite("predicted energies", predicted)
    _require_finite("reference energies", reference)
    frames = Frames.of(len(predicted), origin, np.abs(predicted - reference - (predicted - reference).mean()))

    def statistic(index: np.ndarray) -> np.ndarray:
        p, r, run = predicted[index], reference[index], frames.run[index]
        error = p - r
        spread = ((r - r.mean()) ** 2).sum()
        r2 = 1 - _ratio((error**2).sum(), np.asarray(spread if spread > 1e-24 * (r**2).sum() else 0.0))
        within = [spearman(p[run == one], r[run == one]) for one in np.unique(run)]
        shifted = np.abs(error - error.mean()).mean() / n_atoms
        return np.array([r2, np.abs(error).mean() / n_atoms, shifted, spearman(p, r), np.mean(within)])

    everything = np.arange(len(predicted))
    left_out = np.array([statistic(np.setdiff1d(everything, block)) for block in frames.blocks])
    transforms = [BELOW_ONE, POSITIVE, POSITIVE, CORRELATION, CORRELATION]
    found = frames.intervals(statistic(everything), left_out, transforms)
    time = frames.by_time(lambda index: {"spearman": spearman(predicted[index], reference[index])})
    r2, mae, after_shift, rank, within_runs = found
    return EnergyErrors(r2, mae, after_shift, rank, within_runs, {"spearman": _picked(time, "spearman")})


def spearman(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Rank correlation of two rows of numbers; NaN where one of them does not vary.

    >>> spearman(np.array([1.0, 3.0, 2.0]), np.array([10.0, 30.0, 40.0]))
    0.5
    """
    return _correlation(stats.rankdata(predicted), stats.rankdata(reference))


def _influence(total: np.ndarray) -> np.ndarray:
    """How much each frame pulls the pooled R² [F]: its squared error over the mean one, less the same of its forces."""
    residual, spread = total[:, _RES2], total[:, _REF2]
    if not residual.any():
        return np.zeros(len(total))
    return residual / residual.mean() - spread / max(spread.mean(), 1e-300)


def _edges(reference: np.ndarray) -> np.ndarray:
    """[BINS + 1] eV/Å, quantiles of the size of reference forces; fewer where many are equal."""
    size = np.linalg.norm(reference, axis=-1)
    edges = np.quantile(size, np.linspace(0, 1, BINS + 1))
    edges[-1] = np.nextafter(size.max(), np.inf)  # the largest force belongs to the last bin
    return np.unique(edges)


def _frame_sums(
    predicted: np.ndarray, reference: np.ndarray, z: np.ndarray, species: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """[F, E x 3 x 7 + bins x 4 + 2 + 2]: what every number is made of, summed over the atoms of each frame.

    For each element and axis 7 sums; for each bin of force the atoms, absolute and squared errors, and squared forces; absolute
    errors and atoms of the large forces; cosines and atoms with a direction.
    """
    error = predicted - reference
    terms = (np.ones_like(reference), reference, reference**2, predicted, predicted * reference, error**2, np.abs(error))
    per_element = np.stack([np.stack([term[:, z == a].sum(axis=1) for term in terms], axis=-1) for a in species], axis=1)
    size = np.linalg.norm(reference, axis=-1)
    of_atom = np.stack([np.ones_like(size), np.abs(error).sum(-1), (error**2).sum(-1), (reference**2).sum(-1)], axis=-1)
    which = np.clip(np.searchsorted(edges, size, side="right") - 1, 0, len(edges) - 2)
    per_bin = np.stack([(of_atom * (which == b)[..., None]).sum(axis=1) for b in range(len(edges) - 1)], axis=1)
    large = size >= np.quantile(size, 1 - LARGE)
    of_large = (of_atom[..., [1, 0]] * large[..., None]).sum(axis=1)
    flat = [part.reshape(len(size), -1) for part in (per_element, per_bin, of_large, _cosine_sums(predicted, reference))]
    return np.concatenate(flat, axis=1)


def _bin_columns(n_species: int, n_bins: int) -> slice:
    return slice(21 * n_species, 21 * n_species + 4 * n_bins)


def _force_statistics(sums: np.ndarray, n_species: int, n_bins: int) -> np.ndarray:
    """The numbers named by `_names` [..., K] from sums [..., S] over frames."""
    lead, bins = sums.shape[:-1], _bin_columns(n_species, n_bins)
    each = sums[..., : bins.start].reshape(*lead, n_species, 3, 7)
    pooled, elements, axes = each.sum(axis=(-3, -2)), each.sum(axis=-2), each.sum(axis=-3)
    binned = sums[..., bins].reshape(*lead, n_bins, 4)
    large, cosines = sums[..., bins.stop : bins.stop + 2], sums[..., bins.stop + 2 :]
    head = [
        _r2(pooled), _ratio(pooled[..., _ABS], pooled[..., _N]), np.sqrt(_ratio(pooled[..., _RES2], pooled[..., _N])),
        _ratio(cosines[..., 0], cosines[..., 1]), _slope(pooled), _ratio(large[..., 0], 3 * large[..., 1]),
    ]  # fmt: skip
    tail = [
        _r2(elements), _ratio(elements[..., _ABS], elements[..., _N]), _r2(axes), _r2(each).reshape(*lead, -1),
        _ratio(binned[..., 1], 3 * binned[..., 0]), np.sqrt(_ratio(binned[..., 2], binned[..., 3])),
    ]  # fmt: skip
    return np.concatenate([np.stack(head, axis=-1), *tail], axis=-1)


def _names(species: np.ndarray, n_bins: int) -> list[str]:
    symbols = [units.symbol(int(a)) for a in species]
    return [
        "r2", "mae", "rmse", "cosine", "slope", "mae_large",
        *(f"r2 {s}" for s in symbols), *(f"mae {s}" for s in symbols), *(f"r2 {axis}" for axis in AXES),
        *(f"r2 {s} {axis}" for s in symbols for axis in AXES),
        *(f"mae bin {b}" for b in range(n_bins)), *(f"relative bin {b}" for b in range(n_bins)),
    ]  # fmt: skip


def _transform(name: str) -> Transform:
    word = name.split()[0]
    return {"r2": BELOW_ONE, "cosine": CORRELATION, "slope": LINEAR}.get(word, POSITIVE)


def _picked(time: list[tuple[int, int, int, dict[str, float]]], name: str) -> tuple[TimeBlock, ...]:
    found = []
    for run, block, n, numbers in time:
        value = float(numbers[name])
        one = Estimate(value, n=n) if np.isfinite(value) else Estimate.missing(UNDEFINED, "does not vary in this stretch", n=n)
        found.append(TimeBlock(run, block, one))
    return tuple(found)


def _cosine_sums(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sum of cosines and number of atoms with a reference force [F, 2]."""
    lengths = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(reference, axis=-1)
    dot = np.einsum("fnx,fnx->fn", predicted, reference)
    cosine = np.divide(dot, lengths, out=np.zeros_like(dot), where=lengths > 0)
    has_direction = np.linalg.norm(reference, axis=-1) > 0
    return np.stack([cosine.sum(axis=1), has_direction.sum(axis=1)], axis=-1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where nothing is below."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _spread(s: np.ndarray) -> np.ndarray:
    """SS_tot; zero when it is no more than rounding error, so that a constant reference has no R² instead of -1e15."""
    spread = s[..., _REF2] - s[..., _REF] ** 2 / np.maximum(s[..., _N], 1)
    return np.where(spread > 1e-12 * s[..., _REF2], spread, 0.0)


def _r2(s: np.ndarray) -> np.ndarray:
    return 1 - _ratio(s[..., _RES2], _spread(s))


def _slope(s: np.ndarray) -> np.ndarray:
    return _ratio(s[..., _CROSS] - s[..., _PRED] * s[..., _REF] / np.maximum(s[..., _N], 1), _spread(s))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(_ratio(x @ y, np.sqrt((x @ x) * (y @ y))))


def _require_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        frame = int(np.argmin(finite))
        raise ValueError(f"{name} are not finite in frame {frame} ({int((~finite).sum())} of {len(finite)} frames)")
