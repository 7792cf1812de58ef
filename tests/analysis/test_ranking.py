"""Tiers and redundancy: equal models share a tier, planted gaps are found, broken runs are never left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from grannfield.analysis.correlation import agreement, spearman_interval
from grannfield.analysis.ranking import Cells, gap_from, gap_of, holm, in_tiers, overall, ranking, resampled, shares_of_first

SHAPE = (3, 3, 2)
"""Materials, temperatures, replicas of the preset `quick`."""


def cells(
    rng: np.random.Generator, k: int, shape: tuple[int, int, int] = SHAPE, gap: float = 0.0, unequal: bool = False
) -> Cells:
    """k models with the same truth but for the first; materials and temperatures differ for all alike, runs scatter by 1."""
    scatter = np.exp(rng.normal(0, 0.5, k)) if unequal else np.ones(k)
    m, t, r = shape
    values = []
    for _ in range(m):
        hard = rng.normal(0, 3)
        values.append([hard + rng.normal(0, 3) + rng.normal(0, 1, (k, r)) * scatter[:, None] for _ in range(t)])
    for material in values:
        for one in material:
            one[0] += gap
    return Cells(values, np.zeros((m, k)))


def tiers_alone(one: Cells) -> bool:
    """Whether there is more than one tier; without the resamples, which only P(rank 1) needs."""
    gaps = {(a, b): gap_of(one, a, b) for a in range(one.n_models) for b in range(a)}
    return in_tiers(one.by_material().mean(0), gaps, np.zeros(one.n_models)).resolved


@pytest.mark.parametrize("shape", [SHAPE, (3, 1, 1), (1, 1, 8)])
@pytest.mark.parametrize("k", [2, 4, 10])
def test_equal_models_are_split_in_at_most_5_of_100_tables(k: int, shape: tuple[int, int, int]) -> None:
    """Share of tables with any second tier: 0 where runs are repeated, 5% where a single level scatters."""
    n = 1000 if k == 2 else 200 if k == 4 else 40
    rng = np.random.default_rng(5)
    split = sum(tiers_alone(cells(rng, k, shape, unequal=i % 2 == 1)) for i in range(n))
    assert split <= 0.05 * n + 2 * math.sqrt(0.05 * 0.95 * n)


def test_a_planted_gap_is_found_and_the_smallest_resolvable_one_says_when() -> None:
    rng = np.random.default_rng(1)
    made = [ranking(cells(rng, 4, gap=4.0), seed=0) for _ in range(20)]
    assert sum(one.tier[0] == 1 and (one.tier[1:] == 2).all() for one in made) >= 18
    assert all(one.p_first[0] > 0.99 for one in made)
    limit = float(np.median([one.smallest_gap for one in made]))
    assert 1.0 < limit < 4.0
    hidden = [ranking(cells(rng, 4, gap=0.3 * limit), seed=0) for _ in range(20)]
    assert sum(one.resolved for one in hidden) <= 2, "a gap far below what is resolvable is not made a tier"


def test_the_same_results_give_the_same_ranking() -> None:
    one = cells(np.random.default_rng(2), 3)
    first, again, other = ranking(one, 7), ranking(one, 7), ranking(one, 8)
    assert (first.p_first == again.p_first).all() and (first.p == again.p).all()
    assert not (first.p_first == other.p_first).all() and (first.tier == other.tier).all()
    assert first.p_first.sum() == pytest.approx(1.0)


def test_the_variance_is_that_of_the_hierarchical_bootstrap() -> None:
    """Each level of the bootstrap has (n-1)/n of the unbiased variance of its mean."""
    one = cells(np.random.default_rng(3), 2, (4, 3, 5))
    drawn = resampled(one, 0, 20_000)
    d = [[row[1] - row[0] for row in material] for material in one.values]
    by_t = np.array([[x.mean() for x in material] for material in d])
    levels = np.var(by_t.mean(1)) / 4, np.var(by_t, axis=1).mean() / 12, np.mean([[np.var(x) for x in row] for row in d]) / 60
    assert np.var(drawn[:, 1] - drawn[:, 0]) == pytest.approx(sum(levels), rel=0.05)
    unbiased = levels[0] * 4 / 3 + levels[1] * 3 / 2 + levels[2] * 5 / 4
    assert gap_of(one, 1, 0).error == pytest.approx(math.sqrt(unbiased))


def test_a_single_cell_ranks_nobody() -> None:
    found = ranking(Cells([[np.array([[1.0], [0.0]])]], np.zeros((1, 2))), 0)
    assert not found.resolved and np.isnan(found.p_first).all() and found.smallest_gap == math.inf
    blind = ranking(Cells([[np.array([[1.0], [0.0]])]] * 3, np.full((3, 2), math.inf)), 0)
    assert not blind.resolved, "intervals without ends decide nothing"
    with pytest.raises(ValueError, match="1 model has no rank"):
        ranking(Cells([[np.array([[1.0]])]], np.zeros((1, 1))), 0)


def test_an_interval_stands_in_for_runs() -> None:
    value = [[np.array([[0.97], [0.92]])], [np.array([[0.968], [0.921]])], [np.array([[0.984], [0.925]])]]
    assert ranking(Cells(value, np.full((3, 2), 0.002**2)), 0).tier.tolist() == [1, 2]
    assert not ranking(Cells(value, np.full((3, 2), 0.1**2)), 0).resolved


def test_all_or_nothing_in_a_few_cells_is_a_toss_of_coins() -> None:
    """1 against 0 three times over has no scatter, and still proves little."""
    assert gap_from(1.0, [(0.0, 2.0)], 3).p == 0.25 and gap_from(1.0, [(0.0, 17.0)], 18).p < 1e-4
    assert gap_from(0.0, [(0.0, 2.0)], 3).p == 1.0


def test_several_columns_make_one_ranking() -> None:
    rng = np.random.default_rng(4)
    equal = [cells(rng, 3) for _ in range(4)]
    assert not overall(equal, 0).resolved
    found = overall([*equal, cells(rng, 3, gap=30.0)], 0)
    assert not found.resolved, "one column out of five is not the whole"
    apart = overall([cells(rng, 3, gap=9.0) for _ in range(4)], 0)
    assert apart.tier.tolist() == [1, 2, 2] and apart.p_first[0] == 1.0
    with pytest.raises(ValueError, match="one shape"):
        overall([cells(rng, 3), cells(rng, 2)], 0)


def test_holm_and_shared_first_places() -> None:
    assert holm(np.array([0.5, 0.01])).tolist() == [0.5, 0.02]
    assert shares_of_first(np.zeros((5, 4))).tolist() == [0.25] * 4


def columns(rng: np.random.Generator, k: int, rho: float) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Two columns of k models in three materials, mostly the models' own, correlated as rho; one material is hard in both."""
    mix = np.linalg.cholesky(np.array([[1, rho], [rho, 1]]))
    own = mix @ rng.normal(size=(2, k))
    z = [math.sqrt(0.9) * own + math.sqrt(0.1) * (mix @ rng.normal(size=(2, k))) - 20 * (m == 2) for m in range(3)]
    x, y = np.concatenate(z, axis=1)
    return x, y, [name for name in "abc" for _ in range(k)], [str(i) for _ in "abc" for i in range(k)]


def test_a_hard_material_is_no_agreement_and_independent_columns_are_not_redundant() -> None:
    rng = np.random.default_rng(6)
    found = [agreement(*columns(rng, 11, 0.0)) for _ in range(300)]
    assert abs(np.mean([one.rho.value for one in found])) < 0.06
    assert np.mean([one.rho.interval[0] <= 0 <= one.rho.interval[1] for one in found]) >= 0.94
    assert not any(one.redundant for one in found)


def test_columns_at_the_border_are_seldom_called_redundant_and_copies_are() -> None:
    rng = np.random.default_rng(7)
    border = [agreement(*columns(rng, 11, 2 * math.sin(math.pi * 0.8 / 6))) for _ in range(300)]
    assert np.mean([one.redundant for one in border]) <= 0.025
    assert np.mean([one.rho.interval[0] <= 0.8 <= one.rho.interval[1] for one in border]) >= 0.94
    x, _, materials, models = columns(rng, 8, 0.0)
    copy, reverse = agreement(x, 3 * x + 1, materials, models), agreement(x, -x, materials, models)
    assert copy.redundant and copy.rho.value == 1.0 and copy.n_models == 8 and copy.rho.n == 24
    assert reverse.redundant and reverse.rho.value == pytest.approx(-1.0)


def test_few_models_have_no_correlation() -> None:
    x = np.arange(9.0)
    few = agreement(x, x, list("aaabbbccc"), list("123123123"))
    assert few.rho.reason == "too few models (n=3)" and not few.redundant
    six = agreement(np.arange(6.0), np.arange(6.0), ["a"] * 6, list("123456"))
    assert six.rho.value == 1.0 and not six.redundant, "six models prove no redundancy"
    assert agreement(np.zeros(6), np.arange(6.0), ["a"] * 6, list("123456")).rho.reason == "undefined"
    with pytest.raises(ValueError, match="finite numbers"):
        agreement(np.array([1.0, np.nan]), np.zeros(2), ["a"] * 2, list("12"))
    low, high = spearman_interval(0.0, 20)
    assert low == pytest.approx(-high) and low < 0 < high
