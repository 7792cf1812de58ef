"""What was run: models, sizes, training, presets, hardware, dates, as far as the results say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grannfield.claims.claim import place
from grannfield.claims.evidence import other_size
from grannfield.report import paper
from grannfield.report.escape import md
from grannfield.report.formats import markdown_table
from grannfield.report.origins import budget_of, kinship_of, reference_of
from grannfield.report.results import Results
from grannfield.report.scale import best, scale_of
from grannfield.report.table import Table, plain, significant
from grannfield.report.table1 import architecture, in_paper_order

FRAMES = 30_000
"""Of the paper's training set; times its epochs, what its models saw in ten hours."""


def ran(results: Sequence[Results]) -> list[str]:
    """A table of all models, with what their presets mean, on which hardware and when, as paragraphs of Markdown."""
    shown = best(results)
    rows, missing = [], []
    for name, _ in in_paper_order(shown):
        if name and not any(architecture(one) == name for one in shown):
            missing.append(paper.TITLES[name])
    order = {name: k for k, name in enumerate(paper.TITLES)}
    for one in sorted(shown, key=lambda one: (order.get(architecture(one), len(order)), one.label, scale_of(one))):
        rows.append(tuple(map(plain, (one.label, _size(one), _scored(one), _trained(one), _reference(one)))))
    columns = ("size", "scored on", "training", "reference")
    parts = [markdown_table(Table("", "", ("model",), columns, tuple(rows))).rstrip()] if rows else ["Nothing was run."]
    parts += [f"Not run: {', '.join(missing)}."] if missing else []
    return [*parts, "\n".join(_conditions(shown))] if rows else parts


def _size(one: Results) -> str:
    count = one.model.get("n_parameters")
    known = "not known" if count is None else f"{count / 1e6:.2f} million"
    return (other_size(one) or f"Table 1's ({known})") if architecture(one) in paper.TITLES else known


def _scored(one: Results) -> str:
    return f"{', '.join(map(place, one.materials))}: `{scale_of(one)}`".replace("`", "")


def _trained(one: Results) -> str:
    """Budget, what was seen within it, and how much of what the paper's model saw that is."""
    story = one.model.get("provenance") or {}
    whole = story.get("whole_budget", story)
    if "samples" not in whole or "epochs" not in whole:
        return "elsewhere" if one.model.get("kind") == "calculator" else "not known"
    samples = whole["samples"]
    part = samples_share(one)
    share = "" if part is None else f" ({significant(100 * part, 2)}% of the paper's)"
    on = f"{story.get('training_frames', 0):,} frames of {place(str(story.get('material', '')))}"
    where = story.get("hardware", "hardware not stored")
    return f"{budget_of(story)} ({took(story)}): {samples:,} samples{share}, {whole['epochs']:.3g} epochs of {on}, on {where}"


def took(story: dict[str, Any]) -> str:
    """Seconds that the whole budget took.

    >>> took({"whole_budget": {"seconds": 1204.4}}), took({})
    ('1,204 s', 'time not stored')
    """
    seconds = story.get("whole_budget", story).get("seconds")
    return "time not stored" if seconds is None else f"{seconds:,.0f} s"


def samples_share(one: Results) -> float | None:
    """What a model saw within its budget, over what the paper's saw in ten hours; None where either is not known."""
    story = one.model.get("provenance") or {}
    samples = story.get("whole_budget", story).get("samples")
    theirs = paper.table1().get(architecture(one), {}).get("epochs_in_10h", "")
    return float(samples / (float(theirs) * FRAMES)) if samples and theirs else None


def _reference(one: Results) -> str:
    """What a model was held against, and how the two are related."""
    labels = dict.fromkeys(reference_of(one, m) for m in one.materials)
    kin = dict.fromkeys(kinship_of(one, m) for m in one.materials)
    related = ", ".join(text for text in kin if text)
    return "; ".join(text for text in (*labels, related and f"kinship: {related}") if text)


def _conditions(shown: Sequence[Results]) -> list[str]:
    """What the presets mean, where and when scores were made."""
    described = {scale_of(one): str(one.protocol.get("described", "not described")) for one in shown}
    lines = [f"- preset `{scale}`: {md(text)}" for scale, text in sorted(described.items())]
    machines = dict.fromkeys(str(one.protocol.get("hardware", "not stored")) for one in shown)
    lines.append(f"- MD and scores on: {md('; '.join(machines))}")
    dates = sorted({str(s.provenance["date"]) for one in shown for s in one.scores.values() if s.provenance.get("date")})
    if dates:
        lines.append(f"- scored: {dates[0]}" + (f" to {dates[-1]}" if dates[-1] != dates[0] else ""))
    return lines
