"""How exactly numbers are multiplied: float32, TF32 or float64, asked for by name and never changed by stealth.

float32 is the default, and it is float32 whatever the process has allowed elsewhere. TF32 (NVIDIA, Ampere and later) keeps 10
of the 23 explicit mantissa bits of what enters a float32 matrix product and adds up in float32; here it touches the products of
the network alone: vectors between atoms, the angles they make, sums of energy, forces and the motion never go below float32. A
processor has no TF32 units: there the rounding is done by hand, which shows what TF32 does to a model and saves no time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

NETWORK = {"float32": torch.float32, "tf32": torch.float32, "float64": torch.float64}
"""The precisions there are, and in which of torch's types a network of each holds its numbers."""
MANTISSA_BITS = 10
"""Explicit mantissa bits of TF32 (NVIDIA A100 white paper, 2020); its 8 exponent bits are those of float32."""


def checked(precision: str) -> str:
    """The same name, or ValueError that says which there are."""
    if precision not in NETWORK:
        raise ValueError(f"no precision is called {precision!r}; there are {', '.join(NETWORK)}")
    return precision


def labelled(precision: str, device: str | torch.device) -> str:
    """What results call a precision: TF32 that was rounded by hand is not TF32 that a GPU made.

    >>> labelled("tf32", "cpu"), labelled("tf32", "cuda:0"), labelled("float32", "cpu")
    ('tf32 (emulated)', 'tf32', 'float32')
    """
    return "tf32 (emulated)" if checked(precision) == "tf32" and torch.device(device).type == "cpu" else precision


class _Now(threading.local):
    """What holds in this thread."""

    tf32 = False
    """Whether float32 products are rounded, by a GPU or by hand."""
    by_hand = False
    """Whether the mode that rounds by hand is in place."""


_now = _Now()


class matrix_products:
    """Within it, products of float32 matrices on a device are made as `precision` says; afterwards as before.

    Global switches of torch and autocast are set aside and put back, so that "float32" is float32 in a process that allows
    TF32. Backward passes count as much as forward ones: a loss must be differentiated within it, and what was compiled or is to
    be captured in a CUDA graph must be compiled and captured within it. The switches belong to the process: two threads cannot
    ask one GPU for different precisions at the same time. ValueError for "tf32" on a device that has none.
    """

    def __init__(self, precision: str, device: str | torch.device) -> None:
        self.tf32, self.device = checked(precision) == "tf32", torch.device(device)
        self.undo: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        kind, before = self.device.type, _now.tf32
        if self.tf32:
            _require_tf32(self.device)
        for backend, switch in SWITCHES.get(kind, ()):
            self._hold(getattr(backend, switch))
        if torch.is_autocast_enabled(kind):
            torch.set_autocast_enabled(kind, False)
            self.undo.append(lambda: torch.set_autocast_enabled(kind, True))
        if self.tf32 and kind == "cpu" and not _now.by_hand:
            mode = _RoundedProducts()
            mode.__enter__()
            _now.by_hand = True
            self.undo.append(lambda: _leave(mode))
        _now.tf32 = self.tf32
        self.undo.append(lambda: setattr(_now, "tf32", before))

    def __exit__(self, *problem: Any) -> None:
        while self.undo:
            self.undo.pop()()

    def _hold(self, switch: Any) -> None:
        """Put one of torch's switches where it should be.

        `fp32_precision` (torch 2.9 and later) never warns, other than `allow_tf32`, which cannot even be read where the two were
        mixed.
        """
        wanted, found = "tf32" if self.tf32 and self.device.type != "cpu" else "ieee", switch.fp32_precision
        if found != wanted and (found, wanted) != ("none", "ieee"):  # "none": nothing was asked for, which is float32
            switch.fp32_precision = wanted
            self.undo.append(lambda: setattr(switch, "fp32_precision", found))


SWITCHES: dict[str, tuple[tuple[Any, str], ...]] = {
    "cpu": ((torch.backends.mkldnn, "matmul"),),
    "cuda": ((torch.backends.cuda, "matmul"), (torch.backends.cudnn, "conv"), (torch.backends.cudnn, "rnn")),
}
"""Where torch keeps what it may do with float32 products; on processors `medium` allows bfloat16."""


@cache
def _require_tf32(device: torch.device) -> None:
    """ValueError where there is no TF32; where it is emulated, say so (once)."""
    if device.type == "cpu":
        logging.getLogger(__name__).warning("TF32 on a processor is emulated: products are rounded, at no gain in speed")
    elif device.type != "cuda":
        raise ValueError(f"there is no TF32 on a device of the kind {device.type}; use float32")
    elif torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(f"{torch.cuda.get_device_name(device)} has no TF32, which came with NVIDIA's Ampere; use float32")


def _leave(mode: TorchDispatchMode) -> None:
    _now.by_hand = False
    mode.__exit__(None, None, None)


def geometric_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b where both are geometry, such as the cosines between bonds: of float32 quality also inside a network in TF32.

    There it is made in double precision, which no switch and no compiler lowers; elsewhere it is a plain product.
    """
    return (a.double() @ b.double()).to(a.dtype) if _now.tf32 else a @ b


FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1, "_addmm_activation": 1}
"""ATen's matrix products, and the place of the first of their two factors."""


class _RoundedProducts(TorchDispatchMode):
    """TF32 by hand: rounds what enters the float32 matrix products of forward and backward passes.

    It works below autograd, where `linear`, `matmul` and `einsum` have become these few operations.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__.rstrip("_")
        if not _now.tf32:
            return func(*args, **kwargs)
        if name in FACTORS:
            first = FACTORS[name]
            factors = [rounded(x) if x.dtype == torch.float32 else x for x in args[first : first + 2]]
            return func(*args[:first], *factors, *args[first + 2 :], **kwargs)
        if name in ("linear", "matmul", "einsum"):  # not yet taken apart, as in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        return func(*args, **kwargs)


def rounded(x: Tensor, bits: int = MANTISSA_BITS) -> Tensor:
    """float32 numbers to the nearest with `bits` explicit mantissa bits, ties to even; infinities and NaN stay what they are.

    >>> rounded(torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11])).sub(1).mul(2**10).tolist()
    [1.0, 0.0, 2.0]
    """
    drop = 23 - bits
    pattern = x.view(torch.int32)
    pattern = pattern + ((1 << (drop - 1)) - 1) + ((pattern >> drop) & 1)
    nearest = torch.bitwise_and(pattern, -(1 << drop)).view(torch.float32)
    return torch.where(torch.isfinite(x), nearest, x)
