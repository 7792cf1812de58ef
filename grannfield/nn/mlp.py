"""Linear layers and activations as the eleven models initialise and use them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LN2 = math.log(2.0)


def shifted_softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x) - ln 2: smooth everywhere and zero at zero (Schütt et al., 10.1063/1.5019779)."""
    return softplus(x) - LN2


def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x)."""
    found: Tensor = _Softplus.apply(x)
    return found


class _Softplus(torch.autograd.Function):
    """ln(1 + e^x). Torch's own second derivative takes three times as many passes over memory, for which training waits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return nn.functional.softplus(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        slope: Tensor = _Logistic.apply(grad, *ctx.saved_tensors)
        return slope


class _Logistic(torch.autograd.Function):
    """g s(x) with s = 1 / (1 + e^-x), whose slope by x is g s (1 - s)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return torch.ops.aten.softplus_backward(g, x, 1, 20)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        g, x = ctx.saved_tensors
        s = torch.sigmoid(x)
        by_g = grad * s
        both = by_g * g
        return by_g, torch.addcmul(both, both, s, value=-1)


def glorot_linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with Glorot-uniform weights and zero bias (Glorot & Bengio, AISTATS 2010)."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        with torch.no_grad():
            layer.bias.zero_()
    return layer


def joint_linear(x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Several layers of one width on the same input [P, A], by one product: [L, P, C]."""
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    return nn.functional.linear(x, weight, bias).view(len(x), len(layers), -1).transpose(0, 1)


def each_linear(x: Tensor, layers: Sequence[nn.Linear], shift: float = 0.0) -> Tensor:
    """Layer l on the l-th of as many inputs plus a constant, by one batched product: [L, P, A] -> [L, P, C]."""
    weight, bias = torch.stack([layer.weight for layer in layers]), torch.stack([layer.bias for layer in layers])
    if shift:
        bias = torch.add(bias, weight.sum(dim=2), alpha=shift)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
