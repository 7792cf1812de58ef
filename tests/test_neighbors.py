"""The neighbour search against matscipy and ASE, on cells and positions chosen to break it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grannfield import neighbors as search
from grannfield.graph import (
    AtomGraph,
    collate,
    neighbor_values,
    net_by_slot,
    pair_distances,
    pair_values,
    pair_vectors,
)
from grannfield.neighbors import NeighborOverflow, brute_force, graph_from_edges, images_needed, neighbor_graph

CUTOFF = 6.0


@st.composite
def structures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random triclinic cells down to 3 Å thick, 1-200 atoms many cells away, any mixture of periodic directions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Thin cells with many atoms would have tens of thousands of edges; the density stays within ten times LGPS's.
    smallest = draw(st.floats(3.0, 12.0))
    lower = np.diag(smallest * rng.uniform(1.0, 2.5, 3))
    lower[1, 0], lower[2, 0], lower[2, 1] = rng.uniform(-1.5, 1.5, 3) * smallest
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    cell = lower @ rotation
    n = draw(st.integers(1, int(np.clip(abs(np.linalg.det(cell)) * 0.1, 1, 200))))
    pos = rng.uniform(size=(n, 3)) @ cell + rng.integers(-7, 8, (n, 3)) @ cell
    pbc = np.array(draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    return cell, pos, pbc


def edges(graph: AtomGraph) -> set[tuple[int, ...]]:
    i, k = graph.mask.nonzero(as_tuple=True)
    return set(map(tuple, torch.cat([i[:, None], graph.neighbors[i, k][:, None], graph.shift[i, k].long()], dim=1).tolist()))


def oracle(cell: np.ndarray, pos: np.ndarray, pbc: np.ndarray, library: str) -> set[tuple[int, ...]]:
    if library == "ase":
        from ase.neighborlist import primitive_neighbor_list

        i, j, shift = primitive_neighbor_list("ijS", pbc, cell, pos, CUTOFF)
    else:
        from matscipy.neighbours import neighbour_list

        i, j, shift = neighbour_list("ijS", cutoff=CUTOFF, positions=pos, cell=cell, pbc=pbc)
    return set(map(tuple, np.concatenate([i[:, None], j[:, None], shift], axis=1).astype(int).tolist()))


def check_layout(graph: AtomGraph) -> None:
    """reverse is an involution between opposite vectors; every pair holds a slot and its reverse."""
    n, k = graph.neighbors.shape
    vectors = graph.edge_vectors().view(-1, 3)
    real = graph.mask.view(-1)
    reverse = graph.reverse.view(-1)
    assert torch.equal(reverse[reverse], torch.arange(n * k))
    torch.testing.assert_close(vectors[reverse[real]], -vectors[real])
    assert torch.equal(reverse[~real], torch.arange(n * k)[~real])
    pairs = graph.pair_slots if graph.pair_mask is None else graph.pair_slots[graph.pair_mask]
    assert torch.equal(reverse[pairs[:, 0]], pairs[:, 1])
    assert torch.equal(pairs.reshape(-1).sort().values, real.nonzero().squeeze(1))
    assert torch.equal(graph.pair.view(-1)[pairs[:, 0]], torch.arange(len(pairs)))
    assert torch.equal(graph.pair.view(-1)[pairs[:, 1]], torch.arange(len(pairs)))
    assert (graph.pair.view(-1)[~real] == len(graph.pair_slots)).all()


@settings(max_examples=60, deadline=None)
@given(structures(), st.sampled_from(["ase", "matscipy"]))
def test_same_edges_as_other_libraries(structure: tuple[np.ndarray, np.ndarray, np.ndarray], library: str) -> None:
    cell, pos, pbc = structure
    expected = oracle(cell, pos, pbc, library)
    z = np.ones(len(pos), int)
    by_vesin = neighbor_graph(z, pos, cell, CUTOFF, pbc)
    by_force = brute_force(z, torch.tensor(pos)[None], torch.tensor(cell)[None], CUTOFF, pbc)
    assert edges(by_vesin) == expected
    assert edges(by_force) == expected
    check_layout(by_vesin)
    check_layout(by_force)


def test_search_without_vesin(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cell, pos = np.diag([6.0, 7.0, 8.0]), rng.uniform(0, 6, (20, 3))
    with_vesin = neighbor_graph(np.ones(20), pos, cell, CUTOFF)
    monkeypatch.setattr(search, "_vesin", lambda cutoff, thread: None)
    without = neighbor_graph(np.ones(20), pos, cell, CUTOFF)
    assert edges(with_vesin) == edges(without)
    check_layout(without)


def test_no_edge_is_lost_when_an_atom_leaves_the_cell() -> None:
    """The paper's search keeps 2,258 of 2,296 LGPS edges once an atom has left the cell; ours may not lose one."""
    rng = np.random.default_rng(1)
    cell, pos = np.diag([8.7, 8.7, 12.6]), rng.uniform(size=(50, 3)) * [8.7, 8.7, 12.6]
    inside = neighbor_graph(np.ones(50), pos, cell, CUTOFF)
    gone = pos.copy()
    gone[0] += 5 * cell[0]
    assert neighbor_graph(np.ones(50), gone, cell, CUTOFF).n_edges == inside.n_edges


def test_fixed_shapes_hold_two_replicas_and_flag_overflow() -> None:
    rng = np.random.default_rng(2)
    cell = torch.diag(torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64)).repeat(2, 1, 1)
    pos = torch.tensor(rng.uniform(0, 7, (2, 16, 3)))
    images = images_needed(cell, CUTOFF, np.ones(3, bool))
    widest = max(neighbor_graph(np.ones(16), p, cell[0], CUTOFF).neighbors.shape[1] for p in pos)
    graph = brute_force(np.ones(16), pos, cell, CUTOFF, capacity=widest + 4, images=images)
    check_layout(graph)
    assert graph.neighbors.shape == (32, widest + 4) and not graph.overflow.any()
    single = [neighbor_graph(np.ones(16), p, cell[0], CUTOFF) for p in pos]
    assert edges(graph) == edges(collate(single))
    cramped = brute_force(np.ones(16), pos, cell, CUTOFF, capacity=4, images=images)
    assert cramped.overflow.all()


def test_overflow_raises() -> None:
    with pytest.raises(NeighborOverflow, match=r"atom \d+ has \d+ neighbours within 6 Å, more than the capacity of 3"):
        neighbor_graph(np.ones(4), np.random.default_rng(0).uniform(0, 3, (4, 3)), 4 * np.eye(3), CUTOFF, capacity=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": np.full((2, 3), np.nan)}, "atom 0 is"),
        ({"cell": np.zeros((3, 3))}, "no volume"),
        ({"cutoff": 0.0}, "cut-off must be positive"),
        ({"pos": np.zeros((3, 3))}, "should be"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    good = {"z": np.ones(2), "pos": np.zeros((2, 3)), "cell": np.eye(3), "cutoff": 2.0}
    with pytest.raises(ValueError, match=message):
        neighbor_graph(**(good | change))


def test_cap_keeps_the_nearest_and_marks_missing_reverses() -> None:
    rng = np.random.default_rng(3)
    cell, pos = np.diag([7.0, 8.0, 9.0]), rng.uniform(0, 7, (20, 3))
    whole = neighbor_graph(np.ones(20), pos, cell, CUTOFF)
    capped = neighbor_graph(np.ones(20), pos, cell, CUTOFF, max_neighbors=6)
    assert not capped.symmetric and (capped.mask.sum(1) == 6).all() and (capped.reverse == -1).any()
    length = whole.edge_vectors().norm(dim=-1)
    nearest = torch.where(whole.mask, length, torch.inf).sort(dim=1).values[:, :6]
    torch.testing.assert_close(capped.edge_vectors().norm(dim=-1).sort(dim=1).values, nearest)


def test_gradients_of_the_gathers_match_plain_indexing() -> None:
    """First and second derivatives of the scatter-free operations, on a symmetric and on an asymmetric graph."""
    rng = np.random.default_rng(4)
    cell, pos = np.array([[5.0, 0, 0], [1.5, 5, 0], [0.5, 1, 4.5]]), rng.uniform(0, 5, (6, 3))
    for graph in (neighbor_graph(np.ones(6), pos, cell, 4.0), neighbor_graph(np.ones(6), pos, cell, 4.0, max_neighbors=5)):
        x = torch.tensor(rng.normal(size=(6, 2)), requires_grad=True)
        y = torch.tensor(rng.normal(size=(len(graph.pair_slots), 2)), requires_grad=True)
        if graph.symmetric:  # padded slots of x repeat the atom itself, which plain indexing by `neighbors` does as well
            plain = x[graph.neighbors]
            weight = torch.tensor(rng.normal(size=plain.shape))
            ours = torch.autograd.grad((neighbor_values(x, graph) * weight).sum(), x)[0]
            torch.testing.assert_close(ours, torch.autograd.grad((plain * weight).sum(), x)[0])
        mix = lambda x, y, graph=graph: (neighbor_values(x, graph) * pair_values(y, graph)).square().sum(1)  # noqa: E731
        assert torch.autograd.gradcheck(mix, (x, y))
        assert torch.autograd.gradgradcheck(mix, (x, y))


def padded(graph: AtomGraph, rows: int) -> AtomGraph:
    """The same graph with `rows` more in `pair_slots` that hold no pair."""
    p = len(graph.pair_slots)
    return replace(
        graph,
        pair_slots=torch.cat([graph.pair_slots, graph.pair_slots[-1:].expand(rows, 2)]),
        pair_mask=torch.arange(p + rows) < p,
        pair=torch.where(graph.pair == p, p + rows, graph.pair),
    )


@pytest.mark.parametrize("rows", [0, 3])
def test_gradients_of_pair_vectors_and_distances_match_plain_indexing(rows: int) -> None:
    """First and second derivatives by the vectors; for the distance along directions that keep reverses opposite."""
    rng = np.random.default_rng(4)
    cell, pos = np.array([[5.0, 0, 0], [1.5, 5, 0], [0.5, 1, 4.5]]), torch.tensor(rng.uniform(0, 5, (6, 3)), requires_grad=True)
    graph = neighbor_graph(np.ones(6), pos.detach().numpy(), cell, 4.0)
    graph = padded(graph, rows) if rows else graph
    across = graph.shift @ graph.cell[0]
    vectors = lambda pos: torch.where(graph.mask.unsqueeze(-1), pos[graph.neighbors] - pos[:, None] + across, 4.0)  # noqa: E731

    def fading(distance: torch.Tensor) -> torch.Tensor:
        return torch.stack([(4 - distance) ** 3, distance * (4 - distance) ** 2], dim=-1)

    def plain(pos: torch.Tensor) -> torch.Tensor:
        distance = vectors(pos).norm(dim=-1).masked_fill(~graph.mask, 4.0)
        return fading(distance).sum(dim=1)

    def ours(pos: torch.Tensor) -> torch.Tensor:
        each = fading(pair_distances(vectors(pos), graph))[: len(graph.pair_slots)]
        return pair_values(each, graph).sum(dim=1)

    torch.testing.assert_close(ours(pos), plain(pos))
    weight = torch.tensor(rng.normal(size=(6, 2)))
    slopes = [torch.autograd.grad((f(pos) * weight).sum(), pos, create_graph=True)[0] for f in (ours, plain)]
    torch.testing.assert_close(slopes[0], slopes[1])
    seconds = [torch.autograd.grad(slope.square().sum(), pos)[0] for slope in slopes]
    torch.testing.assert_close(seconds[0], seconds[1])
    real = slice(None) if graph.pair_mask is None else graph.pair_mask
    of_pairs = lambda vectors: pair_vectors(vectors, graph)[real].square().sum(1)  # noqa: E731
    edge_vec = vectors(pos.detach()).requires_grad_()
    assert torch.autograd.gradcheck(of_pairs, edge_vec) and torch.autograd.gradgradcheck(of_pairs, edge_vec)


def test_capped_forces_sum_over_the_slots_that_point_at_an_atom() -> None:
    rng = np.random.default_rng(5)
    graph = neighbor_graph(np.ones(8), rng.uniform(0, 5, (8, 3)), 5 * np.eye(3), 4.0, max_neighbors=5)
    values = torch.tensor(rng.normal(size=(*graph.neighbors.shape, 3))) * graph.mask.unsqueeze(-1)
    expected = values.sum(1)
    for i, k in graph.mask.nonzero().tolist():
        expected[graph.neighbors[i, k]] -= values[i, k]
    torch.testing.assert_close(net_by_slot(values, graph), expected)


def test_pair_vectors_have_the_lengths_of_their_slots() -> None:
    rng = np.random.default_rng(6)
    graph = neighbor_graph(np.ones(8), rng.uniform(0, 5, (8, 3)), 5 * np.eye(3), 4.0)
    vectors = graph.edge_vectors()
    length = pair_values(pair_vectors(vectors, graph).norm(dim=-1, keepdim=True), graph).squeeze(-1)
    torch.testing.assert_close(length[graph.mask], vectors.norm(dim=-1)[graph.mask])


def test_graph_from_edges_equals_the_search() -> None:
    rng = np.random.default_rng(7)
    graph = neighbor_graph(np.ones(8), rng.uniform(0, 5, (8, 3)), 5 * np.eye(3), 4.0)
    i, k = graph.mask.nonzero(as_tuple=True)
    again = graph_from_edges(
        graph.z.numpy(),
        graph.pos.numpy(),
        graph.cell[0].numpy(),
        4.0,
        i.numpy(),
        graph.neighbors[i, k].numpy(),
        graph.shift[i, k].numpy(),
    )
    assert again.symmetric and edges(again) == edges(graph)
    check_layout(again)


def test_to_pyg_carries_every_edge() -> None:
    pytest.importorskip("torch_geometric")
    rng = np.random.default_rng(8)
    one = neighbor_graph(np.ones(8), rng.uniform(0, 5, (8, 3)), 5 * np.eye(3), 4.0)
    two = collate([one, neighbor_graph(np.ones(3), rng.uniform(0, 5, (3, 3)), 6 * np.eye(3), 4.0)])
    data = two.to_pyg()
    assert data.edge_index.shape[1] == two.n_edges and data.num_graphs == 2
    assert torch.equal(data.batch, two.batch)
    length = data.edge_vec.norm(dim=1)
    torch.testing.assert_close(length.sort().values, two.edge_vectors().norm(dim=-1)[two.mask].sort().values)
    again = data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]
    shifted = again + torch.bmm(data.edge_shift[:, None], data.cell[data.batch[data.edge_index[1]]]).squeeze(1)
    torch.testing.assert_close(shifted, data.edge_vec)


def test_threads_search_side_by_side() -> None:
    """A list shared by two threads ends the process, so a process of its own is asked."""
    script = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from grannfield.neighbors import half_list
pos, cell = np.random.default_rng(0).random((300, 3)) * 12, 12 * np.eye(3)
found = ThreadPoolExecutor(4).map(lambda _: len(half_list(pos, cell, np.ones(3, bool), 5.0)[0]), range(200))
print(len(set(found)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1")
