"""The board in one screen, as the README shows it: a row for each model, whatever their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from grannfield.report.board import row_name
from grannfield.report.cells import SHORTER
from grannfield.report.escape import UNBROKEN
from grannfield.report.formats import entries_md, markdown_table
from grannfield.report.kinship import NONE, UNKNOWN
from grannfield.report.origins import SURROGATE, kinship_of, reference_of, references_of
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Table, measured
from grannfield.score import Score

MOST_MATERIALS = 3
SPEED_ON = "Li10GeP2S12"
RDF = {"lattice mismatch": "mismatch", "fusion": "fused"}


def top(results: Sequence[Results], tiers: Mapping[str, str]) -> str:
    """The short board with what it rests on below it, as Markdown."""
    return f"{markdown_table(top_table(results, tiers))}\n{entries_md(conditions(results))}"


def top_table(results: Sequence[Results], tiers: Mapping[str, str]) -> Table:
    """A row for each model: force R² on each material, whether g(r) is stable, failed runs, speed."""
    materials, labels = _materials(results), references_of(results)
    rows = []
    for own in by_label(results).values():
        kind = ", ".join(dict.fromkeys(scale_of(one) for one in own if scale_of(one)))
        beside = [text for text in (kind, tiers.get(own[0].label, "")) if text]
        where = {reference_of(one, m) for one in own for m in one.materials} - {""} if len(labels) > 1 else set()
        name = row_name(own[0]) + (f" ({', '.join(beside)})" if beside else "") + "".join(f"; {text}" for text in sorted(where))
        rows.append(
            (
                Cell((name,)),
                *(Cell((_r2(_score(own, "force_r2", m)),)) for m in materials),
                Cell((_structure([_score(own, "rdf_mae", m) for m in materials]),)),
                Cell((failed_runs([_score(own, "failed_share", m) for m in materials]),)),
                Cell((_speed(own),)),
            )
        )
    against = "; ".join(labels) or "a reference that is not stated"
    columns = (
        *(f"force R² ↑ {m}" for m in materials),
        f"g(r): {', '.join(map(_abbreviated, materials))}",
        "failed runs ↓",
        "ns/day ↑",
    )
    return Table("", "", (f"model (preset), against {against}",), columns, tuple(rows))


def conditions(results: Sequence[Results]) -> list[tuple[str, str]]:
    """What the numbers of the short board rest on, as (term, text): models of the same conditions together."""
    materials = _materials(results)
    frames = _together(results, lambda one: _counts(one, materials))
    entries = [("Force R²", f"held-out frames, 95% interval; n = {frames} frames"),
               ("g(r)", "stable, mismatch or fused: by its MAE against the reference's own floor and what was seen; a run that "
                        "failed has no number"),
               ("MD", _together([one for one in results if "described" in one.protocol], _md)),
               ("Speed", "median ± half the distance of the quartiles of " + _together(results, _timed))]  # fmt: skip
    if any(_cold(one.scores.get(("failed_share", m))) for one in results for m in materials):
        entries.append(("Cold", "runs without a failure whose crystal has come to rest and flies as a whole: less than half the "
                                "temperature is left without the motion of the centre of mass"))  # fmt: skip
    kin = _together(results, _kin)
    entries += [("Kin of the reference", kin)] if kin else []
    note = f" ({SURROGATE})" if any(label.startswith("surrogate") for label in references_of(results)) else ""
    labels = "; ".join(references_of(results)) or "not stated"
    said = f"{labels}{note}. Every number with its n, interval and verdict: reports/leaderboard.md, in full reports/details.md"
    return [*((term, text) for term, text in entries if text), ("Reference", said)]


def by_label(results: Iterable[Results]) -> dict[str, list[Results]]:
    """Results of the same model, in the order in which the models come."""
    found: dict[str, list[Results]] = {}
    for one in results:
        found.setdefault(one.label, []).append(one)
    return found


def _materials(results: Iterable[Results]) -> list[str]:
    """The materials that most models have, at most as many as there is room for, by name."""
    counted = Counter(m for one in results for m in one.materials)
    return sorted(sorted(counted, key=lambda m: (-counted[m], m))[:MOST_MATERIALS])


def _abbreviated(formula: str) -> str:
    """What tells the three lithium conductors apart in a narrow heading: their elements.

    >>> _abbreviated("Li10GeP2S12"), _abbreviated("Li3PS4")
    ('LiGePS', 'LiPS')
    """
    return "".join(character for character in formula if not character.isdigit())


def _score(own: Iterable[Results], metric: str, material: str) -> Score | None:
    return next((one.scores[metric, material] for one in own if (metric, material) in one.scores), None)


def _none(score: Score | None) -> str:
    if score is None:
        return "not run"
    return "error" if score.error else f"n/a: {SHORTER.get(score.reason, score.reason)}"


def _r2(score: Score | None) -> str:
    return _none(score) if score is None or score.outcome != "number" else _unbroken(measured(score.value, score.interval))


def _unbroken(text: str) -> str:
    return text.replace(" ", UNBROKEN)


def _structure(scores: Sequence[Score | None]) -> str:
    """The verdict on g(r) of each material; once where it is everywhere the same."""
    words = []
    for score in scores:
        verdict = score.verdict.partition(" (")[0] if score is not None and score.outcome == "number" else ""
        words.append(RDF.get(verdict, verdict) or _none(score).removeprefix("n/a: "))
    return f"all {words[0]}" if len(words) > 1 and len(set(words)) == 1 else ", ".join(words)


def failed_runs(scores: Sequence[Score | None]) -> str:
    """Failed runs of all that were made, over the materials, and those that flew at rest."""
    known = [score for score in scores if score is not None and score.outcome == "number"]
    if not known:
        return _none(next((score for score in scores if score is not None), None))
    cold = sum(_cold(score) for score in known)
    failed = _unbroken(f"{sum(round(s.value * s.n) for s in known)} of {sum(s.n for s in known)}")
    return failed + (f", {_unbroken(f'{cold} cold')}" if cold else "")


def _cold(score: Score | None) -> int:
    return int(score.parts.get("cold", 0)) if score is not None else 0


def _speed(own: Iterable[Results]) -> str:
    score = _score(own, "ns_per_day", SPEED_ON)
    if score is None or score.outcome != "number":
        return _none(score)
    low, high = score.interval or (score.value, score.value)
    half = (high - low) / 2
    return _unbroken(measured(score.value, (score.value - half, score.value + half)))


def _together(results: Sequence[Results], said: Callable[[Results], str]) -> str:
    """What is said of each model, models of which the same is said together; nothing where nothing is said of any."""
    found: dict[str, list[str]] = {}
    for one in results:
        if (text := said(one)) and one.label not in found.get(text, []):
            found.setdefault(text, []).append(one.label)
    if len(found) == 1:
        return next(iter(found))
    presets: dict[str, set[str]] = {}
    for one in results:
        presets.setdefault(scale_of(one), set()).add(one.label)
    whole = {frozenset(labels): f"preset {preset}" for preset, labels in presets.items() if preset and len(labels) > 1}
    return "; ".join(f"{text} ({whole.get(frozenset(who)) or ', '.join(who)})" for text, who in found.items())


def _counts(one: Results, materials: Sequence[str]) -> str:
    counts = [str(score.n) for m in materials if (score := one.scores.get(("force_r2", m))) is not None and score.n]
    return counts[0] if counts and len(set(counts)) == 1 else "/".join(counts)


def _md(one: Results) -> str:
    """How long, how hot and how often, without what is said elsewhere."""
    kept = [
        text for text in str(one.protocol["described"]).split(", ") if "test frames" not in text and not text.startswith("NVE")
    ]
    return ", ".join(kept).removeprefix("MD ")


def _timed(one: Results) -> str:
    score = one.scores.get(("ns_per_day", SPEED_ON))
    if score is None or score.outcome != "number":
        return ""
    where = score.parts.get("hardware") or one.protocol.get("hardware") or "hardware not stored"
    return f"{score.n} rounds on {where}" + (f" {score.verdict}" if score.verdict else "")


def _kin(one: Results) -> str:
    """Its relation to the reference, on all its materials."""
    found = dict.fromkeys(kinship_of(one, m).removeprefix("kin: ") for m in one.materials)
    return ", ".join(text for text in found if text not in ("", UNKNOWN, NONE))
