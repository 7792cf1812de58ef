"""Features on edges times radial factors, some contracted with harmonics of the direction: what tensor products are made of.

The couplings of a feature of degree l1 with a harmonic of degree l2 to degree l3 are bilinear, so a weighted sum over neighbours
may come before the Wigner symbol: sum_j w_j (Y_j (x) f_j q_j) is a product of the matrices w Y and f q. All that has to be made
for each edge is f q, and the scalars f (Y . q).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grannfield.nn.irreps import Coupling, Irreps


class Term(NamedTuple):
    """One product: features `source` times factors `factor`, put in columns `place` of part `part`."""

    components: int
    """2 l1 + 1 of the features."""
    source: slice
    factor: slice
    part: int
    """0 for scalars, else 1 + the number of l2 among the harmonics."""
    place: slice
    harmonic: slice | None
    """Scalars of features with l1 > 0: the harmonic to contract with."""
    dot: slice
    """Where that contraction is kept; empty for others."""


class Plan(NamedTuple):
    """The products of a set of couplings."""

    terms: tuple[Term, ...]
    widths: tuple[int, ...]
    """Columns of each part."""
    dots: int
    """Columns of all contractions with harmonics."""
    covered: bool
    """Whether every feature enters a product."""
    turned: bool
    """Whether every harmonic does."""


def plan(paths: Sequence[Coupling], features: Irreps, degrees: Sequence[int]) -> Plan:
    """Products of couplings `paths`, whose factors stand in this order; scalars are part 0, others stand by the degree l2.

    Features are flat, degrees ascending, components before channels; harmonics, of degrees above 0 alone, likewise.
    """
    sizes = {degree: (2 * degree + 1) * channels for degree, channels in features.items()}
    first = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    above = [degree for degree in degrees if degree > 0]
    harmonic = dict(zip(above, accumulate((2 * degree + 1 for degree in above), initial=0), strict=False))
    widths, factor, dots, terms = [0] * (1 + len(degrees)), 0, 0, []
    for l1, l2, l3, channels in paths:
        part = 1 + list(degrees).index(l2) if l3 else 0
        width, contracted = (channels if l3 == 0 else sizes[l1]), l3 == 0 and l1 > 0
        kept = slice(dots, dots + channels * contracted)
        terms.append(
            Term(
                2 * l1 + 1,
                slice(first[l1], first[l1] + sizes[l1]),
                slice(factor, factor + channels),
                part,
                slice(widths[part], widths[part] + width),
                slice(harmonic[l2], harmonic[l2] + 2 * l2 + 1) if contracted else None,
                kept,
            )
        )
        widths[part] += width
        factor, dots = factor + channels, kept.stop
    covered, turned = {path.l1 for path in paths} == set(features), sum(not path.l3 for path in paths if path.l1) == len(above)
    return Plan(tuple(terms), tuple(widths), dots, covered, turned)


def edge_products(q: Tensor, factors: Tensor, harmonics: Tensor, plan: Plan) -> tuple[Tensor, ...]:
    """Parts [E, columns] of the products of features q [E, ...] and factors [E, ...]; harmonics [E, ...] of degrees above 0.

    The first result is part 0. The second holds it as well, between part 1 and a column of ones, so that all three can be summed
    over neighbours as one matrix. Parts 2, 3, ... follow. Twice differentiable.
    """
    found: tuple[Tensor, ...] = _Products.apply(plan, q, factors, harmonics)
    return found


def _by_component(x: Tensor, columns: slice, components: int) -> Tensor:
    return x[:, columns].unflatten(1, (components, -1))


def _add_product(out: Tensor, a: Tensor, b: Tensor, begun: bool) -> None:
    """out + a * b in place of out, or a * b where nothing has been written yet."""
    if begun:
        out.addcmul_(a, b)
    else:
        torch.mul(a, b, out=out)


def _contract(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """sum_m x_m y_m of x [E, m, C] and y [E, m, C or 1], written to `out` one component after another: no array of products."""
    for m in range(x.shape[1]):
        _add_product(out, x[:, m], y[:, m], m > 0)
    return out


def _contracted(x: Tensor, y: Tensor) -> Tensor:
    """The same of y [E, m], as a new array."""
    return _contract(x, y.unsqueeze(2), torch.empty_like(x[:, 0]))


class _Products(torch.autograd.Function):
    """The products; see `edge_products`."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, q: Tensor, f: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        scalars, before, *others = plan.widths
        both = q.new_empty(len(q), before + scalars + 1)
        both[:, -1].fill_(1.0)
        parts = [both[:, before:-1], both[:, :before], *(q.new_empty(len(q), width) for width in others)]
        dots = q.new_empty(len(q), plan.dots)
        for term in plan.terms:
            x, place = _by_component(q, term.source, term.components), parts[term.part][:, term.place]
            if term.harmonic is None:
                torch.mul(x, f[:, term.factor].unsqueeze(1), out=place.unflatten(1, (term.components, -1)))
            else:
                dot = _contract(x, y[:, term.harmonic].unsqueeze(2), dots[:, term.dot])
                torch.mul(dot, f[:, term.factor], out=place)
        ctx.plan = plan
        ctx.save_for_backward(q, f, y, dots)
        return parts[0], both, *parts[2:]

    @staticmethod
    def backward(ctx: Any, by_scalars: Tensor, by_both: Tensor, *by_others: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        before = ctx.plan.widths[1]
        scalars = by_scalars + by_both[:, before:-1]
        return None, *_Derivatives.apply(ctx.plan, *ctx.saved_tensors, scalars, by_both[:, :before], *by_others)


class _Derivatives(torch.autograd.Function):
    """The derivatives of sum(grads * products) by q, f and y; linear in each of what it does not derive by."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, q: Tensor, f: Tensor, y: Tensor, dots: Tensor, *grads: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        ctx.save_for_backward(q, f, y, *grads)
        by_q = torch.empty_like(q) if plan.covered else torch.zeros_like(q)
        by_f, by_y = torch.empty_like(f), torch.empty_like(y) if plan.turned else torch.zeros_like(y)
        begun = set() if plan.covered else {term.source.start for term in plan.terms}
        for term in plan.terms:
            grad, own, n = grads[term.part][:, term.place], f[:, term.factor], term.components
            x, by_x = _by_component(q, term.source, n), _by_component(by_q, term.source, n)
            if term.harmonic is not None:
                by_dot = (grad * own).unsqueeze(1)
                _add_product(by_x, by_dot, y[:, term.harmonic].unsqueeze(2), term.source.start in begun)
                torch.mul(grad, dots[:, term.dot], out=by_f[:, term.factor])
                torch.bmm(x, by_dot.transpose(1, 2), out=by_y[:, term.harmonic].unsqueeze(2))
            else:
                grad = grad.unflatten(1, (n, -1))
                _add_product(by_x, grad, own.unsqueeze(1), term.source.start in begun)
                _contract(grad, x, by_f[:, term.factor])
            begun.add(term.source.start)
        return by_q, by_f, by_y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """a, b and c weigh the derivatives by q, f and y."""
        q, f, y, *grads = ctx.saved_tensors
        by_q, by_f, by_y = torch.zeros_like(q), torch.empty_like(f), torch.zeros_like(y)
        by_grads = [torch.empty_like(grad, memory_format=torch.contiguous_format) for grad in grads]
        for term in ctx.plan.terms:
            n, grad, out = term.components, grads[term.part][:, term.place], by_grads[term.part][:, term.place]
            own, of_f = f[:, term.factor], b[:, term.factor]
            x, of_x, by_x = (_by_component(array, term.source, n) for array in (q, a, by_q))
            if term.harmonic is not None:
                turn, of_turn = y[:, term.harmonic], c[:, term.harmonic]
                first = _contracted(of_x, turn) + _contracted(x, of_turn)
                torch.mul(first, own, out=out)
                out.addcmul_(_contracted(x, turn), of_f)
                torch.mul(grad, first, out=by_f[:, term.factor])
                by_x.addcmul_((grad * of_f).unsqueeze(1), turn.unsqueeze(2))
                by_x.addcmul_((grad * own).unsqueeze(1), of_turn.unsqueeze(2))
                weighted = of_x * own.unsqueeze(1) + x * of_f.unsqueeze(1)
                torch.sum(weighted * grad.unsqueeze(1), dim=2, out=by_y[:, term.harmonic])
            else:
                grad, out = grad.unflatten(1, (n, -1)), out.unflatten(1, (n, -1))
                torch.mul(of_x, own.unsqueeze(1), out=out)
                out.addcmul_(x, of_f.unsqueeze(1))
                by_x.addcmul_(grad, of_f.unsqueeze(1))
                _contract(grad, of_x, by_f[:, term.factor])
        return None, by_q, by_f, by_y, None, *by_grads
