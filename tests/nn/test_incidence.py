"""Rows chosen and added, and distance-only work at pairs or at slots, on graphs of any kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.all_pairs import AllPairs
from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, pair_distances
from grannfield.neighbors import neighbor_graph
from grannfield.nn.distance import distances, fade, gaussians, log_fade
from grannfield.nn.incidence import BlocksToSlots, Incidence, to_neighbors, to_slots
from grannfield.nn.radial import GaussianBasis, cosine_cutoff
from tests.models.small import CUTOFF, SKEWED, WIDE, atoms, small

MODELS = ["cgcnn", "deeper_gatgnn", "gns_tat"]


def fixed(frame: tuple[np.ndarray, np.ndarray, np.ndarray], spare: int = 3) -> tuple[AtomGraph, AtomGraph]:
    """The graph of a structure, and the same in a shape with columns and pairs to spare."""
    z, pos, cell = frame
    exact = neighbor_graph(z, pos, cell, CUTOFF)
    search = AllPairs(z, torch.tensor(cell)[None], CUTOFF, capacity=exact.neighbors.shape[1] + spare)
    return exact, search(torch.tensor(pos)[None])


def by_definition(incidence: Incidence, x: Tensor) -> Tensor:
    return x.index_select(0, incidence.rows)


@pytest.mark.parametrize("spare", [0, 3])
def test_products_and_their_gradients_are_those_of_a_gather(spare: int) -> None:
    """Features that vanish where there is no pair, as filters do: a factor of zero follows the gradient of such rows."""
    torch.manual_seed(0)
    exact, wide = fixed(atoms(5, apart=1.0))
    graph = wide if spare else exact
    n, pairs = len(graph.z), len(graph.pair_slots) + 1
    real = torch.zeros(pairs, dtype=torch.float64)
    real[: pairs - 1] = 1.0 if graph.pair_mask is None else graph.pair_mask.double()
    real = real.unsqueeze(1)
    asked = BlocksToSlots((0, 1, 1, 1), 2)(graph)
    cases = (
        (to_neighbors(graph), torch.randn(n, 3, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)),
        (to_slots(graph), torch.randn(pairs, 3, dtype=torch.float64), real),
        (asked, torch.randn(2 * pairs, 3, dtype=torch.float64), real.repeat_interleave(2, dim=0)),
    )
    for incidence, x, factor in cases:
        x.requires_grad_()
        ours, plain = incidence(x * factor), by_definition(incidence, x * factor)
        assert torch.equal(ours, plain)
        cotangent = torch.randn_like(plain)
        first, expected = (torch.autograd.grad((y * cotangent).sum(), x)[0] for y in (ours, plain))
        torch.testing.assert_close(first, expected)
    call = lambda x: to_neighbors(graph)(x.square())  # noqa: E731
    assert torch.autograd.gradgradcheck(call, torch.randn(n, 2, dtype=torch.float64, requires_grad=True))
    call = lambda x: asked((x * real.repeat_interleave(2, dim=0)).square())  # noqa: E731
    assert torch.autograd.gradgradcheck(call, torch.randn(2 * pairs, 1, dtype=torch.float64, requires_grad=True))


def test_an_atom_alone_has_rows_too() -> None:
    graph = neighbor_graph(np.array([3]), np.zeros((1, 3)), 30 * np.eye(3), CUTOFF, False)
    for incidence, rows in ((to_neighbors(graph), 1), (to_slots(graph), 1), (BlocksToSlots((0, 1, 1), 2)(graph), 2)):
        x = torch.ones(rows, 2, requires_grad=True)
        y = incidence(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert y.shape == (len(incidence.rows), 2) and torch.isfinite(slope).all()


def test_functions_of_the_distance_are_those_of_radial() -> None:
    d = torch.tensor([0.3, 2.0, 4.999, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    basis = GaussianBasis(6, 5.0, trainable=True).double()
    torch.testing.assert_close(gaussians(d, basis), basis(d))
    inside, envelope = fade(d, 5.0)
    assert inside.tolist() == [1, 1, 1, 0, 0] and not envelope[3:].any()
    torch.testing.assert_close(envelope, cosine_cutoff(d, 5.0))
    torch.testing.assert_close(torch.exp(log_fade(d, 5.0)), cosine_cutoff(d, 5.0), rtol=1e-9, atol=0)
    assert not torch.exp(log_fade(d.float(), 5.0))[3:].any()
    for call, expected in ((lambda d: fade(d, 5.0)[1], cosine_cutoff), (lambda d: torch.exp(log_fade(d, 5.0)), cosine_cutoff)):
        slopes = [torch.autograd.grad(y.sum(), d)[0] for y in (call(d), expected(d, 5.0))]
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-15)
    far = d.detach()[:2].requires_grad_()
    for call in (lambda d: fade(d, 5.0)[1], lambda d: log_fade(d, 5.0), lambda d: gaussians(d, basis)):
        assert torch.autograd.gradcheck(call, far) and torch.autograd.gradgradcheck(call, far)


def test_distances_of_pairs_or_of_slots() -> None:
    exact, wide = fixed(atoms(6, 1, WIDE, apart=1.2))
    for graph, rows in ((exact, len(exact.pair_slots) + 1), (wide, wide.neighbors.numel())):
        edge_vec = graph.edge_vectors().requires_grad_()
        sites = distances(edge_vec, graph)
        length = sites.at_slots(sites.values.unsqueeze(-1)).squeeze(-1)
        assert len(sites.values) == rows
        torch.testing.assert_close(length, torch.linalg.vector_norm(edge_vec, dim=-1))
    assert len(pair_distances(exact.edge_vectors(), exact)) == len(exact.pair_slots) + 1


def taught(field: ForceField, graph: AtomGraph) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Energy, forces, and the gradient of a loss on both by every weight that has one."""
    field.zero_grad(set_to_none=True)
    prediction = field.predict(graph, create_graph=True)
    (prediction.energy.square().sum() + prediction.forces.square().sum()).backward()
    gradients = {key: p.grad.clone() for key, p in field.named_parameters() if p.grad is not None}
    return prediction.energy.detach(), prediction.forces.detach(), gradients


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_graph_gives_and_teaches_the_same(name: str, published: bool, training: bool) -> None:
    """Exact and fixed shapes, and the way of graphs that a cap has made asymmetric (here taken by a symmetric one)."""
    field = small(name, as_published=published).train(training)
    statistics = {key: value.clone() for key, value in field.state_dict().items()}
    exact, wide = fixed(atoms(5, 2, SKEWED, apart=1.2))
    expected = taught(field, exact)
    assert len(expected[2]) > 10
    for graph in (wide, replace(exact, symmetric=False)):
        field.load_state_dict(statistics)
        found = taught(field, graph)
        for ours, theirs in zip(found[:2], expected[:2], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        assert found[2].keys() == expected[2].keys()
        scale = max(float(g.abs().max()) for g in expected[2].values())
        for key, gradient in found[2].items():
            torch.testing.assert_close(gradient, expected[2][key], rtol=1e-8, atol=1e-9 * scale, msg=key)
