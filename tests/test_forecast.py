"""What --forecast counts, what it costs, and that it runs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grannfield.data.material import load_material
from grannfield.forecast import MD_BYTES, Piece, Speed, expected_seconds, pieces_of, stored_speed
from grannfield.harness import Bench
from grannfield.plugin import Named
from grannfield.presets import PRESETS
from grannfield.provenance import hardware
from grannfield.report.results import Results
from grannfield.score import Score
from grannfield.session import Session

REPOSITORY = Path(__file__).parents[1]
NAMED = Named("schnet", "schnet", Path("schnet.safetensors"))


def session(folder: Path, preset: str = "quick") -> Session:
    return Session(folder, Bench(PRESETS[preset], 0, "cpu", folder / "store"), [NAMED], [], "", "windows", False, {})


def an_item(name: str, *fixtures: str, material: str = "Li3PS4", named: Named = NAMED) -> Any:
    params = {"named": named} | ({"material": load_material(material)} if material else {})
    marker = SimpleNamespace(args=(name,))
    return SimpleNamespace(nodeid=f"t::{name}[{material}]", fixturenames=fixtures, callspec=SimpleNamespace(params=params),
                           get_closest_marker=lambda mark: marker)  # fmt: skip


def test_pieces_of_a_preset(tmp_path: Path) -> None:
    """quick: three temperatures of two replicas, 11 ps at 2 fs each; 10 ps of NVE; 16 frames x 4 directions x 8 evaluations."""
    quick = session(tmp_path)
    runs = list(pieces_of(quick, an_item("rdf_mae", "runs")))
    assert [one.what for one in runs] == ["800 K, 2 x 10 ps", "1000 K, 2 x 10 ps", "1200 K, 2 x 10 ps"]
    assert {one.evaluations for one in runs} == {2 * 5500} and runs[0].atoms == 32 and runs[0].disk == 2 * 1000 * 32 * MD_BYTES
    [nve] = pieces_of(quick, an_item("nve_drift", "subject"))
    [curl] = pieces_of(quick, an_item("force_curl", "subject"))
    assert (nve.evaluations, curl.evaluations) == (5000, 16 * 4 * 8)
    [frames] = pieces_of(quick, an_item("force_r2_random", "predictions"))
    assert (frames.what, frames.evaluations) == ("random", 500)
    [speed] = pieces_of(quick, an_item("ns_per_day_batched", "subject", material=""))
    assert (speed.together, speed.evaluations, speed.material) == (16, 16 * 120, "Li10GeP2S12")
    calculator = Named("x:y()", "y", None, kind="calculator")
    assert not list(pieces_of(quick, an_item("ns_per_day_batched", "subject", material="", named=calculator)))
    moved = Named("runs", "runs", None, kind="trajectories")
    assert not list(pieces_of(quick, an_item("rdf_mae", "runs", named=moved)))


def test_time_is_evaluations_times_speed() -> None:
    speed = Speed(alone=0.1, batched=0.02, source="here")
    assert speed.seconds(Piece("MD", "m", "Li3PS4", "", 1000, atoms=25)) == pytest.approx(50)
    assert speed.seconds(Piece("MD", "m", "Li3PS4", "", 1000, atoms=25, together=6)) == pytest.approx(10)


def test_a_piece_counts_where_it_is_needed_first(tmp_path: Path) -> None:
    items = [an_item("rdf_mae", "runs"), an_item("failed_share", "runs")]
    first, second = expected_seconds(session(tmp_path), items).values()
    assert first > 100 * second


def test_stored_speeds_are_of_the_same_hardware(tmp_path: Path) -> None:
    here = session(tmp_path)
    for machine, expected in (("another", None), (hardware("cpu"), 0.1728 / 4.0)):
        results = Results("schnet")
        results.add(Score("ns_per_day", "schnet", "Li10GeP2S12", 4.0, n=5, parts={"hardware": machine}))
        results.write(tmp_path)
        found = stored_speed(here, NAMED)
        assert (found.alone if found else None) == (None if expected is None else pytest.approx(expected))
    (tmp_path / "results" / "schnet.json").write_text("{")
    assert stored_speed(here, NAMED) is None


def test_a_forecast_says_what_would_run_and_runs_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-p", "no:cacheprovider", "--forecast"]
    command += ["--reports", str(tmp_path), "--material", "Li3PS4", "-k", "rdf or force_r2 or ns_per"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[1]: line.split() for line in done.stdout.splitlines() if line.startswith("schnet ")}
    assert rows["MD"][2:5] == ["1", "0", "600"] and set(rows) == {"predictions", "MD", "speed"}
    assert "in a few steps now" in done.stdout and "5 tests: about" in done.stdout and "nothing was run" in done.stdout
    assert not list(tmp_path.rglob("*.npz")) and not list(tmp_path.rglob("*.h5")) and not (tmp_path / "results").exists()
