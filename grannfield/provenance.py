"""Where a number comes from: hardware, versions and the code itself."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from grannfield import __version__


@cache
def code_hash(*parts: str) -> str:
    """First 12 hex digits of the SHA-256 of the package's own Python files: changes when the code does.

    With `parts`, files and folders of the package, only of those: what MD depends on does not change with a plot.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    chosen = [path for part in parts for path in ([folder / part] if part.endswith(".py") else (folder / part).rglob("*.py"))]
    for path in sorted(chosen or folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def processor() -> str:
    """The processor's name as the system gives it, and the number of usable cores."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware(device: str = "cpu") -> str:
    """What a model runs on: the GPU's name, or the processor with its cores and torch threads."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import torch

    found = {"grannfield": __version__, "code": code_hash(), "python": platform.python_version(), "torch": torch.__version__}
    for package in ("numpy", "scipy", "vesin"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def stamp(device: str = "cpu", precision: str = "") -> dict[str, Any]:
    """Hardware, versions, time (UTC) and, where a model computed, its precision, for a checkpoint or a result file.

    >>> stamp("cpu", "tf32")["precision"]
    'tf32 (emulated)'
    """
    from grannfield.precision import labelled

    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    stamped = {"hardware": hardware(device), "versions": versions(), "date": now}
    return stamped | ({"precision": labelled(precision, device)} if precision else {})
