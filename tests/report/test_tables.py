"""Every table in its four forms: known cells, names that mean something elsewhere, the same bytes wherever it is written."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from grannfield.analysis.conductivity import nernst_einstein
from grannfield.report import paper
from grannfield.report.formats import html_page, latex, long_csv, markdown, markdown_table, write_page
from grannfield.report.results import Results
from grannfield.report.scale import best, others
from grannfield.report.table import RECORD, Cell, Page, Table
from grannfield.report.table1 import table1
from grannfield.report.table2 import table2
from grannfield.report.tables import short_board, write_reports
from grannfield.report.tiers import tiers
from grannfield.report.transport import Ions
from grannfield.report_command import write_tables
from tests.report.made import MATERIALS, NASTY, SURROGATE, made

IONS = {m: Ions(20, 984.7) for m in MATERIALS}


def long_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def one_row(path: Path, **wanted: str) -> dict[str, str]:
    found = [row for row in long_rows(path) if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]


# known cells


def test_the_supplement_holds_the_numbers_of_the_results(tmp_path: Path) -> None:
    made().write(tmp_path)
    write_reports(tmp_path, ions=IONS)
    text = (tmp_path / "supplement" / "S2.md").read_text()
    assert text.startswith("# Table S2: energy, force and RDF errors on Li3PS4\n") and SURROGATE in text
    for expected in ("131 ± 4", "60.0 ± 2.0", "3.5 ± 0.4", "| Li-S"):
        assert expected in text.replace("\u00a0", " "), expected
    at = one_row(tmp_path / "supplement" / "S2-long.csv", column="rdf_mae", part="one temperature", temperature_K="1000.0")
    assert float(at["value"]) == pytest.approx(0.0205) and at["n"] == "140" and at["verdict"] == "stable"
    assert float(at["high"]) - float(at["value"]) == pytest.approx(0.003 / 2**0.5)  # of the mean of two runs
    element = one_row(tmp_path / "supplement" / "S2-long.csv", part="r2_by_element_and_component Li x")
    assert float(element["low"]) == pytest.approx(float(element["value"]) - 0.004) and element["n"] == "50"


def test_diffusivity_becomes_a_conductivity_at_its_own_temperature(tmp_path: Path) -> None:
    made().write(tmp_path)
    write_reports(tmp_path, ions=IONS)
    path = tmp_path / "supplement" / "S5-long.csv"
    d = one_row(path, model="schnet", column="diffusivity", temperature_K="800.0")
    sigma = one_row(path, model="schnet", column="conductivity", temperature_K="800.0")
    factor = nernst_einstein(1.0, 20, 984.7, 800.0)
    assert [float(sigma[key]) for key in ("value", "low", "high")] == pytest.approx(
        [factor * float(d[key]) for key in ("value", "low", "high")]
    )
    assert sigma["unit"] == "mS/cm" and d["unit"] == "cm²/s" and sigma["n"] == d["n"] == "20"
    own = one_row(path, column="conductivity", model=f"reference: {SURROGATE}")
    assert float(own["value"]) == pytest.approx(8e-5 * nernst_einstein(1.0, 20, 984.7, 1200.0))
    text = (tmp_path / "supplement" / "S5.md").read_text()
    assert "20 ions of charge z = 1" in text and "2.90·10⁻⁵ at 1200 K" in text and "| AIMD (paper)" in text and "0.84" in text
    write_reports(tmp_path)
    assert "n/a: the starting cell of Li3PS4 is not among" in (tmp_path / "supplement" / "S5.md").read_text()


def test_a_cell_without_a_number_has_its_reason(tmp_path: Path) -> None:
    made(failed=True).write(tmp_path)
    write_reports(tmp_path, ions=IONS)
    errors, transport = ((tmp_path / "supplement" / name).read_text() for name in ("S1.md", "S4.md"))
    assert "n/a: 1 of 2 failed (fusion)" in errors and "n/a: 1 of 2 failed (fusion)" in transport
    assert "n/a: not kept" in transport and "-1.31" in transport, "800 K failed nowhere; the paper's SchNet"
    row = one_row(tmp_path / "leaderboard-long.csv", column="rdf_mae", material="Li3PS4", model="schnet")
    assert row["reason"] == "fused" and row["value"] == row["n"] == "" and row["detail"] == "S1-S2 at 1.28 Å"
    assert "n/a: fused (S1-S2 at 1.28 Å)" in (tmp_path / "details.md").read_text()
    for path in (tmp_path / "supplement").glob("*-long.csv"):
        assert all(row["value"] or row["reason"] for row in long_rows(path)), path


def test_the_long_form_has_what_a_machine_needs(tmp_path: Path) -> None:
    one = made()
    one.write(tmp_path)
    write_reports(tmp_path)
    row = one_row(tmp_path / "leaderboard-long.csv", column="diffusivity", material="Li3PS4", model="schnet")
    score = one.scores["diffusivity", "Li3PS4"]
    assert tuple(row) == RECORD
    assert [float(row[key]) for key in ("value", "low", "high")] == pytest.approx([score.value, *score.interval], rel=1e-9)
    assert (row["n"], row["unit"], row["preset"], row["source"]) == ("20", "cm²/s", "quick", "measured")
    assert row["reference"] == SURROGATE and row["weights"] == one.model["identity"] and row["against_reference"] == "different"


def test_tables_1_and_2_have_every_model_of_the_paper_beside_ours() -> None:
    first, second = table1([made()]), table2([made()])
    assert len(first) == 12 and len(second) == 13, "eleven models and AIMD, and in the second our reference"
    ours = first.set_index("model").loc["schnet"]
    assert (ours["epochs"], ours["paper (10 h, 30,000 frames)"], ours["paper (RTX 4090)"]) == ("50.0", "48", "22.5")
    assert ours["ns/day"] == "3.00 ± 0.10 (n=5)" and first.set_index("model").loc["CGCNN", "ns/day"] == "not scored"
    rows = second.set_index("model")
    for name, title in paper.TITLES.items():
        label = "schnet" if name == "schnet" else title
        assert [rows.loc[label, f"{m}, paper"] for m in MATERIALS] == [paper.table2()[name][m] or "N/A" for m in MATERIALS]
    assert rows.loc["AIMD (paper)", "Li4GeS4, paper"] == "13.59"
    assert rows.loc[f"reference ({SURROGATE})", "Li3PS4"] == "0.50 [0.25, 1.00] (n=3)"


# names that mean something


class Strict(HTMLParser):
    """Elements and text of a page; every element opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def nasty_page() -> Page:
    cells = (Cell((NASTY,), records=({"model": NASTY},)), Cell(("0.5 ± 0.1", NASTY), "20", full=NASTY))
    table = Table(NASTY, NASTY, ("model",), (NASTY,), (cells,), (NASTY,))
    return Page("nasty", NASTY, (NASTY,), (table,), ((NASTY, ((NASTY, NASTY),)),))


def test_html_shows_a_name_as_text() -> None:
    page = Strict()
    page.feed(html_page(nasty_page()))
    page.close()
    assert not page.open and "script" not in page.tags
    assert any("<script>alert(1)</script>" in text and "a|b & c_d%" in text for text in page.text)
    assert {"table", "caption", "thead", "tbody", "th", "td"} <= page.tags


def test_markdown_shows_a_name_as_text() -> None:
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt(
        "gfm-like", {"linkify": False}
    )
    text = markdown(nasty_page())
    shown = parser.render(text)
    assert "<script" not in shown and "<em>" not in shown and "<a " not in shown and "<strong>" in shown
    rows = [line for line in markdown_table(nasty_page().tables[0]).splitlines()]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), "a pipe in a name ends no cell"
    assert shown.count("<td>") == 2 and "a|b &amp; c_d% $x$ &lt;script&gt;" in shown.split("<td>")[1]


def latex_faults(text: str) -> list[str]:
    """What is wrong with a file of tables: braces, environments, columns, characters that are commands."""
    faults = [] if text.isascii() else ["not ASCII"]
    bare = re.sub(r"\\[{}]", "", text.replace(r"\\", ""))
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        faults += ["a brace is closed that was not opened"] if depth < 0 else []
    faults += ["a brace is not closed"] if depth else []
    opened: list[str] = []
    for verb, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if verb == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            faults.append(f"end of {name}")
    for columns, body in re.findall(r"\\begin\{tabular\}\{(l+)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        for row in re.sub(r"\\midrule\n", "", body).strip().split(" \\\\\n"):
            found = len(re.findall(r"(?<!\\)&", row)) + 1
            faults += [f"{found} cells in {len(columns)} columns: {row}"] if found != len(columns) else []
    content = "\n".join(line for line in text.splitlines() if not line.startswith("%")).replace(r"\\", " ")
    for character in "%#_^~":
        faults += [f"{character} is a command"] * len(
            re.findall(rf"(?<!\\){re.escape(character)}(?!\n)", content.replace("{!}{%", ""))
        )
    faults += ["$ is not paired"] if len(re.findall(r"(?<!\\)\$", content)) % 2 else []
    return faults


def test_latex_shows_a_name_as_text() -> None:
    text = latex(nasty_page())
    assert not latex_faults(text)
    assert r"a\textbar{}b \& c\_d\% \$x\$ \textless{}script\textgreater{}" in text and r"\textbackslash{}emph\{z\}" in text
    assert latex_faults(text.replace(r"\&", "&")) and latex_faults(text.replace(r"\%", "%")) and latex_faults(text + "}")


def test_latex_compiles_where_there_is_a_tex(tmp_path: Path) -> None:
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("pdflatex is not installed; the files were parsed by the other tests")
    made(NASTY).write(tmp_path)
    write_page(tmp_path, nasty_page())
    names = [p.relative_to(tmp_path).as_posix() for p in write_reports(tmp_path, ions=IONS) if p.suffix == ".tex"]
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in [*names, "nasty.tex"])
    whole = rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(whole)
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_gives_a_name_back() -> None:
    rows = list(csv.reader(io.StringIO(long_csv(nasty_page()))))
    assert [row[0] for row in rows] == ["model", NASTY]


def test_all_files_of_models_with_such_names_are_sound(tmp_path: Path) -> None:
    for label in (NASTY, "_x_ é 中", "plain"):
        made(label).write(tmp_path)
    for path in write_reports(tmp_path, ions=IONS):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".tex":
            assert not latex_faults(text), path
        if path.suffix == ".html":
            page = Strict()
            page.feed(text)
            assert not page.open and "script" not in page.tags, path
        if path.suffix == ".csv":
            assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1, path
        if path.suffix == ".md":
            assert "<script" not in text, path


# the same bytes


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "results" not in p.parts
    }


def report(folder: Path, **environment: str) -> None:
    command = [sys.executable, "-m", "grannfield.cli", "report", "--reports", str(folder), "--only", "tables", "-q"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "tables: " in done.stderr, done.stderr


def test_the_same_bytes_in_another_folder_order_locale_and_hash_seed(tmp_path: Path) -> None:
    models = [made("schnet"), made("b", seed=1), made("c", seed=2, failed=True), made("b", "tiny", 3)]
    models[3].label = "b@tiny"
    first, second = tmp_path / "first", tmp_path / "second"
    for one in models:
        one.write(first)
    for one in reversed(models):
        one.write(second)
    report(first, PYTHONHASHSEED="1", LC_ALL="C.UTF-8")
    report(second, PYTHONHASHSEED="2", LC_ALL="C", TZ="Asia/Tokyo", PYTHONUTF8="0")
    assert files(first) == files(second) and len(files(first)) > 50
    before = files(first)
    write_tables(first)
    assert files(first) == before


def test_twenty_models_take_seconds(tmp_path: Path) -> None:
    for seed in range(20):
        made(f"model-{seed}", seed=seed, name=list(paper.TITLES)[seed] if seed < 11 else "other", failed=seed % 3 == 0).write(
            tmp_path
        )
    start = time.process_time()
    written = write_reports(tmp_path, ions=IONS)
    assert time.process_time() - start < 10.0
    board = (tmp_path / "leaderboard.md").read_text()
    assert all(f"| model-{seed} " in board for seed in range(20)) and len(written) > 50


# one screen


def test_the_short_board_is_a_row_for_each_model_in_seven_narrow_columns() -> None:
    results = [made(f"model-{seed}", seed=seed, failed=seed == 3) for seed in range(20)]
    lines = short_board(results).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 22 and all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in table)
    assert SURROGATE in table[0] and max(len(cell) for line in table[2:] for cell in line.split("|")) <= 40
    failed = next(line for line in table if "model-3 " in line).replace("\u00a0", " ")
    assert "all fused" in failed and "3 of 18" in failed and "3.00 ± 0.10" in failed
    below = "\n".join(lines[22:])
    assert "n = 50 frames" in below and "10 ps at 800/1000/1200 K, 2 runs each" in below and "not AIMD" in below


def test_runs_that_fly_at_rest_are_no_failures_and_said() -> None:
    results = [made("model-0", seed=0), made("model-1", seed=1)]
    assert "cold" not in short_board(results).lower()
    results[1].scores["failed_share", "Li3PS4"].parts["cold"] = 2
    board = short_board(results).replace("\u00a0", " ")
    assert "| 0 of 18, 2 cold |" in board and "| 0 of 18 |" in board and "flies as a whole" in board


# scales


def test_the_largest_scale_of_a_model_is_shown_and_named(tmp_path: Path) -> None:
    tiny, paper_ = made("m", "tiny"), made("m", "paper", seed=1)
    paper_.scores = {key: score for key, score in paper_.scores.items() if key[1] == "Li3PS4"}
    shown = best([tiny, paper_])
    assert [(one.protocol["preset"], one.materials) for one in shown] == [
        ("tiny", ["Li10GeP2S12", "Li4GeS4"]),
        ("paper", ["Li3PS4"]),
    ]
    assert [(one.protocol["preset"], one.materials) for one in others([tiny, paper_])] == [("tiny", ["Li3PS4"])]
    tiny.write(tmp_path)
    paper_.label = "m@paper"  # a second file
    paper_.write(tmp_path)
    write_reports(tmp_path)
    board = (tmp_path / "leaderboard.md").read_text()
    assert re.search(r"\| m +\| Li3PS4 +\| paper +\|", board) and re.search(r"\| m +\| Li4GeS4 +\| tiny +\|", board)
    assert not re.search(r"\| Li3PS4 +\| tiny +\|", board) and "m@paper" not in board
    details = (tmp_path / "details.md").read_text()
    assert "## m, preset tiny, a smaller scale" in details, "nothing is lost"


def test_a_copy_of_results_is_no_second_model(tmp_path: Path) -> None:
    one, other = made("m", "tiny"), made("m@tiny", "tiny", seed=1)
    assert best([one, other])[0].label == "m" and len(best([one, other])) == 1
    assert all(len(found.models) < 2 for found in tiers([one, other]))
    assert isinstance(one, Results)


def test_equal_models_are_in_one_tier_whatever_rounding_does() -> None:
    """The share of failures of equal models differs by rounding alone, which is no spread to measure a difference by."""
    results = [made(f"m{k}", failed=True) for k in range(3)]
    overall = next(found for found in tiers(results) if not found.metric)
    assert overall.ranking is not None and not overall.ranking.resolved and abs(overall.ranking.mean).max() < 1e6


# the shape of a table


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 columns"):
        Table("t", "", ("a",), ("b",), ((Cell(),),))


def test_a_page_without_rows_is_still_a_page(tmp_path: Path) -> None:
    page = Page("empty", "Nothing", tables=(Table("t", "", ("a",), (), (), ("nothing to compare",)),))
    assert {path.name for path in write_page(tmp_path, page)} == {
        "empty.md",
        "empty.csv",
        "empty-long.csv",
        "empty.tex",
        "empty.html",
    }
    assert "nothing to compare" in (tmp_path / "empty.md").read_text()
