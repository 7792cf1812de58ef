"""What an edge j->i hears of the edges k->j that end where it begins: sums over k of functions of radius and angle.

Both edges are told by the middle atom j: k->j stands in j's own row (K slots), j->i among the edges that leave j (L of them, in
a symmetric graph the same slots). Functions are sum_ln W_ln f_ln(d_kj) P_l(c) with the cosine c between the directions from j
to k and from j to i; the sign between c and the published angle is in f. A triplet that goes back the way it came (k is i, in
the same cell) is left out. Functions of the distance are zero in padded slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from grannfield.nn.angular import Harmonics, Legendre
from grannfield.nn.edge_rows import EdgeRows
from grannfield.nn.harmonics import Constant
from grannfield.precision import geometric_product

Heard = Callable[[int, Tensor], Tensor]
"""(layer, x [R, S, C]) to what is heard of x."""


class Moments(nn.Module):
    """sum_k x_c(k->j) sum_ln W_ln,c f_ln(d_kj) P_l(c), one function for each channel, through moments of every atom.

    P_l(c) = sum_m R_lm(k) R_lm(i) parts the sum over k from the edge j->i: A_lm,c = sum_k R_lm F_l,c x_c belongs to the atom,
    and no array has the size of the triplets. What k = i brings is F_l,c x_c summed over l, as P_l(1) = 1, and is taken away.
    """

    def __init__(self, n_l: int, n_n: int) -> None:
        super().__init__()
        self.shape = n_l, n_n
        self.harmonics = Harmonics(n_l)

    def forward(self, edges: EdgeRows, unit: Tensor, radial: Tensor, weights: Tensor) -> Heard:
        """unit [N, K, 3], radial f [N, K, n_l n_n], weights W of T layers [T, n_l n_n, C]."""
        (n_l, n_n), (n, k), (layers, _, channels) = self.shape, radial.shape[:2], weights.shape
        coming = self.harmonics(unit, edges.graph.mask)
        going = coming
        if not edges.paired:
            slots, there = edges.outward.slots, edges.outward.mask
            away = -unit.reshape(-1, 3).index_select(0, slots.reshape(-1)).view(*slots.shape, 3)
            going = self.harmonics(away * there.unsqueeze(-1), there)
        by_degree = radial.view(n, k, n_l, n_n).transpose(1, 2).reshape(n * n_l, k, n_n)
        each = weights.view(layers, 1, n_l, n_n, channels).expand(-1, n, -1, -1, -1)
        each = each.reshape(layers, n * n_l, n_n, channels)

        def heard(layer: int, x: Tensor) -> Tensor:
            filters = torch.bmm(by_degree, each[layer]).view(n, n_l, k, channels)
            if edges.paired:
                return edges.leaving(_Contracted.apply(edges.at_slots(x, faded=True), filters, coming))
            filtered, _, found = _contracted(x, filters, coming, going)
            reverse = edges.graph.reverse.reshape(-1)
            returned = filtered.view_as(filters).sum(dim=1).view(n * k, -1).index_select(0, reverse.clamp(min=0))
            return edges.leaving(found) - (returned * (reverse >= 0).unsqueeze(1)).view_as(x)

        return heard


def _contracted(x: Tensor, filters: Tensor, coming: Tensor, going: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Filtered values [N n_l, K, C], moments [N, n_l w, C] and their contraction [N, L, C] with harmonics [N, n_l, w, L]."""
    n, n_l, width, k = coming.shape
    filtered = (filters * x.unsqueeze(1)).view(n * n_l, k, -1)
    moments = torch.bmm(coming.view(n * n_l, width, k), filtered).view(n, n_l * width, -1)
    return filtered, moments, torch.bmm(going.flatten(1, 2).transpose(1, 2), moments)


class _Contracted(torch.autograd.Function):
    """In every slot i sum_l (sum_m R_lm(i) sum_k R_lm(k) F_l(k) x(k) - F_l(i) x(i)): x [N,K,C], F [N,n_l,K,C], R [N,n_l,w,K]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, harmonics: Tensor) -> Tensor:
        filtered, moments, found = _contracted(x, filters, harmonics, harmonics)
        ctx.save_for_backward(x, filters, harmonics, filtered, moments)
        return found.sub_(filtered.view_as(filters).sum(dim=1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:  # type: ignore[override]
        x, filters, harmonics, filtered, moments = ctx.saved_tensors
        if torch.is_grad_enabled():
            filtered, moments, _ = _contracted(x, filters, harmonics, harmonics)
        n, n_l, width, k = harmonics.shape
        by_moments = torch.bmm(harmonics.view(n, n_l * width, k), grad).view(n * n_l, width, -1)
        by_harmonics = None
        if ctx.needs_input_grad[2]:
            by_harmonics = torch.bmm(moments, grad.transpose(1, 2)).view(n * n_l, width, k)
            by_harmonics = by_harmonics.baddbmm_(by_moments, filtered.transpose(1, 2)).view_as(harmonics)
        by_filtered = torch.bmm(harmonics.view(n * n_l, width, k).transpose(1, 2), by_moments).view_as(filters)
        by_filtered = by_filtered.sub_(grad.unsqueeze(1))
        by_x = (by_filtered * filters).sum(dim=1)
        # In place where nothing remembers it: arrays of this size are what takes the time.
        by_filters = by_filtered * x.unsqueeze(1) if torch.is_grad_enabled() else by_filtered.mul_(x.unsqueeze(1))
        return by_x, by_filters, by_harmonics


class AllTriplets(nn.Module):
    """sum_k s_q(k, i) x_c(k->j), s_q = sum_ln W_ln,q f_ln(d_kj) P_l(c): [R, S, C] -> [N, L, Q C], for every q and c.

    The sum over the third atom comes first, a matrix product for each middle atom, so nothing has the size of triplets times
    channels.
    """

    def __init__(self, n_l: int, n_n: int) -> None:
        super().__init__()
        self.shape = n_l, n_n
        self.legendre = Legendre(n_l)
        factors = torch.tensor(self.legendre.factors, dtype=torch.float64)
        self.own_degree = Constant(torch.diag(1 / factors).view(n_l, 1, 1, n_l, 1))

    def forward(self, edges: EdgeRows, unit: Tensor, radial: Tensor, weights: Tensor) -> Heard:
        """unit [N, K, 3], radial f [N, K, n_l n_n], weights W of T layers [T, n_l n_n, Q]."""
        (n_l, n_n), (n, k), (layers, _, n_q) = self.shape, radial.shape[:2], weights.shape
        legendre = self._angles(edges, unit).view(n * k, n_l, -1)
        # Of a degree only its own radial functions: one product with a matrix of blocks.
        blocks = weights.view(layers, n_l, n_n, 1, n_q).permute(1, 2, 0, 3, 4) * self.own_degree.value
        by_degree = (radial.reshape(n * k, -1) @ blocks.reshape(n_l * n_n, -1)).chunk(layers, dim=-1)

        def heard(layer: int, x: Tensor) -> Tensor:
            s = torch.bmm(legendre.transpose(1, 2), by_degree[layer].view(n * k, n_l, n_q))  # [N K, L, Q]
            return torch.bmm(s.view(n, k, -1).transpose(1, 2), edges.at_slots(x, faded=True)).view(n, s.shape[1], -1)

        return heard

    def _angles(self, edges: EdgeRows, unit: Tensor) -> Tensor:
        """Legendre polynomials [N, K, n_l, L] of all triplets, zero for those left out."""
        mask = edges.graph.mask.to(unit.dtype)
        if edges.paired:
            keep = mask.unsqueeze(2) * mask.unsqueeze(1)
            keep.diagonal(dim1=1, dim2=2).zero_()
            return self.legendre(geometric_product(unit, unit.transpose(1, 2)), keep)
        slots, there = edges.outward.slots, edges.outward.mask
        away = -unit.reshape(-1, 3).index_select(0, slots.reshape(-1)).view(*slots.shape, 3)
        back = edges.graph.reverse.reshape(-1).index_select(0, slots.reshape(-1)).view(len(slots), 1, -1)
        own = torch.arange(mask.numel(), device=mask.device).view(*mask.shape, 1)
        return self.legendre(
            geometric_product(unit, away.transpose(1, 2)), mask.unsqueeze(2) * (there.unsqueeze(1) & (back != own))
        )
