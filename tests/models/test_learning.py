"""Every model learns from the shipped reference, moves atoms with what it learnt, and is the same after it was stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.data.dataset import FrameSet, frames
from grannfield.data.material import load_material
from grannfield.forcefield import create, load, registered, to_precision
from grannfield.graphset import GraphSet
from grannfield.md.simulate import Protocol, simulate
from grannfield.recipe import RECIPES, evaluate
from grannfield.train import fit
from tests.models.small import SMALL

STEPS = {"forcenet": (90, 3e-3)}
"""Steps and learning rate, where batch statistics need more patience than the default below."""


@pytest.fixture(scope="module")
def known() -> FrameSet:
    material = load_material("LGPS")
    return frames(material, material.reference(""), "train", limit=4)


@pytest.mark.parametrize("name", sorted(set(SMALL) & set(registered())))
def test_loss_falls_and_atoms_move(name: str, known: FrameSet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    field = create(name, **SMALL[name], cutoff=4.5)
    graphs = GraphSet.build(known.z, known.pos, known.cell, field.cutoff, known.energy, known.forces)
    field.scale.fit(known.z, known.energy, known.forces)
    before = evaluate(field.eval(), graphs)["loss"]
    steps, rate = STEPS.get(name, (40, 1e-2))
    recipe = replace(RECIPES["default"], learning_rate=rate)
    learnt = load(fit(field, known, known, tmp_path, budget_s=60.0, recipe=recipe, max_steps=steps))
    assert learnt.elements == (3, 15, 16, 32)
    assert evaluate(learnt, graphs)["loss"] < 0.97 * before
    start = load_material("Li3PS4").structure
    learnt.elements = None  # trained on more elements than this has
    protocol = Protocol(temperature=300.0, length=20.0, ramp=0.0, timestep=1.0, interval=5.0)
    (run,) = simulate(learnt, start.z, start.pos, start.cell, protocol, [0])
    assert run.failure is None and run.trajectory is not None and run.trajectory.n_frames == 4
    assert np.abs(run.trajectory.pos[-1] - start.pos).max() > 1e-3


def test_dropout_is_repeated_after_an_interruption(known: FrameSet, tmp_path: Path) -> None:
    """What is random in training depends on seed and step alone."""
    weights = []
    for folder, stops in (("whole", (4,)), ("halves", (2, 4))):
        for stop in stops:
            torch.manual_seed(0)
            field = create("equiformer", **SMALL["equiformer"], alpha_drop=0.5, cutoff=4.0)
            torch.manual_seed(int(np.random.default_rng().integers(1 << 30)))  # whatever the process drew before
            fit(field, known, known, tmp_path / folder, budget_s=60.0, max_steps=stop)
        weights.append(to_precision(field, torch.float64).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
