"""Functions of the distance alone."""

from __future__ import annotations

import math

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
        if trainable:
            self.centers, self.coeff = nn.Parameter(centers.float()), nn.Parameter(coeff.float())
        else:
            self.register_buffer("centers", centers.float())
            self.register_buffer("coeff", coeff.float())

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(self.coeff * (distance.unsqueeze(-1) - self.centers).square())


def cosine_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """C(d) = (cos(pi d / rc) + 1) / 2 for d < rc, else 0: value and slope vanish at the cut-off (Behler, 10.1063/1.3553717)."""
    return (0.5 * (torch.cos(distance * (math.pi / cutoff)) + 1.0)) * (distance < cutoff)
