"""`grannfield calibrate`: files, exit codes, and one line for what is wrong."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from grannfield.calibrate import command
from grannfield.calibrate.coverage import Said, row
from grannfield.calibrate.tables import read_csv
from grannfield.cli import main


def calibrate(tmp_path, *more):
    return main(["calibrate", "--out", str(tmp_path / "out"), "--state", str(tmp_path / "state"), "--jobs", "1", *more])


def judged(estimator, held, condition="caged", n=1000):
    """A row for D of which `held` intervals contain the truth."""
    half = [0.1 if k < held else 0.01 for k in range(n)]
    values = [1.05 + 1e-4 * (k % 7) for k in range(n)]
    said = [Said(k, "D", v, v - h, v + h, "", 0.1) for k, (v, h) in enumerate(zip(values, half, strict=True))]
    return replace(row(estimator, condition, said, 1.0, 24.0), width_ratio=1.1)


SMALL = ("--conditions", "short,few-temperatures-short", "--estimators", "grannfield,pymatgen", "--n", "4", "--sets", "2")


def test_writes_tables_and_figures(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert calibrate(tmp_path, *SMALL) == 0
    rows = read_csv(tmp_path / "out" / "coverage.csv")
    assert {(r.estimator, r.condition, r.quantity, r.n) for r in rows} == {
        (name, *which)
        for name in ("grannfield", "pymatgen")
        for which in (("short", "D", 4), ("few temperatures short", "Ea", 2), ("few temperatures short", "neg_log_sigma", 2))
    }
    text = (tmp_path / "out" / "coverage.md").read_text()
    assert "As caged, 7 ps of production" in text and "seed 0" in text and "pymatgen-analysis-diffusion 2" in text
    assert "short" in capsys.readouterr().out
    for name in ("coverage", "width", "spread"):
        assert (tmp_path / "out" / f"{name}.svg").stat().st_size > 5000
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_tables_are_made_anew_without_computing(tmp_path, monkeypatch):
    assert calibrate(tmp_path, *SMALL) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("grannfield.calibrate.study.judge", lambda *_: pytest.fail("computed again"))
    assert calibrate(tmp_path, *SMALL, "--table") == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_without_matplotlib_the_tables_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert calibrate(tmp_path, "--conditions", "short", "--estimators", "grannfield", "--n", "2") == 0
    assert "grannfield[report]" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"coverage.csv", "coverage.md"}


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 1)])
def test_check_fails_for_a_row_of_ours_alone(kept, code, tmp_path, monkeypatch, capsys):
    rows = [judged("grannfield", 950 if kept else 800), judged("pymatgen", 0), judged("grannfield", 0, "frozen")]
    monkeypatch.setattr("grannfield.calibrate.study.Study.run", lambda self, jobs: None)
    monkeypatch.setattr("grannfield.calibrate.study.Study.rows", lambda self: rows)
    assert calibrate(tmp_path, "--check") == code
    assert calibrate(tmp_path) == 0
    assert ("failed: grannfield, caged, D" in capsys.readouterr().out) is not kept
    text = (tmp_path / "out" / "coverage.md").read_text()
    assert f"Of 1 rows of grannfield with a promise, {int(kept)} keep it" in text
    assert "where it ends (frozen):" in text and "- grannfield, frozen, D: coverage 0.000" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--conditions", "wobbly"), "no condition is called 'wobbly'"),
        (("--estimators", "wobbly"), "no estimator is called 'wobbly'"),
        (("--n", "1"), "at least 2"),
        (("--seed", "-1"), "--seed -1"),
        (("--jobs", "0"), "at least one process"),
        (("--table",), "holds no results for seed 0"),
        (("--n", "2", "--conditions", "short", "--estimators", "pymatgen", "--check"), "leave that out"),
    ],
)
def test_mistakes_are_one_line(more, message, tmp_path, capsys):
    assert calibrate(tmp_path, *more) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("grannfield: ") and message in error


def test_list_shows_conditions_and_what_is_not_installed(tmp_path, capsys):
    assert calibrate(tmp_path, "--list") == 0
    out = capsys.readouterr().out
    assert "backjump\n    As caged" in out and "cold temperatures\n" in out
    for name in ("kinisi", "gemdat"):
        assert (f"{name} (not installed)" in out) is (importlib.util.find_spec(name) is None)


def test_help_promises_what_is_checked():
    assert "90-98%" in command.EPILOG and "1.3" in command.EPILOG


def test_killed_in_the_middle_it_goes_on(tmp_path):
    line = [
        sys.executable,
        "-m",
        "grannfield.cli",
        "calibrate",
        "--out",
        str(tmp_path / "out"),
        "--state",
        str(tmp_path / "state"),
    ]
    line += ["--conditions", "short", "--estimators", "grannfield", "--n", "600", "--jobs", "1"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stored = []
    begin = time.monotonic()
    while not stored and time.monotonic() - begin < 60 and process.poll() is None:
        time.sleep(0.1)
        stored = [path for path in tmp_path.glob("state/seed-0/grannfield/*.jsonl") if path.stat().st_size]
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = stored[0].read_bytes().count(b"\n")
    assert 0 < kept < 600
    more = str(kept + 5)
    assert calibrate(tmp_path, "--conditions", "short", "--estimators", "grannfield", "--n", more) == 0
    assert stored[0].read_bytes().count(b"\n") == kept + 5
