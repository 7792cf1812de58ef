"""What the documentation takes from the package instead of repeating it: numbers, tables, help texts.

A line `<!-- derived: NAME ARGUMENTS -->` becomes what the function NAME below makes of the arguments, and
`{{ grannfield.module.NAME }}` becomes that constant.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTIVE = re.compile(r"^<!-- derived: (\w+)(.*?) -->$", re.M)
CONSTANT = re.compile(r"\{\{\s(grannfield(?:\.\w+)+)\s\}\}")
PIPE = re.compile(r"\|")
WIDTH = "86"
"""Columns of the help texts."""


def expanded(text: str) -> str:
    """A page with everything derived in its place; LookupError for what does not exist."""
    text = DIRECTIVE.sub(lambda found: _derived(found[1], found[2].split()), text)
    return CONSTANT.sub(lambda found: shown(constant(found[1])), text)


def _derived(name: str, arguments: list[str]) -> str:
    if name not in DERIVED:
        raise LookupError(f"nothing derived is called {name!r}; there are {', '.join(DERIVED)}")
    return DERIVED[name](*arguments).rstrip("\n")


def constant(path: str) -> Any:
    """The value of grannfield.module.NAME, or of an attribute of it."""
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(names[:end]))
            for name in names[end:]:
                found = getattr(found, name)
        except ModuleNotFoundError:
            continue
        except AttributeError as problem:
            raise LookupError(f"{{{{ {path} }}}}: {problem}") from problem
        return found
    raise LookupError(f"{{{{ {path} }}}}: there is no such module")


def shown(value: Any) -> str:
    """A constant as a sentence has it.

    >>> shown(0.1), shown(20.0), shown((0.05, 0.5)), shown(("P", "Ge")), shown(100_000)
    ('0.1', '20', '0.05 to 0.5', 'P, Ge', '100,000')
    """
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value):
        return f"{shown(value[0])} to {shown(value[1])}"
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
    return str(value)


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(PIPE.sub("\\|", cell).replace("\n", " ") for cell in row) + " |" for row in lines) + "\n"


def column(metric: str) -> str:
    """What the board says of a column: title, unit, direction, margin, floor."""
    from grannfield.report.columns import COLUMNS

    one = COLUMNS[metric]
    better = {"higher": "higher is better", "lower": "lower is better", "closer": "closer to the reference is better"}[one.better]
    facts = [f"**{one.title}**" + (f" in {one.unit}" if one.unit else ""), better]
    if one.margin is not None:
        unit = "" if one.log10 or not one.unit else f" {one.unit}"
        facts.append(f"margin ±{one.margin:g}{unit}" + " of the decimal logarithm" * one.log10)
    if one.floor:
        facts.append("has a floor")
    if one.measured_on:
        facts.append(f"measured on {one.measured_on} alone")
    return f"`{metric}`: {'; '.join(facts)}.\n\n> {one.about}\n"


def columns() -> str:
    """All columns with their pages."""
    from grannfield.report.columns import COLUMNS, grouped

    pages = {metric: page for page, metric in sections()}
    rows = []
    for group, metrics in grouped().items():
        for k, metric in enumerate(metrics):
            one = COLUMNS[metric]
            title = f"[{one.heading}]({pages[metric]}#{metric})"
            margin = "" if one.margin is None else f"{'log10 ' * one.log10}±{one.margin:g}"
            rows.append([f"**{group}**" if k == 0 else "", title, f"`{metric}`", margin, "yes" if one.floor else ""])
    return table(["", "column", "name", "margin", "floor"], rows)


def sections() -> Iterator[tuple[str, str]]:
    """(page, metric) of every section of the physics pages."""
    for path in sorted((REPOSITORY / "docs" / "physics").glob("*.md")):
        for metric in re.findall(r"^#+ .*\{#(\w+)\}\s*$", path.read_text(encoding="utf-8"), re.M):
            yield path.name, metric


def presets() -> str:
    """How much each preset runs."""
    from grannfield.presets import PRESETS

    return table(["preset", "what it runs, for each model and material"], [[f"`{n}`", p.described] for n, p in PRESETS.items()])


def materials() -> str:
    """The materials that come with the package."""
    from grannfield.data.material import datasets_folder, read_material

    rows = []
    for path in sorted(datasets_folder().glob("*/material.toml")):
        one = read_material(path)
        for reference in one.references:
            kelvin = ", ".join(f"{t:g}" for t in reference.temperatures)
            rows.append([one.formula, one.short, str(len(one.structure.z)), one.space_group, reference.label, kelvin])
    return table(["formula", "short name", "atoms", "space group", "reference", "K"], rows)


def models() -> str:
    """The registered models: parameters of the default and the published arithmetic beside Table 1's."""
    from grannfield.forcefield import create, registered
    from grannfield.report.paper import table1

    published, rows = table1(), []
    for name, cls in registered().items():
        counts = [f"{create(name, as_published=flag).n_parameters:,}" for flag in (False, True)]
        forces = "gradient" if cls.conservative else "direct"
        rows.append([f"[`{name}`](#{name})", cls.symmetry, forces, *counts, str(published[name]["parameters_million"])])
    return table(["model", "symmetry, claimed", "forces", "parameters", "as published", "Table 1, million"], rows)


def deviations(name: str) -> str:
    """What the default of a model mends, from its docstring."""
    from grannfield.forcefield import registered

    doc = registered()[name].__doc__ or ""
    _, found, rest = doc.partition("Differs from the published arithmetic:\n")
    if not found:
        return "The default and the published arithmetic are the same.\n"
    lines = [line.strip() for line in rest.split("\n\n")[0].strip().splitlines()]
    items = " ".join(f"\n{line}" if line.startswith("- ") else line for line in lines).strip().splitlines()
    return "Differs from the published arithmetic:\n\n" + "\n".join(line.strip() for line in items) + "\n"


def settings(name: str) -> str:
    """The keyword defaults of a model: the configuration of Table 1."""
    import inspect

    from grannfield.forcefield import registered

    found = inspect.signature(registered()[name]).parameters.values()
    return "Settings: " + ", ".join(f"`{p.name}={p.default!r}`" for p in found if p.name != "as_published") + ".\n"


def symmetries() -> str:
    """The table of all models measured against their claims, from reports/deviations.md."""
    text = (REPOSITORY / "reports" / "deviations.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    end = next(k for k, line in enumerate(rows) if k > 2 and line.startswith("| check"))
    return "\n".join(re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", row)) for row in rows[:end]) + "\n"


def coverage(quantity: str) -> str:
    """Measured coverage of our 95% intervals of D, Ea or sigma, and the smallest and largest of other packages."""
    path = REPOSITORY / "reports" / "calibration" / "coverage.csv"
    with path.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["quantity"] == quantity]
    if not found:
        raise LookupError(f"{path} has no rows of the quantity {quantity!r}")
    others = sorted({row["estimator"] for row in found} - {"grannfield"})
    rows = []
    for condition in dict.fromkeys(row["condition"] for row in found):
        here = {row["estimator"]: row for row in found if row["condition"] == condition}
        own = here["grannfield"]
        interval = (
            f"{float(own['coverage']):.3f} [{float(own['coverage_low']):.3f}, {float(own['coverage_high']):.3f}] (n={own['n']})"
        )
        beside = [f"{float(here[name]['coverage']):.2f} (n={here[name]['n']})" if name in here else "" for name in others]
        rows.append([condition, interval, own["verdict"], *beside])
    return table(["motion", "this package", "verdict", *others], rows)


def speeds() -> str:
    """Measured steps of MD, from reports/speed."""
    from grannfield.speed import table as speed_table

    parts = []
    for path in sorted((REPOSITORY / "reports" / "speed").glob("*.json")):
        parts.append(f"{json.loads(path.read_text(encoding='utf-8'))['hardware']}:\n")
        rows = next((rows for rows in speed_table(path) if rows and "model" in rows[0]), [])
        names = list(dict.fromkeys(key for row in rows for key in row))
        parts.append(table(names, [[str(row.get(name, "")) for name in names] for row in rows]))
    return "\n".join(parts)


def controls() -> str:
    """What the suite tests itself with."""
    from grannfield.controls import every, parsed

    rows = []
    for name in every():
        one = parsed(name)
        must = ", ".join(f"`{m}`" for m in one.required) or "none"
        not_by = "every column" if one.not_by == ("*",) else ", ".join(f"`{m}`" for m in one.not_by)
        rows.append([f"`{one.label}`", one.about, must, not_by])
    return table(["control", "what it is", "columns that must flag it", "columns that must not"], rows)


def margins() -> str:
    """All margins, in words."""
    from grannfield.report.board import margins as said

    return said() + ".\n"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def bench_options() -> argparse.ArgumentParser:
    """The options of `grannfield bench` and `pytest benchmarks/`."""
    from grannfield.presets import OPTIONS

    parser = argparse.ArgumentParser(prog="pytest benchmarks/", add_help=False)
    for name, keywords in OPTIONS.items():
        parser.add_argument(f"--{name}", **keywords)
    return parser


def commands() -> str:
    """The help text of every command, under a heading each."""
    from grannfield.cli import command_line

    parts = [f"## grannfield\n\n```text\n{_help(command_line())}```\n"]

    def walk(parser: argparse.ArgumentParser, depth: int) -> None:
        for name, one in subcommands(parser).items():
            text = _bench_help() if name == "bench" else _help(one)
            parts.append(f"{'#' * depth} {one.prog}\n\n```text\n{text}```\n")
            walk(one, depth + 1)

    walk(command_line(), 2)
    return "\n".join(parts)


def _help(parser: argparse.ArgumentParser) -> str:
    with patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}):
        return parser.format_help()


def _bench_help() -> str:
    from grannfield.cli import main

    out = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}), redirect_stdout(out):
        main(["bench", "--help"])
    return out.getvalue()


def changes() -> str:
    """The changelog."""
    text = (REPOSITORY / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n")[2]


DERIVED: dict[str, Callable[..., str]] = {
    one.__name__: one
    for one in (
        column, columns, presets, materials, models, deviations, settings, symmetries, coverage, speeds, controls, margins,
        commands, changes,
    )
}  # fmt: skip
