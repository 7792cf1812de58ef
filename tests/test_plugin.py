"""What a user may write after --model, and what is said when it leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grannfield import plugin
from grannfield.forcefield import CheckpointError, ForceField, create, save
from grannfield.plugin import ModelNotFound, find, identity, open_model, resolve
from grannfield.testing import LennardJones

OWN = '''"""A user's own force field."""
import torch
from grannfield.forcefield import ForceField
from grannfield.testing import LennardJones


class Spring(ForceField):
    def __init__(self, cutoff: float = 3.5) -> None:
        super().__init__(cutoff)
        self.k = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, z, graph, edge_vec):
        return self.k * (graph.mask * (edge_vec.norm(dim=-1) - 2.5) ** 2).sum(1)


class NotAField:
    pass
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No shipped weights unless a test ships some, and an empty working directory."""
    monkeypatch.setattr(plugin, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "shipped"


def checkpoint(path: Path, seed: int = 0, **settings: bool) -> ForceField:
    torch.manual_seed(seed)
    field = create("schnet", hidden_channels=4, num_filters=4, num_interactions=1, num_gaussians=4, cutoff=4.0, **settings)
    save(field, path)
    return field


def test_own_weights_come_before_shipped_ones(tmp_path: Path, shipped: Path) -> None:
    for spec in ("schnet", "schnet@published"):
        with pytest.raises(
            ModelNotFound, match=rf"(?s)--model {spec}: no weights in .*{spec}.*grannfield train {spec} --minutes"
        ):
            find(spec, tmp_path / "own")
        theirs = checkpoint(shipped / f"{spec}.safetensors", seed=1)
        named = find(spec, tmp_path / "own")
        assert (named.spec, named.label, named.cls) == (spec, spec, "") and named.path == shipped / f"{spec}.safetensors"
        ours = checkpoint(tmp_path / "own" / spec / "best.safetensors", seed=2)
        named = find(spec, tmp_path / "own")
        assert named.path == tmp_path / "own" / spec / "best.safetensors" and named.label == spec
        weight = resolve(spec, tmp_path / "own").get_parameter("head0.weight")
        assert torch.equal(weight, ours.get_parameter("head0.weight")) and not torch.equal(
            weight, theirs.get_parameter("head0.weight")
        )


def test_default_place_is_reports_checkpoints(tmp_path: Path) -> None:
    checkpoint(Path("reports/checkpoints/schnet/best.safetensors"))
    assert find("schnet").path == Path("reports/checkpoints/schnet/best.safetensors")
    Path("schnet").mkdir()  # a folder of that name changes nothing
    assert find("schnet").path == Path("reports/checkpoints/schnet/best.safetensors")


def test_checkpoint_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "long training"
    field = checkpoint(folder / "best.safetensors")
    save(field, tmp_path / "v2.safetensors")
    expected = {
        str(folder): ("long training", folder / "best.safetensors"),
        str(folder / "best.safetensors"): ("long training", folder / "best.safetensors"),
        str(tmp_path / "v2.safetensors"): ("v2", tmp_path / "v2.safetensors"),
    }
    for spec, (label, path) in expected.items():
        named = find(spec)
        assert (named.spec, named.label, named.path, named.cls) == (spec, label, path, "")
        loaded = open_model(named)
        assert not loaded.training and torch.equal(loaded.get_parameter("head0.bias"), field.get_parameter("head0.bias"))


@pytest.mark.parametrize("spec", [".", "best.safetensors", "../run 7"])
def test_a_checkpoint_in_the_working_directory_has_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    checkpoint(tmp_path / "run 7" / "best.safetensors")
    monkeypatch.chdir(tmp_path / "run 7")
    assert find(spec).label == "run 7"


def test_a_class_in_a_file(own: Path) -> None:
    named = find(f"{own}:Spring")
    assert (named.label, named.path, named.cls) == ("Spring", own, "Spring")
    field = open_model(named)
    assert type(field).__name__ == "Spring" and isinstance(field, ForceField) and not field.training and field.cutoff == 3.5
    assert find("../mine.py:Spring").label == "Spring"


def test_what_is_not_found_is_named(tmp_path: Path, own: Path) -> None:
    (tmp_path / "empty").mkdir()
    for spec, message in {
        "shnet": r"neither a model \(.*schnet.*\), nor a checkpoint file or folder, nor file\.py:Class",
        "nowhere/best.safetensors": "neither a model",
        str(tmp_path / "empty"): r"the folder holds no best\.safetensors",
        "gone.py:Spring": r"there is no file gone\.py",
        str(own): r"which class of the file\? Write .*mine\.py:Class",
        f"{own}:": r"which class of the file\? Write .*mine\.py:Class",
    }.items():
        with pytest.raises(ModelNotFound, match=message) as caught:
            find(spec)
        assert f"--model {spec}" in str(caught.value)


@pytest.mark.parametrize("cls", ["Sprung", "NotAField", "torch"])
def test_a_missing_class_names_the_ones_there_are(own: Path, cls: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"mine\.py has no ForceField called {cls}; it has LennardJones, Spring$"):
        open_model(find(f"{own}:{cls}"))


def test_a_file_without_force_fields_has_none(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ModelNotFound, match="called X; it has none"):
        open_model(find(f"{tmp_path / 'empty.py'}:X"))


def test_the_users_own_errors_come_through(tmp_path: Path, own: Path) -> None:
    for body, error, message in (
        ("import no_such_package_anywhere\n", ModuleNotFoundError, "no_such_package_anywhere"),
        ("class X(\n", SyntaxError, "never closed"),
        (OWN.replace("cutoff: float = 3.5", "cutoff: float"), TypeError, "missing 1 required positional argument"),
    ):
        own.write_text(body)
        with pytest.raises(error, match=message):
            open_model(find(f"{own}:Spring"))
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.safetensors cannot be read"):
        resolve(str(tmp_path / "text.safetensors"))


def test_identity_follows_weights_and_the_users_file(tmp_path: Path, own: Path) -> None:
    named = find(f"{own}:Spring")
    first = identity(open_model(named), named)
    assert identity(open_model(named), named) == first
    own.write_text(OWN.replace("- 2.5", "- 2.6"))  # same weights, other physics
    assert identity(open_model(named), named) != first
    own.write_text(OWN)
    assert identity(open_model(named), named) == first
    field = open_model(named)
    with torch.no_grad():
        field.get_parameter("k").add_(1e-12)
    assert identity(field, named) != first
    file, copy = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save(checkpoint(file), copy)
    same = {identity(resolve(str(path)), find(str(path))) for path in (file, copy)}
    assert len(same) == 1 and first not in same
    assert identity(LennardJones(), named) not in same | {first}
