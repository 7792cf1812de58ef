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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

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


def unit_harmonics(direction: Tensor, degrees: Iterable[int]) -> Features:
    """Real spherical harmonics of unit vectors [..., 3], {l: [..., 2l+1]} with sum of squares 2l + 1 ("component").

    Y_0 = 1, and Y_(l+1) = (2l+3)/sqrt(l+1) sum_ij w3j(l, 1, l+1)_ijk Y_l,i u_j: polynomials, smooth to all orders.
    """
    values = {0: torch.ones_like(direction[..., :1])}
    for degree in range(max(degrees, default=0)):
        raised = wigner_3j(degree, 1, degree + 1, direction.dtype, direction.device) * ((2 * degree + 3) / sqrt(degree + 1))
        values[degree + 1] = torch.einsum("...i,...j,ijk->...k", values[degree], direction, raised)
    return {degree: values[degree] for degree in sorted(degrees)}


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

    def forward(self, x: Features) -> Features:
        anything = next(iter(x.values()))
        return {
            degree: nn.functional.linear(x[degree], self.weights[str(degree)].t(), None if degree else self.bias)
            if str(degree) in self.weights
            else anything.new_zeros(*anything.shape[:-2], 2 * degree + 1, channels)
            for degree, channels in self.n_out.items()
        }


class IrrepNorm(nn.Module):
    """Layer norm of each degree: divides by the root of the mean square over channels and components.

    Scalars lose their mean over channels first and gain a bias. `weight` holds one factor per channel, degrees ascending.
    """

    def __init__(self, irreps: Irreps, eps: float = 1e-5) -> None:
        super().__init__()
        self.irreps, self.eps = irreps, eps
        self.weight = nn.Parameter(torch.ones(sum(irreps.values())))
        self.bias = nn.Parameter(torch.zeros(irreps.get(0, 0)))

    def forward(self, x: Features) -> Features:
        out: Features = {}
        for (degree, channels), weight in zip(self.irreps.items(), self.weight.split(list(self.irreps.values())), strict=True):
            if degree == 0:
                out[0] = nn.functional.layer_norm(x[0], (channels,), weight, self.bias, self.eps)
            else:
                out[degree] = x[degree] * torch.rsqrt(x[degree].square().mean((-2, -1), keepdim=True) + self.eps) * weight
        return out
