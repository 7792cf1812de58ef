"""Blocks of steps on the CPU: looked at once, they end as when every step is looked at."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from grannfield.graph import AtomGraph
from grannfield.md import block
from grannfield.md.block import Blocks, advance
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated
from grannfield.md.protocol import Protocol
from grannfield.md.state import MDState, initial_state
from grannfield.md.watch import CAUSES, Watch
from grannfield.testing import LennardJones
from tests.md.test_integrators import argon

STEPS = 40


class Cliff(LennardJones):
    """Argon whose atoms are pushed apart with a constant force below some distance (eV/Å), or give NaN where it is infinite."""

    def __init__(self, nearest: float, push: float) -> None:
        super().__init__()
        self.nearest, self.push = nearest, push

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        energy = super().forward(z, graph, edge_vec)
        length = torch.linalg.vector_norm(edge_vec, dim=-1)
        push = torch.where(length < self.nearest, self.push, 0.0)
        return energy + ((self.nearest - length) * push).sum(dim=1)


def moved(field: LennardJones, protocol: Protocol, careful: bool, replicas: int = 2) -> tuple[MDState, Watch]:
    start = initial_state(*argon(), protocol.temperature, list(range(replicas)))
    evaluate = Evaluate(field, start)
    state, watch = evaluated(start, evaluate), Watch.new(replicas, protocol.timestep)
    if careful:
        return advance(state, watch, evaluate, protocol, 0, STEPS)
    return Blocks(evaluate, protocol, state.pos.device)(state, watch, 0, STEPS)


def same(a: MDState | Watch, b: MDState | Watch) -> None:
    for item in fields(a):
        assert torch.equal(getattr(a, item.name), getattr(b, item.name)), item.name


@pytest.mark.parametrize("protocol", [
    Protocol(temperature=60.0, length=1e4, ramp=0.0, timestep=4.0),
    Protocol(temperature=60.0, length=1e4, ramp=160.0, timestep=4.0),
    Protocol(temperature=60.0, length=1e4, ramp=0.0, timestep=4.0, ensemble="nve"),
])  # fmt: skip
def test_a_block_looked_at_once_is_the_block_looked_at_step_by_step(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = moved(LennardJones(), protocol, careful=True)
    monkeypatch.setattr(block, "advance", None)  # nothing fails: it must not be needed
    state, watch = moved(LennardJones(), protocol, careful=False)
    same(state, expected[0])
    torch.testing.assert_close(watch.ratio, expected[1].ratio, rtol=1e-14, atol=0)
    assert watch.alive.all()


@pytest.mark.parametrize(("push", "cause"), [(1e4, "runaway"), (torch.inf, "non-finite")])
def test_a_failure_within_a_block_has_its_step_replica_and_cause(push: float, cause: str) -> None:
    protocol = Protocol(temperature=60.0, length=1e4, ramp=0.0, timestep=4.0)
    field = Cliff(nearest=3.55, push=push)
    state, watch = moved(field, protocol, careful=False)
    expected = moved(field, protocol, careful=True)
    same(state, expected[0])
    same(watch, expected[1])
    assert (watch.step > 1).any() and (watch.step < STEPS).all()
    assert {CAUSES[int(c)] for c in watch.cause if c} == {cause}
    assert torch.isfinite(state.pos).all()


def test_a_replica_that_has_failed_stays_where_it_was_in_the_next_block() -> None:
    protocol = Protocol(temperature=60.0, length=1e4, ramp=0.0, timestep=4.0)
    start = initial_state(*argon(), 60.0, [0, 1])
    evaluate = Evaluate(Cliff(3.55, 1e4), start)
    blocks = Blocks(evaluate, protocol, start.pos.device)
    state, watch = blocks(evaluated(start, evaluate), Watch.new(2, 4.0), 0, STEPS)
    failed = ~watch.alive
    assert failed.any()
    later, seen = blocks(state, watch, STEPS, 5)
    assert torch.equal(later.pos[failed], state.pos[failed]) and torch.equal(seen.step[failed], watch.step[failed])
