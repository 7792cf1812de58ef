"""One step of training: gradients of the loss on given frames, Adam, and the moving average of the weights.

On a GPU the whole step becomes one CUDA graph that gathers its frames on the device; the host sends their numbers and reads
losses later. On a processor the same functions run one after the other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from grannfield.compiled import Mode, Outputs, Recorded, chosen_for_training, loss_gradients
from grannfield.forcefield import ForceField
from grannfield.graphset import GraphSet, Loader
from grannfield.precision import matrix_products
from grannfield.recipe import Recipe, TrainingError

READ_EVERY = 16
"""Steps on a GPU between two looks at the losses; the host runs ahead of the device by at most twice as many."""
BEFORE_CAPTURE = 3
"""Steps that run as written before one is captured: optimiser state, libraries and compiled code must exist by then."""
Indivisible = Callable[[], AbstractContextManager[None]]
"""Marks what an interruption may not cut in two."""

logger = logging.getLogger("grannfield")


class Descent:
    """The weights on their way down: Adam with AMSGrad, and their exponential moving average."""

    def __init__(self, field: ForceField, recipe: Recipe) -> None:
        self.field = field
        self.weights = {name: p for name, p in field.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.weights.items()}
        self.device = next(iter(self.weights.values())).device
        self.on_gpu = self.device.type == "cuda"
        self._rate = recipe.learning_rate
        self.optimizer = torch.optim.Adam(
            self.weights.values(), lr=torch.tensor(self._rate, device=self.device) if self.on_gpu else self._rate,
            weight_decay=recipe.weight_decay, amsgrad=True, fused=True, capturable=self.on_gpu,
        )  # fmt: skip
        self.share = torch.zeros((), device=self.device)
        """Of the new weights in the average, where a captured step reads it."""

    @property
    def learning_rate(self) -> float:
        return self._rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._rate = rate
        for group in self.optimizer.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate)  # in place: a captured step reads it there
            else:
                group["lr"] = rate

    def update(self, gradients: Outputs, share: float | Tensor) -> None:
        """One step of Adam, then average += share (weights - average)."""
        for p, gradient in zip(self.weights.values(), gradients, strict=True):
            p.grad = gradient
        average, weights = list(self.average.values()), [p.detach() for p in self.weights.values()]
        with torch.no_grad():
            self.optimizer.step()
            if isinstance(share, float):
                torch._foreach_lerp_(average, weights, share)
                return
            towards = torch._foreach_sub(weights, average)
            torch._foreach_mul_(towards, share)
            torch._foreach_add_(average, towards)

    @contextmanager
    def averaged(self, indivisible: Indivisible) -> Iterator[None]:
        """The field with its averaged weights, in eval mode."""
        weights = [p.detach() for p in self.weights.values()]
        raw = [p.clone() for p in weights]
        with indivisible(), torch.no_grad():
            torch._foreach_copy_(weights, list(self.average.values()))
        self.field.eval()
        try:
            yield
        finally:
            with indivisible(), torch.no_grad():
                torch._foreach_copy_(weights, raw)
            self.field.train()

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on: weights and buffers, their average, the optimiser's moments."""
        found = {f"field.{key}": value for key, value in self.field.state_dict().items()}
        found |= {f"ema.{key}": value for key, value in self.average.items()}
        for name, p in self.weights.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                found[f"adam.{name}.{key}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self.field.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("field.")})
        for name, p in self.weights.items():
            self.average[name].copy_(tensors[f"ema.{name}"])
            prefix = f"adam.{name}."
            state = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            kept = lambda key: key == "step" and not self.on_gpu  # noqa: E731  (the optimiser counts on the host there)
            self.optimizer.state[p] = {key: v if kept(key) else v.to(self.device) for key, v in state.items()}


class Losses:
    """Losses of the steps, read `every` so many without stopping the device; immediately where every step is read.

    TrainingError names the first step whose loss was not a number, and where the state before it is kept.
    """

    def __init__(self, device: torch.device, complaint: Callable[[float, int], str], every: int | None = None) -> None:
        self.every, self.complaint = every or (READ_EVERY if device.type == "cuda" else 1), complaint
        self.rings = [torch.zeros(self.every, dtype=torch.float64, device=device) for _ in range(2)]
        self.pinned = [torch.zeros(self.every, dtype=torch.float64, pin_memory=device.type == "cuda") for _ in range(2)]
        self.steps: list[int] = []
        self.waiting: tuple[list[int], Tensor, torch.cuda.Event | None] | None = None

    def add(self, step: int, loss: Tensor) -> list[float]:
        """Take in the loss [] of a step; the losses that have arrived meanwhile."""
        self.rings[0][len(self.steps)].copy_(loss, non_blocking=True)
        self.steps.append(step)
        return self._send() if len(self.steps) == self.every else []

    def all(self) -> list[float]:
        """Every loss not read yet; waits for the device."""
        return [*self._send(), *self._arrived()]

    def _send(self) -> list[float]:
        """Have the present ring copied to the host; the losses of the one before."""
        earlier = self._arrived()
        self.pinned[0].copy_(self.rings[0], non_blocking=True)
        event = None
        if self.rings[0].is_cuda:
            event = torch.cuda.Event()
            event.record()
        self.waiting, self.steps = (self.steps, self.pinned[0], event), []
        self.rings.reverse()
        self.pinned.reverse()
        return earlier if self.every > 1 else [*earlier, *self._arrived()]

    def _arrived(self) -> list[float]:
        if self.waiting is None:
            return []
        steps, ring, event = self.waiting
        self.waiting = None
        if event is not None:
            event.synchronize()
        values = ring[: len(steps)].tolist()
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                raise TrainingError(self.complaint(value, step))
        return values


class TrainingStep:
    """What one step does to the weights, given the numbers of its frames.

    Frames beyond `recipe.batch_size` are taken in parts whose gradients are added: the gradient of one large batch, but for
    models with batch statistics, which see the parts. `mode` is that of `grannfield.compiled`. `capture`: as one CUDA graph,
    by default on a GPU.
    """

    def __init__(
        self, descent: Descent, frames: GraphSet, recipe: Recipe, *, mode: Mode = "auto", capture: bool | None = None
    ) -> None:
        self.descent, self.recipe, self.device = descent, recipe, descent.device
        self.frames = Loader(frames, self.device, min(recipe.step_size, len(frames)))
        way, patience = chosen_for_training(mode, self.device)
        self.gradients = Recorded(descent.field, loss_gradients, "training", way, patience=patience)
        self.ahead = descent.on_gpu if capture is None else capture
        self.side = torch.cuda.Stream(self.device) if self.ahead else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.sum, self.found = self.loss, Outputs()
        self.steps = 0

    def __call__(
        self, number: int, frames: np.ndarray, seed: int, decay: float, losses: Losses, indivisible: Indivisible
    ) -> list[float]:
        """Take step `number`; the losses that have become known. What must not be cut in two is done within `indivisible`."""
        self.frames.load(frames)
        # Dropout and random edge frames depend on the seed alone: a resumed training repeats them.
        torch.manual_seed(seed)
        if self.ahead and self.graph is None and self.steps >= BEFORE_CAPTURE:
            self._capture()
        known: list[float] = []
        if self.graph is None:
            self._beside(self._differentiate)
            known = losses.add(number, self.loss)  # on a processor a loss that is no number stops here: nothing has moved
        with indivisible():
            self._move(1 - decay)
        if self.graph is not None:
            known = losses.add(number, self.loss)
        self.steps += 1
        return known

    def _move(self, share: float) -> None:
        """Adam and the average, of which the new weights are to be this share."""
        if not self.ahead:
            return self.descent.update(self.found, share)
        self.descent.share.fill_(share)
        if self.graph is not None:
            return self.graph.replay()
        return self._beside(lambda: self.descent.update(self.found, self.descent.share))

    def _differentiate(self) -> None:
        """Loss and gradients of the present frames."""
        graphs = self.frames.graphs(self.recipe.batch_size)
        total = sum(g.n_graphs for g in graphs)
        for n, graph in enumerate(graphs):
            loss, *gradients = self.gradients(graph)
            assert loss is not None
            if len(graphs) > 1:
                share = graph.n_graphs / total
                loss, gradients = loss * share, [None if x is None else x * share for x in gradients]
            if n:
                loss = loss + self.sum
                gradients = [x if x is None or y is None else x + y for x, y in zip(gradients, self.found, strict=True)]
            self.sum, self.found = loss, gradients
        self.loss.copy_(self.sum)

    def _whole(self) -> None:
        self._differentiate()
        self.descent.update(self.found, self.descent.share)

    def _beside(self, call: Callable[[], None]) -> None:
        """On the side stream where the step will be captured there, else here."""
        if self.side is None:
            return call()
        here = torch.cuda.current_stream(self.device)
        self.side.wait_stream(here)
        with torch.cuda.stream(self.side):
            call()
        here.wait_stream(self.side)
        return None

    def _capture(self) -> None:
        """Record the step as one CUDA graph; nothing is done by recording it."""
        for p in self.descent.weights.values():
            p.grad = None  # gradients are to lie where the captured step puts them
        self.found = []
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        try:
            with matrix_products(self.descent.field.precision, self.device), torch.cuda.graph(graph, stream=self.side):
                self._whole()
        except RuntimeError as problem:
            torch.cuda.synchronize(self.device)
            self.ahead, self.side = False, None
            name, reason = self.descent.field.name, str(problem).splitlines()[0]
            logger.warning("%s: its training step cannot be one CUDA graph (%s); same results but slower", name, reason)
        else:
            self.graph = graph
