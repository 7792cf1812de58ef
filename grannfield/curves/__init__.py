"""Curves behind the numbers, computed once for all who draw them: g(r), MSD, D(T), survival, parity, density, paths.

Frames after a failure enter none but survival. Each set is kept under a hash of the runs, the reference, the predictions and
the code of the analysis; a damaged file is computed again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from grannfield import provenance, units
from grannfield.curves.kinds import CURVES, Curves, ReferenceCurves, RunNote
from grannfield.curves.motion import arrhenius_of, as_points, displacement, line_of, msd_of, rdf_of, survival_of
from grannfield.curves.packed import packed, unpacked
from grannfield.curves.parity import parity_of
from grannfield.curves.space import density_of, paths_of, smoothed, ways, ways_used
from grannfield.files import write_atomically
from grannfield.harness import ReferenceData
from grannfield.motion import RDF_INTERVAL, hash_of
from grannfield.runs import ScoredRun, replicas
from grannfield.score import NotAvailable
from grannfield.trajectory import TrajectoryError

if TYPE_CHECKING:
    from grannfield.evidence import Evidence

__all__ = ["CURVES", "Curves", "ReferenceCurves", "curves_of", "reference_curves_of"]

T = TypeVar("T")
FORMAT = 1
CODE = ("analysis", "curves", "harness.py", "runs.py", "data", "trajectory.py", "units.py")
"""Files and folders of the package on which a curve depends."""
FOLDER = Path("store") / "curves"
"""Under the reports folder."""

ABSENT = "not on this machine"
"""Begins the reason of what a file would have told."""

logger = logging.getLogger("grannfield")


def curves_of(evidence: Evidence, formula: str, *, cache: Path | None = None) -> Curves:
    """All curves of one model in one material, from the store when they are there; what cannot be had is in `missing`.

    Nothing that is missing raises: runs or predictions that are not on this machine are a reason, and so is a damaged file.
    cache: the folder of the kept curves (default: store/curves under the reports folder).
    """
    folder = evidence.reports / FOLDER if cache is None else cache
    label = str(evidence.results.label)
    try:
        data = evidence.reference(formula)
    except (LookupError, ValueError, OSError) as problem:
        return Curves(label, formula, "", missing=dict.fromkeys(CURVES, f"{ABSENT}: {_words(problem)}"))
    pointers = [one for kind in ("md", "predictions") for one in evidence.of_kind(formula, kind)]
    split = evidence.results.protocol.get("split") or "windows"
    key = hash_of(
        FORMAT, provenance.code_hash(*CODE), label, formula, split, data.reference.label,
        *(run.sha256 for run in data.reference.runs), json.dumps(pointers, sort_keys=True),
    )  # fmt: skip
    return _kept(folder / f"{key}.npz", lambda: _made(evidence, data, split, folder), lambda curves: not _absent(curves))


def reference_curves_of(data: ReferenceData, cache: Path) -> ReferenceCurves:
    """What a reference alone contributes, kept in a folder for all models; NotAvailable for one without motion."""
    data.require_motion()
    runs = [run.sha256 for run in data.reference.runs]
    key = hash_of(FORMAT, provenance.code_hash(*CODE), data.material.formula, data.reference.label, *runs)
    return _kept(cache / f"{key}.npz", lambda: _reference(data))


def _reference(data: ReferenceData) -> ReferenceCurves:
    temperatures, mobile = data.reference.temperatures, units.number(data.material.mobile_ion)
    found = {t: data.production(t) for t in temperatures}
    points = {t: _of_reference(one, mobile) for t, one in found.items()}
    line, why = line_of(points, data.material)
    paths = {t: ways(one, data) for t, one in found.items()}
    return ReferenceCurves(
        {t: displacement(one, mobile, 0.6, one.n_frames) for t, one in found.items()}, as_points(points), line, why,
        {t: smoothed(data.reference_density(t)) for t in temperatures},
        {t: data.reference_density(t).n_frames for t in temperatures}, paths, data.sites.fractional,
        [data.sites.names[orbit] for orbit in data.sites.orbit], {t: ways_used(data.reference_jumps(t)) for t in temperatures},
        np.asarray(data.material.structure.cell),
    )  # fmt: skip


def _of_reference(trajectory: Any, mobile: int) -> Any:
    from grannfield.analysis.diffusion import diffusion_of_runs

    return diffusion_of_runs([trajectory], mobile)[0]


def _made(evidence: Evidence, data: ReferenceData, split: Any, folder: Path) -> Curves:
    """The curves, computed."""
    label, formula = str(evidence.results.label), data.material.formula
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}

    def put(name: str, make: Callable[[], Any]) -> None:
        found[name], why = _tried(make)
        if why:
            missing[name] = why

    put("parity", lambda: parity_of(_predictions(evidence, formula, split)))
    kept, lost = _tried(lambda: _runs(evidence, formula))
    runs, unread = _tried(lambda: [run.scored() for run in kept or ()])
    if not kept or runs is None:
        missing |= {name: lost or unread for name in CURVES if name != "parity"}
        return Curves(label, formula, data.reference.label, **found, missing=missing)
    reference, no_motion = _tried(lambda: reference_curves_of(data, folder))
    put("survival", lambda: survival_of(runs))
    put("rdf", lambda: rdf_of(runs, data))
    put("msd", lambda: msd_of(runs, data, reference))
    put("arrhenius", lambda: arrhenius_of(runs, data, reference))
    for name, make in (("density", density_of), ("paths", paths_of)):
        if reference is None:
            missing[name] = no_motion
        else:
            put(name, lambda make=make: make(runs, data, reference))  # type: ignore[misc]
    notes = [_note(one, run, r) for one, run, r in zip(kept, runs, replicas(runs), strict=True)]
    return Curves(label, formula, data.reference.label, notes, **found, missing=missing)


def _predictions(evidence: Evidence, formula: str, split: Any) -> Any:
    found = evidence.predictions(formula, split)
    if found is None:
        raise NotAvailable("no predictions", f"none of {formula} were kept, or none were made")
    return found


def _runs(evidence: Evidence, formula: str) -> list[Any]:
    found = list(evidence.runs(formula))
    if not found:
        raise NotAvailable("no runs", f"no MD of {formula} was kept, or none was made")
    return found


def _absent(curves: Curves) -> bool:
    """Whether a file was not there, or could not be read, which another time it may."""
    return any(why.startswith(ABSENT) for why in curves.missing.values())


def _note(kept: Any, run: ScoredRun, replica: int) -> RunNote:
    production = run.production
    frames, spread, ps = 0, 0, 0.0
    if production is not None:
        frames, ps = production.n_frames, production.duration * 1e-3
        spread = production.every(RDF_INTERVAL).n_frames
    cause = str(getattr(run.failure, "cause", ""))
    return RunNote(
        run.temperature, replica, run.run.seed, kept.sha256, frames, spread, ps, run.watched * 1e-3, cause, run.ending
    )  # fmt: skip


def _tried(make: Callable[[], T]) -> tuple[T | None, str]:
    """What was made, or None and the reason why not."""
    try:
        return make(), ""
    except NotAvailable as problem:
        return None, f"{problem.reason} ({problem.detail})" if problem.detail else problem.reason
    except TrajectoryError as problem:
        return None, str(problem)
    except (LookupError, ValueError, OSError) as problem:
        return None, f"{ABSENT}: {_words(problem)}"


def _words(problem: Exception) -> str:
    return str(problem.args[0]) if isinstance(problem, KeyError) and problem.args else str(problem)


def _kept(path: Path, make: Callable[[], T], whole: Callable[[T], bool] = lambda made: True) -> T:
    """The curves of a file, made and, if whole, written when it is missing or damaged; always as the file has them."""
    if path.exists():
        try:
            stored: T = unpacked(path.read_bytes())
            return stored
        except (ValueError, OSError) as problem:
            logger.warning("%s is damaged (%s); its curves are computed again", path, problem)
    found = make()
    content = packed(found)
    if whole(found):
        write_atomically(path, content)
    made: T = unpacked(content)
    return made
