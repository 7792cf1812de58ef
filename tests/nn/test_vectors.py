"""Lengths, directions and whitening against their definitions, to second derivatives."""

from __future__ import annotations

import torch

from grannfield.nn.vectors import direction, length, whitened

DOUBLE = torch.float64


def test_lengths_and_directions() -> None:
    torch.manual_seed(0)
    v = torch.randn(4, 3, 5, dtype=DOUBLE, requires_grad=True)
    torch.testing.assert_close(length(v, 1), torch.linalg.vector_norm(v, dim=1))
    torch.testing.assert_close(length(v, 1, 0.1), (v.square().sum(1) + 0.01).sqrt())
    w = v.detach()[..., :3].requires_grad_()
    torch.testing.assert_close(direction(w), torch.nn.functional.normalize(w, dim=-1))
    for call, x in ((lambda x: length(x, 1, 0.1), v), (length, w), (direction, w)):
        assert torch.autograd.gradcheck(call, x) and torch.autograd.gradgradcheck(call, x)


def test_a_length_is_smooth_where_the_vector_vanishes() -> None:
    v = torch.zeros(1, 3, 2, dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(length(v, 1, 0.1).sum(), v, create_graph=True)
    (curvature,) = torch.autograd.grad(slope[0, 0, 0], v)
    assert not slope.any() and abs(float(curvature[0, 0, 0]) - 10.0) < 1e-12


def test_whitening_is_regular_where_eigenvalues_coincide() -> None:
    """Rows of unit covariance, also of a site so symmetric that all three eigenvalues are the same, and of a linear one."""
    torch.manual_seed(0)
    vec = torch.randn(4, 3, 6, dtype=DOUBLE)
    vec[1] = torch.cat([torch.eye(3), -torch.eye(3)], dim=1)
    vec[2, 1:] = 0.0
    one = torch.eye(3, dtype=DOUBLE)
    result = whitened(vec, one, 1e-12)[[0, 1, 3]]
    torch.testing.assert_close(result @ result.mT / 6, one.expand(3, 3, 3))
    values, vectors = torch.linalg.eigh(vec[0].cov(correction=0) + 0.1 * one)
    by_hand = vectors @ values.rsqrt().diag() @ vectors.T @ (vec[0] - vec[0].mean(1, keepdim=True))
    torch.testing.assert_close(whitened(vec[:1], one, 0.1)[0], by_hand)
    call = lambda x: whitened(x, one, 0.1)  # noqa: E731
    vec.requires_grad_()
    assert torch.autograd.gradcheck(call, vec, atol=1e-6) and torch.autograd.gradgradcheck(call, vec, atol=1e-5)


def test_whitening_turns_with_the_vectors() -> None:
    torch.manual_seed(1)
    vec, turn = torch.randn(5, 3, 8, dtype=DOUBLE), torch.linalg.qr(torch.randn(3, 3, dtype=DOUBLE))[0]
    one = torch.eye(3, dtype=DOUBLE)
    torch.testing.assert_close(whitened(turn @ vec, one, 3e-5), turn @ whitened(vec, one, 3e-5))
    uneven = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE))
    assert (whitened(turn @ vec, uneven, 0.1) - turn @ whitened(vec, uneven, 0.1)).abs().max() > 1e-3
