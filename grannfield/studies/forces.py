"""Forces of a model on frames, made once and kept, and what the suite's own estimators say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.analysis.equivalence import difference_of
from grannfield.analysis.uncertainty import Estimate
from grannfield.data.dataset import FrameSet
from grannfield.data.predicted import read_predictions, write_predictions
from grannfield.forcefield import UnsupportedElement
from grannfield.harness import PREDICTION_CODE, Predictions, predict
from grannfield.motion import Subject, hash_of

NO_ELEMENT = "element not supported"
SHOWN = {"force_r2": ("r2", 1.0), "force_mae_meV_per_A": ("mae", 1e3), "force_slope": ("slope", 1.0)}
"""Numbers of a report: the estimate in `ForceErrors` and the factor to the report's unit."""


def unsupported(subject: Subject, test: FrameSet) -> str:
    """Why a model cannot run on frames, by the elements it was trained on; empty when it can."""
    try:
        subject.field.require_elements(test.z)
    except UnsupportedElement as problem:
        return str(problem)
    return ""


def kept_at(subject: Subject, test: FrameSet, state: Path) -> Path:
    """Where predictions are kept: by weights, frames, precision and code."""
    key = hash_of(subject.identity, test.sha256, subject.field.precision, provenance.code_hash(*PREDICTION_CODE))
    return state / "predictions" / f"{key}.npz"


def made(subject: Subject, test: FrameSet, state: Path) -> bool:
    return bool(unsupported(subject, test)) or kept_at(subject, test, state).exists()


def make(subject: Subject, test: FrameSet, state: Path, device: str) -> None:
    """Predict and keep; work that is cut off goes on on the same hardware."""
    if made(subject, test, state):
        return
    path, stamp = kept_at(subject, test, state), provenance.stamp(device, subject.field.precision)
    partial = path.with_suffix(".partial.npz")
    energy, forces = predict(subject.field, test, device, kept=partial, by=stamp["hardware"])
    write_predictions(path, energy, forces, stamp)
    partial.unlink(missing_ok=True)


def judged(subject: Subject, test: FrameSet, state: Path, what: str, temperatures: Sequence[float] = ()) -> Predictions | None:
    """The predictions that were kept, None where there are none; temperatures: of runs in time, empty for unordered frames."""
    path = kept_at(subject, test, state)
    if not path.exists():
        return None
    energy, forces, made_on = read_predictions(path)
    return Predictions(test, energy, forces, what, made_on, tuple(temperatures))


def numbers(found: Predictions) -> dict[str, Any]:
    """The force errors of a report, each with interval and n."""
    errors = found.force_errors
    return {key: getattr(errors, name).parts(factor) for key, (name, factor) in SHOWN.items()}


def cell(subject: Subject, test: FrameSet, state: Path, what: str, temperatures: Sequence[float] = ()) -> dict[str, Any]:
    """One cell of a table: numbers, or the reason why there are none."""
    if why := unsupported(subject, test):
        return {"reason": NO_ELEMENT, "detail": why}
    found = judged(subject, test, state, what, temperatures)
    if found is None:
        return {"reason": "not run", "detail": ""}
    return {**numbers(found), "frames": len(test), "made_on": found.made_on["hardware"], "reason": "", "detail": ""}


def estimate(parts: dict[str, Any]) -> Estimate:
    """The estimate that `parts` were made of, as far as a report keeps it."""
    low, high = (end if end is not None else sign * float("inf") for end, sign in zip(parts["interval"], (-1, 1), strict=True))
    if parts["reason"]:
        return Estimate.missing(parts["reason"], n=parts["n"], interval=(low, high))
    return Estimate(parts["value"], (low, high), parts["n"])


def price(own: dict[str, Any], other: dict[str, Any], key: str) -> dict[str, Any]:
    """How much a number of another model differs on the same frames, other - own.

    The interval takes the two errors for independent, which on the same frames makes it wide rather than narrow.
    """
    return difference_of(estimate(other[key]), estimate(own[key])).parts()
