"""Ctrl-C and SIGTERM in the middle of a session: what is done stays, and the same command comes to the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from grannfield.data.material import load_material
from grannfield.data.store import read_trajectory
from grannfield.harness import Bench, ReferenceData
from grannfield.interrupt import Terminated, sigterm_as_interrupt
from grannfield.motion import Subject
from grannfield.plugin import find_calculator, open_model
from grannfield.presets import PRESETS

REPOSITORY = Path(__file__).parents[1]
SLOW = '''
import os, time
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from grannfield.data.material import load_material

class Wells(Calculator):
    """Every atom in a well about its place in the crystal; as slow as the environment asks, and it counts its work."""
    implemented_properties = ["energy", "forces"]
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        time.sleep(float(os.environ.get("SLOW", "0")))
        with open(os.environ["COUNT"], "a") as file:
            file.write(".")
        away = self.atoms.positions - load_material("Li3PS4").structure.pos
        self.results = {"energy": float((away**2).sum()), "forces": -2 * away}
'''


def start(folder: Path, count: Path, slow: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", str(REPOSITORY / "benchmarks"), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--reports", str(folder), "--calculator", "wells_:Wells()", "--material", "Li3PS4", "-k", "force_mae or survival"]
    environment = os.environ | {"SLOW": str(slow), "COUNT": str(count), "PYTHONPATH": str(folder.parent)}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, env=environment)


def stopped(process: subprocess.Popen[str], when: Callable[[], bool], number: int) -> str:
    """Send a signal as soon as something is true; what the process said."""
    deadline = time.monotonic() + 240
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    said, _ = process.communicate(timeout=240)
    return said


def work(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


def test_a_session_cut_off_twice_comes_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wells_.py").write_text(SLOW)
    cut, whole, counted, once = (tmp_path / name for name in ("cut", "whole", "counted", "once"))

    said = stopped(process := start(cut, counted, 0.03), lambda: work(counted) > 10, signal.SIGINT)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "the same command goes on from there" in said
    assert f"python -m pytest {REPOSITORY / 'benchmarks'}" in said and "-k 'force_mae or survival'" in said
    [partial] = (cut / "store" / "predictions").glob("*/partial.npz")
    with np.load(partial) as file:
        assert 8 <= len(file["energy"]) < 50

    before = work(counted)
    said = stopped(process := start(cut, counted, 0.006), lambda: work(counted) > before + 270, signal.SIGTERM)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "the same command goes on from there" in said and not partial.exists()
    assert list((cut / "store" / "md").glob("*/partial/*.npz"))
    assert not list((cut / "store" / "md").glob("*/done.json"))

    for folder, counts in ((cut, counted), (whole, once)):
        in_this_process(folder, counts, monkeypatch)
    assert work(counted) <= work(once) + 30, "work was done twice"
    content = json.loads((cut / "results" / "Wells.json").read_text())
    assert {one["metric"] for one in content["scores"]} == {"force_mae"}
    for name in ("md/*/run-0.h5", "predictions/*.npz"):
        [a], [b] = ((folder / "store").glob(name) for folder in (cut, whole))
        assert a.relative_to(cut) == b.relative_to(whole)
        one, other = (arrays(path) for path in (a, b))
        assert len(one) >= 2 and all(np.array_equal(one[key], other[key]) for key in one)


def in_this_process(folder: Path, count: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work, or what is left of it."""
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("COUNT", str(count))
    named, material = find_calculator("wells_:Wells()"), load_material("Li3PS4")
    bench, data = Bench(PRESETS["smoke"], 0, "cpu", folder / "store"), ReferenceData(material, material.reference())
    subject = Subject(named, open_model(named))
    bench.predictions(subject, data, "windows")
    bench.runs(subject, data)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """What a file of the store holds of physics."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {key: file[key] for key in file.files if key != "made_on"}
    found = read_trajectory(path)
    return {"pos": found.pos, "time": found.time, "energy": np.asarray(found.energy)}


def test_sigterm_is_an_interrupt_only_within() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before and issubclass(Terminated, KeyboardInterrupt)
