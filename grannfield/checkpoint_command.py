"""`grannfield checkpoint`: what a file of weights says of itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "show what a checkpoint holds: architecture, settings, units, training data, licence, hash"
DESCRIPTION = """Print the metadata of a checkpoint, after its weights were compared with the hash they were written with, put
into the network they belong to, and looked through for NaN. Exit code 0: the file is whole; 2: it is not, or is no
checkpoint."""
EPILOG = """examples:
  grannfield checkpoint show reports/checkpoints/schnet
  grannfield checkpoint show schnet                          (the weights that --model schnet takes)
  grannfield checkpoint show best.safetensors --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("act", choices=("show",), help="what to do")
    parser.add_argument("file", metavar="FILE", help="checkpoint, folder with best.safetensors, or name of a model with weights")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, settings and history of training included")


def run(options: argparse.Namespace) -> int:
    """Print what one checkpoint says, checked."""
    import json

    from grannfield.plugin import find

    named = find(options.file)
    if named.path is None or named.cls:
        raise ValueError(f"{options.file} is no checkpoint, but code; `grannfield check {options.file}` measures it")
    told = facts(named.path)
    if options.json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    width = max(map(len, told))
    for key, value in told.items():
        if key != "provenance":
            print(f"{key:{width}}  {_text(value)}")
    return 0


def facts(path: Path) -> dict[str, Any]:
    """What a file says, in plain values; CheckpointError where it is not whole."""
    from grannfield.checkpoint import UNITS, UNTOLD, behaviour_of, require_finite, unpack
    from grannfield.forcefield import is_reduced, load, weights_hash
    from grannfield.plugin import SHIPPED
    from grannfield.units import symbol

    header, tensors = unpack(path)
    field = load(path)
    require_finite(path, {key: p for key, p in field.named_parameters() if p.requires_grad})
    provenance = header.get("provenance") or {}
    shipped = path.resolve().parent == SHIPPED.resolve()
    elements = header.get("elements")
    return {
        "file": str(path),
        "format": header["format"],
        "model": header["model"],
        "behaviour": header.get("behaviour", behaviour_of(header["settings"])),
        "parameters": f"{field.n_parameters:,}" + (" (reduced: fewer than in Table 1)" if is_reduced(field) else ""),
        "precision": field.precision,
        "forces": "minus the gradient of the energy; stress" if field.conservative else "predicted directly; no stress",
        "settings": header["settings"],
        "elements": "any" if elements is None else [symbol(z) for z in elements],
        "units": UNITS | (header.get("units") or {}),
        "trained on": _trained(provenance),
        "training data": header.get("training_data", provenance.get("training_data", UNTOLD)),
        "licence": header.get("licence", provenance.get("licence", "MIT, with the package" if shipped else UNTOLD)),
        "weights": f"{len(tensors)} arrays, SHA-256 {header['weights_sha256']}, as written"
        if header.get("weights_sha256")
        else f"{len(tensors)} arrays, hash {UNTOLD} (written before hashes were kept)",
        "identity": weights_hash(field),
        "written by": header.get("written_by", (provenance.get("versions") or {}).get("grannfield", UNTOLD)),
        "provenance": provenance,
    }


def _trained(provenance: dict[str, Any]) -> str:
    """Material, reference, budget and errors of validation, as far as they are known."""
    parts = []
    if provenance.get("material"):
        parts.append(f"{provenance['material']} ({provenance.get('reference', 'reference not stated')})")
    if provenance.get("steps") is not None:
        parts.append(
            f"{provenance['steps']} steps, {float(provenance.get('seconds', 0)) / 60:.1f} min, {provenance.get('date', '')}"
        )
    if errors := provenance.get("validation"):
        frames = f"validation frames ({provenance.get('split', 'split not stated')}; their number is not stated)"
        parts.append(f"force MAE {1e3 * errors['force_mae']:.1f} meV/Å, R² {errors['force_r2']:.3f} on {frames}")
    if origin := provenance.get("converted_from"):
        parts.append(f"converted from {origin['file']} (SHA-256 {origin['sha256'][:12]}); {provenance.get('source', '')}")
    if provenance.get("partial"):
        parts.append(f"INCOMPLETE: {len(provenance['partial'])} weights are random")
    return "; ".join(parts) or "not stated"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
