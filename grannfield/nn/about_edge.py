"""What convolutions about an edge need besides products with weights: the edges that arrive, gates, a point-wise activation.

Coefficients in the frame of an edge stand in the order m = 0, 1, -1, 2, -2..., l ascending within each: [E, kept, C].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.graph import AtomGraph, Inward, inward, reversed_values
from grannfield.nn.harmonics import Constant, sphere_grid
from grannfield.nn.spherical import parts_of

LEAST_EDGES = 8
"""That a point-wise activation takes at once: each is matrix products of its own, so that few do."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """The edges that point at each atom, in a matrix [N, W] no narrower than that of its own edges [N, K]."""

    graph: AtomGraph
    slots: Tensor
    """[N, W], where they stand among all slots."""
    places: tuple[Tensor, Tensor]
    """[N, K] where each slot stands among them, and [2 N, K] for two arrays of them, one after the other."""

    @classmethod
    def of(cls, graph: AtomGraph) -> Arrivals:
        inwards = inward(graph) if graph.symmetric else _as_wide_as(graph.mask.shape[1], inward(graph))
        return cls(graph, inwards.slots, (inwards.place, torch.cat([inwards.place, inwards.place + inwards.slots.numel()])))

    @property
    def width(self) -> int:
        return self.slots.shape[1]

    def placed(self, values: Tensor) -> Tensor:
        """Values [branches, N, W, ...] of the arriving edges, placed at the edges' own slots: [branches, N K, ...]."""
        flat, place = values.flatten(0, 1), self.places[len(values) - 1]
        if self.graph.symmetric:
            moved = reversed_values(flat, replace(self.graph, reverse=place))
        else:
            moved = flat.flatten(0, 1).index_select(0, place.reshape(-1))
        return moved.reshape(len(values), -1, *values.shape[3:])


def _as_wide_as(width: int, inwards: Inward) -> Inward:
    """The same edges in a matrix of at least so many columns."""
    own = inwards.slots.shape[1]
    more = (0, max(0, width - own))
    slots, mask = nn.functional.pad(inwards.slots, more), nn.functional.pad(inwards.mask, more)
    return Inward(slots, mask, inwards.place // own * slots.shape[1] + inwards.place % own)


def orders_and_degrees(lmax: int, most: int) -> tuple[Tensor, Tensor]:
    """l and m of the kept coefficients, |m| <= most, in their order.

    >>> [t.tolist() for t in orders_and_degrees(1, 1)]
    [[0, 1, 1, 1], [0, 0, 1, -1]]
    """
    orders = [0] + [sign * m for m in range(1, most + 1) for sign in (1, -1)]
    l, m = torch.tensor([(l, m) for m in orders for l in range(abs(m), lmax + 1)]).T
    return l, m


class PointActivation(nn.Module):
    """silu of every value of functions about an edge, given and returned as their coefficients, by a grid on the sphere.

    2 (lmax + 1) latitudes. Y_lm is a function of the latitude times the cosine or sine of m times the longitude: the sum over l
    comes first, for each m and latitude, then the sum over m, for each point. One sum over all coefficients would take three to
    five times as many multiplications.
    """

    def __init__(self, lmax: int, most: int, longitudes: int) -> None:
        super().__init__()
        l, m = orders_and_degrees(lmax, most)
        to, back = (
            t[:, 0, l * l + l + m.abs()] for t in sphere_grid(lmax, 2 * (lmax + 1), longitudes)
        )  # cos is 1 at longitude 0
        orders = m.unique_consecutive()
        own = (orders.unsqueeze(1) == m).unsqueeze(1)
        azimuth = 2 * math.pi / longitudes * torch.arange(longitudes, dtype=torch.float64).unsqueeze(1)
        self.latitudes, self.latitudes_back = Constant((own * to).flatten(0, 1)), Constant((own * back).flatten(0, 1).T)
        self.longitudes = Constant(torch.where(orders < 0, -(orders * azimuth).sin(), (orders * azimuth).cos()))
        self.points = longitudes * len(to)

    def forward(self, y: Tensor) -> Tensor:
        constants = (self.latitudes.value, self.longitudes.value, self.latitudes_back.value)
        activated: Tensor = _Activated.apply(y, *constants)
        return activated


def _points(y: Tensor, latitudes: Tensor, longitudes: Tensor) -> Tensor:
    """Values [E, longitudes, latitudes * C] of coefficients [E, kept, C]."""
    return longitudes @ (latitudes @ y).view(len(y), longitudes.shape[1], -1)


def _sums(values: Tensor, longitudes: Tensor, channels: int) -> Tensor:
    """Values [E, longitudes, latitudes * C] times the waves of each m, summed over the longitudes: [E, orders * latitudes, C]."""
    return (longitudes.T @ values).view(len(values), -1, channels)


class _Activated(torch.autograd.Function):
    """`PointActivation`, a few edges at a time in both directions; the values on the grid are made again for the gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, latitudes: Tensor, longitudes: Tensor, latitudes_back: Tensor) -> Tensor:
        ctx.save_for_backward(y, latitudes, longitudes, latitudes_back)
        found = torch.empty_like(y)
        for part in _edges_at_once(y, latitudes, longitudes):
            values = nn.functional.silu(_points(y[part], latitudes, longitudes), inplace=True)
            sums = _sums(values, longitudes, y.shape[-1])
            torch.bmm(latitudes_back.expand(len(sums), -1, -1), sums, out=found[part])
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        y, latitudes, longitudes, latitudes_back = ctx.saved_tensors
        found = []
        for part in _edges_at_once(y, latitudes, longitudes):
            values = _points(y[part], latitudes, longitudes)
            by_value = _points(grad[part], latitudes_back.T, longitudes)
            found.append(latitudes.T @ _sums(_before_silu(by_value, values), longitudes, y.shape[-1]))
        return (torch.cat(found) if len(found) > 1 else found[0]), None, None, None


def _before_silu(grad: Tensor, x: Tensor) -> Tensor:
    """The derivative by x from that by silu(x); torch has no derivative of its own one, so none is used where it is wanted."""
    if not torch.is_grad_enabled():
        return torch.ops.aten.silu_backward(grad, x)
    s = x.sigmoid()
    return grad * torch.addcmul(s, x * s, 1 - s)


def _edges_at_once(y: Tensor, latitudes: Tensor, longitudes: Tensor) -> list[slice]:
    n_longitudes, n_orders = longitudes.shape
    return parts_of(len(y), n_longitudes * (len(latitudes) // n_orders) * y.shape[-1], LEAST_EDGES, y.device)


def gated(source: Tensor, target: Tensor, gates: Tensor) -> Tensor:
    """What both ends of an edge give, [branches, E, P, H] each, times the gates [E, 2 branches, H]: [E, P, 2 branches, H]."""
    product: Tensor = _Gated.apply(source, target, gates)
    return product


class _Gated(torch.autograd.Function):
    """Products written where the next matrix product reads them: no array of them is copied."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, gates: Tensor) -> Tensor:
        ctx.save_for_backward(source, target, gates)
        branches, edges, p, hidden = source.shape
        found = source.new_empty(edges, p, 2 * branches, hidden)
        for end, place in ((source, slice(branches)), (target, slice(branches, None))):
            torch.mul(end.permute(1, 2, 0, 3), gates[:, None, place], out=found[:, :, place])
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        source, target, gates = ctx.saved_tensors
        ends = torch.cat([source, target]).permute(1, 2, 0, 3)
        by_source, by_target = (grad * gates.unsqueeze(1)).permute(2, 0, 1, 3).chunk(2)
        return by_source, by_target, (grad * ends).sum(1)
