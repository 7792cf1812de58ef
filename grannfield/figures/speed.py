"""Accuracy against speed, and the speeds of the paper's Table 1 beside ours."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from grannfield.figures.colours import QUIET, REFERENCE
from grannfield.figures.sheet import SMALL, TWO_COLUMNS, Sheet, constrained, cut, not_available, plain_log
from grannfield.figures.shown import Shown, formula_text
from grannfield.report import paper
from grannfield.report.columns import COLUMNS
from grannfield.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "accuracy against speed; ns/day of Table 1 beside ours"
SPEED = "ns_per_day"
ERRORS = ("force_mae", "rdf_mae")
MEASURED_ON = COLUMNS[SPEED].measured_on


def sheets(shown: Shown) -> Iterator[Sheet]:
    """Two figures."""
    if not shown.results:
        return
    rows = "; ".join(_told(shown, label) for label in shown.labels)
    yield Sheet(
        "accuracy-speed", "accuracy-speed", "Accuracy against speed",
        f"Errors on {formula_text(MEASURED_ON)} (95% intervals) against speed there (median and quartiles): NVT at 2 fs, one "
        f"replica, neighbours included, no output; better is right and down. Models without a number for either axis stand "
        f"below the panels' names. {rows}. {shown.conditions()}",
        rows, lambda figure: _accuracy(figure, shown), reference=shown.reference,
    )  # fmt: skip
    yield Sheet(
        "speed-published", "speed-published", "MD speed, published and ours",
        f"ns/day of MD of {formula_text(MEASURED_ON)} at 2 fs: the paper's Table 1 (open; RTX 4090 through LAMMPS) and ours "
        f"(filled; median and quartiles, single replica; half-filled: replicas in one batch together). The hardware differs: "
        f"ours is stated with each number. AIMD is the paper's. {rows}.",
        rows, lambda figure: _published(figure, shown), reference=shown.reference,
    )  # fmt: skip


def _told(shown: Shown, label: str) -> str:
    score = shown.score(label, SPEED, MEASURED_ON)
    if score is None or score.outcome != "number":
        return f"{label}: n/a"
    return f"{label}: {score.value:.3g} ns/day (n = {score.n} rounds, {score.parts.get('hardware', 'hardware not stated')})"


def _bars(score: Score) -> list[list[float]]:
    """Lengths [2, 1] of the error bars of a number, zero without an interval."""
    low, high = score.interval or (score.value, score.value)
    return [
        [max(0.0, score.value - low) if math.isfinite(low) else 0.0],
        [max(0.0, high - score.value) if math.isfinite(high) else 0.0],
    ]


def _accuracy(figure: Figure, shown: Shown) -> None:
    constrained(figure, TWO_COLUMNS, 2.9 + 0.17 * (-(-len(shown.labels) // 4) - 1))
    axes = figure.subplots(1, 2, sharex=True)
    for axis, metric in zip(axes, ERRORS, strict=True):
        lost = [label for label in shown.labels if not _point(axis, shown, metric, label)]
        axis.set_xscale("log")
        axis.set_xlabel("speed (ns/day), one replica")
        axis.set_ylabel(COLUMNS[metric].heading.removesuffix(" ↓"))
        axis.set_ylim(bottom=0)
        if len(lost) == len(shown.labels):
            not_available(axis, f"no model has both {COLUMNS[metric].title} and speed")
        elif lost:
            why = ", ".join(f"{cut(label, 16)} ({_why(shown, metric, label)})" for label in lost)
            text = textwrap.fill(textwrap.shorten(f"not shown: {why}", 170, placeholder=" ..."), 58)
            axis.set_title(text, fontsize=SMALL, color=QUIET, loc="left")
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low / 1.2, high * 1.2)
    for axis in axes:
        plain_log(axis.xaxis)
    handles: dict[str, Any] = {}
    for axis in axes:
        handles |= {str(label): handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        names = [label for label in shown.labels if label in handles]
        figure.legend([handles[n] for n in names], [cut(n) for n in names], loc="outside upper center", ncols=min(4, len(names)))


def _why(shown: Shown, metric: str, label: str) -> str:
    for name in (metric, SPEED):
        score = shown.score(label, name, MEASURED_ON)
        if score is None or score.outcome != "number":
            return "not run" if score is None else score.reason
    return ""


def _point(axis: Axes, shown: Shown, metric: str, label: str) -> bool:
    """One model; False where it has no number for an axis."""
    x, y = shown.score(label, SPEED, MEASURED_ON), shown.score(label, metric, MEASURED_ON)
    if x is None or y is None or x.outcome != "number" or y.outcome != "number":
        return False
    style = shown.styles[label]
    axis.errorbar(
        x.value, y.value, xerr=_bars(x), yerr=_bars(y), color=style.colour, marker=style.marker, linestyle="none", label=label,
        markersize=5, elinewidth=0.8,
    )  # fmt: skip
    return True


def _published(figure: Figure, shown: Shown) -> None:
    """A row for each model of the table and each of ours, ours first."""
    published = {name: float(row["md_ns_per_day"]) for name, row in paper.table1().items() if row["md_ns_per_day"]}
    rows = [*shown.labels, *(n for n in published if n not in [_registered(shown, label) for label in shown.labels])]
    constrained(figure, TWO_COLUMNS * 0.72, 0.9 + 0.19 * len(rows))
    axis = figure.subplots()
    for k, row in enumerate(rows):
        axis.axhline(k, color="0.92", linewidth=0.5, zorder=0)
        theirs = published.get(_registered(shown, row) if row in shown.labels else row)
        if theirs is not None:
            axis.plot(theirs, k, marker="o", color=REFERENCE, markerfacecolor="white", markersize=5, linestyle="none")
        if row not in shown.labels:
            continue
        style = shown.styles[row]
        for metric, fill in ((SPEED, "full"), ("ns_per_day_batched", "left")):
            score = shown.score(row, metric, MEASURED_ON)
            if score is not None and score.outcome == "number":
                axis.errorbar(
                    score.value, k, xerr=_bars(score), color=style.colour, marker=style.marker, fillstyle=fill, markersize=5,
                    linestyle="none",
                )  # fmt: skip
    axis.set_yticks(range(len(rows)), [cut(paper.TITLES.get(row, row)) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xscale("log")
    plain_log(axis.xaxis)
    axis.set_xlabel(f"MD speed of {formula_text(MEASURED_ON)} (ns/day)")
    for tick, row in zip(axis.get_yticklabels(), rows, strict=True):
        tick.set_color(shown.styles[row].colour if row in shown.labels else QUIET)
    _key(figure)


def _key(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    looks = (("published, RTX 4090", "none"), ("ours, one replica", "full"), ("ours, batched", "left"))
    handles = [
        Line2D([], [], color=REFERENCE, marker="o", linestyle="none", markersize=5, label=text, fillstyle=fill)  # type: ignore[arg-type]
        for text, fill in looks
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, handletextpad=0.1)


def _registered(shown: Shown, label: str) -> str:
    """The paper's model that this is, whatever its label."""
    return str(shown.one(label).model.get("name", "")).partition("@")[0]
