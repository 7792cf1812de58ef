"""What DimeNet and DimeNet++ are made of, against its definitions and against sums over triplets one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre, spherical_jn
from torch import Tensor

from grannfield.all_pairs import AllPairs
from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, collate
from grannfield.graphset import GraphSet
from grannfield.neighbors import neighbor_graph
from grannfield.nn.angular import Harmonics, Legendre, racah
from grannfield.nn.bessel import DistanceBasis, envelope, spherical_bessel_zeros
from grannfield.nn.edge_rows import EdgeRows
from grannfield.nn.triplets import AllTriplets, Moments
from tests.models.small import CUTOFF, SKEWED, WIDE, atoms, small

MODELS = ["dimenet", "dimenet_pp"]


def graph_of(cap: int | None = None, cutoff: float = 4.0) -> AtomGraph:
    """Two cells; in one atoms are their own neighbours. A cap makes the graph asymmetric."""
    cells = ((3, SKEWED), (5, WIDE))
    return collate([neighbor_graph(*atoms(n, n, cell, 1.0), cutoff, max_neighbors=cap) for n, cell in cells])


def directions(*shape: int) -> Tensor:
    v = torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return v / v.norm(dim=-1, keepdim=True)


def test_spherical_bessel_functions() -> None:
    zeros = spherical_bessel_zeros(7, 6)
    for degree in range(7):
        assert np.abs(spherical_jn(degree, zeros[degree])).max() < 1e-14 and (np.diff(zeros[degree]) > 2.9).all()
    basis = DistanceBasis(3, 7, 6, 5.0, 5)
    d = np.array([0.9, 1.7, 2.6, 4.0, 4.99])
    u = d / 5.0
    norm = np.sqrt(2) / np.abs(np.stack([spherical_jn(degree + 1, zeros[degree]) for degree in range(7)]))
    expected = np.stack([norm[degree] * spherical_jn(degree, zeros[degree] * u[:, None]) for degree in range(7)], axis=1)
    degree = np.arange(7).reshape(1, -1, 1)
    expected = expected * (-1.0) ** degree * np.sqrt((2 * degree + 1) / (4 * np.pi))  # Y_l0 of the opposite direction
    cut = 1 / u - 28 * u**5 + 48 * u**6 - 21 * u**7
    ours = basis(torch.tensor(d)).detach().numpy()
    np.testing.assert_allclose(ours[:, 3:].reshape(5, 7, 6), cut[:, None, None] * expected, rtol=2e-5, atol=2e-6)  # float32 norms
    np.testing.assert_allclose(ours[:, :3], cut[:, None] * np.sin(np.arange(1, 4) * np.pi * u[:, None]), atol=1e-6)
    assert not basis(torch.tensor([5.0, 5.1])).any()
    present = torch.tensor([True, False])
    assert torch.equal(basis(torch.tensor([2.0, 3.0]), present).any(dim=1), present)


def test_the_envelope_ends_smoothly() -> None:
    at = lambda u, order: sum(  # noqa: E731
        c * math.prod(power - k for k in range(order)) * u ** (power - order) for power, c in envelope(5).items()
    )
    assert all(abs(at(1.0, order)) < 1e-12 for order in range(3)) and abs(at(1.0, 3)) > 100
    assert at(0.5, 0) == pytest.approx(2 - 28 / 32 + 48 / 64 - 21 / 128)


def test_derivatives_of_the_distance_basis() -> None:
    """First and second, by distances and by the frequencies; the slope is given in closed form."""
    basis = DistanceBasis(2, 3, 2, 4.0, 5).double()
    d = torch.tensor([0.8, 2.3, 3.9], dtype=torch.float64, requires_grad=True)

    def values(distance: Tensor, frequencies: Tensor) -> Tensor:
        return torch.func.functional_call(basis, {"freq": frequencies}, distance)

    frequencies = basis.freq.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(values, (d, frequencies)) and torch.autograd.gradgradcheck(values, (d, frequencies))
    single = DistanceBasis(2, 3, 2, 4.0, 5)(d.float())
    assert single.dtype == torch.float32 and torch.allclose(single.double(), values(d, frequencies), atol=1e-5)


@pytest.mark.parametrize("n_l", [1, 2, 3, 5, 7, 8])
def test_harmonics_and_legendre_polynomials(n_l: int) -> None:
    u = directions(2, 6)
    inside = torch.ones(2, 6, dtype=torch.bool)
    inside[1, 5], u[1, 5] = False, 0.0
    found, expected = Harmonics(n_l).double()(u, inside), racah(n_l - 1, u)
    for l in range(n_l):
        exact = expected[..., l * l : (l + 1) ** 2] * inside.unsqueeze(-1)
        torch.testing.assert_close(found[:, l, : 2 * l + 1].transpose(1, 2), exact)
        assert not found[:, l, 2 * l + 1 :].any()
    cosine, keep = u @ u.transpose(1, 2), inside.unsqueeze(1) & inside.unsqueeze(2)
    polynomials = torch.tensor(np.stack([eval_legendre(l, cosine.numpy()) for l in range(n_l)], axis=2)) * keep.unsqueeze(2)
    legendre = Legendre(n_l).double()
    scaled = legendre(cosine, keep.double()) / torch.tensor(legendre.factors, dtype=torch.float64).view(-1, 1)
    torch.testing.assert_close(scaled, polynomials)
    by_harmonics = torch.einsum("nlmi,nlmj->nilj", found, found)
    torch.testing.assert_close(by_harmonics, polynomials)


def test_derivatives_of_harmonics_and_legendre_polynomials() -> None:
    u, inside = directions(1, 3).requires_grad_(), torch.ones(1, 3, dtype=torch.bool)
    harmonics, legendre = Harmonics(5).double(), Legendre(5).double()
    cosine = (directions(1, 3) @ directions(1, 3).transpose(1, 2)).requires_grad_()
    keep = torch.ones(1, 3, 3, dtype=torch.float64)
    keep[0, 0, 1] = 0.0
    for call, argument in ((lambda v: harmonics(v, inside), u), (lambda c: legendre(c * keep, keep), cosine)):
        assert torch.autograd.gradcheck(call, argument) and torch.autograd.gradgradcheck(call, argument)


def one_by_one(graph: AtomGraph, edge_vec: Tensor, radial: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    """sum_k x_c(k->j) sum_ln W_ln,q f_ln(d_kj) P_l(c) of every edge j->i: [N, K, Q, C], triplet by triplet."""
    n, k = graph.mask.shape
    heard = torch.zeros(n, k, weights.shape[-1], x.shape[-1], dtype=torch.float64)
    for i, a in graph.mask.nonzero().tolist():
        j = int(graph.neighbors[i, a])
        for b in graph.mask[j].nonzero().flatten().tolist():
            v_ji, v_kj = edge_vec[i, a], edge_vec[j, b]
            if graph.neighbors[j, b] == i and torch.allclose(v_ji, -v_kj):
                continue
            c = -float(v_ji @ v_kj / v_ji.norm() / v_kj.norm())
            legendre = torch.tensor([eval_legendre(l, c) for l in range(3)], dtype=torch.float64)
            s = torch.einsum("ln,lnq,l->q", radial[j, b].view(3, 2), weights.view(3, 2, -1), legendre)
            heard[i, a] += s.unsqueeze(1) * x[j, b]
    return heard


@pytest.mark.parametrize("cap", [None, 7])
def test_sums_over_triplets(cap: int | None) -> None:
    """Through moments and through all angles, the triplet that turns back left out; k may be an image of i."""
    graph = graph_of(cap)
    assert graph.symmetric == (cap is None)
    n, k = graph.mask.shape
    edge_vec = graph.edge_vectors(torch.float64)
    generator = torch.Generator().manual_seed(1)
    edges = EdgeRows(graph)
    distance, unit = edges.polar(edge_vec)
    radial = edges.functions(torch.randn(len(distance), 6, generator=generator, dtype=torch.float64) * (distance < 4.0)[:, None])[
        1
    ]
    weights = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    rows = edges.slots.shape if edges.paired else (n, k)
    x = torch.randn(*rows, 5, generator=generator, dtype=torch.float64)
    at_slots = edges.at_slots(x) * graph.mask.unsqueeze(-1)
    expected = one_by_one(graph, edge_vec, radial, weights[1], at_slots)
    diagonal = Moments(3, 2).double()(edges, unit, radial, weights)(1, x)
    there = edges.at_slots(diagonal) * graph.mask.unsqueeze(-1)
    torch.testing.assert_close(there, expected.diagonal(dim1=2, dim2=3))
    full = edges.leaving(AllTriplets(3, 2).double()(edges, unit, radial, weights)(1, x))
    torch.testing.assert_close((edges.at_slots(full) * graph.mask.unsqueeze(-1)).view_as(expected), expected)


def test_contraction_with_moments_is_twice_differentiable() -> None:
    graph = neighbor_graph(*atoms(3, 3, WIDE, 1.5), 3.2)
    edges, moments = EdgeRows(graph), Moments(3, 2).double()
    generator = torch.Generator().manual_seed(2)
    edge_vec = graph.edge_vectors(torch.float64)
    shape = len(graph.pair_slots), 2, 2
    weights, x = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((1, 6, 2), shape))
    functions = torch.randn(shape[0], 6, generator=generator, dtype=torch.float64)

    def heard(v: Tensor, f: Tensor, w: Tensor, y: Tensor) -> Tensor:
        return moments(edges, edges.polar(v * graph.mask.unsqueeze(-1) + edge_vec)[1], edges.functions(f)[1], w)(0, y)

    inputs = [t.requires_grad_() for t in (torch.zeros_like(edge_vec), functions, weights, x)]
    assert torch.autograd.gradcheck(heard, inputs) and torch.autograd.gradgradcheck(heard, inputs, atol=1e-4)


def loss_gradients(field: ForceField, graph: AtomGraph) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Energies, forces and what a loss on both says to the weights: two derivatives deep."""
    field.zero_grad()
    prediction = field.predict(graph, create_graph=True)
    (prediction.energy.square().sum() + prediction.forces.pow(3).sum()).backward()
    gradients = {key: p.grad.clone() for key, p in field.named_parameters() if p.grad is not None}
    return prediction.energy.detach(), prediction.forces.detach(), gradients


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_rows_of_pairs_and_rows_of_slots_are_the_same(name: str, published: bool) -> None:
    """A symmetric graph treated as any other: no pairs, no moments without the general rule for what turns back."""
    field, graph = small(name, as_published=published), graph_of(cutoff=CUTOFF)
    assert EdgeRows(graph).paired and not EdgeRows(replace(graph, symmetric=False)).paired
    one, other = loss_gradients(field, graph), loss_gradients(field, replace(graph, symmetric=False))
    torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    assert all(gradient.any() for key, gradient in one[2].items() if key != "network.embedding.table.weight")


@pytest.mark.parametrize("name", MODELS)
def test_padded_pairs_change_nothing(name: str) -> None:
    """Graphs of fixed shapes hold pairs that are none: neither forces nor the gradients of weights know of them."""
    field, (z, pos, cell) = small(name), atoms(5, 5, WIDE, 1.0)
    exact = neighbor_graph(z, pos, cell, CUTOFF)
    width = exact.neighbors.shape[1] + 5
    searched = AllPairs(z, torch.tensor(cell)[None], CUTOFF, capacity=width)(torch.tensor(pos)[None])
    moved = pos + np.random.default_rng(0).normal(size=pos.shape) * 0.3
    frames = GraphSet.build(z, np.stack([pos, moved]), np.stack([cell, cell]), CUTOFF)
    both = collate([exact, neighbor_graph(z, moved, cell, CUTOFF)])
    for padded, plain in ((searched, exact), (frames.batch(slice(0, 2)), both)):
        assert padded.pair_mask is not None and not bool(padded.pair_mask.all())
        torch.testing.assert_close(loss_gradients(field, padded), loss_gradients(field, plain), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_atoms_without_neighbours(name: str) -> None:
    field = small(name)
    graph = neighbor_graph(np.array([3, 16]), np.array([[0.0, 0, 0], [9.0, 0, 0]]), 30 * np.eye(3), CUTOFF)
    prediction = field.predict(graph)
    assert torch.isfinite(prediction.energy).all() and not prediction.forces.any()


def test_the_first_slot_of_a_pair_has_the_lower_number() -> None:
    """Rows of pairs rely on it."""
    z, pos, cell = atoms(5, 5, SKEWED, 1.0)
    searched = AllPairs(z, torch.tensor(cell)[None], CUTOFF, capacity=200)(torch.tensor(pos)[None])
    frames = GraphSet.build(z, np.stack([pos, pos + 0.1]), np.stack([cell, cell]), CUTOFF).batch(slice(0, 2))
    for graph in (graph_of(), searched, frames):
        first, second = graph.pair_slots[slice(None) if graph.pair_mask is None else graph.pair_mask].T
        assert (first < second).all() and len(first) > 0
        edges = EdgeRows(graph)
        real = graph.mask.reshape(-1)
        numbers = torch.arange(len(real))[real]
        assert torch.equal(edges.slots.reshape(-1)[edges.place.reshape(-1)[real]], numbers)
        assert torch.equal(edges.turned_slots.reshape(-1)[edges.turned_place.reshape(-1)[real]], numbers)
