"""Axes of diffusion: shares of known D, distances between them, and what chance alone shows."""

import numpy as np
import pytest

from grannfield.analysis.anisotropy import axis_shares, share_distance
from grannfield.analysis.uncertainty import Estimate


def along(a, b, c, factor=1.2):
    return {k: Estimate(v, (v / factor, v * factor), 20) for k, v in zip("abc", (a, b, c), strict=True)}


def test_shares_and_distances_of_known_diffusivities():
    shares = axis_shares(along(1e-5, 1e-5, 8e-5))
    assert [shares[k].value for k in "abc"] == pytest.approx([0.1, 0.1, 0.8])
    assert all(e.interval[0] < e.value < e.interval[1] for e in shares.values())
    distance, _ = share_distance(along(1e-5, 1e-5, 8e-5), along(8e-5, 1e-5, 1e-5))
    assert distance.value == pytest.approx(0.7)
    assert distance.interval[0] > 0.5
    assert share_distance(along(2e-5, 2e-5, 2e-5), along(1e-6, 1e-6, 1e-6))[0].value == pytest.approx(0.0)  # pace does not count


@pytest.mark.parametrize("seed", [0])
def test_equal_shares_are_seldom_called_different(seed):
    """400 pairs of D with 10% errors: the interval leaves 0 out in at most 5%, allowing for the binomial error."""
    generator = np.random.default_rng(seed)
    width = 1.1**1.96
    pairs = [[along(*(v * 1.1 ** generator.normal() for v in (1e-5, 2e-5, 4e-5)), width) for _ in range(2)] for _ in range(400)]
    found = [share_distance(*pair) for pair in pairs]
    assert np.mean([distance.interval[0] > 0 for distance, _ in found]) < 0.08
    assert np.mean([distance.value for distance, _ in found]) == pytest.approx(np.mean([c.value for _, c in found]), rel=0.1)


def test_an_axis_below_detection_counts_half_its_bound_and_one_without_a_bound_nothing():
    bounded = along(4e-5, 4e-5, 4e-5) | {"c": Estimate.missing("below detection", interval=(0.0, 4e-6))}
    assert axis_shares(bounded)["c"].value == pytest.approx(2 / 82)
    assert axis_shares(bounded)["c"].interval[1] < 0.06
    short = along(1e-5, 1e-5, 1e-5) | {"b": Estimate.missing("too short", "2 ps")}
    assert {e.reason for e in axis_shares(short).values()} == {"too short"}
    assert share_distance(short, along(1e-5, 1e-5, 1e-5))[0].reason == "too short"
    open_end = along(1e-5, 1e-5, 1e-5) | {"b": Estimate(1e-5, n=3)}
    assert share_distance(along(1e-5, 1e-5, 1e-5), open_end)[0].reason == "undefined"
