"""`grannfield explain`, the evidence of a board, and two processes that read and keep it at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from grannfield import cli
from grannfield.evidence import NotKept, evidence_of
from grannfield.report.results import Results, read_results

from .conftest import FORMULA, LABEL


@pytest.fixture
def of_board(board: Path) -> Results:
    return read_results(board / "results" / f"{LABEL}.json")


def explain(board: Path, *arguments: str) -> int:
    return cli.main(["explain", *arguments, "--reports", str(board)])


def test_the_story_of_a_number(board, of_board, capsys):
    """Value, sample, definition, runs with file, sum, seed, end and frames, reference, weights, machine, recipe to check it."""
    assert explain(board, LABEL, FORMULA, "rdf_mae") == 0
    said = " ".join(capsys.readouterr().out.split())
    score = of_board.scores["rdf_mae", FORMULA]
    pointer = score.provenance["evidence"][0]
    assert repr(score.value) in said and f"n = {score.n}" in said and "mean |g(r) - g_ref(r)|" in said
    assert pointer["path"] in said and pointer["sha256"][:16] in said and "seed 7" in said and "ended: no failure" in said
    assert "70 of 100 frames used, dropped: 30 of equilibration" in said
    assert "surrogate: SevenNet-0 (11Jul2024)" in said and "not AIMD" in said
    assert of_board.model["identity"][:16] in said and "min of training" in said
    assert "code abc" in said and "2026-01-01 00:00 UTC" in said and "preset smoke" in said
    assert f"grannfield verify {LABEL} {FORMULA} rdf_mae" in said


def test_the_story_of_forces_and_speed(board, capsys):
    assert explain(board, LABEL, FORMULA, "force_r2") == 0
    assert "predictions on 50 frames of 32 atoms" in " ".join(capsys.readouterr().out.split())
    assert explain(board, LABEL, "LGPS", "ns_per_day") == 0
    said = capsys.readouterr().out
    assert "seconds of 5 rounds: 0.5, 0.4, 0.6, 0.55, 0.45" in said and "quartiles" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tou", FORMULA, "rdf_mae"), "did you mean 'toy'?"),
        ((LABEL, "Li3PS", "rdf_mae"), "did you mean 'Li3PS4'?"),
        ((LABEL, FORMULA, "rdf_mea"), "did you mean 'rdf_mae'?"),
        ((LABEL, FORMULA, "diffusivity"), "diffusivity of toy was not run on Li3PS4; run it: grannfield bench"),
        ((LABEL, FORMULA, "ns_per_day"), "it was on Li10GeP2S12"),
    ],
)
def test_names_that_are_not_there(board, arguments, expected, capsys):
    assert explain(board, *arguments) == 2
    assert expected in capsys.readouterr().err


def test_a_folder_without_results(tmp_path, capsys):
    assert cli.main(["verify", "--reports", str(tmp_path)]) == 2
    assert "holds no results; score a model" in capsys.readouterr().err


def test_what_stands_behind(board, of_board):
    evidence = evidence_of(of_board, board)
    assert FORMULA in evidence.materials
    (run,) = evidence.runs(FORMULA)
    assert (run.temperature, run.replica, run.seed, run.drop, run.failure) == (1000.0, 0, 7, 0.3, None)
    assert run.path.is_file() and run.trajectory().n_frames == 100 and run.scored().production.n_frames == 70
    assert run.protocol["timestep"] == 2.0
    predicted = evidence.predictions(FORMULA, "windows")
    assert np.isclose(predicted.force_errors.r2.value, of_board.scores["force_r2", FORMULA].value, rtol=1e-12)
    assert evidence.predictions("Li4GeS4", "windows") is None and evidence.runs("Li4GeS4") == []
    assert evidence.reference(FORMULA).reference.label.startswith("surrogate")
    assert evidence.speed()["ns_per_day"]["rounds_s"] == [0.5, 0.4, 0.6, 0.55, 0.45]


def test_what_is_not_there_is_said(of_board, tmp_path):
    with pytest.raises(NotKept, match=r"md/.*run-0\.h5|done\.json.*score the model again"):
        evidence_of(of_board, tmp_path).runs(FORMULA)
    bare = Results("bare", {"kind": "model"}, {})
    assert evidence_of(bare, tmp_path).materials == [] and evidence_of(bare, tmp_path).speed() == {}


def test_two_processes_at_once(reports):
    """One copies the evidence while the other verifies; both end well, and the copy is whole."""
    keep = ["keep", "--reports", str(reports)]
    other = subprocess.Popen([sys.executable, "-m", "grannfield.cli", *keep], stdout=subprocess.DEVNULL)
    assert cli.main(["verify", LABEL, FORMULA, "force_r2", "--frames", "0", "--reports", str(reports)]) == 0
    assert cli.main(keep) == 0 and other.wait(120) == 0
    kept = reports / "evidence" / LABEL
    assert not list(kept.rglob("*.tmp"))
    assert {p.relative_to(kept) for p in kept.rglob("*.h5")} == {
        p.relative_to(reports / "store") for p in (reports / "store").rglob("*.h5")
    }
