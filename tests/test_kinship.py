"""Relatives of what made the reference, marked on the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from grannfield.foreign import calculator_field
from grannfield.report.board import ranked
from grannfield.report.kinship import by_call, by_name, by_weights, kinship, potentials
from grannfield.report.origins import KIN, kinship_of
from grannfield.report.results import Results, read_results
from grannfield.report.tables import write_reports
from grannfield.score import Score

SURROGATE = "surrogate: SevenNet-0 (11Jul2024)"


def results(label: str, r2: float, reference: str = SURROGATE, **model: object) -> Results:
    one = Results(label, {"kind": "calculator", **model}, {"preset": "brief"})
    for material in ("Li3PS4", "Li4GeS4"):
        stamp = {"reference": reference, "kinship": kinship(one.model, reference, material)}
        one.add(Score("force_r2", label, material, r2, "", "higher", 50, provenance=stamp))
    return one


def test_every_potential_has_its_facts_and_is_told_from_the_others() -> None:
    assert len({p.weights for p in potentials()}) == len({p.full_name for p in potentials()}) == len(potentials())
    for p in potentials():
        assert p.training and p.makers and len(p.weights) == 64 and ("10." in p.source or "https://" in p.source)
        assert by_weights([p.weights]) is p and by_name(p.full_name) is p
        assert all(by_call(p.package, [name.upper()]) is p for name in p.arguments)
    assert by_weights([p.weights for p in potentials()]) is None, "a calculator of two potentials is neither"
    assert sum(p.default for p in potentials() if p.package == "sevenn") == 1


@pytest.mark.parametrize(
    ("model", "reference", "expected"),
    [
        ({"potential": "SevenNet-l3i5"}, SURROGATE, "kin: same training set (MPtrj), same authors"),
        ({"potential": "CHGNet-0.3.0"}, SURROGATE, "kin: same training set (MPtrj)"),
        ({"potential": "SevenNet-0 (22May2024)"}, SURROGATE, "kin: same authors"),
        ({"potential": "SevenNet-0 (11Jul2024)"}, SURROGATE, "is the reference"),
        ({"potential": "CHGNet-0.3.0"}, "surrogate: SevenNet-0 (22May2024)", "none known"),
        ({"potential": "CHGNet-0.3.0"}, "AIMD: PBE", ""),
        ({"potential": "CHGNet-0.3.0"}, "surrogate: house blend", "unknown"),
        ({"potential": ""}, SURROGATE, "unknown"),
        ({"kin": ["MPtrj", "OMat24"]}, SURROGATE, "kin: same training set (MPtrj, declared)"),
        ({"kin": ["CHGNet-0.3.0"]}, SURROGATE, "kin: same training set (MPtrj, declared)"),
        ({"kin": ["SevenNet-0 (11Jul2024)"]}, SURROGATE, "kin: learnt from the reference's maker (declared)"),
        ({"kin": ["none"]}, SURROGATE, "none known (declared: none)"),
        ({"kin": ["OMat24"]}, "surrogate: house blend", "unknown (declared: OMat24)"),
        ({"provenance": {"reference": SURROGATE, "material": "Li3PS4"}}, SURROGATE, "trained on it"),
        ({"provenance": {"reference": SURROGATE, "material": "LGPS"}}, SURROGATE, "trained on its maker's labels"),
        ({"provenance": {"reference": "surrogate: SevenNet-l3i5"}}, SURROGATE, "kin: same training set (MPtrj), same authors"),
        ({"provenance": {"reference": "AIMD: PBE"}}, SURROGATE, "none known"),
    ],
)
def test_kinship(model: dict, reference: str, expected: str) -> None:
    assert kinship(model, reference, "Li3PS4") == expected


def test_the_board_marks_kin_and_ranks_the_reference_itself_last(tmp_path: Path) -> None:
    rows = [
        results("l3i5", 0.99, potential="SevenNet-l3i5"),
        results("itself", 1.0, potential="SevenNet-0 (11Jul2024)"),
        results("poor", 0.2, kin=["none"]),
    ]
    for one in rows:
        one.write(tmp_path)
    assert [one.label for one in ranked(rows)] == ["l3i5", "poor", "itself"]
    write_reports(tmp_path)
    board = (tmp_path / "leaderboard.md").read_text()
    lines = board.split("## What was scored, against what")[1].split("## ")[0].splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert "kinship" in table[0] and "preset" in table[0] and "brief" in table[1]
    assert [("kin: same training set (MPtrj), same authors" in line, "is the reference" in line) for line in table[1:]] == [
        *[(True, False)] * 2,
        *[(False, False)] * 2,
        *[(False, True)] * 2,
    ]
    assert KIN in board and "trained on MPtrj (https://github.com/MDIL-SNU/SevenNet" in board
    stored = read_results(tmp_path / "results" / "l3i5.json").scores["force_r2", "Li3PS4"].provenance
    assert stored["kinship"] == "kin: same training set (MPtrj), same authors"


def test_results_from_before_kinship_was_stored_are_marked_too() -> None:
    one = results("old", 0.9, potential="CHGNet-0.3.0")
    for score in one.scores.values():
        score.provenance.pop("kinship")
    assert kinship_of(one, "Li3PS4") == "kin: same training set (MPtrj)"


@pytest.mark.filterwarnings("default")  # of another package
@pytest.mark.parametrize("name", ["7net-0", "7net-l3i5", "7net-0_22may2024"])
def test_the_weights_in_the_wheels_are_recognised(name: str) -> None:
    pytest.importorskip("sevenn")
    known = by_call("sevenn", [name])
    assert known is not None
    assert calculator_field(f"sevenn.calculator:SevenNetCalculator({name!r}, device='cpu')").known_as == known.full_name


@pytest.mark.filterwarnings("default")
def test_chgnet_is_recognised() -> None:
    pytest.importorskip("chgnet")
    assert calculator_field("chgnet.model.dynamics:CHGNetCalculator(use_device='cpu')").known_as == "CHGNet-0.3.0"
