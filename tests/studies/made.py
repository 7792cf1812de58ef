"""Made-up DeePMD folders labelled by a Lennard-Jones field, models of a second, and scores with a known order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grannfield.data.dataset import FrameSet, frames
from grannfield.data.material import Material
from grannfield.data.reference import Reference
from grannfield.data.split import Purpose
from grannfield.neighbors import neighbor_graph
from grannfield.report.results import Results
from grannfield.score import Score
from grannfield.studies import training
from grannfield.testing import LennardJones
from grannfield.units import number

SURROGATE = "surrogate: SevenNet-0 (11Jul2024)"
SPECIES = ("Li", "Ge", "P", "S")
FIELD = {"epsilon": 0.05, "sigma": 2.4, "cutoff": 5.0, "switch": 4.0}
SMALL = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 8, "cutoff": 4.0}


def deepmd(folder: Path, types: list[int], n: int, seed: int, names: tuple[str, ...] = ()) -> Path:
    """A DeePMD set of n frames of strained, shaken cells, with the energies and forces of a Lennard-Jones field."""
    generator = np.random.default_rng(seed)
    field, z = LennardJones(**FIELD), np.array([number((names or SPECIES)[t]) for t in types])
    side = 2.6 * np.array([2, 2, len(types) // 4])
    grid = 2.6 * np.stack(np.meshgrid(range(2), range(2), range(len(types) // 4), indexing="ij"), -1).reshape(-1, 3)
    arrays: dict[str, list[Any]] = {"coord": [], "box": [], "energy": [], "force": []}
    for _ in range(n):
        strain = 1 + generator.uniform(0, 0.12)
        pos, cell = strain * (grid + generator.normal(0, 0.1, grid.shape)), strain * np.diag(side)
        made = field.predict(neighbor_graph(z, pos, cell, field.cutoff))
        arrays["coord"].append(pos.ravel())
        arrays["box"].append(cell.ravel())
        arrays["energy"].append([float(made.energy)])
        arrays["force"].append(made.forces.numpy().ravel())
    (folder / "set.000").mkdir(parents=True)
    for name, rows in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", np.array(rows))
    (folder / "type.raw").write_text("\n".join(map(str, types)))
    if names:
        (folder / "type_map.raw").write_text("\n".join(names))
    return folder


def four_sets(folder: Path) -> Path:
    """Three iterations of Li4GePS2 and another material, with a type map of its own."""
    for k in range(3):
        deepmd(folder / f"iter.{k}", [0, 0, 0, 0, 1, 2, 3, 3], 6, seed=k)
    deepmd(folder / "other", [0, 0, 0, 1, 2, 2, 2, 2], 4, seed=9, names=("Li", "P", "S"))
    return folder


def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings on 12 frames of a SchNet of one small layer."""

    read: dict[tuple[str, str], FrameSet] = {}

    def limited(material: Material, reference: Reference, purpose: Purpose, limit: int | None = None) -> FrameSet:
        if (material.formula, purpose) not in read:  # unpacking a reference takes longer than all the rest
            read[material.formula, purpose] = frames(material, reference, purpose, limit=12)
        return read[material.formula, purpose]

    monkeypatch.setattr(training, "frames", limited)
    monkeypatch.setattr(training, "named_settings", lambda spec, device: (spec, SMALL))


def scored(label: str, quality: float, outcome: str, preset: str = "tiny", material: str = "Li3PS4") -> Results:
    """A model of a certain quality of forces whose dynamics is "stable", "lattice mismatch" or "failed"."""
    one = Results(label, {"name": label, "identity": label}, {"preset": preset})
    known: dict[str, Any] = {"n": 10, "provenance": {"reference": SURROGATE}}
    exact = known | {"parts": {"reference": 1.0}}
    one.add(Score("force_r2", label, material, quality, **known))
    one.add(Score("force_mae", label, material, 100 * (1 - quality), **known))
    one.add(Score("force_slope", label, material, 2 - quality, **exact))
    one.add(Score("failed_share", label, material, float(outcome == "failed"), **known))
    if outcome == "failed":
        one.add(Score("rdf_mae", label, material, reason="fused", provenance={"reference": SURROGATE}))
    else:
        one.add(Score("rdf_mae", label, material, 0.1 - 0.09 * quality, verdict=f"{outcome} (worst 1, limit 2)", **known))
    return one
