"""g(r): exact beyond half the cell, blind to the choice of cell, and a verdict that follows its definition."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from grannfield.analysis.rdf import (
    FRAME_INTERVAL,
    distance_from_reference,
    half_floor,
    radial_distribution,
    rdf_mae,
    rdf_wasserstein,
)
from grannfield.analysis.thresholds import covalent_bond
from grannfield.analysis.verdict import close_pairs, exchange_test, shell_changes, shell_end, significance, verdict
from grannfield.data.material import load_material, materials
from grannfield.trajectory import Trajectory

CUBIC = 4.37 * np.eye(3)  # no image on the edge of a bin, where the plain histogram goes by rounding
SKEWED = np.array([[4.4, 0.0, 0.0], [2.1, 3.9, 0.0], [-1.3, 1.7, 4.1]])
VERY_SKEWED = np.array([[4.4, 0.0, 0.0], [6.0, 4.3, 0.0], [-5.0, 7.1, 4.2]])
Z = np.array([3, 3, 15, 16])


def fluid(seed, cell, n_frames=4, z=Z, interval=FRAME_INTERVAL, breathing=0.0):
    generator = np.random.default_rng(seed)
    cells = cell * (1 + breathing * generator.uniform(-1, 1, size=(n_frames, 1, 1)))
    pos = generator.uniform(-2, 3, size=(n_frames, len(z), 3)) @ cells
    return Trajectory(z=z, pos=pos, cell=cells, time=interval * np.arange(n_frames))


def replica(trajectory, n=2):
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    pos = np.concatenate([trajectory.pos + (shift @ trajectory.cell)[:, None] for shift in shifts], axis=1)
    return Trajectory(z=np.tile(trajectory.z, n**3), pos=pos, cell=n * trajectory.cell, time=trajectory.time)


def plain_g(trajectory, pair, r_max=6.0, n_bins=60, reach=5):
    """Counts over many images, atom by atom."""
    n = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1).reshape(-1, 3)
    edges = np.linspace(0, r_max, n_bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    a, b = (np.flatnonzero(trajectory.z == x) if x else np.arange(trajectory.n_atoms) for x in pair)
    total = np.zeros(n_bins)
    for pos, cell in zip(trajectory.pos, trajectory.cell, strict=True):
        pos = (pos @ np.linalg.inv(cell) % 1.0) @ cell
        d = np.linalg.norm(pos[b][None, :, None] + shifts @ cell - pos[a][:, None, None], axis=-1).ravel()
        total += np.histogram(d[d > 1e-9], edges)[0] * abs(np.linalg.det(cell)) / (shell * len(a) * len(b))
    return total / trajectory.n_frames


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cell", [CUBIC, SKEWED], ids=["cubic", "skewed"])
@pytest.mark.parametrize("breathing", [0.0, 0.05])
def test_matches_the_plain_sum_over_images(seed, cell, breathing):
    trajectory = fluid(seed, cell, breathing=breathing)
    g = radial_distribution(trajectory)
    np.testing.assert_allclose(g.mean(), plain_g(trajectory, (0, 0)), atol=1e-10)
    for pair in [(3, 3), (3, 16), (15, 15), (15, 16)]:
        np.testing.assert_allclose(g.mean(pair), plain_g(trajectory, pair), atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("breathing", [0.0, 0.05], ids=["constant", "changing"])
@pytest.mark.parametrize("cell", [CUBIC, SKEWED, VERY_SKEWED], ids=["cubic", "skewed", "very skewed"])
def test_a_cell_and_its_replica_agree_to_12_angstrom(seed, cell, breathing):
    """r_max is nearly three times the cell, six times half of it; total and every pair, frame by frame."""
    trajectory = fluid(seed, cell, n_frames=2, breathing=breathing)
    small, large = radial_distribution(trajectory, r_max=12.0), radial_distribution(replica(trajectory), r_max=12.0)
    assert set(small.frames) == set(large.frames) and len(small.frames) == 7
    for pair in small.frames:
        assert small.frames[pair].max() > 0
        np.testing.assert_allclose(small.frames[pair], large.frames[pair], atol=1e-10)


@pytest.mark.parametrize("formula", materials())
def test_references_and_their_replicas_agree_to_12_angstrom(formula):
    """Frames of the shipped runs: cells of 6 to 14 Å, every pair."""
    material = load_material(formula)
    run = material.trajectory(material.reference("").runs[0])[::400]
    small, large = radial_distribution(run, r_max=12.0), radial_distribution(replica(run), r_max=12.0)
    for pair in small.frames:
        np.testing.assert_allclose(small.frames[pair], large.frames[pair], atol=1e-10)


@pytest.mark.parametrize("formula", materials())
def test_agrees_with_a_neighbour_list_of_another_library(formula):
    """ASE's neighbour list up to 12 Å on the shipped structure and on a hot frame."""
    neighborlist, ase = pytest.importorskip("ase.neighborlist"), pytest.importorskip("ase")
    material = load_material(formula)
    hot = material.trajectory(material.reference("").runs[-1])
    edges = np.linspace(0, 12, 121)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    for pos, cell in [(material.structure.pos, material.structure.cell), (hot.pos[-1], hot.cell[-1])]:
        pos = pos + 1e-4 * np.random.default_rng(0).normal(size=pos.shape)  # off the edges of bins, where rounding decides
        atoms = ase.Atoms(numbers=hot.z, positions=pos, cell=cell, pbc=True)
        i, j, d = neighborlist.neighbor_list("ijd", atoms, 12.0)
        g = radial_distribution(Trajectory(z=hot.z, pos=pos[None], cell=cell, time=[0.0]), r_max=12.0)
        density = len(hot.z) / atoms.get_volume()
        np.testing.assert_allclose(g.mean(), np.histogram(d, edges)[0] / (len(hot.z) * density * shell), atol=1e-10)
        for a, b in g.pairs:
            chosen = (hot.z[i] == a) & (hot.z[j] == b)
            expected = np.histogram(d[chosen], edges)[0] / ((hot.z == a).sum() * (hot.z == b).sum() / atoms.get_volume() * shell)
            np.testing.assert_allclose(g.mean((a, b)), expected, atol=1e-10)


def test_agrees_with_pymatgen_within_its_bins():
    """pymatgen-analysis-diffusion smears every pair with a Gaussian; so smeared, ours is the same curve."""
    aimd, core = pytest.importorskip("pymatgen.analysis.diffusion.aimd.rdf"), pytest.importorskip("pymatgen.core")
    material = load_material("Li3PS4")
    start = material.structure
    structure = core.Structure(start.cell, [int(z) for z in start.z], start.pos, coords_are_cartesian=True)
    sulfur, lithium = ([k for k, z in enumerate(start.z) if z == n] for n in (16, 3))
    theirs = aimd.RadialDistributionFunction(
        [structure], indices=lithium, reference_indices=sulfur, ngrid=101, rmax=10.0, cell_range=2, sigma=0.2
    )
    run = Trajectory(z=start.z, pos=start.pos[None], cell=start.cell, time=[0.0])
    ours = radial_distribution(run, r_max=10.0)
    grid, width = np.asarray(theirs.interval), 0.2
    weight = np.exp(-((grid[:, None] - ours.r) ** 2) / (2 * width**2)) * 0.1 / np.sqrt(2 * np.pi * width**2)
    smeared = weight @ (ours.mean((3, 16)) * ours.r**2) / np.maximum(grid, 0.1) ** 2
    inside = (grid > 1.5) & (grid < 9.0)
    assert np.abs(np.asarray(theirs.rdf)[inside] - smeared[inside]).mean() < 0.1


def test_lattice_distances_on_a_bin_edge_stay_together():
    """Images of one atom at exactly 3.0 Å: rounding must not spread them over two bins."""
    one = Trajectory(z=[3], pos=np.full((1, 1, 3), 0.3), cell=3.0 * np.eye(3), time=[0.0])
    g_small, g_large = radial_distribution(one).mean(), radial_distribution(replica(one, 3)).mean()
    np.testing.assert_allclose(g_small, g_large, atol=1e-10)
    assert g_small[29] == 0
    assert g_small[30] > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_ideal_gas_is_one_within_its_error(seed):
    """Unlike pairs: 1 in every bin to 10 Å, in a cell of 9 Å, with the scatter of counted independent pairs."""
    n, frames, cell = 25, 300, np.array([[9.0, 0, 0], [3.0, 8.5, 0], [-2.0, 2.5, 8.0]])
    gas = fluid(seed, cell, n_frames=frames, z=np.repeat([3, 16], n))
    g = radial_distribution(gas, r_max=10.0)
    shell = 4 / 3 * np.pi * np.diff(np.linspace(0, 10, 101) ** 3)
    counted = frames * n * n / np.linalg.det(cell) * shell
    deviation = (g.mean((3, 16)) - 1) * np.sqrt(counted)
    assert abs(deviation).max() < 4.5
    near = g.r < 4.0  # where two bins never hold the same pair twice
    assert 0.5 < (deviation[near] ** 2).mean() < 1.6
    alike = g.mean((3, 3))[(g.r < 8.0) & (g.r > 1.0)]  # below the shortest lattice vector, where images of the atom begin
    assert alike.mean() == pytest.approx((n - 1) / n, abs=0.02)


def test_total_is_the_weighted_sum_of_the_pairs():
    g = radial_distribution(fluid(0, SKEWED))
    share = {int(a): (a == Z).mean() for a in np.unique(Z)}
    total = sum(share[a] * share[b] * (1 if a == b else 2) * g.mean((a, b)) for a, b in g.pairs)
    np.testing.assert_allclose(g.mean(), total, atol=1e-10)


def shaken(seed, n_frames, width=0.15, cell=6.4):
    generator = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * cell / 2
    z = np.array([3, 16] * 4)
    pos = sites + generator.normal(scale=width, size=(n_frames, 8, 3))
    return Trajectory(z=z, pos=pos, cell=cell * np.eye(3), time=FRAME_INTERVAL * np.arange(n_frames))


def peaks(shift=0.0, extra=0.0):
    """g(r) of two sharp shells, the first pushed out by `shift`, or shaken by `extra`; in 0.1 Å bins to 6 Å."""
    r = np.arange(0.0005, 6.0, 0.001)
    mass = 4 * np.exp(-((r - 2.0 - shift) ** 2) / (2 * (0.05**2 + extra**2))) / np.sqrt(0.05**2 + extra**2)
    mass = mass + 12 * np.exp(-((r - 4.0) ** 2) / (2 * 0.1**2)) / 0.1
    shells = np.diff(np.linspace(0, 6, 61) ** 3)
    return mass.reshape(60, 100).sum(axis=1) / shells * 0.4


def test_wasserstein_grows_on_where_the_mae_has_stopped():
    shifts = np.arange(0.0, 3.01, 0.05)
    w = np.array([rdf_wasserstein(peaks(s), peaks()) for s in shifts])
    mae = np.array([rdf_mae(peaks(s), peaks()) for s in shifts])
    assert w[0] == 0 and (np.diff(w) > 0).all()
    np.testing.assert_allclose(w / w[-1], shifts / shifts[-1], atol=0.01)  # proportional to the shift, through the other peak
    assert shifts[mae.argmax()] < 0.5 and mae[-1] < 0.7 * mae.max()  # 3 Å away it looks better than 0.3 Å away
    gone = rdf_wasserstein(peaks(3.9), peaks())  # at the edge
    assert rdf_wasserstein(peaks(6.0), peaks()) == pytest.approx(gone, rel=0.05)  # beyond it: moved there, not lost


@pytest.mark.parametrize("seed", range(5))
def test_wasserstein_is_a_distance(seed):
    a, b, c = np.random.default_rng(seed).uniform(0, 3, size=(3, 60))
    w = rdf_wasserstein
    assert w(a, a) == 0 and w(a, b) == w(b, a) > 0
    assert w(a, c) <= w(a, b) + w(b, c) + 1e-12
    weight = np.diff(np.arange(61.0) ** 3)
    a, b = (g * (weight.sum() / (g * weight).sum()) for g in (a, b))  # as many pairs in both: the textbook's distance
    r = np.arange(0.05, 6.0, 0.1)
    assert w(a, b) == pytest.approx(wasserstein_distance(r, r, a * weight, b * weight), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_wasserstein_grows_with_noise_and_with_a_shift_of_atoms(seed):
    generator = np.random.default_rng(seed)
    still = shaken(seed, 60, width=0.05)
    noise, direction = generator.normal(size=still.pos.shape), np.where(still.z == 3, 1.0, 0.0)[:, None] * [1.0, 0.5, 0.25]
    change = lambda pos: radial_distribution(Trajectory(z=still.z, pos=pos, cell=still.cell, time=still.time))  # noqa: E731
    g = radial_distribution(still).mean()
    noisy = [rdf_wasserstein(change(still.pos + s * noise).mean(), g) for s in (0.0, 0.05, 0.1, 0.2, 0.3, 0.45)]
    moved = [rdf_wasserstein(change(still.pos + s * direction).mean(), g) for s in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)]
    assert noisy[0] == moved[0] == 0
    assert (np.diff(noisy) > 0).all() and (np.diff(moved) > 0).all()


@pytest.mark.parametrize("distance", [rdf_mae, rdf_wasserstein])
def test_interval_covers_what_many_runs_give(distance):
    """n = 100 runs against one reference; nominal 95%."""
    reference = radial_distribution(shaken(999, 200))
    found = [distance_from_reference(radial_distribution(shaken(s, 80)), reference, distance=distance) for s in range(100)]
    truth = np.mean([e.value for e in found])
    covered = sum(e.interval[0] <= truth <= e.interval[1] for e in found)
    assert covered >= 88
    assert np.mean([e.interval[1] - e.interval[0] for e in found]) < 8 * np.std([e.value for e in found])


@pytest.mark.parametrize("seed", [0])
def test_a_run_like_its_reference_is_stable_and_a_strained_one_is_not(seed):
    reference = radial_distribution(shaken(seed, 300))
    for other, label in [(shaken(seed + 1, 100), "stable"), (shaken(seed + 1, 100, cell=6.8), "lattice mismatch")]:
        scored = radial_distribution(other)
        mae, floor = distance_from_reference(scored, reference), half_floor(reference, scored.n_frames)
        found = verdict(mae.value, floor.value, False, scored, reference)
        assert found.label == label
        assert found.threshold == max(0.02, 1.5 * floor.value)
        assert mae.interval[0] <= mae.value <= mae.interval[1]
        assert mae.n == 100
    assert verdict(mae.value, floor.value, True, scored, reference).label == "fusion"


@pytest.mark.parametrize("seed", [0])
def test_atoms_in_each_other_are_fusion_without_an_event(seed):
    reference, other = shaken(seed, 100), shaken(seed + 1, 100, cell=6.8)
    pos = other.pos.copy()
    pos[40, 0] = pos[40, 1] + [0.5, 0.0, 0.0]
    fused = Trajectory(z=other.z, pos=pos, cell=other.cell, time=other.time)
    g, g_ref = radial_distribution(fused), radial_distribution(reference)
    near = close_pairs(g, g_ref)[0]
    assert near.pair == (3, 16) and near.distance == pytest.approx(0.55) and near.since == 40 * FRAME_INTERVAL
    found = verdict(1.0, 0.01, False, g, g_ref)
    assert found.label == "fusion"
    assert "Li-S at 0.55 Å" in found.detail and "since 0.80 ps" in found.detail
    with pytest.raises(ValueError, match="two numbers"):
        verdict(np.nan, 0.01, False, g, g_ref)


@pytest.mark.parametrize("seed", [0])
def test_the_floor_rises_for_shorter_runs(seed):
    reference = radial_distribution(shaken(seed, 400))
    halves, short = half_floor(reference, 400), half_floor(reference, 25)
    assert halves.n == 2
    assert short.n == 12
    frames = reference.frames[None]
    assert halves.value == pytest.approx(rdf_mae(frames[:200].mean(axis=0), frames[200:].mean(axis=0)))
    assert short.value == pytest.approx(halves.value * np.sqrt(200 / 25), rel=0.25)


def test_the_papers_verdict_stands_beside_ours():
    g = radial_distribution(shaken(0, 50))
    ours = verdict(0.025, 0.018, False, g, g)
    assert (ours.label, ours.paper, ours.threshold) == ("stable", "lattice mismatch", pytest.approx(0.027))
    assert verdict(0.019, 0.018, False, g, g).paper == "stable"
    assert verdict(0.05, 0.018, True, g, g).paper == verdict(0.05, 0.018, True, g, g).label == "fusion"


def test_pairs_far_apart_in_the_reference_are_fused_by_a_bond_length():
    """Two Ge that keep 5.5 Å apart and come to 4 Å have not fused: 0.75 x 5.5 Å is 4.1 Å."""

    def two(distance):
        pos = np.tile([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], (30, 1, 1))
        return radial_distribution(Trajectory(z=[32, 32], pos=pos, cell=20 * np.eye(3), time=20.0 * np.arange(30)))

    reference = two(5.55)
    assert not close_pairs(two(4.05), reference)
    assert close_pairs(two(2.05), reference)[0].limit == pytest.approx(covalent_bond(32, 32)) == pytest.approx(2.4)


def test_evidence_says_which_shell_moved_and_how_far():
    """Li and S in layers 3.2 Å apart, each with 2 of the other kind next to it; the strain opens that by 0.2 Å."""
    reference = shaken(0, 200, width=0.08)
    strained = shaken(1, 200, width=0.08, cell=6.4 * 1.0625)
    changes = shell_changes(radial_distribution(strained), radial_distribution(reference))
    found = next(one for one in changes if one.pair == (3, 16))
    assert found.neighbours == pytest.approx(2, abs=0.1) and found.distance == pytest.approx(3.2, abs=0.05)
    assert found.shift == pytest.approx(0.2, abs=0.03) and abs(found.broadening) < 0.02
    assert "Li-S: shell +0.2" in found.text
    hotter = shell_changes(radial_distribution(shaken(1, 200, width=0.2)), radial_distribution(reference))
    wide = next(one for one in hotter if one.pair == (3, 16))
    assert wide.broadening > 0.1 and abs(wide.shift) < 0.05
    same = shell_changes(radial_distribution(shaken(2, 200, width=0.08)), radial_distribution(reference))
    assert all(abs(one.shift) < 0.02 and abs(one.broadening) < 0.02 and abs(one.change) < 0.1 for one in same)
    assert changes[0].wasserstein - changes[0].floor == max(one.wasserstein - one.floor for one in changes)


def test_a_shell_needs_a_peak_that_ends():
    assert shell_end(np.zeros(60)) is None
    assert shell_end(np.linspace(0, 3, 60)) is None
    with pytest.raises(ValueError, match="no g"):
        distance_from_reference(radial_distribution(fluid(0, CUBIC)), radial_distribution(fluid(1, CUBIC)), (3, 32))


def test_exchange_calls_equal_runs_different_in_at_most_5_percent():
    """n = 60 pairs of equal processes: false alarms 5% by construction, 15% with the binomial error of n at 3 sigma."""
    p = [exchange_test([([radial_distribution(shaken(s, 400)[::4])], radial_distribution(shaken(10_000 + s, 400)[::4]))],
                       n_exchanges=100, seed=s) for s in range(60)]  # fmt: skip
    assert np.mean(np.array(p) <= 0.05) <= 0.135
    assert 0.35 < np.mean(p) < 0.65
    broad = radial_distribution(shaken(0, 400, width=0.25))
    assert exchange_test([([broad], radial_distribution(shaken(1, 400)))], seed=0) < 0.01
    assert exchange_test([([radial_distribution(shaken(0, 60))], radial_distribution(shaken(1, 400)))]) == 1.0, "too short"


def test_verdict_by_test():
    reference = radial_distribution(shaken(0, 1600))
    labels = {}
    for name, other in [("same", shaken(1, 400)), ("loose", shaken(1, 400, width=0.3)), ("short", shaken(1, 40, width=0.2))]:
        scored = radial_distribution(other)
        mae, floor = distance_from_reference(scored, reference), half_floor(reference, scored.n_frames)
        labels[name] = significance(mae, floor, [([scored], reference)])
    assert labels["same"].comparison.label == "indistinguishable" and labels["same"].p > 0.05
    assert labels["loose"].comparison.label == "different" and labels["loose"].p < 0.01
    assert labels["short"].comparison.label == "undecided" and labels["short"].p == 1


def test_unlike_bins_are_refused():
    with pytest.raises(ValueError, match="same r_max"):
        rdf_mae(np.zeros(60), np.zeros(30))
    with pytest.raises(ValueError, match="multiple"):
        radial_distribution(fluid(0, CUBIC), r_max=6.05)
