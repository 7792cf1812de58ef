"""Operations on arrays of edges that overwrite their first argument where no gradient is recorded.

Nothing reads that argument again then, and an array of edges that is not allocated is not written to memory first. With a
gradient they are the ordinary operations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def silu(x: Tensor) -> Tensor:
    """x / (1 + e^-x)."""
    return nn.functional.silu(x, inplace=not torch.is_grad_enabled())


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y; y may be smaller."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def times(x: Tensor, y: Tensor) -> Tensor:
    """x * y; y may be smaller."""
    return x * y if torch.is_grad_enabled() else x.mul_(y)


def plus_product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x + a @ b, all matrices."""
    return torch.addmm(x, a, b) if torch.is_grad_enabled() else x.addmm_(a, b)
