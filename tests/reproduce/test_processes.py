"""The command in processes of its own: without large packages, beside another, killed in each kind of piece, to the scores."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grannfield import train
from grannfield.data.store import read_trajectory
from grannfield.forcefield import load, weights_hash
from grannfield.md import simulate as engine
from grannfield.report.results import read_results
from grannfield.reproduce import suite, work
from grannfield.reproduce.state import RUNNING
from tests.reproduce.small import MD, SCORE, TRAIN, endings, install, pieces, program, reproduce
from tests.test_layers import HEAVY

REPOSITORY = Path(__file__).parents[2]
LARGE = sorted(HEAVY | {"scipy", "pytest", "e3nn", "jinja2"})
SPEED = "speed:schnet"
OTHER = "md:schnet@published:beta-Li3PS4:1000K"


def until(reached: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something; a test fails that waits in vain."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.01)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY)


def killed(state: Path, only: str, reached: Callable[[], object]) -> None:
    """A call in a process of its own, killed without warning when something has come about."""
    call = multiprocessing.get_context("fork").Process(target=reproduce, args=(state, "--only", only))
    call.start()
    until(reached)
    call.kill()
    call.join(60)
    assert call.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """All pieces where only torch, NumPy, h5py and safetensors can be imported."""
    state = tmp_path_factory.mktemp("lean") / "state"
    before = f"sys.modules.update(dict.fromkeys({LARGE!r}))  # None: as if they were not installed"
    return state, run(program(state, before=before, preset="smoke"))


def test_speed_training_and_md_need_no_large_package(lean: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    state, done = lean
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: endings(state, name) for name in pieces(state)} == {name: ["done"] for name in (SPEED, TRAIN, MD)}
    assert done.stdout.splitlines()[-1] == "3 of 4 pieces done; the others wait: see --list"
    (path,) = (state / "reports" / "speed").glob("*.json")
    speed = json.loads(path.read_text())
    assert speed["models"]["schnet"]["steps"]["1"]["ms"]["median"] > 0
    assert list(speed["training"]) == ["schnet"], "ours, not a comparison that takes a minute to compile"


def test_a_state_made_there_is_scored_here(
    lean: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite finds weights and runs of the state, makes no others, and says who made them."""
    state, _ = lean
    runs = list((state / "reports" / "store" / "md").iterdir())
    done = run(program(state, "--only", "score", preset="smoke"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert endings(state, SCORE) == ["done"] and list((state / "reports" / "store" / "md").iterdir()) == runs
    found = read_results(state / "reports" / "results" / "schnet.json")
    cells = {key: score.to_dict() for key, score in found.scores.items()}
    assert found.protocol["preset"] == "smoke" and len(cells) >= 14 and not any(cell["error"] for cell in cells.values())
    hardware = pieces(state)[MD]["sittings"][0]["hardware"]
    assert [one["hardware"] for one in cells["failed_share", "Li3PS4"]["provenance"]["runs_made_on"]] == [hardware]
    assert "predictions_made_on" in cells["force_r2", "Li3PS4"]["provenance"]
    assert "runs_made_on" not in cells["force_r2", "Li3PS4"]["provenance"]
    assert any((state / "reports" / "store" / "predictions").iterdir())  # `grannfield publish` ships them
    install(monkeypatch, preset="smoke")
    assert reproduce(state) == 0 and capsys.readouterr().out.splitlines()[-1] == "4 of 4 pieces done"


def test_two_calls_side_by_side_each_killed_and_the_end_is_that_of_one_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One has a training in hand when it is killed; the other, which did the rest meanwhile, goes on with it, and is killed in
    the MD that was waiting for it. What both did is there, nothing was done twice, and the bits are those of a single call."""
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    often = (
        "from grannfield.md import simulate; simulate.STEPS_PER_FILE = 10\n"
        "from grannfield import train; train._Trainer._due = lambda self, between: self.step % 4 == 0\n"
    )
    slow = often + "import time; keep = train._Trainer.keep\ntrain._Trainer.keep = lambda self: (keep(self), time.sleep(60))\n"
    halt = often + (
        "import pathlib, time; blocks, calls = simulate.Blocks.__call__, []\n"
        "def call(self, *about):\n"
        f"    if {MD!r} in pathlib.Path({str(parts / 'pieces.json')!r}).read_text(): calls.append(1)\n"
        "    time.sleep(60 if len(calls) > 4 else 0)\n"
        "    return blocks(self, *about)\n"
        "simulate.Blocks.__call__ = call\n"
    )
    both = ["--models", "schnet,schnet@published", "--only", "train,md"]
    silent: dict[str, Any] = {"cwd": REPOSITORY, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    one = subprocess.Popen(program(parts, *both, before=slow), **silent)
    until(lambda: (parts / "reports/checkpoints/schnet/last.safetensors").exists())
    other = subprocess.Popen(program(parts, *both, before=halt), **silent)
    try:
        until(lambda: any(s["ended"] == "done" for s in pieces(parts).get(OTHER, {"sittings": []})["sittings"]))
        assert one.poll() is None and endings(parts, TRAIN) == [RUNNING], "it is in the hands of the first"
        install(monkeypatch)
        assert reproduce(parts, "--list", *both) == 0
        assert "in hand" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith(TRAIN))
        one.kill()
        until(lambda: any(p for p in parts.glob("reports/store/md/*/partial/*.npz")))
    finally:
        for call in (one, other):
            call.kill()
            call.wait()
    assert endings(parts, TRAIN) == [RUNNING, "done"] and endings(parts, MD) == [RUNNING]
    assert endings(parts, "train:schnet@published") == endings(parts, OTHER) == ["done"]
    monkeypatch.setattr(engine, "STEPS_PER_FILE", 10)
    monkeypatch.setattr(train._Trainer, "_due", lambda self, between: self.step % 4 == 0)
    for state in (parts, whole):
        assert reproduce(state, *both) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 pieces done"
    assert endings(parts, MD) == [RUNNING, "done"]
    for model in ("schnet", "schnet@published"):
        best = [weights_hash(load(state / f"reports/checkpoints/{model}/best.safetensors")) for state in (parts, whole)]
        assert best[0] == best[1]
    made = [sorted(state.glob("reports/store/md/*/run-0.h5")) for state in (parts, whole)]
    assert len(made[0]) == 4, "of each model with a thermostat, and at constant energy"
    for a, b in zip(*made, strict=True):
        assert a.parent.name == b.parent.name and (read_trajectory(a).pos == read_trajectory(b).pos).all()


def test_killed_while_speed_is_measured_it_goes_on_with_the_next_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grannfield.speed

    install(monkeypatch)
    asked: list[str] = []

    def write_speed(*about: Any, only: list[str], **named: Any) -> None:
        asked.extend(only)
        if len(asked) == 2:
            time.sleep(60)

    monkeypatch.setattr(grannfield.speed, "write_speed", write_speed)
    killed(tmp_path, "speed", lambda: pieces(tmp_path).get(SPEED, {}).get("measured") if pieces_exist(tmp_path) else False)
    assert endings(tmp_path, SPEED) == [RUNNING]
    monkeypatch.setattr(grannfield.speed, "write_speed", lambda *about, only, **named: asked.extend(only))
    assert reproduce(tmp_path, "--only", "speed") == 0
    assert asked == list(work.sections()[1:]), "all but the one that was measured before the kill"
    assert endings(tmp_path, SPEED) == [RUNNING, "done"]


def pieces_exist(state: Path) -> bool:
    return (state / "pieces.json").exists()


def test_killed_while_scoring_it_takes_the_suite_with_it_and_scores_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that goes on alone would compute beside the next call."""
    install(monkeypatch)
    state, begun, ended = tmp_path / "state", tmp_path / "begun", tmp_path / "ended"
    source = (
        "import os, pathlib, signal, sys, threading, time\n"
        "from grannfield.reproduce.watched import end_with\n"
        f"signal.signal(signal.SIGTERM, lambda *about: (pathlib.Path({str(ended)!r}).touch(), os._exit(0)))\n"
        "threading.Thread(target=end_with, args=(os.dup(0),), daemon=True).start()\n"
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )
    assert reproduce(state, "--only", "train,md") == 0
    with monkeypatch.context() as patch:
        patch.setattr(suite, "command", lambda *about: [sys.executable, "-c", source])
        killed(state, "score", begun.exists)
        until(ended.exists)
    assert endings(state, SCORE) == [RUNNING] and endings(state, MD) == ["done"]
    results = state / "reports" / "results" / "schnet.json"
    writes = f"import pathlib; p = pathlib.Path({str(results)!r}); p.parent.mkdir(); p.write_text('{{\"scores\": []}}')"
    monkeypatch.setattr(suite, "command", lambda *about: [sys.executable, "-c", writes])
    assert reproduce(state, "--only", "score") == 0 and endings(state, SCORE) == [RUNNING, "done"]
    shutil.rmtree(results.parent)
    assert reproduce(state, "--list") == 0  # results that are not there are not done


def test_an_interruption_is_passed_on_to_the_suite(tmp_path: Path) -> None:
    """Ctrl-C reaches the suite once, and the call waits until it has written what it has."""
    child = (
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        f"    time.sleep(0.3); pathlib.Path({str(tmp_path / 'written')!r}).touch(); raise SystemExit(2)"
    )
    call = multiprocessing.get_context("fork").Process(target=suite.run_suite, args=([sys.executable, "-c", child],))
    call.start()
    until((tmp_path / "begun").exists)
    assert call.pid is not None
    os.kill(call.pid, signal.SIGINT)
    call.join(60)
    assert call.exitcode == 1, "it ended by the interruption"
    assert (tmp_path / "written").exists()


def test_a_suite_that_cannot_run_is_a_failure(tmp_path: Path) -> None:
    suite.run_suite([sys.executable, "-c", "raise SystemExit(1)"])  # tests failed: the results tell
    with pytest.raises(RuntimeError, match="ended with code 4; what it printed says why"):
        suite.run_suite([sys.executable, "-c", "raise SystemExit(4)"])
    path = tmp_path / "results.json"
    cell = {"metric": "rdf_mae", "material": "LGPS", "reason": "KeyError: 'x'", "error": True}
    path.write_text(json.dumps({"scores": [cell, cell | {"error": False}]}))
    assert suite.errors_in(path) == ["rdf_mae on LGPS: KeyError: 'x'"]
