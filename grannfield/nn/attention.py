"""Attention over neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NOTHING = -1000.0
"""Logarithm of a weight that is zero: its exponential vanishes in any precision, and a row of nothing else stays finite."""


def neighbor_softmax(logits: Tensor, mask: Tensor, envelope: Tensor | None = None) -> Tensor:
    """Weights [N, K, H] of an atom's neighbours from logits [N, K, H]: e^a over its sum; zero in padded slots.

    With an envelope C [N, K] the weights are C * C e^a / sum(C e^a): a neighbour that reaches the cut-off leaves the sum and
    its own message without a jump, also when it is the only one.
    """
    keep = mask.unsqueeze(-1)
    if envelope is None:
        fade = keep.to(logits.dtype)
        return faded_softmax(logits, NOTHING * (1.0 - fade), fade)
    fade = (envelope * mask).unsqueeze(-1)
    return faded_softmax(logits, _Log.apply(fade), fade)


def faded_softmax(logits: Tensor, log_fade: Tensor, fade: Tensor) -> Tensor:
    """c C e^a / sum(C e^a) over neighbours, of logits a [N, K, H], ln C and c C (c a constant), both [N, K, 1] or [N, K, H].

    The gradient by C is that by ln C; `fade` must depend on C just so.
    """
    return _FadedSoftmax.apply(logits, log_fade, fade)[0]


class _FadedSoftmax(torch.autograd.Function):
    """w = f p with p the softmax of a + l, where f is proportional to e^l; and p."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, log_fade: Tensor, fade: Tensor) -> tuple[Tensor, Tensor]:
        share = torch.softmax(logits + log_fade, dim=1)
        weight = share * fade
        ctx.save_for_backward(share, weight, fade)
        ctx.set_materialize_grads(False)
        ctx.heads = log_fade.shape[-1] == logits.shape[-1]
        return weight, share

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, by_share: Tensor | None) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        share, weight, fade = ctx.saved_tensors
        grad = torch.zeros_like(share) if grad is None else grad
        through_share = grad * fade if by_share is None else grad * fade + by_share
        by_logits = torch._softmax_backward_data(through_share, share, 1, share.dtype)
        by_log = torch.addcmul(by_logits, grad, weight)
        return by_logits, by_log if ctx.heads else by_log.sum(dim=-1, keepdim=True), None


class _Log(torch.autograd.Function):
    """ln C of numbers that are not negative; a constant where they are zero."""

    @staticmethod
    def forward(ctx: Any, c: Tensor) -> Tensor:
        ctx.save_for_backward(c)
        return c.log().masked_fill(c <= 0, NOTHING)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (c,) = ctx.saved_tensors
        nothing = c <= 0
        return grad.masked_fill(nothing, 0.0) / c.masked_fill(nothing, 1.0)
