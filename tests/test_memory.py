"""Freed arrays are not fetched from the system again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from grannfield.memory import keep_freed_memory

kept = keep_freed_memory()
def step():
    return [torch.ones(2**20) for _ in range(4)]
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have no mallopt")
@pytest.mark.parametrize(("setting", "kept"), [("1", "True"), ("0", "False")])
def test_arrays_of_the_same_size_cost_no_new_pages(setting: str, kept: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment |= {"GRANNFIELD_KEEP_MEMORY": setting, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    said, faults = done.stdout.split()
    assert said == kept
    if kept == "True":
        assert float(faults) < 10
