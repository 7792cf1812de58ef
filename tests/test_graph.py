"""Graph operations beside the gathers: opposite and inward edges, and what belongs to whole structures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grannfield.graph import (
    AtomGraph,
    atoms_by_graph,
    by_neighbor,
    collate,
    graph_softmax,
    graph_values,
    inward,
    reversed_values,
    sum_by_graph,
)
from grannfield.neighbors import neighbor_graph

CELL = np.array([[5.0, 0, 0], [1.5, 5, 0], [0.5, 1, 4.5]])


def crystal(n: int = 6, cap: int | None = None) -> AtomGraph:
    rng = np.random.default_rng(n)
    return neighbor_graph(np.ones(n), rng.uniform(0, 5, (n, 3)), CELL, 4.0, max_neighbors=cap)


def test_opposite_edges_have_opposite_vectors_and_two_derivatives() -> None:
    graph = collate([crystal(6), crystal(3)])
    vectors = graph.edge_vectors()
    torch.testing.assert_close(reversed_values(vectors, graph)[graph.mask], -vectors[graph.mask])
    x = torch.randn(*graph.mask.shape, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    one = crystal(3)
    part = x[: len(one.z), : one.mask.shape[1]].detach().contiguous().requires_grad_()
    square = lambda x: (reversed_values(x, one) * x.square()).sum()  # noqa: E731
    assert torch.autograd.gradcheck(square, part) and torch.autograd.gradgradcheck(square, part)
    ours = torch.autograd.grad((reversed_values(x, graph) * weight).sum(), x)[0]
    plain = torch.autograd.grad((x.view(-1, 2)[graph.reverse.view(-1)].view_as(x) * weight).sum(), x)[0]
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("cap", [None, 5])
def test_inward_edges_are_those_that_point_at_an_atom(cap: int | None) -> None:
    graph = collate([crystal(6, cap), crystal(4, cap)])
    assert graph.symmetric == (cap is None)
    found = inward(graph)
    pointed = graph.neighbors.view(-1)
    real = graph.mask.view(-1).nonzero().squeeze(1).tolist()
    for atom in range(len(graph.z)):
        slots = found.slots[atom][found.mask[atom]].tolist()
        assert sorted(slots) == [s for s in real if pointed[s] == atom]
    slots, place = found.slots.view(-1), found.place.view(-1)
    assert torch.equal(slots[place[real]], torch.tensor(real))


def test_edges_listed_by_the_atom_they_point_at() -> None:
    graph = crystal(6, cap=5)
    turned = by_neighbor(graph)
    assert by_neighbor(crystal(6)).neighbors is not None and int(turned.mask.sum()) == graph.n_edges
    forth = sorted(
        zip(*(t.tolist() for t in (graph.mask.nonzero()[:, 0], graph.neighbors[graph.mask], graph.pair[graph.mask])), strict=True)
    )
    back = sorted(
        zip(
            *(t.tolist() for t in (turned.neighbors[turned.mask], turned.mask.nonzero()[:, 0], turned.pair[turned.mask])),
            strict=True,
        )
    )
    assert forth == back and not bool((turned.pair[~turned.mask] != len(graph.pair_slots)).any())


@pytest.mark.parametrize("sizes", [(4, 4), (3, 6)])
def test_whole_structures(sizes: tuple[int, int]) -> None:
    graph = collate([crystal(n) for n in sizes])
    assert (graph.atoms_per_graph is None) == (sizes[0] != sizes[1])
    x = torch.randn(sum(sizes), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(graph_softmax(x, graph), torch.cat([part.softmax(0) for part in x.split(list(sizes))]))
    assert torch.autograd.gradcheck(lambda x: graph_softmax(x, graph), x)
    assert atoms_by_graph(graph).tolist() == list(sizes)
    y = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(graph_values(y, graph), y.repeat_interleave(torch.tensor(sizes), dim=0))
    large = torch.tensor([1e4] * sizes[0] + [-1e4] * sizes[1])
    torch.testing.assert_close(sum_by_graph(graph_softmax(large, graph), graph), torch.ones(2, dtype=torch.float64))
