"""What `grannfield check` measured, read from reports/contract/MODEL.json, and the symmetry it shows, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grannfield.files import compact_json, json_lines, write_atomically
from grannfield.report.paper import TITLES

FORMAT = 1
EXACT = {"float32": 1e-4, "float64": 1e-6}
"""Largest relative error of a symmetry that is called exact."""


class ContractError(ValueError):
    """A file of measurements cannot be read."""


def contract_path(reports: Path, model: str) -> Path:
    """Where the measurements of a registered model live, both behaviours in one file."""
    return reports / "contract" / f"{model}.json"


def write_contract(path: Path, model: str, behaviours: dict[str, dict[str, Any]]) -> None:
    """Store measurements by behaviour, atomically, a line for each finding."""
    measured = ",\n".join(f"  {json.dumps(name)}: {{\n{_entries(behaviours[name])}\n  }}" for name in sorted(behaviours))
    text = f' "format": {FORMAT},\n "model": {json.dumps(model)},\n "behaviours": {{\n{measured}\n }}'
    write_atomically(path, f"{{\n{text}\n}}\n")


def _entries(measured: dict[str, Any]) -> str:
    shown = {key: json_lines(value, "    ") if key == "findings" else compact_json(value) for key, value in measured.items()}
    return ",\n".join(f"   {json.dumps(key)}: {shown[key]}" for key in sorted(shown))


def read_contract(path: Path) -> dict[str, dict[str, Any]]:
    """Measurements by behaviour, "default" and "published", empty where there is no file; ContractError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ContractError(f"{path} has format {content['format']}; this version reads up to {FORMAT}: upgrade grannfield")
        behaviours: dict[str, dict[str, Any]] = content["behaviours"]
        for measured in behaviours.values():
            if any("check" not in finding or "verdict" not in finding for finding in measured["findings"]):
                raise KeyError("findings")
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError, AttributeError) as problem:
        raise ContractError(f"{path} is no file of measurements ({problem!r}); delete it and run `grannfield check`") from problem
    return behaviours


def all_contracts(reports: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Measurements of every model under a reports folder, by name and behaviour: in the paper's order, others after them."""
    order = {name: number for number, name in enumerate(TITLES)}
    paths = sorted((reports / "contract").glob("*.json"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
    return {path.stem: read_contract(path) for path in paths}


def finding(measured: dict[str, Any], check: str, precision: str = "") -> dict[str, Any]:
    """One finding of a behaviour, empty where there is none; the first of its name unless a precision is given."""
    return next((f for f in measured["findings"] if f["check"] == check and precision in ("", f["precision"])), {})


def measured_symmetry(measured: dict[str, Any]) -> str:
    """The symmetry that one behaviour was measured to have, in a few words with the errors behind them.

    >>> f = lambda check, value, precision="float64": {"check": check, "value": value, "precision": precision, "verdict": "pass"}
    >>> seen = [f("rotation", 2e-7, "float32"), f("reflection", 3e-15), f("translation", 1e-14)]
    >>> measured_symmetry({"findings": seen})
    'E(3): rotation 2e-7'
    >>> measured_symmetry({"findings": [*seen[:1], f("reflection", 0.4), *seen[2:]]})
    'SE(3): rotation 2e-7, reflection 4e-1'
    >>> measured_symmetry({"findings": [f("rotation", 0.7, "float32"), *seen[1:]]})
    'translation only: rotation 7e-1'
    """
    rotation, reflection = finding(measured, "rotation"), finding(measured, "reflection", "float64")
    moves = {name: finding(measured, name) for name in ("translation", "re-wrapping")}
    if not rotation:
        return "not measured: vacuous" if any(f["check"].startswith("alive") for f in measured["findings"]) else "not measured"
    noise = finding(measured, "repeatability")
    random = 3 * (noise.get("value") or 0.0)
    broken = [f"{name} {short(f)}" for name, f in moves.items() if f and not _exact(f, random)]
    turns, still = f"rotation {short(rotation)}", not broken
    if random:
        turns += f", repeated calls differ by {short(noise)}"
    if _exact(rotation):
        mirrored = _exact(reflection)
        group = {(True, True): "E(3)", (True, False): "SE(3)", (False, True): "O(3)", (False, False): "SO(3)"}[still, mirrored]
        mirror = [] if mirrored or not reflection else [f"reflection {short(reflection)}"]
        return f"{group}: {', '.join([turns, *mirror, *(f'not {text}' for text in broken)])}"
    if measured.get("claims", {}).get("rotation") == "approximate":
        return ", ".join([f"approximate: {turns}", *(f"not {text}" for text in broken)])
    return ", ".join([f"translation only: {turns}" if still else f"none: {turns}", *broken])


def _exact(found: dict[str, Any], random: float = 0.0) -> bool:
    """Whether an error is rounding, or no more than what repeated calls do."""
    value = found.get("value")
    return value is not None and value <= max(random, EXACT.get(found["precision"], EXACT["float32"]))


def short(found: dict[str, Any]) -> str:
    """A measured value in a table: one digit and the power of ten.

    >>> short({"value": 2.04e-07}), short({"value": 0.0}), short({"value": None})
    ('2e-7', '0', 'infinite')
    """
    value = found.get("value")
    if value is None:
        return "infinite"
    digit, power = f"{value:.0e}".split("e")
    return "0" if value == 0 else f"{digit}e{int(power)}"
