"""The search for moving atoms against the one for any structure."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grannfield import candidates
from grannfield.candidates import Candidates
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph
from tests.test_neighbors import CUTOFF, check_layout, edges, structures


def same(a: AtomGraph, b: AtomGraph) -> bool:
    """Bit for bit."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all(torch.equal(x, y) if torch.is_tensor(x) else x == y for x, y in pairs)


@settings(max_examples=8, deadline=None)
@given(structures(), st.floats(0.05, 2.0), st.integers(0, 2**32 - 1))
def test_every_graph_of_a_walk_is_that_of_a_fresh_search(
    structure: tuple[np.ndarray, np.ndarray, np.ndarray], skin: float, seed: int
) -> None:
    """Two replicas that walk away, through the cell's faces and past the skin: the same edges, in an order of their own."""
    cell, pos, pbc = structure
    rng, z = np.random.default_rng(seed), np.ones(len(pos))
    walking = Candidates(z, torch.tensor(np.stack([cell, cell])), CUTOFF, pbc, skin)
    here, searches = np.stack([pos, pos + rng.normal(scale=0.2, size=pos.shape)]), set()
    for _ in range(4):
        here = here + rng.normal(scale=0.1 * skin, size=here.shape)
        graph = walking(torch.tensor(here))
        searches.add(id(walking.found))
        expected = collate([neighbor_graph(z, p, cell, CUTOFF, pbc) for p in here])
        assert edges(graph) == edges(expected)
        check_layout(graph)
        plain = AtomGraph(**{**vars(graph), "vectors": None})
        torch.testing.assert_close(graph.edge_vectors(), plain.edge_vectors(), rtol=0, atol=1e-12)
        fresh = Candidates(z, walking.cell, CUTOFF, pbc, skin=0.7)(torch.tensor(here))
        assert same(fresh, graph)


def test_all_pairs_and_a_search_find_the_same_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what the compiled loop is given; atoms a dozen cells away, two replicas, one direction that is not periodic."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(3)
    cell = np.stack([np.diag([5.0, 6.0, 7.0]) + rng.normal(scale=0.4, size=(3, 3)) for _ in range(2)])
    pos = rng.uniform(0, 5, (2, 9, 3)) + rng.integers(-12, 12, (2, 9, 1)) @ np.ones((1, 3)) * [5, 6, 0]
    for pbc in (True, [True, True, False]):
        made = []
        for limit in (10**9, 0):
            monkeypatch.setattr(candidates, "SMALL", limit)
            search = Candidates(np.ones(9), torch.tensor(cell), 4.0, pbc)
            search(torch.tensor(pos))
            made.append(search.found)
        assert [type(found).__name__ for found in made] == ["_Listed", "_Found"]
        assert len(made[0].for_loop[0]) > 100
        for one, other in zip(*(found.for_loop for found in made), strict=True):
            np.testing.assert_array_equal(one, other)


def test_candidates_are_searched_again_only_when_an_atom_has_moved_half_the_skin() -> None:
    pos = np.random.default_rng(0).uniform(0, 8, (1, 20, 3))
    walking = Candidates(np.ones(20), 8 * torch.eye(3, dtype=torch.float64)[None], 4.0, skin=1.0)
    walking(torch.tensor(pos))
    first = walking.found
    pos[0, 3, 1] += 0.499
    walking(torch.tensor(pos))
    assert walking.found is first
    pos[0, 3, 1] += 0.002
    walking(torch.tensor(pos))
    assert walking.found is not first


def test_an_atom_that_stays_where_it_was_is_not_moved_by_the_caller() -> None:
    """The positions candidates were found at are a copy: changing the caller's array in place counts as motion."""
    pos = torch.tensor(np.random.default_rng(0).uniform(0, 8, (1, 20, 3)))
    walking = Candidates(np.ones(20), 8 * torch.eye(3, dtype=torch.float64)[None], 4.0)
    walking(pos)
    pos[0, 5] += 3.0
    assert edges(walking(pos)) == edges(neighbor_graph(np.ones(20), pos[0].numpy(), 8 * np.eye(3), 4.0))


def test_lonely_atoms_and_positions_that_are_not_finite() -> None:
    walking = Candidates([1, 1], 30 * torch.eye(3, dtype=torch.float64)[None], 4.0)
    alone = walking(torch.tensor([[[0.0, 0, 0], [15, 15, 15]]]).double())
    assert alone.n_edges == 0 and alone.neighbors.shape == (2, 1) and len(alone.pair_slots) == 0
    with pytest.raises(ValueError, match="atom 1 is"):
        walking(torch.tensor([[[0.0, 0, 0], [0, torch.nan, 0]]]).double())
