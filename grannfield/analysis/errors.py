"""Errors of predicted forces and energies against a reference: pooled, per element and axis, by size of force, and in time.

Frames a few fs apart repeat each other, so an interval that counted them as independent would be several times too narrow. How
long the errors remember is measured on the errors themselves; the intervals are a jackknife over blocks several times as long,
stratified by run, because the runs of a reference (its temperatures) are chosen and not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from grannfield import units
from grannfield.analysis.uncertainty import UNDEFINED, Estimate, t_quantile

AXES = ("x", "y", "z")
_N, _REF, _REF2, _PRED, _CROSS, _RES2, _ABS = range(7)
BINS = 5
"""Of equal numbers of atoms, by the size of the reference force."""
LARGE = 0.1
"""Share of the atoms, those with the largest reference forces, behind `mae_large`."""
CORRELATION_TIMES = 4
"""Integrated correlation times in a block."""
BLOCKS_PER_RUN, FEWEST_BLOCKS = 8, 4
"""At most, and at least where a run has the frames: a correlation time is badly known, and blocks that are too short make an
interval too narrow, too few of them only wide."""
MOST_BLOCKS = 100
"""Of frames without an order, where nothing is lost by small ones: more cost time and no longer change an interval."""
ROUNDS, MOST_TAKEN = 5, 0.25
"""Of the correction of correlations for the mean that was removed, and the largest share of the variance it is taken for."""
TIME_BLOCKS = 6
"""Stretches of time that each run is divided into for `by_run`."""
FEWEST_FRAMES = 4
"""Of such a stretch."""

Transform = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
LINEAR: Transform = (lambda x: x, lambda y: y)
POSITIVE: Transform = (np.log, np.exp)
BELOW_ONE: Transform = (lambda x: np.log(1 - x), lambda y: 1 - np.exp(y))
CORRELATION: Transform = (np.arctanh, np.tanh)
"""Scales on which the spread of an error, an R² and a correlation hardly depends on their value: intervals are made there."""


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


@dataclass(frozen=True, eq=False)
class Frames:
    """How frames hang together in time: their runs, and blocks of neighbours that hardly depend on each other."""

    run: np.ndarray
    """[F] number of the run of each."""
    blocks: tuple[np.ndarray, ...]
    """Index arrays, each within one run."""
    block: int
    """Frames in a block, about."""
    correlation: float
    """Integrated correlation time in frames: 1 for frames that know nothing of each other."""

    @classmethod
    def of(cls, n: int, origin: np.ndarray | None, series: np.ndarray) -> Frames:
        """Blocks for n frames whose errors enter the number as `series` [F]; ValueError for an origin of another length."""
        if origin is None:
            size = max(1, -(-n // MOST_BLOCKS))
            return cls(np.zeros(n, int), tuple(np.array_split(np.arange(n), max(1, n // size))), size, 1.0)
        origin = np.asarray(origin)
        if origin.shape != (n, 2):
            raise ValueError(f"the origin {origin.shape} of {n} frames should be [{n}, 2]: run and frame")
        run = origin[:, 0]
        time = correlation_time(series, stretches(origin), run)
        parts = [np.flatnonzero(run == one) for one in np.unique(run)]
        longest = max(map(len, parts))
        wanted = int(np.ceil(CORRELATION_TIMES * time)) if time > 1 else 1
        size = max(-(-longest // BLOCKS_PER_RUN), min(wanted, max(1, longest // FEWEST_BLOCKS)))
        blocks = [piece for part in parts for piece in np.array_split(part, max(1, len(part) // size))]
        return cls(run, tuple(blocks), size, time)

    @property
    def note(self) -> str:
        return f"{len(self.run)} frames, jackknife over {len(self.blocks)} blocks of about {self.block}"

    def without_each(self, sums: np.ndarray) -> np.ndarray:
        """Sums over all frames but one block, for each block: [B, ...] from sums [F, ...] of each frame."""
        return np.stack([sums.sum(axis=0) - sums[block].sum(axis=0) for block in self.blocks])

    def intervals(self, values: np.ndarray, left_out: np.ndarray, transforms: Sequence[Transform]) -> list[Estimate]:
        """95% intervals of values [K], from the values without each block [B, K], each on its own scale.

        The variance is the sum over runs of (B_r - 1)/B_r sum_b (x_-b - mean)², Student's t with the degrees of freedom of
        Welch and Satterthwaite; runs of a single block are taken together. Blocks of L frames still know of their neighbours,
        which makes that variance short by a factor 1 - tau/(2 L) for a correlation time tau: it is divided by it.
        """
        owner = np.array([self.run[block[0]] for block in self.blocks])
        if min(np.count_nonzero(owner == one) for one in np.unique(owner)) < 2:
            owner = np.zeros_like(owner)
        short = 1 - (self.correlation - 1) / (2 * self.block) if self.correlation > 1 else 1.0
        runs, found = np.unique(owner), []
        for k, (there, back) in enumerate(transforms):
            with np.errstate(divide="ignore", invalid="ignore"):
                x, y = there(left_out[:, k]), there(values[k])
            each = np.array([_jackknife(x[owner == one]) for one in runs])
            freedom = np.array([np.count_nonzero(owner == one) - 1 for one in runs])
            half = _half_width(each, freedom, short)
            found.append(_estimate(values[k], y, half, back, len(self.run), self.note))
        return found

    def by_time(self, statistic: Callable[[np.ndarray], dict[str, float]]) -> list[tuple[int, int, int, dict[str, float]]]:
        """(run, stretch, frames, numbers) for TIME_BLOCKS stretches of each run; which frames, never depends on a model."""
        found = []
        for one in np.unique(self.run):
            mine = np.flatnonzero(self.run == one)
            pieces = np.array_split(mine, min(TIME_BLOCKS, max(1, len(mine) // FEWEST_FRAMES)))
            found += [(int(one), k, len(piece), statistic(piece)) for k, piece in enumerate(pieces)]
        return found


def stretches(origin: np.ndarray) -> list[np.ndarray]:
    """Index arrays of frames without a gap in time: origin [F, 2] is run and frame; a gap is 3 times the usual step of the run.

    >>> [s.tolist() for s in stretches(np.array([[0, 0], [0, 2], [0, 3], [0, 40], [0, 42], [1, 43]]))]
    [[0, 1, 2], [3, 4], [5]]
    """
    found = []
    for one in np.unique(origin[:, 0]):
        mine = np.flatnonzero(origin[:, 0] == one)
        step = np.diff(origin[mine, 1])
        usual = np.median(step) if len(step) else 1
        cuts = np.flatnonzero((step > 3 * usual) | (step <= 0)) + 1
        found += list(np.split(mine, cuts))
    return found


def correlation_time(series: np.ndarray, pieces: Sequence[np.ndarray], run: np.ndarray | None = None) -> float:
    """Integrated correlation time 1 + 2 sum rho_k in frames of a series [F] in stretches of time; at least 1.

    The mean of each run is removed (run [F]; by default all are of one); what that takes from the correlations, the variance of
    such a mean, is given back in a few rounds. Pairs rho_2k + rho_2k+1 are summed while they stand above their noise (after
    Geyer, Statist. Sci. 7, 473 (1992), https://doi.org/10.1214/ss/1177011137), up to half the longest stretch.

    >>> x = np.repeat(np.random.default_rng(0).normal(size=500), 4)
    >>> round(correlation_time(x, [np.arange(2000)]))
    4
    """
    run = np.zeros(len(series), int) if run is None else run
    x = np.array(series, dtype=float)
    for one in np.unique(run):
        x[run == one] -= x[run == one].mean()
    parts = [x[piece] for piece in pieces if len(piece) > 1]
    norm = float(x @ x) / len(x)
    if norm <= 0 or not parts:
        return 1.0
    longest = max(len(part) for part in parts) // 2
    lags = range(1, longest + 1)
    pairs = np.array([sum(max(0, len(part) - lag) for part in parts) for lag in lags])
    found = np.array([sum(float(part[:-lag] @ part[lag:]) for part in parts if len(part) > lag) for lag in lags]) / pairs / norm
    each, time = len(x) / len(np.unique(run)), 1.0
    for _ in range(ROUNDS):
        taken = min(time / each, MOST_TAKEN)
        rho = (1 - taken) * found + taken
        two = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
        seen = two > 2 * taken + np.sqrt(1 / pairs[: len(two) * 2 : 2])
        positive = len(two) if seen.all() else int(np.argmin(seen))
        time = max(1.0, 1 + 2 * float(two[:positive].sum()))
    return time


def _jackknife(left_out: np.ndarray) -> float:
    n = len(left_out)
    if n < 2 or not np.isfinite(left_out).all():
        return np.inf
    return float((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())


def _half_width(variance: np.ndarray, freedom: np.ndarray, short: float) -> float:
    """Of the interval of a sum of variances [R] with their degrees of freedom [R]; infinite where one is not known."""
    if not (np.isfinite(variance).all() and (freedom > 0).all()):
        return np.inf
    total = float(variance.sum())
    if total == 0:
        return 0.0
    return t_quantile(int(total**2 / (variance**2 / freedom).sum())) * float(np.sqrt(total / short))


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


def _estimate(value: float, y: np.ndarray, half: float, back: Callable[..., np.ndarray], n: int, note: str) -> Estimate:
    """The number with its interval, made on another scale where `y` stands in the middle; the number itself at a pole."""
    if not np.isfinite(value):
        return Estimate.missing(UNDEFINED, "the reference or the prediction does not vary", n=n)
    value = float(value)
    if not np.isfinite(y):
        return Estimate(value, (value, value), n, note=f"{note}; no error at all")
    with np.errstate(over="ignore"):
        ends = [float(back(np.asarray(y - half))), float(back(np.asarray(y + half)))]
    return Estimate(value, (min(*ends, value), max(*ends, value)), n, note=note)


def _require_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        frame = int(np.argmin(finite))
        raise ValueError(f"{name} are not finite in frame {frame} ({int((~finite).sum())} of {len(finite)} frames)")
