"""ASE calculators: named on the command line, measured as they are."""

from __future__ import annotations

import pytest

from grannfield.contract.check import check_calculator, measure
from grannfield.contract.opened import make_calculator, open_calculator
from tests.contract.calculators import Wrapped

HERE = "tests.contract.calculators"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lj", "names no module"),
        ("ase.calculators.lj", "names no module"),
        ("no/such.py:Thing()", "names no module"),
        ("nowhere.at.all:Thing()", "cannot be imported"),
        (f"{HERE}:Nothing()", "has no Nothing"),
        (f"{HERE}:Wrapped(kind=open('x'))", "must be literals"),
        (f"{HERE}:Wrapped(**{{'kind': 'a'}})", "must be literals"),
        (f"{HERE}:Wrapped(", "is no call"),
        (f"{HERE}:Wrapped().inner", "is no call of a function by its name"),
        (f"{HERE}:sound(cutoff=3)", "unexpected keyword"),
    ],
)
def test_a_wrong_calculator_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="--calculator") as problem:
        make_calculator(text)
    assert message in str(problem.value)


def test_arguments_are_literals() -> None:
    assert make_calculator(f"{HERE}:Wrapped('noisy')").kind == "noisy"
    assert make_calculator(f"{HERE}:Wrapped(kind='stepped')").kind == "stepped"
    assert isinstance(make_calculator(f"{HERE}:Wrapped"), Wrapped)


@pytest.mark.parametrize(
    ("call", "failed"),
    [
        ("sound()", set()),
        ("Wrapped(kind='single')", set()),
        ("Wrapped(kind='noisy')", {"repeatability"}),
        ("Wrapped(kind='softened')", {"forces against the energy", "NVE drift"}),
        ("Wrapped(kind='stepped')", {"jump of the energy", "re-wrapping", "extensivity"}),
    ],
)
def test_a_calculator_keeps_or_breaks_what_most_claim(call: str, failed: set[str]) -> None:
    """The jump of the last one is found without being told where; its distances ignore periodic images."""
    report = check_calculator(f"{HERE}:{call}")
    found = {finding["check"]: finding for finding in report["findings"]}
    assert set(report["failed"]) == failed
    assert found["batch = single"]["verdict"] == found["save = load"]["verdict"] == "n/a"
    assert (found["stress against the energy"]["verdict"] == "n/a") == call.startswith("Wrapped")


def test_tolerances_follow_the_precision_that_is_found() -> None:
    only = ("rotation", "translation", "forces against the energy")
    double, single = (
        {finding.check: finding.high for finding in measure(open_calculator(f"{HERE}:Wrapped({kind})", 0), 0, only=only)}
        for kind in ("", "kind='single'")
    )
    assert all(double[check] and single[check] for check in only)
    assert double["translation"] == 1e-8 and 1e-7 < single["translation"] < 1e-4
    assert double["forces against the energy"] < 2e-5 < single["forces against the energy"] < 1e-2
    assert double["rotation"] == single["rotation"] == 1e-4


def test_a_calculator_without_forces_is_refused() -> None:
    with pytest.raises(ValueError, match="has no forces; it offers energy"):
        check_calculator(f"{HERE}:EnergyOnly()")
