"""Edges of one resolution seen in frames rolled about them, for messages that are made for every roll and averaged.

A roll by phi turns p_0 + p_c + p_s, three sums over the coefficients of an atom, into p_0 + cos(phi) p_c + sin(phi) p_s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from grannfield.nn.harmonics import Constant, degrees_and_orders
from grannfield.nn.spherical import BackRotation


class Taps(nn.Module):
    """Rolls of an edge's frame by multiples of 360°/count, for functions up to degree lmax of which |m| <= mmax are kept.

    `most` is the degree of the Wigner matrices whose rows it is given.
    """

    column: Tensor

    def __init__(self, lmax: int, mmax: int, most: int, count: int) -> None:
        super().__init__()
        l, m = degrees_and_orders(lmax, mmax)
        self.back = BackRotation(lmax, mmax, l, m)
        self.shape = (2 * mmax + 1, (lmax + 1) ** 2 + 2 * mmax * ((lmax + 1) ** 2 - 1))
        column, sign = _seen(lmax, mmax, most)
        self.register_buffer("column", column, persistent=False)
        self.sign = Constant(sign)
        phi = 2 * math.pi / count * torch.arange(count, dtype=torch.float64).view(-1, 1, 1)
        opposite = (l.unsqueeze(1) == l) & (m.unsqueeze(1) == -m)
        undone = torch.eye(len(l)) * (m * phi).cos() - opposite * (m.unsqueeze(1) * phi).sin()
        angles = torch.cat([torch.ones_like(phi), phi.cos(), phi.sin()], dim=-1).squeeze(1)
        self.each = Rolls(angles[:, : self.shape[0]], undone.transpose(0, 1).flatten(1) / count)
        self.alike = Rolls(angles[:1, :1], undone.mean(0))
        """One roll for all of them, where every roll sees the same."""

    def forward(self, rows: Tensor, slots: Tensor, place: Tensor, inwards: Tensor) -> tuple[Shell, Shell]:
        """The edges at `slots`, given the rows [N K, 2 mmax + 1, B] of the Wigner matrices of all edges.

        First as the first block needs them, whose functions are constant on their spheres.
        """
        seen = rows.flatten(1).index_select(1, self.column) * self.sign.value
        own, arriving = (seen.index_select(0, s.reshape(-1)).view(*s.shape, *self.shape) for s in (slots, inwards))
        back = self.back(rows.index_select(0, slots.reshape(-1))).unflatten(0, slots.shape).flatten(1, 2)
        first = Shell(slots, place, own[:, :, 0, :1], arriving[:, :, 0, :1], back, self.alike)
        return first, replace(first, own=own.flatten(1, 2), arriving=arriving.flatten(1, 2), rolls=self.each)


def _seen(lmax: int, mmax: int, most: int) -> tuple[Tensor, Tensor]:
    """What acts on (W_0 x, W_+ x, W_- x), by place among the rows of Wigner matrices [2 mmax + 1, (most+1)²] and sign.

    p_0 is D_0 W_0 x, p_c is D_+ W_+ x + D_- W_- x, p_s is D_- W_+ x - D_+ W_- x; W_+ and W_- have no l = 0.
    """
    zero, size = torch.arange((lmax + 1) ** 2), (most + 1) ** 2
    there = torch.ones(len(zero))
    if mmax == 0:
        return zero, there
    one, also = zero[1:], there[1:]
    p_0, p_c, p_s = [zero + size, one, one], [zero, one + 2 * size, one], [zero, one, one + 2 * size]
    signs = [there, 0 * also, 0 * also, 0 * there, also, also, 0 * there, also, -also]
    return torch.cat([*p_0, *p_c, *p_s]), torch.cat(signs)


class Rolls(nn.Module):
    """1, cosine and sine of rolls [T, 3] (1 alone for mmax = 0); what rolls messages back and averages them [kept, T * kept]."""

    def __init__(self, angles: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.count, self.angles, self.mean = len(angles), Constant(angles), Constant(mean)


@dataclass(frozen=True, eq=False)
class Shell:
    """Edges of one resolution, the same number R of every atom, padded slots included."""

    slots: Tensor
    """[N, R], where they stand among all slots."""
    place: Tensor
    """[N, R], where they stand among the edges that point at each atom."""
    own: Tensor
    """[N, R P, A]: what gives p_0, p_c, p_s (P of them) of these edges from A products of weights and functions of the atom."""
    arriving: Tensor
    """[N, S P, A], the same for all edges that point at each atom."""
    back: Tensor
    """[N, R * kept, B']; zero for padded slots, whose messages so enter no sum."""
    rolls: Rolls
