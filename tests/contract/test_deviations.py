"""Tables from stored measurements alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from grannfield.report.contract import ContractError, contract_path, measured_symmetry, read_contract, write_contract
from grannfield.report.deviations import write_deviations
from grannfield.report.results import Results
from grannfield.report.table1 import table1
from grannfield.report.tables import write_reports
from grannfield.score import Score


def found(check: str, value: float | None, verdict: str = "pass", precision: str = "float64", **more: Any) -> dict[str, Any]:
    empty = {"n": 8, "of": "cases", "bounds": "≤ 0.1", "detail": "", "claim": "claimed"}
    return empty | {"check": check, "value": value, "verdict": verdict, "precision": precision} | more


def measured(rotation: float | None = 2e-7, claim: str = "exact", **values: float) -> dict[str, Any]:
    """One behaviour; values by check name with underscores for blanks and hyphens."""
    exact = {"reflection": 3e-15, "translation": 1e-14, "re-wrapping": 1e-14, "extensivity": 1e-14}
    numbers = exact | {{"re_wrapping": "re-wrapping"}.get(key, key): value for key, value in values.items()}
    verdict = "pass" if claim == "exact" else "not judged"
    findings = [found("rotation", rotation, verdict, "float32"), found("rotation", 1e-14, verdict)]
    findings += [found(key, value, "FAIL" if value > 1e-3 else "pass", detail=f"seen in {key}") for key, value in numbers.items()]
    return {
        "label": "schnet", "findings": findings, "failed": [], "seed": 0, "n_parameters": 494_209, "conservative": True,
        "claims": {"rotation": claim, "reflection": True, "continuous": True}, "differences": ["one", "two"],
        "weights": {"gain": 1.25, "rms_force": 0.7}, "reduced": {},
        "provenance": {
            "versions": {"grannfield": "0.1.0", "torch": "2.13.0"}, "hardware": "a processor", "date": "2026-11-22 12:00 UTC",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (measured(), "E(3): rotation 2e-7"),
        (measured(reflection=0.5), "SE(3): rotation 2e-7, reflection 5e-1"),
        (measured(translation=0.01), "O(3): rotation 2e-7, not translation 1e-2"),
        (measured(rotation=0.03, claim="approximate"), "approximate: rotation 3e-2"),
        (measured(rotation=0.03, claim="approximate", translation=0.02), "approximate: rotation 3e-2, not translation 2e-2"),
        (
            measured(rotation=0.03, claim="approximate", translation=0.02, repeatability=0.02),
            "approximate: rotation 3e-2, repeated calls differ by 2e-2",
        ),
        (measured(rotation=0.7, claim="none"), "translation only: rotation 7e-1"),
        (measured(rotation=0.7), "translation only: rotation 7e-1"),
        (measured(rotation=0.7, re_wrapping=0.1), "none: rotation 7e-1, re-wrapping 1e-1"),
        (measured(rotation=None), "translation only: rotation infinite"),
        ({"findings": [found("alive: size of forces", 0.0, "FAIL")]}, "not measured: vacuous"),
        ({"findings": []}, "not measured"),
    ],
)
def test_the_symmetry_is_what_was_measured_not_what_is_claimed(one: dict[str, Any], words: str) -> None:
    assert measured_symmetry(one) == words


def test_deviations_hold_every_number_of_both_behaviours(tmp_path: Path) -> None:
    both = {"default": measured(), "published": measured(extensivity=0.5)}
    write_contract(contract_path(tmp_path, "schnet"), "schnet", both)
    path = write_deviations(tmp_path)
    assert path is not None
    text = path.read_text()
    assert "| SchNet  | published   | 494,209 " in text and "**5e-1**" in text and "\n- one\n- two\n" in text
    assert "- published: extensivity: seen in extensivity" in text
    assert "| extensivity | float64     | 8 cases | ≤ 0.1       | **5e-1**    | 1e-14     |" in text
    assert "seed of the weights: 0" in text and "torch 2.13.0" in text and "a processor" in text
    first = path.read_bytes()
    write_deviations(tmp_path)
    assert path.read_bytes() == first


def test_nothing_measured_is_no_file(tmp_path: Path) -> None:
    assert write_deviations(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "is no file of measurements"),
        (lambda text: json.dumps({**json.loads(text), "format": 99}), "has format 99; this version reads up to 1"),
        (lambda text: json.dumps({**json.loads(text), "behaviours": {"default": {}}}), "is no file of measurements"),
        (lambda text: "[]", "is no file of measurements"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    path = contract_path(tmp_path, "schnet")
    write_contract(path, "schnet", {"default": measured()})
    path.write_text(damage(path.read_text()))
    with pytest.raises(ContractError, match=message) as problem:
        read_contract(path)
    assert str(path) in str(problem.value)


def scored(**model: Any) -> Results:
    one = Results(
        "schnet", {"name": "schnet", "n_parameters": 494_209, "symmetry": "E(3)-invariant", **model}, {"preset": "smoke"}
    )
    one.add(Score("force_r2", "schnet", "Li3PS4", 0.9, "", "higher", 50))
    return one


def test_table_1_shows_the_measured_symmetry(tmp_path: Path) -> None:
    both = {"default": measured(), "published": measured(translation=0.5)}
    unmeasured = table1([scored()]).set_index("model").loc["schnet"]
    assert unmeasured["symmetry, default"] == "not measured (claimed E(3)-invariant)"
    assert unmeasured["symmetry, published code"] == "not measured" and unmeasured["epochs"] == "unknown"
    for settings in ({}, {"settings": {"as_published": True}}):
        row = table1([scored(**settings)], {"schnet": both}).set_index("model").loc["schnet"]
        assert (row["symmetry, default"], row["symmetry, published code"]) == ("E(3)", "O(3)")
        assert row["symmetry, paper"] == "E(3)-invariant"


def test_reports_are_written_with_and_without_measurements(tmp_path: Path) -> None:
    scored().write(tmp_path)
    assert not any(path.name == "deviations.md" for path in write_reports(tmp_path))
    write_contract(contract_path(tmp_path, "cgcnn"), "cgcnn", {"default": measured()})
    assert any(path.name == "deviations.md" for path in write_reports(tmp_path))
    assert re.search(r"\| CGCNN +\| E\(3\) +\| not measured ", (tmp_path / "table1.md").read_text())
