"""g(r): exact beyond half the cell, blind to the choice of cell, and a verdict that follows its definition."""

import numpy as np
import pytest

from grannfield.analysis.rdf import (
    FRAME_INTERVAL,
    close_pairs,
    half_floor,
    mae_from_reference,
    radial_distribution,
    rdf_mae,
    verdict,
)
from grannfield.trajectory import Trajectory

CUBIC = 4.37 * np.eye(3)  # no image on the edge of a bin, where the plain histogram goes by rounding
SKEWED = np.array([[4.4, 0.0, 0.0], [2.1, 3.9, 0.0], [-1.3, 1.7, 4.1]])
Z = np.array([3, 3, 15, 16])


def fluid(seed, cell, n_frames=4, z=Z, interval=FRAME_INTERVAL, breathing=0.0):
    generator = np.random.default_rng(seed)
    cells = cell * (1 + breathing * generator.uniform(-1, 1, size=(n_frames, 1, 1)))
    pos = generator.uniform(-2, 3, size=(n_frames, len(z), 3)) @ cells
    return Trajectory(z=z, pos=pos, cell=cells, time=interval * np.arange(n_frames))


def replica(trajectory, n=2):
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    pos = np.concatenate([trajectory.pos + (shift @ trajectory.cell)[:, None] for shift in shifts], axis=1)
    return Trajectory(z=np.tile(trajectory.z, n**3), pos=pos, cell=n * trajectory.cell, time=trajectory.time)


def plain_g(trajectory, pair, r_max=6.0, n_bins=60, reach=5):
    """Counts over many images, atom by atom."""
    n = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1).reshape(-1, 3)
    edges = np.linspace(0, r_max, n_bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    a, b = (np.flatnonzero(trajectory.z == x) if x else np.arange(trajectory.n_atoms) for x in pair)
    total = np.zeros(n_bins)
    for pos, cell in zip(trajectory.pos, trajectory.cell, strict=True):
        pos = (pos @ np.linalg.inv(cell) % 1.0) @ cell
        d = np.linalg.norm(pos[b][None, :, None] + shifts @ cell - pos[a][:, None, None], axis=-1).ravel()
        total += np.histogram(d[d > 1e-9], edges)[0] * abs(np.linalg.det(cell)) / (shell * len(a) * len(b))
    return total / trajectory.n_frames


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cell", [CUBIC, SKEWED], ids=["cubic", "skewed"])
@pytest.mark.parametrize("breathing", [0.0, 0.05])
def test_matches_the_plain_sum_over_images(seed, cell, breathing):
    trajectory = fluid(seed, cell, breathing=breathing)
    g = radial_distribution(trajectory)
    np.testing.assert_allclose(g.mean(), plain_g(trajectory, (0, 0)), atol=1e-10)
    for pair in [(3, 3), (3, 16), (15, 15), (15, 16)]:
        np.testing.assert_allclose(g.mean(pair), plain_g(trajectory, pair), atol=1e-10)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("cell", [CUBIC, SKEWED], ids=["cubic", "skewed"])
def test_a_cell_and_its_replica_agree_beyond_half_the_cell(seed, cell):
    trajectory = fluid(seed, cell)
    small, large = radial_distribution(trajectory), radial_distribution(replica(trajectory))
    assert set(small.frames) == set(large.frames)
    for pair in small.frames:
        np.testing.assert_allclose(small.frames[pair], large.frames[pair], atol=1e-10)


def test_lattice_distances_on_a_bin_edge_stay_together():
    """Images of one atom at exactly 3.0 Å: rounding must not spread them over two bins."""
    one = Trajectory(z=[3], pos=np.full((1, 1, 3), 0.3), cell=3.0 * np.eye(3), time=[0.0])
    g_small, g_large = radial_distribution(one).mean(), radial_distribution(replica(one, 3)).mean()
    np.testing.assert_allclose(g_small, g_large, atol=1e-10)
    assert g_small[29] == 0
    assert g_small[30] > 0


@pytest.mark.parametrize("seed", [0])
def test_ideal_gas_is_one(seed):
    gas = fluid(seed, 14.0 * np.eye(3), n_frames=30, z=np.repeat([3, 16], 60))
    g = radial_distribution(gas)
    far = g.r > 1.5
    assert g.mean()[far].mean() == pytest.approx(119 / 120, abs=0.005)
    assert g.mean((3, 16))[far].mean() == pytest.approx(1.0, abs=0.01)
    assert np.abs(g.mean()[far] - 119 / 120).max() < 0.15


def test_total_is_the_weighted_sum_of_the_pairs():
    g = radial_distribution(fluid(0, SKEWED))
    share = {int(a): (a == Z).mean() for a in np.unique(Z)}
    total = sum(share[a] * share[b] * (1 if a == b else 2) * g.mean((a, b)) for a, b in g.pairs)
    np.testing.assert_allclose(g.mean(), total, atol=1e-10)


def shaken(seed, n_frames, width=0.15, cell=6.4):
    generator = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * cell / 2
    z = np.array([3, 16] * 4)
    pos = sites + generator.normal(scale=width, size=(n_frames, 8, 3))
    return Trajectory(z=z, pos=pos, cell=cell * np.eye(3), time=FRAME_INTERVAL * np.arange(n_frames))


@pytest.mark.parametrize("seed", [0])
def test_a_run_like_its_reference_is_stable_and_a_strained_one_is_not(seed):
    reference = radial_distribution(shaken(seed, 300))
    for other, label in [(shaken(seed + 1, 100), "stable"), (shaken(seed + 1, 100, cell=6.8), "lattice mismatch")]:
        scored = radial_distribution(other)
        mae, floor = mae_from_reference(scored, reference, seed=seed), half_floor(reference, scored.n_frames)
        found = verdict(mae.value, floor.value, False, scored, reference)
        assert found.label == label
        assert found.threshold == max(0.02, 1.5 * floor.value)
        assert mae.interval[0] <= mae.value <= mae.interval[1]
        assert mae.n == 100
    assert verdict(mae.value, floor.value, True, scored, reference).label == "fusion"


@pytest.mark.parametrize("seed", [0])
def test_atoms_in_each_other_are_fusion_without_an_event(seed):
    reference, other = shaken(seed, 100), shaken(seed + 1, 100, cell=6.8)
    pos = other.pos.copy()
    pos[40, 0] = pos[40, 1] + [0.5, 0.0, 0.0]
    fused = Trajectory(z=other.z, pos=pos, cell=other.cell, time=other.time)
    g, g_ref = radial_distribution(fused), radial_distribution(reference)
    assert close_pairs(g, g_ref)[0][0] == (3, 16)
    found = verdict(1.0, 0.01, False, g, g_ref)
    assert found.label == "fusion"
    assert "Li-S" in found.detail
    with pytest.raises(ValueError, match="two numbers"):
        verdict(np.nan, 0.01, False, g, g_ref)


@pytest.mark.parametrize("seed", [0])
def test_the_floor_rises_for_shorter_runs(seed):
    reference = radial_distribution(shaken(seed, 400))
    halves, short = half_floor(reference, 400), half_floor(reference, 25)
    assert halves.n == 2
    assert short.n == 12
    frames = reference.frames[None]
    assert halves.value == pytest.approx(rdf_mae(frames[:200].mean(axis=0), frames[200:].mean(axis=0)))
    assert short.value == pytest.approx(halves.value * np.sqrt(200 / 25), rel=0.25)


def test_unlike_bins_are_refused():
    with pytest.raises(ValueError, match="same r_max"):
        rdf_mae(np.zeros(60), np.zeros(30))
    with pytest.raises(ValueError, match="multiple"):
        radial_distribution(fluid(0, CUBIC), r_max=6.05)
