"""`grannfield speed`: our time beside others' for the same result, interleaved in one process, as medians and ratios.

Absolute times mean little on a shared machine; a ratio of two calls made one after the other means much. Each round times
every contender once, in turn; the ratio of a round is theirs over ours, and its quartiles over the rounds are the spread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grannfield import provenance
from grannfield.data.material import load_material
from grannfield.files import write_atomically
from grannfield.forcefield import ForceField, create, registered
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.simulate import Protocol, advance
from grannfield.md.state import initial_state
from grannfield.md.watch import Watch
from grannfield.memory import keep_freed_memory
from grannfield.neighbors import AllPairs, neighbor_graph
from grannfield.progress import progress
from grannfield.rivals import RIVALS, ase_loop, evaluation
from grannfield.testing import count_operations

MD_STEPS = 10
"""In a timed block of molecular dynamics."""


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int, label: str = "") -> dict[str, list[float]]:
    """Seconds of every call in every round, after two rounds that are not counted; the order turns from round to round.

    >>> times = interleaved({"a": lambda: None, "b": lambda: None}, 3)
    >>> [len(x) for x in times.values()]
    [3, 3]
    """
    keep_freed_memory()
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    with progress(rounds + 2, label or "timing", "rounds") as bar:
        for number in range(-2, rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start = time.perf_counter()
                calls[name]()
                if number >= 0:
                    times[name].append(time.perf_counter() - start)
            bar.update(1)
    return times


def compared(times: dict[str, list[float]], ours: str) -> dict[str, Any]:
    """Median and quartiles of each contender's time, in ms, and of its ratio to ours, round by round.

    >>> compared({"us": [1.0, 2.0, 4.0], "them": [3.0, 4.0, 8.0]}, "us")["them"]["ratio"]
    {'median': 2.0, 'quartiles': [2.0, 2.5], 'n': 3}
    """
    summary = {}
    for name, seconds in times.items():
        summary[name] = {"ms": _quartiles(1e3 * np.array(seconds))}
        if name != ours:
            summary[name]["ratio"] = _quartiles(np.array(seconds) / np.array(times[ours]))
    return summary


def _quartiles(values: np.ndarray) -> dict[str, Any]:
    low, middle, high = (float(f"{x:.4g}") for x in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"median": middle, "quartiles": [low, high], "n": len(values)}


def awake(name: str, seed: int = 0) -> ForceField:
    """A field of Table 1's size whose last layers are not zero; a bias that PyTorch Geometric has no place for is."""
    torch.manual_seed(seed)
    field = create(name).eval()
    with torch.no_grad():
        for key, p in field.named_parameters():
            if p.requires_grad and p.dim() > 1 and not p.any():
                p.normal_(std=0.1)
            if key.endswith("up.bias"):
                p.zero_()
    return field


def against_rival(name: str, material: str = "LGPS", rounds: int = 10) -> dict[str, Any]:
    """Energy and forces of one structure, neighbour list included: ours against PyTorch Geometric's with the same weights."""
    field, start = awake(name), load_material(material).structure
    z, pos, cell = np.asarray(start.z, np.int64), np.asarray(start.pos, float), np.asarray(start.cell, float)
    rival = evaluation(RIVALS[name](field).eval(), field.cutoff)
    ours = lambda: field.predict(neighbor_graph(z, pos, cell, field.cutoff))  # noqa: E731
    here, theirs = ours().forces.double().numpy(), rival(z, pos, cell)[1]
    times = interleaved({"grannfield": ours, "PyTorch Geometric": lambda: rival(z, pos, cell)}, rounds, f"{name} {material}")
    return {
        "what": f"energy and forces of {name} at Table 1 size, {material} ({len(z)} atoms), neighbour list included",
        "forces_differ": float(f"{np.abs(here - theirs).max() / np.abs(theirs).max():.2g}"),
        "times": compared(times, "grannfield"),
    }


def against_ase(name: str, material: str = "LGPS", rounds: int = 10) -> dict[str, Any]:
    """Steps of molecular dynamics (NVT, 2 fs): our loop, ASE's over our calculator, and what `predict` alone takes of ours."""
    field, start = awake(name), load_material(material).structure
    protocol = Protocol(temperature=300.0, length=1e6, ramp=0.0)
    state = initial_state(start.z, start.pos, start.cell, protocol.temperature, [0])
    evaluate = Evaluate(field, state)
    holder: list[Any] = [evaluated(state, evaluate), Watch.new(1, protocol.timestep, "cpu")]
    loop = ase_loop(field, start.z, start.pos, start.cell, protocol.temperature, protocol.timestep)
    graph = neighbor_graph(start.z, start.pos, start.cell, field.cutoff)

    def ours() -> None:
        holder[:] = advance(holder[0], holder[1], evaluate, protocol, 0, MD_STEPS)

    def predictions() -> None:
        for _ in range(MD_STEPS):
            field.predict(graph)

    calls = {"grannfield": ours, "ASE": lambda: loop.run(MD_STEPS), "predict alone": predictions}
    times = interleaved(calls, rounds, f"MD {name} {material}")
    return {
        "what": f"{MD_STEPS} steps of NVT of {name} at Table 1 size, {material} ({len(start.z)} atoms), 1 replica",
        "times": compared(times, "grannfield"),
    }


def operations(names: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Device operations and host synchronisations of one energy-and-force evaluation on LGPS, list of fixed shape included."""
    start = load_material("LGPS").structure
    pos, cell = torch.tensor(start.pos)[None], torch.tensor(start.cell)[None]
    found = {}
    for name in names or registered():
        field = create(name).eval()
        widest = neighbor_graph(start.z, start.pos, start.cell, field.cutoff).neighbors.shape[1]
        search = AllPairs(start.z, cell, field.cutoff, capacity=widest + 8)
        ops, syncs, _ = count_operations(lambda field=field, search=search: field.predict(search(pos)))  # type: ignore[misc]
        found[name] = {"operations": ops, "synchronisations": syncs}
    return found


def write_speed(folder: Path, rounds: int = 10, names: list[str] | None = None) -> Path:
    """Every comparison that runs here, into speed/<hardware>.json below a reports folder."""
    chosen = names or list(registered())
    rivals = [name for name in RIVALS if name in chosen]
    result = {
        "provenance": provenance.stamp(),
        "protocol": f"{rounds} interleaved rounds after 2; median and quartiles; ratio: theirs / ours of the same round; float32",
        "energy_and_forces": [against_rival(name, rounds=rounds) for name in rivals],
        "molecular_dynamics": [against_ase(name, rounds=rounds) for name in chosen if name in ("schnet", "cgcnn")],
        "operations": operations(chosen),
    }
    hardware = "".join(c if c.isalnum() else "-" for c in provenance.processor()).strip("-").lower()
    path = folder / "speed" / f"{hardware}.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    return path


def table(path: Path) -> list[list[dict[str, str]]]:
    """A speed file as two tables: comparisons, and operations of an evaluation."""
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for one in result["energy_and_forces"] + result["molecular_dynamics"]:
        for name, found in one["times"].items():
            ratio = found.get("ratio")
            row = {"comparison": one["what"], "contender": name, "ms": _text(found["ms"])}
            rows.append(row | {"theirs / ours": _text(ratio) if ratio else "", "n": str(found["ms"]["n"])})
    counts = [{"model": name, **{key: str(n) for key, n in found.items()}} for name, found in result["operations"].items()]
    return [rows, counts]


def _text(found: dict[str, Any]) -> str:
    low, high = found["quartiles"]
    return f"{found['median']:g} [{low:g}, {high:g}]"
