"""Layers that models share, against libraries and definitions."""

from __future__ import annotations

import pytest
import torch

from grannfield.nn.attention import neighbor_softmax
from grannfield.nn.directional import orthogonal_linear
from grannfield.nn.norm import BatchNorm
from grannfield.nn.radial import GaussianBasis


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


def test_batch_norm_has_the_derivatives_of_its_statistics() -> None:
    """First and second, padded rows included: they take the statistics and give none."""
    torch.manual_seed(0)
    norm, mask = BatchNorm(3).double(), torch.rand(4, 3) < 0.7
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    x = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(x, mask), x) and torch.autograd.gradgradcheck(lambda x: norm(x, mask), x)
    theirs = torch.nn.functional.batch_norm(x[mask], None, None, norm.weight, norm.bias, training=True)
    expected = torch.autograd.grad(theirs.square().sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(norm(x, mask)[mask].square().sum(), x)[0], expected)


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


@pytest.mark.parametrize("faded", [False, True])
def test_derivatives_of_attention_weights(faded: bool) -> None:
    """By logits and by the envelope, first and second; that of a padded slot is zero."""
    torch.manual_seed(0)
    mask = torch.rand(4, 5) < 0.7
    mask[2] = False
    logits = torch.randn(4, 5, 2, dtype=torch.float64, requires_grad=True)
    fade = torch.rand(4, 5, dtype=torch.float64).requires_grad_(faded)
    call = lambda a, c: neighbor_softmax(a, mask, c.masked_fill(~mask, 0.0) if faded else None)  # noqa: E731
    assert torch.autograd.gradcheck(call, (logits, fade)) and torch.autograd.gradgradcheck(call, (logits, fade))
    slope = torch.autograd.grad(call(logits, fade).square().sum(), logits)[0]
    assert not slope[~mask].any() and slope[mask].any()


def test_the_slope_of_attention_is_finite_up_to_the_cutoff() -> None:
    fade = torch.tensor([[1.0, 1e-30, 0.0]], requires_grad=True)
    weight = neighbor_softmax(torch.zeros(1, 3, 1), torch.tensor([[True, True, True]]), fade)
    slope = torch.autograd.grad(weight[..., 0] @ torch.ones(3, 1), fade, torch.ones(1, 1))[0]
    assert weight.flatten().tolist() == [1.0, 0.0, 0.0] and torch.isfinite(slope).all()


def test_a_neighbour_at_the_cutoff_has_no_weight_even_alone() -> None:
    mask = torch.tensor([[True]])
    for fade in (1e-3, 1e-9, 0.0):
        weight = neighbor_softmax(torch.zeros(1, 1, 1, dtype=torch.float64), mask, torch.full((1, 1), fade, dtype=torch.float64))
        assert float(weight) == pytest.approx(fade, rel=1e-5, abs=1e-12)


def test_orthogonal_layers_have_glorots_variance() -> None:
    torch.manual_seed(0)
    layer = orthogonal_linear(24, 16)
    assert float(layer.weight.detach().var()) == pytest.approx(2 / 40) and not layer.bias.any()
    gram = (layer.weight @ layer.weight.T).detach()
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("trainable", [False, True])
def test_gaussians_are_those_of_the_formula_to_second_order_and_never_denormal(trainable: bool) -> None:
    basis = GaussianBasis(9, 6.0, trainable).double()
    d = torch.tensor([0.7, 2.3, 5.9], dtype=torch.float64, requires_grad=True)
    plain = lambda d: torch.exp(basis.coeff * (d.unsqueeze(-1) - basis.centers).square())  # noqa: E731
    torch.testing.assert_close(basis(d), plain(d), rtol=1e-12, atol=1e-30)
    assert torch.autograd.gradcheck(basis, d) and torch.autograd.gradgradcheck(basis, d)
    fine = GaussianBasis(100, 6.0, trainable)(torch.linspace(0.5, 6.0, 200))
    assert float(fine.detach().min()) > torch.finfo(torch.float32).tiny
