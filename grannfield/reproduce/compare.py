"""States of several budgets (or scales, or seeds) set side by side, from what is on disk in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grannfield.report.budgets import Trained, budgets_page
from grannfield.report.results import read_results
from grannfield.report.table import Page
from grannfield.reproduce.scales import BUDGETS, SCALES
from grannfield.reproduce.state import read
from grannfield.reproduce.weights import removed, story_of


def compared(states: Sequence[Path]) -> Page:
    """What each of the states has trained, and what its force fields became; FileNotFoundError for a folder that is no state."""
    order = list(SCALES["paper"].train_minutes)
    return budgets_page([one for state in states for one in trained_in(state)], order)


def trained_in(state: Path) -> list[Trained]:
    """All trainings of a state, finished or not, with their results."""
    plan = read(state / "plan.json")
    if plan is None:
        raise FileNotFoundError(f"{state} is no state of `grannfield reproduce`: it has no plan.json")
    budget, folders = str(plan.get("budget", "time")), sorted((state / "reports" / "checkpoints").glob("*"))
    found = []
    for folder in folders:
        model = folder.name.removesuffix(f"@{budget}")
        note = removed(folder)
        story: dict[str, Any] | None = story_of(folder / "best.safetensors")
        if note is not None:
            story = note["provenance"] | {"n_parameters": note.get("n_parameters")}
        path = state / "reports" / "results" / f"{folder.name}.json"
        results = read_results(path) if path.exists() else None
        found.append(Trained(model, budget, str(plan.get("scale", "")), _allowed(plan, model), str(state), story or {}, results))
    return found


def _allowed(plan: dict[str, Any], model: str) -> str:
    """The budget of a model in the words of its scale, from what the plan of the state says."""
    budget, scale = str(plan.get("budget", "time")), SCALES["paper"]
    if budget not in BUDGETS:
        return budget
    return scale.with_budget_of(plan).allowance(model)
