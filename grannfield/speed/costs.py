"""What an evaluation asks of the hardware, counted and not timed: operations, floating-point operations, bytes, memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from grannfield.data.structure import Structure
from grannfield.forcefield import ForceField, create, registered
from grannfield.neighbors import AllPairs, neighbor_graph
from grannfield.nn.sizes import sized_for
from grannfield.speed.subjects import crystal
from grannfield.testing import FREE, count_operations, operation


def evaluation_of(field: ForceField, structure: Structure, device: str = "cpu") -> Callable[[], Any]:
    """One energy-and-force evaluation as a GPU makes it: list of fixed shape included, nothing waited for."""
    pos, cell = torch.tensor(structure.pos, device=device)[None], torch.tensor(structure.cell, device=device)[None]
    widest = neighbor_graph(structure.z, structure.pos, structure.cell, field.cutoff).neighbors.shape[1]
    search = AllPairs(structure.z, cell, field.cutoff, capacity=widest + 8)
    return lambda: field.predict(search(pos))


def operations(names: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Device operations and host synchronisations of one energy-and-force evaluation on LGPS, list of fixed shape included.

    At the size of Table 1, counted below autograd, views free, exact and the same on any machine: arrays that a processor takes
    in parts, to keep them in its cache, are taken as a GPU would.
    """
    found = {}
    for name in names or registered():
        with sized_for("cuda"):
            ops, syncs, _ = count_operations(evaluation_of(create(name).eval(), crystal("LGPS")))
        found[name] = {"operations": ops, "synchronisations": syncs}
    return found


class Costs(TorchDispatchMode):
    """Floating-point operations of matrix products, bytes that operations read and write, and the most that lived at a time.

    torch's own formulae for the products; element-wise arithmetic is not counted. What kernels use inside themselves is not
    seen, nor what lived before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop, self.moved, self.live, self.peak = 0, 0, 0, 0
        self.seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        before = {id(t.untyped_storage()) for t in given}
        result = func(*args, **kwargs)
        made = _tensors(result)
        if formula := flop_registry.get(func.overloadpacket):
            self.flop += formula(*args, **kwargs, out_val=result)
        if operation(func) not in FREE:
            self.moved += sum(t.numel() * t.element_size() for t in (*given, *made))
        for storage in (t.untyped_storage() for t in made):
            if id(storage) not in self.seen and id(storage) not in before:
                self._born(storage)
        return result

    def _born(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)

        def died(_: Any) -> None:
            self.live -= size
            self.seen.pop(key, None)

        self.seen[key] = weakref.ref(storage, died)


def costs(call: Callable[[], Any]) -> Costs:
    """What one call costs.

    >>> found = costs(lambda: torch.ones(1000).add(1).add(1))
    >>> found.flop, found.moved, found.peak
    (0, 20000, 8000)
    >>> costs(lambda: torch.ones(10, 20) @ torch.ones(20, 30)).flop
    12000
    """
    with Costs() as counter:
        call()
    return counter


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def minimal_bytes(field: ForceField, structure: Structure, replicas: int = 1) -> int:
    """What no evaluation can do without: every weight read once (twice where there is a backward pass), positions, forces.

    The neighbours can be found from the positions, and whatever lies between can stay in registers.
    """
    weights = sum(p.numel() * p.element_size() for p in field.parameters())
    return weights * (1 + field.conservative) + replicas * len(structure.z) * (2 * 3 + 1) * 8
