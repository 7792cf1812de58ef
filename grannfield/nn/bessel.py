"""Bessel functions of the distance, as DimeNet and DimeNet++ expand it.

Gasteiger, Groß & Günnemann, ICLR 2020 (arXiv:2003.03123); Gasteiger et al., arXiv:2011.14115.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def envelope(u: Tensor, exponent: int) -> Tensor:
    """1/u times a polynomial that brings value, slope and curvature to zero at u = 1: [...] -> [...], zero beyond.

    With p + 1 = q: 1/u - (q+1)(q+2)/2 u^(q-1) + q(q+2) u^q - q(q+1)/2 u^(q+1).
    """
    q = exponent + 1
    a, b, c = -(q + 1) * (q + 2) / 2, q * (q + 2), -q * (q + 1) / 2
    return (1 / u + u ** (q - 1) * (a + u * (b + u * c))) * (u < 1)


class RadialBessel(nn.Module):
    """env(u) sin(f_n u), u = d / cut-off, with trainable frequencies f_n that start at n pi: [P] Å -> [P, n], double."""

    def __init__(self, n: int, cutoff: float, exponent: int) -> None:
        super().__init__()
        self.cutoff, self.exponent = cutoff, exponent
        self.freq = nn.Parameter(math.pi * torch.arange(1, n + 1))

    def forward(self, distance: Tensor) -> Tensor:
        u = (distance.double() / self.cutoff).unsqueeze(-1)
        return envelope(u, self.exponent) * torch.sin(self.freq.double() * u)


class SphericalBessel(nn.Module):
    """env(u) N_ln j_l(z_ln u), l < n_l, n = 1..n_n: [P] Å -> [P, n_l, n_n] in double precision.

    z_ln is the n-th positive zero of j_l and N_ln = sqrt(2) / |j_(l+1)(z_ln)|, both rounded to single precision as the
    published arithmetic has them. Upward recurrence loses digits at small arguments, hence the double precision; only
    pairs are concerned, not triplets.
    """

    def __init__(self, n_l: int, n_n: int, cutoff: float, exponent: int) -> None:
        super().__init__()
        self.cutoff, self.exponent = cutoff, exponent
        zeros = spherical_bessel_zeros(n_l, n_n).astype(np.float32)
        at = np.stack([_spherical_bessel(l + 1, zeros[l].astype(np.float64)) for l in range(n_l)]).astype(np.float32)
        norm = np.float32(1) / np.sqrt(np.float32(0.5) * at * at)
        self.zeros, self.norm = torch.from_numpy(zeros.astype(np.float64)), torch.from_numpy(norm.astype(np.float64))

    def forward(self, distance: Tensor) -> Tensor:
        u = (distance.double() / self.cutoff).view(-1, 1, 1)
        zeros, norm = (constant.to(u.device) for constant in (self.zeros, self.norm))
        x = zeros * u  # [P, n_l, n_n]
        below, here = torch.cos(x) / x, torch.sin(x) / x  # j_-1 and j_0; row 0 is finished
        rows = [here[:, :1]]
        for l in range(1, len(zeros)):
            rest = x[:, l:]
            below, here = here[:, 1:], (2 * l - 1) / rest * here[:, 1:] - below[:, 1:]
            rows.append(here[:, :1])
        return envelope(u, self.exponent) * norm * torch.cat(rows, dim=1)


def spherical_bessel_zeros(n_l: int, n_n: int) -> np.ndarray:
    """The first n_n positive zeros of j_0 ... j_(n_l - 1), as [n_l, n_n]: those of j_l lie between those of j_(l-1).

    >>> spherical_bessel_zeros(2, 2).round(6).tolist()
    [[3.141593, 6.283185], [4.493409, 7.725252]]
    """
    zeros = np.pi * np.arange(1, n_n + n_l + 1)
    rows = [zeros[:n_n]]
    for l in range(1, n_l):
        low, high = zeros[:-1].copy(), zeros[1:].copy()
        rising = _spherical_bessel(l, high) > _spherical_bessel(l, low)
        for _ in range(80):
            middle = 0.5 * (low + high)
            beyond = (_spherical_bessel(l, middle) > 0) == rising
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        zeros = 0.5 * (low + high)
        rows.append(zeros[:n_n])
    return np.stack(rows)


def _spherical_bessel(l: int, x: np.ndarray) -> np.ndarray:
    """j_l(x) by upward recurrence, accurate where x is not small beside l."""
    below, here = np.cos(x) / x, np.sin(x) / x
    for k in range(1, l + 1):
        below, here = here, (2 * k - 1) / x * here - below
    return here
