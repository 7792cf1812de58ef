"""Paths: the same density overlaps, wherever the run started and however far it drifted."""

import numpy as np
import pytest

from grannfield.analysis.equivalence import no_worse
from grannfield.analysis.matched import spans
from grannfield.analysis.paths import (
    IonDensity,
    compare_paths,
    framework_origin,
    grid_shape,
    ion_density,
    jensen_shannon_distance,
    outside_channels,
    overlap,
)
from grannfield.analysis.uncertainty import Estimate
from grannfield.trajectory import Trajectory
from tests.analysis import hopping

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
    assert found.voxels.shape == (400, 4, 4)
    centres = (np.argwhere(np.ones(found.shape)) + 0.5) / found.shape
    for rotation, translation in zip(SCREW, SCREW_T, strict=True):
        image = np.floor((centres @ rotation.T + translation) * found.shape + 1e-6).astype(int) % found.shape
        np.testing.assert_allclose(found.grid()[tuple(image.T)], found.probability(), atol=1e-12)


@pytest.mark.parametrize("seed", [0])
def test_smoothing_keeps_the_sum_and_widens_a_peak_by_its_width(seed):
    found = density(run(seed))
    point = np.zeros(found.shape)
    point[3, 4, 5] = 1.0
    blurred = found.smoothed(point.ravel()).reshape(found.shape)
    assert blurred.sum() == pytest.approx(1.0)
    x = (np.arange(found.shape[0]) - 3 + 13) % 27 - 13
    spread = (blurred.sum(axis=(1, 2)) * x**2).sum() * (8.0 / 27) ** 2
    assert spread == pytest.approx(0.3**2, rel=0.02)


def test_smoothing_in_a_skewed_cell_is_round():
    cell = np.array([[9.0, 0, 0], [4.0, 8.0, 0], [2.0, 3.0, 9.0]])
    found = ion_density(Trajectory(z=[3], pos=np.zeros((2, 1, 3)), cell=cell, time=[0, 20]), LI, np.zeros((1, 3)), cell,
                        NO_ROTATION, NO_TRANSLATION)  # fmt: skip
    point = np.zeros(found.shape)
    point[0, 0, 0] = 1.0
    blurred = found.smoothed(point.ravel())
    index = np.stack(np.unravel_index(np.arange(len(blurred)), found.shape), axis=1) / found.shape
    x = (index - np.rint(index)) @ cell
    np.testing.assert_allclose((blurred[:, None, None] * x[:, :, None] * x[:, None, :]).sum(axis=0), 0.09 * np.eye(3), atol=2e-3)


@pytest.mark.parametrize("seed", [0])
def test_the_same_material_reaches_the_floor_and_another_path_does_not(seed):
    reference = of_hopping(hopping.hopping(seed, 800)[0])
    run_again = hopping.hopping(seed + 1)[0]
    same = compare_paths(of_hopping(run_again), reference)
    pos = run_again.pos + np.where(run_again.z == LI, 1.2, 0.0)[:, None]
    moved = compare_paths(of_hopping(Trajectory(z=run_again.z, pos=pos, cell=run_again.cell, time=run_again.time)), reference)
    assert same.overlap.interval[0] < same.overlap_floor.value < same.overlap.interval[1]
    assert moved.overlap.interval[1] < moved.overlap_floor.value
    assert moved.overlap.value < 0.5 < same.overlap.value
    assert moved.jensen_shannon.value > same.jensen_shannon.value
    assert moved.outside.interval[0] > moved.outside_floor.value
    assert moved.outside.value > 0.2 > same.outside.value
    for found in (same.overlap, same.jensen_shannon, same.outside):
        assert found.interval[0] <= found.value <= found.interval[1]
        assert found.n == 400


def of_hopping(trajectory):
    n_ions = int((trajectory.z == LI).sum())
    return ion_density(trajectory, LI, hopping.ideal(n_ions), hopping.CELL, hopping.ROTATIONS, hopping.TRANSLATIONS)


def test_a_model_against_itself_is_seldom_called_different_and_a_gas_always():
    """Twenty repeats here, in which 5 or more at 5% happen once in 400; 200 were measured."""
    runs = [of_hopping(one) for one in hopping.many(0, 20, 250)]
    false = {"overlap": 0, "outside": 0}
    for a, b in zip(runs, runs[1:] + runs[:1], strict=True):
        found = compare_paths(a, b)
        for name, margin, better in (("overlap", 0.05, "higher"), ("outside", 0.02, "lower")):
            floor = getattr(found, f"{name}_floor").value
            false[name] += no_worse(getattr(found, name), Estimate(floor, (floor, floor), 1), margin, better).label == "different"
    assert max(false.values()) <= 4
    found = compare_paths(of_hopping(hopping.gas(1)), runs[0])
    assert found.overlap.interval[1] < found.overlap_floor.value - 0.05
    assert found.outside.interval[0] > found.outside_floor.value + 0.02
    assert 0.5 < found.random_motion.value < 1.5
    assert found.random_motion.interval[0] > 0.0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_random_motion_is_the_share_of_gas(share):
    ions = [
        hopping.gas(s, 1000, 8) if s < round(8 * share) else hopping.hopping(s, 1000, 8, along=2, across=2)[0] for s in range(8)
    ]
    mixed = np.stack([one.pos[:, k] for k, one in enumerate(ions)], axis=1)
    pos = np.concatenate([mixed, ions[0].pos[:, 8:]], axis=1)
    scored = of_hopping(Trajectory(z=ions[0].z, pos=pos, cell=hopping.CELL, time=ions[0].time))
    reference = of_hopping(hopping.hopping(99, 2000, 8, along=2, across=2)[0])
    found = compare_paths(scored, reference).random_motion
    assert found.value == pytest.approx(share, abs=0.25)


def test_other_images_another_place_and_a_drift_change_nothing():
    here = hopping.hopping(3, 300)[0]
    reference = of_hopping(hopping.hopping(4, 300)[0])
    known = compare_paths(of_hopping(here), reference)
    generator = np.random.default_rng(0)
    images = generator.integers(-3, 4, size=(1, here.n_atoms, 3)) @ hopping.CELL
    images[:, here.z != LI] = images[:, here.z != LI][:, :1]  # the framework as a whole
    for pos in (here.pos + images, here.pos + np.array([6.0, -12.0, 9.0])):
        found = compare_paths(of_hopping(Trajectory(z=here.z, pos=pos, cell=here.cell, time=here.time)), reference)
        assert found.overlap.value == pytest.approx(known.overlap.value, abs=1e-3)
    away = here.pos + [0.7, 0.2, -0.4] + 1e-3 * np.arange(300)[:, None, None]
    found = compare_paths(of_hopping(Trajectory(z=here.z, pos=away, cell=here.cell, time=here.time)), reference)
    assert found.overlap.value == pytest.approx(known.overlap.value, abs=0.01)


def test_few_ions_and_few_frames_leave_the_interval_open():
    reference = of_hopping(hopping.hopping(0, 100, 1)[0])
    found = compare_paths(of_hopping(hopping.hopping(1, 100, 1)[0]), reference)
    assert found.overlap.interval == (0.0, 1.0)
    with pytest.raises(ValueError, match="1 scored"):
        compare_paths(of_hopping(hopping.hopping(1, 1, 1)[0]), reference)
    with pytest.raises(ValueError, match="2 and 1 mobile ions"):
        compare_paths(of_hopping(hopping.hopping(1, 100, 2)[0]), reference)


def test_spans_do_not_meet():
    for n, length in ((100, 10), (100, 50), (7, 3), (1000, 20)):
        found = np.concatenate([s for span in spans(n, length) for s in span])
        assert len(set(found.tolist())) == len(found)
        assert found.max() < n


def test_comparison_of_a_density_with_itself():
    reference = density(run(0))
    found = compare_paths(reference, reference)
    assert found.overlap.value > found.overlap_floor.value  # half of its pairs are the same stretch
    with pytest.raises(ValueError, match="differ"):
        compare_paths(reference, IonDensity(reference.voxels, (2, 2, 2), CELL, np.ones(8, dtype=bool)))


def test_ideal_positions_must_fit():
    with pytest.raises(ValueError, match=r"\[10, 3\]"):
        framework_origin(run(0, 5), LI, IDEAL[:4])
