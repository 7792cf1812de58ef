"""Plots kept beside the results, so that a page can be drawn where the runs behind it are not."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.files import compact_json, write_atomically
from grannfield.html.drawn import FORMAT, Shared, drawn
from grannfield.report.results import Results

FOLDER = "curves"
"""Under the reports folder: LABEL@MATERIAL.json.gz, and of-the-reference/MATERIAL.json.gz."""
OF_REFERENCE = "of-the-reference"
CODE = ("curves", "html/drawn.py", "analysis")

logger = logging.getLogger("grannfield")


@dataclass
class Plots:
    """What is drawn of all models: by (label, material), and what materials have in common."""

    own: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    shared: dict[str, Shared] = field(default_factory=dict)
    """By material, then by the key that a drawing names."""


def state_of(one: Results, material: str) -> str:
    """A hash of a model's numbers on a material: kept plots of other numbers are not shown."""
    scores = [score.to_dict() for (_, where), score in sorted(one.scores.items()) if where == material]
    text = json.dumps([one.model.get("identity"), scores], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path_of(reports: Path, one: Results, material: str) -> Path:
    return reports / FOLDER / f"{one.path(reports).stem}@{material}.json.gz"


def plots_of(results: list[Results], reports: Path) -> Plots:
    """The plots of all models: as kept where they are of these numbers and this code, else drawn anew and kept.

    Where the runs are not on this machine, what was kept of these numbers is shown whatever code drew it; where there is nothing,
    the reason stands in its place.
    """
    from grannfield.progress import progress

    found = Plots()
    before: dict[str, Shared] = {}
    cells = [(one, material) for one in results for material in one.materials]
    with progress(len(cells), "plots of the board", "plots") as bar:
        for one, material in cells:
            if material not in before:
                before[material] = _read(reports / FOLDER / OF_REFERENCE / f"{material}.json.gz").get("shared", {})
            shared = found.shared.setdefault(material, {})
            found.own[one.label, material] = _plots(one, material, reports, shared, before[material])
            bar.update(1)
    for material, shared in found.shared.items():
        if shared:
            _write(reports / FOLDER / OF_REFERENCE / f"{material}.json.gz", {"format": FORMAT, "shared": shared})
    return found


def _plots(one: Results, material: str, reports: Path, shared: Shared, before: Shared) -> dict[str, Any]:
    path, state, code = path_of(reports, one, material), state_of(one, material), code_hash()
    kept = _read(path)
    same = kept.get("state") == state and set(_needed(kept)) <= set(before)
    if not (same and kept.get("code") == code):
        made, new = _made(one, material, reports)
        if "runs" in made or not same:
            shared |= new
            if "runs" in made or "parity" in made:
                _write(path, {"format": FORMAT, "state": state, "code": code, "drawn": made})
            return made
    shared |= {key: before[key] for key in _needed(kept)}
    drawn_before: dict[str, Any] = kept["drawn"]
    return drawn_before


def _needed(kept: dict[str, Any]) -> list[str]:
    return sorted({one["shared"] for one in kept.get("drawn", {}).values() if isinstance(one, dict) and "shared" in one})


def _made(one: Results, material: str, reports: Path) -> tuple[dict[str, Any], Shared]:
    """The plots from the curves of the runs; with the reason where there are none."""
    from grannfield.curves import CURVES, curves_of
    from grannfield.evidence import evidence_of

    shared: Shared = {}
    try:
        made = drawn(curves_of(evidence_of(one, reports), material), shared)
    except (LookupError, ValueError, FileNotFoundError) as problem:
        reason = str(problem.args[0] if problem.args else problem)
        return {"missing": dict.fromkeys(CURVES, reason)}, {}
    return {key: value for key, value in made.items() if key != "runs" or value}, shared


def code_hash() -> str:
    """What the kept plots depend on."""
    return provenance.code_hash(*CODE)


def _read(path: Path) -> dict[str, Any]:
    """A kept file; nothing, with a warning, where it is damaged."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        return content if content["format"] == FORMAT else {}
    except (OSError, EOFError, ValueError, KeyError, TypeError) as problem:
        logger.warning("%s is damaged (%s); its plots are drawn again", path, problem)
        return {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Keep a file, the same bytes for the same content; a folder that cannot be written to is left as it is."""
    text = compact_json(content)
    data = gzip.compress(text.encode(), 9, mtime=0)
    if path.is_file() and path.read_bytes() == data:
        return
    try:
        write_atomically(path, data)
    except OSError as problem:
        logger.warning("%s cannot be written (%s); plots are not kept", path, problem)
