"""Failure events: faults put into a healthy crystal are found, at their frame and with their cause."""

import numpy as np
import pytest

from grannfield.analysis.diffusion import diffusion
from grannfield.analysis.fusion import Failure, before, first_failure, frames_needed
from grannfield.analysis.thresholds import covalent_bond, lindemann, reference_thresholds, wander
from grannfield.trajectory import Trajectory, TrajectoryError

LI, T = 3, 600.0
BOND = 2.05
LEGS = BOND / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
CENTRES = np.array([[2.0, 2.0, 2.0], [6.0, 6.0, 2.0], [6.0, 2.0, 6.0], [2.0, 6.0, 6.0]])
IONS = np.array([[6.0, 2.0, 2.0], [2.0, 6.0, 2.0], [2.0, 2.0, 6.0], [6.0, 6.0, 6.0]])
Z = np.array([3] * 4 + [15] * 4 + [16] * 16)
SITES = np.concatenate([IONS, CENTRES, (CENTRES[:, None] + LEGS).reshape(-1, 3)])


def crystal(seed, n_frames=400, timestep=2.0, width=0.06, **changes):
    """Four PS4 tetrahedra and four Li in a cube of 8 Å, each atom shaking about its site with a memory of 50 fs."""
    generator = np.random.default_rng(seed)
    keep = np.exp(-timestep / 50.0)
    noise = generator.normal(size=(n_frames, len(Z), 3)) * width
    x = np.empty_like(noise)
    x[0] = noise[0]
    for k in range(1, n_frames):
        x[k] = keep * x[k - 1] + np.sqrt(1 - keep**2) * noise[k]
    arrays = {
        "pos": SITES + x,
        "temperature": T * (1 + 0.1 * generator.normal(size=n_frames)),
        "forces": generator.normal(size=x.shape),
        "energy": np.zeros(n_frames),
    }
    arrays.update(changes)
    return Trajectory(z=Z, cell=8.0 * np.eye(3), time=timestep * np.arange(n_frames), **arrays)


def changed(trajectory, **changes):
    keys = ("pos", "temperature", "forces", "energy")
    arrays = {key: getattr(trajectory, key) for key in keys} | changes
    return Trajectory(z=trajectory.z, cell=trajectory.cell, time=trajectory.time, **arrays)


@pytest.fixture(scope="module")
def limits():
    return reference_thresholds(crystal(seed=0, n_frames=1000), LI)


def test_thresholds_describe_the_crystal(limits):
    assert limits.bond == {15: pytest.approx(BOND, abs=0.02)}
    assert limits.spacing == pytest.approx(BOND - 0.07, abs=0.07)
    assert limits.lindemann == pytest.approx(0.06 * np.sqrt(3) / limits.spacing, rel=0.15)
    assert 1.6 < limits.closest[15, 16] < BOND
    assert (3, 3) in limits.closest


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("timestep", [2.0, 10.0, 20.0, 200.0])
def test_a_healthy_run_survives(limits, seed, timestep):
    assert first_failure(crystal(seed, timestep=timestep), limits, T, LI) is None


def test_the_reference_passes_its_own_limits(limits):
    assert first_failure(crystal(seed=0, n_frames=1000), limits, T, LI) is None


@pytest.mark.parametrize("shift", [0.0, 8.0, -24.0], ids=["here", "next cell", "far away"])
@pytest.mark.parametrize("timestep", [2.0, 10.0, 20.0, 50.0])
def test_fusion_needs_20_fs(limits, timestep, shift):
    run, needed = crystal(1, timestep=timestep), frames_needed(20.0, timestep)
    for length, expected in [(needed, 100), (needed - 1, None)]:
        pos = run.pos.copy()
        pos[100 : 100 + length, 0] = pos[100 : 100 + length, 8] + [0.6 + shift, 0.0, 0.0]
        failure = first_failure(changed(run, pos=pos), limits, T, LI)
        if expected is None:
            assert failure is None
        else:
            assert (failure.frame, failure.cause, failure.time) == (100, "fusion", 100 * timestep)
            assert "Li0-S8 at 0.60 Å" in failure.detail
            assert failure.evidence["pair"] == "Li-S" and failure.evidence["distance_A"] == pytest.approx(0.6)
            assert failure.evidence["limit_A"] == limits.fused_below((3, 16))


def test_fusion_in_a_cell_narrower_than_the_bond():
    """Two atoms 2.2 Å apart, or 0.4 Å through the boundary of a skewed cell of 2.6 Å."""
    cell = np.array([[2.6, 0.0, 0.0], [1.3, 2.6, 0.0], [0.0, 0.0, 9.0]])
    pos = np.tile([[0.0, 0.0, 0.0], [1.3, 1.3, 0.3], [0.0, 0.0, 4.5]], (40, 1, 1))
    z, time = [3, 16, 15], 2.0 * np.arange(40)
    reference = Trajectory(z=z, pos=pos, cell=cell, time=time)
    limits = reference_thresholds(reference, LI, centres=())
    assert limits.closest[3, 16] == pytest.approx(np.hypot(1.3, 0.3))  # nearest image along b - a/2
    fused = pos.copy()
    fused[10:, 1] = [2.6 + 1.3 + 0.2, 2.6, 0.2]
    failure = first_failure(Trajectory(z=z, pos=fused, cell=cell, time=time), limits, T, LI)
    assert (failure.frame, failure.cause) == (10, "fusion")


def test_ions_that_keep_apart_fuse_no_earlier_than_they_bond(limits):
    """P and P are 5.7 Å apart in the crystal, so 0.75 of that is no fusion: they bond at 2.14 Å."""
    assert 0.75 * limits.closest[15, 15] > 3.9
    assert limits.fused_below((15, 15)) == covalent_bond(15, 15) == pytest.approx(2.14)
    assert limits.fused_below((15, 16)) == 0.75 * limits.closest[15, 16]
    assert limits.fused_below((3, 92)) == 0


def test_a_tetrahedron_may_open_for_100_fs_but_no_longer(limits):
    run = crystal(1)
    for length, fails in [(50, False), (51, True), (200, True)]:
        pos = run.pos.copy()
        pos[60 : 60 + length, 8] += LEGS[0] / BOND  # 3.05 Å from its centre, 1.35 x 2.05 = 2.77 are allowed
        failure = first_failure(changed(run, pos=pos), limits, T, LI)
        assert (failure is not None) == fails
        if failure is not None:
            assert (failure.frame, failure.cause) == (60, "broken tetrahedron")
            assert "P4 keeps 3 of 4 S" in failure.detail


def test_heat_runs_away(limits):
    run = crystal(1)
    temperature = run.temperature.copy()
    temperature[150:] *= 3.0
    failure = first_failure(changed(run, temperature=temperature), limits, T, LI)
    assert failure.cause == "runaway"
    assert 150 <= failure.frame <= 170
    spike = run.temperature.copy()
    spike[150:155] *= 3.0  # 10 fs of heat average out over 100 fs
    assert first_failure(changed(run, temperature=spike), limits, T, LI) is None
    spike[200:230] = np.nan  # unknown, not hot
    assert first_failure(changed(run, temperature=spike), limits, T, LI) is None


def test_a_huge_force_is_runaway_at_once(limits):
    run = crystal(1)
    forces = run.forces.copy()
    forces[77, 3] = [40.0, 40.0, 0.0]
    failure = first_failure(changed(run, forces=forces), limits, T, LI)
    assert (failure.frame, failure.cause) == (77, "runaway")
    assert "57 eV/Å" in failure.detail
    forces[50, 0, 0] = np.inf
    failure = first_failure(changed(run, forces=forces), limits, T, LI)
    assert (failure.frame, failure.cause) == (50, "non-finite")


def test_a_framework_that_swims_melts_but_one_that_drifts_does_not(limits):
    """From frame 400 whole tetrahedra circle with 0.4 Å, each in its own phase; 3 x the reference is 0.3 Å rms."""
    run = crystal(1, n_frames=1000)
    tetrahedron = np.concatenate([np.zeros(4, int), np.arange(4), np.repeat(np.arange(4), 4)])
    phase = 2 * np.pi * (np.arange(600)[:, None] / 300 + tetrahedron / 4)
    circle = 0.4 * np.stack([np.cos(phase), np.sin(phase), np.zeros_like(phase)], axis=-1)
    pos = run.pos.copy()
    pos[400:, Z != LI] += circle[:, Z != LI]
    failure = first_failure(changed(run, pos=pos), limits, T, LI)
    assert failure.cause == "melt"
    assert 400 < failure.frame < 800
    ratio = lindemann(changed(run, pos=pos), LI, limits.spacing, limits.window)
    assert ratio[380] < 3 * limits.lindemann < ratio.max()
    drifting = run.pos + np.linspace(0, 40, 1000)[:, None, None]
    assert first_failure(changed(run, pos=drifting), limits, T, LI) is None


@pytest.mark.parametrize("seed", [1, 2])
def test_wandering_is_the_distance_from_the_beginning(limits, seed):
    """Tetrahedra that leave their places for good, in a run 20 windows long: the window forgets it, `wander` does not."""
    run = crystal(seed, n_frames=2000, timestep=10.0)
    assert limits.window == pytest.approx(1000, rel=0.01)
    shift = np.zeros(run.pos.shape)
    unit = np.concatenate([np.zeros(4, int), np.arange(4), np.repeat(np.arange(4), 4)])
    direction = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])[unit]  # opposite in pairs: no drift of the framework
    shift[:, Z != LI] = 0.5 * np.linspace(0, 1, 2000)[:, None, None] * direction[Z != LI]
    slow = changed(run, pos=run.pos + shift)
    w, ratio = (f(slow, LI, limits.spacing, *rest) for f, rest in ((wander, (16,)), (lindemann, (limits.window,))))
    assert np.isnan(w[:69]).all() and np.isfinite(w[69:]).all()
    assert w[-1] * limits.spacing == pytest.approx(np.hypot(0.5, 0.06 * np.sqrt(3)), rel=0.1)
    assert ratio.max() < 1.3 * limits.lindemann
    failure = first_failure(slow, limits, T, LI)
    assert failure.cause == "melt" and "from its beginning" in failure.detail


def test_tetrahedra_may_turn_without_having_wandered(limits):
    """All tetrahedra turn by 120° within 1 ps: S trade places 3.3 Å apart, the centres stay."""
    run = crystal(1, n_frames=1000, timestep=10.0)
    axis = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
    angle = np.clip((np.arange(1000) - 300) / 100, 0, 1) * 2 * np.pi / 3
    legs = run.pos[:, 8:].reshape(1000, 4, 4, 3) - CENTRES[:, None]
    cos, sin = np.cos(angle)[:, None, None, None], np.sin(angle)[:, None, None, None]
    turned = legs * cos + np.cross(axis, legs) * sin + axis * (legs @ axis)[..., None] * (1 - cos)
    pos = run.pos.copy()
    pos[:, 8:] = (turned + CENTRES[:, None]).reshape(1000, 16, 3)
    assert np.nanmax(wander(changed(run, pos=pos), LI, limits.spacing, limits.rotating_z)) < 2 * limits.lindemann
    assert np.nanmax(wander(changed(run, pos=pos), LI, limits.spacing)) > 10 * limits.lindemann


def test_the_earliest_event_is_the_failure(limits):
    run = crystal(1)
    pos, forces = run.pos.copy(), run.forces.copy()
    pos[100:, 0] = pos[100:, 8] + 0.3
    forces[120:, 0] = 500.0
    failing = changed(run, pos=pos, forces=forces)
    assert first_failure(failing, limits, T, LI).cause == "fusion"
    forces[90] = 500.0
    assert first_failure(changed(run, pos=pos, forces=forces), limits, T, LI).cause == "runaway"


@pytest.mark.parametrize("seed", [0])
def test_diffusivity_before_a_failure_is_that_of_the_truncated_run(limits, seed):
    generator = np.random.default_rng(seed)
    run = crystal(1, n_frames=1000, timestep=10.0)
    pos = run.pos.copy()
    pos[:, :4] += np.cumsum(generator.normal(scale=0.09, size=(1000, 4, 3)), axis=0)
    truncated = changed(run, pos=pos)[:700]
    pos[700:] = generator.uniform(0, 8, size=(300, len(Z), 3))
    kept = before(changed(run, pos=pos), Failure(7000.0, 700, "fusion"))
    assert kept.n_frames == 700
    ours, theirs = diffusion(kept, LI), diffusion(truncated, LI)
    assert ours.diffusivity_cm2_per_s == theirs.diffusivity_cm2_per_s
    np.testing.assert_array_equal(ours.msd, theirs.msd)


def test_before_keeps_everything_or_nothing():
    run = crystal(1, n_frames=10)
    assert before(run, None) is run
    assert before(run, Failure(0.0, 0, "runaway")) is None


def test_what_cannot_be_judged_is_refused(limits):
    run = crystal(1, n_frames=20)
    with pytest.raises(TrajectoryError, match="unordered"):
        first_failure(run[np.array([3, 1, 2])], limits, T, LI)
    with pytest.raises(ValueError, match="no tetrahedra"):
        reference_thresholds(run, LI, ligand="Cl")
    apart = Trajectory(z=[3, 15, 16], pos=np.ones((9, 1, 3)) * [[0.0], [9.0], [20.0]], cell=70 * np.eye(3), time=range(9))
    with pytest.raises(ValueError, match="fewer than 4 ligands"):
        reference_thresholds(apart, LI)
    with pytest.raises(TrajectoryError, match="at least 3"):
        reference_thresholds(run[:2], LI)
