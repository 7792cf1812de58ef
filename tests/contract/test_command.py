"""`grannfield check`, as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import grannfield.models  # noqa: F401  (registers all before a test replaces the registry)
from grannfield import forcefield
from grannfield.cli import main
from grannfield.contract import check, opened
from grannfield.forcefield import ForceField, create, save
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values
from grannfield.report.contract import read_contract
from tests.contract.fields import faded

FIELDS = """
import torch
from grannfield.forcefield import ForceField
from grannfield.testing import LennardJones


class Sound(LennardJones):
    def __init__(self):
        super().__init__(epsilon=0.05, sigma=2.0, cutoff=5.0, switch=4.0)


class Broken(Sound):
    def forward(self, z, graph, edge_vec):
        return super().forward(z, graph, edge_vec) * (1 + 1e-3 * graph.n_graphs)


class Zero(Sound):
    def forward(self, z, graph, edge_vec):
        return 0 * super().forward(z, graph, edge_vec)


class Raising(Sound):
    def forward(self, z, graph, edge_vec):
        raise KeyError("no such key")
"""


class Tiny(ForceField):
    """A network of a few numbers whose published behaviour is a mean over atoms.

    Differs from the published arithmetic:
    - a sum over atoms
      instead of their mean.
    """

    def __init__(self, width: int = 12, as_published: bool = False) -> None:
        super().__init__(5.0)
        self.as_published, self.elements = as_published, tuple(range(1, 90))
        self.embedding, self.message, self.last = nn.Embedding(90, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        fade, x = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1), self.embedding(z)
        for _ in range(2):
            x = x + torch.tanh(self.message((x[graph.neighbors] * fade).sum(dim=1)))
        atomic = self.last(x).squeeze(-1)
        return 8 * atomic / graph_values(atoms_by_graph(graph), graph).to(x.dtype) if self.as_published else atomic


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with fields.py, and a registry of one tiny model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forcefield, "_REGISTRY", {"tiny": Tiny})
    (tmp_path / "fields.py").write_text(FIELDS)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["fields.py:Sound"], 0, "Sound: all 18 claims hold"),
        (["fields.py:Broken"], 1, "batch = single float64:"),
        (["fields.py:Zero"], 1, "Zero: vacuous"),
        (["fields.py:Raising"], 1, "alive: KeyError: 'no such key'"),
        (["tiny"], 0, "tiny: all 22 claims hold"),
        (["tiny@published"], 1, "tiny@published: 1 claims do not hold"),
        (["--calculator", "tests.contract.calculators:sound()"], 0, "claims hold"),
    ],
)
def test_the_exit_code_says_whether_claims_hold(
    here: Path, arguments: list[str], code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == code
    printed = capsys.readouterr().out
    assert shown in printed
    if "vacuous" not in shown and "alive" not in shown:
        assert "forces against the energy" in printed and "repeatability" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one thing to check: a MODEL or --calculator CALL"),
        (["tiny", "--calculator", "a:b()"], "name one thing to check"),
        (["tinny"], "tinny: neither a model (tiny), nor a checkpoint"),
        (["tiny@old"], "only `published` is known"),
        (["fields.py:Missing"], "has no ForceField called Missing"),
        (["fields.py"], "which class of the file?"),
        (["--calculator", "lj"], "names no module"),
        (["all", "--json", "x.json"], "--json is for one model"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["check", "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0 and "my_model.py:MyField" in shown and "0.3-3 eV/A" in shown and "exit code" in shown


def test_a_checkpoint_is_measured_with_its_own_weights(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    field = create("tiny")
    field.scale.scale.fill_(0.0)
    save(field, here / "zero.safetensors")
    assert main(["check", "zero.safetensors"]) == 1
    assert "zero: vacuous" in capsys.readouterr().out
    field.scale.scale.fill_(1.0)
    save(field, here / "own" / "best.safetensors")
    assert main(["check", "own"]) == 0
    assert "own: all 21 claims hold" in capsys.readouterr().out


def test_numbers_go_to_a_file(here: Path) -> None:
    assert main(["check", "tiny@published", "--seed", "4", "--json", "out/tiny.json"]) == 1
    (measured,) = [read_contract(here / "out" / "tiny.json")["published"]]
    assert measured["failed"] == ["extensivity"] and measured["seed"] == measured["weights"]["seed"] == 4
    assert measured["n_parameters"] == Tiny().n_parameters and measured["differences"] == [
        "a sum over atoms instead of their mean"
    ]
    assert measured["claims"] == {"rotation": "exact", "reflection": True, "continuous": True}
    assert {"versions", "hardware", "date"} <= set(measured["provenance"])


def test_all_models_are_measured_once(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The published behaviour may fail; a second run reads what the first one stored; other code or seeds measure again."""
    calls: list[str] = []
    original = check.check_name

    def counted(spec: str, seed: int = 0) -> dict[str, Any]:
        calls.append(spec)
        return original(spec, seed)

    monkeypatch.setattr(check, "check_name", counted)
    monkeypatch.setattr(check, "CHECKS", {name: check.CHECKS[name] for name in ("rotation", "extensivity")})
    assert main(["check", "all"]) == 0
    assert calls == ["tiny", "tiny@published"]
    table = (here / "reports" / "deviations.md").read_text()
    assert "a sum over atoms instead of their mean" in table and "| tiny    | published" in table
    first = json.loads((here / "reports" / "contract" / "tiny.json").read_text())
    assert set(first["behaviours"]) == {"default", "published"}
    assert main(["check", "all"]) == 0
    assert len(calls) == 2 and "(stored)" in capsys.readouterr().out
    assert main(["check", "all", "--seed", "1"]) == 0
    assert len(calls) == 4


def test_a_large_model_is_measured_smaller_with_a_look_at_full_size(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "reduced", lambda: {"tiny": {"width": 8}})
    monkeypatch.setattr(check, "CHECKS", {name: check.CHECKS[name] for name in ("rotation", "repeatability", "extensivity")})
    report = check.check_name("tiny")
    found = [(finding["check"], finding["precision"]) for finding in report["findings"]]
    assert ("rotation, Table 1 size", "float32") in found and ("repeatability, Table 1 size", "float32") in found
    assert ("extensivity", "float64") in found and not any("extensivity, " in name for name, _ in found)
    assert report["reduced"] == {"width": 8} and report["n_parameters"] == Tiny().n_parameters


def test_the_reduced_settings_exist() -> None:
    for name, settings in opened.reduced().items():
        full, small = create(name), create(name, **settings)
        assert small.n_parameters < full.n_parameters / 10
        assert all(full.settings[key] != value for key, value in settings.items())


def test_a_field_that_cannot_wake_fails(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Dead(Tiny):
        def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
            return 0 * super().forward(z, graph, edge_vec)

    monkeypatch.setattr(forcefield, "_REGISTRY", {"dead": Dead})
    assert main(["check", "dead"]) == 1
    assert "dead: vacuous" in capsys.readouterr().out


def test_random_numbers_and_threads_are_left_as_they_were(here: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    check.check_name("tiny")
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == threads
