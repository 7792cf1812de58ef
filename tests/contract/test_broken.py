"""Every check sees what it is there for, and nothing else does: fields broken on purpose."""

from __future__ import annotations

import pytest

from grannfield import forcefield
from grannfield.contract.check import CHECKS, measure
from grannfield.contract.verdict import Finding
from grannfield.forcefield import ForceField
from tests.contract import fields
from tests.contract.fields import opened

NUMBERS = ("forces against the energy", "stress against the energy")
BROKEN: list[tuple[type[ForceField], set[str]]] = [
    (fields.Sound, set()),
    (fields.ScaledForces, {"forces against the energy"}),
    (fields.ScaledStress, {"stress against the energy"}),
    (fields.Pushed, {"forces against the energy", "net force", "rotation", "reflection"}),
    (fields.Lossy, {"forces against the energy", "NVE drift"}),
    (
        fields.Tethered,
        {"translation", "re-wrapping", "rotation", "reflection", "extensivity", *NUMBERS},
    ),
    (fields.OneAxis, {"rotation"}),
    (fields.Handed, {"reflection"}),
    (fields.Ordered, {"permutation", "extensivity"}),
    (fields.Random, {"repeatability"}),
    (fields.Mean, {"extensivity"}),
    (fields.Crowded, {"batch = single"}),
    (fields.Truncated, {"jump of the energy", "NVE drift"}),
    (fields.Stepped, {"jump of the energy", "NVE drift"}),
]


def failed(findings: list[Finding]) -> set[str]:
    return {finding.check for finding in findings if finding.failed}


@pytest.mark.parametrize(("cls", "checks"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
def test_a_broken_field_fails_its_own_checks(cls: type[ForceField], checks: set[str]) -> None:
    findings = measure(opened(cls()), 0)
    assert not [f.detail for f in findings if f.verdict == "ERROR"]
    assert {f.check for f in findings if not f.check.startswith("alive")} == set(CHECKS)
    assert failed(findings) == checks


@pytest.mark.parametrize(("cls", "check"), [(fields.Zero, "size of forces"), (fields.Springs, "curvature"), (fields.Raising, "")])
def test_nothing_is_measured_where_there_is_nothing(cls: type[ForceField], check: str) -> None:
    """Not even symmetries that hold: whatever holds for zero, or for springs, holds for nothing."""
    findings = measure(opened(cls()), 0)
    assert all(finding.check.startswith("alive") for finding in findings)
    assert any(check in finding.check for finding in findings if finding.failed)


def test_a_number_that_is_in_no_file_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forcefield, "_REGISTRY", {"forgetful": fields.Forgetful})
    findings = measure(opened(forcefield.create("forgetful")), 0, only=("save = load", "repeatability"))
    assert failed(findings) == {"save = load"}


def test_what_is_not_claimed_is_measured_and_not_judged() -> None:
    findings = {finding.check: finding for finding in measure(opened(fields.Direct()), 0)}
    for check in ("rotation", "reflection", "forces against the energy", "net force", "NVE drift"):
        assert findings[check].verdict == "not judged" and findings[check].value > 1e-2, check
    assert findings["stress against the energy"].verdict == "n/a"
    assert findings["translation"].verdict == findings["jump of the energy"].verdict == "pass"
    assert not failed(list(findings.values()))


@pytest.mark.parametrize(("mine", "theirs", "verdict"), [("Roughly", "Worse", "pass"), ("Worse", "Roughly", "FAIL")])
def test_an_approximate_symmetry_must_not_be_worse_than_published(mine: str, theirs: str, verdict: str) -> None:
    rival = opened(getattr(fields, theirs)()).subject
    (rotation,) = (
        f for f in measure(opened(getattr(fields, mine)(), rival=rival), 0, only=("rotation",)) if f.check == "rotation"
    )
    assert rotation.verdict == verdict and rotation.parts["published"] > 1e-3
    alone = measure(opened(getattr(fields, mine)()), 0, only=("rotation",))[-1]
    assert alone.verdict == "not judged" and alone.value == rotation.value


def test_the_same_seed_measures_the_same_numbers() -> None:
    one, two, other = (measure(opened(fields.Sound()), seed, only=("rotation", "NVE drift")) for seed in (0, 0, 1))
    assert one == two and [f.value for f in one] != [f.value for f in other]
