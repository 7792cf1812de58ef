"""The walls of the house: who may import whom, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "grannfield"

LAYERS: list[set[str]] = [
    {"grannfield", "units", "files", "progress", "interrupt", "memory", "recording", "loops", "budget"},
    {"graph", "graphset", "neighbors", "all_pairs", "candidates", "trajectory", "score", "nn", "precision", "provenance"}
    | {"energy"},
    {"forcefield", "checkpoint", "analysis", "report", "claims"},
    {"models", "data", "md", "lammps", "calculator", "call", "foreign", "plugin", "pyg", "recipe", "compiled", "controls"}
    | {"torchsim", "foundation"},
    {"train", "train_folder", "learning", "testing", "speed", "speed_training", "presets", "runs"}
    | {"asked", "motion", "given", "reference", "reproduce", "studies", "harness", "session", "contract", "calibrate"}
    | {"conserved", "report_command"}
    | {"gate", "forecast", "workers", "convert", "checkpoint_command"}
    | {"curves", "figures", "evidence", "html", "publish", "publish_command"},
    {"cli"},
]
"""Lowest first; a module may import its own layer and those below."""

ANALYSIS_SEES = {"units", "trajectory", "analysis"}
MODELS_SEE = {"nn", "forcefield", "graph", "models"}
LEAN = (
    "compiled",
    "learning",
    "loops",
    "recording",
    "train_folder",
    "motion",
    "reproduce",
    "md",
    "models",
    "nn",
    "graph",
    "graphset",
    "neighbors",
    "all_pairs",
    "candidates",
    "forcefield",
    "precision",
    "recipe",
    "train",
    "trajectory",
    "units",
)
"""Training and MD run where only torch, NumPy, h5py and safetensors are installed."""
HEAVY = {"ase", "pymatgen", "spglib", "pandas", "vesin", "matscipy", "torch_geometric", "tqdm", "rich", "tabulate", "numba"}


def layer(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if module in names:
            return number
    raise AssertionError(f"grannfield.{module} has no layer; give it one here and in the contributing guide")


def imports(path: Path) -> list[tuple[str, str, bool]]:
    """(top module, full name, at module level) of everything a file imports."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" if node.module == "grannfield" else str(node.module) for alias in node.names]
        found += [(name.split(".")[0], name, id(node) in top) for name in names]
    return found


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "suite" not in path.parts)


def own(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "grannfield" if parts == ("__init__",) else parts[0]


def inner(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and layer_exists(parts[1]) else "grannfield"


def layer_exists(module: str) -> bool:
    return any(module in names for names in LAYERS)


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_import_goes_up(path: Path) -> None:
    module = own(path)
    for package, name, top in imports(path):
        if package != "grannfield":
            continue
        used = inner(name)
        registering = (module, used) == ("forcefield", "models") and not top  # fills the registry, on demand
        assert layer(used) <= layer(module) or registering, (
            f"{module} (layer {layer(module)}) imports {name} (layer {layer(used)})"
        )
        if module == "analysis":
            assert used in ANALYSIS_SEES, f"analysis imports {name}"
        if module == "models":
            assert used in MODELS_SEE, f"models imports {name}"


@pytest.mark.parametrize("path", [p for p in sources() if own(p) == "analysis"], ids=lambda p: p.stem)
def test_analysis_needs_only_numpy_and_scipy(path: Path) -> None:
    outside = {package for package, _, _ in imports(path)} - set(sys.stdlib_module_names)
    assert outside <= {"numpy", "scipy", "grannfield"}


def test_models_do_not_see_each_other() -> None:
    names = {path.stem for path in (PACKAGE / "models").glob("*.py")} - {"__init__"}
    for path in (PACKAGE / "models").glob("*.py"):
        if path.stem != "__init__":
            seen = {name.rpartition(".")[2] for _, name, _ in imports(path) if name.startswith("grannfield.models")}
            assert not seen & names, f"{path.stem} imports {seen & names}"


def test_training_and_md_import_without_the_big_libraries() -> None:
    """A process in which the heavy packages cannot be imported trains and runs MD."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(HEAVY)!r}))  # None: importing it fails as if it were not installed
import numpy as np
from grannfield.data.dataset import frames
from grannfield.data.material import load_material
from grannfield.forcefield import create
from grannfield.md.simulate import Protocol, simulate
from grannfield.train import fit
import tempfile
material = load_material("Li3PS4")
reference = material.reference()
field = create("schnet", hidden_channels=8, num_filters=8, num_interactions=1, num_gaussians=8, cutoff=4.0)
training, validation = (frames(material, reference, part, limit=4) for part in ("train", "validation"))
fit(field, training, validation, tempfile.mkdtemp(), budget_s=60, max_steps=2)
s = material.structure
run = simulate(field, s.z, s.pos, s.cell, Protocol(300.0, length=20.0, ramp=0.0, interval=10.0), [1])[0]
print(run.trajectory.n_frames)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
