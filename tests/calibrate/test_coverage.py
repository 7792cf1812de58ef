"""Counting: estimators whose intervals are known to be right, too narrow or too wide are told apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from grannfield.analysis.uncertainty import Estimate
from grannfield.calibrate.coverage import Said, against_best, failures, row
from grannfield.calibrate.tables import COLUMNS, read_csv, write_csv

TRUTH = 5.0


def said(seed, n=1000, claimed=1.0, offset=0.0, quantity="D"):
    """Values with a standard deviation of 0.5, and normal intervals of `claimed` times that."""
    values = TRUTH + offset + 0.5 * np.random.default_rng(seed).standard_normal(n)
    half = 1.96 * 0.5 * claimed
    return [Said.of(k, quantity, Estimate(v, (v - half, v + half), 1), 0.1) for k, v in enumerate(values)]


def judged(seed=0, n=1000, claimed=1.0, offset=0.0, quantity="D"):
    return row("grannfield", "caged", said(seed, n, claimed, offset, quantity), TRUTH, 24.0)


def test_honest_intervals_hold_and_are_ideally_wide():
    one = judged()
    assert one.verdict == "holds" and one.coverage_low < 0.95 < one.coverage_high
    assert one.width_ratio == pytest.approx(1.0, rel=0.08)
    assert abs(one.bias) < 0.02 and failures(one) == []


@pytest.mark.parametrize(("claimed", "verdict"), [(0.5, "too narrow"), (1.6, "too wide")])
def test_dishonest_intervals_do_not(claimed, verdict):
    one = judged(claimed=claimed)
    assert one.verdict == verdict and one.width_ratio == pytest.approx(claimed, rel=0.08)
    assert verdict in failures(one)[0]


def test_verdicts_of_honest_intervals_are_rarely_wrong():
    verdicts = [judged(seed=seed, n=200).verdict for seed in range(200)]
    assert sum("hold" in one for one in verdicts) >= 198 and verdicts.count("holds") > 180


def test_bias_costs_coverage_and_is_shown():
    one = judged(offset=1.0)
    assert one.verdict == "too narrow" and one.bias == pytest.approx(0.2, rel=0.1)
    assert judged(offset=1.0, quantity="neg_log_sigma").bias == pytest.approx(1.0, rel=0.1)


def test_bounds_count_as_intervals_and_the_want_of_any_as_failure():
    bound = Said.of(0, "D", Estimate.missing("below detection", interval=(0.0, 6.0)), 0.1)
    low = Said.of(1, "D", Estimate.missing("below detection", interval=(0.0, 4.0)), 0.1)
    nothing = Said.of(2, "D", Estimate.missing("too short"), 0.1)
    open_ = Said.of(3, "D", Estimate.missing("too short", interval=(0.0, math.inf)), 0.1)
    assert [one.covers(TRUTH) for one in (bound, low, nothing, open_)] == [True, False, False, False]
    one = row("grannfield", "rare", [bound, low, nothing, open_], TRUTH, 24.0)
    assert (one.coverage, one.below_detection, one.no_interval) == (0.25, 1.0, 0.5)
    assert math.isnan(one.width_ratio) and math.isnan(one.bias)
    assert any("100.0% below detection" in text for text in failures(one))
    assert not any("below detection" in text for text in failures(replace(one, hops_per_ion=0.2)))


def test_a_value_without_an_interval_does_not_cover():
    plain = [Said.of(k, "neg_log_sigma", Estimate(TRUTH, n=1), 0.1) for k in range(5)]
    one = row("pymatgen", "few temperatures", plain, TRUTH, 8.0)
    assert one.coverage == 0 and one.no_interval == 1


def test_the_best_spread_is_that_of_the_sharpest_unbiased_estimator():
    blunt = judged()
    sharp = replace(blunt, estimator="sharp", spread=blunt.spread / 2)
    biased = replace(blunt, estimator="biased", spread=blunt.spread / 8, bias=0.3)
    few = replace(blunt, estimator="few", spread=blunt.spread / 4, n=50)
    made = against_best([blunt, sharp, biased, few])
    assert made[0].width_ratio_best == pytest.approx(2 * blunt.width_ratio)


def test_csv_gives_the_rows_back(tmp_path):
    rows = against_best([judged(), replace(judged(claimed=0.5), estimator="pymatgen", width_ratio=math.nan)])
    write_csv(tmp_path / "coverage.csv", rows)
    text = (tmp_path / "coverage.csv").read_text()
    assert text.startswith("estimator,condition,quantity,n,coverage,coverage_low,coverage_high,width_ratio,")
    read = read_csv(tmp_path / "coverage.csv")
    for a, b in zip(rows, read, strict=True):
        for column in COLUMNS:
            x, y = getattr(a, column), getattr(b, column)
            assert x == y or (isinstance(x, float) and (x == pytest.approx(y, rel=1e-5, nan_ok=True)))


def test_csv_that_is_none_is_named(tmp_path):
    path = tmp_path / "coverage.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"coverage.csv: its columns are \['a', 'b'\]"):
        read_csv(path)
    write_csv(path, [judged()])
    path.write_text(path.read_text().replace(",1000,", ",many,"))
    with pytest.raises(ValueError, match=r"coverage.csv, line 2: .*many"):
        read_csv(path)
