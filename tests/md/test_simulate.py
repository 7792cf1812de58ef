"""Whole runs: protocol, failures with cause and time, resume after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.analysis.fusion import Failure
from grannfield.forcefield import ForceField, UnsupportedElement
from grannfield.graph import AtomGraph
from grannfield.md import block, integrators
from grannfield.md import simulate as module
from grannfield.md.block import Blocks, advance
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.simulate import Protocol, simulate
from grannfield.md.state import initial_state
from grannfield.md.watch import Watch
from grannfield.runs import ScoredRun
from grannfield.testing import LennardJones, count_operations
from tests.md.test_integrators import argon

SHORT = Protocol(temperature=60.0, length=800.0, ramp=200.0, timestep=4.0, interval=40.0, start_temperature=10.0)


class TimeBomb(LennardJones):
    """Argon until the n-th evaluation, then `bad` forces for the first replica."""

    def __init__(self, after: int, bad: float) -> None:
        super().__init__()
        self.after, self.bad, self.calls = after, bad, 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        energy = super().forward(z, graph, edge_vec)
        if self.calls > self.after:
            first = graph.batch == 0
            push = (edge_vec[first][..., 0] * graph.mask[first] * torch.arange(int(first.sum())).view(-1, 1) * self.bad).sum()
            energy = torch.cat([energy[first] + push, energy[~first]])
        return energy


def test_protocol_lengths_and_temperatures() -> None:
    runs = simulate(LennardJones(), *argon(), SHORT, [1, 2])
    assert SHORT.target(0) == 10.0 and SHORT.target(25) == 35.0 and SHORT.target(1000) == 60.0
    for run in runs:
        assert run.failure is None and run.trajectory is not None
        assert run.trajectory.n_frames == 20 and run.trajectory.timestep == 40.0
        assert run.trajectory.time[0] == 40.0
        production = run.production()
        assert production is not None and production.time[0] == 240.0
        assert 20 < run.internal_temperature < 90 and run.drift < 1e-9


def test_a_run_at_rest_is_cold_and_one_that_failed_is_not() -> None:
    (run,) = simulate(LennardJones(), *argon(), SHORT, [1])
    assert not ScoredRun(run, SHORT.temperature, None).cold
    still = replace(run, internal_temperature=0.4 * SHORT.temperature)
    assert ScoredRun(still, SHORT.temperature, None).cold
    assert not ScoredRun(still, SHORT.temperature, Failure(100.0, 2, "melt", "")).cold
    assert not ScoredRun(replace(run, internal_temperature=float("nan")), SHORT.temperature, None).cold


@pytest.mark.parametrize(("bad", "cause"), [(float("nan"), "non-finite"), (100.0, "runaway"), (0.001, "runaway")])
def test_failure_is_reported_and_the_other_replica_goes_on(bad: float, cause: str) -> None:
    runs = simulate(TimeBomb(after=101, bad=bad), *argon(), SHORT, [1, 2])
    failed, fine = runs
    assert failed.failure is not None and failed.failure.cause == cause
    assert fine.failure is None and fine.trajectory is not None and fine.trajectory.n_frames == 20
    expected = (101 - SHORT.ramp_steps) * SHORT.timestep  # evaluation 1 is the start, evaluation 102 is step 101
    if bad == 0.001:  # heats up for a while first
        assert failed.failure.time > expected
    else:
        assert failed.failure.time == expected
    assert failed.trajectory is not None and failed.trajectory.time[-1] < failed.failure.time
    assert np.isfinite(failed.trajectory.pos).all()


def test_failure_in_the_ramp_leaves_no_frames() -> None:
    run, other = simulate(TimeBomb(after=10, bad=float("nan")), *argon(), SHORT, [1, 2])
    assert run.failure is not None and run.failure.time < 0
    assert run.trajectory is None and run.production() is None and other.failure is None


def test_a_killed_run_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(LennardJones(), *argon(), SHORT, [1, 2])
    monkeypatch.setattr(module, "STEPS_PER_FILE", 30)

    class Killed(BaseException):
        pass

    for steps in (40, 100):
        calls = 0

        def counting(*args: object, real=block.nose_hoover, limit: int = steps, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Killed
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(block, "nose_hoover", counting)
            with pytest.raises(Killed):
                simulate(LennardJones(), *argon(), SHORT, [1, 2], folder=tmp_path)
    again = simulate(LennardJones(), *argon(), SHORT, [1, 2], folder=tmp_path)
    for a, b in zip(whole, again, strict=True):
        assert a.trajectory is not None and b.trajectory is not None
        for key in ("pos", "energy", "forces", "time", "temperature"):
            assert np.array_equal(getattr(a.trajectory, key), getattr(b.trajectory, key)), key
    with pytest.raises(ValueError, match="other settings"):
        simulate(LennardJones(), *argon(), SHORT, [1, 3], folder=tmp_path)


def test_an_interrupted_run_loses_no_more_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(LennardJones(), *argon(), SHORT, [1, 2])
    calls = 0

    def interrupted(*args: object, real=block.nose_hoover, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 75:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(block, "nose_hoover", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulate(LennardJones(), *argon(), SHORT, [1, 2], folder=tmp_path)
    (piece,) = tmp_path.glob("*.npz")
    assert int(piece.stem) == SHORT.ramp_steps + 70
    again = simulate(LennardJones(), *argon(), SHORT, [1, 2], folder=tmp_path)
    for a, b in zip(whole, again, strict=True):
        assert a.trajectory is not None and b.trajectory is not None
        assert np.array_equal(a.trajectory.pos, b.trajectory.pos) and np.array_equal(a.trajectory.time, b.trajectory.time)


def test_captured_blocks_move_atoms_as_single_steps_do() -> None:
    """The device path - fixed shapes, own buffers, replay - run on the CPU, gives the same motion."""
    single, blocks = (simulate(LennardJones(), *argon(), SHORT, [1, 2], captured=captured) for captured in (False, True))
    for a, b in zip(single, blocks, strict=True):
        assert a.trajectory is not None and b.trajectory is not None and b.failure is None
        np.testing.assert_allclose(a.trajectory.pos, b.trajectory.pos, atol=1e-9)
        np.testing.assert_allclose(a.trajectory.energy, b.trajectory.energy, atol=1e-9)
        assert np.array_equal(a.trajectory.time, b.trajectory.time)
        assert a.internal_temperature == pytest.approx(b.internal_temperature, rel=1e-9)


def test_recorded_forces_move_atoms_as_those_written_do() -> None:
    """Energy and forces recorded as one list of operations are, on the CPU, the same bits: so is the motion."""
    written, recorded = (simulate(LennardJones(), *argon(), SHORT, [1], captured=True, mode=m)[0] for m in ("off", "trace"))
    assert written.trajectory is not None and recorded.trajectory is not None
    assert np.array_equal(written.trajectory.pos, recorded.trajectory.pos)


@pytest.mark.parametrize("captured", [False, True])
def test_two_runs_are_bit_identical(captured: bool) -> None:
    once, again = (simulate(LennardJones(), *argon(), SHORT, [1], captured=captured)[0].trajectory for _ in range(2))
    assert once is not None and again is not None
    assert np.array_equal(once.pos, again.pos) and np.array_equal(once.forces, again.forces)


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_a_block_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, ensemble: Literal["nvt", "nve"]) -> None:
    """Nothing inside a block asks the host for a decision; the motion is that of the CPU's short cuts."""
    protocol = replace(SHORT, ensemble=ensemble, interval=8.0)
    state = initial_state(*argon(), 60.0, [1, 2])
    evaluate = Evaluate(LennardJones(), state, fixed=True)
    state, watch = evaluated(state, evaluate), Watch.new(2, protocol.timestep)
    for step in (0, protocol.ramp_steps):
        short = advance(state, watch, evaluate, protocol, step, 2)
        with monkeypatch.context() as patch:
            patch.setattr(integrators, "at_hand", lambda x: False)
            blocks = Blocks(evaluate, protocol, state.pos.device, captured=True)
            moved, seen = blocks(state, watch, step, 2)
            replay = blocks.kept[1].replay if blocks.kept else None
            torch.testing.assert_close(moved.vel, short[0].vel, rtol=0, atol=1e-12)
            torch.testing.assert_close(moved.v_xi, short[0].v_xi, rtol=0, atol=1e-12)
            torch.testing.assert_close(seen.ratio, short[1].ratio)
            assert replay is not None and count_operations(replay)[1] == 0


def test_captured_failures_name_step_and_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the middle of a block is dated to its step, and only the replica it befell."""
    expected = simulate(TimeBomb(after=101, bad=100.0), *argon(), SHORT, [1, 2])[0].failure
    monkeypatch.setattr(integrators, "at_hand", lambda x: False)
    failed, fine = simulate(TimeBomb(after=101, bad=100.0), *argon(), SHORT, [1, 2], captured=True)
    assert failed.failure == expected and expected is not None and fine.failure is None
    assert (expected.time / SHORT.timestep) % SHORT.stride != 0


def test_overflow_of_the_neighbour_matrix_stops_a_captured_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from grannfield.md import evaluate as engine

    monkeypatch.setattr(engine, "HEADROOM", 0.5)
    run = simulate(LennardJones(), *argon(), SHORT, [1], captured=True)[0]
    assert run.failure is not None and run.failure.cause == "overflow" and run.trajectory is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_moves_atoms_as_the_cpu_does() -> None:
    here = simulate(LennardJones(), *argon(), SHORT, [1, 2])
    there = simulate(LennardJones(), *argon(), SHORT, [1, 2], device="cuda")
    again = simulate(LennardJones(), *argon(), SHORT, [1, 2], device="cuda")
    for a, b, c in zip(here, there, again, strict=True):
        assert a.trajectory is not None and b.trajectory is not None and c.trajectory is not None
        np.testing.assert_allclose(a.trajectory.pos, b.trajectory.pos, atol=1e-7)
        assert np.array_equal(b.trajectory.pos, c.trajectory.pos)


def test_a_field_broken_from_the_start_is_an_error_not_a_failure_event() -> None:
    with pytest.raises(FloatingPointError, match="on the starting structure"):
        simulate(TimeBomb(after=0, bad=float("nan")), *argon(), SHORT, [1])


def test_unknown_element_is_refused_before_the_first_step() -> None:
    field = LennardJones()
    field.elements = (2, 10)
    with pytest.raises(UnsupportedElement, match="does not know Ar; it knows He, Ne"):
        simulate(field, *argon(), SHORT, [1])


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"length": -1.0}, {"drop": 1.0}, {"interval": 0.5, "timestep": 2.0}])
def test_impossible_protocols_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=r"must be|must not be|do not fit"):
        Protocol(**({"temperature": 300.0} | change))


def test_direct_force_field_with_net_force_shows_its_drift() -> None:
    class Pushed(ForceField):
        conservative = False

        def __init__(self) -> None:
            super().__init__(cutoff=7.0)

        def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
            forces = edge_vec.new_zeros(len(z), 3)
            forces[:, 0] = 0.001
            return edge_vec.new_zeros(len(z)), forces

    run = simulate(Pushed(), *argon(), SHORT, [1])[0]
    assert run.drift > 0.1
