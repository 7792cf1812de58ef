"""The training step: accumulated gradients, losses read late, averages, frames that stay on the host."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grannfield import compiled
from grannfield.forcefield import ForceField, load, to_precision
from grannfield.graphset import GraphSet, Loader
from grannfield.learning import Descent, Losses, TrainingStep
from grannfield.recipe import Recipe, TrainingError
from grannfield.recording import recorded_operations
from grannfield.train import fit
from tests.test_train import HOUR, TRAIN, VALIDATION, assert_same_state, curve, graphs, last, tiny

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def complaint(loss: float, step: int) -> str:
    return f"{loss} at step {step}"


def scaled(field: ForceField) -> ForceField:
    field.scale.fit(TRAIN.z, TRAIN.energy, TRAIN.forces)
    return field.train()


def gradients(field: ForceField, recipe: Recipe, frames: list[int], **how: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step; the weights move after."""
    descent, losses = Descent(scaled(field), recipe), Losses(CPU, complaint)
    step = TrainingStep(descent, graphs(TRAIN), recipe, **how)
    (loss,) = step(0, np.array(frames), 0, 0.5, losses, nullcontext)
    return loss, {name: p.grad.clone() for name, p in descent.weights.items() if p.grad is not None}


def double(seed: int = 0) -> ForceField:
    return to_precision(tiny(seed), torch.float64)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 3), (1, 6), (4, 2)])
def test_accumulated_gradients_are_those_of_one_batch(batch_size: int, accumulate: int) -> None:
    """Also where the last part is smaller (6 frames as 4 and 2)."""
    frames = [5, 0, 3, 7, 1, 2]
    whole, one = gradients(double(), Recipe(batch_size=6), frames)
    # 4 x 2 frames are asked for and 6 given: what a set smaller than a step does
    known = GraphSet.build(TRAIN.z, TRAIN.pos[frames], TRAIN.cell[:6], 5.0, TRAIN.energy[frames], TRAIN.forces[frames])
    recipe = Recipe(batch_size=batch_size, accumulate=accumulate)
    descent = Descent(scaled(double()), recipe)
    (parts,) = TrainingStep(descent, known, recipe)(0, np.arange(6), 0, 0.5, Losses(CPU, complaint), nullcontext)
    assert parts == pytest.approx(whole, rel=1e-12) and len(one) == len(descent.weights)
    for name, p in descent.weights.items():
        torch.testing.assert_close(p.grad, one[name], rtol=1e-9, atol=1e-10 * float(one[name].abs().max()))


def test_accumulation_in_a_training(tmp_path: Path) -> None:
    """Two batches of 2 a step move the weights as one batch of 4 does, and epochs are counted in frames."""
    for name, recipe in (("large", Recipe(batch_size=4)), ("parts", Recipe(accumulate=2))):
        fit(double(), TRAIN, VALIDATION, tmp_path / name, budget_s=HOUR, max_steps=4, recipe=recipe)
    a, b = last(tmp_path / "large"), last(tmp_path / "parts")
    for key in a:
        if key.startswith(("field.", "ema.")):  # Adam divides by gradients that are nearly zero
            torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=1e-7, msg=key)
    assert [row["samples"] for row in curve(tmp_path / "parts")] == [16] and curve(tmp_path / "parts")[0]["epochs"] == 2
    assert load(tmp_path / "parts" / "best.safetensors").provenance["recipe"]["accumulate"] == 2


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"accumulate": 0}])
def test_empty_steps_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        Recipe(**sizes)


def test_a_folder_from_before_accumulation_is_still_the_same_training(tmp_path: Path) -> None:
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1)
    path = tmp_path / "identity.json"
    path.write_text(path.read_text().replace('  "accumulate": 1,\n', ""))
    assert "accumulate" not in path.read_text()
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=2)
    path.write_text(path.read_text().replace('  "accumulate": 1,\n', ""))
    with pytest.raises(TrainingError, match="another recipe"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=3, recipe=Recipe(accumulate=2))


def test_a_recorded_training_is_the_same_training(tmp_path: Path) -> None:
    """As written and recorded: the same bits."""
    for mode in ("off", "trace"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path / mode, budget_s=HOUR, max_steps=6, compiling=mode)
    assert_same_state(tmp_path / "off", tmp_path / "trace")


def test_a_long_training_on_a_processor_is_recorded_after_a_while_and_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = []
    monkeypatch.setattr(compiled, "PATIENCE", 4)
    monkeypatch.setattr(compiled, "recorded_operations", lambda *a: recorded.append(1) or recorded_operations(*a))
    for mode, steps in (("off", 7), ("auto", 4), ("auto", 7)):
        fit(tiny(), TRAIN, VALIDATION, tmp_path / mode, budget_s=HOUR, max_steps=steps, compiling=mode)
    assert not recorded  # neither sitting was longer than that
    fit(tiny(), TRAIN, VALIDATION, tmp_path / "whole", budget_s=HOUR, max_steps=7)
    assert len(recorded) == 1
    assert_same_state(tmp_path / "off", tmp_path / "auto")
    assert_same_state(tmp_path / "off", tmp_path / "whole")


def test_losses_read_late_arrive_in_order() -> None:
    losses = Losses(CPU, complaint, every=3)
    loss, seen = torch.zeros((), dtype=torch.float64), []
    for step in range(8):
        loss.fill_(step + 0.5)  # the same tensor at every step, as a captured step has it
        seen.append(losses.add(step, loss))
    assert seen == [[], [], [], [], [], [0.5, 1.5, 2.5], [], []]
    assert losses.all() == [3.5, 4.5, 5.5, 6.5, 7.5] and losses.all() == []
    assert Losses(CPU, complaint).add(0, torch.tensor(2.0)) == [2.0]


@pytest.mark.parametrize(("broken", "noticed"), [(1, 5), (2, 5), (3, 8), (7, None)])
def test_the_step_whose_loss_is_no_number_is_named(broken: int, noticed: int | None) -> None:
    losses = Losses(CPU, complaint, every=3)
    for step in range(9 if noticed else 8):
        value = torch.tensor(math.nan if step >= broken else 1.0)
        if step == noticed:
            with pytest.raises(TrainingError, match=f"nan at step {broken}"):
                losses.add(step, value)
            return
        losses.add(step, value)
    with pytest.raises(TrainingError, match=f"nan at step {broken}"):
        losses.all()


def test_a_loss_read_late_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host learns of a NaN steps later, at the latest before a validation; the state on disk is the last good one."""
    monkeypatch.setattr("grannfield.train.Losses", lambda device, complaint: Losses(device, complaint, every=16))
    recipe = replace(Recipe(), validate_every_epoch=True)
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=4)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    original = GraphSet.build

    def spoilt(*args: Any) -> GraphSet:
        built = original(*args)
        built.energy[0] = math.nan
        return built

    monkeypatch.setattr(GraphSet, "build", spoilt)
    with pytest.raises(TrainingError, match=r"the loss of schnet is nan at step [4-7]; the last good state is in"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=12)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == before and len(before) == 2


def test_average_by_number_and_by_tensor_agree() -> None:
    fields = [double(), double()]
    found = []
    shares: list[float | torch.Tensor] = [0.25, torch.tensor(0.25, dtype=torch.float64)]
    for field, share in zip(fields, shares, strict=True):
        descent = Descent(field, Recipe())
        for _ in range(2):
            descent.update([torch.ones_like(p) for p in descent.weights.values()], share)
        found.append(descent.average)
    for name, x in found[0].items():
        torch.testing.assert_close(x, found[1][name], rtol=1e-14, atol=1e-15)
        assert not torch.equal(x, dict(fields[0].named_parameters())[name])


def test_frames_on_the_host_give_the_same_batches() -> None:
    known = graphs(TRAIN)
    near, far = Loader(known, "cpu", 3), Loader(known, "cpu", 3, staged=True)
    for chosen in ([0, 1, 2], [7, 3, 5]):
        for loader in (near, far):
            loader.load(np.array(chosen))
        for a, b in zip(near.graphs(2), far.graphs(2), strict=True):
            assert torch.equal(a.pos, b.pos) and torch.equal(a.reverse, b.reverse) and torch.equal(a.pair_slots, b.pair_slots)
            assert a.forces is not None and b.forces is not None and torch.equal(a.forces, b.forces)
        assert torch.equal(near.graphs(3)[0].pos.view(3, -1), torch.tensor(TRAIN.pos[chosen]).view(3, -1))


def test_a_set_too_large_for_the_device_stays_on_the_host(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = graphs(TRAIN)
    assert known.nbytes == sum(x.numel() * x.element_size() for x in known.arrays.values()) > 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (known.nbytes, 10**12))
    with caplog.at_level(logging.WARNING, logger="grannfield"):
        assert known.near("cuda").pos.device == CPU
    assert "8 frames" in caplog.text and "stay on the host" in caplog.text


@GPU
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["off", "on"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_captured_step_is_the_step(mode: Any, accumulate: int) -> None:
    """Ten steps in one CUDA graph against ten as written; a new learning rate and decay take effect."""
    recipe, found = Recipe(accumulate=accumulate), []
    for capture in (False, True):
        descent = Descent(scaled(double()).to("cuda"), recipe)
        step = TrainingStep(descent, graphs(TRAIN).near("cuda"), recipe, mode=mode, capture=capture)
        losses, values = Losses(descent.device, complaint, every=4), []
        for n in range(10):
            if n == 6:
                descent.learning_rate = 1e-4
            chosen = (np.arange(recipe.step_size) + n) % 8
            values += step(n, chosen, n, recipe.decay(n + 1), losses, nullcontext)
        found.append((values + losses.all(), descent.tensors()))
        assert (step.graph is not None) == capture
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9) and len(found[0][0]) == 10
    for key, x in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], x, rtol=1e-6, atol=1e-9, msg=key)


@GPU
@pytest.mark.filterwarnings("ignore")
def test_a_training_on_a_gpu_resumes(tmp_path: Path) -> None:
    for name, steps in (("whole", (12,)), ("parts", (5, 12))):
        for n in steps:
            fit(double(), TRAIN, VALIDATION, tmp_path / name, budget_s=HOUR, max_steps=n, device="cuda")
    a, b = last(tmp_path / "whole"), last(tmp_path / "parts")
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-6, atol=1e-9, msg=key)
