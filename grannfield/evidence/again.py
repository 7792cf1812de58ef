"""Numbers made again: the benchmarks themselves, run on what is kept instead of on a model.

The metric code is that of `benchmarks/`; a session stands in for the usual one whose bench only reads. No atom is moved, no force
is computed, and the package of a calculator need not be installed.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grannfield.data.material import Material, load_material
from grannfield.evidence.files import NotKept
from grannfield.evidence.kept import Evidence
from grannfield.harness import Bench, Predictions, ReferenceData
from grannfield.motion import Subject
from grannfield.plugin import Named
from grannfield.progress import progress
from grannfield.report.results import Results
from grannfield.runs import ScoredRun
from grannfield.score import Score
from grannfield.session import Session

PLUGIN = "grannfield-evidence"
"""Name under which the session is given to pytest."""


@dataclass(frozen=True)
class FromEvidence:
    """What a bench reads in place of a store: the evidence behind one model's results."""

    evidence: Evidence

    def predictions(self, subject: Subject, data: ReferenceData, column: Literal["windows", "random"]) -> Predictions:
        """Those behind the stored scores; UnsupportedElement as for the model itself."""
        subject.field.require_elements(data.material.structure.z)
        found = self.evidence.predictions(data.material.formula, column)
        if found is None:
            raise NotKept(f"no predictions of {subject.named.label} on {column} frames of {data.material.formula} were kept")
        return found

    def runs(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]:
        """The MD runs behind the stored scores."""
        return self._moved(subject, data, "md")

    def constant_energy(self, subject: Subject, data: ReferenceData) -> list[ScoredRun]:
        """The NVE runs behind the stored drift."""
        data.require_motion()
        return self._moved(subject, data, "nve")

    def _moved(self, subject: Subject, data: ReferenceData, kind: Literal["md", "nve"]) -> list[ScoredRun]:
        if subject.force_field is not None:
            subject.field.require_elements(data.material.structure.z)
        found = self.evidence.runs(data.material.formula, kind)
        if not found:
            raise NotKept(f"no {kind.upper()} runs of {subject.named.label} in {data.material.formula} were kept")
        return [run.scored() for run in found]

    def curl_file(self, subject: Subject, data: ReferenceData) -> tuple[Path, dict[str, Any]]:
        """Products with the Jacobian of the forces."""
        return self.evidence.curl_file(data.material.formula)

    def speed(self, subject: Subject, metric: str) -> dict[str, Any]:
        """Seconds of each round, and what stands beside them."""
        found = self.evidence.speed()
        if metric not in found:
            raise NotKept(f"raw samples were not kept: {metric} of {subject.named.label} can only be measured again")
        return dict(found[metric])


@dataclass
class AgainSession(Session):
    """A session whose model, reference and protocol are those of stored results, and that writes nothing."""

    evidence: Evidence | None = None

    def subject(self, named: Named) -> Subject:
        assert self.evidence is not None
        return self.evidence.subject

    def data(self, material: Material, named: Named | None = None) -> ReferenceData:
        assert self.evidence is not None
        return self.evidence.reference(material.formula)

    def origin(self, named: Named, material: Material | None) -> dict[str, Any]:
        """As of any score, and that it was made from kept evidence: its date is that of rescoring."""
        return super().origin(named, material) | {"rescored": True}

    def results_of(self, named: Named) -> Results:
        """Where the new scores go."""
        return self.results[named.label]

    def keep(self, named: Named, score: Score) -> None:
        """Hold a score in memory."""
        self.results[named.label].add(score)


def again_session(evidence: Evidence) -> AgainSession:
    """The session of stored results; NotKept where their preset is not today's."""
    stored = evidence.results
    protocol = stored.protocol
    bench = Bench(
        evidence.preset, int(protocol["seed"]), str(protocol["device"]), evidence.reports / "store", kept=FromEvidence(evidence)
    )
    materials = [load_material(formula) for formula in stored.materials]
    session = AgainSession(
        evidence.reports, bench, [evidence.subject.named], materials, str(protocol["reference"]), protocol["split"], False,
        protocol, evidence=evidence,
    )  # fmt: skip
    session.results[stored.label] = Results(stored.label, stored.model, protocol)
    return session


@dataclass
class Selection:
    """The plugin that gives pytest the session, leaves out tests nobody asked for, and shows how far it is."""

    session: AgainSession
    wanted: Collection[tuple[str, str]]
    """(metric, material) of the cells to make again."""
    bar: Any
    seen: int = field(default=0)

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        chosen = [item for item in items if self._asked_for(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
        self.bar.total = len(chosen)

    def _asked_for(self, item: Any) -> bool:
        marker = item.get_closest_marker("columns")
        if marker is None:
            return False
        material = item.callspec.params.get("material")
        formula = marker.kwargs["on"] if material is None else material.formula
        return any((metric, formula) in self.wanted for metric in marker.args)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.bar.update(1)


def made_again(evidence: Evidence, wanted: Collection[tuple[str, str]] | None = None) -> Results:
    """The scores of stored results, made again from what is kept; `wanted`: only these (metric, material).

    What cannot be made again is an error with the reason in its score. RuntimeError where pytest itself fails.
    """
    import pytest

    session = again_session(evidence)
    cells = set(evidence.results.scores) if wanted is None else set(wanted)
    suite, said = suite_folder(), io.StringIO()
    arguments = [
        str(suite / "benchmarks"), f"--rootdir={suite}", f"--confcutdir={suite}", "-c", os.devnull, "-q",
        "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist",
    ]  # fmt: skip
    counted = progress(len(cells), f"{evidence.results.label} again", "tests")
    with counted as bar, contextlib.redirect_stdout(said), _without_options():
        code = pytest.main(arguments, plugins=[_Registering(Selection(session, cells, bar))])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the benchmarks could not be run (exit code {int(code)}):\n{said.getvalue()[-2000:]}")
    return session.results[evidence.results.label]


@dataclass
class _Registering:
    """Registers the selection under the name by which `conftest.py` finds it."""

    selection: Selection

    def pytest_addoption(self, pluginmanager: Any) -> None:
        pluginmanager.register(self.selection, PLUGIN)


@contextlib.contextmanager
def _without_options() -> Iterator[None]:
    """Options that a user's environment holds for tests are not meant for this."""
    kept = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS",)}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})


def suite_folder() -> Path:
    """The folder with `benchmarks` and `conftest.py`: inside an installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "suite", package.parent):
        if (folder / "benchmarks").is_dir():
            return folder
    raise FileNotFoundError(
        f"the benchmarks are neither in {package / 'suite'} nor in {package.parent}; install grannfield again"
    )
