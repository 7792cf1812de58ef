"""From a state of `grannfield reproduce` to the board that is shipped: results, what stands behind them, weights, curves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from grannfield.evidence.kept import evidence_of
from grannfield.evidence.shipping import curve_path, keep
from grannfield.files import write_atomically
from grannfield.forcefield import load, registered
from grannfield.plugin import Named, identity
from grannfield.report.results import Results, all_results, read_results
from grannfield.report.scale import scale_of, size
from grannfield.reproduce.weights import removed

LARGEST_WEIGHTS = 2_000_000
"""Bytes from which on weights are not put beside the package."""


@dataclass
class Published:
    """What became of the results of one model."""

    label: str
    done: bool
    why: str = ""
    """The reason where they were not published."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes by kind."""

    def __str__(self) -> str:
        sizes = ", ".join(f"{kind} {size / 1e3:.0f} kB" for kind, size in self.sizes.items())
        return f"{self.label}: {f'published ({sizes})' if self.done else f'left out: {self.why}'}"


def publish(state: Path, reports: Path, weights: Path | None = None, replace: bool = False) -> list[Published]:
    """Take over the results of a state folder into a reports folder, each model whole or not at all.

    Results, the runs and predictions behind them (into reports/evidence), learning curves, and into the folder `weights`, where
    one is given, the checkpoints of registered models in their default behaviour. What is there at a larger scale stays, unless
    `replace`. FileNotFoundError where the state has no results.
    """
    found = all_results(state / "reports")
    if not found:
        raise FileNotFoundError(
            f"{state / 'reports' / 'results'} holds no results; `grannfield reproduce --state {state}` makes them"
        )
    return [_published(one, state / "reports", reports, weights, replace) for one in found]


def _published(one: Results, source: Path, reports: Path, weights: Path | None, replace: bool) -> Published:
    checkpoint = source / "checkpoints" / one.label / "best.safetensors"
    if why := _unfit(one, checkpoint) or ("" if replace else _smaller(one, one.path(reports))):
        return Published(one.label, False, why)
    known = evidence_of(one, source).kept_in.exists()
    kept, sizes = keep(one, source)
    if (curve := checkpoint.parent / "curve.csv").exists():
        write_atomically(curve_path(one, source), curve.read_bytes())
    small = checkpoint.exists() and checkpoint.stat().st_size <= LARGEST_WEIGHTS
    shipped = weights is not None and one.label in registered() and small
    if shipped and weights is not None:
        write_atomically(weights / f"{one.label}.safetensors", checkpoint.read_bytes())
        sizes["weights"] = checkpoint.stat().st_size
    if kept.resolve() != (target := reports / "evidence" / kept.name).resolve():
        _copied(kept, target)
        if not known:  # a state may be small enough to be committed, and stays so
            shutil.rmtree(kept)
    one.model["shipped"] = shipped
    sizes["results"] = one.write(reports).stat().st_size  # last: until here the earlier results point to nothing that is missing
    return Published(one.label, True, sizes=sizes)


def _unfit(one: Results, checkpoint: Path) -> str:
    """Why results cannot be published: no weights, or other ones than were scored."""
    if note := removed(checkpoint.parent):  # too large to be kept: what they were was noted when all was done
        if one.model.get("identity") != note["identity"]:
            return f"{checkpoint.parent} held other weights than were scored; make them again"
    elif not checkpoint.exists():
        return f"{checkpoint} is missing"
    elif one.model.get("identity") != (found := identity(load(checkpoint), Named(one.label, one.label, checkpoint))):
        return f"{checkpoint} hashes to {found[:12]}..., other weights were scored; score them again"
    if broken := [score for score in one.scores.values() if score.error]:
        return f"{len(broken)} cells broke, the first: {broken[0].metric} on {broken[0].material}: {broken[0].reason}"
    return ""


def _smaller(one: Results, there: Path) -> str:
    """Why what is there stays: it is of a larger scale."""
    if not there.exists() or size(scale_of(old := read_results(there))) <= size(scale_of(one)):
        return ""
    return f"{there} is of a larger scale ({scale_of(old)}, this is {scale_of(one)}); --replace takes this one"


def _copied(source: Path, target: Path) -> None:
    """A copy of a folder in the place of another; what only the old one had is gone afterwards."""
    beside = target.with_name(f".{target.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
