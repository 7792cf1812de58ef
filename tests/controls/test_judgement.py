"""The table of the controls: what counts as a flag, and the suite itself run on controls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grannfield.controls.judgement import flagged, judge, judgements
from grannfield.report.results import Results, read_results
from grannfield.score import Score

REPOSITORY = Path(__file__).parents[2]
MATERIAL = "Li3PS4"


def results(label: str, *scores: Score) -> Results:
    one = Results(label, {"kind": "control"})
    for score in scores:
        one.add(score)
    return one


def number(metric: str, value: float, low: float, high: float, **more) -> Score:
    return Score(metric, "control", MATERIAL, value, n=50, interval=(low, high), **more)


def test_what_counts_as_a_flag() -> None:
    one = results(
        "control:noise=0.05",
        number("force_mae", 45.0, 44.0, 46.0),
        number("force_r2", 0.997, 0.996, 0.998),
        number("force_curl", 0.04, 0.03, 0.05, parts={"reference": 0.0}),
        number("nve_drift", 0.5, -0.2, 1.2, parts={"reference": 0.0}),
        number("failed_share", 0.0, 0.0, 0.975, verdict="all 1 ps"),
        number("framework_drift", 0.002, 0.001, 0.003, verdict="recoil only"),
        Score("diffusivity", "control", MATERIAL, reason="too short"),
        Score("density_overlap", "control", MATERIAL, reason="fused"),
        Score("energy_rank", "control", MATERIAL, reason="KeyError: x", error=True),
    )
    expected = {
        "force_mae": True,
        "force_r2": False,
        "force_curl": True,
        "nve_drift": False,
        "failed_share": False,
        "framework_drift": False,
        "diffusivity": None,
        "density_overlap": True,
        "energy_rank": True,
        "rdf_mae": None,
    }
    assert {metric: flagged(one, metric, MATERIAL) for metric in expected} == expected


def test_a_control_that_is_not_seen_or_seen_for_another_is_wrong() -> None:
    still = number("framework_drift", 0.002, 0.001, 0.003, verdict="recoil only")
    found = judge(results("control:drift=1.5", still), MATERIAL)
    assert found.missed == ("framework_drift",) and not found.right and "NOT SEEN by framework_drift" in found.text
    moving = number("framework_drift", 0.4, 0.3, 0.5, verdict="moves as a whole")
    assert judge(results("control:drift=1.5", moving), MATERIAL).right
    fused = number("failed_share", 1.0, 0.025, 1.0, verdict="1 fusion")
    both = judge(results("control:drift=1.5", moving, fused), MATERIAL)
    assert both.wrong == ("failed_share",) and "WRONGLY by failed_share" in both.text
    melted = number("failed_share", 1.0, 0.025, 1.0, verdict="1 melt")
    assert judge(results("control:fusing", fused), MATERIAL).right
    assert "the cause is fusion, not 1 melt" in judge(results("control:fusing", melted), MATERIAL).missed[0]
    assert judge(results("control:exact", moving), MATERIAL).wrong == ("framework_drift",)


def test_sound_controls_come_first_and_models_are_none() -> None:
    moving = number("framework_drift", 0.4, 0.3, 0.5, verdict="moves as a whole")
    still = number("framework_drift", 0.002, 0.001, 0.003, verdict="recoil only")
    model = Results("schnet", {"kind": "model"})
    model.add(moving)
    order = judgements([model, results("control:drift=1.5", moving), results("control:exact", still)])
    assert [j.control.name for j in order] == ["exact", "drift"]


def test_the_suite_sees_in_each_control_what_it_must_and_nothing_else(tmp_path: Path) -> None:
    """`pytest benchmarks/` on all controls in beta-Li3PS4, the columns built for them; the whole table is the same command
    without -k. Exit status 0: every column that must flag a control does, and none that must not."""
    chosen = "force_mae or test_force_r2 or curl or nve or survival or framework_drift or energy_rank"
    arguments = ["--model", "controls", "--material", MATERIAL, "--reports", str(tmp_path), "-k", chosen]
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout[-4000:]
    said = [line for line in done.stdout.splitlines() if line.startswith("as it must be: control:")]
    names = [line.removeprefix("as it must be: control:").split(" on ")[0] for line in said]
    assert len(said) == 8 and set(names[:3]) == {"exact", "replay", "hopper"}, "the sound ones before the broken ones"
    found = read_results(tmp_path / "results" / "control_fusing.json").scores
    failed = next(score for (metric, _), score in found.items() if metric == "failed_share")
    assert failed.verdict == "1 fusion" and failed.provenance["reference"] == "control: analytic field"
    assert not (tmp_path / "leaderboard.md").exists() and "control:drift" in (tmp_path / "controls.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "control:drif"), "there are exact, replay"),
        (("--model", "control:exact", "--precision", "float32"), "a control computes in double precision"),
    ],
)
def test_a_wrong_control_says_what_would_be_right(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--reports", str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 4 and message in done.stdout + done.stderr
