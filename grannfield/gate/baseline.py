"""The scores that later ones are held against: one JSON file with what the tests need, a results file, or a reports folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grannfield.files import compact_json, write_atomically
from grannfield.report.results import Results, ResultsError, all_results, read_results
from grannfield.score import Score

KIND, FORMAT = "grannfield baseline", 1
PARTS = (
    "by_run", "floor", "test", "temperature_K", "reference", "hardware", "precision", "rounds_s", "yardstick_s", "yardstick",
    "steps_per_round", "replicas",
)  # fmt: skip
"""Parts of a score on which the comparison rests."""
RUN = ("temperature_K", "replica", "value", "reason")
"""Of a single run or stretch of frames."""
MODEL = ("name", "identity", "precision", "kind", "reduced")
SAME = ("preset", "described", "ramp_ps", "length_ps", "seed", "split", "reference")
"""Of a protocol, what must be equal for numbers to be comparable; hardware only matters to speed."""


class BaselineError(ValueError):
    """A baseline cannot be read, or was made in another way."""


def write_baseline(path: Path, results: Sequence[Results]) -> Path:
    """Store results as a baseline, without what no test needs."""
    models = [packed(one) for one in sorted(results, key=lambda one: one.label)]
    content = {"kind": KIND, "format": FORMAT, "models": models}
    write_atomically(path, compact_json(content) + "\n")
    return path


def read_baseline(path: Path) -> list[Results]:
    """The results in a baseline, a results file or a reports folder; BaselineError, naming it, when there are none."""
    if path.is_dir():
        found = all_results(path)
        if not found:
            raise BaselineError(f"--baseline {path}: the folder has no results/*.json; run `pytest benchmarks/ --reports {path}`")
        return found
    if not path.exists():
        raise BaselineError(f"--baseline {path}: there is no such file; make one: grannfield gate --write-baseline {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("kind") != KIND:
            return [read_results(path)]
        if content["format"] > FORMAT:
            raise BaselineError(f"--baseline {path} has format {content['format']}, this version reads up to {FORMAT}")
        return [unpacked(values) for values in content["models"]]
    except BaselineError:
        raise
    except (ResultsError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BaselineError(f"--baseline {path} is neither a baseline nor a results file ({problem})") from problem


def differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """In what two protocols differ that makes their numbers incomparable, in words.

    >>> differing({"preset": "quick", "seed": 0}, {"preset": "smoke", "seed": 0})
    ["preset: 'quick' then, 'smoke' now"]
    """
    changed = [key for key in SAME if old.get(key) != new.get(key)]
    if "preset" in changed:  # the rest follows from it
        changed = [key for key in changed if key not in ("described", "ramp_ps", "length_ps")]
    return [f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in changed]


def require_comparable(path: Path, baseline: Sequence[Results], labels: Sequence[str], protocol: dict[str, Any]) -> None:
    """BaselineError where nothing could be compared: no model in common, or another protocol for one of them."""
    known = {one.label: one for one in baseline}
    if not set(labels) & set(known):
        raise BaselineError(
            f"--baseline {path} has {', '.join(sorted(known)) or 'no model'}, this session {', '.join(labels)}: nothing in common"
        )
    for label in labels:
        if label in known and (said := differing(known[label].protocol, protocol)):
            raise BaselineError(f"--baseline {path} was made differently ({label}: {'; '.join(said)}); give the same options")


def mark(score: Score) -> str:
    """Which runs of a reference a score rests on, as a short hash; empty where it does not say."""
    runs = score.provenance.get("reference_runs") or ""
    return runs if isinstance(runs, str) else hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()[:12]


def _slim(score: Score) -> dict[str, Any]:
    values = score.to_dict()
    values["parts"] = {key: values["parts"][key] for key in PARTS if key in values["parts"]}
    if "by_run" in values["parts"]:
        values["parts"]["by_run"] = [{key: one[key] for key in RUN if key in one} for one in values["parts"]["by_run"]]
    values["provenance"] = {"reference": score.provenance.get("reference", ""), "reference_runs": mark(score)}
    return {
        key: value for key, value in values.items() if value is not None and value != "" and value != {} and value is not False
    }


def packed(one: Results) -> dict[str, Any]:
    """A model's results as a baseline keeps them."""
    scores = [_slim(one.scores[key]) for key in sorted(one.scores)]
    own = [_slim(one.reference[key]) for key in sorted(one.reference)]
    model = {key: one.model.get(key) for key in MODEL}
    return {"label": one.label, "model": model, "protocol": one.protocol, "scores": scores, "reference": own}


def unpacked(values: dict[str, Any]) -> Results:
    """The inverse of `packed`."""
    results = Results(values["label"], values["model"], values["protocol"])
    for one in values["scores"]:
        results.add(Score.from_dict({"value": None, **one}))
    for one in values["reference"]:
        results.add_reference(Score.from_dict({"value": None, **one}))
    return results
