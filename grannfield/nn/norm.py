"""Normalisation over rows of which some are padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation of [..., C] over all rows that `mask` [...] keeps (Ioffe & Szegedy, arXiv:1502.03167).

    In training the statistics are those of the batch (biased variance), else the running ones (momentum 0.1, unbiased
    variance). Padded rows enter no statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = x.flatten(0, -2)
        if not self.training:  # one kernel
            known = (self.running_mean, self.running_var, self.weight, self.bias)
            return nn.functional.batch_norm(rows, *known, eps=self.eps).view(x.shape)
        kept = torch.ones_like(rows[:, :1]) if mask is None else mask.reshape(-1, 1).to(x.dtype)
        n = kept.sum()
        standard, mean, var, _ = _Standardised.apply(rows, kept / n, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / (n - 1).clamp(min=1)), self.momentum)
        return (standard * self.weight + self.bias).view(x.shape)


class _Standardised(torch.autograd.Function):
    """(x - mean) / (variance + eps)^(1/2) of rows x [R, C] with weights [R, 1] that add up to one; mean, variance, and 1 / root.

    With s = 1 / root, y = (x - mean) s and weights w, the gradient of sum(g y) is s (g - w (sum g + y sum(g y))).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean = (weight.T @ x).squeeze(0)
        centred = x - mean
        var = (weight.T @ centred.square()).squeeze(0)
        s = torch.rsqrt(var + eps)
        y = centred.mul_(s)
        ctx.save_for_backward(y, s, weight)
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        return y, mean, var, s

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor | None, by_mean: None, by_var: None, by_s: Tensor | None
    ) -> tuple[Tensor, None, None]:
        y, s, weight = ctx.saved_tensors
        grad = torch.zeros_like(y) if grad is None else grad
        along = (grad * y).sum(dim=0)
        if by_s is not None:
            along = along + s * by_s
        return (grad - weight * (grad.sum(dim=0) + y * along)) * s, None, None
