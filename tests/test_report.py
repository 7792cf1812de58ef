"""Tables from stored results alone."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from grannfield.report.columns import COLUMNS
from grannfield.report.paper import TITLES, table1, table2
from grannfield.report.results import Results, ResultsError, all_results, continued, read_results
from grannfield.report.tables import BEGIN, END, markdown, ranked, write_reports
from grannfield.score import Score

SURROGATE = {"reference": "surrogate: SevenNet-0 (11Jul2024)"}


def results(label: str, r2: float, material: str = "Li3PS4") -> Results:
    one = Results(
        label,
        {"name": "schnet", "identity": label * 3, "n_parameters": 494_209, "symmetry": "E(3)-invariant"},
        {"preset": "smoke"},
    )
    one.add(Score("force_r2", label, material, r2, "", "higher", 50, (r2 - 0.01, r2 + 0.01), provenance=SURROGATE))
    one.add(Score("neg_log_sigma", label, material, reason="too short", detail="0.7 ps", provenance=SURROGATE))
    one.add(Score("rdf_mae", label, material, reason="KeyError: 'x|y'", error=True, provenance=SURROGATE))
    one.add_reference(Score("neg_log_sigma", SURROGATE["reference"], material, reason="fewer than 3 usable temperatures"))
    return one


def test_a_table_holds_every_outcome_and_names_the_surrogate(tmp_path: Path) -> None:
    results("a", 0.9).write(tmp_path)
    written = write_reports(tmp_path)
    board = (tmp_path / "leaderboard.md").read_text()
    assert "0.9 [0.89, 0.91] (n=50)" in board
    assert "n/a: too short (0.7 ps)" in board
    assert "ERROR: KeyError: 'x\\|y'" in board
    assert "| surrogate: SevenNet-0 (11Jul2024) |" in board
    assert "n/a: measured on Li10GeP2S12" in board and "not run" in board
    assert {path.suffix for path in written} == {".md", ".csv", ".tex"} and all(path.exists() for path in written)
    second = (tmp_path / "table2.md").read_text()
    assert "reference (surrogate: SevenNet-0 (11Jul2024))" in second and "AIMD (paper)" in second and "-1.41" in second
    assert "22.5" in (tmp_path / "table1.md").read_text()


def test_a_reduced_model_is_marked_in_every_table(tmp_path: Path) -> None:
    one = results("a", 0.9)
    one.model["reduced"] = True
    one.write(tmp_path)
    for path in write_reports(tmp_path):
        assert "a (reduced)" in path.read_text()
    assert "reduced: 494,209 parameters" in (tmp_path / "leaderboard.md").read_text()


def test_latex_is_plain_ascii_and_a_number_stands_beside_its_kin(tmp_path: Path) -> None:
    one = results("a", 0.9)
    parts = {"pymatgen": 5.6e-5, "reference": 5.9e-5}
    one.add(Score("diffusivity", "a", "Li3PS4", 6e-5, "cm²/s", "closer", 20, (3e-5, 1e-4), parts=parts, provenance=SURROGATE))
    one.write(tmp_path)
    write_reports(tmp_path)
    assert (
        "6.00e-05 [3.00e-05, 1.00e-04] (n=20); pymatgen 5.60e-05, reference 5.90e-05" in (tmp_path / "leaderboard.md").read_text()
    )
    tex = (tmp_path / "leaderboard.tex").read_text()
    assert tex.isascii() and r"\toprule" in tex and r"\textsuperscript{2}" in tex


def test_reports_are_the_same_bytes_when_written_twice(tmp_path: Path) -> None:
    results("a", 0.9).write(tmp_path)
    first = {path: path.read_bytes() for path in write_reports(tmp_path)}
    assert {path: path.read_bytes() for path in write_reports(tmp_path)} == first


def test_the_board_sorts_by_windows_r2_and_puts_no_number_last(tmp_path: Path) -> None:
    nothing = Results("z")
    assert [one.label for one in ranked([nothing, results("a", 0.5), results("b", 0.9)])] == ["b", "a", "z"]


def test_results_survive_a_round_trip(tmp_path: Path) -> None:
    one = results("a", 0.9)
    one.add(Score("diffusivity", "a", "Li3PS4", reason="below detection", interval=(0.0, 1e-6)))
    again = read_results(one.write(tmp_path))
    assert again.scores == one.scores or all(
        math.isnan(again.scores[key].value) == math.isnan(score.value) and again.scores[key].text == score.text
        for key, score in one.scores.items()
    )
    assert again.scores["diffusivity", "Li3PS4"].text == "n/a: below detection, at most 1.00e-06"


def test_other_weights_or_another_protocol_start_afresh(tmp_path: Path) -> None:
    one = results("a", 0.9)
    one.write(tmp_path)
    same = Results("a", dict(one.model), dict(one.protocol))
    assert continued(tmp_path, same).scores.keys() == one.scores.keys()
    assert not continued(tmp_path, Results("a", {**one.model, "identity": "new"}, one.protocol)).scores
    assert not continued(tmp_path, Results("a", one.model, {"preset": "paper"})).scores


def test_damaged_and_future_files_are_named(tmp_path: Path) -> None:
    path = results("a", 0.9).write(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content)[:-20])
    with pytest.raises(ResultsError, match=r"a\.json is not a results file"):
        all_results(tmp_path)
    path.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(ResultsError, match="has format 99; this version reads up to 1: upgrade"):
        all_results(tmp_path)


def test_without_results_the_cure_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `pytest benchmarks/` first"):
        write_reports(tmp_path)


def test_readme_takes_the_top_between_its_markers(tmp_path: Path) -> None:
    results("a", 0.9).write(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_reports(tmp_path, readme)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "0.9 [0.89, 0.91]" in text
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_reports(tmp_path, readme)


def test_the_readme_of_the_project_shows_the_shipped_results() -> None:
    """The table in README.md is derived: writing it again changes nothing."""
    repository = Path(__file__).parents[1]
    own = subprocess.run(
        ["git", "status", "--porcelain", "reports/results"], cwd=repository, capture_output=True, text=True, check=False
    )
    if own.returncode or own.stdout:
        pytest.skip("reports/results holds the results of a run of your own, or this is no clone")
    readme = repository / "README.md"
    before = readme.read_text()
    import grannfield.report.tables as tables

    section = before.split(BEGIN)[1].split(END)[0]
    shipped = ranked(all_results(repository / "reports"))
    assert section.strip() == f"{markdown(tables.leaderboard(shipped, tables.TOP))}\n{tables.header(shipped)}".strip()


def test_published_numbers_are_the_papers() -> None:
    assert set(TITLES) <= set(table1()) and set(TITLES) <= set(table2())
    assert table1()["schnet"]["md_ns_per_day"] == "22.5" and table2()["AIMD"]["Li10GeP2S12"] == "-1.41"


def test_every_column_of_the_benchmarks_exists() -> None:
    import re

    folder = Path(__file__).parents[1] / "benchmarks"
    marked = set()
    for path in folder.glob("test_*.py"):
        for names in re.findall(r"mark\.columns\((.*?)\)", path.read_text()):
            marked |= set(re.findall(r'"(\w+)"', names.split("on=")[0]))
    assert marked == set(COLUMNS)


@pytest.mark.parametrize("wrong", [{"value": math.nan}, {"value": 1.0, "n": 0}])
def test_a_score_needs_a_reason_or_a_sample_size(wrong: dict) -> None:
    with pytest.raises(ValueError, match="without a"):
        Score("rdf_mae", "m", "Li3PS4", **wrong)
