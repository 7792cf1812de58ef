"""Attention over neighbours."""

from __future__ import annotations

from torch import Tensor


def neighbor_softmax(logits: Tensor, mask: Tensor, envelope: Tensor | None = None) -> Tensor:
    """Weights [N, K, H] of an atom's neighbours from logits [N, K, H]: e^a over its sum; zero in padded slots.

    With an envelope C [N, K] the weights are C * C e^a / sum(C e^a): a neighbour that reaches the cut-off leaves the sum and
    its own message without a jump, also when it is the only one.
    """
    keep = mask.unsqueeze(-1)
    top = logits.detach().masked_fill(~keep, float("-inf")).amax(dim=1, keepdim=True).nan_to_num(neginf=0.0)
    weight = (logits - top).masked_fill(~keep, 0.0).exp() * keep
    if envelope is None:
        return weight / (weight.sum(dim=1, keepdim=True) + 1e-16)
    fade = envelope.unsqueeze(-1)
    weight = weight * fade
    return fade * weight / (weight.sum(dim=1, keepdim=True) + 1e-16)
