"""Tests run on one thread: their tensors are tiny, and threads that wait for a busy core cost more than they give."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
