"""Several steps as one unit: on a GPU captured once and launched as a whole, on the CPU the same code run step by step.

A step of a small network is a few hundred kernels of microseconds; launched one by one from Python the device waits for the
host. A block of steps - neighbour search, energy, forces, thermostat, failure flags - is captured in a CUDA graph, which one
launch replays. The state lives in the same memory all the time, and copies of it leave for the host while the next block runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from grannfield.md.evaluate import Evaluate
from grannfield.md.integrators import nose_hoover, rescale, velocity_verlet
from grannfield.md.protocol import Protocol
from grannfield.md.state import MDState
from grannfield.md.stochastic import stochastic
from grannfield.md.watch import Watch, keep_failed_still

LONGEST = 50
"""Steps in a block: enough to hide the launch, few enough that a failed batch is noticed soon."""

log = logging.getLogger("grannfield")


def advance(
    state: MDState, watch: Watch, evaluate: Evaluate, protocol: Protocol, step: int | Tensor, n: int, ramping: bool | None = None
) -> tuple[MDState, Watch]:
    """n steps from step number `step`: velocity scaling in the ramp, the protocol's ensemble after it.

    Where the step number is a tensor, on the device, `ramping` says which of the two.
    """
    for now in (step + k for k in range(1, n + 1)):
        heating = now <= protocol.ramp_steps if ramping is None else ramping
        new, target = _stepped(state, evaluate, protocol, now, bool(heating))
        watch = watch.after(new, now, target, evaluate.overflow)
        state = keep_failed_still(watch.alive, new, state)
    return state, watch


def advance_trusting(
    state: MDState, watch: Watch, evaluate: Evaluate, protocol: Protocol, step: int, n: int
) -> tuple[MDState, Watch] | None:
    """The same where no replica fails, looked at once for all steps: on the CPU a look takes as long as the thermostat.

    None where anything has failed, or looks like it: `advance` then finds out what and when.
    """
    if max(watch.step.tolist()) >= 0:
        return None
    states, targets = [state], list[float]()
    try:
        for now in range(step + 1, step + n + 1):
            new, target = _stepped(states[-1], evaluate, protocol, now, now <= protocol.ramp_steps)
            states.append(new)
            targets.append(float(target))
    except Exception as problem:  # whatever a model or a search raises at positions no step should have led to
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        log.warning("%s: %s; the block is made again, every step looked at", evaluate.field.name, reason)
        return None
    seen = watch.after_all(states[1:], targets)
    return None if seen is None else (states[-1], seen)


def _stepped(
    state: MDState, evaluate: Evaluate, protocol: Protocol, now: int | Tensor, heating: bool
) -> tuple[MDState, float | Tensor]:
    """The state after step number `now`, and the temperature in K it was led to."""
    if heating:
        target = protocol.heating(now)
        return rescale(velocity_verlet(state, evaluate, protocol.timestep), target), target
    target = protocol.temperature
    if protocol.random:  # never captured: `now` is a number
        return stochastic(state, evaluate, protocol, int(now)), target
    if protocol.ensemble == "nvt":
        return nose_hoover(state, evaluate, protocol.timestep, target, protocol.damping), target
    return velocity_verlet(state, evaluate, protocol.timestep), target


class Blocks:
    """Advances a state by blocks of steps; `captured` (the default but on the CPU): from buffers of its own, by replay.

    A state that was returned is overwritten by the next call when captured: what is to be kept of it is taken by `Snapshot`.
    """

    def __init__(self, evaluate: Evaluate, protocol: Protocol, device: torch.device, captured: bool | None = None) -> None:
        self.evaluate, self.protocol, self.device = evaluate, protocol, device
        self.captured = device.type == "cuda" if captured is None else captured
        if self.captured and not evaluate.fixed:
            raise ValueError("a block of steps can be captured only with a neighbour search of fixed shapes")
        self.kept: tuple[tuple[int, bool], _Captured] | None = None

    def length(self, step: int) -> int:
        """Steps of the block that begins after step number `step`: up to the next frame, or the end of the ramp."""
        p = self.protocol
        stop = p.ramp_steps if step < p.ramp_steps else step + p.stride - (step - p.ramp_steps) % p.stride
        return min(stop - step, LONGEST)

    def __call__(self, state: MDState, watch: Watch, step: int, n: int) -> tuple[MDState, Watch]:
        """The state after n steps; no block straddles the end of the ramp."""
        if not self.captured:
            work = state, watch, self.evaluate, self.protocol, step, n
            done = None if self.evaluate.fixed else advance_trusting(*work)
            return advance(*work) if done is None else done
        key = n, step < self.protocol.ramp_steps
        if self.kept is None or self.kept[0] != key:
            try:
                self.kept = key, _Captured(self.evaluate, self.protocol, state, watch, *key)
            except RuntimeError as problem:
                log.warning("%s cannot be captured (%s): steps are launched one by one", self.evaluate.field.name, problem)
                self.captured = False
                return self(state, watch, step, n)
        return self.kept[1](state, watch, step)


class _Captured:
    """One block with its buffers."""

    def __init__(self, evaluate: Evaluate, protocol: Protocol, state: MDState, watch: Watch, n: int, ramping: bool) -> None:
        self.state = MDState(**{f.name: getattr(state, f.name).clone() for f in fields(state)})
        self.watch = Watch(**{f.name: getattr(watch, f.name).clone() for f in fields(watch)})
        self.step = torch.zeros((), dtype=torch.float64, device=state.pos.device)

        def run() -> None:
            moved, seen = advance(self.state, self.watch, evaluate, protocol, self.step, n, ramping)
            _copy(moved, self.state)
            _copy(seen, self.watch)

        self.replay = capture(run, state.pos.device)

    def __call__(self, state: MDState, watch: Watch, step: int) -> tuple[MDState, Watch]:
        if state is not self.state:
            _copy(state, self.state)
            _copy(watch, self.watch)
        self.step.fill_(step)
        self.replay()
        return self.state, self.watch


def _copy(source: MDState | Watch, to: MDState | Watch) -> None:
    for f in fields(source):
        if getattr(source, f.name) is not getattr(to, f.name):
            getattr(to, f.name).copy_(getattr(source, f.name))


def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What repeats `run` on the same memory: the replay of a CUDA graph, on the CPU `run` itself."""
    if device.type != "cuda":
        return run
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # the first runs choose algorithms and fill caches, which a capture must not
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@dataclass(frozen=True)
class Snapshot:
    """The state and flags of one moment on the host; on a GPU the copies are under way until `wait`."""

    step: int
    state: MDState
    watch: Watch
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, state: MDState, watch: Watch, step: int) -> Snapshot:
        if state.pos.device.type != "cuda":
            own = lambda x: {f.name: getattr(x, f.name).clone() for f in fields(x)}  # noqa: E731
            return cls(step, MDState(**own(state)), Watch(**own(watch)), None)
        leave = lambda x: {f.name: _pinned(getattr(x, f.name)) for f in fields(x)}  # noqa: E731
        held = MDState(**leave(state)), Watch(**leave(watch))
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(step, *held, arrived)

    def wait(self) -> Snapshot:
        """The same, with every copy complete."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self


def _pinned(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
