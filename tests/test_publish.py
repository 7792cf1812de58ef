"""From a state of `grannfield reproduce` to the board: all of a model or nothing, verified where it arrives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grannfield import publish as module
from grannfield.cli import main
from grannfield.evidence.shipping import curve_path
from grannfield.forcefield import load, save
from grannfield.plugin import SHIPPED
from grannfield.publish import publish
from grannfield.report.results import read_results
from tests.evidence.conftest import LABEL, board  # noqa: F401  (a fixture)

CURVE = "step,seconds,force_mae,train_loss,validation_loss\n1,2,0.1,3,4\n"


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def state(board: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A state with one trained and scored model."""
    shutil.copytree(board, tmp_path / "state" / "reports")
    folder = tmp_path / "state" / "reports" / "checkpoints" / LABEL
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED / "schnet.safetensors", folder / "best.safetensors")
    (folder / "curve.csv").write_text(CURVE)
    return tmp_path / "state"


def test_what_is_published_can_be_verified_without_the_state(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports, before = tmp_path / "reports", bytes_in(state)
    assert main(["publish", str(state), "--reports", str(reports), "--only", "tables"]) == 0
    assert bytes_in(state) == before  # it may have to stay below some size
    assert "toy: published (" in capsys.readouterr().out
    shutil.rmtree(state)
    one = read_results(reports / "results" / f"{LABEL}.json")
    assert curve_path(one, reports).read_text() == CURVE
    assert (reports / "leaderboard.md").exists()
    assert main(["verify", "--reports", str(reports), "--strict", "--frames", "0"]) == 0, capsys.readouterr().out


def test_a_larger_scale_on_the_board_stays_unless_told(state: Path, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    publish(state, reports)
    one = read_results(path := reports / "results" / f"{LABEL}.json")
    one.protocol["preset"] = "paper"
    before = one.write(reports).read_bytes()
    (told,) = publish(state, reports)
    assert not told.done and "larger scale (paper, this is smoke)" in told.why and path.read_bytes() == before
    (told,) = publish(state, reports, replace=True)
    assert told.done and read_results(path).protocol["preset"] == "smoke"


def test_results_of_other_weights_are_left_out(state: Path, tmp_path: Path) -> None:
    path = state / "reports" / "checkpoints" / LABEL / "best.safetensors"
    field = load(path)
    next(field.parameters()).data[0] += 0.1
    save(field, path)
    (told,) = publish(state, tmp_path / "reports")
    assert not told.done and "other weights were scored" in told.why and not (tmp_path / "reports").exists()
    path.unlink()
    assert "is missing" in str(publish(state, tmp_path / "reports")[0])


def test_weights_of_registered_models_go_beside_the_package(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    publish(state, tmp_path / "reports", weights)
    assert not any(weights.iterdir())  # `toy` is no registered model
    monkeypatch.setattr(module, "registered", lambda: {LABEL})
    publish(state, tmp_path / "reports", weights)
    assert (weights / f"{LABEL}.safetensors").read_bytes() == (SHIPPED / "schnet.safetensors").read_bytes()
    assert read_results(tmp_path / "reports" / "results" / f"{LABEL}.json").model["shipped"]


def test_a_state_without_scores_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(tmp_path), "--reports", str(tmp_path / "r")]) == 2
    assert "holds no results" in capsys.readouterr().err
