"""Training a tiny SchNet on Lennard-Jones crystals: the loss, the recipes, and what survives an interruption."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from grannfield import compiled, forcefield
from grannfield import train as module
from grannfield.data.dataset import FrameSet
from grannfield.forcefield import ForceField, create, load, to_precision
from grannfield.graphset import GraphSet
from grannfield.neighbors import neighbor_graph
from grannfield.progress import progress
from grannfield.recipe import FORCE_WEIGHT, PAPER, Recipe, TrainingError, evaluate, loss_of
from grannfield.testing import LennardJones
from grannfield.train import fit

CUTOFF = 5.0
HOUR = 3600.0
"""A budget in which no validation is due by the clock within a test."""
COLUMNS = [
    "step", "samples", "epochs", "seconds", "learning_rate", "train_loss", "validation_loss",
    "energy_mae", "force_mae", "force_r2",
]  # fmt: skip


def frames(m: int, seed: int) -> FrameSet:
    """m crystals of four atoms, two elements, shaken by 0.2 Å and labelled by Lennard-Jones."""
    rng = np.random.default_rng(seed)
    z, cell = np.array([3, 3, 16, 16]), 5.4 * np.eye(3)
    ideal = 5.4 * np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    pos = ideal + rng.normal(0, 0.2, (m, 4, 3))
    teacher = LennardJones(epsilon=0.05, cutoff=CUTOFF, switch=4.2)
    labels = [teacher.predict(neighbor_graph(z, p, cell, CUTOFF)) for p in pos]
    energy, forces = np.array([float(x.energy[0]) for x in labels]), np.stack([x.forces.numpy() for x in labels])
    return FrameSet(z, pos, np.broadcast_to(cell, (m, 3, 3)), energy, forces, np.stack([np.zeros(m, int), np.arange(m)], axis=1))


def tiny(seed: int = 0, **settings: Any) -> ForceField:
    torch.manual_seed(seed)
    sizes = {"hidden_channels": 16, "num_filters": 16, "num_interactions": 2, "num_gaussians": 10, "cutoff": CUTOFF}
    return create("schnet", **{**sizes, **settings})


TRAIN, VALIDATION = frames(8, seed=1), frames(4, seed=2)


def graphs(of: FrameSet) -> GraphSet:
    return GraphSet.build(of.z, of.pos, of.cell, CUTOFF, of.energy, of.forces)


def curve(folder: Path) -> list[dict[str, float]]:
    with open(folder / "curve.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def last(folder: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and optimiser state as they were kept."""
    return load_file(folder / "last.safetensors")


def assert_same_state(one: Path, other: Path) -> None:
    a, b = last(one), last(other)
    assert set(a) == set(b) and any(key.startswith("ema.") for key in a) and any(key.endswith("max_exp_avg_sq") for key in a)
    for key in a:
        assert torch.equal(a[key], b[key]), key


EPOCHS_OF_THREE = replace(Recipe(), validate_every_epoch=True, batch_size=3)


class Killed(BaseException):
    """The process ends here: nothing is cleaned up or kept."""


def stop_at(calls: int, real: Callable[..., Any], with_: BaseException) -> Callable[..., Any]:
    """The function, which raises when called for the time after `calls`."""
    count = 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise with_
        return real(*args, **kwargs)

    return counting


def test_the_model_learns(tmp_path: Path) -> None:
    """The validation loss falls thirtyfold; the kept checkpoint is the best of the curve and says how it came to be."""
    recipe = replace(Recipe(), validate_every_epoch=True, learning_rate=3e-3)
    path = fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=300, source={"material": "toy"})
    rows = curve(tmp_path)
    assert list(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == [4 * n for n in range(1, 76)]
    assert all(row["samples"] == 2 * row["step"] and row["epochs"] == row["samples"] / 8 for row in rows)
    loss = [row["validation_loss"] for row in rows]
    assert loss[-1] < loss[0] / 30 and rows[-1]["force_r2"] > 0.95 > 0.5 > rows[0]["force_r2"]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 30
    assert all(a["seconds"] < b["seconds"] for a, b in zip(rows, rows[4:], strict=False))

    best = load(path)
    errors = evaluate(best, graphs(VALIDATION))
    assert path == tmp_path / "best.safetensors" and best.provenance["validation"] == errors
    assert errors["loss"] == pytest.approx(min(loss), rel=1e-5)  # the curve has six digits
    assert best.elements == (3, 16) and best.provenance["material"] == "toy" and best.provenance["training_frames"] == 8
    assert best.provenance["steps"] == best.provenance["samples"] / 2 == rows[int(np.argmin(loss))]["step"]
    whole = best.provenance["whole_budget"]
    assert (whole["steps"], whole["samples"], whole["epochs"]) == (300, 600, 75) and whole["seconds"] >= rows[-1][
        "seconds"
    ] - 0.01
    assert best.provenance["recipe"]["learning_rate"] == 3e-3 and best.provenance["seed"] == 0
    assert float(best.scale.scale) == pytest.approx(np.sqrt((TRAIN.forces**2).mean()), rel=1e-14)
    story = json.loads((tmp_path / "train.json").read_text())
    assert story["steps"] == 300 and story["samples"] == 600 and story["epochs"] == 75


def test_errors_of_evaluation_are_those_of_numpy() -> None:
    """On 5 frames in batches of 2: the last batch is smaller and weighs less."""
    field, data = tiny(), frames(5, seed=3)
    field.scale.fit(data.z, data.energy, data.forces)
    errors = evaluate(field, graphs(data), batch_size=2)
    single = [field.predict(neighbor_graph(data.z, p, c, CUTOFF)) for p, c in zip(data.pos, data.cell, strict=True)]
    energy = np.array([float(p.energy[0]) for p in single])
    forces = np.stack([p.forces.double().numpy() for p in single])
    scale = np.sqrt((data.forces**2).mean())
    off_e, off_f = energy - data.energy, forces - data.forces
    assert errors["energy_mae"] == pytest.approx(np.abs(off_e).mean() / 4, rel=1e-5)
    assert errors["force_mae"] == pytest.approx(np.abs(off_f).mean(), rel=1e-5)
    assert errors["force_r2"] == pytest.approx(1 - (off_f**2).sum() / ((data.forces - data.forces.mean()) ** 2).sum(), rel=1e-5)
    assert errors["loss"] == pytest.approx(((off_e / scale) ** 2).mean() + 1000 * ((off_f / scale) ** 2).mean(), rel=1e-5)


def test_loss_by_hand() -> None:
    """Energies of whole structures, force components, both over the scale: (4+1)/2/s² + 1000 x 3/6/s²."""
    energy, forces = torch.tensor([3.0, -1.0], dtype=torch.float64), torch.zeros(2, 3)
    label = torch.tensor([[1.0, 0, 0], [0, -1.0, 1.0]], dtype=torch.float64)
    scale = torch.tensor(0.5, dtype=torch.float64)
    loss = loss_of(energy, forces, torch.tensor([1.0, 0.0], dtype=torch.float64), label, scale)
    assert FORCE_WEIGHT == 1000 and loss.dtype == torch.float64
    assert float(loss) == pytest.approx((2.5 + 1000 * 0.5) / 0.25, rel=1e-15)


def test_normalised_loss_is_that_of_the_bare_network() -> None:
    """With F' = F/s and E' = (E - shifts)/s the loss of the network's own numbers is the same: one scale serves both."""
    field = to_precision(tiny(), torch.float64)
    graph = graphs(TRAIN).batch(slice(0, 3))
    field.scale.fit(TRAIN.z, TRAIN.energy, TRAIN.forces)
    scale, shift = float(field.scale.scale), float(field.scale.shift[graph.z[:4]].sum())
    prediction = field.predict(graph)
    loss = float(loss_of(prediction.energy, prediction.forces, graph.energy, graph.forces, field.scale.scale))
    bare = to_precision(tiny(), torch.float64).predict(graph)
    assert graph.energy is not None and graph.forces is not None
    by_energy = (bare.energy - (graph.energy - shift) / scale).square().mean()
    by_force = (bare.forces - graph.forces / scale).square().mean()
    assert loss == pytest.approx(float(by_energy + 1000 * by_force), rel=1e-10)


def test_gradient_of_the_loss_through_the_forces() -> None:
    """d loss/d weight by double backward against finite differences, for a few entries of every kind of weight."""
    field = to_precision(tiny(), torch.float64)
    field.scale.fit(TRAIN.z, TRAIN.energy, TRAIN.forces)
    graph = graphs(TRAIN).batch(np.array([2, 5]))

    def loss(create_graph: bool = False) -> torch.Tensor:
        p = field.predict(graph, create_graph=create_graph)
        return loss_of(p.energy, p.forces, graph.energy, graph.forces, field.scale.scale)

    loss(create_graph=True).backward()
    rng, h = np.random.default_rng(0), 1e-5
    largest = max(float(p.grad.abs().max()) for p in field.parameters() if p.grad is not None)
    for name, p in field.named_parameters():
        assert p.grad is not None and float(p.grad.abs().max()) > 0, name
        index = {int(p.grad.abs().argmax()), *rng.integers(0, p.numel(), 2).tolist()}
        for entry in index:
            flat = p.detach().view(-1)
            values = []
            for sign in (1, -1):
                flat[entry] += sign * h
                values.append(float(loss()))
                flat[entry] -= sign * h
            numerical = (values[0] - values[1]) / (2 * h)
            assert float(p.grad.view(-1)[entry]) == pytest.approx(numerical, rel=1e-5, abs=1e-8 * largest), (name, entry)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), Killed()])
@pytest.mark.parametrize("recipe", [Recipe(), EPOCHS_OF_THREE], ids=["clock", "epochs"])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, interruption: BaseException
) -> None:
    """Stopped twice, after 5 and 6 steps, by Ctrl-C or by a kill that saves nothing; continued with new, other weights.

    A kill before the first file goes on from the weights it was given; they are the same only then.
    """
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(tiny(), TRAIN, VALIDATION, whole, budget_s=HOUR, recipe=recipe, max_steps=13, seed=4)
    nothing_kept = isinstance(interruption, Killed) and not recipe.validate_every_epoch
    for steps, seed in ((5, 0), (6, 0 if nothing_kept else 1)):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "loss_of", stop_at(steps, loss_of, interruption))
            with pytest.raises(type(interruption)):
                fit(tiny(seed), TRAIN, VALIDATION, parts, budget_s=HOUR, recipe=recipe, max_steps=13, seed=4)
        assert (parts / "last.safetensors").exists() != nothing_kept
    path = fit(tiny(0 if nothing_kept else 2), TRAIN, VALIDATION, parts, budget_s=HOUR, recipe=recipe, max_steps=13, seed=4)
    assert_same_state(whole, parts)
    a, b = load(whole / "best.safetensors"), load(path)
    assert forcefield.weights_hash(a) == forcefield.weights_hash(b) and a.provenance["steps"] == b.provenance["steps"]
    drop = {"seconds", "train_loss"}
    assert [[v for k, v in row.items() if k not in drop] for row in curve(whole)] == [
        [v for k, v in row.items() if k not in drop] for row in curve(parts)
    ]


@pytest.mark.parametrize("place", ["ema", "save"])
def test_an_interruption_in_the_middle_of_an_update_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Ctrl-C after the optimiser's step but before the average, and while the best checkpoint is being written."""
    recipe = replace(Recipe(), validate_every_epoch=True)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(tiny(), TRAIN, VALIDATION, whole, budget_s=HOUR, recipe=recipe, max_steps=12)
    with monkeypatch.context() as patch:
        if place == "ema":
            patch.setattr(torch, "_foreach_lerp_", stop_at(6, torch._foreach_lerp_, KeyboardInterrupt()))
        else:
            patch.setattr(forcefield, "save", stop_at(1, forcefield.save, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), TRAIN, VALIDATION, parts, budget_s=HOUR, recipe=recipe, max_steps=12)
    fit(tiny(9), TRAIN, VALIDATION, parts, budget_s=HOUR, recipe=recipe, max_steps=12)
    assert_same_state(whole, parts)
    assert [row["step"] for row in curve(parts)] == [4, 8, 12]
    assert curve(parts)[-1]["validation_loss"] == curve(whole)[-1]["validation_loss"]


def test_a_training_interrupted_in_its_last_validation_still_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate", stop_at(0, evaluate, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=3)
    assert (tmp_path / "last.safetensors").exists() and not (tmp_path / "best.safetensors").exists()
    json.loads((tmp_path / "train.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    path = fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=3)
    assert load(path).provenance["steps"] == 3 and [row["step"] for row in curve(tmp_path)] == [3]


def test_a_spent_budget_returns_at_once_and_a_larger_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the default recipe the last validation comes when the budget is spent."""
    path = fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=0.2)
    before, rows = path.read_bytes(), curve(tmp_path)
    assert rows[-1]["seconds"] >= 0.2 and len(rows) == 1
    with monkeypatch.context() as patch:
        patch.setattr(module.GraphSet, "build", lambda *args: pytest.fail("searched for neighbours"))
        assert fit(tiny(5), TRAIN, VALIDATION, tmp_path, budget_s=0.2) == path
    assert path.read_bytes() == before
    fit(tiny(5), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=int(rows[-1]["step"]) + 2)
    assert [row["step"] for row in curve(tmp_path)] == [rows[0]["step"], rows[0]["step"] + 2]


@pytest.mark.parametrize("budget", [{"budget_s": 0.0}, {"budget_s": math.nan}, {"budget_s": 1.0, "max_steps": 0}])
def test_no_budget_is_refused(tmp_path: Path, budget: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="leaves nothing to train for"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path / "new", **budget)
    assert not (tmp_path / "new").exists()


def test_seed_decides_the_batches(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(tiny(), TRAIN, VALIDATION, tmp_path / name, budget_s=HOUR, max_steps=3, seed=seed)
    assert_same_state(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(last(tmp_path / "a")["ema.head0.weight"], last(tmp_path / "c")["ema.head0.weight"])


@pytest.mark.parametrize("n_train", [8, 7, 3, 1])
def test_an_epoch_shows_every_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_train: int) -> None:
    """With batches of 2 an odd frame is left out, another one in each epoch; a set of one frame is a batch of one."""
    seen: list[list[int]] = []
    batch = GraphSet.batch

    def watching(self: GraphSet, index: Any) -> Any:
        if not isinstance(index, slice):
            seen.append(np.asarray(index).tolist())
        return batch(self, index)

    monkeypatch.setattr(GraphSet, "batch", watching)
    recipe, per_epoch = replace(Recipe(), validate_every_epoch=True), max(1, n_train // 2)
    fit(tiny(), TRAIN[:n_train], VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=3 * per_epoch)
    epochs = [list(chain.from_iterable(seen[e * per_epoch : (e + 1) * per_epoch])) for e in range(3)]
    for order in epochs:
        assert len(order) == len(set(order)) == (n_train // 2 * 2 or 1) and set(order) <= set(range(n_train))
    assert n_train == 1 or len({tuple(order) for order in epochs}) > 1
    assert [row["step"] for row in curve(tmp_path)] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    assert curve(tmp_path)[-1]["samples"] == sum(map(len, seen))


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"seed": 1}, "seed"),
        ({"recipe": PAPER}, "recipe"),
        ({"train": TRAIN[:7]}, "train"),
        ({"validation": frames(4, seed=7)}, "validation"),
        ({"field": tiny(hidden_channels=8)}, "settings"),
        ({"seed": 1, "validation": VALIDATION[:2]}, "seed, validation"),
    ],
)
def test_a_folder_belongs_to_one_training(tmp_path: Path, change: dict[str, Any], differing: str) -> None:
    same = {"train": TRAIN, "validation": VALIDATION, "folder": tmp_path, "budget_s": HOUR, "max_steps": 1}
    fit(**{"field": tiny(), **same})
    before = last(tmp_path)
    with pytest.raises(TrainingError, match=f"holds a training with another {differing}; choose another"):
        fit(**{"field": tiny(), **same, **change})
    assert all(torch.equal(tensor, before[key]) for key, tensor in last(tmp_path).items())


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    hold = "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", f"import fcntl, sys; {hold}", str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="another process is working in"):
            fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1)
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]
        other.stdin.close()
        other.wait(timeout=20)
    assert fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1).exists()


def test_labels_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    parts = {key: np.array(getattr(TRAIN, key)) for key in ("z", "pos", "cell", "energy", "forces", "origin")}
    for key in ("energy", "forces"):
        broken = {name: array.copy() for name, array in parts.items()}
        broken[key].reshape(-1)[1] = np.nan
        with pytest.raises(ValueError, match=f"{key} holds NaN"):
            FrameSet(**broken)
    with pytest.raises(ValueError, match="all training forces are zero"):
        fit(tiny(), FrameSet(**parts | {"forces": np.zeros((8, 4, 3))}), VALIDATION, tmp_path, budget_s=HOUR)


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path: Path) -> None:
    fit(tiny(), TRAIN, VALIDATION, tmp_path / "sound", budget_s=HOUR, max_steps=2)
    steep = replace(Recipe(), learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the (validation )?loss of schnet is (nan|inf) .*lower the learning rate"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path / "steep", budget_s=HOUR, recipe=steep, max_steps=9)
    field = tiny()
    with torch.no_grad():
        field.head0.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="the loss of schnet is nan at step 0"):
        fit(field, TRAIN, VALIDATION, tmp_path / "nan", budget_s=HOUR, max_steps=9)
    assert not list(tmp_path.glob("nan/*.safetensors"))


def test_broken_weights_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation loss that is not a number stops the training before anything is written over the last good state."""
    recipe = replace(Recipe(), validate_every_epoch=True)
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=4)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate", lambda *args: {"loss": math.nan})
        with pytest.raises(TrainingError, match="validation loss of schnet is nan after step 8"):
            fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=8)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == before and len(before) == 2


def test_an_unregistered_model_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="LennardJones is not a registered model"):
        fit(LennardJones(), TRAIN, VALIDATION, tmp_path / "new", budget_s=HOUR)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "foreign"])
def test_a_spoilt_state_is_named(tmp_path: Path, damage: str) -> None:
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1)
    path = tmp_path / "last.safetensors"
    whole = path.read_bytes()
    foreign = (tmp_path / "best.safetensors").read_bytes()
    path.write_bytes({"cut": whole[:-50], "text": b"no state\n" * 20, "empty": b"", "foreign": foreign}[damage])
    with pytest.raises(TrainingError, match=r"last\.safetensors cannot be read .*delete .* to start again"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=2)


def test_a_lost_checkpoint_is_named(tmp_path: Path) -> None:
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1).unlink()
    with pytest.raises(TrainingError, match=r"has lost its best\.safetensors"):
        fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, max_steps=1)


def test_paper_recipe_is_the_literal_rule() -> None:
    assert (PAPER.batch_size, PAPER.learning_rate, PAPER.weight_decay) == (2, 1e-3, 1e-6)
    assert (PAPER.factor, PAPER.patience, PAPER.smallest_learning_rate, PAPER.ema) == (0.8, 5, 1e-6, 0.999)
    assert PAPER.validate_every_epoch and not PAPER.warm_ema
    assert [PAPER.decay(n) for n in (1, 10_000)] == [0.999, 0.999]
    assert [Recipe().decay(n) for n in (1, 2, 90, 8_990, 8_991, 10**6)] == [2 / 11, 3 / 12, 0.91, 8991 / 9000, 0.999, 0.999]


@pytest.mark.parametrize(("recipe", "decay"), [(PAPER, 0.999), (Recipe(), 2 / 11)], ids=["paper", "default"])
def test_average_after_the_first_step(tmp_path: Path, recipe: Recipe, decay: float) -> None:
    """EMA = decay x initial weights + (1 - decay) x weights, and the checkpoint holds it."""
    start = {name: p.detach().clone() for name, p in tiny().named_parameters()}
    fit(tiny(), TRAIN, VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=1)
    state, best = last(tmp_path), load(tmp_path / "best.safetensors").state_dict()
    for name, initial in start.items():
        weight, averaged = state[f"field.{name}"], state[f"ema.{name}"]
        torch.testing.assert_close(averaged, decay * initial + (1 - decay) * weight, rtol=1e-6, atol=1e-8)
        assert torch.equal(best[name], averaged) and (weight - initial).abs().max() > 9e-4, name


def test_paper_recipe_validates_every_epoch_and_stops_at_the_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without improvement the learning rate falls by 0.8 at every sixth validation; at 1e-6 the training is over."""
    monkeypatch.setattr(module, "evaluate", lambda *args: {"loss": 1.0, "energy_mae": 0.0, "force_mae": 0.0, "force_r2": 0.0})
    recipe = replace(PAPER, learning_rate=2e-6)
    for steps in (6, 20, None):  # the count of bad validations goes on where it stopped
        fit(tiny(), TRAIN[:4], VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe, max_steps=steps)
    rows = curve(tmp_path)
    assert [row["step"] for row in rows] == [2 * n for n in range(1, 26)] and rows[-1]["epochs"] == 25
    rates = [2e-6 * 0.8 ** min(max(0, n - 1) // 6, 4) for n in range(25)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates, rel=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(module.GraphSet, "build", lambda *args: pytest.fail("went on"))
        fit(tiny(), TRAIN[:4], VALIDATION, tmp_path, budget_s=HOUR, recipe=recipe)


def test_only_a_real_improvement_resets_the_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six validations each better by 1e-5 are a plateau, yet the checkpoint is the last; steps of 1e-3 are none."""
    for name, drop, expected in (("creeping", 1e-5, 0.8e-3), ("falling", 1e-3, 1e-3)):
        losses = iter([1 - drop * n for n in range(8)])
        monkeypatch.setattr(
            module, "evaluate", lambda *args, it=losses: {"loss": next(it), "energy_mae": 0.0, "force_mae": 0.0, "force_r2": 0.0}
        )
        path = fit(tiny(), TRAIN[:2], VALIDATION, tmp_path / name, budget_s=HOUR, recipe=PAPER, max_steps=8)
        assert curve(tmp_path / name)[-1]["learning_rate"] == pytest.approx(expected)
        assert load(path).provenance["steps"] == 8


def test_double_precision_stays_double(tmp_path: Path) -> None:
    for folder in (tmp_path / "whole", tmp_path / "parts"):
        for steps in (2, 4) if folder.name == "parts" else (4,):
            path = fit(to_precision(tiny(), torch.float64), TRAIN, VALIDATION, folder, budget_s=HOUR, max_steps=steps)
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert load(path).dtype == torch.float64
    again = evaluate(load(path), graphs(VALIDATION))["loss"]
    assert again == pytest.approx(load(path).provenance["validation"]["loss"], rel=1e-12)


def test_progress_survives_the_overrun_of_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: a step of seconds at the end of a budget takes the bar past its total."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress(1.0, "training", "s") as bar:
        bar.update(0.4)
        bar.update(3.0)
        bar.update(2.0)
        bar.refresh()
    assert "100%" in terminal.getvalue() and "1.0/1.0 s" in terminal.getvalue()


def test_a_finished_training_rounded_to_16_bits_says_so(tmp_path: Path) -> None:
    whole, rounded = (fit(tiny(), TRAIN, VALIDATION, tmp_path / n, budget_s=HOUR, max_steps=3, halved=n == "r") for n in "wr")
    a, b = load(whole), load(rounded)
    assert b.provenance["before_rounding"] == forcefield.weights_hash(a) != forcefield.weights_hash(b)
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=2**-11, atol=1e-7), name
    again = fit(tiny(), TRAIN, VALIDATION, tmp_path / "r", budget_s=HOUR, max_steps=3, halved=True)
    assert forcefield.weights_hash(load(again)) == forcefield.weights_hash(b)
    assert load(again).provenance["before_rounding"] == forcefield.weights_hash(a)
