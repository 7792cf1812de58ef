"""Tests run on one thread: their tensors are tiny, and threads that wait for a busy core cost more than they give."""

from __future__ import annotations

import os

import torch

torch.set_num_threads(1)
os.environ.pop("PYTEST_XDIST_WORKER", None)  # else the benchmarks that tests start as processes of their own would time nothing
