"""Force and energy errors: known slopes, known noise, and no number from a broken prediction."""

import numpy as np
import pytest

from grannfield.analysis.errors import energy_errors, force_errors

Z = np.array([3, 3, 15, 16, 16])


def forces(seed, n_frames=400):
    generator = np.random.default_rng(seed)
    return generator.normal(scale=2.0, size=(n_frames, len(Z), 3)), generator


@pytest.mark.parametrize("seed", [0])
def test_perfect_forces(seed):
    reference, _ = forces(seed)
    e = force_errors(reference, reference, Z)
    assert (e.r2.value, e.mae.value, e.rmse.value) == (1.0, 0.0, 0.0)
    assert e.slope.value == pytest.approx(1.0)
    assert e.cosine.value == pytest.approx(1.0)
    assert e.r2.n == len(reference)


@pytest.mark.parametrize("seed", [0])
def test_noise_and_softening_have_their_known_errors(seed):
    """p = 0.8 f + noise: SS_res/SS_tot = 0.2² + (s/2)², the slope is 0.8, and the mean error of noise s sqrt(2/pi)."""
    reference, generator = forces(seed, 2000)
    e = force_errors(0.8 * reference + generator.normal(scale=0.5, size=reference.shape), reference, Z)
    assert e.slope.value == pytest.approx(0.8, abs=0.01)
    assert e.r2.value == pytest.approx(1 - 0.04 - 0.0625, abs=0.005)
    assert e.rmse.value == pytest.approx(np.hypot(0.4, 0.5), rel=0.01)
    assert e.mae.value == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.4, 0.5), rel=0.01)
    assert e.r2.interval[0] - 5e-4 < 0.8975 < e.r2.interval[1] + 5e-4


@pytest.mark.parametrize("seed", [0])
def test_each_element_and_component_is_its_own(seed):
    reference, generator = forces(seed)
    predicted = reference.copy()
    predicted[:, Z == 15] = 0.0
    predicted[..., 2] += generator.normal(size=predicted.shape[:2])
    e = force_errors(predicted, reference, Z)
    assert set(e.r2_by_element) == {"Li", "P", "S"}
    assert set(e.r2_by_component) == {"x", "y", "z"}
    assert e.r2_by_element["P"].value < 0.1 < 0.8 < e.r2_by_element["S"].value
    assert e.r2_by_component["z"].value < e.r2_by_component["x"].value
    ss_res, ss_tot = ((predicted - reference) ** 2).sum(), ((reference - reference.mean()) ** 2).sum()
    assert e.r2.value == pytest.approx(1 - ss_res / ss_tot, abs=1e-12)
    assert e.mae_by_element["S"].value == pytest.approx(np.abs(predicted - reference)[:, Z == 16].mean(), abs=1e-12)


def correlated(seed, n_frames, rho, runs=2, n_atoms=8):
    """Forces and errors that forget as rho^t: true R² 1 - 0.1² - 0.4² for every run, the later runs larger."""
    generator = np.random.default_rng(seed)
    predicted, reference, origin = [], [], []
    for run in range(runs):
        noise = generator.normal(size=(n_frames, 2, n_atoms, 3))
        for t in range(1, n_frames):
            noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * noise[t]
        force, error = (1 + 0.3 * run) * noise[:, 0], 0.4 * (1 + 0.3 * run) * noise[:, 1]
        reference.append(force)
        predicted.append(0.9 * force + error)
        origin.append(np.stack([np.full(n_frames, run), 5 * np.arange(n_frames)], axis=1))
    return np.concatenate(predicted), np.concatenate(reference), np.concatenate(origin)


@pytest.mark.parametrize(("n_frames", "rho"), [(25, 0.5), (200, 0.9)])
def test_intervals_cover_as_they_say_although_frames_are_correlated(n_frames, rho):
    """300 synthetic tests: nominally 95% of the intervals of R² and of the slope hold the truth; 89% is all we grant.

    Frames counted as independent would give 72% for the longer correlation.
    """
    z, hits, narrow = np.array([3, 3, 3, 3, 16, 16, 16, 16]), np.zeros(2), 0
    for seed in range(300):
        predicted, reference, origin = correlated(seed, n_frames, rho)
        found = force_errors(predicted, reference, z, origin=origin)
        hits += [low <= truth <= high for (low, high), truth in ((found.r2.interval, 0.83), (found.slope.interval, 0.9))]
        if rho > 0.8:
            low, high = force_errors(predicted, reference, z).r2.interval
            narrow += low <= 0.83 <= high
    assert (hits / 300 > 0.89).all(), hits / 300
    assert rho < 0.8 or narrow / 300 < 0.8


@pytest.mark.parametrize("seed", [0])
def test_repeated_frames_do_not_narrow_the_interval(seed):
    """Each frame twenty times over, as if stored twenty times as often, says no more than once."""
    reference, generator = forces(seed, 40)
    predicted = reference + generator.normal(size=reference.shape)
    once = force_errors(predicted, reference, Z, origin=np.stack([np.zeros(40, int), 20 * np.arange(40)], axis=1))
    often = np.repeat(np.arange(40), 20)
    all_frames = np.stack([np.zeros(800, int), np.arange(800)], axis=1)
    repeated = force_errors(predicted[often], reference[often], Z, origin=all_frames)
    assert repeated.block >= 20
    assert np.ptp(repeated.r2.interval) > 0.7 * np.ptp(once.r2.interval)
    assert repeated.r2.value == pytest.approx(once.r2.value)


@pytest.mark.parametrize("seed", [0])
def test_errors_by_size_of_force(seed):
    """An error of 10% of each force is 10% in every bin; a constant one weighs on small forces only."""
    reference, _ = forces(seed)
    proportional = force_errors(1.1 * reference, reference, Z)
    assert len(proportional.by_magnitude) == 5 and sum(b.atoms for b in proportional.by_magnitude) == reference.size // 3
    assert [b.relative.value for b in proportional.by_magnitude] == pytest.approx([0.1] * 5)
    assert proportional.mae_large.value > 1.5 * proportional.mae.value
    constant = force_errors(reference + 0.5, reference, Z)
    relative = [b.relative.value for b in constant.by_magnitude]
    assert relative == sorted(relative, reverse=True) and relative[0] > 2 * relative[-1]
    assert [b.mae.value for b in constant.by_magnitude] == pytest.approx([0.5] * 5)
    size = np.linalg.norm(reference, axis=-1)
    for b in constant.by_magnitude:
        inside = (size >= b.low) & (size < b.high)
        assert b.atoms == inside.sum()
        assert b.relative.value == pytest.approx(np.sqrt(0.75 / (reference[inside] ** 2).sum(-1).mean()))


def test_stretches_of_time_are_those_of_the_frames_alone():
    """Two models are compared stretch by stretch: which frames make one must not depend on what was predicted."""
    predicted, reference, origin = correlated(0, 50, 0.9)
    one, other = (force_errors(p, reference, Z[[0, 1, 1, 1, 3, 3, 3, 3]], origin=origin) for p in (predicted, 0.5 * predicted))
    assert [(b.run, b.block, b.value.n) for b in one.by_time["r2"]] == [(b.run, b.block, b.value.n) for b in other.by_time["r2"]]
    assert len(one.by_time["r2"]) == 12
    first = slice(0, one.by_time["r2"][0].value.n)
    alone = force_errors(predicted[first], reference[first], Z[[0, 1, 1, 1, 3, 3, 3, 3]])
    assert one.by_time["r2"][0].value.value == pytest.approx(alone.r2.value)
    assert one.by_time["mae_large"][0].value.value > 0


def test_hot_frames_above_cold_ones_are_no_merit_within_runs():
    """Energies that only know the temperature: a high rank over all frames, none within the runs."""
    generator = np.random.default_rng(0)
    run = np.repeat([0, 1], 200)
    reference = 5.0 * run + generator.normal(size=400)
    guess = 5.0 * run + generator.normal(size=400)
    found = energy_errors(guess, reference, 32, origin=np.stack([run, np.tile(np.arange(200), 2)], axis=1))
    assert found.spearman.value > 0.7
    assert found.spearman_within_runs.interval[0] < 0 < found.spearman_within_runs.interval[1]
    assert len(found.by_time["spearman"]) == 12


def test_zero_prediction_points_nowhere():
    reference, _ = forces(0, 20)
    e = force_errors(np.zeros_like(reference), reference, Z)
    assert e.cosine.value == 0.0
    assert e.slope.value == 0.0


def test_constant_reference_has_no_r2():
    e = force_errors(np.ones((5, 5, 3)), np.full((5, 5, 3), 0.1), Z)
    assert e.r2.reason == "undefined"
    assert e.mae.value == pytest.approx(0.9)


def test_non_finite_prediction_names_its_frame():
    reference, _ = forces(0, 20)
    predicted = reference.copy()
    predicted[7, 2, 1] = np.nan
    with pytest.raises(ValueError, match="frame 7"):
        force_errors(predicted, reference, Z)
    with pytest.raises(ValueError, match="should be"):
        force_errors(reference[:5], reference, Z)
    with pytest.raises(ValueError, match=r"origin \(3,\)"):
        force_errors(reference, reference, Z, origin=np.arange(3))
    with pytest.raises(ValueError, match="frame 1"):
        energy_errors([0.0, np.inf], [0.0, 1.0], 2)


@pytest.mark.parametrize("seed", [0])
def test_energy_offset_is_seen_and_removed(seed):
    reference = np.random.default_rng(seed).normal(-200.0, 0.5, size=300)
    e = energy_errors(reference + 5.0, reference, n_atoms=50)
    assert e.mae_per_atom.value == pytest.approx(0.1)
    assert e.mae_per_atom_shifted.value == pytest.approx(0.0, abs=1e-12)
    assert e.r2.value < -50
    assert e.spearman.value == pytest.approx(1.0)
    assert energy_errors(-reference, reference, 50).spearman.value == pytest.approx(-1.0)


def test_constant_energies_have_neither_r2_nor_rank():
    e = energy_errors([1.0, 2.0, 3.0], [-200.1, -200.1, -200.1], 2)
    assert e.r2.reason == "undefined"
    assert e.spearman.reason == "undefined"
    assert e.mae_per_atom_shifted.value > 0
