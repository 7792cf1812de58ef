"""SchNet's exchange of messages on pairs against the sum over neighbours as it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import create
from grannfield.graph import AtomGraph, neighbor_values
from grannfield.models.schnet import Exchange
from grannfield.neighbors import neighbor_graph
from grannfield.nn import sizes
from grannfield.nn.mlp import shifted_softplus
from tests.test_neighbors import padded

CELL = np.array([[5.0, 0, 0], [1.5, 5, 0], [0.5, 1, 4.5]])


def crystal(cap: int | None = None) -> AtomGraph:
    """Six atoms in a skewed cell thinner than two cut-offs: atoms are neighbours of their own images."""
    pos = np.random.default_rng(4).uniform(0, 5, (6, 3))
    return neighbor_graph(np.ones(6), pos, CELL, 4.0, max_neighbors=cap)


def written_out(x: Tensor, weight: Tensor, graph: AtomGraph) -> Tensor:
    """sum_j x_j * w_ij, slot by slot."""
    return (neighbor_values(x, graph) * weight[graph.pair] * graph.mask.unsqueeze(-1)).sum(dim=1)


@pytest.mark.parametrize("graph", [crystal(), padded(crystal(), 3), crystal(cap=5)], ids=["exact", "padded", "capped"])
def test_exchange_is_the_sum_over_neighbours_to_second_order(graph: AtomGraph) -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(6, 2)), requires_grad=True)
    weight = torch.tensor(rng.normal(size=(len(graph.pair_slots) + 1, 2)))
    there = torch.ones(len(graph.pair_slots)) if graph.pair_mask is None else graph.pair_mask
    held = torch.nn.functional.pad(there.double(), (0, 1)).unsqueeze(1)
    weight = (weight * held).requires_grad_()
    exchange, mix = Exchange.of(graph), torch.tensor(rng.normal(size=(6, 2)))
    calls = (lambda: exchange(x, weight), lambda: written_out(x, weight, graph))
    slopes = [torch.autograd.grad((call().square() * mix).sum(), (x, weight), create_graph=True) for call in calls]
    torch.testing.assert_close(calls[0](), calls[1]())
    torch.testing.assert_close(slopes[0][0], slopes[1][0])
    torch.testing.assert_close(slopes[0][1] * held, slopes[1][1] * held)
    # Rows that hold no pair vanish with their slope: what is asked of their gradient comes to nothing.
    asked = [(by_x.square().sum() + (by_weight * held).square().sum()) for by_x, by_weight in slopes]
    seconds = [torch.autograd.grad(a, (x, weight)) for a in asked]
    torch.testing.assert_close(seconds[0][0], seconds[1][0])
    torch.testing.assert_close(seconds[0][1] * held, seconds[1][1] * held)


def test_exchange_of_an_atom_without_neighbours_is_nothing() -> None:
    graph = neighbor_graph(np.ones(1), np.zeros((1, 3)), 30 * np.eye(3), 4.0)
    assert not Exchange.of(graph)(torch.ones(1, 2), torch.zeros(1, 2)).any()


def test_exchange_follows_a_change_of_layout_only_where_the_graph_is_symmetric() -> None:
    graph, x = crystal(), torch.ones(6, 1).double()
    weight = torch.nn.functional.pad(torch.rand(len(graph.pair_slots), 1).double(), (0, 0, 0, 1))
    turned = Exchange.of(replace(graph, symmetric=False))
    torch.testing.assert_close(turned(x, weight), Exchange.of(graph)(x, weight))


def test_softplus_is_differentiable_to_third_order() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(shifted_softplus, x) and torch.autograd.gradgradcheck(shifted_softplus, x)

    def third(f: Callable[[Tensor], Tensor]) -> Tensor:
        first = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]
        return torch.autograd.grad(second.sum(), x)[0]

    torch.testing.assert_close(third(shifted_softplus), third(lambda x: torch.nn.functional.softplus(x) - np.log(2.0)))


def test_filters_are_the_same_all_at_once_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    field, graph = create("schnet", hidden_channels=8, num_filters=8, num_interactions=3, num_gaussians=8).double(), crystal()
    with torch.no_grad():
        for p in field.parameters():
            p.normal_(std=0.3)
    at_once = field.predict(graph)
    monkeypatch.setitem(sizes.BUFFER, "cpu", 1)
    one_by_one = field.predict(graph)
    torch.testing.assert_close(one_by_one.energy, at_once.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(one_by_one.forces, at_once.forces, rtol=1e-10, atol=1e-12)
