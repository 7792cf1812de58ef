"""Real spherical harmonics, what rotations do to them, and sets of points on the sphere.

Convention: the polar axis is y, (x, y, z) = (sin b sin a, cos b, sin b cos a); Y_lm ~ sin(|m| a) for m < 0, cos(m a) for m > 0,
without the Condon-Shortley sign, orthonormal on the sphere; coefficient (l, m) stands at l² + l + m. A rotation R acts by
Y(R r) = D(R) Y(r).

>>> spherical_harmonics(1, torch.tensor([[1.0, 2.0, 3.0]])).mul(math.sqrt(4 * math.pi / 3))[0, 1:].round(decimals=6).tolist()
[1.0, 2.0, 3.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


class Constant(nn.Module):
    """Fixed numbers, made once in double precision, on the device of the network that holds them and in its dtype.

    They are part of no checkpoint. `double` keeps their precision whatever the network's; `counted` makes them a parameter
    without gradient, which some publications count.
    """

    value: Tensor

    def __init__(self, exact: Tensor, double: bool = False, counted: bool = False) -> None:
        super().__init__()
        self._exact, self._double = exact.double(), double
        value = self._exact.to(torch.float64 if double else torch.get_default_dtype())
        if counted:
            self.value = nn.Parameter(value, requires_grad=False)
        else:
            self.register_buffer("value", value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constant:
        super()._apply(fn, recurse)
        dtype = torch.float64 if self._double else self.value.dtype
        self.value.data = self._exact.to(self.value.device, dtype)  # a cast to double restores all digits
        return self

    def _save_to_state_dict(self, *_: object) -> None:
        """Nothing: construction makes them."""

    def _load_from_state_dict(self, *_: object) -> None:
        """Nothing, likewise."""


def degrees_and_orders(lmax: int, mmax: int | None = None) -> tuple[Tensor, Tensor]:
    """l and m of the coefficients with |m| <= mmax (all by default), l ascending, then m."""
    most = lmax if mmax is None else mmax
    pairs = [(l, m) for l in range(lmax + 1) for m in range(-min(l, most), min(l, most) + 1)]
    l, m = torch.tensor(pairs).T
    return l, m


def spherical_harmonics(lmax: int, points: Tensor) -> Tensor:
    """|p|^l Y_lm(p/|p|) of points [..., 3]: [..., (lmax+1)²], double precision.

    Polynomials in x, y, z: the azimuth gives (z + ix)^m, the polar angle Legendre's recursion with r² carried along.
    """
    x, y, z = points.double().unbind(-1)
    square = x * x + y * y + z * z
    cos_m, sin_m = torch.ones_like(x), torch.zeros_like(x)
    found: dict[tuple[int, int], Tensor] = {}
    for m in range(lmax + 1):
        below, legendre = torch.zeros_like(x), torch.full_like(x, float(math.prod(range(1, 2 * m, 2))))
        for l in range(m, lmax + 1):
            norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m) * (2 if m else 1))
            found[l, m], found[l, -m] = norm * legendre * cos_m, norm * legendre * (sin_m if m else cos_m)
            below, legendre = legendre, ((2 * l + 1) * y * legendre - (l + m) * square * below) / (l + 1 - m)
        cos_m, sin_m = z * cos_m - x * sin_m, z * sin_m + x * cos_m
    return torch.stack([found[l, m] for l in range(lmax + 1) for m in range(-l, l + 1)], dim=-1)


def directions(polar: Tensor, azimuth: Tensor) -> Tensor:
    """Unit vectors [nb, na, 3] of polar angles b [nb] and azimuths a [na]."""
    b, a = polar.double().unsqueeze(1), azimuth.double().unsqueeze(0)
    return torch.stack([b.sin() * a.sin(), b.cos() + torch.zeros_like(a), b.sin() * a.cos()], dim=-1)


def sphere_grid(lmax: int, latitudes: int, longitudes: int) -> tuple[Tensor, Tensor]:
    """Transforms between coefficients and a grid on the sphere: f = to c and c = from^T f, both [nb, na, (lmax+1)²].

    Latitudes pi (i + 1/2)/nb with the weights of Driscoll and Healy (Adv. Appl. Math. 15, 202 (1994), 10.1006/aama.1994.1008),
    longitudes 2 pi j/na.
    """
    half = latitudes / 2
    if half != int(half):
        raise ValueError(f"a grid on the sphere has an even number of latitudes, not {latitudes}")
    odd = 2 * torch.arange(latitudes, dtype=torch.float64) + 1
    q = 2 * torch.arange(int(half), dtype=torch.float64) + 1
    weight = 2 / half * torch.sin(math.pi * odd / (4 * half)) * (torch.sin(odd.outer(q) * math.pi / (4 * half)) / q).sum(1)
    azimuth = 2 * math.pi / longitudes * torch.arange(longitudes, dtype=torch.float64)
    to = spherical_harmonics(lmax, directions(math.pi * odd / (2 * latitudes), azimuth))
    return to, to * (weight * 2 * math.pi / longitudes).view(-1, 1, 1)


def sphere_points(n: int) -> Tensor:
    """n quasi-uniform points [n, 3] near the unit sphere: a golden-angle spiral, each scaled by its share of the density."""
    k = torch.arange(n, dtype=torch.float64)
    theta, phi = 4 * math.pi / (1 + math.sqrt(5)) * k, torch.arccos(1 - 2 * (k + 0.5) / n)
    q = torch.stack([theta.cos() * phi.sin(), theta.sin() * phi.sin(), phi.cos()], dim=-1)
    density = 1 / torch.exp(-(q.unsqueeze(0) - q.unsqueeze(1)).square().sum(-1) / 0.15).sum(1)
    return (n * density / density.sum()).unsqueeze(1) * q


def turned_harmonics(lmax: int, rotation: Tensor) -> Tensor:
    """D(R) of one rotation [3, 3] by exact quadrature: the integral of Y(R r) Y(r)^T over the sphere."""
    nodes, weights = np.polynomial.legendre.leggauss(lmax + 1)
    azimuth = 2 * math.pi / (2 * lmax + 1) * torch.arange(2 * lmax + 1, dtype=torch.float64)
    r = directions(torch.arccos(torch.from_numpy(nodes)), azimuth)
    weight = torch.from_numpy(weights).view(-1, 1, 1) * 2 * math.pi / (2 * lmax + 1)
    turned = spherical_harmonics(lmax, r @ rotation.double().T)
    return torch.einsum("bak,baq->kq", turned * weight, spherical_harmonics(lmax, r))


class WignerRows(nn.Module):
    """The rows |m| <= mmax of D(R) of many rotations, without the blocks that are zero.

    [..., 3, 3] -> [..., 2 mmax + 1, (lmax+1)²], double precision: entry (m, (l, m')) is D^l_mm', zero where |m| > l.

    R = R_y(alpha) R_x(beta) R_y(gamma). A turn about y mixes m and -m by cos(m angle) and sin(m angle); a turn about x is one
    about y between two exchanges of x and y (Pinchon & Hoggan, J. Phys. A 40, 1597 (2007), 10.1088/1751-8113/40/7/011), so
    D(R_x) is a trigonometric polynomial in beta with constant coefficients.
    """

    order: Tensor
    rows: Tensor
    opposite: Tensor

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.lmax, self.mmax = lmax, mmax
        l, m = degrees_and_orders(lmax)
        rows = torch.arange(-mmax, mmax + 1)
        opposite = l * l + l - m
        exchange = turned_harmonics(lmax, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]))
        waves = [exchange * (m.abs() == k) @ exchange for k in range(lmax + 1)]
        waves += [-(exchange * (m * (m.abs() == k)).sign()) @ exchange[opposite] for k in range(1, lmax + 1)]
        place = (l * l + l + rows.unsqueeze(1)).clamp(max=len(l) - 1)
        packed = torch.stack(waves)[:, place, torch.arange(len(l))] * (l >= rows.abs().unsqueeze(1))
        self.waves = Constant(packed.flatten(1), double=True)
        for name, index in (("order", m), ("rows", rows), ("opposite", opposite)):
            self.register_buffer(name, index, persistent=False)

    @torch.no_grad()
    def forward(self, rotation: Tensor) -> Tensor:
        cos, sin = self._multiples(rotation.double())
        (cos_a, cos_b, cos_c), (sin_a, sin_b, sin_c) = cos.unbind(-2), sin.unbind(-2)
        d = (torch.cat([cos_b, sin_b[..., 1:]], dim=-1) @ self.waves.value).unflatten(-1, (len(self.rows), -1))
        cos_c, sin_c = cos_c[..., self.order.abs()], sin_c[..., self.order.abs()] * self.order.sign()
        d = d * cos_c.unsqueeze(-2) + d[..., self.opposite] * sin_c.unsqueeze(-2)
        cos_a, sin_a = cos_a[..., self.rows.abs()], sin_a[..., self.rows.abs()] * self.rows.sign()
        return d * cos_a.unsqueeze(-1) - d.flip(-2) * sin_a.unsqueeze(-1)

    def _multiples(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [..., 3, lmax + 1] of 0 to lmax times alpha, beta and gamma; any alpha will do where beta is 0 or pi."""
        alpha = torch.atan2(r[..., 0, 1], r[..., 2, 1])
        beta = torch.atan2(torch.hypot(r[..., 0, 1], r[..., 2, 1]), r[..., 1, 1])
        x, z = r[..., 0, :], r[..., 2, :]
        cos, sin = alpha.cos(), alpha.sin()
        gamma = torch.atan2(cos * x[..., 2] - sin * z[..., 2], cos * x[..., 0] - sin * z[..., 0])
        multiple = torch.stack([alpha, beta, gamma], dim=-1).unsqueeze(-1) * torch.arange(self.lmax + 1, device=r.device)
        return multiple.cos(), multiple.sin()
