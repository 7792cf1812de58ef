"""Sites: those of a known lattice, whatever its cell and symmetry, and moves that symmetry makes the same."""

import numpy as np
import pytest

from grannfield.analysis.paths import ion_density
from grannfield.analysis.sites import find_sites, nearest_image
from tests.analysis import hopping

NO_ROTATION, NO_TRANSLATION = np.eye(3, dtype=int)[None], np.zeros((1, 3))
SKEW = np.array([[6.0, 0.0, 0.0], [1.5, 6.0, 0.0], [1.0, -2.0, 9.0]])


def found_in(trajectory, n_ions, cell, rotations=hopping.ROTATIONS, translations=hopping.TRANSLATIONS):
    ideal = hopping.ideal(n_ions) @ np.linalg.inv(hopping.CELL) @ cell
    density = ion_density(trajectory, hopping.LI, ideal, cell, rotations, translations)
    p = density.probability()
    grids = p.reshape(density.shape), density.smoothed(p).reshape(density.shape)
    return find_sites(*grids, cell, rotations, translations, n_ions)


def peaks(centres, cell, shape=(30, 30, 30), width=0.35, heights=None):
    """Gaussian peaks at fractional centres."""
    grid = (np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1) + 0.5) / shape
    values = sum(
        h * np.exp(-0.5 * (nearest_image(grid - np.asarray(c), cell) / width) ** 2)
        for c, h in zip(centres, heights or [1.0] * len(centres), strict=True)
    )
    return (values / values.sum()).reshape(shape)


@pytest.mark.parametrize("cell", [hopping.CELL, SKEW], ids=["orthogonal", "triclinic"])
def test_the_sites_of_a_known_lattice(cell):
    trajectory, _ = hopping.hopping(0, 1500, 12, along=2.0, across=2.0, cell=cell)
    sites = found_in(trajectory, 12, cell)
    assert len(sites) == 12
    assert sites.names == ["6a", "6b"]
    true = (1.5 + 3.0 * hopping.SITES) @ np.linalg.inv(hopping.CELL)
    apart = np.array([nearest_image(sites.fractional - one, cell) for one in true])
    assert apart.min(axis=1).max() < 0.25
    assert len(set(apart.argmin(axis=1).tolist())) == 12
    assert len(set(hopping.kind(hopping.SITES)[apart.argmin(axis=0)][sites.orbit == 0].tolist())) == 1
    assert sites.occupancy.sum() == pytest.approx(12)
    assert sites.occupancy[0] == pytest.approx(1.0, abs=0.2)


def test_operations_move_sites_onto_sites():
    trajectory, _ = hopping.hopping(1, 800, 12, along=2.0, across=2.0)
    sites = found_in(trajectory, 12, hopping.CELL)
    for rotation, translation, image, shift in zip(
        hopping.ROTATIONS, hopping.TRANSLATIONS, sites.image, sites.shift, strict=True
    ):
        moved = sites.fractional @ rotation.T + translation
        np.testing.assert_allclose(moved, sites.fractional[image] + shift, atol=1e-9)
        assert sorted(image.tolist()) == list(range(12))
        assert (sites.orbit[image] == sites.orbit).all()


def test_two_maxima_across_a_mirror_are_one_site_on_it():
    cell = 9.0 * np.eye(3)
    mirror, none = np.array([np.eye(3, dtype=int), np.diag([-1, 1, 1])]), np.zeros((2, 3))
    split = peaks([[0.06, 0.4, 0.4], [0.94, 0.4, 0.4], [0.3, 0.1, 0.7], [0.7, 0.1, 0.7]], cell, heights=[0.6, 0.6, 1.0, 1.0])
    sites = find_sites(split, split, cell, mirror, none, 3)
    assert sites.names == ["2a", "1b"]
    on_mirror = sites.fractional[sites.orbit == 1][0]
    assert abs(on_mirror[0] - np.rint(on_mirror[0])) < 1e-9
    assert nearest_image(on_mirror - [0.0, 0.4, 0.4], cell) < 0.1  # the grid's
    assert sites.occupancy == pytest.approx([0.94, 0.94, 1.12], abs=0.05)


def test_faint_maxima_and_shoulders_are_no_sites():
    cell = 9.0 * np.eye(3)
    density = peaks([[0.2, 0.2, 0.2], [0.7, 0.7, 0.7], [0.2, 0.2, 0.32]], cell, heights=[1.0, 0.03, 0.8])
    sites = find_sites(density, density, cell, NO_ROTATION, NO_TRANSLATION, 1)
    assert len(sites) == 1
    with pytest.raises(ValueError, match="zero everywhere"):
        find_sites(0 * density, 0 * density, cell, NO_ROTATION, NO_TRANSLATION, 1)


def test_one_site_has_its_own_images_for_neighbours():
    cell = np.diag([4.0, 5.0, 6.0])
    density = peaks([[0.1, 0.2, 0.3]], cell)
    sites = find_sites(density, density, cell, NO_ROTATION, NO_TRANSLATION, 1)
    assert sites.nearest == pytest.approx(4.0)
    where, cells = sites.in_core(np.array([[0.1, 0.2, 0.3], [-0.9, 1.2, 5.3], [0.6, 0.2, 0.3]]))
    assert where.tolist() == [0, 0, -1]
    assert cells[1].tolist() == [-1, 1, 5]


@pytest.mark.parametrize("seed", [0])
def test_cores_agree_with_the_nearest_image_by_force(seed):
    trajectory, _ = hopping.hopping(2, 1500, 12, along=2.0, across=2.0, cell=SKEW)
    sites = found_in(trajectory, 12, SKEW)
    points = np.random.default_rng(seed).uniform(-2, 3, size=(500, 3))
    where, cells = sites.in_core(points)
    distance = np.array([nearest_image(sites.fractional - one, SKEW) for one in points])
    assert ((where >= 0) == (distance.min(axis=1) <= sites.core_radius)).all()
    near = where >= 0
    step = (sites.fractional[where[near]] + cells[near] - points[near]) @ SKEW
    assert np.linalg.norm(step, axis=1) == pytest.approx(distance[near].min(axis=1))


def test_moves_are_the_same_by_symmetry_and_by_reversal():
    trajectory, _ = hopping.hopping(1, 800, 12, along=2.0, across=2.0)
    sites = found_in(trajectory, 12, hopping.CELL)
    pairs = [(i, j, c) for i in range(12) for j in range(12) for c in np.stack(np.meshgrid(*3 * [[-1, 0, 1]]), -1).reshape(-1, 3)]
    i, j, c = (np.array(x) for x in zip(*pairs, strict=True))
    moves = sites.moves(i, j, c)
    back = sites.moves(j, i, -c)
    assert (moves == back).all()
    np.testing.assert_allclose(sites.length(moves), sites.length(np.column_stack([i, j, c])), atol=1e-6)
    along = (np.abs(sites.length(moves) - 3.0) < 0.15) & (sites.orbit[i] == sites.orbit[j])
    assert len(np.unique(moves[along], axis=0)) == 2  # A-A and B-B along c
