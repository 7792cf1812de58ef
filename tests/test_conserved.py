"""NVE runs and Jacobians of force fields with known answers, through the store that the suite uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.analysis.conservation import asymmetry, energy_drift, total_energy
from grannfield.conserved import curl, jacobian_products
from grannfield.controls.faulty import control_field
from grannfield.data.dataset import FrameSet
from grannfield.data.material import load_material
from grannfield.forcefield import ForceField, Prediction
from grannfield.harness import ReferenceData
from grannfield.md.simulate import Protocol, simulate
from grannfield.motion import Subject, constant_energy
from grannfield.plugin import Named
from grannfield.presets import PRESETS


class Springs(ForceField):
    """Every atom tied to the origin by a spring, and turned about z by `turning`: the Jacobian is known."""

    def __init__(self, turning: float = 0.0) -> None:
        super().__init__(0.5)
        self.turning = turning

    def predict(self, graph, *, stress=False, create_graph=False):
        x = graph.pos
        swirl = torch.stack([-x[:, 1], x[:, 0], torch.zeros_like(x[:, 0])], dim=1)
        return Prediction(x.square().sum().view(1).expand(graph.n_graphs), -2 * x + self.turning * swirl)


class LennardJones(ForceField):
    """Argon, smoothly cut off."""

    def __init__(self) -> None:
        super().__init__(8.0)

    def forward(self, z, graph, edge_vec):
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        x = (d / self.cutoff).clamp(max=1.0)
        return 0.5 * (4 * 0.0104 * ((3.4 / d) ** 12 - (3.4 / d) ** 6) * (1 - x**2) ** 3 * graph.mask).sum(1)


def subject(field: ForceField) -> Subject:
    return Subject(Named("field", "field", None, "Field"), field)


def frames(n_frames: int = 6, n_atoms: int = 5) -> FrameSet:
    pos = np.random.default_rng(0).normal(scale=2.0, size=(n_frames, n_atoms, 3))
    zeros, origin = np.zeros(n_frames), np.stack([np.zeros(n_frames, int), np.arange(n_frames)], axis=1)
    return FrameSet(np.full(n_atoms, 16), pos, np.tile(20.0 * np.eye(3), (n_frames, 1, 1)), zeros, np.zeros_like(pos), origin)


def test_a_spring_has_no_curl_and_a_turned_one_the_known_curl() -> None:
    """J = -2 + t R on each atom, R with two entries: |A|/|J| = t sqrt(2)/sqrt(12 + 2 t²)."""
    for turning in (0.0, 1.0):
        products = jacobian_products(subject(Springs(turning)), frames(12), 4, 0.003, 0, "cpu")
        expected = turning * np.sqrt(2) / np.sqrt(12 + 2 * turning**2)
        found = asymmetry(products[1, 0], products[1, 1])
        assert found.share.value == pytest.approx(expected, rel=0.3, abs=1e-9)
        assert found.share.interval[0] - 1e-9 <= expected <= found.share.interval[1] + 1e-9
        assert products[0] == pytest.approx(products[1], abs=1e-8), "a linear force has no error of the step"


def test_curl_is_stored_and_read_again(tmp_path: Path) -> None:
    model, preset = subject(Springs(0.5)), replace(PRESETS["smoke"], curl_frames=3)
    first = curl(model, frames(), preset, 0, tmp_path, "cpu")
    assert first.forward.shape == (3, 2) and len(list((tmp_path / "curl").glob("*.npz"))) == 1
    model.field.predict = None  # what is stored is not computed again
    again = curl(model, frames(), preset, 0, tmp_path, "cpu")
    assert np.array_equal(first.forward, again.forward) and again.made_on == first.made_on


def test_float32_rounding_stays_below_the_floor_that_is_stated() -> None:
    """SchNet in float32: a gradient field whose curl is rounding; the floor says so, in double precision too."""
    from grannfield.forcefield import to_precision
    from grannfield.plugin import find, open_model

    material = load_material("Li3PS4")
    s, random = material.structure, np.random.default_rng(0)
    pos = s.pos + 0.1 * random.normal(size=(2, *s.pos.shape))
    origin = np.stack([np.zeros(2, int), np.arange(2)], axis=1)
    chosen = FrameSet(s.z, pos, np.tile(s.cell, (2, 1, 1)), np.zeros(2), np.zeros_like(pos), origin)
    named = find("schnet", Path("nowhere"))
    found = {}
    for precision, step in (("float32", 0.01), ("float64", 0.003)):
        products = jacobian_products(Subject(named, to_precision(open_model(named), precision)), chosen, 1, step, 0, "cpu")
        wide, fine = products
        both = (4 * fine - wide) / 3
        found[precision] = asymmetry(both[0], both[1], (fine[0], fine[1]))
    assert found["float32"].share.value < 0.01
    assert found["float64"].share.value < 1e-3, "kinks at the cut-off are seen in double precision too"
    assert all(one.share.value < 3 * one.floor for one in found.values())


@pytest.mark.parametrize("seed", [0])
def test_nve_drift_of_lennard_jones_falls_as_the_square_of_the_step(seed: int) -> None:
    """Velocity Verlet: the swing of the energy falls as timestep², and no drift is left that stands out."""
    edge = 5.3
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2
    cells = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)]) * edge
    pos = (basis[None] + cells[:, None]).reshape(-1, 3)
    swing = {}
    for timestep in (4.0, 8.0, 16.0):
        protocol = Protocol(60.0, length=8000.0, ramp=0.0, timestep=timestep, interval=16.0, drop=0.0, ensemble="nve")
        run = simulate(LennardJones(), np.full(len(pos), 18), pos, 2 * edge * np.eye(3), protocol, [seed])[0].trajectory
        found = energy_drift([total_energy(run.energy, run.temperature, len(pos))[10:]], 16.0, len(pos))
        swing[timestep] = found.swing
        assert abs(found.drift.value) * 1e6 < 0.02, "meV/atom/ps"
    assert swing[8.0] / swing[4.0] == pytest.approx(4.0, rel=0.2)
    assert swing[16.0] / swing[8.0] == pytest.approx(4.0, rel=0.2)


def test_nve_runs_start_from_the_reference_and_differ_by_start_in_their_key() -> None:
    """At the reference's lowest temperature, from its production; the ideal structure's key is what it was before."""
    material = load_material("Li3PS4")
    data = ReferenceData(material, material.reference())
    preset = replace(PRESETS["smoke"], nve_runs=2)
    motion = constant_energy(subject(control_field("control:exact")), data.material, data.reference, preset, 0)
    assert motion.protocol.ensemble == "nve" and motion.protocol.temperature == 800.0 and len(motion.seeds) == 2
    assert motion.start.shape == (2, 32, 3)
    production = data.production(800.0)
    assert np.allclose(motion.start[0], production.pos[0]) and np.allclose(
        motion.start[1], production.pos[production.n_frames // 2]
    )
    assert motion.key != replace(motion, start=None).key != replace(motion, start=motion.start[:1]).key
