"""Several processes on one session, as pytest-xdist starts them: who takes which pieces, which GPU and how many threads.

An expensive piece (an MD run, a set of predictions) belongs to a model and a material. All tests of such a pair go to one worker,
so that no worker waits for another's piece; the locks of the store see to it that none is made twice even where they do not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from grannfield.provenance import usable_cores

ALONE = "not measured under xdist"
"""Why there is no speed: another worker computes at the same time."""


def visible_gpus(environment: str | None, count: int) -> list[str]:
    """The GPUs that workers may share: those that CUDA_VISIBLE_DEVICES names, else all `count` of them.

    >>> visible_gpus(None, 2), visible_gpus("3,GPU-8e2a", 2), visible_gpus("", 0)
    (['0', '1'], ['3', 'GPU-8e2a'], [])
    """
    if environment is None:
        return [str(n) for n in range(count)]
    return [name.strip() for name in environment.split(",") if name.strip()]


def gpu_of(worker: str, gpus: Sequence[str]) -> str | None:
    """The one GPU of a worker, in turn; None where there is no choice to make.

    >>> [gpu_of(f"gw{n}", ["0", "1"]) for n in range(3)], gpu_of("gw1", ["0"]), gpu_of("", ["0", "1"])
    (['0', '1', '0'], None, None)
    """
    number = worker.removeprefix("gw")
    if len(gpus) < 2 or not number.isdigit():
        return None
    return gpus[int(number) % len(gpus)]


def threads_of(cores: int, workers: int, asked: str | None) -> int | None:
    """Threads of each of several workers; None where OMP_NUM_THREADS says it already.

    >>> threads_of(8, 2, None), threads_of(2, 4, None), threads_of(8, 2, "1")
    (4, 1, None)
    """
    return None if asked else max(1, cores // max(1, workers))


def share_machine(worker: str, workers: int, gpus: Sequence[str]) -> None:
    """In a worker, before anything is computed: take its GPU and its share of the cores."""
    gpu = gpu_of(worker, gpus)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threads = threads_of(usable_cores(), workers, os.environ.get("OMP_NUM_THREADS"))
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def gpus_here(device: str) -> list[str]:
    """The GPUs that several workers may take in turn: none where one was named, or none is to be used."""
    if device != "cuda":
        return []
    import torch

    return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def piece_of(nodeid: str) -> str:
    """What the expensive pieces of a test belong to: its model and material, as the brackets of its name say.

    >>> piece_of("benchmarks/test_rdf.py::test_rdf[Li3PS4-schnet]"), piece_of("tests/test_cli.py::test_help")
    ('[Li3PS4-schnet]', 'tests/test_cli.py::test_help')
    """
    start = nodeid.find("[")
    return nodeid if start < 0 else nodeid[start:]


def by_piece(config: Any, log: Any) -> Any:
    """A scheduler of pytest-xdist that gives all tests of a model and material to one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class ByPiece(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return piece_of(nodeid)

    return ByPiece(config, log)
