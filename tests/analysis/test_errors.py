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
    assert e.r2.interval[0] < 0.8975 < e.r2.interval[1]


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


@pytest.mark.parametrize("seed", [0])
def test_correlated_frames_widen_the_interval(seed):
    reference, generator = forces(seed, 40)
    reference = np.repeat(reference, 20, axis=0)
    predicted = reference + np.repeat(generator.normal(size=(40, len(Z), 3)), 20, axis=0)
    width = {block: np.ptp(force_errors(predicted, reference, Z, block=block).r2.interval) for block in (1, 40)}
    assert width[40] > 2.5 * width[1]


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
