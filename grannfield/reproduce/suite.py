"""The suite in a process of its own, as a score needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from grannfield.progress import progress

NEEDS = {
    "scipy": "scipy",
    "pandas": "pandas",
    "jinja2": "jinja2",
    "tabulate": "tabulate",
    "spglib": "spglib",
    "pymatgen.core": "pymatgen",
    "pymatgen.analysis.diffusion": "pymatgen-analysis-diffusion",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
}
"""Modules that the suite needs beyond what moves atoms, and what to install for each."""
PATIENCE_S = 60.0
"""For the suite to end after it was interrupted."""
LOOK_S = 0.2
"""Between two looks whether it has ended."""


def command(label: str, materials: tuple[str, ...], preset: str, seed: int, device: str, reports: Path) -> list[str]:
    """The command line behind a score."""
    return [
        sys.executable, "-m", "grannfield.reproduce.watched", "bench", "-q", "--model", label, "--material", ",".join(materials),
        "--preset", preset, "--seed", str(seed), "--device", device, "--reports", str(reports.resolve()),
    ]  # fmt: skip


def run_suite(command: list[str], expected_s: float = 60.0, what: str = "scoring") -> None:
    """Run the suite to its end; RuntimeError when it could not run at all. An interruption is passed on to it and waited for.

    Standard input is a pipe that nobody writes to: it closes when this process ends, even by a kill, and the suite with it.
    """
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    # A session of its own: Ctrl-C in a terminal reaches this process alone, which passes it on, once.
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, start_new_session=True, stdin=subprocess.PIPE) as suite:
        try:
            code = _waited(suite, expected_s, what)
        except BaseException:
            suite.send_signal(signal.SIGINT)
            try:
                suite.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                suite.kill()
            raise
    if code not in (0, 1):  # 1: tests failed, which the results tell
        raise RuntimeError(f"`{' '.join(command[1:])}` ended with code {code}; what it printed says why")


def _waited(suite: subprocess.Popen[bytes], expected_s: float, what: str) -> int:
    """The exit code; what it is doing it says to nobody, so that the time it was expected to take stands for it."""
    begin = last = time.monotonic()
    with progress(max(expected_s, 1.0), what, "s") as bar:
        while True:
            try:
                return suite.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if now - begin < 0.98 * expected_s:
                    bar.update(now - last)
                last = now


def missing() -> list[str]:
    """What is to be installed before anything can be scored here."""
    return [package for module, package in NEEDS.items() if not _installed(module)]


def errors_in(path: Path) -> list[str]:
    """Cells of a results file in which the model or the suite broke."""
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    return [f"{score['metric']} on {score['material']}: {score['reason']}" for score in scores if score.get("error")]


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
