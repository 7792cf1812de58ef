"""Baselines on disk, the command, and how often the gate is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grannfield.cli import main
from grannfield.gate.baseline import BaselineError, read_baseline, require_comparable, write_baseline
from grannfield.gate.check import CASES, rates, table
from grannfield.gate.judge import judge
from grannfield.gate.speed import BETWEEN
from grannfield.gate.synthetic import Planted, measured_twice, scatter
from tests.gate.scores import PROTOCOL, force_mae, missing, results, score, speed


def kept(folder: Path, *scores: object) -> Path:
    results(*scores).write(folder)  # type: ignore[arg-type]
    return folder


def test_a_baseline_says_the_same_as_the_results_it_was_made_from(tmp_path: Path) -> None:
    zero = score("failed_share", 0.0, [0.0] * 6, interval=(0.0, 0.4))
    old = results(force_mae(), zero, speed(), missing("rdf_mae", "fused"))
    path = write_baseline(tmp_path / "baseline.json", [old])
    [read] = read_baseline(path)
    new = results(force_mae(1.1), zero, speed(1.3), score("rdf_mae", 0.02))
    said = [[(one.metric, one.label, one.why) for one in judge([x], [new]).moved] for x in (old, read)]
    assert said[0] == said[1] and {label for _, label, _ in said[0]} == {"loss", "gain", "unchanged"}
    assert write_baseline(tmp_path / "again.json", [read]).read_bytes() == path.read_bytes()


def test_results_files_and_folders_are_baselines_too(tmp_path: Path) -> None:
    folder = kept(tmp_path, force_mae())
    for path in (folder, folder / "results" / "toy.json"):
        assert [one.label for one in read_baseline(path)] == ["toy"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ("{", "neither a baseline nor"), ("[1]", "neither a baseline nor"), ('{"x": 1}', "neither"),
     ('{"kind": "grannfield baseline", "format": 99, "models": []}', "reads up to 1"),
     ('{"kind": "grannfield baseline", "format": 1, "models": [{"label": "a"}]}', "neither")],
)  # fmt: skip
def test_a_damaged_baseline_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BaselineError, match=message) as caught:
        read_baseline(path)
    assert str(path) in str(caught.value)


def test_other_settings_are_refused_before_anything_runs(tmp_path: Path) -> None:
    baseline, path = [results(force_mae())], tmp_path / "b.json"
    require_comparable(path, baseline, ["toy", "new"], PROTOCOL | {"hardware": "another", "device": "cuda"})
    with pytest.raises(BaselineError, match="'quick' then, 'smoke' now"):
        require_comparable(path, baseline, ["toy"], PROTOCOL | {"preset": "smoke", "length_ps": 1.0})
    with pytest.raises(BaselineError, match="seed: 0 then, 1 now"):
        require_comparable(path, baseline, ["toy"], PROTOCOL | {"seed": 1})
    with pytest.raises(BaselineError, match="nothing in common"):
        require_comparable(path, baseline, ["other"], PROTOCOL)


def test_the_command_fails_on_loss_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, same, worse = (kept(tmp_path / name, force_mae(f)) for name, f in (("old", 1.0), ("same", 1.0), ("worse", 1.1)))
    file = tmp_path / "baseline.json"
    assert main(["gate", "--write-baseline", str(file), "--reports", str(old)]) == 0
    assert main(["gate", "--baseline", str(file), "--reports", str(same)]) == 0
    assert "no significant loss (1 unchanged" in capsys.readouterr().out
    assert main(["gate", "--baseline", str(file), "--reports", str(worse)]) == 1
    out = capsys.readouterr().out
    assert "+10.0%" in out and "gate: LOSS in toy force MAE" in out
    page = (worse / "gate.md").read_text()
    assert "+10.0%" in page and "paired, 12 pairs" in page
    assert main(["gate", "--baseline", str(file), "--reports", str(worse), "--model", "other"]) == 2
    assert main(["gate", "--baseline", str(file), "--reports", str(tmp_path / "nowhere")]) == 2
    assert main(["gate", "--check", "--repeats", "0"]) == 2


def test_goals_on_a_few_synthetic_repeats() -> None:
    """The same for the same seed; 1,000 repeats are a command, forty see a gate that is broken."""
    cases = tuple(one for one in CASES if one.name in ("nothing has changed", "forces 10% worse", "forces 20% worse"))
    found = rates(40, 3, cases)
    assert [one.alarms for one in found] == [one.alarms for one in rates(40, 3, cases)]
    nothing, ten, twenty = found
    assert nothing.alarms <= 3 and ten.alarms >= 36 and twenty.alarms == twenty.repeats == 10
    assert nothing.right and ten.right and "95% interval" in table(found)


def test_synthetic_scores_are_as_scattered_as_the_file_says() -> None:
    """What one model's errors on the same stretches differ by, from measurement to measurement."""
    import numpy as np

    gaps = []
    for seed in range(60):
        old, new = measured_twice(seed, Planted())
        a, b = ([row["value"] for row in one.scores["force_mae", "Li3PS4"].parts["by_run"]] for one in (old, new))
        gaps.append(np.log(np.array(b) / np.array(a)))
    about = scatter()["stretches"]
    expected = np.sqrt(2 * (about["own"] ** 2 + scatter()["force_mae"]["extra"] ** 2))
    assert np.std(gaps) == pytest.approx(expected, rel=0.1)
    assert scatter()["speed"]["session"] == BETWEEN


def test_a_score_of_a_baseline_has_no_paths_or_names_of_machines(tmp_path: Path) -> None:
    made = score("force_mae", 1.0, provenance={"hardware": "h", "reference_runs": {"a.h5": "x"}, "predictions_made_on": [{}]})
    content = json.loads(write_baseline(tmp_path / "b.json", [results(made)]).read_text())
    assert set(content["models"][0]["scores"][0]["provenance"]) == {"reference", "reference_runs"}
