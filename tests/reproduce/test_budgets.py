"""Budgets of training, behaviours, and models too large for their weights to be kept."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grannfield.forcefield import load
from grannfield.report.results import Results
from grannfield.reproduce.scales import SCALES
from grannfield.reproduce.weights import NOTE
from grannfield.reproduce.work import Work
from grannfield.score import Score
from tests.reproduce.small import MD, SMALL, TINY, TRAIN, endings, install, pieces, reproduce

TINY_CGCNN = {"num_features": 32}

SURROGATE = "surrogate: SevenNet-0 (11Jul2024)"


def curve(state: Path, label: str) -> list[dict[str, str]]:
    return list(csv.DictReader((state / "reports" / "checkpoints" / label / "curve.csv").read_text().splitlines()))


def scored(self: Work, piece: Any) -> None:
    """What a score leaves, without the suite."""
    field = self.subject(piece.model).field
    about = {"identity": self.subject(piece.model).identity, "name": field.name, "n_parameters": field.n_parameters}
    made = Results(self.scale.label(piece.model), about, {"preset": "moment", "described": "ten frames", "seed": 0})
    made.add(Score("force_r2", made.label, "Li3PS4", 0.5, n=10, interval=(0.4, 0.6), provenance={"reference": SURROGATE}))
    made.add(Score("rdf_mae", made.label, "Li3PS4", float("nan"), n=0, reason="too short", provenance={"reference": SURROGATE}))
    made.write(self.state.reports)
    self.state.note(piece.name, lambda record: record.update(scored=self.subject_of_scores(piece.model)))


def test_the_budget_of_frames_is_the_same_for_all_and_validated_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, samples=24, max_steps=None, train_minutes={"schnet": 0.01, "cgcnn": 1e-9})
    state = tmp_path / "state"
    assert reproduce(state, "--budget", "samples", "--models", "schnet,schnet@published", "--only", "train") == 0
    assert "train:schnet (1 of 2), 24 frames of training" in capsys.readouterr().out
    for label in ("schnet@samples", "schnet@published@samples"):
        rows = curve(state, label)
        assert [int(row["samples"]) for row in rows] == list(range(2, 25, 2)), "after every twentieth of the steps, at least one"
        story = load(state / "reports" / "checkpoints" / label / "best.safetensors").provenance
        assert story["whole_budget"]["samples"] == 24 and story["budget"] == "samples" and "budget_s" not in story
    field = load(state / "reports" / "checkpoints" / "schnet@published@samples" / "best.safetensors")
    assert field.settings["as_published"] is True and field.name == "schnet"
    assert json.loads((state / "plan.json").read_text())["budget"] == "samples"
    assert reproduce(state, "--only", "train") == 2
    assert "budget is 'samples' there and 'time' here" in capsys.readouterr().err


def test_budgets_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row with budget, seconds, frames, epochs and rate; numbers with n and interval; the reference by its name."""
    install(monkeypatch, samples=12, epoch_frames=1, max_steps=30)
    monkeypatch.setattr(Work, "score", scored)
    for budget in ("time", "samples", "epochs"):
        state = tmp_path / budget
        assert reproduce(state, "--budget", budget, "--only", "train" if budget == "epochs" else "train,md,score") == 0
    out = tmp_path / "page.md"
    assert (
        reproduce(tmp_path / "x", "--compare", *[str(tmp_path / b) for b in ("samples", "time", "epochs")], "--out", str(out))
        == 0
    )
    text = out.read_text().replace("\xa0", " ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| schnet")]
    bought = {row[1]: row for row in rows if len(row) == 11}
    assert set(bought) == {"time", "samples", "epochs"}
    assert [bought[b][3] for b in bought] == ["12 frames of training", "60 min of training", "48 epochs of 1 frames"]
    assert bought["samples"][5] == "12" and bought["time"][5] == "60" and bought["epochs"][5] == "48"
    assert float(bought["samples"][6]) == pytest.approx(12 / 24) and float(bought["samples"][7].replace(",", "")) > 0
    assert bought["samples"][8] == "24" and "processor time of 1 thread" in bought["samples"][10]
    became = [row for row in rows if len(row) == 4]
    assert len(became) == 2 * 3, "of columns that nobody has there is no table"
    assert [row[3] == "0.50 ± 0.10<br><sub>n=10</sub>" for row in became[:3]] == [True, True, False]
    assert became[2][1:] == ["epochs", "test", "not scored"] and "n/a: too short" in text
    assert text.count(SURROGATE) == 2 and "ten frames; seed 0" in text and "not over trainings" in text
    capsys.readouterr()
    assert reproduce(tmp_path / "x", "--compare", str(tmp_path / "time")) == 0
    assert "60 min of training" in capsys.readouterr().out
    assert reproduce(tmp_path / "x", "--compare", str(tmp_path)) == 2
    assert "is no state of `grannfield reproduce`" in capsys.readouterr().err


def test_weights_of_the_largest_are_removed_when_all_is_done_and_nothing_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, largest_kept=100)
    monkeypatch.setattr(Work, "score", scored)
    assert reproduce(tmp_path, "--only", "train,md") == 0
    folder = tmp_path / "reports" / "checkpoints" / "schnet"
    assert (folder / "best.safetensors").exists(), "a score will want them"
    identity = Work.subject(_work(tmp_path), "schnet").identity
    assert reproduce(tmp_path, "--only", "score") == 0
    assert "schnet: all is done; its weights, too large to be kept, are removed" in capsys.readouterr().out
    assert not (folder / "best.safetensors").exists() and len(curve(tmp_path, "schnet")) == 1
    note = json.loads((folder / NOTE).read_text())
    assert note["identity"] == identity and len(note["runs"][MD]) == 2 and note["provenance"]["whole_budget"]["steps"] == 12
    before = pieces(tmp_path)
    assert reproduce(tmp_path, "--only", "train,md,score") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 pieces done" and pieces(tmp_path) == before
    assert reproduce(tmp_path, "--list") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(TRAIN))
    assert "done" in row and "weights removed on" in row
    assert reproduce(tmp_path, "--compare", str(tmp_path)) == 0
    assert "60 min of training" in capsys.readouterr().out
    (tmp_path / "reports" / "store" / "md" / note["runs"][MD][0] / "done.json").unlink()
    assert reproduce(tmp_path, "--only", "md") == 0 and endings(tmp_path, MD) == ["done"]
    assert reproduce(tmp_path, "--list", "--only", "md") == 0
    assert f"for weights: they were removed when all was done; delete {folder}" in capsys.readouterr().out


def _work(state: Path) -> Work:
    from grannfield.reproduce.state import State

    scale = SCALES["test"]
    return Work(State(state, {"scale": "test", "seed": 0, **scale.as_plan()}), scale, 0, "cpu")


def test_a_large_model_is_begun_where_the_call_suffices_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless nothing was done before: then no call would ever begin it."""
    both = {"train_minutes": {"schnet": 1.0, "cgcnn": 40.0}, "settings": {"schnet": TINY, "cgcnn": TINY_CGCNN}}
    install(monkeypatch, largest_kept=2000, max_steps=None, **both)
    begun: list[str] = []
    monkeypatch.setattr(Work, "train", lambda self, piece: begun.append(piece.name))
    assert SCALES["test"].sheds("cgcnn") and not SCALES["test"].sheds("schnet")
    monkeypatch.setattr(Work, "done", lambda self, piece: False)
    assert reproduce(tmp_path / "a", "--minutes", "30", "--only", "train") == 0
    assert begun == [TRAIN] and "too little time was left to begin train:cgcnn" in capsys.readouterr().out
    assert reproduce(tmp_path / "b", "--minutes", "30", "--only", "train:cgcnn") == 0 and begun[1:] == ["train:cgcnn"]


def test_epochs_are_those_of_table_1() -> None:
    paper = SCALES["paper"].under("epochs")
    assert [paper.steps(name) for name in ("cgcnn", "escn@published")] == [70 * 15000, 5 * 15000]
    assert SCALES["paper"].steps("cgcnn") is None and SCALES["paper"].minutes("cgcnn") == 600
    assert SCALES["small"].under("samples").steps("escn") == 10000
    with pytest.raises(ValueError, match="no budget is called 'energy'; there are time, samples, epochs"):
        SCALES["tiny"].under("energy")
    assert replace(SMALL, budget="epochs", epoch_frames=1, max_steps=7).steps("schnet") == 7
