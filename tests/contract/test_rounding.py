"""What a precision costs: sound arithmetic passes, arithmetic spoilt on purpose does not."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import grannfield.models  # noqa: F401  (registers them before a test replaces the registry)
from grannfield import forcefield, precision
from grannfield.cli import main
from grannfield.contract import rounding
from grannfield.contract.rounding import drift_excess, energy_drift, force_errors, slope
from grannfield.contract.verdict import Finding
from grannfield.forcefield import ForceField, Prediction, to_precision
from grannfield.graph import AtomGraph
from tests.contract.fields import Sound, faded


class Weighted(Sound):
    """Lennard-Jones atoms with a weight, so that there is a choice of precisions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        return super().forward(z, graph, edge_vec) * self.weight


class Network(Weighted):
    """Lennard-Jones atoms and, on top, matrix products of what is around them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.inwards = nn.Parameter(torch.randn(3, 24, generator=generator))
        self.outwards = nn.Parameter(torch.randn(24, 1, generator=generator))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        seen = torch.cat([fade, fade.square(), fade**3], dim=-1).sum(dim=1)
        return super().forward(z, graph, edge_vec) + 0.02 * (torch.tanh(seen @ self.inwards) @ self.outwards).squeeze(-1)


class HalfGeometry(Weighted):
    """Vectors between atoms pass through half precision, except in float64."""

    kind = torch.float16

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        return super().forward(z, graph, edge_vec if edge_vec.dtype == torch.float64 else edge_vec.to(self.kind).float())


class CoarseGeometry(HalfGeometry):
    kind = torch.bfloat16


class Lossy(Weighted):
    """In float32 the forces are a tenth too small when atoms approach: every collision costs energy."""

    def predict(self, graph: AtomGraph, **options: Any) -> Prediction:
        found = super().predict(graph, **options)
        if self.dtype == torch.float64:
            return found
        if not hasattr(self, "last"):
            self.last = graph.pos
        falling = ((graph.pos - self.last) * found.forces).sum(dim=-1, keepdim=True) > 0
        self.last = graph.pos
        return replace(found, forces=torch.where(falling, found.forces * 0.9, found.forces))


class Direct(Weighted):
    conservative = False

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        return torch.zeros_like(fade[:, 0, 0]), (-0.1 * edge_vec * fade).sum(dim=1) * self.weight


class Bursting(Weighted):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        return super().forward(z, graph, edge_vec) * 1e9


class Nothing(Weighted):
    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        return 0 * super().forward(z, graph, edge_vec)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "LENGTH", 160.0)


def errors(field: ForceField, name: str) -> list[Finding]:
    return force_errors(pair(field, name), name, 0)


def pair(field: ForceField, name: str) -> dict[str, ForceField]:
    return {key: to_precision(copy.deepcopy(field), key).eval() for key in (name, "float64")}


@pytest.mark.parametrize("name", ["float32", "tf32", "float64"])
def test_sound_arithmetic_passes(name: str) -> None:
    found = rounding.rounding(Network(), name, 0)
    assert [one.check for one in found] == ["force error", "force error, rms", "NVE drift"]
    assert {one.verdict for one in found} == {"pass"}
    assert {one.precision for one in found} == {precision.labelled(name, "cpu")}
    low, high = {"float32": (1e-8, 1e-5), "tf32": (1e-5, 1e-2), "float64": (1e-17, 1e-12)}[name]
    assert all(low < one.value < high for one in found[:2]) and found[0].n == 9


def test_geometry_in_half_precision_fails() -> None:
    for name, field in (("float32", HalfGeometry()), ("tf32", CoarseGeometry())):
        assert [one.verdict for one in errors(field, name)] == ["FAIL", "FAIL"], name
        assert [one.verdict for one in errors(Weighted(), name)] == ["pass", "pass"], name


def test_products_of_three_bits_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.verdict for one in errors(Network(), "tf32")] == ["pass", "pass"]
    monkeypatch.setattr(precision, "rounded", partial(precision.rounded, bits=3))
    assert [one.verdict for one in errors(Network(), "tf32")] == ["FAIL", "FAIL"]


def test_energy_lost_in_one_precision_fails() -> None:
    sound, lossy = (drift_excess(pair(field, "float32"), "float32", 0) for field in (Weighted(), Lossy()))
    assert sound.verdict == "pass" and abs(sound.value) < 1e-3
    assert lossy.verdict == "FAIL" and lossy.parts["drift"] < -10 * rounding.MARGIN
    assert lossy.parts["float64"] == sound.parts["float64"]


def test_direct_forces_are_measured_and_not_judged() -> None:
    found = drift_excess(pair(Direct(), "tf32"), "tf32", 0)
    assert found.verdict == "not judged" and found.claim == "direct forces" and np.isfinite(found.value)


def test_motion_that_bursts_is_an_error_and_no_forces_fail() -> None:
    burst = drift_excess(pair(Bursting(), "float32"), "float32", 0)
    assert burst.verdict == "ERROR" and "float64 itself drifts by" in burst.detail
    field = pair(Bursting(), "float32")["float32"]
    with torch.no_grad():
        field.weight.fill_(1e300 if field.dtype == torch.float64 else 1e38)
    gone = drift_excess({"float32": field, "float64": field}, "float32", 0)
    assert gone.verdict == "ERROR" and "leaves what is finite" in gone.detail
    assert [one.verdict for one in errors(Nothing(), "float32")] == ["FAIL", "FAIL"]


def test_a_drift_is_free_of_the_oscillation_of_the_integrator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corrected energy scatters with the fourth power of the time step, that of a textbook with the second."""
    scatter = {}
    for timestep in (1.0, 2.0):
        kept: list[np.ndarray] = []
        monkeypatch.setattr(rounding, "TIMESTEP", timestep)
        monkeypatch.setattr(rounding, "slope", lambda values, step: (kept.append(values), slope(values, step))[1])  # noqa: B023
        drift = energy_drift(Weighted().double(), 0)
        scatter[timestep] = kept[0].std()
        assert abs(drift.value) < 3 * drift.error + 1e-3 and 500 < drift.temperature < 1500
    assert 12 < scatter[2.0] / scatter[1.0] < 20


def test_seeds_change_velocities_and_nothing_else_does() -> None:
    one, two, other = (energy_drift(Weighted().double(), seed) for seed in (0, 0, 1))
    assert one == two and one != other


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with fields of one's own, and an empty registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forcefield, "_REGISTRY", {})
    (tmp_path / "fields.py").write_text("from tests.contract.test_rounding import *\nfrom tests.contract.fields import Sound")
    return tmp_path


def test_the_command_prints_a_table_and_its_exit_code_is_the_verdict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "fields.py:Network", "--precision", "tf32", "--json", "found.json"]) == 0
    shown = capsys.readouterr().out
    assert "tf32 (emulated)" in shown and "meV/atom/ps" in shown and "Network: all 3 claims hold" in shown
    assert "rotation" not in shown
    kept = json.loads((here / "found.json").read_text())["behaviours"]["fields.py:Network"]
    assert kept["provenance"]["precision"] == "tf32 (emulated)" and kept["seed"] == 0
    assert main(["check", "fields.py:HalfGeometry", "--precision", "float32"]) == 1
    assert "HalfGeometry: 2 claims do not hold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fields.py:Network", "--precision", "single"], "no precision is called 'single'"),
        (["fields.py:Sound", "--precision", "tf32"], "Sound has no weights: it computes in float64, not in tf32"),
        (["fields.py:Network", "--precision", "tf32", "--reports", "here"], "its numbers go to --json FILE"),
        (["--calculator", "a:b()", "--precision", "tf32"], "--precision is for a MODEL"),
        (["fields.py:Network", "--device", "cuda"], "--device is for --precision"),
        (["schnet@published", "--precision", "tf32"], "neither a model"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
