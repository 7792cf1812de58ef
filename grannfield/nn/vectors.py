"""Lengths, directions and whitening of vectors, with gradients in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def length(v: Tensor, dim: int = -1, smallest: float = 0.0) -> Tensor:
    """(|v|² + s²)^(1/2) along a dimension: of vectors none of which is zero, or with s = `smallest` above zero."""
    return _Length.apply(v, dim, smallest)


def direction(v: Tensor) -> Tensor:
    """v / |v| of vectors [..., 3] none of which is zero."""
    return _Direction.apply(v)[0]


def whitened(vec: Tensor, matrix: Tensor, weight: float) -> Tensor:
    """(V V^T / F + w M)^(-1/2) V of vectors V [N, 3, F] without their mean over F; M [3, 3] positive, w > 0. Double inside."""
    return _Whitened.apply(vec, matrix, weight)[0]


class _Length(torch.autograd.Function):
    """(|v|² + s²)^(1/2)."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, dim: int, smallest: float) -> Tensor:
        one_more = (0, 0) * (v.dim() - 1 - dim % v.dim()) + (0, 1)
        result = torch.linalg.vector_norm(torch.nn.functional.pad(v, one_more, value=smallest) if smallest else v, dim=dim)
        ctx.save_for_backward(v, result)
        ctx.dim = dim
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        v, result = ctx.saved_tensors
        return v * (grad / result).unsqueeze(ctx.dim), None, None


class _Direction(torch.autograd.Function):
    """v / |v|, and |v|."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        result = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        unit = v / result
        ctx.save_for_backward(unit, result)
        ctx.set_materialize_grads(False)
        return unit, result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, by_length: Tensor | None) -> Tensor:  # type: ignore[override]
        unit, result = ctx.saved_tensors
        grad = torch.zeros_like(unit) if grad is None else grad
        along = (unit * grad).sum(dim=-1, keepdim=True)
        if by_length is not None:
            along = along - result * by_length
        return torch.addcmul(grad, unit, along, value=-1) / result


class _Whitened(torch.autograd.Function):
    """R V with R = A^(-1/2) and A = V V^T / F + w M; and R, A [N, 3, 3] and V.

    The derivative of R comes from S dS + dS S = dA with S = A^(1/2), which is regular where eigenvalues coincide (the derivative
    of eigenvectors is not): dR = -X with S X + X S = R dA R.
    """

    @staticmethod
    def forward(ctx: Any, vec: Tensor, matrix: Tensor, w: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v = (vec - vec.mean(dim=-1, keepdim=True)).double()
        a = torch.baddbmm(matrix, v, v.mT, beta=w, alpha=1 / v.shape[-1])
        values, vectors = torch.linalg.eigh(a)
        r = (vectors * values.rsqrt().unsqueeze(-2)) @ vectors.mT
        ctx.save_for_backward(v, r, a, values.sqrt(), vectors)
        ctx.set_materialize_grads(False)
        ctx.dtype = vec.dtype
        return (r @ v).to(vec.dtype), r, a, v

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor | None, by_r: Tensor | None, by_a: Tensor | None, by_v: Tensor | None
    ) -> tuple[Tensor, None, None]:
        v, r, a, roots, vectors = ctx.saved_tensors
        by_result = torch.zeros_like(v) if grad is None else grad.double()
        through_r = by_result @ v.mT
        if by_r is not None:
            through_r = through_r + by_r
        less_a = _Lyapunov.apply(r @ through_r @ r, r, a, roots, vectors)
        if by_a is not None:
            less_a = less_a - by_a
        through_v = torch.baddbmm(r @ by_result, less_a + less_a.mT, v, alpha=-1 / v.shape[-1])
        if by_v is not None:
            through_v = through_v + by_v
        through_v = through_v.to(ctx.dtype)
        return through_v - through_v.mean(dim=-1, keepdim=True), None, None


class _Lyapunov(torch.autograd.Function):
    """X of S X + X S = B, given R = 1/S, A = S² and the eigenvalues and -vectors of S. Derivatives solve the same equation."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, r: Tensor, a: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
        rotated = vectors.mT @ b @ vectors / (values.unsqueeze(-1) + values.unsqueeze(-2))
        x = vectors @ rotated @ vectors.mT
        ctx.save_for_backward(x, r, a, values, vectors)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        x, r, a, values, vectors = ctx.saved_tensors
        s = a @ r
        by_b = _Lyapunov.apply(grad, r, a, values, vectors)
        return by_b, s @ (by_b @ x.mT + x.mT @ by_b) @ s, None, None, None
