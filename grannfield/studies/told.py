"""What the studies found, as Markdown, from their reports alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from grannfield.report.columns import COLUMNS
from grannfield.report.escape import md
from grannfield.report.formats import markdown_table
from grannfield.report.origins import SURROGATE
from grannfield.report.table import Cell, Table, measured
from grannfield.studies.pieces import read_report, report_path

TITLES = {
    "transfer": "Transfer both ways",
    "seeds": "Training seeds against MD seeds",
    "proxies": "Which cheap metric tells how the dynamics will turn out",
    "dft": "Trained on real DFT",
}
"""Of the sections, in their order."""
MANY = 20
"""Models below which rank correlations are said to be uncertain."""


def sections(reports: Path) -> list[tuple[str, str]]:
    """(title, Markdown) of every study that has a report under a folder; ValueError, naming the file, for a damaged one."""
    paths = {name: report_path(reports, name) for name in TITLES}
    return [(title, markdown(paths[name])) for name, title in TITLES.items() if paths[name].is_file()]


def markdown(path: Path) -> str:
    """One study: tables with their reference, n and conditions."""
    report = read_report(path)
    told: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "transfer": _transfer, "seeds": _seeds, "proxies": _proxies, "dft": _dft,
    }  # fmt: skip
    if report["study"] not in told:
        raise ValueError(f"{path} is of a study {report['study']!r}; this version knows {', '.join(told)}")
    try:
        parts = [_head(report), *told[report["study"]](report), _foot(report)]
    except (KeyError, TypeError, IndexError) as problem:
        raise ValueError(
            f"{path} lacks what its tables need ({problem!r}); run `grannfield study {path.stem}` again to write it anew"
        ) from None
    return "\n\n".join(filter(None, parts)) + "\n"


def _labels(report: dict[str, Any]) -> list[str]:
    """What the numbers are against: stands with every table."""
    label = report["reference"]
    return [label] if isinstance(label, str) else list(dict.fromkeys(label.values() if isinstance(label, dict) else label))


def _against(report: dict[str, Any]) -> str:
    return f"against {'; '.join(_labels(report)) or 'a reference that is not stated'}"


def _head(report: dict[str, Any]) -> str:
    """What the numbers are against, and whether they are all there."""
    labels = _labels(report)
    note = f" ({SURROGATE})" if any(one.startswith("surrogate") for one in labels) else ""
    done = report["pieces"]
    rest = "" if report["complete"] else f" Not complete: {done['done']} of {done['of']} pieces are done."
    broken = "".join(f" Failed: {name}, {why}." for name, why in report["failed"].items())
    question = report["question"]
    return f"{question[0].upper()}{question[1:]}. Reference: {md('; '.join(labels))}{note}.{rest}{md(broken)}"


def _foot(report: dict[str, Any]) -> str:
    made = report["provenance"]
    trained = report.get("trainings", {})
    hardware = sorted({one["hardware"] for one in trained.values()} | {made["hardware"]})
    weights = "; ".join(f"{name} {one['weights'][:10]}" for name, one in trained.items())
    said = f"Numbers: {made['date']}, grannfield {made['versions']['grannfield']}, on {'; '.join(hardware)}."
    return md(said + (f" Weights: {weights}." if weights else ""))


def _number(parts: dict[str, Any] | None, factor: float = 1.0) -> Cell:
    """Value, interval and n; or the reason for none."""
    if not parts or parts.get("value") is None:
        reason = "not run" if not parts else parts.get("detail") or parts.get("reason") or "undefined"
        return Cell((f"n/a: {reason}" if parts else reason,))
    low, high = parts["interval"]
    interval = (None if None in (low, high) else (low * factor, high * factor)) if parts.get("interval") else None
    return Cell((measured(parts["value"] * factor, interval),), str(parts["n"]))


def _words(*texts: object) -> tuple[Cell, ...]:
    return tuple(Cell((str(text),)) for text in texts)


def _table(stub: Iterable[str], columns: Iterable[str], rows: Iterable[tuple[Cell, ...]]) -> str:
    return markdown_table(Table("", "", tuple(stub), tuple(columns), tuple(rows))).rstrip()


def _budget(trainings: dict[str, Any]) -> str:
    """What each training was given and what it bought."""
    if not trainings:
        return "No training has ended yet."
    clocks = sorted({f"{one['budget_s'] / 60:g} min of {one['clock']}" for one in trainings.values()})
    rows = [
        (*_words(label + " (reduced)" * one["reduced"]), *_words(
            one["seed"], one["training_frames"], f"{one['whole_budget']['epochs']:.3g}", f"{one['best_after_s']:.0f}",
            f"{1e3 * one['validation']['force_mae']:.0f}",
        )) for label, one in trainings.items()
    ]  # fmt: skip
    head = ("seed", "training frames", "epochs in the budget", "best after s", "validation force MAE (meV/Å)")
    learnt = sorted({one["reference"] for one in trainings.values()})
    budget = f"Budget of each training: {'; '.join(clocks)}; labels: {'; '.join(learnt)}."
    return f"{md(budget)}\n\n{_table(('training',), head, rows)}"


def _transfer(report: dict[str, Any]) -> list[str]:
    short = {formula: test["short"] for formula, test in report["tests"].items()}
    by = {(one["model"], one["trained_on"], one["tested_on"]): one for one in report["cells"]}
    parts = []
    for key, name, factor in (("force_r2", "Force R²", 1.0), ("force_mae_meV_per_A", "Force MAE (meV/Å)", 1.0)):
        rows = [
            (*_words(model, short[formula]), *(_cell(by[model, formula, tested], key, factor) for tested in short))
            for model in report["settings"]["models"] for formula in short
        ]  # fmt: skip
        what = ", ".join(dict.fromkeys(one["what"] for one in report["tests"].values()))
        parts.append(md(f"{name} {_against(report)}, on {what} of the material above a column:"))
        parts.append(_table(("model", "trained on"), short.values(), rows))
    if report["prices"]:
        rows = [
            (*_words(one["model"], short[one["trained_on"]], short[one["tested_on"]]), _number(one["force_mae_meV_per_A"]),
             _number(one["force_r2"])) for one in report["prices"]
        ]  # fmt: skip
        head = ("model", "trained on", "tested on")
        price = "the same numbers minus those of the model trained on the tested material"
        parts.append(md(f"The price of transfer, {_against(report)}: {price}:"))
        parts.append(_table(head, ("MAE difference (meV/Å)", "R² difference"), rows))
    note = "One training seed: what another seed would change is in no interval. n counts frames; a model has numbers only where "
    return [*parts, note + "it was trained on all elements.", _budget(report["trainings"])]


def _cell(one: dict[str, Any], key: str, factor: float) -> Cell:
    return Cell((f"n/a: {one['reason']}",)) if one["reason"] else _number(one[key], factor)


def _seeds(report: dict[str, Any]) -> list[str]:
    s = report["settings"]
    names = {"rdf_mae": "g(r) MAE", "log10_D": "log10 D"}
    rows = []
    for one in report["models"]:
        spread = one["force_r2"]["between"]
        mean = "" if one["force_r2"]["mean"] is None else f"{one['force_r2']['mean']:.4g}"
        n = one["force_r2"]["n"]
        rows.append((*_words(one["model"], "force R²", f"{n} trainings", mean), _number(spread), *_words("", "", "", "")))
        for key, name in names.items():
            found = one[key]
            if not found["n"]:
                reasons = sorted({run[key]["reason"] for run in one["by_run"]}) or ["not run"]
                rows.append((*_words(one["model"], name, "0 runs", f"n/a: {', '.join(reasons)}"), *_words("", "", "", "", "")))
                continue
            p = "" if found["p"] is None else f"{found['p']:.2g}"
            size = f"{found['n']} runs of {found['groups']} trainings"
            numbers = [_number(found[part]) for part in ("between", "within", "share", "total")]
            rows.append((*_words(one["model"], name, size, f"{found['mean']:.4g}"), *numbers, Cell((p,))))
    head = ("mean", "SD between trainings", "SD between MD runs", "share of the trainings in the variance", "SD of all", "p (F)")
    failed = [_failures(one) for one in report["models"]]
    run, kelvin = s["md"], ", ".join(f"{t:g}" for t in s["md"]["temperatures_K"])
    about = (
        f"Numbers {_against(report)}; {s['short']}, {s['training_seeds']} training seeds x {s['md_seeds']} MD seeds, "
        f"{run['length_ps']:g} ps at {kelvin} K after a ramp of {run['ramp_ps']:g} ps, first {s['drop']:.0%} dropped:"
    )
    method = (
        f"Method: {report['method']}. {report['source']}. Normal scatter is assumed. p of failures: exact, whether they gather "
        "in some trainings. Runs that failed before they gave a number are missing, so that scatter looks smaller than it is."
    )
    table = _table(("model", "quantity", "n"), head, rows)
    return [md(about), table, f"Failed runs: {'; '.join(failed)}.", md(method), _budget(report["trainings"])]


def _failures(one: dict[str, Any]) -> str:
    found = one["failed"]
    if not found["n"]:
        return f"{md(one['model'])}: not run"
    low, high = found["interval"]
    each = ", ".join(f"{k} of {n}" for k, n in zip(found["by_training"], found["runs"], strict=True))
    p = "not to be told with one training or one run in each" if found["p"] is None else f"p {found['p']:.2g}"
    return f"{md(one['model'])} {found['share']:.2g} [{low:.2g}, {high:.2g}] (n={found['n']}; by training {each}; {p})"


def _proxies(report: dict[str, Any]) -> list[str]:
    parts = []
    for outcome, about in report["outcomes"].items():
        rows = [one for one in report["table"] if one["outcome"] == outcome]
        made = [
            (*_words(COLUMNS[one["metric"]].title), _number(one["tau"]),
             *_words(one["models"], *("" if one[key] is None else f"{one[key]:.2g}" for key in ("p", "p_holm", "best_share"))))
            for one in sorted(rows, key=lambda one: (one["tau"]["value"] is None, -(one["tau"]["value"] or 0.0)))
        ]  # fmt: skip
        head = ("Kendall's tau-b", "models", "p", "p, Holm", "best in resamples")
        parts += [md(f"For the {about} ({_against(report)}):"), _table(("cheap metric",), head, made)]
    n, units = len(report["models"]), report["units"]
    where = "; ".join(f"{one['material']} ({one['preset']})" for one in report["cells"])
    few = f" With {units} models the intervals are wide: an order of the metrics among themselves is not established."
    note = (
        f"{n} models of {units} architectures or potentials (two behaviours of one are redrawn together); cells: {where}. +1: "
        "the metric puts the models in the order of the outcome; n counts (model, material) cells, which hang together. "
        f"{report['tests']} tests: the column Holm counts all of them.{few * (units < MANY)} Method: {report['method']}. "
        f"{report['source']}."
    )
    return [*parts, md(note)]


def _dft(report: dict[str, Any]) -> list[str]:
    rows = [
        (*_words(one["model"], one["trained_on"], f"{one['tested_on']} ({one['composition']})"),
         *(_cell(one, key, 1.0) for key in ("force_r2", "force_mae_meV_per_A", "force_slope")),
         _number(one["energy_mae_meV_per_atom"]) if "energy_mae_meV_per_atom" in one else Cell())
        for one in report["rows"]
    ]  # fmt: skip
    head = ("force R²", "force MAE (meV/Å)", "slope", "energy MAE (meV/atom)")
    sets = [
        _words(one["role"], one["name"], one["composition"], one["frames"], " to ".join(f"{v:.0f}" for v in one["volume_A3"]),
               f"{one['rms_force_eV_per_A']:.2f}", one["source"] or "not stated", one["sha256"][:10]) for one in report["sets"]
    ]  # fmt: skip
    near, own = report["nearest"]["to_training"], report["nearest"]["within_test"]
    apart = (
        f"Split: {report['settings']['split']}. The {near['n']} test frames are {near['smallest_A']:.2g} Å or more (median "
        f"{near['median_A']:.2g} Å, rms over atoms) from their nearest training frame, {own['smallest_A']:.2g} Å or more "
        f"(median {own['median_A']:.2g} Å) from each other. Intervals: {report['intervals']}. Of other compositions, from "
        "another code and other settings, forces alone are compared."
    )
    columns = ("set", "composition", "frames", "volume (Å³)", "rms force (eV/Å)", "source", "SHA-256")
    return [
        md(f"Forces {_against(report)}:"), _table(("model", "trained on", "tested on"), head, rows), md(apart),
        _table(("role",), columns, sets),
        _budget(report["trainings"]),
    ]  # fmt: skip
