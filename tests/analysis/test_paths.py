"""Paths: the same density overlaps, wherever the run started and however far it drifted."""

import numpy as np
import pytest

from grannfield.analysis.paths import (
    IonDensity,
    compare_paths,
    drift_share,
    framework_origin,
    grid_shape,
    ion_density,
    jensen_shannon_distance,
    outside_channels,
    overlap,
)
from grannfield.trajectory import Trajectory

LI = 3
CELL = np.diag([8.0, 8.0, 9.0])
Z = np.array([3, 3, 3, 3, 15, 15, 16, 16, 16, 16])
IDEAL = np.array(
    [
        [2, 2, 1],
        [6, 6, 1],
        [2, 6, 5],
        [6, 2, 5],
        [0, 0, 0],
        [4, 4, 4.5],
        [1, 1, 1],
        [7, 7, 1],
        [3, 5, 5.5],
        [5, 3, 5.5],
    ],
    dtype=float,
)
NO_ROTATION, NO_TRANSLATION = np.eye(3, dtype=int)[None], np.zeros((1, 3))
SCREW = np.array(
    [np.eye(3, dtype=int), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.diag([-1, -1, 1]), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]]
)
SCREW_T = np.array([[0, 0, 0], [0, 0, 0.5], [0, 0, 0], [0, 0, 0.5]])


def run(seed, n_frames=400, start=(0.0, 0.0, 0.0), drift=0.0, move=(0.0, 0.0, 0.0), width=0.35):
    """Li hopping about its sites in a shaking framework; the whole crystal placed and drifting elsewhere."""
    generator = np.random.default_rng(seed)
    pos = IDEAL + generator.normal(scale=0.1, size=(n_frames, len(Z), 3))
    pos[:, Z == LI] += generator.normal(scale=width, size=(n_frames, 4, 3)) + move
    pos += np.asarray(start) + drift * np.arange(n_frames)[:, None, None]
    return Trajectory(z=Z, pos=pos, cell=CELL, time=20.0 * np.arange(n_frames))


def density(trajectory, rotations=NO_ROTATION, translations=NO_TRANSLATION):
    return ion_density(trajectory, LI, IDEAL, CELL, rotations, translations)


def test_known_densities():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert overlap(p, p) == 1.0
    assert jensen_shannon_distance(p, p) == 0.0
    assert overlap(p, q) == 0.5
    assert outside_channels(q, p) == 0.5
    from scipy.spatial.distance import jensenshannon

    assert jensen_shannon_distance(p, q) == pytest.approx(jensenshannon(p, q, base=2))


def test_density_is_a_probability_on_the_grid():
    found = density(run(0))
    assert found.grid().shape == found.shape == (27, 27, 30)
    assert found.probability().sum() == pytest.approx(1.0)
    assert found.n_frames == 400
    peak = np.array(np.unravel_index(found.grid().argmax(), found.shape)) / found.shape @ CELL
    li = IDEAL[Z == LI]
    assert np.linalg.norm(li - peak, axis=1).min() < 0.8


def test_one_ion_on_one_site_fills_one_voxel():
    still = Trajectory(z=Z, pos=np.tile(IDEAL, (3, 1, 1)), cell=CELL, time=20.0 * np.arange(3))
    grid = density(still).grid()
    expected = {tuple(v) for v in np.floor(IDEAL[Z == LI] @ np.linalg.inv(CELL) * grid.shape + 1e-6).astype(int)}
    assert {tuple(v) for v in np.argwhere(grid > 0)} == expected


@pytest.mark.parametrize("seed", [0])
def test_place_and_drift_of_the_crystal_do_not_matter(seed):
    here = density(run(seed))
    for start, drift in [((3.1, -2.2, 17.0), 0.0), ((0.0, 0.0, 0.0), 0.02), ((-4.0, 0.5, 4.4), -0.05)]:
        there = density(run(seed, start=start, drift=drift))
        assert overlap(here.probability(), there.probability()) > 0.99


@pytest.mark.parametrize("seed", [0])
def test_origin_is_the_same_from_any_stretch_after_tetrahedra_turned(seed):
    """Two ligands that have swapped sites half a cell apart would shift a mean over nearest images."""
    whole = run(seed, start=(0.3, -0.2, 0.1))
    pos = whole.pos.copy()
    pos[100:, 6] += IDEAL[7] - IDEAL[6] - [8.0, 8.0, 0.0] + [4.6, 0.0, 0.0]
    pos[100:, 7] -= IDEAL[7] - IDEAL[6] - [8.0, 8.0, 0.0] + [4.6, 0.0, 0.0]
    turned = Trajectory(z=Z, pos=pos, cell=CELL, time=whole.time)
    full, late = framework_origin(turned, LI, IDEAL), framework_origin(turned[150:], LI, IDEAL)
    np.testing.assert_allclose(full[150:], late, atol=0.02)
    np.testing.assert_allclose(full.mean(axis=0), [0.3, -0.2, 0.1], atol=0.02)


def test_the_grid_follows_the_symmetry():
    assert grid_shape(CELL, SCREW, SCREW_T) == (27, 27, 30)
    assert grid_shape(np.diag([8.0, 8.1, 8.7]), SCREW, SCREW_T) == (27, 27, 28)  # even along the screw axis
    thirds = np.array([[0.0, 0.0, 1 / 3]])
    assert grid_shape(CELL, NO_ROTATION, thirds)[2] % 3 == 0
    assert grid_shape(CELL, NO_ROTATION, np.array([[0.0, 0.0, 0.01234]])) == (27, 27, 30)


@pytest.mark.parametrize("seed", [0])
def test_the_averaged_density_has_the_symmetry(seed):
    found = density(run(seed), SCREW, SCREW_T)
    assert found.voxels.shape == (400, 4 * 4)
    centres = (np.argwhere(np.ones(found.shape)) + 0.5) / found.shape
    for rotation, translation in zip(SCREW, SCREW_T, strict=True):
        image = np.floor((centres @ rotation.T + translation) * found.shape + 1e-6).astype(int) % found.shape
        np.testing.assert_allclose(found.grid()[tuple(image.T)], found.probability(), atol=1e-12)


@pytest.mark.parametrize("seed", [0])
def test_the_same_material_reaches_the_floor_and_another_path_does_not(seed):
    reference = density(run(seed, 800), SCREW, SCREW_T)
    same = compare_paths(density(run(seed + 1), SCREW, SCREW_T), reference)
    moved = compare_paths(density(run(seed + 1, move=(1.2, 0.0, 0.8)), SCREW, SCREW_T), reference)
    assert same.overlap.value > same.overlap_floor.value - 0.02  # the whole reference is smoother than its half
    assert moved.overlap.value < 0.5 < same.overlap.value
    assert moved.jensen_shannon.value > same.jensen_shannon.value
    assert moved.outside.value > 0.5 > same.outside.value
    for found in (same.overlap, same.jensen_shannon, same.outside):
        assert found.interval[0] <= found.value <= found.interval[1]
        assert found.n == 400


def test_comparison_of_a_density_with_itself():
    reference = density(run(0))
    found = compare_paths(reference, reference)
    assert found.overlap.value == pytest.approx(1.0)
    assert found.jensen_shannon.value == pytest.approx(0.0, abs=1e-6)
    assert found.overlap_floor.value < 1.0
    with pytest.raises(ValueError, match="differ"):
        compare_paths(reference, IonDensity(reference.voxels, (2, 2, 2)))


@pytest.mark.parametrize("seed", [0])
def test_drift_share(seed):
    generator = np.random.default_rng(seed)
    base = run(seed)
    walk = np.zeros(base.pos.shape)
    walk[:, Z == LI] = np.cumsum(generator.normal(scale=0.1, size=(400, 4, 3)), axis=0)
    for drift, low, high in [(0.0, 0.0, 0.05), (1.0, 0.95, 1.0)]:
        pos = base.pos + walk + drift * np.arange(400)[:, None, None]
        found = drift_share(Trajectory(z=Z, pos=pos, cell=CELL, time=base.time), LI)
        assert low <= found.value <= high
        assert found.n == 4
        assert found.interval[0] <= found.value <= found.interval[1]


def test_ideal_positions_must_fit():
    with pytest.raises(ValueError, match=r"\[10, 3\]"):
        framework_origin(run(0, 5), LI, IDEAL[:4])
