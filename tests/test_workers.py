"""Several processes on one session: nothing expensive is made twice, no score is lost, the tables are written once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grannfield.gate.baseline import read_baseline, write_baseline
from grannfield.report.results import Results, read_results
from grannfield.score import Score
from grannfield.session import Session
from grannfield.workers import gpu_of, piece_of, threads_of, visible_gpus

REPOSITORY = Path(__file__).parents[1]
COUNTING = '''
import os
import torch
from grannfield.forcefield import ForceField

class Counting(ForceField):
    """No forces to speak of; it notes which process has asked for how much."""
    def __init__(self):
        super().__init__(cutoff=3.0)
    def forward(self, z, graph, edge_vec):
        with open(os.environ["COUNT"], "a") as file:
            file.write(f"{os.getpid()} {len(graph.mask)}\\n")
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        return (1e-4 * (3.0 - d).clamp(min=0).square() * graph.mask).sum(1)
'''


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-p", "no:cacheprovider"]
    command += ["--reports", str(folder / "reports"), "--model", f"{folder / 'counting.py'}:Counting", *options]
    environment = os.environ | {"COUNT": str(folder / "count")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY, env=environment)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A session of two workers: its folder and what it said."""
    pytest.importorskip("xdist")
    folder = tmp_path_factory.mktemp("shared")
    (folder / "counting.py").write_text(COUNTING)
    done = bench(folder, "-n", "2", "--material", "Li3PS4,Li4GeS4", "-k", "test_force or test_curl or ns_per_day or direction")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_two_workers_share_a_session(shared: tuple[Path, str]) -> None:
    """Every test of a material runs in one of them; speeds are left alone; results of both are in one file and one table."""
    folder, said = shared
    reports = folder / "reports"
    found = read_results(reports / "results" / "Counting.json")
    for metric in ("force_r2", "force_r2_random", "force_mae", "force_cosine", "force_curl"):
        assert {formula for name, formula in found.scores if name == metric} == {"Li3PS4", "Li4GeS4"}
    speed = found.scores["ns_per_day", "Li10GeP2S12"]
    assert speed.reason == "not measured under xdist" and "without -n" in speed.detail
    assert said.count("Counting on Li3PS4") == 1 and said.count("tables: ") == 1
    assert (reports / "leaderboard.md").exists()
    assert len(list((reports / "store" / "predictions").glob("*.npz"))) == 2
    workers = {line.split()[0] for line in (folder / "count").read_text().splitlines()}
    assert len(workers) == 2, "one worker for each material"


def test_a_session_is_held_against_its_baseline(shared: tuple[Path, str]) -> None:
    """The scores of the workers as if they had been a fifth better once: exit code 1, and what moved."""
    folder, _ = shared
    [known] = read_baseline(folder / "reports")
    for key in [key for key in known.scores if key[0] == "force_mae"]:
        one = known.scores[key]
        rows = [row | {"value": 0.8 * row["value"]} for row in one.parts["by_run"]]
        known.scores[key] = dataclasses.replace(one, value=0.8 * one.value, interval=None, parts={"by_run": rows})
    path = write_baseline(folder / "baseline.json", [known])
    asked = len((folder / "count").read_text())
    options = ("--material", "Li3PS4,Li4GeS4", "-k", "force_mae or direction", "--baseline", str(path))
    done = bench(folder, *options)
    assert done.returncode == 1, done.stdout
    assert "gate: LOSS in Counting force MAE (" in done.stdout and "+25.0%" in done.stdout and "4 passed" in done.stdout
    assert "force cosine" not in done.stdout.partition("against ")[2] and (folder / "reports" / "gate.md").exists()
    assert len((folder / "count").read_text()) == asked, "predictions were stored"


@pytest.mark.parametrize(
    ("worker", "gpus", "expected"),
    [("gw0", ["0", "1"], "0"), ("gw3", ["4", "7"], "7"), ("gw0", ["0"], None), ("master", ["0", "1"], None)],
)
def test_one_gpu_for_each_worker(worker: str, gpus: list[str], expected: str | None) -> None:
    assert gpu_of(worker, gpus) == expected
    assert visible_gpus("2, 5", 8) == ["2", "5"]
    assert threads_of(16, 4, None) == 4 and threads_of(16, 4, "1") is None
    assert piece_of("benchmarks/test_rdf.py::test_rdf[schnet-Li3PS4]") == piece_of("benchmarks/test_forces.py::t[schnet-Li3PS4]")


def test_results_of_two_processes_are_merged(tmp_path: Path) -> None:
    """Two sessions that read the same file and then write different cells; of the same cell the later one stays."""
    first, second = session(tmp_path), session(tmp_path)
    turns = [(first, "force_r2"), (second, "force_mae"), (first, "rdf_mae"), (second, "force_r2")]
    for number, (one, metric) in enumerate(turns):
        keep(one, metric, float(number))
    keep(first, "force_cosine", 9.0)
    stored = read_results(tmp_path / "results" / "toy.json")
    assert {metric: score.value for (metric, _), score in stored.scores.items()} == {
        "force_mae": 1.0, "rdf_mae": 2.0, "force_r2": 3.0, "force_cosine": 9.0,
    }  # fmt: skip
    content = json.loads((tmp_path / "results" / "toy.json").read_text())
    assert len(content["scores"]) == 4


def session(folder: Path) -> Session:
    from grannfield.harness import Bench
    from grannfield.presets import PRESETS

    bench = Bench(PRESETS["smoke"], 0, "cpu", folder / "store")
    return Session(folder, bench, [], [], "", "windows", False, {"preset": "smoke"})


def keep(one: Session, metric: str, value: float) -> None:
    from grannfield.plugin import Named

    one.results.setdefault("toy", Results("toy", {"identity": "x"}, one.protocol))
    one.keep(Named("toy", "toy", None), Score(metric, "toy", "Li3PS4", value, n=1))
