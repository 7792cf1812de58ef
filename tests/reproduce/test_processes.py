"""The command in processes of its own: without the large packages, killed, beside another, and up to the scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grannfield.data.store import read_trajectory
from grannfield.forcefield import load, weights_hash
from grannfield.report.results import read_results
from tests.reproduce.small import MD, SCORE, TRAIN, endings, install, pieces, program, reproduce
from tests.test_layers import HEAVY

REPOSITORY = Path(__file__).parents[2]
LARGE = sorted(HEAVY | {"scipy", "pytest", "e3nn", "jinja2"})


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY)


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """All pieces where only torch, NumPy, h5py and safetensors can be imported."""
    state = tmp_path_factory.mktemp("lean") / "state"
    before = f"sys.modules.update(dict.fromkeys({LARGE!r}))  # None: as if they were not installed"
    return state, run(program(state, before=before))


def test_speed_training_and_md_need_no_large_package(lean: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    state, done = lean
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: endings(state, name) for name in pieces(state)} == {name: ["done"] for name in ("speed:schnet", TRAIN, MD)}
    assert done.stdout.splitlines()[-1] == "3 of 4 pieces done; the others wait: see --list"
    (path,) = (state / "reports" / "speed").glob("*.json")
    assert json.loads(path.read_text())["models"]["schnet"]["steps"]["1"]["ms"]["median"] > 0


def test_a_state_made_there_is_scored_here(lean: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The suite finds weights and runs of the state, makes no others, and says who made them."""
    state, _ = lean
    runs = list((state / "reports" / "store" / "md").iterdir())
    done = run(program(state, "--only", "score"))
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
    again = run(program(state))
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == "4 of 4 pieces done"


def test_killed_in_the_middle_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kills without warning, one in training and one in MD; the end is that of a call that was left in peace."""
    often = (
        "from grannfield.md import simulate; simulate.STEPS_PER_FILE = 20\n"
        "from grannfield import recipe, train; import dataclasses\n"
        "train._Trainer._due = lambda self, between: self.step % 4 == 0"
    )
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    kill_when(parts, often, lambda: (parts / "reports/checkpoints/schnet/last.safetensors").exists())
    kill_when(parts, often, lambda: any(parts.glob("reports/store/md/*/partial/*.npz")))
    ends = [endings(parts, name) for name in (TRAIN, MD)]
    assert ["killed, or still running"] in (ends[0][:1], ends[1][:1])
    for state in (parts, whole):
        done = run(program(state, "--only", "train,md", before=often))
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "2 of 2 pieces done"
    best = [weights_hash(load(state / "reports/checkpoints/schnet/best.safetensors")) for state in (parts, whole)]
    assert best[0] == best[1]
    both = [sorted(state.glob("reports/store/md/*/run-0.h5")) for state in (parts, whole)]
    assert len(both[0]) == 2, "with a thermostat, and at constant energy"
    for a, b in zip(*both, strict=True):
        assert a.parent.name == b.parent.name and (read_trajectory(a).pos == read_trajectory(b).pos).all()


def kill_when(state: Path, before: str, reached: object) -> None:
    """Begin a call and kill it as soon as something has come about (or it has ended)."""
    assert callable(reached)
    with subprocess.Popen(
        program(state, "--only", "train,md", before=before), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as call:
        end = time.monotonic() + 120
        while not reached() and call.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(call.pid, signal.SIGKILL)


def test_an_interruption_is_passed_on_to_the_suite(tmp_path: Path) -> None:
    """Ctrl-C reaches the suite once, and the call waits until it has written what it has."""
    child = (
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        f"    time.sleep(0.3); pathlib.Path({str(tmp_path / 'written')!r}).touch(); raise SystemExit(2)"
    )
    source = f"import sys; from grannfield.reproduce.work import run_suite; run_suite([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as call:
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
        call.send_signal(signal.SIGINT)
        assert call.stderr is not None and "KeyboardInterrupt" in call.stderr.read()
    assert (tmp_path / "written").exists()


def test_a_suite_that_cannot_run_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    from grannfield.reproduce.work import errors_in, run_suite

    run_suite([sys.executable, "-c", "raise SystemExit(1)"])  # tests failed: the results tell
    with pytest.raises(RuntimeError, match="ended with code 4; what it printed says why"):
        run_suite([sys.executable, "-c", "raise SystemExit(4)"])
    path = tmp_path / "results.json"
    cell = {"metric": "rdf_mae", "material": "LGPS", "reason": "KeyError: 'x'", "error": True}
    path.write_text(json.dumps({"scores": [cell, cell | {"error": False}]}))
    assert errors_in(path) == ["rdf_mae on LGPS: KeyError: 'x'"]
    install(monkeypatch)
    assert reproduce(tmp_path / "state", "--list") == 0
