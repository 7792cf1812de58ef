"""Learning curves: validation errors during training, as far as training kept them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grannfield.evidence.shipping import curve_path
from grannfield.figures.colours import QUIET, REFERENCE
from grannfield.figures.sheet import SMALL, Sheet, cut, grid, not_available, pages, stem
from grannfield.figures.shown import Shown, formula_text
from grannfield.report.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "learning curves (S1-S11 a, b)"
PER_PAGE = 12
COLUMNS = 3
NEEDED = {"seconds", "force_mae", "train_loss", "validation_loss"}


def sheets(shown: Shown) -> Iterator[Sheet]:
    """A panel for each model that this package trained."""
    trained = [one.label for one in shown.results if "steps" in (one.model.get("provenance") or {})]
    elsewhere = [label for label in shown.labels if label not in trained]
    if not trained:
        return
    for k, labels in enumerate(parts := pages(trained, PER_PAGE)):
        found = {label: curve_of(shown, label) for label in labels}
        notes = "; ".join(_told(shown.one(label), found[label]) for label in labels)
        note = f" Trained elsewhere: {', '.join(elsewhere)}." if elsewhere else ""
        yield Sheet(
            "learning", stem("learning", str(k + 1) if len(parts) > 1 else ""), "Learning curves",
            "Force MAE on validation frames against the time of training (line), and the checkpoint that is scored (diamond, at "
            f"the lowest validation loss). {notes}.{note}",
            f"Validation force MAE during training of {', '.join(labels)}.",
            lambda figure, found=found: _draw(figure, shown, found),  # type: ignore[misc]
            reference=shown.reference,
        )  # fmt: skip


def _told(one: Results, curve: dict[str, np.ndarray] | str) -> str:
    story = one.model["provenance"]
    points = f"{len(curve['seconds'])} validations" if isinstance(curve, dict) else curve
    return (
        f"{one.label}: {story.get('steps')} steps on n = {story.get('training_frames', '?')} frames of "
        f"{formula_text(str(story.get('material', '?')))}, {story.get('hardware', 'hardware unknown')}; {points}"
    )


def curve_of(shown: Shown, label: str) -> dict[str, np.ndarray] | str:
    """Columns of the curve.csv of the training behind a model's weights, or why there is none."""
    name = str(shown.one(label).model.get("name", label))
    data = (shown.one(label).model.get("provenance") or {}).get("training_data")
    places = [shown.reports / "checkpoints" / n for n in dict.fromkeys((label, name))]
    places += sorted(shown.reports.glob(f"reproduce/*/reports/checkpoints/{name}"))
    reason = "no learning curve was kept"
    kept = curve_path(shown.one(label), shown.reports)
    if kept.is_file():
        return read_curve(kept)
    for folder in places:
        if not (folder / "curve.csv").is_file():
            continue
        if data is not None and _trained_on(folder) not in (None, data):
            reason = f"{folder.name}/curve.csv is of another training"
            continue
        try:
            return read_curve(folder / "curve.csv")
        except ValueError as problem:
            reason = str(problem)
    return reason


def _trained_on(folder: Path) -> Any:
    """Hash of the training frames that a folder of training is about; None where it does not say."""
    try:
        return json.loads((folder / "identity.json").read_text(encoding="utf-8")).get("train")
    except (OSError, ValueError, AttributeError):
        return None


def read_curve(path: Path) -> dict[str, np.ndarray]:
    """Columns of a curve.csv as training writes it; ValueError, naming the file, for anything else."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        columns = {key: np.array([float(row[key]) for row in rows]) for key in (rows[0] if rows else ())}
    except (ValueError, TypeError, OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is no learning curve ({problem})") from problem
    if not columns or not columns.keys() >= NEEDED:
        raise ValueError(f"{path} is no learning curve: it needs rows of {', '.join(sorted(NEEDED))}")
    return columns


def _draw(figure: Figure, shown: Shown, found: dict[str, dict[str, np.ndarray] | str]) -> None:
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    axes = grid(
        figure, rows, columns, width=7.2 if columns > 1 else 3.5, panel_height=1.3, left=0.55, gap=(0.45, 0.42), top=0.25
    ).ravel()
    for spare in axes[len(found) :]:
        spare.set_axis_off()
    for k, (label, curve) in enumerate(found.items()):
        axes[k].set_title(cut(label), color=shown.styles[label].colour)
        _panel(axes[k], shown.one(label), curve, shown.styles[label].colour)
        axes[k].set_xlabel("training time (min)" if k + columns >= len(found) else "")
        axes[k].set_ylabel("force MAE (meV/Å)" if k % columns == 0 else "")


def _panel(axis: Axes, one: Results, curve: dict[str, np.ndarray] | str, colour: str) -> None:
    story = one.model["provenance"]
    if isinstance(curve, dict):
        axis.plot(curve["seconds"] / 60, 1e3 * curve["force_mae"], color=colour)
    best = (story.get("validation") or {}).get("force_mae")
    if best is not None and "seconds" in story:
        axis.plot(story["seconds"] / 60, 1e3 * best, marker="D", color=colour, markeredgecolor=REFERENCE, markersize=5)
        words = f"{1e3 * best:.0f} meV/Å at {story['seconds'] / 60:.3g} min"
        axis.text(0.96, 0.94, words, transform=axis.transAxes, ha="right", va="top", fontsize=SMALL)
    if isinstance(curve, str):
        if best is None:
            not_available(axis, curve)
            return
        axis.text(0.04, 0.04, f"curve n/a: {curve}", transform=axis.transAxes, fontsize=SMALL, color=QUIET)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.margins(y=0.25)
