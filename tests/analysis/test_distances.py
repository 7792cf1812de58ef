"""Distances through periodic boundaries, against the plain sum over many images."""

import numpy as np
import pytest

from grannfield.analysis.distances import closest_approach, images, minimum_distances, pairs

CELLS = {
    "cubic": 5.0 * np.eye(3),
    "small": 2.5 * np.eye(3),
    "skewed": np.array([[5.0, 0.0, 0.0], [2.4, 4.0, 0.0], [-2.0, 1.7, 4.5]]),
    "very skewed": np.array([[4.0, 0.0, 0.0], [6.0, 4.0, 0.0], [1.0, 7.0, 4.0]]),
}


def plain_minimum(difference, cell, reach=9):
    n = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    return np.linalg.norm(difference + shifts, axis=1).min()


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("name", CELLS)
def test_minimum_over_images(name, seed):
    generator, cell = np.random.default_rng(seed), CELLS[name]
    pos = generator.uniform(-30.0, 30.0, size=(3, 6, 3))
    i, j = np.triu_indices(6, k=1)
    found = minimum_distances(pos, np.broadcast_to(cell, (3, 3, 3)), i, j, 6.0)
    expected = np.array(
        [
            [
                plain_minimum(p[b] - p[a] - np.rint((p[b] - p[a]) @ np.linalg.inv(cell)) @ cell, cell)
                for a, b in zip(i, j, strict=True)
            ]
            for p in pos
        ]
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert closest_approach(pos, np.broadcast_to(cell, (3, 3, 3)), i, j) == pytest.approx(expected.min(), abs=1e-9)


def test_images_start_with_the_cell_itself():
    for cell in CELLS.values():
        assert not images(cell, 6.0)[0].any()


def test_pairs_know_their_species():
    i, j, kind, names = pairs([16, 3, 16])
    assert names == [(3, 3), (3, 16), (16, 16)]
    assert [names[k] for k in kind] == [(3, 16), (16, 16), (3, 16)]
    assert len(i) == len(j) == 3
