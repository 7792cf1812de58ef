"""Compiled loops against the array code that runs where Numba is not installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from grannfield import candidates, loops
from grannfield.candidates import Candidates
from grannfield.md import integrators
from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import evaluated, nose_hoover
from grannfield.md.state import initial_state
from grannfield.testing import LennardJones
from tests.test_candidates import same

pytest.importorskip("numba")
CELL = np.array([[8.0, 0, 0], [2.5, 7.5, 0], [-1.0, 2.0, 9.0]])


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (candidates, integrators):
        monkeypatch.setattr(module, "compiled_loop", lambda loop: None)


@pytest.mark.parametrize("pbc", [True, (True, False, True)])
@pytest.mark.parametrize("cutoff", [2.0, 4.5, 9.0])
def test_the_graph_is_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch, pbc: bool | tuple[bool, ...], cutoff: float) -> None:
    """Images of an atom itself, empty rows and two replicas included."""
    pos = torch.tensor(np.random.default_rng(0).uniform(0, 8, (2, 12, 3)))
    args = np.ones(12), torch.tensor(np.stack([CELL, CELL])), cutoff, pbc
    compiled = Candidates(*args)(pos)
    interpreted(monkeypatch)
    plain = Candidates(*args)
    assert plain.filled is None
    assert same(compiled, plain(pos))


def test_the_motion_is_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 steps of three replicas in an argon-like crystal, thermostat included."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = initial_state(np.full(27, 18), 3.8 * grid, 11.4 * np.eye(3), 90.0, [1, 2, 3])

    def moved() -> object:
        evaluate = Evaluate(LennardJones(), start)
        state = evaluated(start, evaluate)
        for _ in range(30):
            state = nose_hoover(state, evaluate, 2.0, 120.0, 50.0)
        return state

    fast = moved()
    interpreted(monkeypatch)
    slow = moved()
    for key in ("pos", "vel", "xi", "v_xi", "energy", "forces"):
        torch.testing.assert_close(getattr(fast, key), getattr(slow, key), rtol=1e-10, atol=1e-12)
    assert not torch.equal(fast.pos, start.pos) and fast.v_xi.abs().max() > 0


def test_the_arrays_of_a_state_are_not_written_to() -> None:
    start = initial_state(np.full(2, 18), np.array([[0, 0, 0], [3.7, 0, 0]]), 20 * np.eye(3), 90.0, [0])
    evaluate = Evaluate(LennardJones(), start)
    state = evaluated(start, evaluate)
    before = {key: value.clone() for key, value in vars(state).items()}
    nose_hoover(state, evaluate, 2.0, 120.0, 50.0)
    assert all(torch.equal(value, before[key]) for key, value in vars(state).items())


def test_nan_strays_and_so_is_looked_at() -> None:
    far = loops.compiled_loop(loops.strayed)
    pos = np.zeros((3, 3))
    moved = pos.copy()
    moved[1] = [0.3, 0.4, 0.0]
    assert far(moved, pos) == pytest.approx(0.25)
    moved[2, 0] = np.nan
    assert far(moved, pos) == np.inf
    walking = Candidates([1, 1], 30 * torch.eye(3, dtype=torch.float64)[None], 4.0)
    walking(torch.zeros(1, 2, 3).double() + torch.tensor([[0.0], [3.0]]).double())
    with pytest.raises(ValueError, match="atom 0 is"):
        walking(torch.full((1, 2, 3), torch.nan).double())


def test_without_numba_there_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert loops.compiled_loop.__wrapped__(loops.strayed) is None


def test_a_place_where_nothing_can_be_kept_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    def njit(**options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda loop: loop

    monkeypatch.setattr(numba, "njit", njit)
    assert loops.compiled_loop.__wrapped__(loops.strayed) is loops.strayed
