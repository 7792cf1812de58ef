"""Figures: the same bytes twice, nothing clipped, a reason where nothing can be drawn, the reference's label everywhere."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from grannfield.cli import main
from grannfield.curves import Curves, curves_of
from grannfield.figures import FIGURES, described, plan, write_figures
from grannfield.figures.colours import COLOURS, styles
from grannfield.figures.learning import curve_of
from grannfield.figures.projection import View, pieces
from grannfield.figures.sheet import signed, styled
from grannfield.figures.shown import Shown
from grannfield.report.paper import TITLES
from grannfield.report.results import Results
from grannfield.score import Score
from grannfield.train_folder import as_csv
from tests.curves_evidence import DATA, FORMULA, MadeUp, predictions, run_of

REFERENCE = DATA.reference.label
ODD = "my <b>odd</b> & long-named model, v2.0 (1)"


def results_of(label: str, material: str = FORMULA, **about: Any) -> Results:
    """A few numbers, one n/a, one error."""
    found = Results(label, {"name": label, "kind": "model", **about}, {"preset": "brief", "described": "2 ps", "seed": 0})
    stamp = {"reference": REFERENCE}
    floor = {"floor": {"value": 0.03, "interval": [0.02, 0.04], "n": 4, "reason": ""}}
    for score in (
        Score("force_r2", label, material, 0.97, n=50, provenance=stamp),
        Score("force_mae", label, material, 95.0, n=50, interval=(90.0, 100.0), provenance=stamp),
        Score("rdf_mae", label, material, reason="fused", detail="S-S", parts=floor, provenance=stamp),
        Score("ns_per_day", label, "Li10GeP2S12", 1.4, n=5, interval=(1.3, 1.5), provenance=stamp),
        Score("energy_r2", label, material, reason="ValueError: no", error=True, provenance=stamp),
    ):
        found.add(score)
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """All curves of one model that did not fail."""
    run = run_of(DATA.trajectory(1000.0)[:300], 1000.0, 3000.0)
    hot = run_of(DATA.trajectory(1200.0)[:300], 1200.0, 3000.0)
    folder = tmp_path_factory.mktemp("drawn")
    return curves_of(MadeUp(folder, [run, hot], predictions(0.9)), FORMULA)


@pytest.fixture
def reports(tmp_path: Path, drawn: Curves, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models: one with all curves, one whose evidence is not here."""
    story = {"steps": 10, "seconds": 60.0, "training_frames": 9, "material": FORMULA, "validation": {"force_mae": 0.1}}
    results_of("schnet", provenance=story).write(tmp_path)
    results_of(ODD).write(tmp_path)
    kept = Shown.curves

    def curves(self: Shown, label: str, formula: str) -> Curves:
        return replace(drawn, model=label) if (label, formula) == ("schnet", FORMULA) else kept(self, label, formula)

    monkeypatch.setattr(Shown, "curves", curves)
    return tmp_path


def test_every_figure_is_drawn_described_and_signed(reports: Path) -> None:
    written = write_figures(reports, formats=("svg",))
    entries = json.loads((reports / "figures" / "figures.json").read_text())["figures"]
    assert {one["name"] for one in entries} == set(FIGURES)
    assert [path.name for path in written if path.suffix == ".svg"] and written[-1].name == "figures.json"
    for one in entries:
        assert REFERENCE in one["caption"] and "not AIMD" in one["caption"] and one["alt"] and one["title"]
        text = "".join(ET.parse(reports / "figures" / one["files"][0]).getroot().itertext())
        assert REFERENCE in text, one["stem"]
    by_stem = {one["stem"]: one for one in entries}
    assert by_stem["rdf-schnet"]["model"] == "schnet" and by_stem["paths-Li3PS4"]["material"] == FORMULA
    assert "n = 105 frames" in by_stem["rdf-schnet"]["caption"]
    assert not (set(path.name for path in (reports / "figures").iterdir()) - {p.name for p in written})


def test_what_is_missing_is_said(reports: Path) -> None:
    write_figures(reports, formats=("svg",), only=("verdicts", "survival", "msd", "paths", "errors", "learning"))
    texts = {
        path.stem: " ".join("".join(ET.parse(path).getroot().itertext()).split()) for path in (reports / "figures").glob("*.svg")
    }
    for name in ("verdicts", "survival", "msd", "paths-Li3PS4"):
        assert "n/a:" in texts[name], name
    assert "n/a: fused" in texts["errors"]
    assert "curve n/a: no learning curve was kept" in texts["learning"]
    assert ODD[:20] in texts["errors"]  # as text, not as markup


def test_the_same_bytes_twice(reports: Path) -> None:
    only = ("errors", "paths", "parity")
    first = {path.name: path.read_bytes() for path in write_figures(reports, only=only)}
    again = {path.name: path.read_bytes() for path in write_figures(reports, only=only)}
    assert first == again
    assert {Path(name).suffix for name in first} == {".svg", ".pdf", ".png", ".json"}


def test_no_letter_leaves_its_figure(reports: Path) -> None:
    for label in list(TITLES)[:7]:
        results_of(label).write(reports)  # many rows, several pages
    names = [name for name in FIGURES if name not in ("rdf", "parity", "density", "structures")]
    stems = []
    for sheet in plan(Shown.of(reports), names):
        with styled():
            figure = Figure()
            FigureCanvasAgg(figure)
            sheet.draw(figure)
            signed(figure, sheet.reference)
            figure.draw_without_rendering()
            seen, size = figure.get_tightbbox(), figure.get_size_inches()
        inside = seen.x0 > -0.02 and seen.y0 > -0.02 and seen.x1 < size[0] + 0.02 and seen.y1 < size[1] + 0.02
        assert inside, f"{sheet.stem}: {seen} in a figure of {size}"
        stems.append(sheet.stem)
    assert {"verdicts-1", "verdicts-2", "survival-2", "errors"} <= set(stems)


def test_files_that_no_longer_hold_are_removed(reports: Path) -> None:
    only = ("errors", "speed-published")
    write_figures(reports, formats=("svg", "png"), only=only)
    write_figures(reports, formats=("png",), only=("errors",))
    assert sorted(p.name for p in (reports / "figures").iterdir()) == [
        "errors.png", "figures.json", "speed-published.png", "speed-published.svg",
    ]  # fmt: skip
    assert [one["files"] for one in described(reports)] == [["errors.png"], ["speed-published.svg", "speed-published.png"]]


def test_damaged_captions_are_written_again(reports: Path) -> None:
    (reports / "figures").mkdir()
    (reports / "figures" / "figures.json").write_text("{]")
    assert described(reports) == []
    write_figures(reports, formats=("png",), only=("errors",))
    assert [one["stem"] for one in described(reports)] == ["errors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "no figure is called 'nothing'; there are structures"),
        (["--only", ","], "no figure is named"),
        (["--format", "gif"], "cannot be written as 'gif'; choose from svg"),
        (["--model", "nobody"], "no results of 'nobody'"),
        (["--reports", "elsewhere"], "holds no results"),
    ],
)
def test_mistakes_are_one_line(
    reports: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reports)
    assert main(["figures", "--reports", str(reports), *arguments]) == 2
    assert message in (said := capsys.readouterr().err) and len(said.splitlines()) == 1


def test_command_draws_what_is_asked(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "--reports", str(reports), "--model", "schnet", "--only", "rdf,errors", "--format", "png"]) == 0
    assert "rdf-schnet" in (said := capsys.readouterr().out) and "2 figures as png" in said
    assert (reports / "figures" / "rdf-schnet.png").read_bytes()[:4] == b"\x89PNG"


def test_learning_curve_is_that_of_the_training(reports: Path) -> None:
    folder = reports / "checkpoints" / "schnet"
    folder.mkdir(parents=True)
    shown = Shown.of(reports)
    rows = [{"seconds": 30.0 * k, "train_loss": 1.0, "validation_loss": 1.0, "force_mae": 0.2 / k} for k in (1, 2)]
    (folder / "curve.csv").write_text(as_csv(rows))
    found = curve_of(shown, "schnet")
    assert not isinstance(found, str) and found["force_mae"].tolist() == [0.2, 0.1]
    (folder / "identity.json").write_text('{"train": "of others"}')
    shown.one("schnet").model["provenance"]["training_data"] = "ours"
    assert curve_of(shown, "schnet") == "schnet/curve.csv is of another training"
    (folder / "identity.json").unlink()
    (folder / "curve.csv").write_text("seconds\nfast\n")
    assert "is no learning curve" in str(curve_of(shown, "schnet"))


def test_a_model_looks_the_same_whoever_stands_beside_it() -> None:
    alone, among = styles(["schnet", "mine"]), styles(["zzz", "schnet", *TITLES, "mine"])
    assert alone["schnet"] == among["schnet"]
    assert len(set(among.values())) == len(among) and "#F0E442" not in COLOURS
    assert len(set(styles([f"model {k}" for k in range(25)]).values())) == 25


def test_ways_are_cut_at_the_border() -> None:
    view = View.of(np.diag([8.0, 6.0, 4.0]))
    way = np.array([[7.0, 1.0, 1.0], [7.9, 1.0, 1.0], [8.3, 1.0, 1.0], [9.0, 1.0, 1.0]])
    left, right = pieces(view, way)
    assert view.along == 2
    np.testing.assert_allclose(left[:, 0], [7.0, 7.9, 8.3])
    np.testing.assert_allclose(right[:, 0], [-0.1, 0.3, 1.0])
