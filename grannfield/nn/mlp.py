"""Linear layers and activations as the eleven models initialise and use them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def shifted_softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x) - ln 2: smooth everywhere and zero at zero (Schütt et al., 10.1063/1.5019779)."""
    return nn.functional.softplus(x) - math.log(2.0)


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


def each_linear(x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Layer l on the l-th of as many inputs, by one batched product: [L, P, A] -> [L, P, C]."""
    weight, bias = torch.stack([layer.weight for layer in layers]), torch.stack([layer.bias for layer in layers])
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
