"""The HTML board without a browser: what is in the file, and what is said where something is missing."""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grannfield.html import command, packs
from grannfield.html.cells import cell_of, own_rows, rows_of
from grannfield.html.detail import detail_of
from grannfield.html.drawn import drawn, stepped
from grannfield.html.kept import path_of, plots_of
from grannfield.html.pairs import pairs_of
from grannfield.html.site import write_site
from grannfield.html.structures import framework
from grannfield.report.results import Results
from grannfield.score import Score
from tests.html.made import HOSTILE, SURROGATE, board_of, curves, data_in, density, made, packs_in

pytest.importorskip("plotly", reason="the page draws with plotly")


def opened(text: str, name: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packs_in(text)[name])))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    board_of(folder, 3, hostile=True)
    return folder


@pytest.fixture(scope="module")
def page(reports: Path) -> str:
    (path,) = write_site(reports)
    return path.read_text(encoding="utf-8")


def test_the_file_is_the_same_when_written_twice_and_asks_for_nothing(reports: Path, page: str) -> None:
    (path,) = write_site(reports)
    assert path.read_text(encoding="utf-8") == page and path.name == "index.html"
    outside = re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page)
    assert outside == [] and "@import" not in page and "url(" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and policy.group(1).startswith("default-src 'none'")
    assert "unsafe-eval" not in policy.group(1) and "script-src 'unsafe-inline'" not in policy.group(1)


def test_only_scripts_of_this_package_may_run(page: str) -> None:
    policy = re.search(r'content="(default-src[^"]*)"', page)
    assert policy is not None
    allowed = policy.group(1).replace("&#39;", "'")
    for script in re.findall(r"<script>(.*?)</script>", page, re.S):
        assert packs.policy_hash(script) in allowed
    assert packs.policy_hash(packs.plotly()[0]) in allowed


def test_markup_in_a_name_is_escaped_everywhere(page: str) -> None:
    assert HOSTILE not in page and "<img" not in page.lower()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert HOSTILE in [model["label"] for model in data_in(page)["models"]]


def test_every_number_on_the_board_has_its_interval_and_n(page: str) -> None:
    cells = re.findall(r'<td data-m="force_r2"[^>]*>(.*?)</td>', page, re.S)
    numbers = [cell for cell in cells if "<b>" in cell]
    assert len(numbers) == 9 and all("n = 40" in cell and "[" in cell for cell in numbers)
    assert "not AIMD" in page and SURROGATE in page and 'class="mark reduced"' not in page


def test_reduced_and_failed_models_are_marked(tmp_path: Path) -> None:
    board_of(tmp_path, 5)
    text = write_site(tmp_path)[0].read_text(encoding="utf-8")
    assert 'class="mark reduced"' in text and "n/a: fused" in text and "model 03 (reduced)" in text
    labelled = {one["label"]: one for one in (opened(text, f"model-{k}") for k in range(5))}
    assert labelled["model 04"]["scores"]["Li3PS4"]["rdf_mae"]["failed"] is True and labelled["model 03"]["reduced"] is True


def test_a_cell_says_how_it_came_to_be() -> None:
    one = made(1, "my model")
    detail = detail_of(one, one.scores["rdf_mae", "Li3PS4"], "tier 1 of 2")
    assert detail["value"] == "0.505" and detail["interval"] == "[0.495, 0.515]" and detail["n"] == 40
    assert detail["commands"] == ["grannfield explain 'my model' Li3PS4 rdf_mae", "grannfield verify 'my model' Li3PS4 rdf_mae"]
    origin = dict(detail["origin"])
    assert origin["weights"] == f"{1:064x}" and origin["hardware"] == "a computer" and origin["protocol seed"] == "0"
    assert detail["test"]["label"] == "undecided" and detail["own"] == "0.45 (no interval stored)"
    assert len(detail["runs"]) == 4 and detail["tables"][0]["rows"]


def test_sorting_follows_the_direction_of_a_column() -> None:
    near, far = made(6), made(11)
    keys = {one.label: cell_of(one, "diffusivity", "Li3PS4").key for one in (near, far)}
    assert keys[near.label] is not None and keys[near.label] > keys[far.label], "the reference's is that of number 5"
    low, high = (cell_of(made(k), "force_mae", "Li3PS4").key for k in (0, 9))
    assert low is not None and high is not None and low > high
    assert cell_of(made(4), "rdf_mae", "Li3PS4").key is None and "fusion" in cell_of(made(4), "rdf_mae", "Li3PS4").badges
    alone = Results("a", {}, {})
    alone.add(Score("diffusivity", "a", "LGPS", 1e-5, n=3))
    alone.add(Score("failed_share", "a", "LGPS", 0.0, n=3, interval=(0.0, 0.7), parts={"cold": 2}))
    assert cell_of(alone, "failed_share", "LGPS").badges == ("cold",)
    assert cell_of(alone, "diffusivity", "LGPS").key is None and cell_of(alone, "ns_per_day", "LGPS").state == "elsewhere"
    assert cell_of(alone, "force_r2", "LGPS").state == "not run"


def test_the_reference_has_a_row_of_its_own_numbers() -> None:
    rows = own_rows([made(1), made(2)])
    assert [row.material for row, _ in rows] == ["Li10GeP2S12", "Li3PS4", "Li4GeS4"] and rows[0][0].label == SURROGATE
    row, scores = rows[1]
    assert row.cells["diffusivity"].state == "number" and "floor" in row.cells["rdf_mae"].interval
    assert scores["diffusivity"].n == 9 and "force_mae" not in scores
    assert rows_of([made(1)], {"model 01": "tier 1 of 2"})[0].marks[-1][0] == "tier 1 of 2"


def test_pairs_find_a_planted_difference_and_leave_out_other_presets() -> None:
    found = pairs_of([made(0), made(6), made(1, preset="tiny")])
    assert list(found) == ["0,1"]
    gap, low, high, p, verdict, cells, materials, _ = found["0,1"]["force_mae"]
    assert low < gap < high and gap == pytest.approx(3.6, rel=0.1) and p < 0.05 and verdict == "different"
    assert (cells, materials) == (12, 3) and "ns_per_day" not in found["0,1"]


def test_plots_are_shown_as_kept_where_the_runs_are_not(tmp_path: Path) -> None:
    results = board_of(tmp_path, 2)
    plots = plots_of(results, tmp_path)
    assert plots.own["model 00", "Li3PS4"]["density"]["shape"] == [42, 28, 20] and plots.shared["Li3PS4"]
    results[0].add(Score("rdf_mae", "model 00", "Li3PS4", 0.9, n=3, provenance={"reference": SURROGATE}))
    later = plots_of(results, tmp_path)
    assert "density" not in later.own["model 00", "Li3PS4"], "plots of other numbers"
    assert later.own["model 00", "Li3PS4"]["missing"]["rdf"]
    assert later.own["model 01", "Li3PS4"] == plots.own["model 01", "Li3PS4"]


def test_damaged_kept_plots_are_named_and_replaced_by_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (one,) = board_of(tmp_path, 1)
    path = path_of(tmp_path, one, "Li3PS4")
    path.write_bytes(path.read_bytes()[:-100])
    found = plots_of([one], tmp_path)
    assert "is damaged" in caplog.text and found.own["model 00", "Li3PS4"]["missing"]


def test_densities_and_ways_survive_being_thinned() -> None:
    one = curves("a", "Li3PS4")
    shared: dict[str, dict[str, Any]] = {}
    found = drawn(one, shared)
    steps = np.frombuffer(base64.b64decode(found["density"]["bytes"]), np.uint8).reshape(found["density"]["shape"])
    back = found["density"]["top"] * (steps / 255) ** 3
    exact = density("Li3PS4", 0)
    assert abs(back - exact).max() < 0.02 * exact.max() and back.sum() == pytest.approx(1, abs=0.01)
    assert one.paths is not None
    way = np.array(found["paths"]["ways"][0]).reshape(-1, 3) / 100
    assert way[0] == pytest.approx(one.paths.model[0, 0], abs=0.01) and way[-1] == pytest.approx(one.paths.model[0, -1], abs=0.01)
    assert found["density"]["shared"] == f"Li3PS4|{SURROGATE}|1000" and set(shared) == {found["density"]["shared"]}
    assert found["missing"]["parity"] == "predictions were not kept"
    assert stepped(np.zeros((2, 2, 2)))["top"] == 1.0


def test_the_framework_is_made_of_whole_tetrahedra() -> None:
    from grannfield.data.material import load_material

    found = framework(load_material("Li3PS4"))
    assert len(found["tetrahedra"]) == 4 and found["atoms"] == []
    for _, centre, corners in found["tetrahedra"]:
        assert all(1.9 < np.linalg.norm(np.subtract(corner, centre)) < 2.2 for corner in corners)


def test_the_command_writes_once_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board_of(tmp_path, 1)
    options = argparse.Namespace(reports=tmp_path, out=None, open=False, quiet=True, fresh=False)
    command.run(options)
    path = tmp_path / "index.html"
    assert capsys.readouterr().out.strip() == path.resolve().as_uri()
    before = path.stat().st_mtime_ns
    command.run(options)
    assert path.stat().st_mtime_ns == before, "nothing has changed"
    made(1).write(tmp_path)
    command.run(options)
    assert path.stat().st_mtime_ns != before and "model 01" in path.read_text(encoding="utf-8")


def test_without_results_or_plotly_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="run `pytest benchmarks/` first"):
        write_site(tmp_path)
    made(1).write(tmp_path)
    monkeypatch.setattr(packs.resources, "files", lambda name: Path("/nowhere"))
    packs.plotly.cache_clear()
    try:
        with pytest.raises(LookupError, match=r"pip install 'grannfield\[report\]'"):
            command.run(argparse.Namespace(reports=tmp_path, out=None, open=False, quiet=True, fresh=True))
    finally:
        packs.plotly.cache_clear()
