"""Legendre polynomials of the angle between two directions, for every pair or through harmonics of each, twice differentiable.

Neither derivative is left to automatic differentiation: that of a harmonic of degree l is a sum of harmonics of degree l - 1,
that of a Legendre polynomial one of lower polynomials.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grannfield.nn.harmonics import Constant, directions, spherical_harmonics


class Harmonics(nn.Module):
    """R_lm = sqrt(4pi/(2l+1)) Y_lm, l < n_l, of unit vectors [N, K, 3]: [N, n_l, 2 n_l - 1, K], with rows of zeros beyond m = l.

    sum_m R_lm(a) R_lm(b) = P_l(a.b). Where `inside` [N, K] is False (and the vector zero) all are zero. Degrees up to
    twice the highest one known follow from products of those, so that a few matrix products make all.
    """

    def __init__(self, n_l: int) -> None:
        super().__init__()
        self.n_l = n_l
        chain = [n_l - 1]
        while chain[-1] > 1:
            chain.append((chain[-1] + 1) // 2)
        self.chain = chain[::-1]
        """Highest degree known after each step; the first is given."""
        steps = zip(self.chain, self.chain[1:], strict=False)
        self.steps: Any = nn.ModuleList(Constant(self._products(low, high)) for low, high in steps)
        width = 2 * n_l - 1
        slope = torch.zeros(n_l, width, 3, width, dtype=torch.float64)
        for l in range(1, n_l):
            # Euler: v.grad R_l = l R_l, and R_l is the one coupling of R_(l-1) with v.
            slope[l, : 2 * l - 1, :, : 2 * l + 1] = l * coupling(l - 1, 1).permute(1, 2, 0)
        self.slope = Constant(slope.flatten(1, 2))
        self.none = Constant(torch.zeros(1, 1, 1))

    def _parts(self, low: int) -> range:
        """Degrees whose products make low + 1 ... 2 low."""
        return range((low + 1) // 2, low + 1)

    def _products(self, low: int, high: int) -> Tensor:
        """Degrees low + 1 ... high from the outer product of the parts with themselves, all to the width of the last step."""
        first = {p: sum(2 * q + 1 for q in self._parts(low) if q < p) for p in self._parts(low)}
        size = sum(2 * p + 1 for p in self._parts(low))
        width = 2 * self.n_l - 1
        matrix = torch.zeros(high - low, width, size, size, dtype=torch.float64)
        for l in range(low + 1, high + 1):
            p, q = l - l // 2, l // 2
            rows, columns = (slice(first[x], first[x] + 2 * x + 1) for x in (p, q))
            matrix[l - low - 1, : 2 * l + 1, rows, columns] = coupling(p, q)
        return matrix.view(-1, size * size)

    def forward(self, unit: Tensor, inside: Tensor) -> Tensor:
        if self.n_l == 1:
            return inside.to(unit.dtype).view(len(inside), 1, 1, -1)
        return _Harmonics.apply(unit, inside, self)

    def values(self, unit: Tensor, inside: Tensor) -> Tensor:
        n, k = inside.shape
        width = 2 * self.n_l - 1
        none = self.none.value.expand(n, width - 1, k)
        known = [inside.unsqueeze(1), unit.transpose(1, 2)]
        rows = [known[0], none, known[1], none[:, 2:]]
        for low, high, products in zip(self.chain, self.chain[1:], self.steps, strict=False):
            parts = known[self._parts(low)[0] : low + 1]
            part = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
            size = part.shape[1]
            outer = torch.mul(part.unsqueeze(2), part.unsqueeze(1), out=unit.new_empty(n, size, size, k))
            new = torch.bmm(products.value.expand(n, -1, -1), outer.view(n, size * size, k))
            known += [new[:, width * at : width * at + 2 * l + 1] for at, l in enumerate(range(low + 1, high + 1))]
            rows.append(new)
        return torch.cat(rows, dim=1).view(n, self.n_l, width, k)


class _Harmonics(torch.autograd.Function):
    """Harmonics of vectors that need not keep their length: solid ones, whose gradient is a sum of solid ones."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, inside: Tensor, harmonics: Harmonics) -> Tensor:
        found = harmonics.values(unit, inside)
        ctx.save_for_backward(found, harmonics.slope.value)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        found, slope = ctx.saved_tensors
        n, n_l, width, k = grad.shape
        by_lower = torch.matmul(slope, grad).view(n, n_l, width, 3, k)
        return (by_lower[:, 1:] * found[:, :-1].unsqueeze(3)).sum(dim=(1, 2)).transpose(1, 2), None, None


def coupling(p: int, q: int) -> Tensor:
    """C [2l+1, 2p+1, 2q+1] with R_lm = sum C_mab R_pa R_qb, l = p + q, by exact quadrature over the sphere."""
    l = p + q
    nodes, weights = np.polynomial.legendre.leggauss(l + 1)
    azimuth = 2 * math.pi / (2 * l + 1) * torch.arange(2 * l + 1, dtype=torch.float64)
    r = racah(l, directions(torch.arccos(torch.from_numpy(nodes)), azimuth).flatten(0, 1))
    weight = torch.from_numpy(weights).repeat_interleave(2 * l + 1)
    at = [r[:, x * x : (x + 1) ** 2] for x in (l, p, q)]
    c = torch.einsum("w,wm,wa,wb->mab", weight, *at)
    made = torch.einsum("mab,wa,wb->wm", c, at[1], at[2])
    return c * (at[0].square().sum() / (made * at[0]).sum())


def racah(lmax: int, points: Tensor) -> Tensor:
    """|p|^l sqrt(4pi/(2l+1)) Y_lm of points [..., 3]: [..., (lmax+1)²], double precision; (1, x, y, z, ...)."""
    l = torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1).double()
    return spherical_harmonics(lmax, points) * torch.sqrt(4 * math.pi / (2 * l + 1))


class Legendre(nn.Module):
    """P_l(c) times a factor for each l (`factors`), l < n_l, of cosines [N, K, L]: [N, K, n_l, L]; zero where `keep` is 0.

    The factors are those with which the recurrence (l + 1) P_(l+1) = (2l + 1) c P_l - l P_(l-1) adds without multiplying first.
    """

    def __init__(self, n_l: int) -> None:
        super().__init__()
        factors = [1.0, 1.0][:n_l]
        while len(factors) < n_l:
            l = len(factors) - 1
            factors.append(-(l + 1) / l * factors[l - 1])
        self.factors = factors
        self.next = [factors[l + 1] * (2 * l + 1) / ((l + 1) * factors[l]) for l in range(1, n_l - 1)]
        # P_l' = sum of (2k + 1) P_k over k = l - 1, l - 3, ...
        slope = torch.zeros(n_l, n_l, dtype=torch.float64)
        for l in range(n_l):
            for k in range(l - 1, -1, -2):
                slope[k, l] = (2 * k + 1) * factors[l] / factors[k]
        self.slope = Constant(slope)

    def forward(self, cosine: Tensor, keep: Tensor) -> Tensor:
        return _Legendre.apply(cosine, keep, self)

    def values(self, cosine: Tensor, keep: Tensor) -> Tensor:
        rows = [keep, cosine * keep][: len(self.factors)]
        for value in self.next:
            rows.append(torch.addcmul(rows[-2], cosine, rows[-1], value=value))
        return torch.stack(rows, dim=2)


class _Legendre(torch.autograd.Function):
    """Legendre polynomials, whose derivatives are sums of lower ones."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor, keep: Tensor, legendre: Legendre) -> Tensor:
        found = legendre.values(cosine, keep)
        ctx.save_for_backward(found, legendre.slope.value)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        found, slope = ctx.saved_tensors
        return (torch.matmul(slope, grad) * found).sum(dim=2), None, None
