"""Tables S1-S3 of the paper's supplement, measured: energy, force and RDF errors of every model on one material."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from grannfield.report.board import cell, row_name
from grannfield.report.boards import own_cell
from grannfield.report.cells import part, score_cell, score_record
from grannfield.report.columns import COLUMNS
from grannfield.report.origins import behind, references_of, surrogate_note
from grannfield.report.results import Results
from grannfield.report.scale import scale_of
from grannfield.report.table import Cell, Page, Table

WHO = ("model", "preset")
Row = tuple[Cell, ...]


def errors(results: Sequence[Results], material: str, number: int | None) -> Page:
    """The page of one material; number: of the paper's table, S1 to S3, None for a material of your own."""
    own = [one for one in results if material in one.materials]
    caption = f"{material}, against {'; '.join(references_of(own)) or 'a reference that is not stated'}"
    made = (_energies, _forces, _by_element, _r2_by, _rdf, _pairs)
    tables = tuple(build(own, material, caption) for build in made)
    title = f"{f'Table S{number}: e' if number else 'E'}nergy, force and RDF errors on {material}"
    foot = (("What stands behind the numbers", tuple(behind(own))),)
    more = tuple(record for one in own for record in _element_and_component(one, material))
    name = f"supplement/S{number}" if number else f"supplement/errors-{material}"
    shown = tuple(table for table in tables if table.columns)
    return Page(name, title, (surrogate_note(own),), shown, foot, more)


def who(one: Results) -> Row:
    """The cells that name a row."""
    return Cell((row_name(one),)), Cell((scale_of(one),))


def headline(one: Results, metric: str, material: str) -> Cell:
    """A column of the board for one model."""
    score = one.scores.get((metric, material))
    return Cell(("not run",)) if score is None else score_cell(one, score, cell(one, score))


def kept(one: Results, metric: str, material: str, *path: str) -> Cell:
    """A number among the parts of a score, by the keys that lead to it; the reason where the score itself has none."""
    score = one.scores.get((metric, material))
    if score is None:
        return Cell(("not run",))
    found: Any = score.parts
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, dict):
        record = score_record(one, score) | {"verdict": "", "against_reference": ""}
        return part(record, " ".join(path), found)
    return score_cell(one, score) if score.outcome != "number" else Cell(("not stored",))


def _energies(own: Sequence[Results], material: str, caption: str) -> Table:
    columns = ("MAE (meV/atom)", "MAE after one offset (meV/atom)", "energy R² ↑", "energy rank ↑", "rank within runs ↑")
    rows = [
        (
            *who(one),
            kept(one, "energy_r2", material, "mae_meV_per_atom"),
            kept(one, "energy_rank", material, "mae_after_one_offset_meV_per_atom"),
            headline(one, "energy_r2", material),
            headline(one, "energy_rank", material),
            kept(one, "energy_rank", material, "within_runs"),
        )
        for one in own
    ]
    note = """Absolute energies are compared on the material trained on only: elsewhere their zero is not determined, so that
an offset is removed first. n: frames."""
    return Table("Energies", caption, WHO, columns, tuple(rows), (note,))


def _forces(own: Sequence[Results], material: str, caption: str) -> Table:
    metrics = ("force_mae", "force_mae_high", "force_r2", "force_r2_random", "force_cosine", "force_slope")
    headings = [COLUMNS[metric].heading for metric in metrics]
    rows = [
        (*who(one), headline(one, "force_mae", material), kept(one, "force_mae", material, "rmse"),
         *(headline(one, metric, material) for metric in metrics[1:]))
        for one in own
    ]  # fmt: skip
    note = (
        "Pooled over the components of all atoms and frames. n: frames; the intervals take frames of a stretch of time together."
    )
    return Table("Forces", caption, WHO, (headings[0], "force RMSE (meV/Å) ↓", *headings[1:]), tuple(rows), (note,))


def _by_element(own: Sequence[Results], material: str, caption: str) -> Table:
    elements = names(own, "force_mae", material, "mae_by_element")
    rows = [(*who(one), *(kept(one, "force_mae", material, "mae_by_element", e) for e in elements)) for one in own]
    return Table("Force MAE by element (meV/Å)", caption, WHO, tuple(elements), tuple(rows))


def _r2_by(own: Sequence[Results], material: str, caption: str) -> Table:
    elements, axes = (names(own, "force_r2", material, key) for key in ("r2_by_element", "r2_by_component"))
    rows = [
        (*who(one), *(kept(one, "force_r2", material, "r2_by_element", e) for e in elements),
         *(kept(one, "force_r2", material, "r2_by_component", axis) for axis in axes))
        for one in own
    ]  # fmt: skip
    note = "Every element along every axis is in the file that ends in -long.csv."
    return Table("Force R² by element and by component", caption, WHO, (*elements, *axes), tuple(rows), (note,))


def _rdf(own: Sequence[Results], material: str, caption: str) -> Table:
    temperatures = sorted({t for one in own for t in temperatures_run(one, material)})
    metrics = ("rdf_mae", "rdf_wasserstein")
    rows = []
    for label in references_of(own):
        cells = [own_cell(own, label, metric, material) for metric in metrics]
        rows.append((Cell((f"floor: {label}, half against half",)), Cell(), *cells, *[Cell()] * len(temperatures)))
    for one in own:
        cells = [headline(one, metric, material) for metric in metrics]
        rows.append((*who(one), *cells, *(_rdf_at(one, material, t) for t in temperatures)))
    columns = (*(COLUMNS[metric].heading for metric in metrics), *(f"MAE at {t:g} K" for t in temperatures))
    note = """g(r) of all atoms, 0-6 Å in bins of 0.1 Å; n: frames, 20 fs apart. At a temperature: mean over the runs there,
frames after a failure left out; a run that failed has no number, whatever the rest of it shows."""
    return Table("RDF", caption, WHO, columns, tuple(rows), (note,))


def temperatures_run(one: Results, material: str) -> dict[float, list[str]]:
    """K of all runs of a model, with how each ended: its cause, or nothing."""
    found: dict[float, list[str]] = {}
    for metric in ("failed_share", "rdf_mae", "diffusivity"):
        score = one.scores.get((metric, material))
        for run in (score.parts.get("by_run") or []) if score is not None and not found else []:
            if isinstance(run.get("temperature_K"), int | float):
                found.setdefault(float(run["temperature_K"]), []).append(str(run.get("cause") or ""))
    return found


def _rdf_at(one: Results, material: str, temperature: float) -> Cell:
    """The mean over runs at one temperature, their intervals carried through; the failures where a run failed."""
    score = one.scores.get(("rdf_mae", material))
    ended = temperatures_run(one, material).get(temperature)
    if score is None or ended is None:
        return Cell(("not run",))
    record = score_record(one, score) | {
        "part": "one temperature",
        "temperature_K": temperature,
        "verdict": "",
        "against_reference": "",
    }
    if any(ended):
        return failed_cell(record, ended)
    found = [
        run for run in score.parts.get("by_run") or [] if run.get("temperature_K") == temperature and run.get("value") is not None
    ]
    if not found:
        elsewhere = any(run.get("temperature_K") != temperature for run in score.parts.get("by_run") or [])
        reason = "no reference" if elsewhere else score.reason or "not stored"
        return Cell(
            (f"n/a: {reason}",), records=(record | {"value": None, "low": None, "high": None, "n": None, "reason": reason},)
        )
    value = math.fsum(run["value"] for run in found) / len(found)
    intervals = [run["interval"] for run in found if run.get("interval")]
    low, high = (None, None)
    if len(intervals) == len(found):
        below, above = (math.sqrt(math.fsum((run["interval"][k] - run["value"]) ** 2 for run in found)) for k in (0, 1))
        low, high = value - below / len(found), value + above / len(found)
    verdicts = ", ".join(sorted({str(run.get("verdict") or "") for run in found} - {""}))
    n = sum(int(run.get("n") or 0) for run in found)
    made = part(
        record | {"verdict": verdicts}, "one temperature", {"value": value, "interval": (low, high), "n": n}, at=temperature
    )
    return Cell((*made.lines, *([verdicts] if verdicts else [])), made.n, made.full, made.records)


def failed_cell(record: dict[str, Any], ended: Sequence[str]) -> Cell:
    """Runs of a temperature of which some failed: how many, and of what.

    >>> failed_cell({}, ["", "fusion"]).text
    'n/a: 1 of 2 failed (fusion)'
    """
    causes = ", ".join(sorted(set(ended) - {""}))
    text = f"{sum(map(bool, ended))} of {len(ended)} failed ({causes})"
    return Cell((f"n/a: {text}",), records=(record | {"value": None, "low": None, "high": None, "n": None, "reason": text},))


def _pairs(own: Sequence[Results], material: str, caption: str) -> Table:
    pairs = names(own, "rdf_mae", material, "by_pair")
    rows = []
    for one in own:
        score = one.scores.get(("rdf_mae", material))
        by_pair = score.parts.get("by_pair") or {} if score is not None else {}
        failed = score is not None and score.outcome != "number"
        cells = [_pair(one, material, pair, by_pair.get(pair), failed) for pair in pairs]
        rows.append((*who(one), *cells))
    note = """Mean over runs and temperatures, without intervals: single pairs of a half of the reference differ from the other by
0.03-0.09. n/a: a run failed."""
    return Table("RDF MAE by pair of species", caption, WHO, tuple(pairs), tuple(rows), (note,))


def _pair(one: Results, material: str, pair: str, value: Any, failed: bool) -> Cell:
    score = one.scores.get(("rdf_mae", material))
    if score is None:
        return Cell(("not run",))
    if failed or value is None:
        return Cell((f"n/a: {score.reason or 'not stored'}",))
    record = score_record(one, score) | {"verdict": "", "against_reference": "", "interval": None}
    made = part(record, f"pair {pair}", {"value": value, "n": score.n, "interval": None})
    return Cell(made.lines, "", records=made.records)


def names(own: Iterable[Results], metric: str, material: str, key: str) -> list[str]:
    """Names under which any model keeps parts of a score, in the order in which they first come."""
    found: dict[str, None] = {}
    for one in own:
        score = one.scores.get((metric, material))
        found |= dict.fromkeys(score.parts.get(key) or {} if score is not None else {})
    return sorted(found)


def _element_and_component(one: Results, material: str) -> list[Any]:
    """Records of R² of every element along every axis."""
    score = one.scores.get(("force_r2", material))
    table = score.parts.get("r2_by_element_and_component") or {} if score is not None else {}
    path = [(element, axis) for element in sorted(table) for axis in sorted(table[element])]
    cells = [kept(one, "force_r2", material, "r2_by_element_and_component", element, axis) for element, axis in path]
    return [record for made in cells for record in made.records]
