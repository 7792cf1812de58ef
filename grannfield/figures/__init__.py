"""Figures of a reports folder, for paper and page: SVG, PDF and PNG, with captions, from results and what is kept behind them.

The same results give the same bytes. What is missing gives a panel that says why.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grannfield.figures.sheet import FORMATS, Sheet, write
from grannfield.files import write_atomically
from grannfield.progress import progress
from grannfield.provenance import usable_cores

if TYPE_CHECKING:
    from grannfield.figures.shown import Shown  # which needs all that reads runs: a command line is to start without it

__all__ = ["FIGURES", "FORMATS", "described", "write_figures"]

FOLDER = "figures"
CAPTIONS = "figures.json"
FORMAT = 1
PER_PROCESS = 8
"""Figures, at least, for which another process is worth its start."""
_PLANNED: list[Sheet] = []
"""What forked processes draw: plans hold functions, which cannot be sent."""
FIGURES = {
    "structures": "structures",
    "verdicts": "rdf",
    "errors": "bars",
    "learning": "learning",
    "parity": "parity",
    "rdf": "rdf",
    "msd": "motion",
    "arrhenius": "motion",
    "survival": "survival",
    "density": "space",
    "paths": "space",
    "accuracy-speed": "speed",
    "speed-published": "speed",
}
"""Every figure and the module that plans it."""


def write_figures(
    reports: Path, formats: Sequence[str] = FORMATS, only: Sequence[str] | None = None, model: str = ""
) -> list[Path]:
    """Draw the figures of a reports folder into its folder `figures`; the files written, captions (figures.json) last.

    only: names as in `FIGURES`; model: the figures about one model, besides those of all models together that `only` names.
    Files that an earlier call made and that no longer hold are removed: other formats of what is drawn, and, when all are
    drawn, figures that are no more. ImportError without matplotlib; ValueError for an unknown
    name or format; LookupError where there are no results, or none of the model.
    """
    from grannfield.figures.shown import Shown

    reports = Path(reports)
    _check(formats, only)
    shown = Shown.of(reports)
    if not shown.results:
        raise LookupError(f"{reports / 'results'} holds no results; run the benchmarks first: pytest benchmarks/")
    if model and model not in shown.labels:
        raise LookupError(f"there are no results of {model!r} in {reports}; there are {', '.join(shown.labels)}")
    folder, written, entries = reports / FOLDER, list[Path](), dict[str, dict[str, Any]]()
    names = [name for name in FIGURES if only is None or name in only]
    planned = [sheet for sheet in plan(shown, names) if not model or sheet.model == model or (only and not sheet.model)]
    with progress(len(planned), "figures", "figures") as bar:
        for sheet, files in zip(planned, _drawn(planned, folder, formats), strict=True):
            bar.set_postfix_str(sheet.stem)
            written += files
            entries[sheet.stem] = sheet.described(formats)
            bar.update(1)
    before = described(reports)
    if only is not None or model:
        entries = {one["stem"]: one for one in before if (folder / one["files"][0]).exists()} | entries
    _remove(folder, before, entries)
    order = list(FIGURES)
    found = sorted(entries.values(), key=lambda one: (order.index(one["name"]), one["stem"]))
    text = json.dumps({"format": FORMAT, "figures": found}, indent=1, ensure_ascii=False)
    write_atomically(folder / CAPTIONS, text + "\n")
    return [*written, folder / CAPTIONS]


def _drawn(planned: Sequence[Sheet], folder: Path, formats: Sequence[str]) -> Iterator[list[Path]]:
    """The files of each sheet, in order; many sheets are shared among processes, which inherit them as they are."""
    jobs = min(usable_cores(), len(planned) // PER_PROCESS)
    if jobs < 2 or "fork" not in multiprocessing.get_all_start_methods():
        for sheet in planned:
            yield write(sheet, folder, formats)
        return
    _PLANNED[:] = planned
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            yield from pool.map(partial(_write_planned, folder=folder, formats=tuple(formats)), range(len(planned)))
    finally:
        _PLANNED.clear()


def _write_planned(k: int, folder: Path, formats: Sequence[str]) -> list[Path]:
    return write(_PLANNED[k], folder, formats)


def plan(shown: Shown, names: Sequence[str]) -> Iterator[Sheet]:
    """The sheets of some figures; those of one module together, so that it looks at the curves once."""
    for module in dict.fromkeys(FIGURES[name] for name in names):
        for sheet in import_module(f"grannfield.figures.{module}").sheets(shown):
            if sheet.name in names:
                yield sheet


def described(reports: Path) -> list[dict[str, Any]]:
    """What figures.json says: for each figure name, stem, title, caption, alt, model, material, reference and files.

    Empty where there is none, or one of another format.
    """
    try:
        content = json.loads((Path(reports) / FOLDER / CAPTIONS).read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = content["figures"] if content["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [one for one in found if one.get("name") in FIGURES and one.get("files")]


def _check(formats: Sequence[str], only: Sequence[str] | None) -> None:
    if unknown := [name for name in only or () if name not in FIGURES]:
        raise ValueError(f"no figure is called {', '.join(map(repr, unknown))}; there are {', '.join(FIGURES)}")
    if only is not None and not only:
        raise ValueError(f"no figure is named; there are {', '.join(FIGURES)}")
    if unknown := [ending for ending in formats if ending not in FORMATS]:
        raise ValueError(f"a figure cannot be written as {', '.join(map(repr, unknown))}; choose from {', '.join(FORMATS)}")
    if not formats:
        raise ValueError(f"no format is named; choose from {', '.join(FORMATS)}")


def _remove(folder: Path, before: Sequence[dict[str, Any]], now: dict[str, dict[str, Any]]) -> None:
    """Delete the files that an earlier call made and that are no part of the figures as they are now."""
    kept = {name for one in now.values() for name in one["files"]}
    for one in before:
        for name in one["files"]:
            if name not in kept and Path(name).name == name:
                (folder / name).unlink(missing_ok=True)
