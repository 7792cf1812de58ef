"""reports/deviations.md: how every model differs from its published arithmetic, and what both were measured to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tabulate import tabulate

from grannfield.files import write_atomically
from grannfield.report.contract import all_contracts, finding, measured_symmetry, short
from grannfield.report.paper import TITLES

MOVES = {
    "rotation": "rotation (float32)",
    "translation": "translation",
    "re-wrapping": "re-wrapping",
    "permutation": "permutation",
}
ENERGIES = {
    "forces against the energy": "gradient",
    "net force": "net force",
    "extensivity": "extensivity",
    "jump of the energy": "jump",
    "repeatability": "repeat",
    "NVE drift": "NVE",
}
COLUMNS = MOVES | ENERGIES
"""Checks of the two tables over all models, with their headings."""
BEHAVIOURS = ("published", "default")
ABOUT = """Every model is measured twice: in its published arithmetic and in the default behaviour of this package. Written by
`grannfield check all` (or `grannfield report`) from the files in `contract/` alone.

Numbers are relative errors, largest over all cases: of forces against their rms, of energies per atom against the change that
moves of 1 Å make. Cells: 16 atoms of gamma-Li3PS4, displaced, and 5 of LiGePS2 in a skewed cell. Weights are seeded and scaled
until the forces are of the size of forces, not trained. **Bold**: a claim that does not hold. In brackets: measured, but not
claimed. Everything but rotation (float32) and repeatability is float64. Repeatability is 0 only where the bits are the same;
random numbers are reset before every call of all other checks."""


def write_deviations(reports: Path) -> Path | None:
    """Write deviations.md below a reports folder from its contract/*.json; None, and no file, where there are none."""
    measured = {name: both for name, both in all_contracts(reports).items() if both}
    if not measured:
        return None
    path = reports / "deviations.md"
    sections = [_section(name, both) for name, both in measured.items()]
    parts = ["# Published arithmetic and default behaviour", ABOUT, _origin(measured)]
    parts += ["## All models", f"Models: {_links(measured)}.", "Moves that should change nothing, and the symmetry they show:"]
    parts += [_overview(measured, MOVES, True), "Forces, energies and motion:", _overview(measured, ENERGIES, False)]
    write_atomically(path, "\n\n".join([*parts, *sections]) + "\n")
    return path


def _origin(measured: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Seeds, versions, hardware and dates behind the numbers."""
    every = [one for both in measured.values() for one in both.values()]
    stamps = [one["provenance"] for one in every]
    known: dict[str, list[str]] = {
        "seed of the weights": [str(one["seed"]) for one in every],
        "versions": [f"grannfield {s['versions']['grannfield']}, torch {s['versions']['torch']}" for s in stamps],
        "hardware": [s["hardware"] for s in stamps],
    }
    lines = [f"- {key}: {'; '.join(sorted(set(values)))}" for key, values in known.items()]
    dates = sorted(s["date"] for s in stamps)
    return "\n".join([*lines, f"- measured: {dates[0]}" + (f" to {dates[-1]}" if dates[-1] != dates[0] else "")])


def _links(measured: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The models' names, each leading to its section below."""
    titles = [TITLES.get(name, name) for name in measured]
    return ", ".join(f"[{title}](#{re.sub(r'[^a-z0-9_-]', '', title.lower().replace(' ', '-'))})" for title in titles)


def _overview(measured: dict[str, dict[str, dict[str, Any]]], checks: dict[str, str], symmetry: bool) -> str:
    rows = []
    for name, both in measured.items():
        for behaviour in BEHAVIOURS:
            if behaviour in both:
                one = both[behaviour]
                row = {"model": TITLES.get(name, name), "behaviour": behaviour, "parameters": f"{one.get('n_parameters', 0):,}"}
                row |= {heading: cell(finding(one, check)) for check, heading in checks.items()}
                rows.append(row | ({"symmetry measured": measured_symmetry(one)} if symmetry else {}))
    return _table(rows)


def _section(name: str, both: dict[str, dict[str, Any]]) -> str:
    """A model: its differences in words, and every finding."""
    latest = both.get("default") or both["published"]
    differences = latest.get("differences") or ["none: both behaviours are the same"]
    lines = [f"## {TITLES.get(name, name)}", "\n".join(f"- {text}" for text in differences)]
    for one in both.values():
        if one.get("reduced"):
            sizes = ", ".join(f"{key} {value}" for key, value in one["reduced"].items())
            lines.append(f"Measured at a reduced size ({sizes}); rotation and repeatability once more at that of Table 1.")
            break
    lines.append(f"Claims: {_claims(latest)}. {_weights(both)}")
    lines.append(_table(_rows(both)))
    notes = [f"- {behaviour}: {f['check']}: {f['detail']}" for behaviour in BEHAVIOURS for f in _failed(both.get(behaviour))]
    return "\n\n".join(lines + (["What the broken claims were seen in:\n\n" + "\n".join(notes)] if notes else []))


def _claims(one: dict[str, Any]) -> str:
    claims = one.get("claims", {})
    rotation = {"exact": "rotations exact", "approximate": "rotations approximate", "none": "no rotations"}
    words = [rotation[claims.get("rotation", "exact")]]
    words += ["mirror images"] if claims.get("reflection") and claims.get("rotation") == "exact" else []
    words += ["a continuous energy"] if claims.get("continuous") else []
    return ", ".join([*words, "forces are the gradient" if one.get("conservative") else "direct forces"])


def _weights(both: dict[str, dict[str, Any]]) -> str:
    """The gain and the force that the search for weights ended with."""
    found = []
    for behaviour in BEHAVIOURS:
        weights = both.get(behaviour, {}).get("weights")
        if weights:
            found.append(f"{behaviour} gain {weights['gain']:.2f}, rms force {weights['rms_force']:.2f} eV/Å")
    return f"Weights: {'; '.join(found)}." if found else ""


def _rows(both: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    keys = list(dict.fromkeys((f["check"], f["precision"]) for one in both.values() for f in one["findings"]))
    rows = []
    for check, precision in keys:
        found = {b: finding(both[b], check, precision) if b in both else {} for b in BEHAVIOURS}
        some = next(f for f in (found["default"], found["published"]) if f)
        row = {"check": check, "precision": precision, "n": f"{some['n']} {some['of']}" if some["n"] else ""}
        rows.append(row | {"tolerance": some["bounds"]} | {b: cell(f) for b, f in found.items()})
    return rows


def _failed(one: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [f for f in (one or {}).get("findings", []) if f["verdict"] in ("FAIL", "ERROR") and f["detail"]]


def cell(found: dict[str, Any]) -> str:
    """A finding in a table: bold where a claim does not hold, in brackets where nothing was claimed.

    >>> cell({"value": 0.5, "verdict": "FAIL"}), cell({"value": 0.5, "verdict": "not judged"}), cell({})
    ('**5e-1**', '(5e-1)', '')
    """
    if not found:
        return ""
    if found["verdict"] in ("n/a", "ERROR"):
        return "n/a" if found["verdict"] == "n/a" else "**error**"
    text = short(found)
    return {"FAIL": f"**{text}**", "not judged": f"({text})"}.get(found["verdict"], text)


def _table(rows: list[dict[str, str]]) -> str:
    return str(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
