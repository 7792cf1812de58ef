"""Kendall's tau-b over materials: SciPy's where there is one, materials kept apart, failures last, calibrated tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from grannfield.studies.agreement import Pairs, Rows, agreements, exchange_p, holm_adjusted


def rows(x: list[list[float]], y: list[list[float]], known: np.ndarray | None = None) -> Rows:
    a, b = np.array(x, dtype=float), np.array(y, dtype=float)
    return Rows(a, b, np.ones(a.shape, bool) if known is None else known)


def units(k: int) -> list[str]:
    return [f"m{i:02}" for i in range(k)]


def test_one_material_is_as_scipy_has_it() -> None:
    generator = np.random.default_rng(1)
    for _ in range(5):
        x, y = generator.integers(0, 5, (2, 11)).astype(float)
        assert Pairs.of(rows([x], [y])).tau() == pytest.approx(stats.kendalltau(x, y).statistic)


def test_a_hard_material_is_not_taken_for_agreement() -> None:
    easy, hard = np.arange(6.0), np.arange(6.0) + 100
    found = Pairs.of(rows([list(easy), list(hard)], [list(-easy), list(100 - easy)]))
    assert found.tau() == -1.0  # pooled over materials the correlation would be positive
    assert stats.kendalltau([*easy, *hard], [*-easy, *(100 - easy)]).statistic > 0


def test_a_failure_ranks_last_and_two_failures_are_equal() -> None:
    nan = math.nan
    found = rows([[3.0, 2.0, 1.0, nan, nan]], [[9.0, 8.0, nan, nan, nan]])
    filled = [3.0, 2.0, 1.0, -9.0, -9.0], [9.0, 8.0, -9.0, -9.0, -9.0]
    assert Pairs.of(found).tau() == pytest.approx(stats.kendalltau(*filled).statistic)


def test_only_cells_known_in_both_rows_count() -> None:
    known = np.array([[True] * 5, [True, True, False, False, False]])
    found = rows([[1, 2, 3, 4, 5], [1, 2, 9, 9, 9]], [[1, 2, 3, 4, 5], [1, 2, 0, 0, 0]], known)
    (one,), _ = agreements([found], units(5), seed=0)
    assert one.tau.value == 1.0 and one.tau.n == 7 and one.n_models == 5


def test_perfect_order_of_many_models_is_sure_and_of_few_is_nothing() -> None:
    (many,), drawn = agreements([rows([list(range(11))], [list(range(11))])], units(11), seed=0)
    assert many.tau.value == 1.0 and many.p < 0.005 and drawn.shape == (1000, 1)
    (few,), nothing = agreements([rows([list(range(4))], [list(range(4))])], units(4), seed=0)
    assert few.tau.reason == "too few models (n=4)" and math.isnan(few.p) and not len(nothing)
    (flat,), _ = agreements([rows([list(range(6))], [[1.0] * 6])], units(6), seed=0)
    assert flat.tau.reason == "undefined"


def test_two_behaviours_of_an_architecture_are_one_model() -> None:
    one = rows([list(range(8))], [list(range(8))])
    (found,), _ = agreements([one], [f"m{i // 2}" for i in range(8)], seed=0)
    assert found.tau.reason == "too few models (n=4)"


def test_rows_that_have_nothing_in_common_rarely_raise_an_alarm() -> None:
    generator = np.random.default_rng(3)
    made = [rows(*generator.normal(size=(2, 3, 8)).tolist()) for _ in range(80)]
    p = [exchange_p(one, seed, n_exchanges=39) for seed, one in enumerate(made)]
    assert np.mean(np.array(p) <= 0.05) < 0.15 and 0.35 < np.mean(p) < 0.65
    held = [agreements([one], units(8), seed=0)[0][0].tau.interval for one in made[:20]]
    assert np.mean([low <= 0 <= high for low, high in held]) >= 0.85


def test_materials_of_one_model_are_not_taken_for_independent() -> None:
    """Three copies of a material say no more than one."""
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(2, 9))
    (once,), _ = agreements([rows([list(x)], [list(y)])], units(9), seed=0)
    (thrice,), _ = agreements([rows([list(x)] * 3, [list(y)] * 3)], units(9), seed=0)
    assert thrice.tau.interval == pytest.approx(once.tau.interval) and thrice.p == once.p
    assert thrice.tau.n == 27 and once.tau.n == 9


def test_holm_counts_what_was_tested() -> None:
    assert holm_adjusted([0.5, math.nan, 0.02])[::2] == [0.5, 0.04] and math.isnan(holm_adjusted([math.nan])[0])
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0]
