"""Energy, forces and gradients recorded once as plain tensor operations, replayed without autograd, compiled where that pays.

Recording happens below autograd, so the derivative by positions, and in training the derivative of that by the weights, are in
the record as ordinary operations: nothing is left to differentiate when it is replayed or compiled. Compilers cannot
differentiate twice (pytorch#91469, #183603), and here they need not even once; the adjoints that `graph` and the models define
are kept. Weights, buffers and every array of the graph are inputs of the record, never constants in it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from grannfield.forcefield import ForceField, Prediction
from grannfield.graph import AtomGraph
from grannfield.precision import matrix_products
from grannfield.recipe import loss_of
from grannfield.recording import Untraceable, recorded_operations

Mode = Literal["auto", "off", "trace", "on"]
"""off: as written; trace: recorded and replayed operation by operation, the same bits, 0 to 15% less time; on: recorded and
compiled; auto: on for a GPU. On a processor compiling SchNet takes 12 s (73 s for training), gains nothing in MD and a fifth of
a training step: there auto is off, and trace in a training of more than PATIENCE steps."""
Outputs = list[Tensor | None]
Function = Callable[[ForceField, AtomGraph], Outputs]
LIMIT = 8
"""Kinds of graph (shapes, types) one function is recorded for; what comes after runs as written."""
PATIENCE = 64
"""Steps of a training on a processor before it is recorded, which takes 1 to 10 s and saves 2 to 15% of a step."""
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "tf32": 2e-2}
"""Of a recorded or compiled result against the function itself, relative to its largest number."""

logger = logging.getLogger("grannfield")


def chosen(mode: Mode, device: torch.device | str) -> Mode:
    """What `auto` means on a device.

    >>> chosen("auto", "cpu"), chosen("auto", "cuda:0"), chosen("trace", "cpu")
    ('off', 'on', 'trace')
    """
    if mode not in ("auto", "off", "trace", "on"):
        raise ValueError(f"there is no way of compiling called {mode!r}; there are auto, off, trace and on")
    return mode if mode != "auto" else "on" if torch.device(device).type == "cuda" else "off"


def chosen_for_training(mode: Mode, device: torch.device | str) -> tuple[Mode, int]:
    """The same for a training, and how many steps run as written before.

    >>> chosen_for_training("auto", "cpu"), chosen_for_training("auto", "cuda"), chosen_for_training("off", "cpu")
    (('trace', 64), ('on', 0), ('off', 0))
    """
    found = chosen(mode, device)
    return ("trace", PATIENCE) if mode == "auto" and found == "off" else (found, 0)


def compiled(
    field: ForceField, graph: AtomGraph, *, mode: Mode = "auto", stress: bool = False, backend: str = "inductor"
) -> Callable[[AtomGraph], Prediction]:
    """`field.predict` for graphs like this one, recorded now; for another shape it is recorded again, at most LIMIT times.

    What cannot be recorded or compiled runs as written, after one line in the log. New values of weights and buffers take
    effect; a replaced submodule does not.
    """

    def ask(of: ForceField, about: AtomGraph) -> Outputs:
        p = of.predict(about, stress=stress)
        return [p.energy, p.forces, p.stress, p.atomic_energies]

    recorded = Recorded(field, ask, "energy and forces", chosen(mode, graph.pos.device), backend)
    recorded(graph)

    def predict(about: AtomGraph) -> Prediction:
        energy, forces, virial, atomic = recorded(about)
        assert energy is not None and forces is not None
        return Prediction(energy, forces, virial, atomic)

    return predict


def loss_gradients(field: ForceField, graph: AtomGraph) -> Outputs:
    """The training loss [] of a labelled graph and its gradient by every trainable weight (None where it depends on none)."""
    with matrix_products(field.precision, graph.pos.device), torch.enable_grad():
        prediction = field.predict(graph, create_graph=True)
        loss = loss_of(prediction.energy, prediction.forces, graph.energy, graph.forces, field.scale.scale)
        trainable = [p for p in field.parameters() if p.requires_grad]
        return [loss.detach(), *torch.autograd.grad(loss, trainable, allow_unused=True)]


class Recorded:
    """A function of a field and a graph, recorded for each kind of graph it meets; called like the function on the graph.

    The first `patience` calls run as written: recording is to pay, and where it cannot be done nothing was lost.
    """

    def __init__(
        self, field: ForceField, function: Function, what: str, mode: Mode, backend: str = "inductor", patience: int = 0
    ) -> None:
        self.field, self.function, self.what, self.mode, self.backend = field, function, what, mode, backend
        self.patience, self.loudness = patience, logging.INFO if patience else logging.WARNING
        self.modules = list(field.modules())
        self.places, self.names = _places(field)
        self.runners: dict[Any, Callable[..., list[Tensor]]] = {}
        self.present: dict[Any, list[bool]] = {}
        self.given_up = mode == "off"

    def __call__(self, graph: AtomGraph) -> Outputs:
        if self.given_up or self.patience > 0:
            self.patience -= 1
            return self.function(self.field, graph)
        kind = self._kind(graph)
        if kind not in self.runners:
            try:
                self.runners[kind] = self._recorded(kind, graph)
            except Exception as problem:  # whatever a compiler may raise
                self._give_up(problem)
                return self.function(self.field, graph)
        with torch.inference_mode(False), torch.no_grad(), self._products(graph):
            found = iter(self.runners[kind](self._state(), _arrays(graph)))
        return [next(found) if there else None for there in self.present[kind]]

    def _give_up(self, problem: Exception) -> None:
        self.given_up = True
        problem = getattr(problem, "inner_exception", problem)  # what a compiler's own complaint is about
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        logger.log(
            self.loudness,
            "%s: %s could not be %s (%s); it runs as written, with the same results but slower",
            self.field.name,
            self.what,
            "compiled" if self.mode == "on" else "recorded",
            first,
        )

    def _state(self) -> list[Tensor]:
        """Weights and buffers as they are now."""
        return [holder[key] for holder, key in self.places]

    def _products(self, graph: AtomGraph) -> AbstractContextManager[None]:
        return matrix_products(self.field.precision, graph.pos.device)  # type: ignore[return-value]

    def _kind(self, graph: AtomGraph) -> Any:
        """All that a record depends on besides the values of its inputs."""
        arrays = tuple((name, x.shape, x.stride(), x.dtype, x.device) for name, x in _named_arrays(graph))
        rest = tuple(getattr(graph, f.name) for f in fields(graph) if not torch.is_tensor(getattr(graph, f.name)))
        weights = frozenset((x.dtype, x.device, x.requires_grad) for x in self._state())
        return arrays, rest, weights, tuple(m.training for m in self.modules), self.field.precision

    def _recorded(self, kind: Any, graph: AtomGraph) -> Callable[..., list[Tensor]]:
        if len(self.runners) >= LIMIT:
            raise Untraceable(f"more than {LIMIT} kinds of graph")
        if self.field.precision == "tf32" and (graph.pos.device.type == "cpu" or graph.pos.dtype != torch.float64):
            raise Untraceable("with TF32 only double-precision positions on a GPU")  # the record has one precision throughout
        device = graph.pos.device  # what is drawn while recording is drawn again afterwards
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode(False), torch.no_grad():
            state, arrays = [x.clone() for x in self._state()], [x.clone() for x in _arrays(graph)]
            record = recorded_operations(self._plain(graph, kind), state, arrays)
            run: Any = record
            if self.mode == "on":
                _keep_compiled_code()
                run = torch.compile(record, backend=self.backend, dynamic=False, fullgraph=True)
            with self._products(graph):
                self._check(run, graph, kind)
        return run

    def _plain(self, graph: AtomGraph, kind: Any) -> Callable[[list[Tensor], list[Tensor]], list[Tensor]]:
        """The function as one of tensors alone; which outputs there are is noted in `present`."""
        names, trainable = [name for name, _ in _named_arrays(graph)], [holder[key].requires_grad for holder, key in self.places]
        module = _Calling(self.field, self.function)

        def plain(state: list[Tensor], arrays: list[Tensor]) -> list[Tensor]:
            leaves = [x.detach().requires_grad_() if wanted else x for x, wanted in zip(state, trainable, strict=True)]
            tensors = {f"field.{name}": x for name, x in zip(self.names, leaves, strict=True)}
            about = replace(graph, **dict(zip(names, arrays, strict=True)))  # type: ignore[arg-type]
            outputs = functional_call(module, tensors, (about,))
            self.present[kind] = [x is not None for x in outputs]
            return [x for x in outputs if x is not None]

        return plain

    def _check(self, run: Callable[..., list[Tensor]], graph: AtomGraph, kind: Any) -> None:
        """Untraceable unless the record follows other weights, atoms, positions, cells, labels and neighbours."""
        arrays = _arrays(changed(graph))
        nudged = [x * (1 + 0.01 * x.requires_grad) if x.is_floating_point() else x for x in self._state()]
        results = []
        for call in (self._plain(graph, kind), run):
            state = [x.detach().clone() for x in nudged]
            results.append([*call(state, [x.clone() for x in arrays]), *(x for x in state if x.is_floating_point())])
        wanted, found = ([x.detach().double() for x in outputs] for outputs in results)
        largest = [float(x.nan_to_num(0.0, 0.0, 0.0).abs().max()) if x.numel() else 0.0 for x in wanted]
        tolerance, floor = TOLERANCE[self.field.precision], 1e-3 * max(largest)
        for x, y, size in zip(wanted, found, largest, strict=True):
            if not torch.allclose(y, x, rtol=0.0, atol=tolerance * (size + floor), equal_nan=True):
                raise Untraceable("the recorded operations give something else for other inputs")


class _Calling(nn.Module):
    """A function of a field as a module, for `functional_call` to exchange the field's tensors."""

    def __init__(self, field: ForceField, function: Function) -> None:
        super().__init__()
        self.field, self.function = field, function

    def forward(self, graph: AtomGraph) -> Outputs:
        return self.function(self.field, graph)


def _places(field: ForceField) -> tuple[list[tuple[dict[str, Any], str]], list[str]]:
    """Where each weight and buffer is held, so that its present value is read at every call; and its name."""
    places, names, seen = [], [], set()
    for prefix, module in field.named_modules():
        for holder in (module._parameters, module._buffers):
            for key, tensor in holder.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    places.append((holder, key))
                    names.append(f"{prefix}.{key}" if prefix else key)
    return places, names


def _named_arrays(graph: AtomGraph) -> list[tuple[str, Tensor]]:
    found = ((f.name, getattr(graph, f.name)) for f in fields(graph))
    return [(name, x) for name, x in found if torch.is_tensor(x)]


def _arrays(graph: AtomGraph) -> list[Tensor]:
    return [x for _, x in _named_arrays(graph)]


def changed(graph: AtomGraph) -> AtomGraph:
    """Another graph of the same kind: atoms displaced, elements and slots reversed, cell stretched, other labels."""
    k = graph.neighbors.shape[1]
    wave = torch.sin(torch.arange(graph.pos.numel(), device=graph.pos.device, dtype=graph.pos.dtype)).view(graph.pos.shape)
    moved = lambda slots: torch.where(slots < 0, slots, slots // k * k + (k - 1 - slots % k))  # noqa: E731
    other = replace(
        graph,
        vectors=None,
        z=graph.z.flip(0),
        pos=graph.pos + 0.02 * wave,
        cell=graph.cell * 1.002,
        **{name: getattr(graph, name).flip(1) for name in ("neighbors", "shift", "mask", "pair")},
        reverse=moved(graph.reverse).flip(1),
        pair_slots=moved(graph.pair_slots),
        energy=None if graph.energy is None else graph.energy + 0.1,
        forces=None if graph.forces is None else graph.forces * 1.1 + 0.1 * wave.to(graph.forces.dtype),
    )
    return other if graph.vectors is None else replace(other, vectors=other.edge_vectors())


def _keep_compiled_code() -> None:
    """Have the compiler keep its work below $XDG_CACHE_HOME/grannfield, unless the user names a folder of its own.

    Torch's own choice is the temporary folder, which it writes into the environment when it is first asked.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") not in (None, default_cache_dir()):
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grannfield" / "inductor"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written to
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
