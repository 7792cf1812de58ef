"""The two cells, and that what is done to them is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grannfield.contract.samples import RATTLE, Sample, gamma, random_rotation, samples, skew
from grannfield.neighbors import neighbor_graph
from grannfield.testing import stored

PARITY = Path(__file__).parents[1] / "parity" / "cgcnn.npz.xz"


def lengths(sample: Sample) -> np.ndarray:
    """All distances up to 6 Å, sorted."""
    graph = neighbor_graph(sample.z, sample.pos, sample.cell, 6.0)
    return np.sort(np.linalg.norm(graph.edge_vectors().numpy(), axis=-1)[graph.mask.numpy()])


def test_the_skewed_cell_is_that_of_the_parity_files() -> None:
    file = stored(PARITY)
    np.testing.assert_allclose(skew().pos, file["skew/positions"], atol=1e-8)
    np.testing.assert_allclose(skew().cell, file["skew/cell"][0], atol=1e-8)
    assert np.array_equal(skew().z, file["skew/Z"])


def test_gamma_is_rattled_by_its_seed() -> None:
    one, same, other = gamma(0), gamma(0), gamma(1)
    assert np.array_equal(one.pos, same.pos) and not np.array_equal(one.pos, other.pos)
    assert np.std(one.pos - other.pos) == pytest.approx(np.sqrt(2) * RATTLE, rel=0.2)
    assert sorted(one.z.tolist()) == [3] * 6 + [15] * 2 + [16] * 8
    assert abs(np.linalg.det(one.cell)) == pytest.approx(321.0076, abs=1e-3)


@pytest.mark.parametrize("cell", [gamma(0), skew()], ids=["gamma", "skew"])
def test_moves_that_change_no_distance(cell: Sample) -> None:
    rng = np.random.default_rng(0)
    before = lengths(cell)
    for changed in (
        cell.turned(random_rotation(rng)),
        cell.inverted(),
        cell.displaced(rng.normal(size=3)),
        cell.rewrapped(rng.integers(-3, 4, (len(cell), 3))),
        cell.reordered(rng.permutation(len(cell))),
    ):
        np.testing.assert_allclose(lengths(changed), before, atol=1e-10)
        assert np.linalg.det(changed.cell) > 0
        assert not np.allclose(changed.pos, cell.pos)
    assert len(lengths(cell.repeated((2, 1, 1)))) == 2 * len(before)
    np.testing.assert_allclose(cell.strained(np.diag([0.1, 0, 0])).pos[:, 0], 1.1 * cell.pos[:, 0])


def test_rotations_are_proper_and_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    turns = np.array([random_rotation(rng) for _ in range(2000)])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    assert np.abs(turns.mean(axis=0)).max() < 0.05  # uniform: no direction is preferred


def test_elements_that_a_field_does_not_know_are_replaced() -> None:
    cells = samples(0, (3, 16, 18))
    assert cells.note == "S in place of P, Ar in place of Ge"
    assert set(np.unique(np.concatenate([cell.z for cell in cells]))) == {3, 16, 18}
    assert samples(0, tuple(range(1, 90))).note == ""
