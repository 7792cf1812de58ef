"""Checkpoint files: safetensors with a header of JSON, so that reading one never executes code.

The header says everything that is needed to rebuild a force field and to know what it is: architecture, settings, behaviour,
elements, units, training data, licence, and the hash of the weights. What is not there, in files of earlier versions, is told as
"not stated".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grannfield import __version__

FORMAT = 2
"""Latest version of the files; those of a later one are refused. Files with 16-bit weights are of version 2, others of 1. Raised
when an older version would read a file wrongly: entries that are only added do not change it."""
UNITS = {"length": "angstrom", "energy": "eV", "forces": "eV/angstrom", "stress": "eV/angstrom^3"}
NEEDED = {"format", "model", "settings"}
ENTRY = "grannfield"
"""Name of the header within the metadata of safetensors."""
UNTOLD = "not stated"


class CheckpointError(ValueError):
    """A file is not a checkpoint, or not one this version can read."""


def header_of(
    model: str, settings: Mapping[str, Any], elements: tuple[int, ...] | None, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file says of a force field besides its weights."""
    return {
        "model": model,
        "settings": dict(settings),
        "behaviour": behaviour_of(settings),
        "elements": elements,
        "units": UNITS,
        "training_data": provenance.get("training_data", UNTOLD),
        "licence": provenance.get("licence", UNTOLD),
        "provenance": dict(provenance),
        "written_by": f"grannfield {__version__}",
    }


def behaviour_of(settings: Mapping[str, Any]) -> str:
    """`published`, the paper's arithmetic, or `default`, the mended one.

    >>> behaviour_of({"as_published": True}), behaviour_of({})
    ('published', 'default')
    """
    return "published" if settings.get("as_published") else "default"


def pack(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> bytes:
    """The content of a file; its version and its weights' hash go into the header. CheckpointError for what JSON cannot hold."""
    from safetensors.torch import save

    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    version = FORMAT if any(tensor.dtype == torch.float16 for tensor in tensors.values()) else 1
    try:
        text = json.dumps({"format": version, **header, "weights_sha256": tensors_hash(tensors)})
    except (TypeError, ValueError) as problem:
        raise CheckpointError(f"the settings or provenance of {header.get('model')} are not plain values: {problem}") from problem
    return save(tensors, metadata={ENTRY: text})


def unpack(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and weights of a file.

    FileNotFoundError for a missing one; CheckpointError, naming the file, for one that is truncated, is no GraNNField checkpoint,
    comes from a later version, or whose weights are not those it was written with.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; `grannfield train` makes one")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(ENTRY, "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, json.JSONDecodeError) as problem:
        raise CheckpointError(f"{path} cannot be read as a safetensors checkpoint ({problem}); it may be truncated") from problem
    _require_known(path, header)
    stored = header.get("weights_sha256")
    if stored is not None and stored != (found := tensors_hash(tensors)):
        raise CheckpointError(
            f"{path}: the weights are not those it was written with (SHA-256 {found[:12]}, the header says {str(stored)[:12]}); "
            "take the file from its source again"
        )
    return header, tensors


def _require_known(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or not set(header) >= NEEDED:
        raise CheckpointError(f"{path} is a safetensors file, but its header does not say which GraNNField model it holds")
    version = header["format"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(f"{path}: the format of a checkpoint is a whole number from 1; here it is {version!r}")
    if version > FORMAT:
        raise CheckpointError(f"{path} has format {version}; this version reads up to {FORMAT}: upgrade grannfield")
    if not isinstance(header["model"], str) or not isinstance(header["settings"], dict):
        raise CheckpointError(f"{path}: the header's model and settings should be a name and a table")
    for entry, quantity in UNITS.items():
        told = (header.get("units") or {}).get(entry, quantity)
        if told != quantity:
            raise CheckpointError(f"{path} is in {told} for {entry}; checkpoints are in {quantity}")


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes of all tensors, in the order of their names.

    >>> a, b = {"w": torch.ones(2)}, {"w": torch.ones(2, 1)}
    >>> tensors_hash(a) == tensors_hash(dict(a)), tensors_hash(a) == tensors_hash(b)
    (True, False)
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def require_finite(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """CheckpointError, naming them, where trained weights hold NaN or infinity."""
    broken = [key for key, tensor in weights.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        more = f" and {len(broken) - 4} more" if len(broken) > 4 else ""
        raise CheckpointError(f"{path}: weights hold NaN or infinity ({', '.join(broken[:4])}{more}); training went wrong")
