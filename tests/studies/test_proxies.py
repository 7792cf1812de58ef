"""Proxies: the scale of the dynamics, who counts as a model, and tables from results alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grannfield.cli import main
from grannfield.studies.proxies import CHEAP, dynamics, laid_out, report
from grannfield.studies.told import sections

from .made import SURROGATE, scored

OUTCOMES = ("failed", "failed", "lattice mismatch", "lattice mismatch", "stable", "stable", "stable")
BOARD = [scored(f"model{k}", 0.1 * (k + 1), outcome) for k, outcome in enumerate(OUTCOMES)]


def row(found: dict, outcome: str, metric: str) -> dict:
    return next(one for one in found["table"] if (one["outcome"], one["metric"]) == (outcome, metric))


def test_the_scale_of_the_dynamics() -> None:
    assert [dynamics(one, "Li3PS4") for one in BOARD] == [0, 0, 1, 1, 2, 2, 2]
    assert dynamics(BOARD[0], "Li4GeS4") is None  # not run
    short = scored("short", 0.5, "stable")
    del short.scores["rdf_mae", "Li3PS4"]
    assert dynamics(short, "Li3PS4") is None  # no failure, but no structure either


def test_a_metric_in_the_order_of_the_dynamics_says_so() -> None:
    found = report(BOARD)
    best = row(found, "dynamics", "force_r2")
    assert best["tau"]["value"] == pytest.approx(16 / (16 * 21) ** 0.5)  # all 16 pairs not tied in the outcome agree
    assert best["p"] < 0.05 <= best["p_holm"] * 3 and best["models"] == 7 and best["tau"]["n"] == 7
    assert row(found, "rdf_mae", "force_mae")["tau"]["value"] == pytest.approx(20 / (20 * 21) ** 0.5)  # lower is better in both
    slope = row(found, "dynamics", "force_slope")["tau"]["value"]
    assert slope == best["tau"]["value"]  # closer to 1 is better: 1.9 down to 1.3
    assert row(found, "dynamics", "force_curl")["tau"]["reason"] == "too few models (n=0)"
    shares = [one["best_share"] for one in found["table"] if one["outcome"] == "dynamics" and one["best_share"] is not None]
    assert len(shares) == 3 and sum(shares) == pytest.approx(1.0)
    assert found["reference"] == [SURROGATE] and found["tests"] == 9 and len(found["table"]) == 3 * len(CHEAP)
    assert found == report(BOARD)  # the same resamples


def test_presets_are_not_mixed_and_what_is_the_reference_is_left_out() -> None:
    """A model run ten times as long has ten times the time to fail: it is not ranked beside a short one."""
    long = [scored("long", 0.99, "failed", preset="quick")]
    itself = scored("SevenNet-0", 0.5, "stable")
    itself.model["potential"] = "SevenNet-0 (11Jul2024)"
    cells, labels, _ = laid_out([*BOARD, *long, itself])
    assert cells == [("quick", "Li3PS4"), ("tiny", "Li3PS4")] and "SevenNet-0" not in labels and "long" in labels
    assert row(report([*BOARD, *long]), "dynamics", "force_r2")["tau"]["value"] == pytest.approx(16 / (16 * 21) ** 0.5)


def test_behaviours_of_one_architecture_are_no_two_models() -> None:
    four = [scored(f"{name}{at}", 0.2 + 0.1 * k, "stable") for k, name in enumerate("abcd") for at in ("", "@published")]
    assert report(four)["units"] == 4 and row(report(four), "rdf_mae", "force_r2")["tau"]["reason"] == "too few models (n=4)"


def test_the_command_writes_a_report_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "proxies", "--reports", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err
    for one in BOARD:
        one.write(tmp_path)
    assert main(["study", "proxies", "--reports", str(tmp_path)]) == 0
    stored = json.loads((tmp_path / "studies" / "proxies.json").read_text())
    assert stored["complete"] and len(stored["results_sha256"]) == len(BOARD) and stored["provenance"]["versions"]["torch"]
    ((title, text),) = sections(tmp_path)
    assert "cheap metric" in title and text in capsys.readouterr().out
    assert text.count(f"against {SURROGATE}") == 3 and "With 7 models the intervals are wide" in text
    assert "| force R² (windows) | 0.87" in text.replace("\u00a0", " ").replace("  ", " ")
