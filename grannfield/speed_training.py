"""What training costs: our step beside one that differentiates twice as the formula is written, and frames a second.

The literal step is PyTorch Geometric's model with the same weights, forces as the gradient of the energy by positions kept
differentiable, the same loss, `backward()` and Adam. Edges are found once for each frame on both sides.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.compiled import Mode, chosen_for_training
from grannfield.data.dataset import frames
from grannfield.data.material import load_material
from grannfield.forcefield import ForceField
from grannfield.graphset import GraphSet
from grannfield.learning import BEFORE_CAPTURE, Descent, Losses, TrainingStep
from grannfield.recipe import Recipe, loss_of
from grannfield.speed.rivals import RIVALS, PyGDimeNet
from grannfield.speed.subjects import awake, missing
from grannfield.speed.timing import compared, finished, interleaved

OURS, COMPILED, LITERAL = "grannfield", "grannfield, compiled", "literal double backward"
BATCH_SIZES = {"cpu": (2, 8), "cuda": (2, 8, 32, 128)}
"""Tried when no others are asked for."""


def against_literal_training(name: str, rounds: int = 10, compiling: bool = False) -> dict[str, Any]:
    """A training step on two LGPS frames on the CPU: ours, and PyTorch Geometric's written literally.

    Ours is the default of a long training, half the rows (pairs instead of edges) and the operations recorded; `compiling` has
    it beside itself with `--compile on`, where there is a compiler for C++.
    """
    entry: dict[str, Any] = {
        "what": f"training step of {name} at Table 1 size, batch 2, LGPS (50 atoms), edges of a frame found once, Adam",
        "by": f"{OURS}: half the rows, operations recorded once, the average of the weights included; {COMPILED}: --compile on",
        "not installed": missing("PyTorch Geometric")[:1],
    }
    known = labelled(awake(name), 2 * 4)
    calls: dict[str, Callable[[], Any]] = {OURS: stepping(_scaled(awake(name), known), known, Recipe())}
    if compiling and any(map(shutil.which, ("g++", "clang++", "c++"))):
        calls[COMPILED] = stepping(_scaled(awake(name), known), known, Recipe(), "on")
    if not entry["not installed"]:
        literal = LiteralTraining(_scaled(awake(name), known), known)
        entry["losses_differ"] = float(f"{literal.differs(_scaled(awake(name), known)):.2g}")
        calls[LITERAL] = literal.step
    entry["times"] = compared(interleaved(calls, rounds, f"training {name}"), OURS)
    return entry


def labelled(field: ForceField, limit: int, material: str = "LGPS") -> GraphSet:
    """Training frames of a material's first reference, at most so many, spread over it."""
    source = load_material(material)
    known = frames(source, source.reference(), "train", limit=limit)
    return GraphSet.build(known.z, known.pos, known.cell, field.cutoff, known.energy, known.forces)


def _scaled(field: ForceField, known: GraphSet) -> ForceField:
    field.scale.fit(known.z.numpy(), known.energy.numpy(), known.forces.numpy())
    return field.train()


def stepping(field: ForceField, known: GraphSet, recipe: Recipe, mode: Mode = "auto") -> Callable[[], None]:
    """A call that takes one more step, through the frames in order: a step of a training that has gone on for a while."""
    descent = Descent(field, recipe)
    way, _ = chosen_for_training(mode, descent.device)
    advance, losses = TrainingStep(descent, known.near(descent.device), recipe, mode=way), Losses(descent.device, _broken)
    size = min(recipe.step_size, len(known))
    count = iter(range(10**9))

    def step() -> None:
        n = next(count)
        chosen = (np.arange(size) + n * size) % len(known)
        advance(n, chosen, n, recipe.decay(n + 1), losses, nullcontext)

    return step


def _broken(loss: float, step: int) -> str:
    return f"the loss is {loss} at step {step}: a timing of it says nothing"


class LiteralTraining:
    """Training of PyTorch Geometric's model as its users write it: energy, gradient by positions, loss, backward, Adam."""

    def __init__(self, field: ForceField, known: GraphSet, batch_size: int = 2, learning_rate: float = 1e-3) -> None:
        self.model: Any = (BatchedDimeNet if RIVALS[field.name] is PyGDimeNet else RIVALS[field.name])(field)
        self.scale, self.batch_size, self.n = field.scale, batch_size, 0
        self.known, self.dtype = known, field.dtype
        self.edges = [_edges(known, frame, field.dtype) for frame in range(len(known))]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate, weight_decay=1e-6, amsgrad=True)

    def loss(self, chosen: list[int]) -> Tensor:
        """The training loss of some frames, differentiable."""
        atoms, parts = len(self.known.z), [self.edges[frame] for frame in chosen]
        z = self.known.z.repeat(len(chosen))
        pos = self.known.pos[chosen].reshape(-1, 3).to(self.dtype).requires_grad_()
        j, i = (torch.cat([part[side] + n * atoms for n, part in enumerate(parts)]) for side in (0, 1))
        across = torch.cat([part[2] for part in parts])
        batch = torch.arange(len(chosen)).repeat_interleave(atoms)
        shift = self.scale.shift[z].view(len(chosen), atoms).sum(dim=1)
        energy = self.model.energies(z, pos, j, i, across, batch).double() * self.scale.scale + shift
        (slope,) = torch.autograd.grad(energy.sum(), pos, create_graph=True)
        return loss_of(energy, -slope, self.known.energy[chosen], self.known.forces[chosen].view(-1, 3), self.scale.scale)

    def step(self) -> None:
        chosen = [(self.n * self.batch_size + b) % len(self.known) for b in range(self.batch_size)]
        self.optimizer.zero_grad()
        self.loss(chosen).backward()
        self.optimizer.step()
        self.n += 1

    def differs(self, field: ForceField) -> float:
        """Relative difference of the first batch's loss from that of a field."""
        graph = self.known.batch(np.arange(self.batch_size))
        p = field.predict(graph)
        ours = float(loss_of(p.energy, p.forces, graph.energy, graph.forces, field.scale.scale))
        return abs(float(self.loss(list(range(self.batch_size))).detach()) / ours - 1)


def _edges(known: GraphSet, frame: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbour j, centre i and cell shift (Å) of every edge of a frame."""
    centre, slot = known.mask[frame].nonzero(as_tuple=True)
    crossed = known.shift[frame][centre, slot].double() @ known.cell[frame]
    return known.neighbors[frame][centre, slot].long(), centre, crossed.to(dtype)


class BatchedDimeNet(PyGDimeNet):
    """PyTorch Geometric's blocks on several structures at once: what leaves them is summed by structure."""

    def energies(self, z: Tensor, pos: Tensor, j: Tensor, i: Tensor, across: Tensor, batch: Tensor) -> Tensor:
        """[B]; edges are numbered through, batch [N] is the structure of each atom."""
        atomic = self.atomic(z, pos, j, i, across)
        return atomic.new_zeros(int(batch[-1]) + 1).index_add(0, batch, atomic.squeeze(1))


def training_rate(
    name: str, device: str = "cpu", batch_sizes: tuple[int, ...] | None = None, seconds: float = 60.0, mode: Mode = "auto"
) -> dict[str, Any]:
    """Frames a second of training at Table 1's size on LGPS, for each batch size that fits memory and the time given.

    Steps before the first counted one (recording, compiling, capturing) are not in `seconds`, but told.
    """
    sizes = sorted({2, *(batch_sizes or BATCH_SIZES[torch.device(device).type])})
    known = labelled(awake(name), max(sizes))
    on_gpu, tried, step_s = torch.device(device).type == "cuda", {}, 0.0
    for number, size in enumerate(sizes):
        if number and step_s * size / sizes[number - 1] > seconds:
            break
        try:
            tried[str(size)] = _rate(_scaled(awake(name), known).to(device), known, size, seconds / len(sizes), mode)
        except torch.OutOfMemoryError:
            break
        step_s = size / tried[str(size)]["samples_per_s"]
    best = max(tried, key=lambda size: tried[size]["samples_per_s"])
    return {
        "what": f"training of {name} at Table 1 size on LGPS frames, float32, step: {mode}",
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "samples_per_s_at_batch_2": tried["2"]["samples_per_s"],
        "best_batch_size": int(best),
        "best_samples_per_s": tried[best]["samples_per_s"],
        "by_batch_size": tried,
    }


def _rate(field: ForceField, known: GraphSet, size: int, seconds: float, mode: Mode) -> dict[str, float]:
    device = str(field.scale.scale.device)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    step, start = stepping(field, known, Recipe(batch_size=size), mode), time.perf_counter()
    for _ in range(BEFORE_CAPTURE + 2 if on_gpu else 1):
        step()
    finished(device)
    ready, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - ready < seconds:
        step()
        n += 1
        if n % 50 == 0:
            finished(device)  # the host must not run ahead of the clock
    finished(device)
    taken = time.perf_counter() - ready
    found = {"samples_per_s": float(f"{n * size / taken:.4g}"), "steps": n, "before_s": round(ready - start, 2)}
    if on_gpu:
        found["peak_memory_MiB"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found
