"""Tables from stored results alone: the leaderboard and the paper's Tables 1 and 2, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from grannfield.files import write_atomically
from grannfield.report import paper
from grannfield.report.columns import COLUMNS
from grannfield.report.contract import all_contracts, measured_symmetry
from grannfield.report.deviations import write_deviations
from grannfield.report.kinship import SELF, UNKNOWN, by_name, kinship
from grannfield.report.results import Results, all_results
from grannfield.score import Score, significant

BEGIN, END = "<!-- leaderboard: begin (written by `grannfield report --readme`) -->", "<!-- leaderboard: end -->"
KIN = (
    "Kinship with the potential that made the reference: `kin` learnt from the same labels, so that errors the two share do not "
    "show here; `trained on it` or `on its maker's labels` imitates that potential; `is the reference` is that potential itself "
    "and has no rank."
)
TOP = ("force_r2", "rdf_mae", "failed_share", "ns_per_day", "neg_log_sigma", "density_overlap")
"""Columns of the short leaderboard."""


def write_reports(folder: str | Path, readme: str | Path | None = None) -> list[Path]:
    """Write every table below a reports folder from its results/*.json; optionally the top of the board into a README.

    Tables depend on the stored results alone: running twice writes the same bytes. FileNotFoundError without results.
    """
    folder = Path(folder)
    results = ranked(all_results(folder))
    if not results:
        raise FileNotFoundError(f"no results in {folder / 'results'}; run `pytest benchmarks/` first")
    written = []
    for name, title, frame in (
        ("leaderboard", "Leaderboard", leaderboard(results)),
        ("table1", "Table 1: models, epochs within the budget, speed", table1(results, all_contracts(folder))),
        ("table2", "Table 2: -log10(sigma/(mS/cm)) at 300 K", table2(results)),
    ):
        head = f"# {title}\n\n{header(results)}\n\n"
        tail = legend() if name == "leaderboard" else ""
        for suffix, text in (
            ("md", head + markdown(frame) + "\n" + tail),
            ("csv", frame.to_csv(index=False, lineterminator="\n")),
            ("tex", latex(frame)),
        ):
            path = folder / f"{name}.{suffix}"
            write_atomically(path, text)
            written.append(path)
    deviations = write_deviations(folder)
    written += [] if deviations is None else [deviations]
    if readme is not None:
        written.append(_into_readme(Path(readme), results))
    return written


def ranked(results: list[Results]) -> list[Results]:
    """Best first: by mean force R² on the windows split over all materials; without a number last.

    What made a reference it is scored against has no rank, and stands below all that have one.
    """

    def key(one: Results) -> tuple[bool, float, str]:
        values = [s.value for (metric, _), s in one.scores.items() if metric == "force_r2" and math.isfinite(s.value)]
        itself = any(kinship_of(one, material) == SELF for material in one.materials)
        return (itself, -sum(values) / len(values) if values else math.inf, one.label)

    return sorted(results, key=key)


def leaderboard(results: list[Results], metrics: tuple[str, ...] = tuple(COLUMNS)) -> pd.DataFrame:
    """One row for each model and material, each cell a number with interval and n, or the reason for none."""
    rows = []
    for one in results:
        for material in one.materials:
            row = {"model": row_name(one), "material": material, "preset": str(one.protocol.get("preset", ""))}
            row |= {"reference": reference_of(one, material), "kinship": kinship_of(one, material)}
            for metric in metrics:
                score = one.scores.get((metric, material))
                elsewhere = COLUMNS[metric].measured_on
                absent = f"n/a: measured on {elsewhere}" if elsewhere not in ("", material) else "not run"
                if elsewhere and one.model.get("kind") == "trajectories":
                    absent = "n/a: no force field"
                row[COLUMNS[metric].heading] = absent if score is None else cell(score)
            rows.append(row)
    return pd.DataFrame(rows)


def row_name(one: Results) -> str:
    """A model as the tables call it; one of another size than Table 1's is marked."""
    return f"{one.label} (reduced)" if one.model.get("reduced") else one.label


def cell(score: Score) -> str:
    """A score as the board shows it, with pymatgen's value and the reference's own beside it where there are any."""
    beside = [(name, score.parts.get(name)) for name in ("pymatgen", "reference")]
    found = [f"{name} {significant(x)}" for name, x in beside if isinstance(x, float) and score.outcome == "number"]
    return score.text + (f"; {', '.join(found)}" if found else "")


def reference_of(one: Results, material: str) -> str:
    """What made the reference that a model was scored against on a material; a surrogate is called one."""
    labels = {s.provenance.get("reference", "") for (_, where), s in one.scores.items() if where == material}
    return ", ".join(sorted(labels - {""}))


def kinship_of(one: Results, material: str) -> str:
    """How a model is related to what made the reference it was scored against: as its results say, else from the table."""
    behind = [s.provenance for (_, where), s in one.scores.items() if where == material and s.provenance.get("reference")]
    found = {stamp["kinship"] if "kinship" in stamp else kinship(one.model, stamp["reference"], material) for stamp in behind}
    return ", ".join(sorted(found - {""}))


def table1(results: list[Results], measured: dict[str, dict[str, dict[str, Any]]] | None = None) -> pd.DataFrame:
    """The paper's Table 1, ours beside the published: symmetry as measured, parameters, epochs within the budget, speed.

    `measured` is what `grannfield check` found, by model and behaviour; behaviours without results follow below.
    """
    published, rows = paper.table1(), []
    measured = measured or {}
    for one in results:
        if one.model.get("kind") == "trajectories":
            continue  # no network, nothing trained
        model, story = one.model, one.model.get("provenance") or {}
        theirs = published.get(str(model.get("name", "")).partition("@")[0], {})
        speed = one.scores.get(("ns_per_day", "Li10GeP2S12"))
        whole = story.get("whole_budget", story)
        budget = f"{story['budget_s'] / 60:g} min" if "budget_s" in story else "unknown"
        rows.append(
            {
                "model": row_name(one),
                "symmetry measured": _symmetry(one, measured),
                "symmetry published": theirs.get("symmetry", ""),
                "parameters (million)": f"{model.get('n_parameters', 0) / 1e6:.2f}",
                "published ": theirs.get("parameters_million", ""),
                "epochs": f"{whole['epochs']:.3g} of {story['training_frames']} frames in {budget}"
                if "epochs" in whole
                else "unknown",
                "published (10 h, 30,000 frames)": theirs.get("epochs_in_10h", ""),
                "samples/s": significant(whole["samples_per_s"]) if "samples_per_s" in whole else "unknown",
                "trained on": story.get("hardware", "unknown"),
                "ns/day": "" if speed is None else speed.text,
                "published ns/day (RTX 4090)": theirs.get("md_ns_per_day", ""),
            }
        )
    shown = {_behaviour(one) for one in results if not one.model.get("reduced")}
    for name, both in measured.items():
        rows += [_untrained(name, key, one) for key, one in sorted(both.items()) if (name, key) not in shown]
    return pd.DataFrame(rows).fillna("")


def _behaviour(one: Results) -> tuple[str, str]:
    """(registered name, "default" or "published") of a model with results."""
    settings = one.model.get("settings") or {}
    name, _, published = str(one.model.get("name", "")).partition("@")
    return name, "published" if settings.get("as_published") or published else "default"


def _symmetry(one: Results, measured: dict[str, dict[str, dict[str, Any]]]) -> str:
    """What `grannfield check` saw of a model's architecture, or that nobody looked."""
    name, behaviour = _behaviour(one)
    found = measured.get(name, {}).get(behaviour)
    return measured_symmetry(found) if found else f"not measured (claimed {one.model.get('symmetry', 'nothing')})"


def _untrained(name: str, behaviour: str, measured: dict[str, Any]) -> dict[str, str]:
    """A row of Table 1 for an architecture that was measured and has no results."""
    theirs = paper.table1().get(name, {})
    return {
        "model": name if behaviour == "default" else f"{name}@published",
        "symmetry measured": measured_symmetry(measured),
        "symmetry published": theirs.get("symmetry", ""),
        "parameters (million)": f"{measured.get('n_parameters', 0) / 1e6:.2f}",
        "published ": theirs.get("parameters_million", ""),
        "epochs": "not scored at this size",
        "published (10 h, 30,000 frames)": theirs.get("epochs_in_10h", ""),
        "published ns/day (RTX 4090)": theirs.get("md_ns_per_day", ""),
    }


def table2(results: list[Results]) -> pd.DataFrame:
    """The paper's Table 2, ours beside the published, the reference labelled by what made it."""
    published = paper.table2()
    materials = [key for key in next(iter(published.values())) if key != "model"]
    rows: list[dict[str, Any]] = []
    for label in sorted({s.model for one in results for s in one.reference.values()}):
        row = {"model": f"reference ({label})"}
        for material in materials:
            found = [one.reference.get(("neg_log_sigma", material)) for one in results]
            row[material] = next((s.text for s in found if s is not None and s.model == label), "")
            row[f"{material} published"] = ""
        rows.append(row)
    rows.append(
        {"model": "AIMD (paper)"} | {m: "" for m in materials} | {f"{m} published": published["AIMD"][m] for m in materials}
    )
    for one in results:
        theirs = published.get(str(one.model.get("name", "")).partition("@")[0], {})
        row = {"model": row_name(one)}
        for material in materials:
            score = one.scores.get(("neg_log_sigma", material))
            row[material] = "" if score is None else score.text
            row[f"{material} published"] = (theirs.get(material) or "N/A") if theirs else ""
        rows.append(row)
    order = ["model", *(name for m in materials for name in (m, f"{m} published"))]
    return pd.DataFrame(rows)[order]


def header(results: list[Results]) -> str:
    """What the numbers rest on: weights, reference, protocol and hardware of each model."""
    lines = []
    for one in results:
        story, protocol = one.model.get("provenance") or {}, one.protocol
        shipped = ", shipped with the package" if one.model.get("shipped") else ""
        size = f"; reduced: {one.model['n_parameters']:,} parameters" if one.model.get("reduced") else ""
        what = "runs" if one.model.get("kind") == "trajectories" else "weights"
        weights = f"{what} `{one.model.get('identity', '')[:10]}`{shipped}{size}"
        lines.append(f"- **{one.label}** ({weights}): {made_elsewhere(one.model) or through_ase(one.model) or training(story)}")
        scored = f"preset `{protocol.get('preset')}`: {protocol.get('described')}; {protocol.get('hardware')}"
        lines.append(f"  - scored with {scored}; seed {protocol.get('seed')}")
    references = sorted({reference_of(one, material) for one in results for material in one.materials} - {""})
    lines.append(f"- Reference: {'; '.join(references)}.")
    if any(label.startswith("surrogate") for label in references):
        lines[-1] += " A surrogate is a published machine-learned potential, not AIMD: errors against it are errors against it."
    if any(kinship_of(one, material) not in ("", UNKNOWN) for one in results for material in one.materials):
        lines.append(f"- {KIN}")
    return "\n".join(lines)


def made_elsewhere(model: dict[str, Any]) -> str:
    """Of motion that was made elsewhere: the files and their sums, and what moved it as far as it is stated; empty for others."""
    if model.get("kind") != "trajectories":
        return ""
    files = ", ".join(f"{name} `{sha256[:10]}`" for name, sha256 in sorted(model.get("files", {}).items()))
    notes = "; ".join(dict.fromkeys(note for found in model.get("notes", {}).values() for note in found))
    by = f" by {model['potential']}" if model.get("potential") else ", by what is not stated"
    return f"MD made elsewhere{by}; no force field was given; {files}" + (f"; notes: {notes}" if notes else "")


def through_ase(model: dict[str, Any]) -> str:
    """Which call and packages a calculator comes from, and what it was trained on where that is known; empty for others."""
    if model.get("kind") != "calculator":
        return ""
    settings = model.get("settings") or {}
    packages = ", ".join(f"{name} {version[:12]}" for name, version in settings.get("packages", {}).items())
    known = by_name(str(model.get("potential") or ""))
    sets = ", ".join(known.training if known else model.get("kin") or ())
    trained = (
        f"trained on {sets}" + (f" ({known.source})" if known else " (declared)") if sets else "trained on what is not known"
    )
    return f"`{settings.get('calculator', model.get('spec', ''))}` through ASE ({packages or 'no package'}); {trained}"


def training(story: dict[str, Any]) -> str:
    """How weights came to be, in a line."""
    if "seconds" not in story:
        return "origin of the weights unknown"
    return (
        f"best of {story['budget_s'] / 60:g} min of training, after {story['seconds'] / 60:.3g} min, {story['steps']} steps of "
        f"{story['recipe']['batch_size']}, on {story['material']} ({story['reference']}), {story['samples_per_s']:.3g} samples/s "
        f"on {story['hardware']}"
    )


def legend() -> str:
    """What each column means."""
    head = "Brackets are 95% intervals (speed: quartiles), n is the sample size. `n/a` says why the physics gave no number."
    return "\n".join(["", head, "", *(f"- **{column.title}**: {column.about}" for column in COLUMNS.values())]) + "\n"


def markdown(frame: pd.DataFrame) -> str:
    """A Markdown table; cells are text and pipes in them are escaped."""
    safe = frame.map(lambda x: str(x).replace("|", "\\|").replace("\n", " "))
    return str(tabulate(safe.to_dict("list"), headers="keys", tablefmt="github", disable_numparse=True)) + "\n"


def latex(frame: pd.DataFrame) -> str:
    """A LaTeX table (booktabs), with the few characters beyond ASCII as commands."""
    text = str(frame.to_latex(index=False, escape=True))
    for character, command in {"²": r"\textsuperscript{2}", "Å": r"\AA{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}.items():
        text = text.replace(character, command)
    return text


def _into_readme(path: Path, results: list[Results]) -> Path:
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the markers {BEGIN!r} and {END!r}, between which the leaderboard goes")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomically(path, f"{before}{BEGIN}\n{markdown(leaderboard(results, TOP))}\n{header(results)}\n{END}{after}")
    return path


def short(score: Score) -> str:
    """A cell as the terminal shows it."""
    return (
        f"{COLUMNS[score.metric].title} of {score.model} on {score.material}: {score.text} {COLUMNS[score.metric].unit}".strip()
    )
