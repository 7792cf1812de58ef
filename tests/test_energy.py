"""Energy from a fake NVML and a fake powercap folder, whose answers are known."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from grannfield import energy as module
from grannfield.energy import Energy, Meter


class NVMLError(Exception):
    pass


class Board:
    """A GPU that takes 250 W by its counter, if it has one, or 100 W by its power reading."""

    def __init__(self, counter: bool = True, power: bool = True, present: bool = True) -> None:
        self.counter, self.power, self.present, self.asked = counter, power, present, ""
        self.start = time.perf_counter()

    def module(self) -> types.ModuleType:
        made: Any = types.ModuleType("pynvml")
        made.NVMLError, made.nvmlInit = NVMLError, lambda: None
        made.nvmlDeviceGetHandleByUUID = self.handle
        made.nvmlDeviceGetTotalEnergyConsumption = lambda handle: self._answer(self.counter, 250e3 * self.age)
        made.nvmlDeviceGetPowerUsage = lambda handle: self._answer(self.power, 100e3)
        return made  # type: ignore[no-any-return]

    @property
    def age(self) -> float:
        return time.perf_counter() - self.start

    def handle(self, uuid: str) -> str:
        if not self.present:
            raise NVMLError("Driver Not Loaded")
        self.asked = uuid
        return uuid

    @staticmethod
    def _answer(known: bool, value: float) -> float:
        if not known:
            raise NVMLError("Not Supported")
        return value


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(board: Board) -> Board:
        monkeypatch.setitem(sys.modules, "pynvml", board.module())
        monkeypatch.setattr(module, "_uuid", lambda device: f"GPU-{device}")
        return board

    return install


def test_the_counter_of_a_gpu(installed: Any) -> None:
    board = installed(Board())
    with Meter("cuda:1") as meter:
        time.sleep(0.1)
        sofar = meter.now()
        time.sleep(0.1)
    found = meter.energy
    assert board.asked == "GPU-cuda:1" and found.source == "NVML energy counter"
    assert found.joules == pytest.approx(250 * found.seconds, rel=0.05) and sofar.joules == pytest.approx(
        found.joules / 2, rel=0.2
    )
    assert found.parts(ns=2.0)["Wh_per_ns"] == pytest.approx(found.joules / 3600 / 2)
    time.sleep(0.05)
    assert meter.now() is found, "the context has ended"


def test_sampled_power_where_there_is_no_counter(installed: Any) -> None:
    installed(Board(counter=False))
    with Meter("cuda") as meter:
        time.sleep(0.25)
    assert meter.energy.joules == pytest.approx(100 * meter.energy.seconds, rel=0.05)
    assert meter.energy.source.startswith("NVML power, ") and not meter._sampler.is_alive()
    assert meter.energy.parts()["mean_W"] == pytest.approx(100, rel=0.05)


def test_reasons_for_no_number(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, absent = Board(counter=False, power=False), Board(present=False)
    for board, reason in ((silent, "neither energy nor power"), (absent, "Driver Not Loaded")):
        installed(board)
        with Meter("cuda") as meter:
            pass
        assert not meter.available and reason in meter.energy.parts()["reason"] and meter.energy.parts()["Wh"] is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter("cuda")._reason == "no NVML: install nvidia-ml-py"


def packages(folder: Path, *joules: float) -> None:
    for k, value in enumerate(joules):
        package = folder / f"intel-rapl:{k}"
        package.mkdir(exist_ok=True)
        (package / "energy_uj").write_text(f"{value * 1e6:.0f}\n")
        (package / "max_energy_range_uj").write_text("1000000000\n")
    (folder / "intel-rapl:0:0").mkdir(exist_ok=True)  # a part of the first package, counted in it


def test_processor_packages_and_their_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POWERCAP", tmp_path)
    assert "no RAPL counter" in Meter("cpu")._reason
    packages(tmp_path, 100.0, 990.0)
    with Meter("cpu") as meter:
        packages(tmp_path, 130.0, 5.0)  # the second has passed 1000 J
    assert meter.energy.joules == pytest.approx(30 + 15) and meter.energy.source == "RAPL, 2 packages"
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert "cannot be read (FileNotFoundError)" in Meter("cpu")._reason


def test_sittings_add_up_or_have_no_number() -> None:
    here = Energy(10.0, 2.0, "NVML energy counter")
    both = here.after(Energy(5.0, 1.0, "NVML energy counter").kept)
    assert (both.joules, both.seconds) == (15.0, 3.0)
    assert here.after(None) is here
    unknown = here.after({"joules": None, "seconds": 100.0, "reason": "earlier sittings did not measure it"})
    assert unknown.parts() == {"Wh": None, "reason": "earlier sittings did not measure it"}
    assert Energy.missing("nothing was trained").after(both.kept).joules == 15.0


def test_training_says_what_it_took(tmp_path: Path, installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a counter in the place of the processor's: two sittings, one sum, in the finished checkpoint."""
    from grannfield.data.dataset import frames
    from grannfield.data.material import load_material
    from grannfield.forcefield import create, load
    from grannfield.train import fit

    counted = iter(range(0, 100_000, 36))
    monkeypatch.setattr(module, "_rapl", lambda: (lambda: float(next(counted)), "a counter"))
    material = load_material("Li3PS4")
    training, validation = (frames(material, material.reference(), part, limit=4) for part in ("train", "validation"))
    for steps in (1, 2):
        field = create("schnet", hidden_channels=8, num_filters=8, num_interactions=1, num_gaussians=8, cutoff=4.0)
        path = fit(field, training, validation, tmp_path, budget_s=3600, max_steps=steps)
        said = load(path).provenance["whole_budget"]["energy"]
        assert said["source"] == "a counter" and said["Wh"] >= 0.01 * steps
