"""Variance components: closed forms, coverage on numbers whose variances are known, and what cannot be told apart."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from grannfield.studies.variance import clustering, components, ratio_interval, spread


def drawn(seed: int, sizes: tuple[int, ...], between: float, within: float = 1.0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(0, between) + generator.normal(0, within, n) for n in sizes]


def test_equal_groups_have_the_closed_form() -> None:
    rows = np.array(drawn(0, (4, 4, 4), 2.0))
    k, n = rows.shape
    within = rows.var(axis=1, ddof=1).mean()
    f = n * rows.mean(axis=1).var(ddof=1) / within
    low, high = ratio_interval(rows.mean(axis=1), np.full(k, n), within, k * (n - 1))
    expected = [(f / stats.f.ppf(q, k - 1, k * (n - 1)) - 1) / n for q in (0.975, 0.025)]
    assert [low, high] == pytest.approx(expected, rel=1e-6)
    found = components(list(rows))
    assert found.f == pytest.approx(f) and found.p == pytest.approx(stats.f_oneway(*rows).pvalue)
    assert found.between.value**2 == pytest.approx((f - 1) * within / n)
    assert found.share.interval == pytest.approx([t / (1 + t) for t in expected], rel=1e-6)


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (5, 1, 3, 2, 4)])
def test_intervals_contain_the_truth_as_often_as_they_say(sizes: tuple[int, ...]) -> None:
    found = [components(drawn(seed, sizes, 0.8)) for seed in range(400)]
    truth = {"share": 0.64 / 1.64, "within": 1.0, "between": 0.8}
    held = {
        name: np.mean([one.interval[0] <= value <= one.interval[1] for one in (getattr(c, name) for c in found)])
        for name, value in truth.items()
    }
    assert 0.92 <= held["share"] <= 0.98 and 0.92 <= held["within"] <= 0.98  # 2.7 standard errors of 400
    assert held["between"] >= 0.93


def test_groups_alike_have_no_variance_between_them() -> None:
    found = components([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    assert found.between.value == found.share.value == 0.0 and found.f == 0.0 and found.p == 1.0
    assert found.share.interval[1] < 1


def test_what_cannot_be_told_apart_is_undefined() -> None:
    one_training = components([[1.0, 2.0, 4.0]])
    assert one_training.between.reason == one_training.share.reason == "undefined" and one_training.between.detail == "one group"
    assert one_training.within.value == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1))
    one_run = components([[1.0], [2.0], [4.0]])
    assert one_run.within.reason == "undefined" and one_run.share.detail == "one number in each group"
    assert one_run.total.value == pytest.approx(one_training.within.value) and math.isfinite(one_run.total.interval[1])
    assert not math.isfinite(components([[1.0, 2.0], [3.0, 5.0]]).total.interval[1])
    alone = components([[1.0]])
    assert alone.n == alone.k == 1 and alone.total.reason == "undefined"
    assert components([[1.0, 1.0], [2.0, 2.0]]).share.detail == "no scatter inside the groups"
    assert components([[], [1.0, 2.0]]).k == 1
    with pytest.raises(ValueError, match="finite numbers are needed"):
        components([[], []])
    with pytest.raises(ValueError, match="finite numbers are needed"):
        components([[1.0, math.nan]])


def test_scatter_of_few_numbers_is_wide() -> None:
    assert spread([1.0]).reason == "undefined"
    found = spread([1.0, 2.0])
    assert found.interval[1] / found.value == pytest.approx(1 / math.sqrt(stats.chi2.ppf(0.025, 1)))


def test_failures_that_gather_are_unlikely_by_chance() -> None:
    sizes = (2, 3, 2)
    owner = np.repeat(np.arange(3), sizes)

    def gathered(failed: tuple[int, ...]) -> float:
        counts = np.bincount(owner[list(failed)], minlength=3)
        return float((counts**2 / np.array(sizes)).sum())

    ways = [gathered(chosen) for chosen in combinations(range(7), 3)]
    seen = gathered((0, 1, 5))
    assert clustering([2, 0, 1], sizes) == pytest.approx(np.mean([one >= seen - 1e-12 for one in ways]))
    assert clustering([0, 0, 0], sizes) == clustering([2, 3, 2], sizes) == 1.0
    with pytest.raises(ValueError, match="no more failures than runs"):
        clustering([3, 0, 0], sizes)
