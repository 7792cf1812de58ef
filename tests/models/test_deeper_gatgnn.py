"""What DeeperGATGNN shares between the ends of a pair and knows beforehand of its norms, against the plain arithmetic."""

from __future__ import annotations

import torch

from grannfield.models.deeper_gatgnn import SKIP, DeeperGATGNN, GroupNorm, _affine, _PlusProduct
from tests.models.operations import operations
from tests.models.small import small


def test_operations() -> None:
    found, waits = operations("deeper_gatgnn")
    assert found <= 350 and waits == 0


def test_known_statistics_make_a_group_norm_one_product() -> None:
    torch.manual_seed(0)
    field = small("deeper_gatgnn")
    assert isinstance(field, DeeperGATGNN)
    norms = [norm for norm in field.norms if isinstance(norm, GroupNorm)]
    x, y = torch.randn(2, 6, 8, dtype=torch.float64)
    for norm, affine in zip(norms, _affine(norms), strict=True):
        grouped = torch.softmax(y @ norm.assign.weight.T, dim=1).unsqueeze(-1) * y.unsqueeze(1)
        expected = x + y + SKIP * norm.bn(grouped.flatten(1)).view_as(grouped).sum(dim=1)
        torch.testing.assert_close(norm(x, y, *affine), expected)
        torch.testing.assert_close(norm(x, y, None, None), expected)
        assert (expected - x - y).abs().max() > 1e-4
    assert len(norms) == 2


def test_a_product_added_has_its_derivatives() -> None:
    parts = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(_PlusProduct.apply, parts) and torch.autograd.gradgradcheck(_PlusProduct.apply, parts)
