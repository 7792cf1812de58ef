"""Tables from stored results alone."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from grannfield.report.board import leaderboard, ranked
from grannfield.report.columns import COLUMNS
from grannfield.report.paper import TITLES, table1, table2
from grannfield.report.results import Results, ResultsError, all_results, continued, read_results, set_aside
from grannfield.report.tables import BEGIN, END, short_board, write_reports
from grannfield.report.tiers import beside_names, tiers
from grannfield.report.verdicts import own_number, verdict_of
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
    details = (tmp_path / "details.md").read_text()
    assert "0.900\u00a0±\u00a00.010<br><sub>n=50</sub>" in board and "0.9 [0.89, 0.91] (n=50)" in details
    assert "n/a: too short" in board and "n/a: too short (0.7 ps)" in details
    assert "ERROR: KeyError: 'x\\|y'" in board
    assert "| surrogate: SevenNet-0 (11Jul2024) |" in board and "(a surrogate is a published" in board
    assert "not run" in board and "Not run by any of these models: speed, 1 replica" in board
    assert {path.suffix for path in written} == {".md", ".csv", ".tex", ".html"} and all(path.exists() for path in written)
    second = (tmp_path / "table2.md").read_text()
    assert "reference (surrogate: SevenNet-0 (11Jul2024))" in second and "AIMD (paper)" in second and "-1.41" in second
    assert "22.5" in (tmp_path / "table1.md").read_text()


def test_a_reduced_model_is_marked_in_every_table(tmp_path: Path) -> None:
    one = results("a", 0.9)
    other = results("b", 0.8)
    one.model["reduced"] = True
    for each in (one, other):
        each.write(tmp_path)
    for path in write_reports(tmp_path):
        named = "a (reduced)" in path.read_text() or path.stem.endswith("-long")  # where labels are keys
        assert named or path.stem == "redundancy", "which names no model"
    assert "reduced: 494,209 parameters" in (tmp_path / "leaderboard.md").read_text()


def test_latex_is_plain_ascii_and_a_number_stands_beside_its_kin(tmp_path: Path) -> None:
    one = results("a", 0.9)
    one.add_reference(Score("diffusivity", SURROGATE["reference"], "Li3PS4", 5.9e-5, n=20))
    parts = {"pymatgen": 5.6e-5, "reference": 5.9e-5}
    one.add(Score("diffusivity", "a", "Li3PS4", 6e-5, "cm²/s", "closer", 20, (3e-5, 1e-4), parts=parts, provenance=SURROGATE))
    one.write(tmp_path)
    write_reports(tmp_path)
    shown = ("6.00e-05 [3.00e-05, 1.00e-04] (n=20)", "pymatgen 5.60e-05", "reference 5.90e-05")
    assert "<br>".join(shown) in (tmp_path / "details.md").read_text()
    assert "6.0 [3.0, 10.0]·10⁻⁵ (n=20); undecided" in (tmp_path / "leaderboard.csv").read_text()
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


def test_scores_that_are_replaced_are_kept_and_named(tmp_path: Path) -> None:
    """Speed measured again on another machine takes the file, but loses nobody the forces of the first."""
    one = results("a", 0.9)
    before = one.write(tmp_path).read_bytes()
    assert set_aside(tmp_path, Results("a", dict(one.model), dict(one.protocol))) is None
    assert set_aside(tmp_path, Results("b", dict(one.model), {"hardware": "another"})) is None
    assert not (tmp_path / "store").exists()
    there = Results("a", dict(one.model), {**one.protocol, "hardware": "another machine"})
    with pytest.warns(UserWarning, match=rf"{len(one.scores)} scores are replaced.* now 'another machine'.*store/replaced/a\."):
        kept = set_aside(tmp_path, there)
    assert kept is not None and kept.parent == tmp_path / "store" / "replaced" and kept.read_bytes() == before
    assert read_results(kept).scores.keys() == one.scores.keys()
    with pytest.warns(UserWarning, match="other weights"):
        assert set_aside(tmp_path, Results("a", {**one.model, "identity": "new"}, dict(one.protocol))) == kept


def test_damaged_and_future_files_are_named(tmp_path: Path) -> None:
    path = results("a", 0.9).write(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content)[:-20])
    with pytest.raises(ResultsError, match=r"a\.json is not a results file"):
        all_results(tmp_path)
    path.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(ResultsError, match=r"has format 99; this version reads up to \d+: upgrade"):
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
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "0.900\u00a0±\u00a00.010" in text
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
    section = before.split(BEGIN)[1].split(END)[0]
    assert section.strip() == short_board(all_results(repository / "reports")).strip()


def diffusing(
    value: float, interval: tuple[float, float] | None, own: tuple[float, float, float] | None, reason: str = ""
) -> Results:
    """A model with a diffusivity, beside the reference's own: value and interval."""
    one = Results("a", {"name": "schnet"}, {"preset": "quick"})
    number = {"reason": reason} if reason else {"n": 20}
    one.add(Score("diffusivity", "a", "Li3PS4", value, interval=interval, provenance=SURROGATE, **number))
    if own is not None:
        one.add_reference(Score("diffusivity", SURROGATE["reference"], "Li3PS4", own[0], n=20, interval=own[1:]))
    return one


@pytest.mark.parametrize(
    ("one", "label"),
    [
        (diffusing(5e-5, (4.6e-5, 5.5e-5), (5.2e-5, 4.8e-5, 5.6e-5)), "indistinguishable"),
        (diffusing(1e-5, (8e-6, 1.2e-5), (5.2e-5, 4.8e-5, 5.6e-5)), "different"),
        (diffusing(5e-5, (1e-5, 2e-4), (5.2e-5, 4.8e-5, 5.6e-5)), "undecided"),
        (diffusing(math.nan, (0.0, 1e-7), (5.2e-5, 4.8e-5, 5.6e-5), "below detection"), "different"),
        (diffusing(math.nan, None, (5.2e-5, 4.8e-5, 5.6e-5), "fused"), "undecided"),
        (diffusing(5e-5, None, (5.2e-5, 4.8e-5, 5.6e-5)), "undecided"),
    ],
)
def test_the_verdict_stands_beside_the_number_with_the_references_interval(one: Results, label: str, tmp_path: Path) -> None:
    tested = verdict_of(one, "diffusivity", "Li3PS4")
    assert tested is not None and tested.label == label
    one.write(tmp_path)
    assert verdict_of(read_results(one.path(tmp_path)), "diffusivity", "Li3PS4").label == label, "the file says the same"
    rows = leaderboard([one], ("diffusivity",))
    assert rows["model"].tolist() == [f"reference ({SURROGATE['reference']})", "a"]
    own, text = rows[COLUMNS["diffusivity"].heading]
    assert own == "5.20e-05 [4.80e-05, 5.60e-05] (n=20)"
    if label == "different" or math.isfinite(one.scores["diffusivity", "Li3PS4"].value):
        assert text.endswith(f"; reference 5.20e-05 [4.80e-05, 5.60e-05]: {label}")
    else:
        assert text == "n/a: fused"


def test_a_number_of_another_reference_is_not_compared_with() -> None:
    one = diffusing(1e-5, (8e-6, 1.2e-5), None)
    one.add_reference(Score("diffusivity", "AIMD: PBE", "Li3PS4", 5e-5, n=5, interval=(4e-5, 6e-5)))
    assert own_number(one, "diffusivity", "Li3PS4") is None and verdict_of(one, "diffusivity", "Li3PS4") is None


def test_a_floor_is_passed_by_being_better_and_says_so_without_an_interval() -> None:
    one = Results("a", {}, {"preset": "quick"})
    floor = {"value": 0.02, "interval": [0.018, 0.022], "n": 4}
    for material, value, kept in (("Li3PS4", 0.005, floor), ("Li4GeS4", 0.08, floor), ("Li10GeP2S12", 0.08, 0.02)):
        parts = {"floor": kept, "paper_threshold": 0.02}
        one.add(Score("rdf_mae", "a", material, value, n=9, interval=(value - 0.002, value + 0.002), parts=parts))
    labels = [verdict_of(one, "rdf_mae", material).label for material in one.materials]  # type: ignore[union-attr]
    assert labels == ["undecided", "indistinguishable", "different"]
    cells = leaderboard([one], ("rdf_mae",)).set_index("material")[COLUMNS["rdf_mae"].heading]
    assert (
        cells["Li3PS4"]
        == "0.005 [0.003, 0.007] (n=9); floor 0.02 [0.018, 0.022]: indistinguishable; the paper's limit 0.02: stable"
    )
    assert "floor 0.02 (no interval stored): undecided; the paper's limit 0.02: not stable" in cells["Li10GeP2S12"]
    one.scores["rdf_mae", "Li3PS4"].parts["test"] = {
        "label": "different",
        "excess": 0.01,
        "interval": [0.005, 0.015],
        "margin": 0.02,
        "p": 0.004,
    }
    assert (
        "]: different (p = 0.004)" in leaderboard([one], ("rdf_mae",)).set_index("material")[COLUMNS["rdf_mae"].heading]["Li3PS4"]
    )


def test_controls_stand_apart(tmp_path: Path) -> None:
    control = results("control:noise=0.05", 0.99)
    control.model["kind"] = "control"
    control.write(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}{END}")
    with pytest.raises(FileNotFoundError, match="no results but controls"):
        write_reports(tmp_path, readme)
    assert not (tmp_path / "leaderboard.md").exists()
    results("a", 0.9).write(tmp_path)
    paths = {path.name: path.read_text() for path in write_reports(tmp_path, readme)}
    forms = {"controls.md", "controls.csv", "controls-long.csv", "controls.tex", "controls.html"}
    assert {name for name, text in paths.items() if "control:noise" in text} == forms
    assert "on purpose" in paths["controls.md"] and "0.990\u00a0±\u00a00.010<br><sub>n=50</sub>" in paths["controls.md"]


def run_of(label: str, shift: float, failed: bool = False, preset: str = "quick") -> Results:
    """A model scored on 3 materials, at 3 temperatures and with 2 seeds, worse by a shift; perhaps one run failed."""
    one = Results(label, {"name": label}, {"preset": preset})
    for m, material in enumerate(("Li10GeP2S12", "Li3PS4", "Li4GeS4")):
        runs = []
        for i, (t, replica) in enumerate((t, r) for t in (800.0, 1000.0, 1200.0) for r in (0, 1)):
            wobble = 1e-3 * math.sin(7 * i + 3 * m + len(label) * ord(label[0]))
            runs.append({"temperature_K": t, "replica": replica, "value": 0.02 + shift + wobble, "interval": None, "reason": ""})
        if failed and m == 1:
            runs[3] |= {"value": None, "reason": "fused"}
        value = sum(r["value"] or 0 for r in runs) / 6
        number = {"reason": "fused"} if failed and m == 1 else {"value": value, "n": 6, "interval": (value - 1e-3, value + 1e-3)}
        one.add(Score("rdf_mae", label, material, parts={"by_run": runs}, **number))
    return one


def tier_of(*models: Results) -> dict[str, str]:
    found = next(one for one in tiers(models) if one.metric == "rdf_mae")
    assert found.ranking is not None
    return {name: str(t) if found.ranking.resolved else "-" for name, t in zip(found.models, found.ranking.tier, strict=True)}


def test_tiers_come_from_the_same_runs_of_all_models() -> None:
    assert tier_of(run_of("a", 0.0), run_of("b", 0.02), run_of("c", 0.0)) == {"a": "1", "b": "2", "c": "1"}
    assert set(tier_of(run_of("a", 0.0), run_of("b", 1e-5)).values()) == {"-"}
    assert beside_names(tiers([run_of("a", 0.0), run_of("b", 0.02)])) == {"a": "tier 1 of 2", "b": "tier 2 of 2"}
    assert all(one.ranking is None for one in tiers([run_of("a", 0.0), run_of("b", 0.02, preset="brief")])), "another preset"


def test_a_failed_run_ranks_last_and_is_not_left_out() -> None:
    """The model would be the better one by the runs that it survived."""
    found = next(one for one in tiers([run_of("a", 0.002), run_of("broken", 0.0, failed=True)]) if one.metric == "rdf_mae")
    whole = next(one for one in tiers([run_of("a", 0.002), run_of("broken", 0.0)]) if one.metric == "rdf_mae")
    assert found.ranking is not None and whole.ranking is not None and found.n_cells == whole.n_cells == 18
    assert found.ranking.mean[1] < whole.ranking.mean[1] and found.ranking.p_first[1] < whole.ranking.p_first[1]


def test_what_was_too_short_is_not_called_worse() -> None:
    short = run_of("short", 0.0)
    short.scores = {key: Score("rdf_mae", "short", key[1], reason="too short") for key in short.scores}
    found = next(one for one in tiers([run_of("a", 0.0), run_of("b", 0.02), short]) if one.metric == "rdf_mae")
    assert found.models == ("a", "b") and "without short (Li10GeP2S12: too short" in found.note


def test_columns_that_repeat_each_other_are_named(tmp_path: Path) -> None:
    for i in range(9):
        one = Results(f"m{i}", {}, {"preset": "quick"})
        for material in ("Li3PS4", "Li4GeS4"):
            r2, other = 0.9 + 0.01 * i, (5 * i) % 9
            values = {"force_r2": r2, "force_mae": 200 - 10 * i, "energy_rank": 0.1 * other}
            for metric, value in values.items():
                one.add(Score(metric, one.label, material, value, n=50, interval=(value - 1e-3, value + 1e-3)))
        one.write(tmp_path)
    write_reports(tmp_path)
    text = (tmp_path / "redundancy.md").read_text()
    assert "force MAE ranks the models as force R² (windows) does (rho 1.00 [0.97, 1.00], n=18 cells of 9 models)" in text
    assert text.count("one of the two would do") == 1, "the third column is independent"
    assert "too few models (n=0)" in text
    few = tmp_path / "few"
    results("a", 0.9).write(few)
    results("b", 0.8).write(few)
    write_reports(few)
    assert "None that these results would show." in (few / "redundancy.md").read_text()


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
