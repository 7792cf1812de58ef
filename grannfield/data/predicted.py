"""Energies and forces of a model on reference frames, as one small file.

Forces are kept as what they differ by from the reference's, which whoever reads them has at hand, in units of 2^-9 eV/Å: an error
of 100 meV/Å takes four bits less than a force of 1 eV/Å does. On the test frames of the three shipped materials that moves a
force MAE of 87 to 160 meV/Å by at most 0.003 meV/Å and R² by at most 5e-6, for 23 kB per 120 frames of 50 atoms. What is rounded
is what is scored, so that the numbers follow from the file exactly; a force of the reference is a multiple of a power of two, and
so is the sum, without further rounding. The file knows the SHA-256 of the reference's forces, and refuses others.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data import compact
from grannfield.data.checksum import sha256_of_arrays
from grannfield.data.store import StoreError
from grannfield.files import write_atomically

FORCE_BITS = 9
"""Forces are kept in units of 2^-9 eV/Å."""
OLDER: dict[str, Any] = {"force_bits": 10, "reference": ""}
"""What files that say nothing keep: forces themselves, in units of 2^-10 eV/Å."""


def write_predictions(
    path: Path, energy: np.ndarray, forces: np.ndarray, made_on: dict[str, Any], reference: np.ndarray | None = None
) -> Path:
    """Keep energies [M] eV and forces [M, N, 3] eV/Å, rounded, with what made them; beyond 1e9 eV/Å they are kept as they are.

    reference: forces [M, N, 3] from which those are to differ little; None: 0.
    """
    forces = np.asarray(forces, dtype=np.float64)
    units = compact.fixed_point(forces if reference is None else forces - reference, FORCE_BITS)
    steps = compact.packed_series(energy, compact.ENERGY_BITS)
    kept = {"force_bits": FORCE_BITS, "reference": "" if reference is None else _hash(reference)}
    if units is None or steps is None:
        arrays, kept["reference"] = {"energy": np.asarray(energy, dtype=np.float64), "forces": forces}, ""
    else:
        arrays = {"energy-steps": steps, "force-units": np.ascontiguousarray(np.moveaxis(units, 0, -1))}
    content, layout = compact.to_bytes(arrays)
    buffer = io.BytesIO()
    np.savez(
        buffer, packed=np.frombuffer(content, dtype=np.uint8), layout=np.array(json.dumps(layout)),
        made_on=np.array(json.dumps(made_on)), kept=np.array(json.dumps(kept)),
    )  # fmt: skip
    write_atomically(path, buffer.getvalue())
    return path


def read_predictions(path: Path, reference: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Energies, forces and what made them; also of earlier files, which need no reference.

    StoreError names a damaged file, and one that was made beside other forces than the reference's.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            made_on = json.loads(str(file["made_on"]))
            if "packed" not in file:
                return file["energy"], file["forces"], made_on
            kept = json.loads(str(file["kept"])) if "kept" in file else OLDER
            arrays = compact.from_bytes(file["packed"].tobytes(), json.loads(str(file["layout"])))
        if "forces" in arrays:
            return arrays["energy"], arrays["forces"], made_on
        forces = np.ascontiguousarray(compact.floating(np.moveaxis(arrays["force-units"], -1, 0), kept["force_bits"]))
        energy = compact.unpacked_series(arrays["energy-steps"], compact.ENERGY_BITS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as problem:
        raise StoreError(f"{path} is no file of predictions, or damaged ({problem}); delete it to make it again") from problem
    if not kept["reference"]:
        return energy, forces, made_on
    if reference is None or _hash(reference) != kept["reference"]:
        given = "no forces are given" if reference is None else f"those given have {_hash(reference)[:12]}..."
        raise StoreError(
            f"{path} keeps differences from forces of a reference with SHA-256 {kept['reference'][:12]}..., and {given}: the "
            "reference has changed since; restore it, or delete the file to make it again"
        )
    return energy, forces + np.asarray(reference, dtype=np.float64), made_on


def _hash(reference: np.ndarray) -> str:
    return sha256_of_arrays({"forces": np.asarray(reference, dtype=np.float64)})
