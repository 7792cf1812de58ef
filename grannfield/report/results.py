"""Results on disk: one JSON file for each model, every number with its provenance.

Each distinct stamp of provenance is kept once (since format 2): `stamps` is a list, a score says which it has, and what stamps
have in common (versions, machines, reference runs, pieces of evidence) stands once in `shared`, under the key it had: a stamp
refers to it by the key with `@` before it. A score is a line of the file, without the fields that have their default; a list of
dictionaries with the same keys is one dictionary of lists there, under `@columns` (since format 3), a number has ten digits.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import MISSING, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from grannfield.files import compact_json, json_lines, write_atomically
from grannfield.score import Score

FORMAT = 3
MARK = "@"
"""Before a key whose value stands in the shared table."""
COLUMNS = MARK + "columns"
DIGITS = 10
"""That numbers of a score are written with: more than any interval has, and than `grannfield verify` compares."""
DEFAULTS = {one.name: one.default for one in fields(Score) if one.default is not MISSING} | {"value": None, "parts": {}}
"""What a score of the file has where it does not say."""


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
        write_atomically(path, self.text)
        return path

    @property
    def text(self) -> str:
        """The results as a file: a line for each score, each stamp and each thing that stamps share."""
        table = _Table()
        scores = [_score(self.scores[key], table) for key in sorted(self.scores)]
        reference = [_score(self.reference[key], table) for key in sorted(self.reference)]
        shared = ",\n".join(f"  {json.dumps(key)}: {json_lines(rows, '   ')}" for key, rows in sorted(table.shared.items()))
        parts = [
            f' "format": {FORMAT}',
            f' "label": {compact_json(self.label)}',
            f' "model": {_entries(self.model)}',
            f' "protocol": {_entries(self.protocol)}',
            f' "reference": {json_lines(reference)}',
            f' "scores": {json_lines(scores)}',
            f' "shared": {{\n{shared}\n }}' if shared else ' "shared": {}',
            f' "stamps": {json_lines(table.stamps)}',
        ]
        return "{\n" + ",\n".join(parts) + "\n}\n"


class _Table:
    """Stamps of provenance, and what they share, each once and in the order in which they come."""

    def __init__(self) -> None:
        self.stamps: list[Any] = []
        self.shared: dict[str, list[Any]] = {}
        self.known: dict[tuple[str, str], int] = {}

    def stamp(self, provenance: dict[str, Any]) -> int:
        return self._number("", self.folded(provenance), self.stamps)

    def folded(self, value: dict[str, Any]) -> dict[str, Any]:
        """A dictionary whose dictionaries, and lists of them, are numbers of entries in the shared table."""
        found: dict[str, Any] = {}
        for key, item in sorted(value.items()):
            if key.startswith(MARK):
                raise ResultsError(f"a key of provenance may not begin with {MARK}: {key!r}")
            if isinstance(item, dict) and item:
                found[MARK + key] = self._entry(key, item)
            elif isinstance(item, list) and item and all(isinstance(one, dict) for one in item):
                found[MARK + key] = [self._entry(key, one) for one in item]
            else:
                found[key] = item
        return found

    def _entry(self, key: str, value: dict[str, Any]) -> int:
        return self._number(key, self.folded(value), self.shared.setdefault(key, []))

    def _number(self, key: str, value: Any, rows: list[Any]) -> int:
        text = json.dumps(value, sort_keys=True)
        if (key, text) not in self.known:
            self.known[key, text] = len(rows)
            rows.append(value)
        return self.known[key, text]


def _unfolded(value: dict[str, Any], shared: dict[str, list[Any]]) -> dict[str, Any]:
    """The inverse of `_Table.folded`."""
    found = {}
    for key, item in value.items():
        name = key.removeprefix(MARK)
        if key == name:
            found[key] = item
        elif isinstance(item, list):
            found[name] = [_unfolded(shared[name][n], shared) for n in item]
        else:
            found[name] = _unfolded(shared[name][item], shared)
    return found


def _in_columns(value: Any) -> Any:
    """The value with every list of at least two dictionaries of the same keys as a dictionary of lists, and numbers rounded."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        if COLUMNS in value:
            raise ResultsError(f"a key of a score may not be {COLUMNS}")
        return {key: _in_columns(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    rows = len(value) > 1 and all(isinstance(one, dict) and one and one.keys() == value[0].keys() for one in value)
    return (
        {COLUMNS: {key: [_in_columns(one[key]) for one in value] for key in value[0]}} if rows else list(map(_in_columns, value))
    )


def _in_rows(value: Any) -> Any:
    """The inverse of `_in_columns`."""
    if isinstance(value, list):
        return [_in_rows(one) for one in value]
    if not isinstance(value, dict):
        return value
    if COLUMNS not in value:
        return {key: _in_rows(item) for key, item in value.items()}
    columns = {key: [_in_rows(one) for one in items] for key, items in value[COLUMNS].items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _score(score: Score, table: _Table) -> dict[str, Any]:
    values = score.to_dict()
    values |= {key: _in_columns(values[key]) for key in ("value", "interval", "parts")}
    values["provenance"] = table.stamp(values["provenance"])
    return {key: value for key, value in values.items() if key == "provenance" or value != DEFAULTS.get(key, MISSING)}


def _entries(values: dict[str, Any]) -> str:
    """A dictionary with a line for each of its keys."""
    text = ",\n".join(f"  {json.dumps(key)}: {compact_json(values[key])}" for key in sorted(values))
    return f"{{\n{text}\n }}" if text else "{}"


def read_results(path: Path) -> Results:
    """The results in one file; ResultsError, naming the file, when it is damaged or from a later version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise ResultsError(f"{path} has format {content['format']}; this version reads up to {FORMAT}: upgrade grannfield")
        stamps = None if content["format"] == 1 else [_unfolded(stamp, content["shared"]) for stamp in content["stamps"]]
        results = Results(content["label"], content["model"], content["protocol"])
        for values in content["scores"]:
            results.add(_read_score(values, stamps))
        for values in content["reference"]:
            results.add_reference(_read_score(values, stamps))
    except ResultsError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as problem:
        raise ResultsError(f"{path} is not a results file ({problem!r}); delete it and run the benchmarks again") from problem
    return results


def _read_score(values: dict[str, Any], stamps: list[dict[str, Any]] | None) -> Score:
    """A score of a file of format 1, which has no table of stamps and no columns, or of a later one."""
    if stamps is not None:
        values = {"value": None, **values, "provenance": dict(stamps[values["provenance"]])}
        values["parts"] = _in_rows(values.get("parts", {}))
    return Score.from_dict(values)


def all_results(folder: Path) -> list[Results]:
    """All results under a reports folder."""
    return [read_results(path) for path in sorted((folder / "results").glob("*.json"))]


def continued(folder: Path, new: Results) -> Results:
    """What is stored for the same model under the same protocol, to be added to; otherwise the new, empty results.

    Scores of other weights or another protocol never mix with new ones: they are replaced as soon as there is one (`set_aside`).
    """
    path = new.path(folder)
    if path.exists():
        stored = read_results(path)
        if not _apart(stored, new):
            stored.model = new.model
            return stored
    return new


def set_aside(folder: Path, new: Results) -> Path | None:
    """Before `new` takes the place of scores of other weights or another protocol: keep those in a file of their own, and say so.

    Returns the file, under REPORTS/store/replaced; None where nothing is replaced. Call it with the lock of the file held.
    """
    path = new.path(folder)
    if not path.exists() or not (other := _apart(stored := read_results(path), new)):
        return None
    content = path.read_bytes()
    kept = folder / "store" / "replaced" / f"{path.stem}.{sha256(content).hexdigest()[:12]}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, content)
    warnings.warn(
        f"{path}: {len(stored.scores)} scores are replaced, because they do not mix with new ones ({'; '.join(other)}). They are "
        f"kept in {kept}: move it back to undo",
        stacklevel=2,
    )
    return kept


def _apart(stored: Results, new: Results) -> list[str]:
    """Why scores of the two cannot stand in one file, in words."""
    weights = [one.model.get("identity") for one in (stored, new)]
    other = [] if weights[0] == weights[1] else ["other weights"]
    keys = [key for key in stored.protocol | new.protocol if stored.protocol.get(key) != new.protocol.get(key)]
    return other + [f"{key} {stored.protocol.get(key)!r}, now {new.protocol.get(key)!r}" for key in keys]
