"""The harness: options, parametrisation over model x material, and how a test's number becomes a cell of the leaderboard.

Three outcomes of a cell: a number (the test passes, however poor it is), n/a for a physical reason (passes, and the reason is
shown), an error of the model or the harness (fails). `--gate` turns verdicts and n/a into failures.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from grannfield import provenance
from grannfield.analysis.uncertainty import Estimate
from grannfield.controls import every as every_control
from grannfield.controls.judgement import judgements
from grannfield.data.material import Material, load_material, materials
from grannfield.forcefield import UnsupportedElement, registered
from grannfield.given import given_runs
from grannfield.harness import Bench, Predictions, ReferenceData, Subject
from grannfield.motion import distinct
from grannfield.plugin import ModelNotFound, Named, find, find_calculator, with_kin
from grannfield.precision import labelled
from grannfield.presets import OPTIONS, PRESETS
from grannfield.report.board import leaderboard, ranked, short
from grannfield.report.results import Results
from grannfield.report.tables import write_reports
from grannfield.report.verdicts import verdict_of
from grannfield.runs import ScoredRun
from grannfield.score import NotAvailable, Score
from grannfield.session import Session, to_score

SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grannfield", "GraNNField benchmarks")
    for name, kwargs in OPTIONS.items():
        group.addoption(f"--{name}", **kwargs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "columns(*metrics): leaderboard columns that a benchmark fills")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the options before anything is collected: a wrong one is one line, not an error for each test."""
    if any("benchmarks" in Path(argument.split("::")[0]).parts for argument in session.config.args):
        _session(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not any(metafunc.definition.iter_markers("columns")):
        return
    session = _session(metafunc.config)
    models = session.models
    if "material" not in metafunc.fixturenames:  # of motion made elsewhere there is no speed, and perhaps no LGPS
        models = [m for m in models if m.kind not in ("trajectories", "control")]  # nor says the speed of a control anything
    metafunc.parametrize("named", models, ids=[m.label for m in models], scope="session", indirect=True)
    if "material" in metafunc.fixturenames:
        metafunc.parametrize(
            "material", session.materials, ids=[m.formula for m in session.materials], scope="session", indirect=True
        )


def pytest_itemcollected(item: pytest.Item) -> None:
    """In this project's tests a warning is an error; a user's model may warn and still be scored."""
    if item.get_closest_marker("columns"):
        item.add_marker(pytest.mark.filterwarnings("default"))


def _session(config: pytest.Config) -> Session:
    """The session's settings, checked once; a wrong option is a usage error that says what would be right."""
    if SESSION in config.stash:
        return config.stash[SESSION]
    option = config.getoption
    reports = option("--reports") or config.invocation_params.dir / "reports"
    preset = PRESETS[option("--preset")]
    device = _checked_device(option("--device"))
    try:
        calculators = [find_calculator(text) for text in dict.fromkeys(option("--calculator"))]
        given = [given_runs(path) for path in dict.fromkeys(option("--trajectories"))]
        others = bool(calculators or given)
        models = [find(spec, reports / "checkpoints") for spec in _models(option("--model"), reports, others)]
        own = list(dict.fromkeys(name for one in given for name in one.materials)) if not (models or calculators) else []
        chosen = [load_material(name) for name in _list(option("--material")) or own or materials()]
        if precision := option("--precision"):  # beside the results in the weights' own precision, not instead of them
            models = [replace(m, label=f"{m.label} {labelled(precision, device)}") for m in models]
            if any(m.kind == "control" for m in models):
                raise ValueError("--precision is for networks; a control computes in double precision")
            if calculators:
                raise ValueError("--precision is for models of this package; a calculator is told by its own arguments")
        moved = [Named(str(one.path.parent), one.label, one.path, kind="trajectories", kin=one.kin) for one in given]
        models = with_kin([*models, *calculators, *moved], option("--kin"))
        for one, material in product(given, chosen):
            one.read(material)
    except (LookupError, ValueError, FileNotFoundError) as problem:
        raise pytest.UsageError(str(problem.args[0])) from problem
    files = [Results(m.label).path(reports) for m in models]
    twice = {m.label for m, file in zip(models, files, strict=True) if files.count(file) > 1}
    if twice:
        cure = "rename one file, folder or label, or write --calculator LABEL=pkg.mod:factory(...)"
        raise pytest.UsageError(f"two models would both be called {', '.join(sorted(twice))}; {cure}")
    stamp = provenance.stamp(device)
    protocol = {
        "preset": preset.name,
        "described": preset.described,
        "ramp_ps": preset.ramp_ps,
        "length_ps": preset.length_ps,
        "seed": option("--seed"),
        "split": option("--split"),
        "reference": option("--reference"),
        "device": device,
        "hardware": stamp["hardware"],
    }
    bench = Bench(preset, option("--seed"), device, reports / "store")
    config.stash[SESSION] = Session(
        reports, bench, models, chosen, option("--reference"), option("--split"), option("--gate"), protocol, precision,
        {one.label: one for one in given},
    )  # fmt: skip
    return config.stash[SESSION]


def _list(values: list[str]) -> list[str]:
    return list(dict.fromkeys(item.strip() for value in values for item in value.split(",") if item.strip()))


def _models(values: list[str], reports: Path, others: bool) -> list[str]:
    """Names given; SchNet without any, unless there are `others`.

    `all` becomes every registered model that has weights, `controls` every control.
    """
    names = []
    for name in _list(values) or ([] if others else ["schnet"]):
        if name == "controls":
            names += every_control()
            continue
        if name != "all":
            names.append(name)
            continue
        for known in registered():
            try:
                find(known, reports / "checkpoints")
            except ModelNotFound:
                continue
            names.append(known)
    return list(dict.fromkeys(names))


def _checked_device(device: str) -> str:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise pytest.UsageError(f"--device {device}: torch {torch.__version__} sees no GPU here; use --device cpu")
    if not device.startswith(("cpu", "cuda")):
        raise pytest.UsageError(f"--device {device}: use cpu, cuda or cuda:N")
    return device


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest) -> Session:
    return _session(request.config)


@pytest.fixture(scope="session")
def named(request: pytest.FixtureRequest) -> Named:
    return request.param


@pytest.fixture(scope="session")
def material(request: pytest.FixtureRequest) -> Material:
    return request.param


@pytest.fixture
def shown(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """A context in which progress bars reach the terminal although pytest captures output."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    terminal = request.config.pluginmanager.getplugin("terminalreporter")

    @contextmanager
    def context() -> Iterator[None]:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()  # a bar takes a line of its own
            yield

    return context


@pytest.fixture
def subject(named: Named, session: Session) -> Callable[[], Subject]:
    """The model under test, loaded when called."""
    return lambda: session.subject(named)


@pytest.fixture
def data(material: Material, named: Named, session: Session, shown: Any) -> ReferenceData:
    """The material's reference, each analysis of it done once; for a control its own, made where there is none yet."""
    with shown():
        return session.data(material, named)


@pytest.fixture
def behind() -> dict[str, Any]:
    """Where what a test uses was made, which need not be the machine that scores it."""
    return {}


@pytest.fixture
def predictions(
    subject: Callable[[], Subject], data: ReferenceData, session: Session, shown: Any, behind: dict[str, Any]
) -> Callable[[str], Predictions]:
    """Energies and forces on the test frames of a split column, computed when called."""

    def make(column: Any) -> Predictions:
        with shown():
            found = session.bench.predictions(subject(), data, column)
        behind["predictions_made_on"] = [found.made_on]
        return found

    return make


@pytest.fixture
def runs(
    subject: Callable[[], Subject], data: ReferenceData, session: Session, shown: Any, behind: dict[str, Any]
) -> Callable[[], list[ScoredRun]]:
    """The MD runs of the model in the material, made when called."""

    def make() -> list[ScoredRun]:
        with shown():
            found = session.bench.runs(subject(), data)
        behind["runs_made_on"] = distinct([stamp for run in found for stamp in run.made_on])
        return found

    return make


@pytest.fixture
def score(request: pytest.FixtureRequest, named: Named, session: Session, behind: dict[str, Any]) -> Callable[..., Score]:
    """Record a number: score(metric, Estimate, factor=1.0, verdict="", ok=True, on="", **parts)."""
    where: Material | None = request.getfixturevalue("material") if "material" in request.fixturenames else None

    def record(
        metric: str, estimate: Estimate, *, factor: float = 1.0, verdict: str = "", ok: bool = True, on: str = "", **parts: Any
    ) -> Score:
        formula = on or (where.formula if where else "")
        origin = session.origin(named, where) | behind
        made = to_score(metric, named.label, formula, estimate, factor, verdict, parts, origin)
        request.node.user_properties.append((metric, made.text))
        session.keep(named, made)
        tested = verdict_of(session.results_of(named), metric, formula)
        if tested is not None:
            request.node.user_properties.append((f"{metric} verdict", tested.label))
        if session.gate and (made.outcome != "number" or not ok or (tested is not None and tested.label == "different")):
            said = " (different from the reference)" if tested is not None and tested.label == "different" else ""
            pytest.fail(f"gate: {short(made)}{said}", pytrace=False)
        if session.gate and tested is not None and tested.label == "undecided":
            session.undecided.append(short(made))
        return made

    return record


@pytest.fixture
def reference_score(named: Named, material: Material, data: ReferenceData, session: Session) -> Callable[..., float | str]:
    """Record the reference's own number, whatever becomes of the model's; returns it, or the reason for none.

    In a column with a floor, the number is that of the reference's halves against each other.
    """

    def record(metric: str, estimate: Estimate, **parts: Any) -> float | str:
        label, origin = data.reference.label, session.origin(named, material)
        session.results_of(named).add_reference(to_score(metric, label, material.formula, estimate, 1.0, "", parts, origin))
        return estimate.reason or estimate.value

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """An n/a passes with its reason; an error fails and leaves its last line in the cell."""
    report = yield
    marker = item.get_closest_marker("columns")
    if (
        marker is None
        or call.excinfo is None
        or call.when == "teardown"
        or call.excinfo.errisinstance((pytest.fail.Exception, pytest.skip.Exception))
    ):
        return report
    problem = call.excinfo.value
    session = _session(item.config)
    params = item.callspec.params  # type: ignore[attr-defined]
    formula = params["material"].formula if "material" in params else marker.kwargs["on"]
    for metric in marker.args:
        common = {"metric": metric, "model": params["named"].label, "material": formula}
        common["provenance"] = session.origin(params["named"], params.get("material")) | item.funcargs.get("behind", {})  # type: ignore[attr-defined]
        if isinstance(problem, NotAvailable):
            made = Score(**common, reason=problem.reason, detail=problem.detail)
        elif isinstance(problem, UnsupportedElement):
            made = Score(**common, reason="element not supported", detail=str(problem))
        else:
            made = Score(**common, reason=traceback.format_exception_only(problem)[-1].strip(), error=True)
        session.keep(params["named"], made)
        item.user_properties.append((metric, made.text))
    if isinstance(problem, (NotAvailable, UnsupportedElement)):
        if session.gate:
            report.longrepr = f"gate: {short(made)}"
        else:
            report.outcome, report.longrepr, report.not_available = "passed", None, True
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A test without a number shows as n/a; it counts as passed."""
    if report.when == "call" and getattr(report, "not_available", False):
        return "n/a", "-", "N/A"
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A control that is not seen, or is taken for another fault, is an error of the suite."""
    bench = session.config.stash.get(SESSION, None)
    sound = bench is None or all(judged.right for judged in judgements(bench.results.values()))
    if session.exitstatus == pytest.ExitCode.OK and not sound:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_keyboard_interrupt() -> None:
    print("\ninterrupted; what was done is kept under the reports folder: the same command goes on from there", file=sys.stderr)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is None or not session.touched:
        return
    paths = write_reports(session.reports)
    terminalreporter.section("leaderboard")
    for one in ranked(list(session.results.values())):
        for row in leaderboard([one]).to_dict("records"):
            terminalreporter.write_line(f"{row.pop('model')} on {row.pop('material')}")
            for title, text in row.items():
                if text != "not run":
                    terminalreporter.write_line(f"  {title:32s} {text}")
    for judged in judgements(session.results.values()):
        terminalreporter.write_line(f"{'as it must be' if judged.right else 'WRONG'}: {judged.text}")
    for text in session.undecided:
        terminalreporter.write_line(f"gate: passed, though undecided by test: {text}")
    terminalreporter.write_line(f"tables: {', '.join(str(p) for p in paths if p.suffix == '.md')}")
