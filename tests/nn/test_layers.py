"""Layers that models share, against libraries and definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import spherical_jn

from grannfield.models.gns_tat import _InverseSqrt
from grannfield.nn.attention import neighbor_softmax
from grannfield.nn.bessel import RadialBessel, SphericalBessel, envelope, spherical_bessel_zeros
from grannfield.nn.directional import orthogonal_linear
from grannfield.nn.norm import BatchNorm


def test_batch_norm_is_pytorchs_over_the_rows_that_are_kept() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(5).double(), torch.nn.BatchNorm1d(5).double()
    with torch.no_grad():
        ours.weight.normal_(), ours.bias.normal_()
        theirs.weight.copy_(ours.weight), theirs.bias.copy_(ours.bias)
    for _ in range(3):
        x, mask = torch.randn(7, 4, 5, dtype=torch.float64) * 3 + 1, torch.rand(7, 4) < 0.7
        x = torch.where(mask.unsqueeze(-1), x, 1e6)
        torch.testing.assert_close(ours(x, mask)[mask], theirs(x[mask]))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x, mask)[mask], theirs(x[mask]))
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))


def test_attention_weights() -> None:
    from torch_geometric.utils import softmax

    torch.manual_seed(0)
    logits, mask = torch.randn(6, 5, 2, dtype=torch.float64) * 30, torch.rand(6, 5) < 0.6
    mask[2] = False
    rows = mask.nonzero()[:, 0]
    weights = neighbor_softmax(logits, mask)
    torch.testing.assert_close(weights[mask], softmax(logits[mask], rows, num_nodes=6))
    assert not weights[~mask].any() and torch.isfinite(weights).all()
    fade = torch.rand(6, 5, dtype=torch.float64)
    faded = neighbor_softmax(logits, mask, fade)
    expected = fade[..., None] * weights * fade[..., None] / (weights * fade[..., None]).sum(1, keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(faded[mask], expected[mask])


def test_a_neighbour_at_the_cutoff_has_no_weight_even_alone() -> None:
    mask = torch.tensor([[True]])
    for fade in (1e-3, 1e-9, 0.0):
        weight = neighbor_softmax(torch.zeros(1, 1, 1, dtype=torch.float64), mask, torch.full((1, 1), fade, dtype=torch.float64))
        assert float(weight) == pytest.approx(fade, rel=1e-5, abs=1e-12)


def test_spherical_bessel_basis() -> None:
    zeros = spherical_bessel_zeros(7, 6)
    for degree in range(7):
        assert np.abs(spherical_jn(degree, zeros[degree])).max() < 1e-14 and (np.diff(zeros[degree]) > 2.9).all()
    basis = SphericalBessel(7, 6, 5.0, 5)
    d = np.array([0.9, 1.7, 2.6, 4.0, 4.99])
    u = d / 5.0
    with np.errstate(all="ignore"):
        norm = np.sqrt(2) / np.abs(np.stack([spherical_jn(degree + 1, zeros[degree]) for degree in range(7)]))
    expected = np.stack([norm[degree] * spherical_jn(degree, zeros[degree] * u[:, None]) for degree in range(7)], axis=1)
    cut = 1 / u - 28 * u**5 + 48 * u**6 - 21 * u**7
    ours = basis(torch.tensor(d)).numpy()
    np.testing.assert_allclose(ours, cut[:, None, None] * expected, rtol=2e-5, atol=2e-6)  # norms are single precision
    assert not basis(torch.tensor([5.0])).any()


def test_radial_basis_and_envelope_end_smoothly() -> None:
    u = torch.tensor([1 - 1e-4, 0.5], dtype=torch.float64, requires_grad=True)
    value = envelope(u, 5)
    slope = torch.autograd.grad(value.sum(), u, create_graph=True)[0]
    curvature = torch.autograd.grad(slope.sum(), u)[0]
    assert abs(value[0].item()) < 1e-9 and abs(slope[0].item()) < 1e-5 and abs(curvature[0].item()) < 0.1
    assert float(value[1].detach()) == pytest.approx(2 - 28 / 32 + 48 / 64 - 21 / 128)
    basis = RadialBessel(3, 5.0, 5)
    at = basis(torch.tensor([2.5])).detach()
    torch.testing.assert_close(
        at, float(value[1].detach()) * torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_inverse_square_root_is_regular_where_eigenvalues_coincide() -> None:
    torch.manual_seed(0)
    a = torch.randn(3, 3, 3, dtype=torch.float64)
    a = a @ a.transpose(1, 2) + torch.eye(3, dtype=torch.float64)
    a[1] = torch.eye(3) * 2.0
    a[2] = torch.diag(torch.tensor([1.0, 1.0, 3.0]))
    root = _InverseSqrt.apply(a)
    torch.testing.assert_close(root @ a @ root, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    symmetric = lambda x: _InverseSqrt.apply(0.5 * (x + x.transpose(1, 2)))  # noqa: E731
    a.requires_grad_()
    assert torch.autograd.gradcheck(symmetric, a, atol=1e-6) and torch.autograd.gradgradcheck(symmetric, a, atol=1e-5)


def test_orthogonal_layers_have_glorots_variance() -> None:
    torch.manual_seed(0)
    layer = orthogonal_linear(24, 16)
    assert float(layer.weight.detach().var()) == pytest.approx(2 / 40) and not layer.bias.any()
    gram = (layer.weight @ layer.weight.T).detach()
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(16), atol=1e-5, rtol=0)
