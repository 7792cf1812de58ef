"""What is left and what it costs: the arithmetic of the scales, and where times are known from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grannfield.reproduce.forecast import CORRECTED, ESTIMATED, MEASURED, OWN, seconds_left, speed_of
from grannfield.reproduce.plan import plan_of
from grannfield.reproduce.scales import SCALES
from grannfield.reproduce.state import State
from grannfield.reproduce.work import Work
from tests.reproduce.small import install, reproduce

LARGE = ("forcenet", "equiformer", "scn", "escn")
"""Above four million parameters at Table 1's size."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """A GPU that is measured by nobody."""
    monkeypatch.setattr(Work, "machine", "NVIDIA of the test")
    return "cuda"


def work_in(folder: Path, scale: str = "small", device: str = "cuda", budget: str = "time") -> Work:
    found = SCALES[scale].under(budget)
    return Work(State(folder, {"scale": scale, "seed": 0, **found.as_plan()}), found, 0, device)


@pytest.mark.parametrize("budget", ["time", "samples", "epochs"])
def test_small_takes_about_two_hours_of_a_large_gpu_whatever_the_budget(tmp_path: Path, gpu: str, budget: str) -> None:
    work = work_in(tmp_path, budget=budget)
    plan = plan_of(work.scale)
    assert len({piece.model for piece in plan if piece.kind == "train"}) == 22
    expected = seconds_left(work, plan)
    hours = {
        kind: sum(one.seconds for one in expected if one.piece.kind == kind) / 3600 for kind in ("train", "md", "score", "speed")
    }
    assert 1.6 < hours["train"] + hours["md"] < 2.2 and hours["score"] + hours["speed"] < 0.6
    for name in LARGE:
        for model in (name, f"{name}@published"):
            row = [one.seconds for one in expected if one.piece.model == model and one.piece.kind != "speed"]
            assert sum(row) < 29 * 60, f"{model} is trained, moved and scored in one call"
    assert next(one for one in expected if one.piece.name == "train:cgcnn").source == (
        "the budget" if budget == "time" else ESTIMATED
    )


def test_small_keeps_the_pieces_of_a_large_model_together() -> None:
    small = SCALES["small"]
    assert [name for name in small.train_minutes if small.sheds(name)] == list(LARGE)
    assert small.models[:11] == list(small.train_minutes) and small.models[11] == "schnet@published"
    names = [piece.name for piece in plan_of(small)]
    for model in small.models:
        at = names.index(f"train:{model}")
        assert all(f":{model}" in name for name in names[at : at + 11]) and names[at + 10] == f"score:{model}"
    assert names.index("train:escn") < names.index("train:schnet@published") < names.index("speed:schnet")


def test_paper_is_the_whole_protocol() -> None:
    paper = SCALES["paper"]
    assert set(paper.train_minutes.values()) == {600} and not paper.reduced and paper.recipe == "paper"
    assert sum(piece.kind == "md" for piece in plan_of(paper, ["schnet"])) == 3 * 5
    assert (paper.suite.length_ps, paper.suite.ramp_ps, paper.suite.replicas, paper.suite.test_frames) == (50, 5, 6, 2000)
    assert paper.samples == 19 * 30000 and paper.epoch_frames == 30000


def sitting(seconds: float, hardware: str) -> dict[str, Any]:
    return {"seconds": seconds, "sittings": [{"hardware": hardware, "seconds": seconds, "ended": "done"}]}


def test_times_come_from_the_best_that_is_known(tmp_path: Path, gpu: str) -> None:
    work = work_in(tmp_path)
    pieces = [piece for piece in plan_of(work.scale, ["schnet", "cgcnn"]) if piece.kind == "md"]
    guess = {one.piece.name: one for one in seconds_left(work, pieces)}
    assert {one.source for one in guess.values()} == {ESTIMATED}
    first = "md:schnet:LGPS:800K"
    assert guess[first].seconds > guess["md:schnet:LGPS:1000K"].seconds, "it is compiled, and runs at constant energy"
    work.state.pieces = {first: sitting(3 * guess[first].seconds, work.machine), "md:cgcnn:LGPS:800K": sitting(9e9, "another")}
    now = {one.piece.name: one for one in seconds_left(work, pieces)}
    for name, source in (("md:schnet:LGPS:1000K", OWN), ("md:cgcnn:Li4GeS4:1200K", CORRECTED)):
        assert now[name].source == source and now[name].seconds == pytest.approx(3 * guess[name].seconds), name
    path = tmp_path / "reports" / "speed" / "nvidia-of-the-test.json"
    path.parent.mkdir(parents=True)
    steps = {"1": {"ms": {"median": 2.0}}, "6": {"ms": {"median": 6.0}}, "30": {"ms": None}}
    path.write_text(json.dumps({"models": {"cgcnn": {"steps": steps}}, "training": {"cgcnn": {"samples_per_s_at_batch_2": 500}}}))
    speed, source = speed_of(work, "cgcnn@published")
    assert (speed.alone, speed.batched, source) == (0.002, 0.002, MEASURED)
    of_frames = work_in(tmp_path, budget="samples")
    training = [piece for piece in plan_of(of_frames.scale, ["cgcnn"]) if piece.kind == "train"]
    assert seconds_left(of_frames, training)[0].seconds == pytest.approx(20000 / 500, abs=40)


def test_a_forecast_does_nothing_and_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    install(monkeypatch, max_steps=None)
    assert reproduce(state, "--forecast") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {tuple(line.split()[:2]): line for line in lines if line.startswith("schnet ")}
    assert "60.0 min" in rows["schnet", "train"] and "the budget" in rows["schnet", "train"]
    assert "4 of 4 pieces are left: about" in lines[-2] and lines[-1] == "nothing was done (--forecast)"
    assert not state.exists()
    install(monkeypatch)
    assert reproduce(state, "--only", "train") == 0
    capsys.readouterr()
    assert reproduce(state, "--forecast", "--only", "train,md") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("1 of 2 pieces are left") and not (state / "reports" / "store").exists()
    assert reproduce(state, "--forecast", "--device", "cuda") == 0 and "a GPU that is not here" in capsys.readouterr().out
