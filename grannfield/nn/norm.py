"""Normalisation over rows of which some are padding."""

from __future__ import annotations

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
        if not self.training:  # one kernel instead of seven
            known = (self.running_mean, self.running_var, self.weight, self.bias)
            return nn.functional.batch_norm(x.flatten(0, -2), *known, eps=self.eps).view(x.shape)
        mean, var = self._batch(x, mask)
        gain = self.weight * torch.rsqrt(var + self.eps)
        return x * gain + (self.bias - mean * gain)

    def _batch(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = tuple(range(x.dim() - 1))
        if mask is None:
            n = x.new_tensor(float(x[..., 0].numel()))
            mean = x.mean(rows)
            var = (x - mean).square().mean(rows)
        else:
            kept = mask.unsqueeze(-1).to(x.dtype)
            n = kept.sum()
            mean = (x * kept).sum(rows) / n
            var = ((x - mean).square() * kept).sum(rows) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / (n - 1).clamp(min=1)), self.momentum)
        return mean, var
