"""The harness as a user runs it: `pytest benchmarks/` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    content = json.loads((folder / "results" / f"{model}.json").read_text())
    return {(score["metric"], score["material"]): score for score in content["scores"]}


def test_a_model_that_raises_is_an_error(toys: Path, tmp_path: Path) -> None:
    done = bench(tmp_path, "--model", f"{toys}:Raises", "--material", "Li3PS4", "-k", "force_r2 or survival or ns_per_day")
    assert done.returncode == 1, done.stdout
    found = cells(tmp_path, "Raises")
    assert len(found) == 5
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
    assert set(second) == {*first, ("rdf_mae", "Li3PS4")}
    assert second["failed_share", "Li3PS4"]["value"] == first["failed_share", "Li3PS4"]["value"]
    assert bench(tmp_path, *arguments, "-k", "survival", "--seed", "1").returncode == 0
    assert set(cells(tmp_path, "Springs")) == set(first), "scores of another protocol must not mix"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--material", "Li3PS"), "did you mean"),
        (("--model", "shnet"), "neither a model (cgcnn"),
        (("--model", "nowhere.py:Model"), "there is no file nowhere.py"),
        (("--device", "cuda:7"), "no GPU here; use --device cpu"),
        (("--preset", "huge"), "invalid choice"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 4
    assert message in done.stdout + done.stderr


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
