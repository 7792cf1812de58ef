"""Our training step and the literal one: the same loss and gradients, and what is told of their times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grannfield import speed_training as module
from grannfield.compiled import loss_gradients
from grannfield.forcefield import ForceField
from grannfield.speed_training import LiteralTraining, against_literal_training, training_rate
from tests.models.small import small
from tests.test_train import TRAIN, graphs


def tiny(name: str) -> ForceField:
    """Of the cut-off of the frames; no two weights alike, and no bias that PyTorch Geometric has no place for."""
    field = small(name, dtype=torch.float64, cutoff=5.0)
    with torch.no_grad():
        for key, p in field.named_parameters():
            if key.endswith("up.bias"):
                p.zero_()
            elif p.requires_grad:
                p.add_(0.01 * torch.randn_like(p))
    field.scale.fit(TRAIN.z, TRAIN.energy, TRAIN.forces)
    return field.train()


@pytest.mark.parametrize("name", ["schnet", "dimenet", "dimenet_pp"])
def test_the_literal_step_has_the_same_loss_and_gradients(name: str) -> None:
    """Weights of the two are paired by their values."""
    pytest.importorskip("torch_geometric")
    field, known = tiny(name), graphs(TRAIN)
    literal = LiteralTraining(field, known)
    assert literal.differs(field) < 1e-5
    loss, *ours = loss_gradients(field, known.batch(np.array([3, 1])))
    theirs = literal.loss([3, 1])
    assert loss is not None and float(theirs.detach()) == pytest.approx(float(loss), rel=1e-5)
    theirs.backward()
    paired, largest = 0, max(float(x.abs().max()) for x in ours if x is not None)
    for p, gradient in zip((p for p in field.parameters() if p.requires_grad), ours, strict=True):
        for other in literal.model.parameters():
            if p.any() and p.shape == other.shape and torch.equal(p, other):
                assert gradient is not None and other.grad is not None
                torch.testing.assert_close(other.grad, gradient, rtol=1e-5, atol=1e-6 * largest)
                paired += 1
    unpaired = sum(key.endswith("up.bias") for key, _ in field.named_parameters())
    assert paired == len(ours) - unpaired


def test_a_literal_step_moves_the_weights() -> None:
    pytest.importorskip("torch_geometric")
    literal = LiteralTraining(tiny("schnet"), graphs(TRAIN))
    first = float(literal.loss([0, 1]).detach())
    for _ in range(8):
        literal.step()
    assert literal.n == 8 and float(literal.loss([0, 1]).detach()) < first


def test_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_geometric")
    monkeypatch.setattr(module, "awake", tiny)
    monkeypatch.setattr(module, "labelled", lambda field, limit: graphs(TRAIN))
    told = against_literal_training("schnet", rounds=3)
    times = told["times"]
    assert set(times) == {"grannfield", "literal double backward"} and told["losses_differ"] < 1e-5
    assert times["literal double backward"]["ratio"]["n"] == 3 and "ratio" not in times["grannfield"]

    rate = training_rate("schnet", batch_sizes=(4,), seconds=0.2)
    assert set(rate["by_batch_size"]) == {"2", "4"} and rate["samples_per_s_at_batch_2"] > 0
    best = max(rate["by_batch_size"].values(), key=lambda found: found["samples_per_s"])
    assert (
        rate["best_samples_per_s"]
        == best["samples_per_s"]
        == rate["by_batch_size"][str(rate["best_batch_size"])]["samples_per_s"]
    )
    assert all(found["steps"] >= 1 for found in rate["by_batch_size"].values())


def test_batches_that_would_take_too_long_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "awake", tiny)
    monkeypatch.setattr(module, "labelled", lambda field, limit: graphs(TRAIN))
    rate = training_rate("schnet", batch_sizes=(2, 10**6), seconds=0.05)
    assert set(rate["by_batch_size"]) == {"2"} and rate["best_batch_size"] == 2
