"""Bessel functions of the distance, as DimeNet and DimeNet++ expand it.

Gasteiger, Groß & Günnemann, ICLR 2020 (arXiv:2003.03123); Gasteiger et al., arXiv:2011.14115.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grannfield.nn.harmonics import Constant


class DistanceBasis(nn.Module):
    """env(u) sin(f_n u), then (-1)^l sqrt((2l+1)/4pi) env(u) N_ln j_l(z_ln u), u = d / cut-off: [P] Å -> [P, n + n_l n_n].

    env(u) = 1/u - (q+1)(q+2)/2 u^(q-1) + q(q+2) u^q - q(q+1)/2 u^(q+1), q = exponent + 1, zero beyond u = 1, brings value,
    slope and curvature to zero. The frequencies f_n are trainable and start at n pi. z_ln is the n-th positive zero of j_l
    and N_ln = sqrt(2) / |j_(l+1)(z_ln)|, both rounded to single precision as the published arithmetic has them. The factor in
    l is that of Y_l0 with the sign of the opposite direction.

    Every function is S(u) sin(ku) + C(u) cos(ku) with sums S and C of powers of u, and so is its derivative: one matrix
    product gives both. At small u the powers cancel, hence the double precision; only pairs are concerned, not triplets.
    """

    def __init__(self, n: int, n_l: int, n_n: int, cutoff: float, exponent: int) -> None:
        super().__init__()
        self.cutoff, self.lowest = cutoff, -1 - n_l
        self.freq = nn.Parameter(math.pi * torch.arange(1, n + 1))
        zeros, norm = published_zeros_and_norms(n_l, n_n)
        degree = np.arange(n_l).reshape(-1, 1)
        norm = norm * (-1.0) ** degree * np.sqrt((2 * degree + 1) / (4 * np.pi))
        waves = np.zeros((n_l + exponent + 4, 2, n + n_l * n_n))  # by power of u from `lowest` on; sine, cosine
        for power, factor in envelope(exponent).items():
            at = power - self.lowest
            waves[at, 0, :n] = factor
            for l, series in enumerate(spherical_bessel_series(n_l)):
                for s, pair in enumerate(series, start=1):  # x^-s of x = z u
                    for phase in range(2):
                        columns = slice(n + l * n_n, n + (l + 1) * n_n)
                        waves[at - s, phase, columns] += factor * pair[phase] * norm[l] / zeros[l] ** s
        self.zeros = Constant(torch.from_numpy(zeros).flatten(), double=True)
        self.waves = Constant(torch.from_numpy(waves), double=True)
        self.fixed, self.turned = (Constant(table, double=True) for table in tables(self.waves.value, self.lowest, 1 / cutoff))
        self.powers = Constant(torch.arange(len(waves) + 1) + self.lowest - 1, double=True)
        self.inverse = Constant(torch.tensor([1 / cutoff], dtype=torch.float64), double=True)
        self.phases = Constant(torch.tensor([[0.0], [math.pi / 2]], dtype=torch.float64), double=True)

    def forward(self, distance: Tensor, present: Tensor | None = None) -> Tensor:
        """`present` [P] bool: which pairs there are, where some rows are padding; those are zero."""
        k = torch.cat([self.freq, self.zeros.value])  # in double precision, as the zeros are
        return self._differentiable(distance, k, present, (self.waves.value, self.lowest))

    def _differentiable(self, distance: Tensor, k: Tensor, present: Tensor | None, waves: Waves) -> Tensor:
        """Functions [P, M] of distances [P] and wave numbers k [M], with derivatives of any order by both."""
        values, slope = self._evaluated(distance, k, present, waves)
        remade = partial(self._differentiable, distance, k, present)
        values = _ByWaveNumbers.apply(k, values, partial(self._by_wave_numbers, distance, waves, remade))
        return _ByDistance.apply(distance, values, slope, partial(self._by_distance, k, waves, remade))

    @torch.no_grad()
    def _evaluated(self, distance: Tensor, k: Tensor, present: Tensor | None, waves: Waves) -> tuple[Tensor, Tensor]:
        """Functions and their derivatives by the distance, at once."""
        fixed, turned, powers = self.fixed.value, self.turned.value, self.powers.value
        if waves[0] is not self.waves.value:
            fixed, turned = tables(*waves, 1 / self.cutoff)
            powers = torch.arange(fixed.shape[1], dtype=powers.dtype, device=powers.device) + waves[1] - 1
        coefficients = torch.addcmul(fixed, k, turned)
        u = distance.unsqueeze(-1) * self.inverse.value  # in double precision, as the inverse is
        inside = u < (1 if present is None else present.unsqueeze(-1))  # no u is below 0 = False
        phases = torch.sin(torch.addcmul(self.phases.value, u.unsqueeze(-1), k))  # [P, 2, M]
        amplitudes = torch.matmul(u.pow(powers) * inside, coefficients.flatten(2)).view(2, *phases.shape)
        both = torch.addcmul(amplitudes[:, :, 0] * phases[:, 0], amplitudes[:, :, 1], phases[:, 1]).to(distance.dtype)
        return both[0], both[1]

    def _by_distance(self, k: Tensor, waves: Waves, remade: Callable[[Waves], Tensor]) -> Tensor:
        """The derivative by the distance as a differentiable function."""
        return (remade(by_power(*waves)) + k * remade(by_phase(*waves))) * self.inverse.value

    def _by_wave_numbers(self, distance: Tensor, waves: Waves, remade: Callable[[Waves], Tensor]) -> Tensor:
        """The derivative by k."""
        return distance.unsqueeze(-1) * self.inverse.value * remade(by_phase(*waves))


class _ByDistance(torch.autograd.Function):
    """Values [P, M] of functions of distances [P] whose slopes are known, or made again where they are differentiated too."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, values: Tensor, slope: Tensor, again: Callable[[], Tensor]) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.again = again
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        slope = ctx.again() if torch.is_grad_enabled() else ctx.saved_tensors[0]
        return (grad * slope).sum(dim=-1), grad, None, None


class _ByWaveNumbers(torch.autograd.Function):
    """Values [P, M] of functions of wave numbers [M]. Apart from `_ByDistance`, as forces alone need no derivative by them."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, values: Tensor, slope: Callable[[], Tensor]) -> Tensor:
        ctx.slope = slope
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return (grad * ctx.slope()).sum(dim=0), None, None


Waves = tuple[Tensor, int]
"""Coefficients [powers, 2 (sine, cosine), M] of functions S(u) sin(ku) + C(u) cos(ku), and the lowest power of u."""


def by_power(waves: Tensor, lowest: int) -> Waves:
    """S' sin ku + C' cos ku."""
    powers = torch.arange(len(waves), dtype=waves.dtype, device=waves.device).view(-1, 1, 1) + lowest
    return powers * waves, lowest - 1


def by_phase(waves: Tensor, lowest: int) -> Waves:
    """-C sin ku + S cos ku: the derivative by ku."""
    return torch.stack([-waves[:, 1], waves[:, 0]], dim=1), lowest


def tables(waves: Tensor, lowest: int, scale: float) -> tuple[Tensor, Tensor]:
    """Coefficients of functions and of `scale` times their derivatives by u, as fixed + k turned.

    Both are [2, powers + 1, 2, M], from the power lowest - 1 on.
    """
    none = torch.zeros_like(waves[:1])
    here, turned = torch.cat([none, waves]), torch.cat([none, by_phase(waves, lowest)[0]])
    slope = torch.cat([by_power(waves, lowest)[0], none])
    return torch.stack([here, scale * slope]), torch.stack([torch.zeros_like(here), scale * turned])


def envelope(exponent: int) -> dict[int, float]:
    """Coefficients, by power of u, of what brings value, slope and curvature to zero at u = 1.

    >>> envelope(5)
    {-1: 1.0, 5: -28.0, 6: 48.0, 7: -21.0}
    """
    q = exponent + 1
    return {-1: 1.0, q - 1: -(q + 1) * (q + 2) / 2, q: float(q * (q + 2)), q + 1: -q * (q + 1) / 2}


def spherical_bessel_series(n_l: int) -> list[np.ndarray]:
    """j_l(x) = sum_s x^-s (a_ls sin x + b_ls cos x), s = 1 ... l + 1: for every l the pairs (a, b) as [l + 1, 2].

    >>> spherical_bessel_series(2)[1].tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    below, here = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])  # j_-1 and j_0
    rows = [here]
    for l in range(1, n_l):
        higher = np.concatenate([np.zeros((1, 2)), (2 * l - 1) * here])
        higher[: len(below)] -= below
        below, here = here, higher
        rows.append(here)
    return rows


def published_zeros_and_norms(n_l: int, n_n: int) -> tuple[np.ndarray, np.ndarray]:
    """z_ln and N_ln [n_l, n_n], rounded to single precision step by step as the published arithmetic has them."""
    zeros = spherical_bessel_zeros(n_l, n_n).astype(np.float32)
    at = np.stack([_spherical_bessel(l + 1, zeros[l].astype(np.float64)) for l in range(n_l)]).astype(np.float32)
    norm = np.float32(1) / np.sqrt(np.float32(0.5) * at * at)
    return zeros.astype(np.float64), norm.astype(np.float64)


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
