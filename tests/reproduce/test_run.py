"""Calls of the command in this process: cut off, interrupted, failed, continued."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grannfield import compiled, motion
from grannfield.data.store import read_trajectory
from grannfield.files import locked
from grannfield.forcefield import load, weights_hash
from grannfield.md import block
from grannfield.md import simulate as engine
from grannfield.reproduce import hands, suite, work
from grannfield.reproduce import run as running
from tests.reproduce.small import MD, SCORE, SMALL, TINY, TRAIN, endings, install, pieces, reproduce


@pytest.fixture(autouse=True)
def scale(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(engine, "STEPS_PER_FILE", 10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained and moved without any interruption."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        state = tmp_path_factory.mktemp("whole") / "state"
        assert reproduce(state, "--only", "train,md") == 0
    return state


def at_call(number: int, real: Callable[..., Any], do: Callable[[], Any]) -> Callable[..., Any]:
    """The function, before whose call of that number something else is done."""
    calls = 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            do()
        return real(*args, **kwargs)

    return counting


def alarm() -> None:
    """What the timer does when the time is up."""
    signal.raise_signal(signal.SIGALRM)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def weights(state: Path) -> str:
    return weights_hash(load(state / "reports" / "checkpoints" / "schnet" / "best.safetensors"))


def run_file(state: Path) -> Path:
    """The run with a thermostat, ten frames; that at constant energy has fewer."""
    (found,) = (path for path in run_files(state) if read_trajectory(path).n_frames == 10)
    return found


def run_files(state: Path) -> list[Path]:
    return sorted((state / "reports" / "store" / "md").glob("*/run-0.h5"))


def assert_same(one: Path, other: Path) -> None:
    """The same weights and the same motion, bit for bit."""
    assert weights(one) == weights(other)
    both = run_files(one), run_files(other)
    assert len(both[0]) == 2 and [x.parent.name for x in both[0]] == [x.parent.name for x in both[1]]
    for x, y in zip(*both, strict=True):
        a, b = read_trajectory(x), read_trajectory(y)
        for key in ("pos", "energy", "time", "temperature"):
            assert np.array_equal(getattr(a, key), getattr(b, key)), key


def test_an_uninterrupted_call_keeps_what_scoring_needs_and_no_more(whole: Path) -> None:
    found = pieces(whole)
    assert set(found) == {TRAIN, MD} and endings(whole, TRAIN) == endings(whole, MD) == ["done"]
    sitting = found[MD]["sittings"][0]
    assert sitting["seconds"] == found[MD]["seconds"] > 0 and {"hardware", "versions", "date"} <= set(sitting)
    names = {path.name for path in (whole / "reports" / "checkpoints" / "schnet").iterdir()}
    assert "best.safetensors" in names and "last.safetensors" not in names
    done = json.loads((run_file(whole).parent / "done.json").read_text())
    assert done["made_on"][0]["hardware"] == sitting["hardware"] and not (run_file(whole).parent / "partial").exists()
    assert read_trajectory(run_file(whole)).forces is None
    story = load(whole / "reports" / "checkpoints" / "schnet" / "best.safetensors").provenance
    assert story["material"] == "Li3PS4" and story["trained_on"] == [sitting["hardware"]] and story["steps"] == SMALL.max_steps


def test_cut_off_twice_in_training_and_once_in_md_and_continued_bit_for_bit(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (5, 4):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "loss_of", at_call(number, compiled.loss_of, alarm))
            assert reproduce(tmp_path, "--minutes", "60", "--only", "train,md") == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert f"0 of 2 pieces done; {TRAIN} cut off after " in last
        assert last.endswith(f"go on with: grannfield reproduce --scale test --minutes 60 --state {tmp_path} --only train,md")
    assert endings(tmp_path, TRAIN) == ["cut off", "cut off"] and MD not in pieces(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(block, "nose_hoover", at_call(33, block.nose_hoover, alarm))
        assert reproduce(tmp_path, "--minutes", "60", "--only", "train,md") == 0
    assert endings(tmp_path, TRAIN)[-1] == "done" and endings(tmp_path, MD) == ["cut off"]
    kept = sorted((tmp_path / "reports" / "store" / "md").glob("*/partial/*.npz"))
    assert kept and int(kept[-1].stem) == 40, "10 steps of the ramp and 32 others, kept every 10"
    assert reproduce(tmp_path, "--only", "train,md") == 0
    assert endings(tmp_path, MD) == ["cut off", "done"]
    record = pieces(tmp_path)[TRAIN]
    assert record["seconds"] == pytest.approx(sum(sitting["seconds"] for sitting in record["sittings"]), abs=0.05)
    assert_same(whole, tmp_path)


def test_the_clock_itself_cuts_a_training_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, max_steps=None)
    assert reproduce(tmp_path, "--minutes", "0.03", "--only", "train") == 0
    assert endings(tmp_path, TRAIN) == ["cut off"] and 0.5 < pieces(tmp_path)[TRAIN]["seconds"] < 30
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_ctrl_c_stops_the_call_and_loses_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "loss_of", at_call(7, compiled.loss_of, ctrl_c))
        assert reproduce(tmp_path, "--minutes", "60", "--only", "train,md") == 130
    assert f"0 of 2 pieces done; {TRAIN} cut off after " in capsys.readouterr().out.splitlines()[-1]
    assert endings(tmp_path, TRAIN) == ["interrupted"] and MD not in pieces(tmp_path)
    assert reproduce(tmp_path, "--only", "train,md") == 0
    assert_same(whole, tmp_path)


def test_a_piece_is_not_begun_when_too_little_time_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(work.LEAST_S, "train", 15.0)
    assert reproduce(tmp_path, "--minutes", "0.2", "--only", "train") == 0
    assert not (tmp_path / "pieces.json").exists()
    assert f"0 of 1 pieces done; too little time was left to begin {TRAIN}; go on with: " in capsys.readouterr().out


def test_what_fails_does_not_stop_the_others_and_is_tried_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"train_minutes": {"cgcnn": 60.0, "schnet": 60.0}, "settings": {"cgcnn": {}, "schnet": TINY}}
    install(monkeypatch, **both)
    create = work.Work.train

    def breaks(self: work.Work, piece: Any) -> None:
        if piece.model == "cgcnn":
            raise KeyError("no such layer\nat all")
        create(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(work.Work, "train", breaks)
        assert reproduce(tmp_path, "--only", "train") == 1
    assert endings(tmp_path, "train:cgcnn") == ["failed"] and endings(tmp_path, TRAIN) == ["done"]
    assert "KeyError" in pieces(tmp_path)["train:cgcnn"]["sittings"][0]["error"]
    assert "1 of 2 pieces done; failed: train:cgcnn (again with --retry)" in capsys.readouterr().out

    assert reproduce(tmp_path, "--only", "train") == 0  # it is left alone
    assert endings(tmp_path, "train:cgcnn") == ["failed"]
    assert reproduce(tmp_path, "--list") == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "failed" in rows["train:cgcnn"] and "no such layer" in rows["train:cgcnn"] and "--retry" in rows["train:cgcnn"]
    assert "for train:cgcnn" in rows["md:cgcnn:beta-Li3PS4:1000K"]

    monkeypatch.setattr(work.Work, "train", lambda self, piece: None)
    assert reproduce(tmp_path, "--only", "train:cgcnn", "--retry") == 0
    assert endings(tmp_path, "train:cgcnn") == ["failed", "done"]


def test_a_list_changes_nothing(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path / "none", "--list") == 0
    assert not (tmp_path / "none").exists()
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert [rows[name][1] for name in ("speed:schnet", TRAIN, MD, SCORE)] == ["open", "open", "waits", "waits"]
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".lock"}
    assert reproduce(whole, "--list", "--only", "train,md") == 0
    text = capsys.readouterr().out
    assert "2 of 2 pieces done" in text and "state: " in text
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".lock"} == before


def test_md_waits_for_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path, "--only", "md,score") == 0
    assert not (tmp_path / "pieces.json").exists()
    assert "0 of 2 pieces done; the others wait: see --list" in capsys.readouterr().out


def test_scoring_waits_for_an_installation(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    shutil.copytree(whole, state)
    monkeypatch.setattr(suite, "_installed", lambda module: module not in ("pytest", "pymatgen.core"))
    assert reproduce(state, "--only", "score") == 0
    assert SCORE not in pieces(state)
    assert reproduce(state, "--list") == 0
    assert "for an installation: pip install pymatgen pytest" in capsys.readouterr().out


def test_other_settings_are_refused(whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(whole, "--seed", "3", "--only", "train") == 2
    assert "holds another plan: seed is 0 there and 3 here. Take the settings" in capsys.readouterr().err
    install(monkeypatch, train_minutes={"schnet": 5.0}, validation_frames=3)
    assert reproduce(whole, "--list") == 2
    error = capsys.readouterr().err
    assert "train_minutes.schnet is 60.0 there and 5.0 here; validation_frames is 2 there and 3 here" in error


@pytest.mark.parametrize("name", ["plan.json", "pieces.json"])
@pytest.mark.parametrize("content", ["", '{"format": 1, "train:schnet"', "[]", '{"format": 99}', '{"format": 1, "seed": "x"}'])
def test_a_spoilt_state_is_named(tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    assert reproduce(tmp_path, "--only", "train") == 2
    error = capsys.readouterr().err
    assert name in error or ("another plan" in error and str(tmp_path) in error)


def test_a_spoilt_checkpoint_or_run_is_named(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    shutil.copytree(whole, state)
    checkpoint = state / "reports" / "checkpoints" / "schnet" / "best.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:60])
    assert reproduce(state, "--list") == 2
    assert "best.safetensors cannot be read" in capsys.readouterr().err
    done = run_file(whole).parent / "done.json"
    text = done.read_text()
    for damage in (text[:-9], "[]"):
        spoilt = tmp_path / "done.json"
        spoilt.write_text(damage)
        with pytest.raises(ValueError, match=r"done\.json .*; delete .* to make (the runs|them) again"):
            motion.read_done(tmp_path)


def test_without_its_notes_a_state_is_still_recognised(tmp_path: Path, whole: Path) -> None:
    """Whether a piece is done is read from what it has made."""
    state = tmp_path / "state"
    shutil.copytree(whole, state)
    (state / "pieces.json").unlink()
    assert reproduce(state, "--only", "train,md") == 0
    assert not (state / "pieces.json").exists(), "nothing was done again"


def test_a_state_in_the_hands_of_an_earlier_version_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hands, "PATIENCE_S", 0.0)
    with locked(tmp_path):  # which it took for itself
        assert reproduce(tmp_path, "--only", "train") == 2
        assert "another process has taken" in capsys.readouterr().err
        assert reproduce(tmp_path, "--list") == 0
        assert "another process is working in" in capsys.readouterr().out
    assert not (tmp_path / "plan.json").exists()


def test_a_piece_in_other_hands_is_left_to_them_and_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hands.present(tmp_path), hands.in_hand(tmp_path, TRAIN):
        assert reproduce(tmp_path, "--models", "schnet,schnet@published", "--only", "train") == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"1 of 2 pieces done; another call has in hand: {TRAIN}"
        assert reproduce(tmp_path, "--only", "md", "--minutes", "0.03") == 0  # it waits for the training, in vain
        out = capsys.readouterr().out
    assert TRAIN not in pieces(tmp_path) and endings(tmp_path, "train:schnet@published") == ["done"]
    assert "0 of 1 pieces done; the others wait: see --list" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "md:schnet:LGPS"], "there are md:schnet:beta-Li3PS4"),
        (["--models", "shnet"], "no model is called shnet; there are schnet"),
        (["--minutes", "0"], "--minutes must be positive"),
        (["--device", "tpu"], "use cpu, cuda or cuda:N"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(tmp_path / "none", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "none").exists()


def test_speed_is_measured_once_on_each_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section by section: one that is cut off is lost, those before it are not."""
    import grannfield.speed

    asked: list[str] = []

    def write_speed(
        reports: Path, rounds: int, names: list[str], *, device: str, only: list[str], seconds: float, comparing: bool
    ) -> Path:
        assert (reports, rounds, names, device, seconds) == (tmp_path / "reports", 1, ["schnet"], "cpu", 0.1) and not comparing
        asked.extend(only)
        if len(asked) == 2:
            alarm()
        return reports / "speed" / "x.json"

    monkeypatch.setattr(grannfield.speed, "write_speed", write_speed)
    assert reproduce(tmp_path, "--minutes", "60", "--only", "speed") == 0
    assert endings(tmp_path, "speed:schnet") == ["cut off"] and len(asked) == 2 and asked[0] == "models"
    assert reproduce(tmp_path, "--only", "speed") == 0
    assert endings(tmp_path, "speed:schnet") == ["cut off", "done"]
    assert asked[2:] == [asked[1], *asked[3:]] and sorted(asked[:1] + asked[2:]) == sorted(work.sections())
    assert reproduce(tmp_path, "--only", "speed") == 0 and len(asked) == 1 + len(work.sections())
    monkeypatch.setattr(work.provenance, "processor", lambda: "another")
    assert reproduce(tmp_path, "--only", "speed") == 0 and len(asked) == 1 + 2 * len(work.sections())


def test_the_margin_is_a_tenth_of_a_short_call() -> None:
    assert running.MARGIN_S == 10.0
    assert [running.duration(s) for s in (-3, 99, 100, 7200)] == ["0 s", "99 s", "1.7 min", "2.0 h"]
