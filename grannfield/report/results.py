"""Results on disk: one JSON file for each model, every number with its provenance."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grannfield.files import write_atomically
from grannfield.score import Score

FORMAT = 1


class ResultsError(ValueError):
    """A results file cannot be read."""


@dataclass
class Results:
    """The scores of one model, and of the references they were measured against."""

    label: str
    model: dict[str, Any] = field(default_factory=dict)
    """Name, weights hash, parameters, symmetry, and how the weights came to be."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """Preset, seed, split, device: what makes two sets of scores comparable."""
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    """By (metric, material)."""
    reference: dict[tuple[str, str], Score] = field(default_factory=dict)
    """The reference's own numbers, by (metric, material)."""

    def add(self, score: Score) -> None:
        self.scores[score.metric, score.material] = score

    def add_reference(self, score: Score) -> None:
        self.reference[score.metric, score.material] = score

    @property
    def materials(self) -> list[str]:
        return sorted({material for _, material in self.scores})

    def path(self, folder: Path) -> Path:
        """Where these results live under a reports folder."""
        return folder / "results" / (re.sub(r"[^\w.@+-]", "_", self.label) + ".json")

    def write(self, folder: Path) -> Path:
        """Store under a reports folder, atomically."""
        path = self.path(folder)
        content = {
            "format": FORMAT,
            "label": self.label,
            "model": self.model,
            "protocol": self.protocol,
            "scores": [self.scores[key].to_dict() for key in sorted(self.scores)],
            "reference": [self.reference[key].to_dict() for key in sorted(self.reference)],
        }
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n")
        return path


def read_results(path: Path) -> Results:
    """The results in one file; ResultsError, naming the file, when it is damaged or from a later version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ResultsError(f"{path} has format {content['format']}; this version reads up to {FORMAT}: upgrade grannfield")
        results = Results(content["label"], content["model"], content["protocol"])
        for values in content["scores"]:
            results.add(Score.from_dict(values))
        for values in content["reference"]:
            results.add_reference(Score.from_dict(values))
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as problem:
        raise ResultsError(f"{path} is not a results file ({problem!r}); delete it and run the benchmarks again") from problem
    return results


def all_results(folder: Path) -> list[Results]:
    """All results under a reports folder."""
    return [read_results(path) for path in sorted((folder / "results").glob("*.json"))]


def continued(folder: Path, new: Results) -> Results:
    """What is stored for the same model under the same protocol, to be added to; otherwise the new, empty results.

    Scores of other weights or another protocol never mix with new ones: they are replaced as soon as there is one.
    """
    path = new.path(folder)
    if path.exists():
        stored = read_results(path)
        if stored.model.get("identity") == new.model.get("identity") and stored.protocol == new.protocol:
            stored.model = new.model
            return stored
    return new
