"""Energy that a computation took: of a GPU from NVML, of the processor from RAPL where the system lets us read it.

Board or package power, idle power included, of nothing else in the machine. NVML: total-energy counter (Volta and later), else
the power sampled ten times a second. Needs `nvidia-ml-py` (module pynvml) for a GPU and nothing for a processor.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

POWERCAP = Path("/sys/class/powercap")
SAMPLE_S = 0.1
JOULES_PER_WH = 3600.0
SHORTEST_S = 2.0
"""Below this a counter that moves ten times a second says little."""


@dataclass(frozen=True)
class Energy:
    """What was measured, or why nothing was.

    >>> Energy(7200.0, 10.0, "NVML counter").wh
    2.0
    >>> Energy.missing("no NVML").parts()
    {'Wh': None, 'reason': 'no NVML'}
    """

    joules: float
    seconds: float
    source: str
    reason: str = ""

    @classmethod
    def missing(cls, reason: str, seconds: float = math.nan) -> Energy:
        return cls(math.nan, seconds, "", reason)

    @property
    def wh(self) -> float:
        """Watt hours; NaN without a measurement."""
        return self.joules / JOULES_PER_WH

    def after(self, earlier: dict[str, Any] | None) -> Energy:
        """This and what an earlier sitting had kept as `kept`: without a number where either has none.

        >>> Energy(5.0, 1.0, "NVML energy counter").after({"joules": 7.0, "seconds": 2.0, "reason": ""}).joules
        12.0
        """
        if not earlier or not earlier.get("seconds"):
            return self
        if not self.seconds > 0:
            nothing = earlier["joules"] is None
            return Energy(math.nan if nothing else earlier["joules"], earlier["seconds"], "", str(earlier["reason"]))
        reason = self.reason or str(earlier["reason"])
        if reason:
            return Energy.missing(reason, self.seconds + earlier["seconds"])
        return Energy(self.joules + earlier["joules"], self.seconds + earlier["seconds"], self.source)

    @property
    def kept(self) -> dict[str, Any]:
        """What a later sitting reads."""
        return {"joules": None if self.reason else self.joules, "seconds": self.seconds, "reason": self.reason}

    def parts(self, ns: float | None = None) -> dict[str, Any]:
        """What a score or checkpoint keeps: Wh, mean power, and with the simulated time in ns the Wh per ns."""
        if self.reason:
            return {"Wh": None, "reason": self.reason}
        found = {
            "Wh": self.wh,
            "mean_W": self.joules / self.seconds,
            "seconds": self.seconds,
            "source": self.source,
            "reason": "",
        }
        return found if ns is None else found | {"Wh_per_ns": self.wh / ns}


class Meter:
    """Energy of a device while the context lasts, in `energy` afterwards; a device without a counter costs nothing to ask.

    `available` says beforehand whether there will be a number.
    """

    def __init__(self, device: str) -> None:
        self.energy = Energy.missing("not measured")
        self._reason, self._source = "", ""
        self._read: Callable[[], float] | None = None
        self._power: Callable[[], float] | None = None
        try:
            if device.startswith("cuda"):
                self._read, self._power, self._source = _nvml(device)
            else:
                self._read, self._source = _rapl()
        except _NoMeter as problem:
            self._reason = str(problem)

    @property
    def available(self) -> bool:
        return not self._reason

    def __enter__(self) -> Meter:
        self._start, self._ended = time.perf_counter(), False
        if self._read is not None:
            self._before = self._read()
        elif self._power is not None:
            self._sampler = _Sampler(self._power)
            self._sampler.start()
        return self

    def now(self) -> Energy:
        """What it has been since the context began, or was while it lasted."""
        if self._ended:
            return self.energy
        seconds = time.perf_counter() - self._start
        if self._read is not None:
            return Energy(self._read() - self._before, seconds, self._source)
        if self._reason:
            return Energy.missing(self._reason, seconds)
        return Energy(self._sampler.joules(), seconds, f"{self._source}, {len(self._sampler.watts)} samples")

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.energy = self.now()
        self._ended = True
        if self._power is not None and self._read is None:
            self._sampler.finish()


class _NoMeter(Exception):
    """Why a device's energy cannot be measured."""


class _Sampler(threading.Thread):
    """Power in W, ten times a second, integrated by trapezia."""

    def __init__(self, power: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self.power, self.stopped, self.lock = power, threading.Event(), threading.Lock()
        self.times: list[float] = []
        self.watts: list[float] = []
        self.sample()

    def sample(self) -> None:
        with self.lock:
            self.watts.append(self.power())
            self.times.append(time.perf_counter())

    def run(self) -> None:
        while not self.stopped.wait(SAMPLE_S):
            self.sample()

    def joules(self) -> float:
        self.sample()
        with self.lock:
            return float(np.trapezoid(self.watts, self.times))

    def finish(self) -> None:
        self.stopped.set()
        self.join()


def _nvml(device: str) -> tuple[Callable[[], float] | None, Callable[[], float] | None, str]:
    """A counter in J, or the power in W, of the GPU that torch calls `device`."""
    try:
        import pynvml
    except ImportError:
        raise _NoMeter("no NVML: install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(_uuid(device))
    except pynvml.NVMLError as problem:
        raise _NoMeter(f"no NVML: {problem}") from None
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        try:
            pynvml.nvmlDeviceGetPowerUsage(handle)
        except pynvml.NVMLError as problem:
            raise _NoMeter(f"NVML gives neither energy nor power of {device}: {problem}") from None
        return None, lambda: pynvml.nvmlDeviceGetPowerUsage(handle) * 1e-3, "NVML power"
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3, None, "NVML energy counter"


def _uuid(device: str) -> str:
    """NVML's name of a torch device: CUDA_VISIBLE_DEVICES may have renumbered them."""
    import torch

    found = str(torch.cuda.get_device_properties(device).uuid)
    return found if found.startswith(("GPU-", "MIG-")) else f"GPU-{found}"


def _rapl(root: Path | None = None) -> tuple[Callable[[], float], str]:
    """The counters of all processor packages in J, over their overflow."""
    packages = sorted(path for path in (root or POWERCAP).glob("intel-rapl:*") if path.name.count(":") == 1)
    if not packages:
        raise _NoMeter("no NVML on a processor, and this system has no RAPL counter")
    try:
        ranges = [int((path / "max_energy_range_uj").read_text()) for path in packages]
        last = [int((path / "energy_uj").read_text()) for path in packages]
    except (OSError, ValueError) as problem:
        raise _NoMeter(f"no NVML on a processor, and its RAPL counter cannot be read ({type(problem).__name__})") from None
    total = 0

    def read() -> float:
        nonlocal total
        for k, path in enumerate(packages):
            now = int((path / "energy_uj").read_text())
            total += now - last[k] if now >= last[k] else now - last[k] + ranges[k]
            last[k] = now
        return total * 1e-6

    return read, f"RAPL, {len(packages)} package{'s' * (len(packages) > 1)}"
