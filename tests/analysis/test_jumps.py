"""Jumps: a hopper of known rate and ways gives them back, and vibration is none."""

import math

import numpy as np
import pytest

from grannfield.analysis.jumps import compare_graphs, find_jumps
from grannfield.analysis.paths import ion_density, mobile_fractional
from grannfield.analysis.sites import Sites, find_sites
from grannfield.analysis.uncertainty import Estimate
from grannfield.trajectory import Trajectory
from tests.analysis import hopping


@pytest.fixture(scope="module")
def sites():
    trajectory, _ = hopping.hopping(0, 1500, 12, along=2.0, across=2.0)
    density = ion_density(trajectory, hopping.LI, hopping.ideal(12), hopping.CELL, hopping.ROTATIONS, hopping.TRANSLATIONS)
    p = density.probability()
    grids = p.reshape(density.shape), density.smoothed(p).reshape(density.shape)
    return find_sites(*grids, hopping.CELL, hopping.ROTATIONS, hopping.TRANSLATIONS, 12)


def jumps_in(trajectory, sites):
    n_ions = int((trajectory.z == hopping.LI).sum())
    return find_jumps(mobile_fractional(trajectory, hopping.LI, hopping.ideal(n_ions)), sites, trajectory.timestep)


def line(*x, dt=20.0):
    """One ion on a line of sites 3 Å apart in a cell of one site; positions in Å."""
    cell = 3.0 * np.eye(3)
    alone = Sites(
        np.zeros((1, 3)), np.zeros(1, dtype=int), np.ones(1), cell, np.eye(3, dtype=int)[None], np.zeros((1, 1), dtype=int),
        np.zeros((1, 1, 3), dtype=int),
    )  # fmt: skip
    fractional = np.zeros((len(x), 1, 3))
    fractional[:, 0, 0] = np.array(x) / 3.0
    return find_jumps(fractional, alone, dt)


def test_what_counts_as_a_jump():
    there = [0.0] * 10 + [3.0] * 10
    assert [line(*there).frame.tolist(), line(*there).move.tolist()] == [[10], [[0, 0, 1, 0, 0]]]
    assert len(line(*([0.0] * 10 + [1.4, 1.6] * 5 + [0.0] * 10)).ion) == 0  # vibration on the border
    assert len(line(*([0.0] * 10 + [3.0] * 3 + [0.0] * 10)).ion) == 0  # 60 fs and back
    assert len(line(*([0.0] * 10 + [3.0] * 6 + [0.0] * 10)).ion) == 2  # 120 fs and back
    assert line(*([0.0] * 10 + [3.0] * 2 + [6.0] * 10)).move[:, 2].tolist() == [1, 1]  # in passing
    assert len(line(*([0.0] * 10 + [3.0] * 3)).ion) == 0  # whether it stays is not known
    assert len(line(*([0.0, 3.0] * 10)).ion) == 0  # without rest
    assert line(*([0.0] * 10 + [3.0] * 6 + [0.0] * 10)).back_share().value == 1.0
    assert line(*([0.0] * 10 + [3.0] * 6 + [6.0] * 10)).correlation().reason == "below detection"  # one pair
    assert line(*there).mean_length().value == pytest.approx(3.0)


@pytest.mark.parametrize(("along", "across"), [(1.0, 0.5), (0.3, 0.1)])
def test_the_rate_is_given_back_and_its_interval_holds(sites, along, across):
    """200 runs of 8 ions and 5 ps; at 90 to 98% coverage allow three binomial standard deviations."""
    _, hops = hopping.hopping(99, 1500, 200, along=along, across=across)
    true = hops / (200 * 1500 * 0.020)
    rates = [jumps_in(one, sites).rate() for one in hopping.many(1, 200, 250, along=along, across=across)]
    covered = sum(e.interval[0] <= true <= e.interval[1] for e in rates) / 200
    assert 0.90 - 3 * math.sqrt(0.09 / 200) < covered < 0.995
    assert np.mean([e.value for e in rates]) == pytest.approx(true, rel=0.04)


def test_forbidden_ways_are_never_reported_and_the_others_have_their_shares(sites):
    trajectory, hops = hopping.hopping(5, 3000, 12, along=1.0, across=0.5)
    found = jumps_in(trajectory, sites)
    assert len(found.ion) == pytest.approx(hops, rel=0.02)
    graph = found.graph()
    assert all(2.7 < way["length_A"] < 3.3 for way in graph)
    first = [sites.fractional[(sites.orbit == k).argmax()] for k in range(len(sites.names))]
    kinds = hopping.kind(np.rint((np.array(first) * 6 - 1.5) / 3).astype(int))
    kind_of = dict(zip(sites.names, kinds.tolist(), strict=True))
    for way in graph:
        ends = {kind_of[name] for name in way["way"].split("-")}
        assert ends != {1}, "B to B is forbidden"
    along = sum(way["jumps"] for way in graph if len(set(way["way"].split("-"))) == 1)
    assert along / len(found.ion) == pytest.approx(1 / 3, abs=0.04)  # A: 2 along, 4/2 across; B: 4/2 across


def test_other_images_another_place_a_drift_and_a_rotation_of_the_cell_change_nothing(sites):
    here = hopping.hopping(3, 300)[0]
    known = jumps_in(here, sites)
    images = np.random.default_rng(0).integers(-3, 4, size=(1, 8, 3)) @ hopping.CELL
    other = here.pos.copy()
    other[:, :8] += images
    drifting = here.pos + 2e-3 * np.arange(300)[:, None, None]
    for pos in (other, here.pos + 18.0, drifting):
        found = jumps_in(Trajectory(z=here.z, pos=pos, cell=here.cell, time=here.time), sites)
        assert found.graph() == known.graph()
        assert found.rate() == known.rate()
    assert len(known.ion) > 20


def test_no_jumps_leave_an_upper_bound(sites):
    still = hopping.hopping(0, 200, along=0.0, across=0.0)[0]
    found = jumps_in(still, sites)
    rate = found.rate()
    assert rate.value == 0.0
    assert rate.interval[1] == pytest.approx(-math.log(0.025) / (8 * (199 * 20 - 100) * 1e-3))
    assert found.graph() == []
    assert found.back_share().reason == found.mean_length().reason == "below detection"
    assert compare_graphs(found, found).reason == "below detection"
    assert jumps_in(still[:3], sites).rate().reason == "too short"
    coarse = jumps_in(hopping.hopping(0, 300, dt=200.0)[0], sites)
    assert compare_graphs(coarse, coarse).reason == "undefined"
    assert jumps_in(hopping.hopping(0, 300, 1)[0], sites).rate().interval[0] > 0  # one ion


def test_ions_that_all_move_together_widen_the_interval():
    frames = np.repeat([0.0, 3.0, 6.0], 30)[:, None] + np.zeros(8)
    fractional = np.zeros((90, 8, 3))
    fractional[..., 0] = frames / 3.0
    alone = line(0.0).sites
    together = find_jumps(fractional, alone, 20.0)
    assert len(together.ion) == 16
    low, high = together.rate().interval
    assert high / low > 4.0  # two jumps, not sixteen


def test_the_same_ways_are_not_called_different_and_a_new_channel_is(sites):
    runs = [jumps_in(one, sites) for one in hopping.many(7, 20, 300, along=1.0, across=0.5)]
    found = [compare_graphs(a, b) for a, b in zip(runs, runs[1:] + runs[:1], strict=True)]
    outside = sum(not c.overlap.interval[0] <= c.floor.value <= c.overlap.interval[1] for c in found)
    assert outside <= 4
    extra = [jumps_in(one, sites) for one in hopping.many(8, 5, 600, along=0.1, across=0.5, forbidden=2.0)]
    reference = jumps_in(hopping.hopping(9, 1200)[0], sites)
    for one in extra:
        c = compare_graphs(one, reference)
        assert not isinstance(c, Estimate)
        assert c.overlap.interval[1] < c.floor.value
        assert c.new.interval[0] > 0.2


def test_a_slower_model_with_the_same_ways_is_the_same(sites):
    slow = [jumps_in(one, sites) for one in hopping.many(11, 20, 400, along=0.5, across=0.25)]
    reference = [jumps_in(one, sites) for one in hopping.many(12, 20, 400, along=1.5, across=0.75)]
    gaps = [c.overlap.value - c.floor.value for c in map(compare_graphs, slow, reference)]
    assert abs(np.mean(gaps)) < 0.04
