"""Runs cut off at random steps, through their files, against uninterrupted ones: every thermostat, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from grannfield.graph import AtomGraph
from grannfield.md import simulate as module
from grannfield.md.simulate import MDRun, Protocol, simulate
from grannfield.testing import LennardJones
from tests.md.test_integrators import argon

CHAIN = Protocol(temperature=110.0, length=800.0, ramp=40.0, timestep=4.0, interval=20.0, start_temperature=40.0, damping=40.0)
"""Hot enough for argon to melt: atoms change neighbours."""
PROTOCOLS = {
    "nose-hoover": CHAIN,
    "langevin": replace(CHAIN, thermostat="langevin"),
    "rescale": replace(CHAIN, thermostat="rescale"),
    "nve": replace(CHAIN, ensemble="nve"),
}


class Cut(BaseException):
    """What ends a process: nothing is tidied up."""


class Mortal(LennardJones):
    """Argon that is cut off at an evaluation."""

    def __init__(self, evaluations: int) -> None:
        super().__init__()
        self.left = evaluations

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise Cut
        return super().forward(z, graph, edge_vec)


def identical(a: MDRun, b: MDRun) -> bool:
    assert a.trajectory is not None and b.trajectory is not None
    keys = ("pos", "energy", "forces", "time", "temperature")
    same = all(np.array_equal(getattr(a.trajectory, key), getattr(b.trajectory, key)) for key in keys)
    return same and a.drift == b.drift and a.energy_drift == b.energy_drift and a.internal_temperature == b.internal_temperature


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_run_cut_off_at_random_steps_is_the_uninterrupted_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, random = PROTOCOLS[name], np.random.default_rng(sum(map(ord, name)))
    whole = simulate(Mortal(10**6), *argon(), protocol, [3, 4])
    monkeypatch.setattr(module, "STEPS_PER_FILE", 9)
    cuts = 0
    for evaluations in [*random.integers(30, 80, size=8).tolist(), 10**6]:
        try:
            again = simulate(Mortal(evaluations), *argon(), protocol, [3, 4], folder=tmp_path)
            break
        except Cut:
            cuts += 1
    assert cuts >= 3
    assert all(identical(a, b) for a, b in zip(whole, again, strict=True))
    assert not identical(whole[0], whole[1])


def test_a_slow_force_field_keeps_what_it_has_by_the_clock(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        simulate(Mortal(40), *argon(), CHAIN, [3], folder=tmp_path, seconds_per_file=0.0)
    kept = sorted(int(path.stem) for path in tmp_path.glob("*.npz"))
    assert 30 <= kept[-1] < 40


def test_blocks_end_in_time_where_a_step_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a second for a block and steps that take longer, each step is a block, and the motion the same."""
    whole = simulate(Mortal(10**6), *argon(), CHAIN, [3])
    monkeypatch.setattr(module, "SECONDS_PER_BLOCK", 0.0)
    stepwise = simulate(Mortal(10**6), *argon(), CHAIN, [3], folder=tmp_path, seconds_per_file=0.0)
    assert len(list(tmp_path.glob("*.npz"))) > 200 and identical(whole[0], stepwise[0])


def test_a_file_older_than_a_part_of_the_state_is_read(tmp_path: Path) -> None:
    """Before there were thermostats with random forces, the state had no `heat` and no `seed`, frames no conserved energy."""
    whole = simulate(Mortal(10**6), *argon(), CHAIN, [3])[0]
    with pytest.raises(Cut):
        simulate(Mortal(100), *argon(), CHAIN, [3], folder=tmp_path, seconds_per_file=0.0)
    for path in tmp_path.glob("*.npz"):
        with np.load(path) as file:
            left = {key: file[key] for key in file.files if key not in ("state.heat", "state.seed", "frame.conserved")}
        np.savez(path, **left)
    again = simulate(Mortal(10**6), *argon(), CHAIN, [3], folder=tmp_path)[0]
    assert whole.trajectory is not None and again.trajectory is not None
    assert np.array_equal(whole.trajectory.pos, again.trajectory.pos) and np.isnan(again.energy_drift)
