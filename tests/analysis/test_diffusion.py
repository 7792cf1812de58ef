"""Diffusivity: a random walk gives back its D, drift does not count, and what is not seen is not a number."""

import numpy as np
import pytest

from grannfield.analysis.diffusion import (
    diffusion,
    framework_drift,
    mobile_displacements,
    msd_all_origins,
    msd_single_origin,
)
from grannfield.trajectory import Trajectory, TrajectoryError

LI = 3


def walk(seed, n_ions=12, n_frames=351, timestep=20.0, d_cm2_per_s=5e-5, drift=0.0, n_frame_atoms=8, cell=None):
    """Ions on a random walk of known D beside framework atoms at rest."""
    generator = np.random.default_rng(seed)
    d = np.broadcast_to(d_cm2_per_s, 3) / 0.1
    ions = np.cumsum(generator.normal(size=(n_frames, n_ions, 3)) * np.sqrt(2 * d * timestep), axis=0)
    fixed = np.tile(generator.uniform(0, 9, size=(1, n_frame_atoms, 3)), (n_frames, 1, 1))
    pos = np.concatenate([ions, fixed], axis=1) + drift * np.arange(n_frames)[:, None, None]
    z = np.array([LI] * n_ions + [16] * n_frame_atoms)
    cell = 9.0 * np.eye(3) if cell is None else cell
    return Trajectory(z=z, pos=pos, cell=cell, time=timestep * np.arange(n_frames))


def caged(seed, width, n_ions=12, n_frames=351, timestep=20.0):
    run = walk(seed, n_ions, n_frames, timestep, 0.0)
    noise = np.random.default_rng(seed).normal(scale=width, size=(n_frames, n_ions, 3))
    pos = run.pos.copy()
    pos[:, :n_ions] += noise
    return Trajectory(z=run.z, pos=pos, cell=run.cell, time=run.time)


@pytest.mark.parametrize("seed", [0])
def test_msd_by_fft_is_the_plain_double_loop(seed):
    x = np.random.default_rng(seed).normal(size=(40, 3, 3)).cumsum(axis=0) + 1e3
    plain = np.array([((x[m:] - x[: len(x) - m]) ** 2).mean(axis=0) for m in range(len(x))])
    np.testing.assert_allclose(msd_all_origins(x), plain, atol=1e-9)
    np.testing.assert_allclose(msd_single_origin(x), (x - x[0]) ** 2)


@pytest.mark.parametrize("seed", [0])
def test_a_random_walk_gives_back_its_diffusivity(seed):
    result = diffusion(walk(seed, n_ions=200, n_frames=1001), LI)
    for found in (result.diffusivity_cm2_per_s, result.single_origin_cm2_per_s, *result.along_cm2_per_s.values()):
        assert found.value == pytest.approx(5e-5, rel=0.2)
        assert found.interval[0] < 5e-5 < found.interval[1]
        assert found.n == 200
    assert result.diffusivity_cm2_per_s.value == pytest.approx(5e-5, rel=0.1)
    assert result.msd[100] == pytest.approx(6 * 5e-4 * 2000, rel=0.1)


@pytest.mark.parametrize("seed", [100])
def test_the_interval_of_random_walks_holds_the_truth(seed):
    held = []
    for k in range(100):
        low, high = diffusion(walk(seed + k), LI).diffusivity_cm2_per_s.interval
        held.append(low < 5e-5 < high)
    assert np.mean(held) >= 0.88


@pytest.mark.parametrize("seed", [0])
def test_ions_that_move_together_count_once(seed):
    """Copies of one walk carry no more information than the walk: the interval must not shrink with sqrt(n)."""
    one = walk(seed, n_ions=1, n_frames=1001)
    pos = np.concatenate([np.repeat(one.pos[:, :1], 16, axis=1), one.pos[:, 1:]], axis=1)
    pos[:, :16] += np.random.default_rng(seed).normal(scale=0.05, size=(1001, 16, 3))
    together = Trajectory(z=[LI] * 16 + [16] * 8, pos=pos, cell=one.cell, time=one.time)
    low, high = diffusion(together, LI).diffusivity_cm2_per_s.interval
    assert np.log(high / low) > 0.8


@pytest.mark.parametrize("seed", [0])
def test_drift_of_the_framework_does_not_diffuse(seed):
    still, moving = (diffusion(walk(seed, drift=drift), LI) for drift in (0.0, 0.05))
    assert moving.diffusivity_cm2_per_s.value == pytest.approx(still.diffusivity_cm2_per_s.value, rel=1e-9)
    np.testing.assert_allclose(moving.drift[-1], 0.05 * 350)
    np.testing.assert_allclose(still.drift, 0.0)


@pytest.mark.parametrize("seed", [0])
def test_without_a_framework_nothing_is_removed(seed):
    run = walk(seed, n_frame_atoms=0)
    assert not framework_drift(run, LI).any()
    np.testing.assert_allclose(mobile_displacements(run, LI), run.pos - run.pos[0])
    assert diffusion(run, LI).diffusivity_cm2_per_s.value > 0


@pytest.mark.parametrize("seed", [0])
def test_each_lattice_direction_has_its_own_diffusivity(seed):
    cell = np.array([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [12.0, 0.0, 0.0]])  # a along y, b along z, c along x
    result = diffusion(walk(seed, 300, d_cm2_per_s=np.array([9e-5, 1e-5, 3e-5]), cell=cell), LI)
    found = [result.along_cm2_per_s[axis].value for axis in "abc"]
    assert found == pytest.approx([1e-5, 3e-5, 9e-5], rel=0.3)
    assert result.diffusivity_cm2_per_s.value == pytest.approx(np.mean(found), rel=1e-6)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("width", [0.0, 0.2, 0.5])
def test_vibration_in_a_cage_is_an_upper_bound(seed, width):
    result = diffusion(caged(seed, width), LI)
    for found in (result.diffusivity_cm2_per_s, result.single_origin_cm2_per_s):
        assert found.reason == "below detection"
        assert np.isnan(found.value)
        assert found.interval[0] == 0.0
        assert 5e-6 < found.interval[1] < 3e-5


def test_a_short_production_gives_no_number():
    found = diffusion(walk(0, n_frames=200), LI).diffusivity_cm2_per_s
    assert found.reason == "too short"
    assert "4.0 ps" in found.detail
    assert diffusion(walk(0, n_frames=1), LI).diffusivity_cm2_per_s.reason == "too short"


def test_what_has_no_diffusion_is_refused():
    run = walk(0)
    with pytest.raises(TrajectoryError, match="atomic number 11"):
        diffusion(run, 11)
    with pytest.raises(TrajectoryError, match="unordered"):
        diffusion(run[np.array([2, 1, 0])], LI)
    with pytest.raises(TrajectoryError, match="more often"):
        diffusion(walk(0, n_frames=4, timestep=3000.0), LI)


@pytest.mark.parametrize("seed", [0])
def test_single_origin_is_what_pymatgen_calls_unsmoothed(seed):
    analyzer = pytest.importorskip("pymatgen.analysis.diffusion.analyzer")
    run = walk(seed, drift=0.01)
    result = diffusion(run, LI)
    theirs, _ = analyzer.get_diffusivity_from_msd(result.msd_single_origin, result.lag, smoothed=False)
    assert result.single_origin_cm2_per_s.value == pytest.approx(theirs, rel=1e-9)
