"""The paper's Table 1, ours beside the published: symmetry, parameters, epochs within the budget, speed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from grannfield.report import paper
from grannfield.report.board import row_name
from grannfield.report.contract import measured_symmetry
from grannfield.report.results import Results
from grannfield.score import significant


def table1(results: list[Results], measured: dict[str, dict[str, dict[str, Any]]] | None = None) -> pd.DataFrame:
    """The paper's Table 1, ours beside the published: symmetry as measured, parameters, epochs within the budget, speed.

    `measured` is what `grannfield check` found, by model and behaviour; behaviours without results follow below.
    """
    published, rows = paper.table1(), []
    measured = measured or {}
    for one in results:
        if one.model.get("kind") == "trajectories":
            continue  # no network, nothing trained
        model, story = one.model, one.model.get("provenance") or {}
        theirs = published.get(str(model.get("name", "")).partition("@")[0], {})
        speed = one.scores.get(("ns_per_day", "Li10GeP2S12"))
        whole = story.get("whole_budget", story)
        budget = f"{story['budget_s'] / 60:g} min" if "budget_s" in story else "unknown"
        rows.append(
            {
                "model": row_name(one),
                "symmetry measured": _symmetry(one, measured),
                "symmetry published": theirs.get("symmetry", ""),
                "parameters (million)": f"{model.get('n_parameters', 0) / 1e6:.2f}",
                "published ": theirs.get("parameters_million", ""),
                "epochs": f"{whole['epochs']:.3g} of {story['training_frames']} frames in {budget}"
                if "epochs" in whole
                else "unknown",
                "published (10 h, 30,000 frames)": theirs.get("epochs_in_10h", ""),
                "samples/s": significant(whole["samples_per_s"]) if "samples_per_s" in whole else "unknown",
                "trained on": story.get("hardware", "unknown"),
                "ns/day": "" if speed is None else speed.text,
                "published ns/day (RTX 4090)": theirs.get("md_ns_per_day", ""),
            }
        )
    shown = {_behaviour(one) for one in results if not one.model.get("reduced")}
    for name, both in measured.items():
        rows += [_untrained(name, key, one) for key, one in sorted(both.items()) if (name, key) not in shown]
    return pd.DataFrame(rows).fillna("")


def _behaviour(one: Results) -> tuple[str, str]:
    """(registered name, "default" or "published") of a model with results."""
    settings = one.model.get("settings") or {}
    name, _, published = str(one.model.get("name", "")).partition("@")
    return name, "published" if settings.get("as_published") or published else "default"


def _symmetry(one: Results, measured: dict[str, dict[str, dict[str, Any]]]) -> str:
    """What `grannfield check` saw of a model's architecture, or that nobody looked."""
    name, behaviour = _behaviour(one)
    found = measured.get(name, {}).get(behaviour)
    return measured_symmetry(found) if found else f"not measured (claimed {one.model.get('symmetry', 'nothing')})"


def _untrained(name: str, behaviour: str, measured: dict[str, Any]) -> dict[str, str]:
    """A row of Table 1 for an architecture that was measured and has no results."""
    theirs = paper.table1().get(name, {})
    return {
        "model": name if behaviour == "default" else f"{name}@published",
        "symmetry measured": measured_symmetry(measured),
        "symmetry published": theirs.get("symmetry", ""),
        "parameters (million)": f"{measured.get('n_parameters', 0) / 1e6:.2f}",
        "published ": theirs.get("parameters_million", ""),
        "epochs": "not scored at this size",
        "published (10 h, 30,000 frames)": theirs.get("epochs_in_10h", ""),
        "published ns/day (RTX 4090)": theirs.get("md_ns_per_day", ""),
    }
