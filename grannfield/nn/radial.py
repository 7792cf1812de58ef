"""Functions of the distance alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class GaussianBasis(nn.Module):
    """Gaussians evenly spread from 0 to the cut-off: g_k(d) = exp(c (d - mu_k)²), c = -1/2 / spacing².

    [...] Å -> [..., n]. With `trainable` the centres and the one width c are parameters, else constants.
    """

    centers: Tensor
    coeff: Tensor

    def __init__(self, n: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        centers = torch.linspace(0.0, cutoff, n, dtype=torch.float64)
        coeff = -0.5 / (centers[1] - centers[0]) ** 2
        self.trainable = trainable
        if trainable:
            self.centers, self.coeff = nn.Parameter(centers.float()), nn.Parameter(coeff.float())
        else:
            self.register_buffer("centers", centers.float())
            self.register_buffer("coeff", coeff.float())

    def forward(self, distance: Tensor) -> Tensor:
        if self.trainable:
            return torch.exp((self.coeff * (distance.unsqueeze(-1) - self.centers).square()).clamp(min=FAINTEST))
        found: Tensor = _Gaussians.apply(distance, self.centers, self.coeff)
        return found


FAINTEST = -80.0
"""ln of the smallest Gaussian, 2e-35. Smaller ones are denormal numbers in single precision, which cost a processor ten times as
much as others, in the exponential and wherever they enter a product."""


class _Gaussians(torch.autograd.Function):
    """exp(c (d - mu)²), whose slope by d is 2 c (d - mu) times itself."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, centers: Tensor, coeff: Tensor) -> Tensor:
        away = distance.unsqueeze(-1) - centers
        found = away.square().mul_(coeff).clamp_(min=FAINTEST).exp_()
        ctx.save_for_backward(distance, centers, coeff, away, found)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        distance, centers, coeff, away, found = ctx.saved_tensors
        if torch.is_grad_enabled():  # the slope is to be differentiated by the distance as well
            away, found = distance.unsqueeze(-1) - centers, _Gaussians.apply(distance, centers, coeff)
        return (grad * found * away).sum(dim=-1) * (2 * coeff), None, None


def cosine_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """C(d) = (cos(pi d / rc) + 1) / 2 for d < rc, else 0: value and slope vanish at the cut-off (Behler, 10.1063/1.3553717)."""
    return (0.5 * (torch.cos(distance * (math.pi / cutoff)) + 1.0)) * (distance < cutoff)
