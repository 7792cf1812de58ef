"""What CGCNN costs, and its table of elements."""

from __future__ import annotations

import torch

from grannfield.models.cgcnn import CGCNN
from tests.models.operations import operations
from tests.models.small import small


def test_operations() -> None:
    found, waits = operations("cgcnn")
    assert found <= 150 and waits == 0


def test_elements_are_looked_up_by_atomic_number() -> None:
    field = small("cgcnn")
    assert isinstance(field, CGCNN)
    assert torch.equal(field.by_number[3], field.khot[2]) and field.khot.shape == (100, 92)
    assert (field.khot.sum(dim=1) > 0).all() and "by_number" not in field.state_dict()
