"""Linear layers and activations as the eleven models initialise and use them."""

from __future__ import annotations

import math

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
