"""reports/speed/<hardware>.json: what was measured on one kind of machine, entry by entry, each with its own provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from grannfield import provenance
from grannfield.files import locked, write_atomically
from grannfield.forcefield import registered
from grannfield.progress import progress
from grannfield.speed.comparisons import LOOPS, against_loops, against_rival
from grannfield.speed.costs import operations
from grannfield.speed.models import REPLICAS, of_model
from grannfield.speed.rivals import RIVALS
from grannfield.speed.subjects import SMALL_CELL

SECTIONS = ("comparisons", "models", "training", "operations")
FORMAT = 1
"""Of the file; a file of another format is not added to."""
OTHERS = ("torch-geometric", "torch-sim-atomistic", "ase", "vesin", "vesin-torch")

LITERAL = ("schnet", "dimenet_pp")
"""Models whose training step is compared with the literal one."""

Piece = tuple[str, str, Callable[[], dict[str, Any]]]
"""Section, name of the entry, and what measures it."""


@dataclass(frozen=True)
class Request:
    """What to measure: see `write_speed`."""

    names: tuple[str, ...]
    only: tuple[str, ...] = SECTIONS
    rounds: int = 10
    device: str = "cpu"
    seconds: float = 60.0
    replicas: tuple[int, ...] = REPLICAS
    precision: str = "float32"
    comparing: bool = True


def write_speed(
    folder: Path,
    rounds: int = 10,
    names: Sequence[str] | None = None,
    *,
    device: str = "cpu",
    seconds: float = 60.0,
    only: Sequence[str] | None = None,
    replicas: Sequence[int] = REPLICAS,
    precision: str = "float32",
    comparing: bool = True,
) -> Path:
    """Measure what is asked for and put it into speed/<hardware>.json below a reports folder, each piece as soon as it is done.

    Entries of the same name are replaced and all others kept, so that a run that is cut off loses one piece. `names` are
    models (all when empty), `only` sections, `rounds` those of a comparison, `seconds` those of one model's steps; not
    `comparing`: only ours. RuntimeError, at the end, names the pieces that failed.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here; leave out --device or install torch for CUDA")
    path = folder / "speed" / f"{slug(hardware_name(device))}.json"
    content_of(path, device)  # a file that cannot be added to is found before anything is measured
    request = Request(
        tuple(names or registered()), tuple(only or SECTIONS), rounds, device, seconds, tuple(replicas), precision, comparing
    )
    pieces = list(pieces_of(request))
    failed = []
    with progress(len(pieces), "speed", "pieces") as bar:
        for section, key, measure in pieces:
            bar.set_postfix_str(f"{section}: {key}", refresh=True)
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            try:
                entry = measure() | {"made": _made(device, load)}
            except (RuntimeError, ValueError) as problem:  # the other pieces are worth having
                failed.append(f"{section}: {key}: {problem}")
                bar.update(1)
                continue
            with locked(folder / "store", wait=True):  # another run may add to the same file; the lock stays out of sight there
                content = content_of(path, device)
                content["provenance"] = _provenance(device)
                content.setdefault(section, {})[key] = entry
                write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
            bar.update(1)
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(pieces)} pieces failed, the others are in {path}\n" + "\n".join(failed))
    return path


def pieces_of(request: Request) -> Iterator[Piece]:
    """All that is asked for, what takes least first."""
    if "operations" in request.only:
        for name in request.names:
            yield "operations", name, partial(_counted, name)
    if "comparisons" in request.only:
        yield from _comparisons(request)
    if "models" in request.only:
        options: dict[str, Any] = {"replicas": request.replicas, "seconds": request.seconds, "precision": request.precision}
        label = "" if request.precision == "float32" else f" {request.precision}"
        for name in request.names:
            yield "models", name + label, partial(of_model, name, request.device, **options)
    if "training" in request.only:
        for name in request.names:
            yield "training", name, partial(_training, name, request.device, request.seconds)
        for name in (n for n in request.names if n in LITERAL and request.comparing):
            yield "training", f"{name} against the literal step", partial(_training_beside, name, request.rounds)


def _comparisons(request: Request) -> Iterator[Piece]:
    options: dict[str, Any] = {"rounds": request.rounds, "device": request.device}
    for name in (n for n in request.names if n in RIVALS):
        yield "comparisons", f"{name} energy and forces LGPS", partial(against_rival, name, **options)
    for name in (n for n in request.names if n in LOOPS):
        for cell in ("LGPS", SMALL_CELL):
            for number in (1, 6):
                measure = partial(against_loops, name, cell, number, **options)
                yield "comparisons", f"{name} dynamics {cell} x{number}", measure


def _counted(name: str) -> dict[str, Any]:
    return dict(operations([name])[name])


def _training(name: str, device: str, seconds: float) -> dict[str, Any]:
    from grannfield.speed_training import training_rate  # it is made of this package's parts

    return training_rate(name, device, seconds=seconds)


def _training_beside(name: str, rounds: int) -> dict[str, Any]:
    from grannfield.speed_training import against_literal_training

    return against_literal_training(name, rounds, compiling=name == "schnet")  # another takes minutes to compile


def content_of(path: Path, device: str) -> dict[str, Any]:
    """A speed file, or an empty one where there is none; ValueError where it cannot be added to."""
    if not path.exists():
        return {"format": FORMAT, "hardware": hardware_name(device)}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path} is not JSON ({problem}); move it away and run again") from problem
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a speed file of format {FORMAT}; move it away and run again")
    return content


def hardware_name(device: str) -> str:
    """The GPU's name, or the processor's with its cores."""
    return provenance.hardware(device) if device.startswith("cuda") else provenance.processor()


def slug(text: str) -> str:
    """A name as part of a file's.

    >>> slug("NVIDIA H200, 2 cores")
    'nvidia-h200--2-cores'
    """
    return "".join(c if c.isalnum() else "-" for c in text).strip("-").lower()


def _made(device: str, load: float) -> dict[str, Any]:
    """When and in which state of the machine an entry was measured; load is the number of busy processes just before."""
    stamp = provenance.stamp(device)
    return {
        "date": stamp["date"],
        "code": stamp["versions"]["code"],
        "threads": torch.get_num_threads(),
        "load": round(load, 2),
        "openmp": {key: value for key, value in os.environ.items() if key.startswith(("OMP_", "KMP_", "MKL_"))},
    }


def _provenance(device: str) -> dict[str, Any]:
    """Of the last run that wrote the file."""
    stamp = provenance.stamp(device)
    for package in OTHERS:
        try:
            stamp["versions"][package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            stamp["versions"][package] = "not installed"
    return stamp


def table(path: Path) -> list[list[dict[str, str]]]:
    """A speed file as tables: comparisons, steps of each model, training, operations of an evaluation."""
    content = json.loads(path.read_text(encoding="utf-8"))
    training = content.get("training", {})
    beside = content.get("comparisons", {}) | {f"training {key}": e for key, e in training.items() if "times" in e}
    tables = [
        [row for key, entry in beside.items() for row in _comparison(key, entry)],
        [row for name, entry in content.get("models", {}).items() for row in _model(name, entry)],
        [_flat(name, entry) for name, entry in training.items() if "times" not in entry],
        [_flat(name, entry) for name, entry in content.get("operations", {}).items()],
    ]
    return [rows for rows in tables if rows]


def _comparison(key: str, entry: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, found in entry["times"].items():
        share, outside = (entry.get(key, {}).get(name, {}).get("median") for key in ("outside_predict", "outside_predict_ms"))
        yield {
            "comparison": key,
            "contender": name,
            "ms": _text(found["ms"]),
            "theirs / ours": _text(found["ratio"]) if "ratio" in found else "",
            "outside predict": "" if share is None else f"{100 * share:.1f}% ({outside:g} ms)",
            "n": str(found["ms"]["n"]),
        }
    if entry["not installed"]:
        yield {"comparison": key, "contender": f"not installed: {', '.join(entry['not installed'])}"}


def _model(name: str, entry: dict[str, Any]) -> Iterator[dict[str, str]]:
    for number, found in entry["steps"].items():
        row = {"model": name, "replicas": number}
        if found["ms"] is None:
            yield row | {"ms a step": found["reason"]}
        else:
            keys = ("ns_per_day", "ns_per_day_of_all", "share_of_roofline", "peak_gb")
            numbers = {key.replace("_", " "): f"{found[key]:g}" if key in found else "" for key in keys}
            yield row | {"ms a step": _text(found["ms"])} | numbers


def _flat(name: str, entry: dict[str, Any]) -> dict[str, str]:
    """The numbers of an entry."""
    return {"model": name, **{key.replace("_", " "): f"{x:g}" for key, x in entry.items() if isinstance(x, (int, float))}}


def _text(found: dict[str, Any]) -> str:
    low, high = found["quartiles"]
    return f"{found['median']:g} [{low:g}, {high:g}]"
