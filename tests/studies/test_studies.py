"""Whole studies of small models: cut off and gone on with, cells without numbers, reports and their tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from grannfield.cli import main
from grannfield.data.material import load_material
from grannfield.harness import ReferenceData
from grannfield.md.simulate import MDRun, Protocol
from grannfield.presets import PRESETS, Preset
from grannfield.runs import ScoredRun
from grannfield.studies import seeds
from grannfield.studies.pieces import Piece, read_report, report_path, work_on
from grannfield.studies.told import TITLES, sections

from .made import SURROGATE, few_frames, four_sets

BUDGET = ("--models", "schnet", "--train-minutes", "0.005")


def study(name: str, folder: Path, *arguments: str) -> int:
    about = ["--state", str(folder / "state"), "--reports", str(folder)] if name != "proxies" else []
    return main(["study", name, *about, *arguments])


def stored(folder: Path, name: str) -> dict[str, Any]:
    return read_report(report_path(folder, name))


def test_transfer_is_cut_off_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    few_frames(monkeypatch)
    wanted = (*BUDGET, "--material", "Li3PS4,Li4GeS4", "--test-frames", "12")
    assert study("transfer", tmp_path, *wanted, "--minutes", "0.0001") == 0
    assert "the same command goes on" in capsys.readouterr().out
    first = stored(tmp_path, "transfer")
    assert not first["complete"] and {one["reason"] for one in first["cells"]} == {"not run"}
    assert "Not complete: 0 of 4 pieces are done." in dict(sections(tmp_path))[TITLES["transfer"]]
    assert study("transfer", tmp_path, *wanted) == 0
    found = stored(tmp_path, "transfer")
    by = {(one["trained_on"], one["tested_on"]): one for one in found["cells"]}
    assert found["complete"] and set(found["trainings"]) == {"schnet:beta-Li3PS4", "schnet:Li4GeS4"}
    own = by["Li3PS4", "Li3PS4"]
    assert own["force_r2"]["n"] == own["frames"] == 12 and own["force_r2"]["interval"][0] < own["force_r2"]["value"] < 1
    away = by["Li3PS4", "Li4GeS4"]
    assert away["reason"] == "element not supported" and "does not know Ge" in away["detail"] and not found["prices"]
    about = found["trainings"]["schnet:Li4GeS4"]
    assert about["clock"].startswith("processor time of 1 thread") and about["budget_s"] == pytest.approx(0.3)
    assert about["weights"] and about["training_sha256"] != about["validation_sha256"]
    assert (tmp_path / "state" / ".gitignore").read_text() == "*\n"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "state").rglob("*.safetensors")}
    assert study("transfer", tmp_path, *wanted) == 0  # nothing is made again
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "state").rglob("*.safetensors")}
    again = stored(tmp_path, "transfer")
    assert {key: again[key] for key in ("cells", "trainings")} == {key: found[key] for key in ("cells", "trainings")}
    text = dict(sections(tmp_path))[TITLES["transfer"]]
    assert text.count(f"against {SURROGATE}") == 2 and "n/a: element not supported" in text


def test_dft_is_split_by_folder_and_keeps_its_weights_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    few_frames(monkeypatch)
    wanted = (*BUDGET, "--data", str(four_sets(tmp_path / "data")))
    assert study("dft", tmp_path, *wanted, "--list") == 0 and "0 of 3 pieces done" in capsys.readouterr().out
    assert study("dft", tmp_path, *wanted) == 0
    assert study("dft", tmp_path, *wanted, "--list") == 0 and "3 of 3 pieces done" in capsys.readouterr().out
    found = stored(tmp_path, "dft")
    assert found["complete"] and found["reference"] == "DFT: source not stated"
    assert [(one["role"], one["name"]) for one in found["sets"]][-2:] == [("test", "iter.2"), ("other", "other")]
    own, shipped, other, _ = found["rows"]
    assert own["force_mae_meV_per_A"]["n"] == 6 and own["energy_mae_meV_per_atom"]["value"] > 0
    assert "energy_mae_meV_per_atom" not in other and other["tested_on"] == "other"
    assert shipped["trained_on"].startswith(SURROGATE) and shipped["weights"][:10] in shipped["trained_on"]
    assert found["nearest"]["to_training"]["smallest_A"] > 0.05
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "data" not in path.parts and "state" not in path.parts]
    assert written == [tmp_path / "studies" / "dft.json"]
    assert "Forces against DFT: source not stated" in dict(sections(tmp_path))[TITLES["dft"]]


def test_seeds_moves_each_training_and_says_what_ended_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_frames(monkeypatch)
    monkeypatch.setitem(PRESETS, "tiny", Preset("tiny", 10, (1000.0,), 0.1, 0.02, 1))
    assert study("seeds", tmp_path, *BUDGET, "--material", "Li4GeS4", "--training-seeds", "2", "--md-seeds", "2") == 0
    found = stored(tmp_path, "seeds")
    (one,) = found["models"]
    assert found["complete"] and [row["seed"] for row in one["by_run"]] == [0, 0, 1, 1]
    assert len({row["md_seed"] for row in one["by_run"]}) == 4  # no two runs share their velocities
    assert one["force_r2"]["n"] == 2 and one["force_r2"]["between"]["interval"][1] > one["force_r2"]["between"]["value"]
    assert one["failed"]["runs"] == [2, 2] and one["log10_D"]["n"] == 0
    reasons = {row["log10_D"]["reason"] for row in one["by_run"]}
    assert (
        reasons <= {"too short", "fused", "exploded"}
        and f"n/a: {sorted(reasons)[0]}" in dict(sections(tmp_path))[TITLES["seeds"]]
    )


def test_a_run_that_is_the_reference_has_its_structure_and_its_d() -> None:
    material = load_material("LGPS")
    data = ReferenceData(material, material.reference())
    whole = data.trajectory(1000.0)
    protocol = Protocol(1000.0, length=whole.n_frames * whole.timestep, ramp=0.0, interval=whole.timestep)
    one = ScoredRun(MDRun(protocol, 0, whole, None, 0.0, 0.0, 1000.0), 1000.0, None)
    found = seeds.judged(one, data)
    assert found["rdf_mae"]["value"] < 1e-6 and not found["failed"] and found["watched_ps"] == pytest.approx(10.0)
    assert -5.5 < found["log10_D"]["value"] < -3.5  # cm²/s: a superionic conductor
    low, high = found["log10_D"]["interval"]
    assert low < found["log10_D"]["value"] < high


def run(seed: int, rdf: float | None, failed: bool = False) -> dict[str, Any]:
    number = {"value": rdf, "interval": [None, None], "n": 100, "reason": "" if rdf else "fused"}
    return {"seed": seed, "failed": failed, "rdf_mae": number, "log10_D": {**number, "value": None, "reason": "too short"}}


def test_variance_of_runs_is_that_of_their_numbers() -> None:
    fitted = [{"seed": s, "force_r2": {"value": 0.9 + s / 100, "reason": ""}} for s in range(3)]
    runs = [run(s, 0.02 + 0.01 * s + 0.001 * r) for s in range(3) for r in (-1, 0, 1)]
    found = seeds.summary(fitted, [*runs, run(2, None, failed=True)])
    assert found["rdf_mae"]["n"] == 9 and found["rdf_mae"]["groups"] == 3 and found["rdf_mae"]["p"] < 1e-4
    assert found["rdf_mae"]["within"]["value"] == pytest.approx(0.001) and found["rdf_mae"]["share"]["value"] > 0.98
    assert found["force_r2"]["between"]["value"] == pytest.approx(0.01) and found["log10_D"] == {"n": 0, "groups": 0}
    assert found["failed"]["by_training"] == [0, 0, 1] and found["failed"]["share"] == 0.1
    one = seeds.summary(fitted[:1], [run(0, 0.02), run(0, 0.03)])
    assert (
        one["force_r2"]["between"]["reason"] == one["rdf_mae"]["between"]["reason"] == "undefined" and one["failed"]["p"] is None
    )


def test_a_piece_that_breaks_does_not_stop_those_that_do_not_need_it() -> None:
    made: list[str] = []

    def piece(name: str, *needs: str, broken: bool = False) -> Piece:
        def do() -> None:
            if broken:
                raise RuntimeError("no luck\nat all")
            made.append(name)

        return Piece(name, 1.0, lambda: name in made, do, needs)

    pieces = [piece("a", broken=True), piece("b", "a"), piece("c"), piece("d", "c")]
    outcome = work_on(pieces)
    assert made == ["c", "d"] and outcome.failed == {"a": "RuntimeError: no luck at all"} and not outcome.complete
    assert work_on(pieces[2:]).complete and made == ["c", "d"]


def test_a_training_that_breaks_is_a_cell_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_frames(monkeypatch)
    monkeypatch.setattr("grannfield.train.fit", lambda *_, **__: math.sqrt(-1))
    assert study("transfer", tmp_path, *BUDGET, "--material", "Li3PS4") == 1
    (one,) = stored(tmp_path, "transfer")["cells"]
    assert one["reason"] == "training failed" and one["detail"].startswith("ValueError")
    assert "Failed: train:schnet:beta-Li3PS4" in dict(sections(tmp_path))[TITLES["transfer"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("transfer", "--models", "nonesuch"), "no model is called nonesuch"),
        (("transfer", "--train-minutes", "0"), "--train-minutes must be positive; it is 0"),
        (("seeds", "--md-seeds", "0"), "--md-seeds must be positive"),
        (("transfer", "--material", "NaCl"), "NaCl"),
        (("transfer", "--device", "tpu"), "use cpu, cuda or cuda:N"),
        (("dft", "--data", "nowhere"), "--data nowhere: there is no such folder"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], said: str, tmp_path: Path, capsys: Any) -> None:
    assert study(words[0], tmp_path, *words[1:]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error and not (tmp_path / "studies").exists()


def test_a_damaged_report_is_named(tmp_path: Path) -> None:
    assert sections(tmp_path) == []
    path = report_path(tmp_path, "seeds")
    path.parent.mkdir()
    for text, said in (
        ("{", "is no report of a study"), ('{"format": 1, "study": "dft"}', "is no report of a study"),
        ('{"format": 9, "study": "seeds"}', "has format 9"), ('{"format": 1, "study": "seeds"}', "lacks what its tables need"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=f"seeds.json {said}"):
            sections(tmp_path)
    assert json.loads(path.read_text())["format"] == 1
