"""All checks of the contract in order, and what they found as a dictionary for a JSON file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.contract import alive, cutoff, dynamics, rounding, sameness, slopes, symmetry
from grannfield.contract.alive import Case
from grannfield.contract.opened import Opened, is_registered, open_calculator, open_file, open_name, reduced
from grannfield.contract.samples import Samples
from grannfield.contract.subjects import undisturbed
from grannfield.contract.verdict import Finding, broken, judged
from grannfield.contract.weights import Vacuous
from grannfield.forcefield import UnsupportedElement, registered, split_name
from grannfield.progress import progress

CHECKS: dict[str, Callable[[Case], list[Finding]]] = {
    "rotation": symmetry.rotation,
    "reflection": symmetry.reflection,
    "translation": symmetry.translation,
    "re-wrapping": symmetry.wrapping,
    "permutation": symmetry.permutation,
    "forces against the energy": slopes.forces,
    "stress against the energy": slopes.stress,
    "net force": sameness.net_force,
    "extensivity": sameness.extensivity,
    "jump of the energy": cutoff.jump,
    "batch = single": sameness.batch,
    "save = load": sameness.save_load,
    "repeatability": sameness.repeatability,
    "NVE drift": dynamics.nve,
}
"""Every check but the first, which asks whether there is anything to measure."""
CODE = ("nn", "contract", "md", "forcefield.py", "precision.py", "graph.py", "neighbors.py", "all_pairs.py", "units.py")
SPOT = ", Table 1 size"
"""Added to the name of a check made at full size for a model that is otherwise measured at a reduced one."""


def check_name(spec: str, seed: int = 0) -> dict[str, Any]:
    """The report of a registered model, `name` or `name@published`, with seeded weights."""
    started = time.monotonic()
    with undisturbed(), progress(len(CHECKS) + 2, f"check {spec}", "checks") as bar:
        try:
            opened = open_name(spec, seed)
        except Vacuous as problem:
            dead = judged("alive: size of forces", 0.0, claimed=True, low=alive.SIZE[0], unit="eV/Å", detail=str(problem))
            return report(spec, seed, [dead], {}, time.monotonic() - started)
        findings = measure(opened, seed, bar)
        if opened.about["reduced"] and not any(f.failed and f.check.startswith("alive") for f in findings):
            bar.set_postfix_str("at Table 1 size")
            findings += _tried(f"rotation{SPOT}", lambda: full_size(spec, seed), None)
        bar.update(1)
    return report(spec, seed, findings, opened.about, time.monotonic() - started)


def check_opened(opened: Opened, seed: int = 0) -> dict[str, Any]:
    """The report of something with weights of its own."""
    started, label = time.monotonic(), opened.subject.label
    with undisturbed(), progress(len(CHECKS) + 1, f"check {label}", "checks") as bar:
        findings = measure(opened, seed, bar)
    return report(label, seed, findings, opened.about, time.monotonic() - started)


def check_model(spec: str, seed: int = 0) -> dict[str, Any]:
    """The report of a registered model, a checkpoint, or `file.py:Class`."""
    if is_registered(spec):
        split_name(spec)
        return check_name(spec, seed)
    with undisturbed():
        return check_opened(open_file(spec, seed), seed)


def check_precision(spec: str, precision: str, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """What a precision costs a model with weights of its own: a registered name with trained weights, a checkpoint, a class."""
    started = time.monotonic()
    with undisturbed(), progress(1, f"{spec} in {precision}", "checks") as bar:
        opened = open_file(spec, seed)
        assert opened.subject.field is not None
        findings = rounding.rounding(opened.subject.field, precision, seed, device)
        bar.update(1)
    made = report(opened.subject.label, seed, findings, opened.about, time.monotonic() - started)
    return made | {"provenance": provenance.stamp(device, precision)}


def check_calculator(text: str, seed: int = 0) -> dict[str, Any]:
    """The report of an ASE calculator."""
    return check_opened(open_calculator(text, seed), seed)


def measure(opened: Opened, seed: int, bar: Any = None, only: Sequence[str] | None = None) -> list[Finding]:
    """What the checks found; only the first of them where there is nothing to measure."""
    case = Case(opened.subject, opened.samples, seed)
    findings = _tried("alive", lambda: alive.alive(case, opened.seeded), bar)
    if any(f.failed for f in findings):
        return findings
    for name in CHECKS if only is None else only:
        findings += _tried(name, lambda name=name: CHECKS[name](case), bar)  # type: ignore[misc]
        case.failed = {f.check for f in findings if f.failed}
    return _with_noise(findings)


def _with_noise(findings: list[Finding]) -> list[Finding]:
    """The same, saying of failures that are no larger than the differences of repeated calls that they are those."""
    noise = next((f.value for f in findings if f.check == "repeatability" and f.failed), 0.0)
    note = f"repeated calls differ by {noise:.1e} already"
    return [
        replace(f, detail=f"{f.detail}; {note}" if f.detail else note)
        if f.failed and f.value <= 3 * noise and f.check != "repeatability"
        else f
        for f in findings
    ]


def _tried(name: str, check: Callable[[], list[Finding]], bar: Any) -> list[Finding]:
    """A check's findings; an exception in the model is one."""
    if bar is not None:
        bar.set_postfix_str(name)
    try:
        found = check()
    except UnsupportedElement:
        raise
    except Exception as problem:  # whatever a model raises is its own failure, and the other checks go on
        found = [broken(name, problem)]
    if bar is not None:
        bar.update(1)
    return found


def full_size(spec: str, seed: int) -> list[Finding]:
    """Rotation and repeatability at Table 1 size, on the small cell and in float32 alone."""
    opened = open_name(spec, seed, full_size=True)
    opened.subject.precisions = opened.subject.precisions[:1]
    small = Samples(opened.samples.skew, opened.samples.skew)
    findings = measure(replace(opened, samples=small), seed, only=("rotation", "repeatability"))
    return [replace(f, check=f.check + SPOT) for f in findings if not f.check.startswith("alive") or f.failed]


def report(label: str, seed: int, findings: list[Finding], about: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One behaviour's part of a JSON file."""
    return {
        "label": label,
        **about,
        "seed": seed,
        "findings": [finding.to_dict() for finding in findings],
        "failed": [finding.check for finding in findings if finding.failed],
        "seconds": round(seconds, 1),
        "provenance": provenance.stamp(),
    }


def fingerprint(name: str) -> str:
    """Changes when the code or the data that a registered model's report depends on do."""
    package, _, module = registered()[name].__module__.partition(".")
    own = [module.replace(".", "/") + ".py"] if package == "grannfield" else []
    digest = hashlib.sha256(provenance.code_hash(*own, *CODE).encode())
    digest.update(repr(reduced().get(name)).encode())
    for path in sorted(Path(__file__).parent.glob("*-*.toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
