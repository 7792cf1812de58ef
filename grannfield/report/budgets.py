"""The same models trained on several budgets, side by side: what each budget bought, and what became of the force field.

Equal time (the paper's rule) judges an architecture together with its implementation; equal numbers of frames do not count what a
frame costs; the epochs of Table 1 are what the paper's own code made of equal time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grannfield.report.cells import score_cell
from grannfield.report.columns import COLUMNS
from grannfield.report.origins import surrogate_note
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Page, Table, plain, significant

METRICS = ("force_r2", "rdf_mae", "failed_share", "neg_log_sigma")
"""Columns of the board that are set side by side."""
HEAD = """Budgets of training: `time` is equal device time for all models (the paper's rule), `samples` as many frames for all,
`epochs` those that Table 1 gives each model, at the scale's own size of an epoch. A row is one training with one seed; n and
interval of a number are over test frames, runs or blocks of them, not over trainings."""
MISSING = "not scored"


@dataclass(frozen=True)
class Trained:
    """One training, and the results of its weights where they were scored."""

    model: str
    """With its behaviour, without its budget."""
    budget: str
    scale: str
    allowed: str
    """The budget in words."""
    state: str
    """Where it comes from."""
    story: dict[str, Any] = field(default_factory=dict)
    """How the weights came to be; empty where the training is not finished."""
    results: Results | None = None

    @property
    def whole(self) -> dict[str, Any]:
        """What the whole budget bought."""
        found: dict[str, Any] = self.story.get("whole_budget") or {}
        return found


def budgets_page(trained: Sequence[Trained], order: Sequence[str] = ()) -> Page:
    """What was trained, rows of a model together, in the order of `order` and then as given."""
    places = {name: number for number, name in enumerate(order)}
    rows = sorted(trained, key=lambda one: (places.get(one.model.partition("@")[0], len(places)), one.model, one.scale))
    scored = [one.results for one in rows if one.results is not None]
    bought = Table(
        "What the budgets bought",
        "Frames seen with repetition; an epoch is all training frames once",
        ("model", "budget", "scale"),
        ("allowed", "seconds", "frames", "epochs", "samples/s", "training frames", "parameters", "on"),
        tuple(_bought(one) for one in rows),
    )
    materials = sorted({material for one in scored for material in one.materials})
    became = [_became(metric, rows, materials) for metric in METRICS]
    return Page("budgets", "Equal budgets, three ways", (HEAD, surrogate_note(scored), _taught(rows), _conditions(scored)),
                (bought, *(table for table in became if table.rows)))  # fmt: skip


def _stub(one: Trained) -> tuple[Cell, ...]:
    reduced = one.results is not None and one.results.model.get("reduced")
    return plain(f"{one.model} (reduced)" if reduced else one.model), plain(one.budget), plain(one.scale)


def _bought(one: Trained) -> tuple[Cell, ...]:
    whole, story = one.whole, one.story
    if not whole:
        return (*_stub(one), plain(one.allowed), plain("training not finished"), *[Cell()] * 6)
    model = one.results.model if one.results is not None else {}
    record = {"model": one.model, "preset": one.scale, "source": "measured", "note": f"counted; budget {one.budget}", "n": 1}
    numbers = [
        Cell((f"{value:,}" if key == "samples" else significant(value),), records=(record | {"column": key, "value": value},))
        for key, value in ((key, whole[key]) for key in ("seconds", "samples", "epochs", "samples_per_s"))
    ]
    frames, count = story.get("training_frames"), model.get("n_parameters") or story.get("n_parameters")
    counted = [plain("" if n is None else f"{n:,}") for n in (frames, count)]
    clock = f", {story['clock']}" if "clock" in story else ""
    return (*_stub(one), plain(one.allowed), *numbers, *counted, plain(f"{story.get('hardware', 'unknown')}{clock}"))


def _became(metric: str, rows: Sequence[Trained], materials: Sequence[str]) -> Table:
    """One column of the board by model and budget, a column for each material."""
    column, found = COLUMNS[metric], []
    seen = any((metric, m) in one.results.scores for one in rows if one.results is not None for m in materials)
    for one in rows if seen else ():
        if one.results is not None:
            scores = {m: one.results.scores.get((metric, m)) for m in materials}
            cells = [plain("not run") if score is None else score_cell(one.results, score) for score in scores.values()]
            found.append((*_stub(one), *cells))
        elif one.whole:
            found.append((*_stub(one), *(plain(MISSING) for _ in materials)))
    title = f"{column.title} ({column.unit})" if column.unit else column.title
    return Table(title, column.about, ("model", "budget", "scale"), tuple(materials), tuple(found))


def _taught(rows: Sequence[Trained]) -> str:
    """What was trained on."""
    on = {f"{one.story['material']} ({one.story['reference']})" for one in rows if "reference" in one.story}
    return f"Trained on {'; '.join(sorted(on))}." if on else "No training is finished yet."


def _conditions(results: Sequence[Results]) -> str:
    """Under what the numbers were taken."""
    said = {f"preset `{scale_of(one)}`: {one.protocol.get('described')}; seed {one.protocol.get('seed')}" for one in results}
    return f"Scored with {'; '.join(sorted(said))}." if said else "Nothing is scored yet."
