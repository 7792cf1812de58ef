"""The state folder: whose it is, what an earlier version left, what several calls note in it, and what takes its space."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grannfield.presets import Preset
from grannfield.reproduce.scales import SCALES
from grannfield.reproduce.sizes import PARTS, described, sizes, trim
from grannfield.reproduce.state import FORMAT, State, StateError
from grannfield.reproduce.work import Work
from tests.reproduce.small import MD, SMALL, TRAIN, install, pieces, reproduce

OF_FORMAT_1 = ("preset", "training", "materials", "reduced", "speed_seconds", "speed_rounds", "train_minutes",
               "validation_frames", "settings", "max_steps", "scale", "seed")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        state = tmp_path_factory.mktemp("made") / "state"
        assert reproduce(state, "--only", "train,md") == 0
    return state


@pytest.mark.parametrize("halved", [True, False])
def test_what_an_earlier_version_has_done_is_done(
    tmp_path: Path, made: Path, halved: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan of format 1 says nothing of budgets, recipes, or halves, and of presets what there was of them then."""
    install(monkeypatch)
    state = tmp_path / "state"
    shutil.copytree(made, state)
    plan = json.loads((state / "plan.json").read_text())
    assert plan["format"] == FORMAT == 2 and {"budget", "recipe", "halved"} <= set(plan)
    old = {key: plan[key] for key in OF_FORMAT_1} | ({"halved": False} if halved else {})
    del old["preset"]["curl_frames"]
    (state / "plan.json").write_text(json.dumps({"format": 1, **old}))
    notes = json.loads((state / "pieces.json").read_text())
    (state / "pieces.json").write_text(json.dumps(notes | {"format": 1}))
    before = pieces(state)
    assert reproduce(state, "--only", "train,md") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 pieces done" and pieces(state) == before
    assert json.loads((state / "plan.json").read_text())["format"] == 1, "it is not written over"
    assert reproduce(state, "--budget", "samples") == 2
    error = capsys.readouterr().err
    assert "this scale does not say how many frames" in error
    install(monkeypatch, samples=20)
    assert reproduce(state, "--budget", "samples") == 2
    assert "holds another plan: budget is 'time' there and 'samples' here. Take" in capsys.readouterr().err


def test_calls_note_beside_each_other(tmp_path: Path) -> None:
    """Each reads what stands there before it writes: the last one does not win."""
    a, b = (State(tmp_path, {"seed": 0}) for _ in range(2))
    a.claim()
    b.claim()
    a.begin("train:a", {"hardware": "A"})
    b.begin("train:b", {"hardware": "B"})
    a.end("train:a", 3.0, "done")
    b.note("speed:a", lambda record: record.update(measured=1))
    b.end("train:b", 4.0, "failed", "no")
    found = State(tmp_path, {"seed": 0}).pieces
    assert {name: record["seconds"] for name, record in found.items()} == {"train:a": 3.0, "train:b": 4.0, "speed:a": 0.0}
    assert a.failure("train:b") == "" and a.refresh() is None and a.failure("train:b") == "no"


def test_of_two_that_begin_at_once_with_other_plans_one_is_told(tmp_path: Path) -> None:
    a, b = State(tmp_path, {"seed": 0}), State(tmp_path, {"seed": 1})
    a.claim()
    with pytest.raises(StateError, match="seed is 0 there and 1 here"):
        b.claim()


def test_a_plan_of_scales_that_exist_is_read_as_it_was_written() -> None:
    """What fills the gaps of an old plan are parts of the present one, or a preset's."""
    for scale in SCALES.values():
        for budget in ("time", "samples", "epochs"):
            plan, before = scale.under(budget).as_plan(), scale.under(budget).before()
            assert set(before) <= set(plan) and plan["budget"] == budget
            assert set(before["preset"]) <= set(plan["preset"]) == set(Preset.__dataclass_fields__)
            assert ("train_minutes" in plan, "samples" in plan, "epoch_frames" in plan) == tuple(
                budget == one for one in ("time", "samples", "epochs")
            )


def test_a_state_keeps_the_short_tables(tmp_path: Path) -> None:
    kept, gone = ("leaderboard.md", "leaderboard.csv", "table1.md"), ("a-long.csv", "a.html", "a.tex", "supplement/S1.md")
    (tmp_path / "supplement").mkdir()
    for name in (*kept, *gone):
        (tmp_path / name).write_text("x")
    trim(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


def test_the_size_is_said_by_part_and_by_model_and_what_could_go(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    found = sizes(made)
    assert set(found) == {*PARTS, "other"} and found["checkpoints"] > 5000 and found["MD runs"] > 3000 and found["curves"] > 50
    assert sum(found.values()) == sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    assert reproduce(made, "--list", "--only", "train,md") == 0
    lines = capsys.readouterr().out.splitlines()
    kb = next(line.split() for line in lines if line.startswith("schnet "))
    assert float(kb[1]) == pytest.approx(found["checkpoints"] * 1e-3, abs=0.5)
    assert float(kb[3]) == pytest.approx(found["MD runs"] * 1e-3, abs=1.0) and float(kb[-1]) > 5
    (made / "reports" / "leaderboard.html").write_bytes(b" " * 200_000)
    scale = replace(SMALL, state_mb=0.1)
    work = Work(State(made, {"scale": "test", "seed": 0, **SMALL.as_plan()}), scale, 0, "cpu")
    assert "more than 0.1 MB: delete tables (0.2 MB: `grannfield report` writes them again)" in described(work)
    assert "more than" not in described(replace(work, scale=SMALL))
    (made / "reports" / "leaderboard.html").unlink()
    assert TRAIN in work.state.pieces and MD in work.state.pieces
