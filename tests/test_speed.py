"""Timing side by side, and operations counted without a device."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from grannfield import speed
from grannfield.cli import main
from grannfield.forcefield import create
from grannfield.speed import awake, compared, interleaved, operations
from grannfield.testing import count_operations


def test_a_contender_that_takes_twice_as_long_has_a_ratio_of_two() -> None:
    calls = {"ours": lambda: time.sleep(0.01), "theirs": lambda: time.sleep(0.02)}
    found = compared(interleaved(calls, 5), "ours")
    assert 1.6 < found["theirs"]["ratio"]["median"] < 2.4 and "ratio" not in found["ours"]
    assert 10 <= found["ours"]["ms"]["median"] < 14 and found["ours"]["ms"]["n"] == 5


def test_the_order_turns_from_round_to_round() -> None:
    seen: list[str] = []
    interleaved({name: lambda name=name: seen.append(name) for name in "abc"}, 2)  # type: ignore[misc]
    rounds = ["".join(seen[3 * k : 3 * k + 3]) for k in range(4)]
    assert {"".join(sorted(r)) for r in rounds} == {"abc"} and len(set(rounds)) == 3


def test_operations_are_counted_below_autograd_and_exactly() -> None:
    x = torch.randn(4, 4, requires_grad=True)
    forward, _, _ = count_operations(lambda: torch.tanh(x @ x).sum())
    whole, syncs, names = count_operations(lambda: torch.autograd.grad(torch.tanh(x @ x).sum(), x))
    assert forward == 3 and whole > 6 and syncs == 0 and names["mm"] == 3
    assert count_operations(lambda: x[x > 0])[1] == 1 and count_operations(lambda: x.sum().item())[1] == 1
    assert operations(["schnet"]) == operations(["schnet"])


def test_a_timed_field_is_not_asleep() -> None:
    assert not any(p.any() for key, p in create("dimenet").named_parameters() if key.endswith("final.weight"))
    assert all(p.any() for key, p in awake("dimenet").named_parameters() if key.endswith("final.weight"))


def test_command_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 8}
    monkeypatch.setattr(speed, "create", lambda name: create(name, **sizes))
    assert main(["speed", "schnet", "--rounds", "2", "--reports", str(tmp_path)]) == 0
    (path,) = (tmp_path / "speed").glob("*.json")
    written = json.loads(path.read_text())
    assert written["energy_and_forces"][0]["forces_differ"] < 1e-4 and list(written["operations"]) == ["schnet"]
    shown = capsys.readouterr().out
    assert str(path) in shown and "PyTorch Geometric" in shown and "ASE" in shown and "predict alone" in shown
    assert main(["speed", "shnet"]) == 2 and main(["speed", "--rounds", "0"]) == 2
