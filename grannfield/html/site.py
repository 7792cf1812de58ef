"""reports/index.html: the board, the models and their plots in one file that needs no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from grannfield import __version__, provenance
from grannfield.data.material import load_material
from grannfield.files import write_atomically
from grannfield.html import pages
from grannfield.html.about import Contracts, about
from grannfield.html.cells import DEFAULT, VERDICTS, formula, own_rows, rows_of
from grannfield.html.detail import detail_of, own_detail
from grannfield.html.kept import FOLDER, Plots, plots_of
from grannfield.html.packs import packed, packed_json, plotly, policy_hash, safe_json
from grannfield.html.pairs import pairs_of
from grannfield.html.structures import framework
from grannfield.report.board import TOP, leaderboard, ranked, row_name
from grannfield.report.columns import COLUMNS, grouped
from grannfield.report.contract import all_contracts
from grannfield.report.origins import CONTROL, reference_of
from grannfield.report.results import Results, all_results
from grannfield.report.tables import CONTROLS
from grannfield.report.tiers import ABOUT as TIERS_ABOUT
from grannfield.report.tiers import Tiers, beside_names, tiers
from grannfield.report.top import failed_runs

PAGES = {
    "board": "Board",
    "models": "Models",
    "compare": "Compare",
    "paths": "Li paths",
    "paper": "The paper",
    "tiers": "Tiers",
    "deviations": "Deviations",
    "legend": "Legend",
}
SCRIPTS = ("page", "board", "plots", "mesh", "space", "panel", "models", "start")
"""Parts of the page's own script, in this order."""
CODE = ("html", "report", "analysis", "curves")


def write_site(reports: Path) -> list[Path]:
    """Write index.html below a reports folder from its results; the same bytes for the same results.

    FileNotFoundError without results; ModuleNotFoundError without the package plotly, whose plotly.js is put into the file.
    """
    reports = Path(reports)
    path = reports / "index.html"
    write_atomically(path, site(reports))
    return [path]


def site(reports: Path) -> str:
    """The whole file."""
    everything = ranked(all_results(reports))
    if not everything:
        raise FileNotFoundError(f"no results in {reports / 'results'}; run `pytest benchmarks/` first")
    results = [one for one in everything if one.model.get("kind") != CONTROL]
    controls = [one for one in everything if one.model.get("kind") == CONTROL]
    contracts, found = all_contracts(reports), tiers(results)
    source, version = plotly()
    own = own_rows(results)
    packs = packs_of(results, contracts, found, plots_of(results, reports)) | {"plotly": packed(source)}
    packs["reference"] = packed_json([{m: own_detail(score) for m, score in scores.items()} for _, scores in own])
    script, theme = "\n".join(_static(f"{name}.js") for name in SCRIPTS), _static("theme.js")
    context = board_context(results, found, contracts) | {
        "references_rows": [row for row, _ in own],
        "controls": [pages.of_frame("Controls", leaderboard(controls, TOP))] if controls else [],
        "controls_about": CONTROLS,
        "inputs": inputs_of(reports),
        "version": __version__,
        "plotly_version": version,
        "pages": PAGES.items(),
        "packs": packs,
        "allowed": " ".join(map(policy_hash, (theme, script, source))),
    }
    markup = {"style": _static("style.css"), "script": script, "theme_script": theme, "data": safe_json(page_data(results, own))}
    return _rendered(context, markup)


def _rendered(context: Mapping[str, Any], markup: Mapping[str, str]) -> str:
    """The template filled in: all of `context` is escaped, `markup` is this package's own code and safe JSON."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("grannfield.html"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    trusted = {name: Markup(text) for name, text in markup.items()}
    return environment.get_template("index.html.jinja").render(**context, **trusted)


def board_context(results: list[Results], found: Sequence[Tiers], contracts: Contracts) -> dict[str, Any]:
    """What the templates of the board and of the pages beside it show."""
    names = beside_names(found)
    rows = rows_of(results, names)
    references = sorted({row.reference for row in rows} - {""})
    formulas = sorted({row.material for row in rows})
    presets = sorted({row.preset for row in rows})
    measured = pages.deviation_table(contracts)
    plural = lambda n, what: f"{n} {what}{'s' * (n != 1)}"  # noqa: E731
    counts = [plural(len(results), "model"), plural(len(formulas), "material"), plural(len(COLUMNS), "column")]
    return {
        "rows": rows,
        "references": references,
        "surrogate": any(label.startswith("surrogate") for label in references),
        "materials": [{"formula": name, "short": short_name(name)} for name in formulas],
        "short": {name: short_name(name) for name in formulas},
        "models": [_listed(one, found, contracts) for one in results],
        "presets": presets,
        "verdicts": VERDICTS,
        "columns": COLUMNS,
        "groups": grouped(),
        "default": DEFAULT,
        "directions": pages.DIRECTIONS,
        "counts": ", ".join(counts) + f"; {'presets' if len(presets) > 1 else 'preset'} {', '.join(presets)}",
        "paper": pages.paper_tables(results, contracts),
        "tiers": pages.tier_tables(found, results),
        "tiers_about": TIERS_ABOUT.replace("*", "").replace("`", ""),
        "deviations": pages.deviation_lists(contracts),
        "deviations_table": measured.as_json(),
        "deviations_about": pages.deviations_about(),
        "legend_texts": pages.legend_texts(),
        "badge_texts": pages.BADGES.items(),
        "margins": pages.margin_texts(),
    }


def _listed(one: Results, found: Sequence[Tiers], contracts: Contracts) -> dict[str, str]:
    """A model in the list of models."""
    told = about(one, contracts)
    known = {what: text for _, rows in told["sections"] for what, text in rows}
    preset = str(one.protocol.get("preset", ""))
    whole = next((t for t in found if not t.metric and t.preset == preset), None)
    runs = [score for (metric, _), score in one.scores.items() if metric == "failed_share" and score.outcome == "number"]
    return {
        "label": one.label,
        "name": row_name(one),
        "kind": known.get("kind", ""),
        "parameters": known.get("parameters", ""),
        "behaviour": told["behaviour"],
        "preset": preset,
        "tier": pages.tier_text(whole, one.label) if whole else "",
        "failed": failed_runs(runs) if runs else "no runs",
    }


def short_name(name: str) -> str:
    """A material as people call it: its short name where it is known here, its formula otherwise.

    >>> short_name("Li10GeP2S12"), short_name("Na3PS4")
    ('LGPS', 'Na₃PS₄')
    """
    try:
        known = load_material(name).short
    except (LookupError, ValueError, FileNotFoundError):
        return formula(name)
    return known if known not in ("", name) and not any(c.isdigit() for c in known) else formula(known or name)


def page_data(results: Sequence[Results], own: Sequence[Any]) -> dict[str, Any]:
    """What the page's script needs at once: names, columns, materials; everything else is in packs."""
    formulas = sorted({material for one in results for material in one.materials})
    return {
        "models": [
            {
                "label": one.label,
                "name": row_name(one),
                "preset": str(one.protocol.get("preset", "")),
                "materials": one.materials,
                "references": {m: reference_of(one, m) for m in one.materials},
                "reduced": bool(one.model.get("reduced")),
            }
            for one in results
        ],
        "references": [{"label": row.label, "material": row.material} for row, _ in own],
        "columns": [
            {"metric": c.metric, "title": c.title, "unit": c.unit, "better": c.better, "about": c.about, "group": c.group}
            | {"measured_on": c.measured_on, "floor": c.floor, "log10": c.log10, "margin": c.margin}
            for c in COLUMNS.values()
        ],
        "default": list(DEFAULT),
        "materials": {name: {"short": short_name(name), "framework": _framework(name)} for name in formulas},
    }


def _framework(name: str) -> dict[str, Any] | None:
    try:
        return framework(load_material(name))
    except (LookupError, ValueError, FileNotFoundError):
        return None


def packs_of(results: Sequence[Results], contracts: Contracts, found: Sequence[Tiers], plots: Plots) -> dict[str, str]:
    """What a page opens on demand: a pack for each model's numbers, each model's plots, each material's reference, the pairs."""
    packs = {"pairs": packed_json(pairs_of(results))}
    for number, one in enumerate(results):
        packs[f"model-{number}"] = packed_json(about(one, contracts) | {"scores": scores_of(one, found)})
        for material in one.materials:
            packs[f"plots-{number}-{material}"] = packed_json(plots.own.get((one.label, material), {}))
    for material, shared in sorted(plots.shared.items()):
        packs[f"shared-{material}"] = packed_json(shared)
    return packs


def scores_of(one: Results, found: Sequence[Tiers]) -> dict[str, dict[str, Any]]:
    """All cells of a model, by material and metric."""
    preset = str(one.protocol.get("preset", ""))
    said = {t.metric: pages.tier_text(t, one.label) for t in found if t.preset == preset}
    made: dict[str, dict[str, Any]] = {material: {} for material in one.materials}
    for (metric, material), score in sorted(one.scores.items()):
        if metric in COLUMNS:
            made[material][metric] = detail_of(one, score, said.get(metric, ""))
    return made


def inputs_of(reports: Path) -> str:
    """A hash of all a page is made from: results, what was measured of the models, kept plots, and this package's code."""
    digest = hashlib.sha256(json.dumps([__version__, provenance.code_hash(*CODE), plotly()[1]]).encode())
    own = [path for path in sorted(resources_of()) if path.suffix in (".jinja", ".css", ".js")]
    kept = [path for pattern in ("results/*.json", "contract/*.json", f"{FOLDER}/**/*.json.gz") for path in reports.glob(pattern)]
    for path in [*own, *sorted(kept)]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def resources_of() -> list[Path]:
    """Templates, style and scripts of the page."""
    return list(Path(__file__).parent.rglob("*.*"))


def _static(name: str) -> str:
    return resources.files("grannfield.html").joinpath("static", name).read_text(encoding="utf-8")
