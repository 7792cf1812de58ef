"""By which clock the budget of a training is counted."""

from __future__ import annotations

import time
from pathlib import Path

from grannfield.budget import WALL, Clock, device_clock
from grannfield.forcefield import load
from grannfield.train import fit
from tests.test_train import TRAIN, VALIDATION, tiny


def test_the_budget_is_counted_by_the_clock_that_is_given(tmp_path: Path) -> None:
    """A clock that moves by 1 s at each look: once for each step, twice for each validation (budget/20 is less than a step)."""
    ticks = iter(range(10_000))
    path = fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=6.0, clock=Clock("looks", lambda: float(next(ticks))))
    story = load(path).provenance
    assert story["clock"] == "looks" and story["whole_budget"]["seconds"] >= 6 and story["whole_budget"]["steps"] == 3


def test_work_elsewhere_takes_nothing_from_a_budget_of_processor_time() -> None:
    clock, begin = device_clock("cpu"), time.monotonic()
    before = clock.now()
    time.sleep(0.3)
    assert clock.now() - before < 0.5 * (time.monotonic() - begin) and "processor time" in clock.name
    assert device_clock("cuda") is WALL
