"""The harness as a user runs it: `pytest benchmarks/` in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grannfield.asked import OptionError, asked
from grannfield.presets import OPTIONS
from grannfield.report.results import read_results

REPOSITORY = Path(__file__).parents[1]

TOYS = '''
import torch
from grannfield.forcefield import ForceField
from grannfield.graph import pair_values, pair_vectors

class Springs(ForceField):
    """Every pair within 3 Å pushes apart a little: cheap, finite and wrong."""
    def __init__(self):
        super().__init__(cutoff=3.0)
    def forward(self, z, graph, edge_vec):
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        return ((3.0 - d).clamp(min=0).square() * graph.mask).sum(1)

class Raises(Springs):
    def forward(self, z, graph, edge_vec):
        raise KeyError("no such layer")

class NotANumber(Springs):
    def forward(self, z, graph, edge_vec):
        return super().forward(z, graph, edge_vec) * float("nan")

class Ignorant(Springs):
    def __init__(self):
        super().__init__()
        self.elements = (3, 15, 16)

class Explosive(Springs):
    def forward(self, z, graph, edge_vec):
        return 1e4 * super().forward(z, graph, edge_vec)
'''


CALCULATORS = '''
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

class Tied(Calculator):
    """Every atom tied to where it was at first: cheap, and crystals survive it."""
    implemented_properties = ["energy", "forces"]
    def __init__(self, bad=""):
        super().__init__()
        self.bad, self.home = bad, {}
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.bad == "raises":
            raise RuntimeError("no such device")
        away = self.atoms.positions - self.home.setdefault(len(self.atoms), self.atoms.positions.copy())
        self.results = {"energy": (away**2).sum(), "forces": -2 * away}
'''


MESSAGES = '''
from torch_geometric.nn import MessagePassing, global_add_pool

class Messages(MessagePassing):
    """The springs of the other file as messages of PyTorch Geometric's."""
    cutoff = 3.0
    def __init__(self):
        super().__init__(aggr="add")
    def forward(self, data):
        return global_add_pool(self.propagate(data.edge_index, x=data.pos, v=data.edge_vec), data.batch)
    def message(self, x_j, v):
        return (3.0 - v.norm(dim=-1, keepdim=True)).clamp(min=0).square()
'''


@pytest.fixture
def tied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with calculators that the suite's process can import."""
    (tmp_path / "tied_.py").write_text(CALCULATORS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "tied_:Tied"


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    path = tmp_path / "toys.py"
    path.write_text(TOYS)
    return path


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(REPOSITORY / "benchmarks"),
        "-q",
        "-p",
        "no:cacheprovider",
        "--reports",
        str(folder),
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY)


def cells(folder: Path, model: str) -> dict[tuple[str, str], dict]:
    return {key: score.to_dict() for key, score in read_results(folder / "results" / f"{model}.json").scores.items()}


def test_a_model_that_raises_is_an_error(toys: Path, tmp_path: Path) -> None:
    done = bench(tmp_path, "--model", f"{toys}:Raises", "--material", "Li3PS4", "-k", "force_r2 or survival or ns_per_day")
    assert done.returncode == 1, done.stdout
    found = cells(tmp_path, "Raises")
    assert len(found) == 6
    assert all(
        cell["error"] and cell["reason"] == "KeyError: 'no such layer'" and cell["value"] is None for cell in found.values()
    )


def test_nan_on_a_reference_frame_is_an_error(toys: Path, tmp_path: Path) -> None:
    done = bench(tmp_path, "--model", f"{toys}:NotANumber", "--material", "Li3PS4", "-k", "force_r2 or survival")
    assert done.returncode == 1, done.stdout
    found = cells(tmp_path, "NotANumber")
    assert "NaN or infinity on reference frame" in found["force_r2", "Li3PS4"]["reason"]
    assert "on the starting structure" in found["failed_share", "Li3PS4"]["reason"]
    assert all(cell["error"] for cell in found.values())


def test_an_unknown_element_is_not_available(toys: Path, tmp_path: Path) -> None:
    done = bench(
        tmp_path,
        "--model",
        f"{toys}:Ignorant",
        "--material",
        "Li4GeS4,Li3PS4",
        "-k",
        "force_r2 or ns_per_day or survival and GeS4",
    )
    assert done.returncode == 0, done.stdout
    found = cells(tmp_path, "Ignorant")
    germanium = [cell for (_, material), cell in found.items() if material in ("Li4GeS4", "Li10GeP2S12")]
    assert germanium and all(cell["reason"] == "element not supported" and not cell["error"] for cell in germanium)
    assert all("does not know Ge" in cell["detail"] for cell in germanium)
    assert found["force_r2", "Li3PS4"]["value"] is not None
    assert "n/a" in done.stdout.splitlines()[-1]
    gated = bench(tmp_path, "--model", f"{toys}:Ignorant", "--material", "Li4GeS4", "-k", "force_r2", "--gate")
    assert gated.returncode == 1 and "gate:" in gated.stdout


def test_an_explosion_is_a_result_and_enters_no_other_number(toys: Path, tmp_path: Path) -> None:
    done = bench(tmp_path, "--model", f"{toys}:Explosive", "--material", "Li3PS4", "-k", "rdf or survival or diffusivity or path")
    assert done.returncode == 0, done.stdout
    found = cells(tmp_path, "Explosive")
    assert found["failed_share", "Li3PS4"]["value"] == 1.0
    for metric in ("rdf_mae", "diffusivity", "density_overlap", "framework_drift"):
        cell = found[metric, "Li3PS4"]
        assert cell["value"] is None and cell["reason"] == "exploded" and "runaway" in cell["detail"]
    board = (tmp_path / "leaderboard.md").read_text()
    assert "n/a: exploded" in board and "surrogate: SevenNet-0 (11Jul2024)" in board
    gated = bench(tmp_path, "--model", f"{toys}:Explosive", "--material", "Li3PS4", "-k", "survival", "--gate")
    assert gated.returncode == 1


def test_calculators_stand_beside_models_and_one_that_raises_stops_none(toys: Path, tied: str, tmp_path: Path) -> None:
    (tmp_path / "messages.py").write_text(MESSAGES)
    models = f"{toys}:Springs,{tmp_path / 'messages.py'}:Messages"
    given = ("--calculator", f"tied={tied}()", "--calculator", f"broken={tied}(bad='raises')", "--model", models)
    chosen = "force_r2 or survival or ns_per_day"
    done = bench(tmp_path, *given, "--kin", "tied=MPtrj", "--material", "Li3PS4", "-k", chosen)
    assert done.returncode == 1, done.stdout
    good, broken, native = (cells(tmp_path, label) for label in ("tied", "broken", "Springs"))
    assert {cell["reason"] for (metric, _), cell in broken.items() if "batched" not in metric} == {"RuntimeError: no such device"}
    assert good["force_r2", "Li3PS4"]["n"] == native["force_r2", "Li3PS4"]["n"] == 50
    assert good["failed_share", "Li3PS4"]["value"] is not None
    messages = cells(tmp_path, "Messages")
    assert messages["force_r2", "Li3PS4"]["value"] == pytest.approx(native["force_r2", "Li3PS4"]["value"], rel=1e-3)
    assert messages["failed_share", "Li3PS4"]["detail"] == native["failed_share", "Li3PS4"]["detail"]
    speed = good["ns_per_day", "Li10GeP2S12"]
    assert speed["value"] > 0 and speed["verdict"] == "through ASE" and not native["ns_per_day", "Li10GeP2S12"]["verdict"]
    assert good["ns_per_day_batched", "Li10GeP2S12"]["reason"] == "not batched"
    assert good["force_r2", "Li3PS4"]["provenance"]["kinship"] == "kin: same training set (MPtrj, declared)"
    assert native["force_r2", "Li3PS4"]["provenance"]["kinship"] == "unknown"
    board = (tmp_path / "leaderboard.md").read_text()
    assert "kin: same training set (MPtrj, declared)" in board and "`tied_:Tied()` through ASE" in board


def test_unordered_frames_give_force_errors_and_no_motion(toys: Path, tmp_path: Path) -> None:
    """Frames whose cells vary: their number is what the model itself says of them, and nothing that needs time is made."""
    import numpy as np

    from grannfield.data.checksum import sha256_of_file
    from grannfield.data.material import load_material
    from grannfield.data.store import write_trajectory
    from grannfield.neighbors import neighbor_graph
    from grannfield.plugin import resolve
    from grannfield.trajectory import Trajectory

    structure, random = load_material("Li3PS4").structure, np.random.default_rng(0)
    stretch = 1 + 0.05 * random.random((12, 3))
    pos = structure.pos * stretch[:, None] + 0.05 * random.standard_normal((12, len(structure.z), 3))
    cell = structure.cell[None] * stretch[:, None]
    forces = random.standard_normal(pos.shape)
    energy, count = random.standard_normal(12), np.arange(12.0)
    made = Trajectory(structure.z, pos, cell, count, energy=energy, forces=forces, kind="frames")
    folder = tmp_path / "mine" / "Li3PS4"
    path = write_trajectory(folder / "frames.h5", made)
    head = '[[reference]]\nname = "odd"\nkind = "aimd"\nmaker = "PBE"\nthermostat = "none"\n'
    run = f'[[reference.run]]\nfile = "frames.h5"\nkind = "frames"\nsha256 = "{sha256_of_file(path)}"\n'
    (folder / "references.toml").write_text(head + run)
    arguments = ("--model", f"{toys}:Springs", "--material", "Li3PS4", "--reference", str(tmp_path / "mine"))
    done = bench(tmp_path, *arguments, "-k", "force_mae or survival or rdf or diffusivity or path or conductivity")
    assert done.returncode == 0, done.stdout
    found = cells(tmp_path, "Springs")
    field = resolve(f"{toys}:Springs")
    predicted = [
        field.predict(neighbor_graph(structure.z, p, c, field.cutoff)).forces.numpy() for p, c in zip(pos, cell, strict=True)
    ]
    expected = 1e3 * np.abs(np.stack(predicted) - forces).mean()
    assert found["force_mae", "Li3PS4"]["value"] == pytest.approx(expected, abs=0.5) and found["force_mae", "Li3PS4"]["n"] == 12
    assert not (tmp_path / "store" / "md").exists()
    for metric in ("failed_share", "rdf_mae", "diffusivity", "neg_log_sigma", "density_overlap", "framework_drift"):
        assert found[metric, "Li3PS4"]["reason"] == "no reference" and "unordered frames" in found[metric, "Li3PS4"]["detail"]


def test_a_reference_of_ones_own(toys: Path, tmp_path: Path) -> None:
    """--reference takes a folder with <formula>/references.toml; the table names what made it."""
    own = tmp_path / "mine" / "Li3PS4"
    own.mkdir(parents=True)
    shipped = REPOSITORY / "datasets" / "Li3PS4" / "material.toml"
    block = shipped.read_text().split("[[reference]]")[1].split("[[reference.run]]")
    text = (
        "[[reference]]"
        + block[0].replace('"surrogate"', '"aimd"').replace("SevenNet-0 (11Jul2024)", "PBE")
        + "[[reference.run]]"
        + block[1]
    )
    (own / "references.toml").write_text(text)
    file = "surrogate-sevennet-0_1000K.h5"
    (own / file).write_bytes((shipped.parent / file).read_bytes())
    arguments = ("--model", f"{toys}:Springs", "--material", "Li3PS4", "-k", "force_mae")
    done = bench(tmp_path / "reports", *arguments, "--reference", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stdout
    assert "AIMD: PBE" in (tmp_path / "reports" / "leaderboard.md").read_text()
    (own / file).write_bytes(b"damaged")
    broken = bench(tmp_path / "again", *arguments, "--reference", str(tmp_path / "mine"))
    assert broken.returncode == 1 and "references.toml" in cells(tmp_path / "again", "Springs")["force_mae", "Li3PS4"]["reason"]


def test_stored_runs_are_not_made_again_and_cells_add_up(toys: Path, tmp_path: Path) -> None:
    arguments = ("--model", f"{toys}:Springs", "--material", "Li3PS4")
    assert bench(tmp_path, *arguments, "-k", "survival").returncode == 0
    runs = list((tmp_path / "store" / "md").glob("*/run-0.h5"))
    assert len(runs) == 1
    before = runs[0].stat().st_mtime_ns
    first = cells(tmp_path, "Springs")
    assert bench(tmp_path, *arguments, "-k", "survival or rdf").returncode == 0
    assert runs[0].stat().st_mtime_ns == before and len(list((tmp_path / "store" / "md").iterdir())) == 1
    second = cells(tmp_path, "Springs")
    assert set(second) == {*first, ("rdf_mae", "Li3PS4"), ("rdf_wasserstein", "Li3PS4")}
    assert second["failed_share", "Li3PS4"]["value"] == first["failed_share", "Li3PS4"]["value"]
    assert bench(tmp_path, *arguments, "-k", "survival", "--seed", "1").returncode == 0
    assert set(cells(tmp_path, "Springs")) == set(first), "scores of another protocol must not mix"


@pytest.mark.parametrize(
    ("arguments", "message"), [(("--material", "Li3PS"), "did you mean"), (("--preset", "huge"), "invalid choice")]
)
def test_a_wrong_option_is_one_line_and_nothing_is_run(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 4
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ["shnet"]}, "neither a model (cgcnn"),
        ({"model": ["nowhere.py:Model"]}, "there is no file nowhere.py"),
        ({"device": "cuda:7"}, "no GPU here; use --device cpu"),
        ({"device": "tpu"}, "use cpu, cuda or cuda:N"),
        ({"calculator": ["a=ase.calculators.lj:LennardJones()", "a=ase.calculators.emt:EMT()"]}, "LABEL=pkg.mod"),
        ({"calculator": ["ase.calculators.emt:EMT()"], "kin": ["MACE=MPtrj"]}, "no model is called 'MACE'; there are EMT"),
        ({"calculator": ["ase.calculators.emt:EMT()"], "precision": "float64"}, "a calculator is told by its own arguments"),
        ({"model": ["controls"], "precision": "float64"}, "a control computes in double precision"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    known = {name: one.get("default") for name, one in OPTIONS.items()} | options
    with pytest.raises(OptionError, match=re.escape(message)):
        asked(lambda name: known[name.removeprefix("--")], tmp_path, {})


def test_training_frames_under_another_name_are_still_held_out() -> None:
    """A relabelled copy of the reference a model was trained on must not be taken for unseen data."""
    from dataclasses import replace

    from grannfield.data.material import load_material
    from grannfield.harness import Subject
    from grannfield.plugin import find, open_model

    named = find("schnet", Path("nowhere"))
    subject = Subject(named, open_model(named))
    material = load_material("LGPS")
    own = material.reference()
    assert subject.trained_on(material, own)
    assert subject.trained_on(material, replace(own, kind="aimd", maker="PBE"))
    assert not subject.trained_on(material, replace(own, maker="PBE", runs=own.runs[:1]))
    other = load_material("Li3PS4")
    assert not subject.trained_on(other, other.reference())
