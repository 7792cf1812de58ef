"""`grannfield report` on a command line: its parts, what is missing, what is damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from grannfield import report_command
from grannfield.cli import main
from grannfield.report.results import read_results
from grannfield.report.tables import BEGIN, END
from tests.report.made import made


def test_parts_come_in_order_after_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made().write(tmp_path)
    order = []
    monkeypatch.setattr(report_command, "write_part", lambda part, options: order.append(part) or [options.reports / part])
    assert main(["report", "--reports", str(tmp_path)]) == 0
    assert order == ["tables", "figures", "html"]
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(tmp_path / part) for part in order] and "figures: 1 files in 0.0 s" in printed.err


def test_a_missing_package_is_named_and_the_rest_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made().write(tmp_path)
    drawing = ModuleType("drawing")
    monkeypatch.setattr(
        report_command, "WRITERS", {"figures": ("drawing", "write_figures"), "html": ("pages_of_nobody", "write_site")}
    )

    def write_figures(reports: Path) -> list[Path]:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    drawing.write_figures = write_figures  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "drawing", drawing)
    assert main(["report", "--reports", str(tmp_path), "-q"]) == 0
    said = capsys.readouterr().err
    assert "figures: left out: matplotlib is not installed; pip install grannfield[report]" in said
    assert "html: left out: this installation has no pages_of_nobody" in said
    assert (tmp_path / "leaderboard.md").exists()


def test_a_part_that_fails_is_named_and_the_others_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made().write(tmp_path)
    drawing, pages = ModuleType("drawing"), ModuleType("pages")
    monkeypatch.setattr(report_command, "WRITERS", {"figures": ("drawing", "write_figures"), "html": ("pages", "write_site")})

    def write_figures(reports: Path) -> list[Path]:
        raise LookupError("the run 1234 is not in the store")

    drawing.write_figures = write_figures  # type: ignore[attr-defined]
    pages.write_site = lambda reports: [reports / "index.html"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "drawing", drawing)
    monkeypatch.setitem(sys.modules, "pages", pages)
    assert main(["report", "--reports", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "figures: not written: the run 1234 is not in the store" in printed.err and "index.html" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "pictures"], "there is no part 'pictures'; there are tables, figures, html"),
        (["--only", ","], "--only names no part"),
        (["--only", "html", "--readme", "x"], "--readme is written with the tables"),
        ([], "run `pytest benchmarks/` first, or name the folder by --reports DIR"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", "--reports", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err and not any(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "[]", lambda text: '{"format": 99}'])
def test_a_damaged_file_is_named_before_anything_is_written(damage, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = made("good").write(tmp_path)
    bad = path.with_name("bad.json")
    bad.write_text(damage(path.read_text()))
    assert main(["report", "--reports", str(tmp_path)]) == 2
    assert str(bad) in capsys.readouterr().err and not (tmp_path / "leaderboard.md").exists()


def test_results_of_the_first_format_are_read(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    one = read_results(made().write(new))
    content = {
        "format": 1, "label": one.label, "model": one.model, "protocol": one.protocol,
        "scores": [score.to_dict() for score in one.scores.values()],
        "reference": [score.to_dict() for score in one.reference.values()],
    }  # fmt: skip
    (old / "results").mkdir(parents=True)
    (old / "results" / "schnet.json").write_text(json.dumps(content))
    for folder in (old, new):
        assert main(["report", "--reports", str(folder), "--only", "tables", "-q"]) == 0
    for path in sorted(new.rglob("*")):
        if path.is_file() and "results" not in path.parts:
            assert path.read_bytes() == (old / path.relative_to(new)).read_bytes(), path


def test_the_readme_is_written_and_help_teaches(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made().write(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    assert main(["report", "--reports", str(tmp_path), "--only", "tables", "--readme", str(readme), "-q"]) == 0
    assert "| schnet (quick)" in readme.read_text() and readme.read_text().endswith("after\n")
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert "grannfield report --only tables --readme README.md" in capsys.readouterr().out


def test_a_material_that_is_not_installed_has_no_ions() -> None:
    ions = report_command.ions_of("Li3PS4")
    assert ions is not None and ions.n == 12 and ions.volume == pytest.approx(662.9, abs=0.1) and ions.charge == 1
    assert report_command.ions_of("Na3PS4") is None
