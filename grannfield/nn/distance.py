"""Functions of the distance in the fewest operations, gradient included: the same numbers as those of `radial`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grannfield.graph import AtomGraph, pair_distances
from grannfield.nn.attention import NOTHING
from grannfield.nn.incidence import Incidence, to_slots
from grannfield.nn.radial import GaussianBasis
from grannfield.nn.vectors import length


@dataclass(frozen=True, eq=False)
class Distances:
    """The distances a layer's distance-only work is done for, and the way from there to the slots."""

    values: Tensor
    """[R] Å; the cut-off where there are no two atoms."""
    place: Incidence | None
    """None where R = N*K: every slot has its own."""
    shape: torch.Size
    """N, K."""

    def at_slots(self, y: Tensor) -> Tensor:
        """Features [R, C] as [N, K, C]. Those of padded slots may be anything, but must be given no gradient."""
        return (y if self.place is None else self.place(y)).view(*self.shape, -1)


def distances(edge_vec: Tensor, graph: AtomGraph) -> Distances:
    """Of pairs, which is half the arithmetic; of slots where shapes are fixed and operations cost more than arithmetic."""
    if graph.pair_mask is None:
        return Distances(pair_distances(edge_vec, graph), to_slots(graph), graph.neighbors.shape)
    return Distances(length(edge_vec.flatten(0, 1)), None, graph.neighbors.shape)


def gaussians(distance: Tensor, basis: GaussianBasis) -> Tensor:
    """What the basis gives: [R] Å -> [R, n]. The square of a difference and its slope are one operation each."""
    here, there = torch.broadcast_tensors(distance.unsqueeze(-1), basis.centers)
    return torch.exp(basis.coeff * torch.nn.functional.mse_loss(here, there, reduction="none"))


def fade(distance: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """1 within the cut-off and 0 beyond, and that times C(d) = (cos(pi d / rc) + 1) / 2 (Behler, 10.1063/1.3553717): [...] Å."""
    inside = (distance < cutoff).to(distance.dtype)
    return inside, _Cosine.apply(distance, 0.5 * inside, math.pi / cutoff)


def log_fade(distance: Tensor, cutoff: float) -> Tensor:
    """ln C(d) = 2 ln cos(pi d / 2 rc), beyond the cut-off a constant whose exponential is zero: [...] Å."""
    return _LogCosine.apply(distance, distance >= cutoff, 0.5 * math.pi / cutoff)


class _Cosine(torch.autograd.Function):
    """h (cos(w d) + 1) with h constant."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, h: Tensor, w: float) -> Tensor:
        ctx.save_for_backward(d, h)
        ctx.w = w
        return torch.addcmul(h, h, torch.cos(w * d))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        d, h = ctx.saved_tensors
        return torch.sin(ctx.w * d) * (h * grad) * -ctx.w, None, None


class _LogCosine(torch.autograd.Function):
    """2 ln cos(w d), a constant where `outside`."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, outside: Tensor, w: float) -> Tensor:
        ctx.save_for_backward(d, outside)
        ctx.w = w
        return torch.cos(w * d).square().log().masked_fill(outside, NOTHING)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        d, outside = ctx.saved_tensors
        return (torch.tan(ctx.w * d) * grad * (-2.0 * ctx.w)).masked_fill(outside, 0.0), None, None
