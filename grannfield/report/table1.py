"""The paper's Table 1, ours beside the published: symmetry, parameters, epochs within the budget, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grannfield.report import paper
from grannfield.report.board import row_name
from grannfield.report.cells import behind, score_cell
from grannfield.report.contract import measured_symmetry
from grannfield.report.origins import budget_of, surrogate_note
from grannfield.report.results import Results
from grannfield.report.table import Cell, Page, Table, significant

if TYPE_CHECKING:
    from pandas import DataFrame

SPEED_ON = "Li10GeP2S12"
Measured = Mapping[str, Mapping[str, dict[str, Any]]]
"""What `grannfield check` found, by model and behaviour."""
HEAD = """Ours beside the paper's (Digital Discovery 3, 2177, 2024): its models had ten hours each on an RTX 4090. Symmetries are
measured on seeded weights, in the default behaviour of this package and in the published arithmetic; the errors are in
deviations.md. An empty place in a column of the paper: it has no such model."""


def table1(results: Sequence[Results], measured: Measured | None = None) -> DataFrame:
    """The whole table as a frame of texts."""
    return table1_page(results, measured).frame()


def table1_page(results: Sequence[Results], measured: Measured | None = None) -> Page:
    """Two tables, models in the paper's order: architectures, and what training and MD cost; other models follow."""
    entries = in_paper_order([one for one in results if one.model.get("kind") != "trajectories"])
    first = Table(
        "Architectures",
        "Symmetry as measured, and parameters in millions",
        ("model",),
        ("symmetry, default", "symmetry, published code", "symmetry, paper", "parameters (million)", "paper"),
        tuple(_architecture(name, one, measured or {}) for name, one in entries),
    )
    aimd = paper.table1()["AIMD"]["md_ns_per_day"]
    reference = (Cell(("AIMD (paper)",)), *[Cell()] * 5, _published("AIMD", "ns_per_day", aimd))
    costs = tuple(_costs(name, one) for name, one in entries)
    second = Table(
        "Epochs within the budget, and speed",
        f"Speed: NVT of {SPEED_ON} at 2 fs, one replica, median with quartiles",
        ("model",),
        ("epochs", "paper (10 h, 30,000 frames)", "samples/s", "budget and frames", "ns/day", "paper (RTX 4090)"),
        (reference, *costs),
        tuple(_hardware(results)),
    )
    return Page("table1", "Table 1: models, epochs within the budget, speed", (HEAD, surrogate_note(results)), (first, second))


def in_paper_order(results: Sequence[Results]) -> list[tuple[str, Results | None]]:
    """(registered name, results) of the paper's models in its order, None where there are none; others follow, with no name.

    Of a label with results of several scales, the one with a speed, or the first.
    """
    by_label: dict[str, Results] = {}
    for one in results:
        if one.label not in by_label or ("ns_per_day", SPEED_ON) in one.scores:
            by_label[one.label] = one
    found: list[tuple[str, Results | None]] = []
    for name in paper.TITLES:
        own = [one for one in by_label.values() if architecture(one) == name]
        found += [(name, one) for one in sorted(own, key=lambda one: one.label)] or [(name, None)]
    return found + [("", by_label[label]) for label in by_label if architecture(by_label[label]) not in paper.TITLES]


def architecture(one: Results) -> str:
    """The registered name of a model, without its behaviour."""
    return str(one.model.get("name", "")).partition("@")[0]


def behaviour(one: Results) -> str:
    """ "default" or "published"."""
    settings = one.model.get("settings") or {}
    return "published" if settings.get("as_published") or "@published" in str(one.model.get("name", "")) else "default"


def _name(name: str, one: Results | None) -> Cell:
    return Cell((row_name(one) if one is not None else paper.TITLES[name],))


def _architecture(name: str, one: Results | None, measured: Measured) -> tuple[Cell, ...]:
    found = measured.get(name, {})
    symmetries = [
        _symmetry(found.get(key), one if one is None or behaviour(one) == key else None) for key in ("default", "published")
    ]
    theirs = paper.table1().get(name, {})
    counted = one.model.get("n_parameters") if one is not None else found.get("default", {}).get("n_parameters")
    text = "not counted" if counted is None else f"{counted / 1e6:.2f}"
    record = (_record(one, name, "parameters", counted),) if counted is not None else ()
    return (_name(name, one), *symmetries, Cell((theirs["symmetry"],) if theirs else ()), Cell((text,), records=record),
            _published(name, "parameters", theirs.get("parameters_million", ""), 1e6))  # fmt: skip


def _symmetry(found: dict[str, Any] | None, one: Results | None) -> Cell:
    """The group in a word or two; the errors behind it in full. Without a measurement, what is claimed."""
    if not found:
        claimed = one.model.get("symmetry") if one is not None else None
        return Cell((f"not measured (claimed {claimed})" if claimed else "not measured",))
    whole = measured_symmetry(found)
    group, _, errors = whole.partition(": ")
    return Cell((f"approximate ({errors.partition(',')[0]})" if group == "approximate" else group,), full=whole)


def _costs(name: str, one: Results | None) -> tuple[Cell, ...]:
    theirs = paper.table1().get(name, {})
    epochs, samples, budget = _training(one, name)
    speed = Cell(("not scored",)) if one is None else _speed(one)
    return (_name(name, one), epochs, _published(name, "epochs", theirs.get("epochs_in_10h", "")), samples, budget, speed,
            _published(name, "ns_per_day", theirs.get("md_ns_per_day", "")))  # fmt: skip


def _training(one: Results | None, name: str) -> tuple[Cell, Cell, Cell]:
    """Epochs, samples per second, and what they were counted over."""
    if one is None:
        return Cell(("not scored",)), Cell(), Cell()
    story = one.model.get("provenance") or {}
    whole = story.get("whole_budget", story)
    if "epochs" not in whole:
        return (
            Cell(("unknown",)),
            Cell(("unknown",)),
            Cell(("trained elsewhere" if one.model.get("kind") == "calculator" else "unknown",)),
        )
    epochs = Cell((significant(whole["epochs"]),), records=(_record(one, name, "epochs", whole["epochs"]),))
    rate = whole.get("samples_per_s")
    samples = (
        Cell(("unknown",)) if rate is None else Cell((significant(rate),), records=(_record(one, name, "samples_per_s", rate),))
    )
    return epochs, samples, Cell((f"{budget_of(story) or 'unknown time'}, {story.get('training_frames', 'unknown'):,} frames",))


def _speed(one: Results) -> Cell:
    score = one.scores.get(("ns_per_day", SPEED_ON))
    return Cell(("not run",)) if score is None else score_cell(one, score)


def _record(one: Results | None, name: str, column: str, value: Any) -> dict[str, Any]:
    """Of a number that is counted, not measured; without results, of the architecture at the size of Table 1."""
    known = {"model": name, "source": "measured"} if one is None else behind(one)
    return known | {"column": column, "value": value, "n": 1, "note": "counted"}


def _published(name: str, column: str, text: str, scale: float = 1.0) -> Cell:
    if not text:
        return Cell()
    unit = "ns/day" if column == "ns_per_day" else ""
    record = {"model": name, "column": column, "value": float(text) * scale, "unit": unit, "source": "published"}
    return Cell((text,), records=(record,))


def _hardware(results: Sequence[Results]) -> list[str]:
    """On what was trained and timed, models on the same machine together."""
    trained: dict[str, list[str]] = {}
    timed: dict[str, list[str]] = {}
    for one in results:
        machine = (one.model.get("provenance") or {}).get("hardware")
        if machine and one.label not in trained.get(machine, []):
            trained.setdefault(machine, []).append(one.label)
        score = one.scores.get(("ns_per_day", SPEED_ON))
        if score is not None and score.outcome == "number":
            through = f" {score.verdict}" if score.verdict else ""
            where = str(score.parts.get("hardware") or score.provenance.get("hardware") or "hardware not stored")
            timed.setdefault(where + through, []).append(f"{one.label} (n={score.n} rounds)")
    said = [("Trained on", trained), ("Timed on", timed)]
    return [f"{verb} {machine}: {', '.join(who)}." for verb, by in said for machine, who in by.items()]
