"""Our time beside others' for the same energies, forces and steps: interleaved in one process, ratios round by round."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.md.block import Blocks
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import Watch
from grannfield.neighbors import replica_graph
from grannfield.speed.loops import PROTOCOL, Loop, OurField, PyGField, ase_loop, torch_sim_loop
from grannfield.speed.rivals import RIVALS, evaluation
from grannfield.speed.subjects import GENTLE, awake, crystal, missing
from grannfield.speed.timing import Clock, compared, interleaved, quartiles

OURS, ALONE = "grannfield", "predict alone"
MD_STEPS = 12
"""In a timed block of molecular dynamics of one replica; half as many of several."""
RATTLE = 0.05
"""Å, of every coordinate between two evaluations."""
LOOPS: dict[str, tuple[str, ...]] = {
    "schnet": ("ASE", "torch-sim, our field", "torch-sim, PyTorch Geometric"),
    "cgcnn": ("ASE", "torch-sim, our field"),
}
"""Models light enough for what surrounds them to matter, and who else moves them."""


def against_rival(name: str, material: str = "LGPS", rounds: int = 10, device: str = "cpu") -> dict[str, Any]:
    """Energy and forces, neighbour list included: ours against PyTorch Geometric's with the same weights.

    Both are given the same positions, others at every call as in a simulation: each with its own search.
    """
    field, start = awake(name, device=device), crystal(material)
    z, cell = np.asarray(start.z, np.int64), np.asarray(start.cell, float)
    places = start.pos + np.random.default_rng(0).normal(scale=RATTLE, size=(8, *start.pos.shape))
    state = initial_state(start.z, start.pos, cell, PROTOCOL.temperature, [0])
    evaluate = Evaluate(field, MDState(**{key: value.to(device) for key, value in vars(state).items()}))
    ours = lambda pos: evaluate(torch.from_numpy(pos).to(device).unsqueeze(0))  # noqa: E731
    calls: dict[str, Callable[[], Any]] = {OURS: _turning(ours, places)}
    entry: dict[str, Any] = {
        "what": f"energy and forces of {name} at Table 1 size, {material} ({len(z)} atoms), positions new at every call",
        "not installed": missing("PyTorch Geometric"),
    }
    if not entry["not installed"]:
        rival = evaluation(RIVALS[name](field).eval(), field.cutoff)
        calls["PyTorch Geometric"] = _turning(lambda pos: rival(z, pos, cell), places)
        theirs = torch.from_numpy(rival(z, places[0], cell)[1])
        entry["forces_differ"] = {"PyTorch Geometric": _difference(ours(places[0])[1][0], theirs)}
    entry["times"] = compared(interleaved(calls, rounds, f"{name} {material}", device=device), OURS)
    return entry


def _turning(call: Callable[[np.ndarray], Any], places: np.ndarray) -> Callable[[], Any]:
    """A call on one set of positions after the other."""
    turn = itertools.cycle(places)
    return lambda: call(next(turn))


def against_ase(name: str, material: str = "LGPS", rounds: int = 10) -> dict[str, Any]:
    """Steps of molecular dynamics (NVT, 2 fs): our loop, ASE's over our calculator, and what `predict` alone takes of ours."""
    return against_loops(name, material, 1, rounds, ("ASE",))


def against_loops(
    name: str,
    cell: str = "LGPS",
    replicas: int = 1,
    rounds: int = 10,
    rivals: tuple[str, ...] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Steps of molecular dynamics (NVT, 2 fs) with the same weights, start and length: ours, ASE's, torch-sim's.

    `outside_predict` is the share of each contender's own time that it does not spend in its model's energy and gradient (the
    neighbour list is outside), clocked in the same calls (on the CPU; a GPU works while the host goes on). "predict alone"
    repeats ours on one fixed graph.
    """
    structure, field = crystal(cell), awake(name, device=device, strength=GENTLE)
    start = initial_state(structure.z, structure.pos, structure.cell, PROTOCOL.temperature, list(range(replicas)))
    graph = replica_graph(start.z.numpy(), start.pos, start.cell, field.cutoff).to(device)
    start = MDState(**{key: value.to(device) for key, value in vars(start).items()})
    steps = MD_STEPS if replicas == 1 else MD_STEPS // 2
    wanted = LOOPS[name] if rivals is None else rivals
    absent = {rival: packages for rival in wanted if (packages := _absent(rival))}
    loops = {OURS: our_loop(name, start)} | {rival: _loop(rival, name, start) for rival in wanted if rival not in absent}
    calls: dict[str, Callable[[], Any]] = {key: _stepping(loop, steps) for key, loop in loops.items()}
    calls[ALONE] = lambda: [field.predict(graph) for _ in range(steps)]
    clocks = {key: loop.clock for key, loop in loops.items()}
    for clock in clocks.values():
        clock.lap(False)
    times = interleaved(calls, rounds, f"MD {name} {cell} x{replicas}", clocks, device)
    outside = {key: np.array(times[key]) - np.array(clock.rounds) for key, clock in clocks.items() if device == "cpu"}
    each = {key: [x / steps for x in seconds] for key, seconds in times.items()}
    return {
        "what": f"a step of NVT at 2 fs of {name} at Table 1 size, {cell} ({len(structure.z)} atoms), replicas: {replicas}",
        "replicas": replicas,
        "steps_in_a_block": steps,
        "not installed": sorted({package for packages in absent.values() for package in packages}),
        "integrator": {key: loop.integrator for key, loop in loops.items()},
        "forces_differ": {key: _difference(loops[OURS].forces, loop.forces) for key, loop in loops.items() if key != OURS},
        "times": compared(each, OURS),
        "outside_predict": {key: quartiles(seconds / np.array(times[key])) for key, seconds in outside.items()},
        "outside_predict_ms": {key: quartiles(1e3 * seconds / steps) for key, seconds in outside.items()},
    }


def _absent(rival: str) -> list[str]:
    """Packages of all the contenders in a name such as "torch-sim, PyTorch Geometric" that are not installed."""
    return [package for part in rival.split(", ") if part != "our field" for package in missing(part)]


def our_loop(name: str, start: MDState) -> Loop:
    """Our own engine."""
    field, clock = awake(name, device=str(start.pos.device), strength=GENTLE), Clock()
    field.predict = clock.around(field.predict)  # type: ignore[method-assign]
    evaluate = Evaluate(field, start)
    first = evaluated(start, evaluate)
    blocks = Blocks(evaluate, PROTOCOL, start.pos.device)
    holder: list[Any] = [first, Watch.new(start.replicas, PROTOCOL.timestep, start.pos.device), 0]

    def run(n: int) -> None:
        holder[:2] = blocks(holder[0], holder[1], holder[2], n)
        holder[2] += n

    return Loop(run, clock, first.forces.clone(), "Nosé-Hoover chain of 3", lambda: holder[0].pos)


def _loop(rival: str, name: str, start: MDState) -> Loop:
    field = awake(name, device=str(start.pos.device), strength=GENTLE)
    if rival == "ASE":
        return ase_loop(field, start)
    model = OurField if rival == "torch-sim, our field" else PyGField
    return torch_sim_loop(model(field, start), start)


def _stepping(loop: Loop, steps: int) -> Callable[[], Any]:
    return lambda: loop.run(steps)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of two sets of forces over the largest force."""
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    return float(f"{float((ours - theirs).abs().max() / theirs.abs().max()):.2g}")
