"""Features that turn with the axes: spherical harmonics, Wigner 3j symbols, and layers that act on degrees l = 0, 1, 2, ...

Features are tensors by degree, {l: [..., 2l+1, channels]}: a matrix on the right mixes channels and leaves the components
alone. Components are ordered m = -l..l about the polar axis y, so those of l = 1 are (x, y, z) (the convention of e3nn, Geiger &
Smidt, arXiv:2207.09453). Only even parity is known, as in "8x0e+4x1e": vectors behave as pseudo-vectors under reflection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from math import factorial, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from grannfield.nn.harmonics import Constant

Irreps = dict[int, int]
"""Channels of each degree, degrees ascending."""
Features = dict[int, Tensor]
"""Values of each degree, [..., 2l+1, channels]."""


def parse_irreps(text: str) -> Irreps:
    """Channels of each degree.

    >>> parse_irreps("8x0e + 4x1e")
    {0: 8, 1: 4}
    """
    found: Irreps = {}
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(\d+)x(\d+)e\s*", term)
        if match is None or int(match[2]) in found or int(match[1]) < 1:
            raise ValueError(f"{text!r} does not read like '8x0e+4x1e': channels x degree, even parity, each degree once")
        found[int(match[2])] = int(match[1])
    return dict(sorted(found.items()))


class Coupling(NamedTuple):
    """One way in which features of degree `l1` and a harmonic of degree `l2` make features of degree `l3`."""

    l1: int
    l2: int
    l3: int
    channels: int


def couplings(features: Irreps, harmonics: Iterable[int], wanted: Iterable[int]) -> list[Coupling]:
    """All couplings to the wanted degrees and to scalars, in the order of their weights: l1, then l2, then l3 ascending.

    >>> [tuple(c) for c in couplings({0: 8, 1: 4}, [0, 1], [1])]
    [(0, 0, 0, 8), (0, 1, 1, 8), (1, 0, 1, 4), (1, 1, 0, 4), (1, 1, 1, 4)]
    """
    kept = {0, *wanted}
    return [
        Coupling(l1, l2, l3, channels)
        for l1, channels in sorted(features.items())
        for l2 in sorted(harmonics)
        for l3 in range(abs(l1 - l2), l1 + l2 + 1)
        if l3 in kept
    ]


def coupled(paths: Iterable[Coupling]) -> Irreps:
    """Channels of each degree when the results of equal degree are put side by side."""
    total: Irreps = {}
    for path in paths:
        total[path.l3] = total.get(path.l3, 0) + path.channels
    return dict(sorted(total.items()))


@cache
def wigner_3j(l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """The invariant of three real irreps, [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], with unit sum of squares and e3nn's sign.

    It is the Clebsch-Gordan tensor <l1 m1 l2 m2|l3 m3> in the basis of real harmonics: zero unless |l1-l2| <= l3 <= l1+l2.
    """
    q1, q2, q3 = (_real_basis(degree) for degree in (l1, l2, l3))
    real = np.einsum("abc,ai,bj,ck->ijk", _clebsch_gordan(l1, l2, l3), q1, q2, q3.conj()).real
    with torch.inference_mode(False):  # what is kept here must do for training as well
        return torch.from_numpy(real / np.linalg.norm(real)).to(device, dtype)


@cache
def coupling_matrix(l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """sqrt(2 l3 + 1) w3j as a matrix [2 l3 + 1, (2 l2 + 1)(2 l1 + 1)]: what the products Y_l2 q_l1 make of degree l3."""
    symbol = wigner_3j(l1, l2, l3, dtype, device) * sqrt(2 * l3 + 1)
    with torch.inference_mode(False):
        return symbol.permute(2, 1, 0).flatten(1).clone()


def _clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """<l1 m1 l2 m2|l3 m3> with the phases of Condon and Shortley, by Racah's formula (Phys. Rev. 62, 438 (1942))."""
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"degrees {l1} and {l2} do not couple to {l3}")
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    triangle = factorial(l3 + l1 - l2) * factorial(l3 - l1 + l2) * factorial(l1 + l2 - l3) / factorial(l1 + l2 + l3 + 1)
    for m1, m2 in np.ndindex(2 * l1 + 1, 2 * l2 + 1):
        a, b = m1 - l1, m2 - l2
        if abs(a + b) > l3:
            continue
        total = 0.0
        for k in range(l1 + l2 - l3 + 1):
            terms = (k, l1 + l2 - l3 - k, l1 - a - k, l2 + b - k, l3 - l2 + a + k, l3 - l1 - b + k)
            if min(terms) >= 0:
                total += (-1) ** k / float(np.prod([float(factorial(t)) for t in terms]))
        sizes = (l3 + a + b, l3 - a - b, l1 - a, l1 + a, l2 - b, l2 + b)
        weight = (2 * l3 + 1) * triangle * float(np.prod([float(factorial(s)) for s in sizes]))
        table[m1, m2, a + b + l3] = total * sqrt(weight)
    return table


def _real_basis(degree: int) -> np.ndarray:
    """Complex harmonics (rows m = -l..l) in terms of real ones (columns), times (-i)^l, which makes the couplings real."""
    q = np.zeros((2 * degree + 1, 2 * degree + 1), complex)
    q[degree, degree] = 1.0
    for m in range(1, degree + 1):
        q[degree - m, [degree + m, degree - m]] = 1 / sqrt(2), -1j / sqrt(2)
        q[degree + m, [degree + m, degree - m]] = (-1) ** m / sqrt(2), 1j * (-1) ** m / sqrt(2)
    return (-1j) ** degree * q


def directions_of(vectors: Tensor) -> Tensor:
    """v / |v| of vectors [..., 3]."""
    unit: Tensor = _Directions.apply(vectors)
    return unit


class _Directions(torch.autograd.Function):
    """u = v / |v|, of which a change dv changes what of dv / |v| is perpendicular to u."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        unit = v / length
        ctx.save_for_backward(v, length, unit)
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        v, length, unit = ctx.saved_tensors
        if torch.is_grad_enabled():  # what was kept knows nothing of v
            length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
            unit = v / length
        along = (grad * unit).sum(dim=-1, keepdim=True)
        return torch.addcmul(grad, unit, along, value=-1) / length


def unit_harmonics(direction: Tensor, degrees: Iterable[int]) -> Features:
    """Real spherical harmonics of unit vectors [..., 3], {l: [..., 2l+1]} with sum of squares 2l + 1 ("component").

    Y_0 = 1, Y_1 = sqrt(3) u, Y_(l+1) = (2l+3)/sqrt(l+1) sum_ij w3j(l, 1, l+1)_ijk Y_l,i u_j: polynomials, smooth to all orders.
    """
    wanted = sorted(degrees)
    values = {0: torch.ones_like(direction[..., :1])} if 0 in wanted else {}
    if wanted[-1] > 0:
        values[1] = direction * sqrt(3)
    for degree in range(1, wanted[-1]):
        raised = wigner_3j(degree, 1, degree + 1, direction.dtype, direction.device) * ((2 * degree + 3) / sqrt(degree + 1))
        values[degree + 1] = torch.einsum("...i,...j,ijk->...k", values[degree], direction, raised)
    return {degree: values[degree] for degree in wanted}


class IrrepLinear(nn.Module):
    """Mixes the channels of each degree, and adds a bias to scalars alone: what a rotation permits.

    Degrees that only the output has are zero. Weights [in, out] start as N(0, 1) / sqrt(in).
    """

    bias: Tensor

    def __init__(self, n_in: Irreps, n_out: Irreps, bias: bool = True) -> None:
        super().__init__()
        self.n_out = n_out
        shapes = {degree: (n_in[degree], channels) for degree, channels in n_out.items() if degree in n_in}
        self.weights = nn.ParameterDict(
            {str(degree): nn.Parameter(torch.randn(shape) / sqrt(shape[0])) for degree, shape in shapes.items()}
        )
        self.register_parameter("bias", nn.Parameter(torch.zeros(n_out[0])) if bias and 0 in n_out else None)

    def forward(self, x: Features, onto: Features | None = None, scale: float = 1.0) -> Features:
        """The mixture of x, scalars multiplied by `scale`, added to `onto` where given.

        Degrees that x lacks though weights are there for them, and those that `onto` lacks, are left out.
        """
        anything, out = next(iter(x.values())), {}
        for degree, channels in self.n_out.items():
            if (str(degree) in self.weights and degree not in x) or (onto is not None and degree not in onto):
                continue
            before = None if onto is None else onto[degree]
            if str(degree) not in self.weights:
                shape = (*anything.shape[:-2], 2 * degree + 1, channels)
                out[degree] = anything.new_zeros(shape) if before is None else before
                continue
            rows, weight = x[degree].flatten(0, -2), self.weights[str(degree)]
            if degree == 0 and self.bias is not None:
                mixed = torch.addmm(self.bias, rows, weight, alpha=scale)
                before = None if before is None else before.flatten(0, -2)
                mixed = mixed if before is None else mixed + before
            elif before is not None:
                mixed = torch.addmm(before.flatten(0, -2), rows, weight, alpha=scale if degree == 0 else 1)
            else:
                mixed = rows @ weight if degree or scale == 1 else (rows @ weight) * scale
            out[degree] = mixed.unflatten(0, x[degree].shape[:-1])
        return out


class IrrepNorm(nn.Module):
    """Layer norm of each degree: divides by the root of the mean square over channels and components.

    Scalars lose their mean over channels first and gain a bias. `weight` holds one factor per channel, degrees ascending.
    """

    def __init__(self, irreps: Irreps, eps: float = 1e-5) -> None:
        super().__init__()
        self.irreps, self.eps = irreps, eps
        self.weight = nn.Parameter(torch.ones(sum(irreps.values())))
        self.bias = nn.Parameter(torch.zeros(irreps.get(0, 0)))
        self.softening = Constant(torch.full((1, 1, 1), eps, dtype=torch.float64))

    def forward(self, x: Features, scale: float = 1.0) -> Features:
        """The degrees of x, those above 0 multiplied by `scale`."""
        out: Features = {}
        for (degree, channels), weight in zip(self.irreps.items(), self.weight.split(list(self.irreps.values())), strict=True):
            if degree == 0 and degree in x:
                out[0] = nn.functional.layer_norm(x[0], (channels,), weight, self.bias, self.eps)
            elif degree in x:
                out[degree] = _UnitSquare.apply(x[degree], self.softening.value, scale) * weight
        return out


class _UnitSquare(torch.autograd.Function):
    """v s / sqrt(mean(v²) + softening) of [..., m, C], the mean over the last two, for a number s."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, softening: Tensor, scale: float) -> Tensor:
        factor, out = _UnitSquare.of(v, softening, scale)
        ctx.scale = scale
        ctx.save_for_backward(v, softening, factor, out)
        return out

    @staticmethod
    def of(v: Tensor, softening: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The factor of each v and the result."""
        rows, n = v.flatten(0, -3).flatten(1), v.shape[-1] * v.shape[-2] * scale**2
        square = torch.baddbmm(softening, rows.unsqueeze(1), rows.unsqueeze(2), beta=scale**-2, alpha=1 / n)
        factor = torch.rsqrt(square).view(*v.shape[:-2], 1, 1)
        return factor, v * factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        v, softening, factor, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # what was kept knows nothing of v
            factor, out = _UnitSquare.of(v, softening, ctx.scale)
        rows = (x.flatten(0, -3).flatten(1) for x in (grad, out))
        along = torch.bmm(next(rows).unsqueeze(1), next(rows).unsqueeze(2)).view(factor.shape)
        return torch.addcmul(grad, out, along, value=-1 / (v.shape[-1] * v.shape[-2] * ctx.scale**2)) * factor, None, None
