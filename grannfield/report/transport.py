"""Tables S4-S6 of the paper's supplement, measured: diffusivity and conductivity at each temperature on one material."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grannfield.analysis.conductivity import nernst_einstein
from grannfield.analysis.uncertainty import Estimate
from grannfield.report.board import own_numbers
from grannfield.report.boards import own_cell
from grannfield.report.cells import behind as shared
from grannfield.report.cells import estimate_cell, part, score_record
from grannfield.report.columns import COLUMNS
from grannfield.report.errors import WHO, Row, failed_cell, headline, temperatures_run, who
from grannfield.report.origins import behind, references_of, surrogate_note
from grannfield.report.paper import table2
from grannfield.report.results import Results
from grannfield.report.table import Cell, Page, Table, measured, significant
from grannfield.report.table1 import architecture
from grannfield.report.table2 import published
from grannfield.report.verdicts import estimate_of


@dataclass(frozen=True)
class Ions:
    """What the Nernst-Einstein relation needs of a material's starting cell."""

    n: int
    volume: float
    """Å³."""
    charge: float = 1.0
    """e."""

    def conductivity(self, diffusivity_cm2_per_s: float, temperature: float) -> float:
        """mS/cm at the temperature at which D was measured."""
        return nernst_einstein(diffusivity_cm2_per_s, self.n, self.volume, temperature, self.charge)


def transport(results: Sequence[Results], material: str, number: int | None, ions: Ions | None) -> Page:
    """The page of one material; number: of the paper's table, S4 to S6; without ions no conductivity."""
    own = [one for one in results if material in one.materials]
    labels = references_of(own)
    caption = f"{material}, against {'; '.join(labels) or 'a reference that is not stated'}"
    reference = {label: _of_reference(own, label, material) for label in labels}
    temperatures = sorted(
        {t for one in own for t in temperatures_run(one, material)} | {t for found in reference.values() for t in found}
    )
    tables = (_diffusivity(own, material, temperatures, reference, caption),
              _conductivity(own, material, temperatures, reference, ions, caption),
              _extrapolated(own, material, labels, caption))  # fmt: skip
    title = f"{f'Table S{number}: d' if number else 'D'}iffusivity and conductivity of {material}"
    name = f"supplement/S{number}" if number else f"supplement/transport-{material}"
    foot = (("What stands behind the numbers", tuple(behind(own))),)
    return Page(name, title, (surrogate_note(own),), tuple(t for t in tables if t.columns or t.notes), foot)


def _of_reference(own: Sequence[Results], label: str, material: str) -> dict[float, Estimate]:
    """D of a reference by temperature: from every set of results, each of which keeps that at its highest temperature."""
    found: dict[float, Estimate] = {}
    for one in own:
        stored = one.reference.get(("diffusivity", material))
        if stored is not None and stored.model == label:
            at = stored.parts.get("temperature_K")
            if isinstance(at, int | float):
                found.setdefault(float(at), estimate_of(stored))
        for score in (one.scores.get((metric, material)) for metric in ("diffusivity", "neg_log_sigma")):
            several = score.parts.get("reference_by_temperature") if score is not None else None
            for at, kept in (several or {}).items():
                found.setdefault(float(str(at).split()[0]), _estimate(kept))
    return found


def _estimate(stored: Mapping[str, Any]) -> Estimate:
    low, high = stored.get("interval") or (None, None)
    interval = (float("-inf") if low is None else low, float("inf") if high is None else high)
    if stored.get("value") is None:
        return Estimate.missing(str(stored.get("reason") or "undefined"), n=int(stored.get("n") or 0), interval=interval)
    return Estimate(stored["value"], interval, max(1, int(stored.get("n") or 1)))


def _diffusivity(
    own: Sequence[Results], material: str, at: Sequence[float], reference: Mapping[str, dict[float, Estimate]], caption: str
) -> Table:
    rows = [_reference_row(label, material, at, found, None) for label, found in reference.items()]
    rows += [(*who(one), *(diffusivity_at(one, material, t) for t in at), _pymatgen(one, material)) for one in own]
    rows = [(*row, Cell()) if len(row) == len(at) + 2 else row for row in rows]
    note = """Tracer diffusivity of the mobile ion, all runs of a temperature together; n: ions. Last column: pymatgen's
DiffusionAnalyzer(smoothed=False), as the paper, mean over the runs at the highest temperature, without an interval since its own
does not hold. Not stored: results keep the reference's D at the highest temperature of their preset. Not kept: a run at another
temperature failed before its production, which ends the column."""
    found = Table("Diffusivity (cm²/s)", caption, WHO, (*(f"{t:g} K" for t in at), "pymatgen"), tuple(rows), (note,))
    return found.without_empty_columns()


def _reference_row(label: str, material: str, at: Sequence[float], found: Mapping[float, Estimate], ions: Ions | None) -> Row:
    cells = []
    for t in at:
        record = {"model": f"reference: {label}", "material": material, "column": "diffusivity", "temperature_K": t,
                  "unit": "cm²/s", "source": "measured", "reference": label}  # fmt: skip
        if t not in found:
            cells.append(Cell(("not stored",)))
        elif ions is None:
            cells.append(estimate_cell(found[t], record))
        else:
            cells.append(estimate_cell(_as_conductivity(found[t], ions, t), record | {"column": "conductivity", "unit": "mS/cm"}))
    return (Cell((f"reference ({label})",)), Cell(), *cells)


def diffusivity_at(one: Results, material: str, temperature: float) -> Cell:
    """D of a model at a temperature, or why there is none."""
    score = one.scores.get(("neg_log_sigma", material))
    hottest = one.scores.get(("diffusivity", material))
    base = shared(one, material) | {"column": "diffusivity", "unit": "cm²/s", "temperature_K": temperature}
    if hottest is not None and hottest.outcome == "number" and hottest.parts.get("temperature_K") == temperature:
        record = score_record(one, hottest)
        return Cell((measured(hottest.value, hottest.interval),), str(hottest.n), hottest.text, (record,))
    kept = (score.parts.get("by_temperature") or {}) if score is not None else {}
    for name, found in kept.items():
        if float(str(name).split()[0]) == temperature:
            return part(base, "one temperature", found, at=temperature)
    return _without(one, material, temperature, base)


def _without(one: Results, material: str, temperature: float, record: dict[str, Any]) -> Cell:
    ended = temperatures_run(one, material).get(temperature)
    if ended is None:
        return Cell(("not run",))
    if any(ended):
        return failed_cell(record, ended)
    score = one.scores.get(("diffusivity", material))
    if score is None:
        return Cell(("not run",))
    elsewhere = any(cause for causes in temperatures_run(one, material).values() for cause in causes)
    text = "not kept" if elsewhere or not score.reason else score.reason
    return Cell((f"n/a: {text}",), full=score.text, records=(record | {"reason": text, "detail": score.detail},))


def _pymatgen(one: Results, material: str) -> Cell:
    score = one.scores.get(("diffusivity", material))
    value = score.parts.get("pymatgen") if score is not None else None
    if score is None or not isinstance(value, float):
        return Cell()
    record = score_record(one, score) | {
        "part": "pymatgen",
        "value": value,
        "low": None,
        "high": None,
        "verdict": "",
        "against_reference": "",
    }
    at = f" at {record['temperature_K']:g} K" if record["temperature_K"] is not None else ""
    return Cell((f"{significant(value)}{at}",), records=(record,))


def _conductivity(
    own: Sequence[Results],
    material: str,
    at: Sequence[float],
    reference: Mapping[str, dict[float, Estimate]],
    ions: Ions | None,
    caption: str,
) -> Table:
    title = "Conductivity at the temperature of the runs (mS/cm)"
    if ions is None:
        return Table(
            title,
            caption,
            WHO,
            (),
            (),
            (f"n/a: the starting cell of {material} is not among the materials of this installation.",),
        )
    rows = [_reference_row(label, material, at, found, ions) for label, found in reference.items()]
    rows += [(*who(one), *(_conductivity_at(one, material, t, ions) for t in at)) for one in own]
    z = f"{ions.charge:g}"
    note = f"""Nernst-Einstein at the temperature itself: D times n z² e²/(V k T), with n = {ions.n} ions of charge z = {z} in
the starting cell of V = {ions.volume:.1f} Å³; the interval is that of D."""
    return Table(title, caption, WHO, tuple(f"{t:g} K" for t in at), tuple(rows), (note,))


def _conductivity_at(one: Results, material: str, temperature: float, ions: Ions) -> Cell:
    found = diffusivity_at(one, material, temperature)
    if not found.records:
        return found
    record = dict(found.records[0]) | {
        "column": "conductivity",
        "unit": "mS/cm",
        "part": "",
        "verdict": "",
        "against_reference": "",
    }
    if record.get("value") is None or record.get("reason"):
        return (
            Cell(found.lines[:1], found.n, found.full, (record,))
            if not _bounded(record)
            else _bound_of(record, ions, temperature)
        )
    factor = ions.conductivity(1.0, temperature)
    interval = [record.get("low"), record.get("high")]
    return part(record, "", {"value": record["value"], "interval": interval, "n": record["n"]}, factor, temperature)


def _bounded(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("high"), float) and record["high"] < float("inf")


def _bound_of(record: dict[str, Any], ions: Ions, temperature: float) -> Cell:
    found = {"value": None, "interval": [record.get("low"), record["high"]], "reason": record["reason"], "n": record.get("n")}
    return part(record, "", found, ions.conductivity(1.0, temperature), temperature)


def _as_conductivity(found: Estimate, ions: Ions, temperature: float) -> Estimate:
    factor = ions.conductivity(1.0, temperature)
    low, high = (x * factor for x in found.interval)
    if found.reason:
        return Estimate.missing(found.reason, found.detail, n=found.n, interval=(low, high))
    return Estimate(found.value * factor, (low, high), found.n, note=found.note)


def _extrapolated(own: Sequence[Results], material: str, labels: Sequence[str], caption: str) -> Table:
    metrics = ("activation_energy", "neg_log_sigma")
    in_paper = material in table2()["AIMD"]
    rows: list[Row] = []
    for label in labels:
        if any(own_numbers(own, label, metric, material) for metric in metrics):
            cells = [own_cell(own, label, metric, material) for metric in metrics]
            rows.append((Cell((f"reference ({label})",)), Cell(), *cells, *[Cell()] * in_paper))
    if in_paper:
        rows.append((Cell(("AIMD (paper)",)), Cell(), Cell(), Cell(), published("AIMD", material)))
    for one in own:
        theirs = [published(architecture(one), material)] if in_paper else []
        rows.append((*who(one), *(headline(one, metric, material) for metric in metrics), *theirs))
    columns = (*(COLUMNS[metric].heading for metric in metrics), *(["the paper's (Table 2)"] if in_paper else []))
    note = "n: temperatures with a resolved D, of which a line needs three. The paper's own S4-S6 are not part of this package."
    return Table("Activation energy, and conductivity at 300 K", caption, WHO, columns, tuple(rows), (note,))
