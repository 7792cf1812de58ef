"""The harness: options, parametrisation over model x material, and how a test's number becomes a cell of the leaderboard.

Three outcomes of a cell: a number (the test passes, however poor it is), n/a for a physical reason (passes, and the reason is
shown), an error of the model or the harness (fails). `--gate` turns verdicts and n/a into failures.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from grannfield.analysis.uncertainty import Estimate
from grannfield.asked import OptionError, asked
from grannfield.controls.judgement import judgements
from grannfield.data.material import Material
from grannfield.forcefield import UnsupportedElement
from grannfield.forecast import expected_seconds, forecast
from grannfield.gate.baseline import BaselineError, read_baseline, require_comparable
from grannfield.gate.judge import Judgement, judge
from grannfield.gate.table import lines, write_page
from grannfield.harness import Predictions, ReferenceData, Subject
from grannfield.interrupt import how_to_go_on, sigterm_as_interrupt
from grannfield.motion import distinct
from grannfield.plugin import Named
from grannfield.presets import OPTIONS
from grannfield.progress import Whole, session_of, show_as, shown_as
from grannfield.report.board import leaderboard, ranked, short
from grannfield.report.results import Results, read_results
from grannfield.report.verdicts import verdict_of
from grannfield.report_command import write_tables
from grannfield.runs import ScoredRun
from grannfield.score import NotAvailable, Score
from grannfield.session import Session, to_score
from grannfield.workers import ALONE, by_piece, gpus_here, share_machine

collect_ignore = [] if find_spec("torch_sim") else ["grannfield/torchsim.py"]
"""Its doctests need the package that it is an interface to."""
SESSION = pytest.StashKey[Session]()
WHOLE = pytest.StashKey[Whole]()
BASELINE = pytest.StashKey[list[Results]]()
JUDGEMENT = pytest.StashKey[Judgement]()
SHARED = "grannfield"
"""Key of what the process that starts workers tells them."""
UNDECIDED = "undecided"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grannfield", "GraNNField benchmarks")
    for name, kwargs in OPTIONS.items():
        group.addoption(f"--{name}", **kwargs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "columns(*metrics): leaderboard columns that a benchmark fills")
    if shared := _worker(config).get(SHARED):
        share_machine(_worker(config)["workerid"], _worker(config)["workercount"], shared["gpus"])


def _worker(config: pytest.Config) -> dict[str, Any]:
    """What a worker of pytest-xdist was told; empty in the process that a user has started."""
    found: dict[str, Any] = getattr(config, "workerinput", {})
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What the workers of pytest-xdist cannot know: the machine as a whole."""
    session = node.config.stash.get(SESSION, None)
    if session is not None:
        node.workerinput[SHARED] = {"hardware": session.protocol["hardware"], "gpus": gpus_here(session.bench.device)}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """All tests of a model and material on one worker, unless another distribution was asked for."""
    return by_piece(config, log) if SESSION in config.stash and config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if config.getoption("--forecast") and hasattr(config.option, "numprocesses"):
        config.option.numprocesses, config.option.dist = None, "no"  # a forecast needs the tests here


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the options before anything is collected: a wrong one is one line, not an error for each test."""
    config = session.config
    if not any("benchmarks" in Path(argument.split("::")[0]).parts for argument in config.args):
        return
    checked = _session(config)
    if (path := config.getoption("--baseline")) and not _worker(config):
        try:
            config.stash[BASELINE] = read_baseline(path)
            require_comparable(path, config.stash[BASELINE], [m.label for m in checked.models], checked.protocol)
        except BaselineError as problem:
            raise pytest.UsageError(str(problem)) from problem
    if config.option.verbose < 0:
        show_as("none")
    elif worker := _worker(config).get("workerid"):
        show_as("lines", f"{worker}: ")
    stop = ExitStack()
    stop.enter_context(sigterm_as_interrupt())
    config.add_cleanup(stop.close)
    config.add_cleanup(lambda: (show_as(""), session_of(None)))  # type: ignore[arg-type]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Progress knows from here on what there is to do."""
    config = session.config
    again = config.pluginmanager.has_plugin("grannfield-evidence")  # nothing is made then that would take long
    if SESSION in config.stash and session.items and not (config.getoption("--forecast") or _worker(config) or again):
        costs = expected_seconds(config.stash[SESSION], session.items)
        if costs and (whole := session_of(costs)) is not None:
            config.stash[WHOLE] = whole


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --forecast: say what would run, and run nothing."""
    config = session.config
    if SESSION not in config.stash or not config.getoption("--forecast"):
        return None
    terminal = config.pluginmanager.getplugin("terminalreporter")
    terminal.ensure_newline()
    for line in forecast(config.stash[SESSION], session.items):
        terminal.write_line(line)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    whole = item.config.stash.get(WHOLE, None)
    if whole is not None:
        whole.begin(item.nodeid)
    try:
        return (yield)
    finally:
        if whole is not None:
            whole.end()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that started workers: what they have measured."""
    if hasattr(report, "node") and report.when == "call":
        session = report.node.config.stash.get(SESSION, None)
        if session is not None:
            session.touched = True
            session.undecided += [str(text) for name, text in report.user_properties if name == UNDECIDED]


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
    if SESSION not in config.stash:
        if kept := config.pluginmanager.get_plugin("grannfield-evidence"):  # numbers are made again from what is kept
            config.stash[SESSION] = kept.session
            return config.stash[SESSION]
        reports = config.getoption("--reports") or config.invocation_params.dir / "reports"
        try:
            config.stash[SESSION] = asked(config.getoption, reports, _worker(config).get(SHARED, {}))
        except OptionError as problem:
            raise pytest.UsageError(str(problem)) from problem
    return config.stash[SESSION]


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
    terminal = request.config.pluginmanager.getplugin("terminalreporter")  # none in a worker of pytest-xdist

    @contextmanager
    def context() -> Iterator[None]:
        if shown_as() == "none":
            yield
            return
        with capture.global_and_fixture_disabled():
            if terminal is not None:
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
        behind["evidence"] = [found.pointer]
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
        behind["evidence"] = [run.pointer for run in found]
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
            request.node.user_properties.append((UNDECIDED, short(made)))
        return made

    return record


@pytest.fixture
def reference_score(named: Named, material: Material, data: ReferenceData, session: Session) -> Callable[..., float | str]:
    """Record the reference's own number, whatever becomes of the model's; returns it, or the reason for none.

    In a column with a floor, the number is that of the reference's halves against each other.
    """

    def record(metric: str, estimate: Estimate, **parts: Any) -> float | str:
        label, origin = data.reference.label, session.origin(named, material)
        session.keep_reference(named, to_score(metric, label, material.formula, estimate, 1.0, "", parts, origin))
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
        known = session.results_of(params["named"]).scores.get((metric, formula))
        if made.reason != ALONE or known is None or known.outcome != "number":  # a speed that is known stays
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
    """A control that is not seen, or is taken for another fault, is an error of the suite; a significant loss fails the gate."""
    config = session.config
    bench = config.stash.get(SESSION, None)
    if bench is None or _worker(config) or session.exitstatus == pytest.ExitCode.INTERRUPTED:
        return
    if bench.touched and not bench.results:
        _of_workers(bench)
    sound = all(judged.right for judged in judgements(bench.results.values()))
    if bench.touched and BASELINE in config.stash:
        found = config.stash[JUDGEMENT] = judge(config.stash[BASELINE], list(bench.results.values()))
        write_page(bench.reports / "gate.md", found, str(config.getoption("--baseline")))
        sound = sound and not found.losses
    if session.exitstatus == pytest.ExitCode.OK and not sound:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _of_workers(session: Session) -> None:
    """Read what workers have written."""
    for model in session.models:
        path = Results(model.label).path(session.reports)
        if path.exists():
            session.results[model.label] = read_results(path)


def pytest_keyboard_interrupt(excinfo: Any) -> None:
    print(f"\n{how_to_go_on()}", file=sys.stderr)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is None or not session.touched or _worker(config):
        return
    paths = write_tables(session.reports)
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
    if JUDGEMENT in config.stash:
        terminalreporter.section(f"against {config.getoption('--baseline')}")
        for line in lines(config.stash[JUDGEMENT]):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"all of it: {session.reports / 'gate.md'}")
