"""Conductivity: a known Arrhenius law comes back, agrees with pymatgen, and three points promise little."""

import numpy as np
import pytest

from grannfield.analysis.conductivity import arrhenius, conductivity, nernst_einstein
from grannfield.analysis.uncertainty import Estimate
from grannfield.units import BOLTZMANN

D0, EA = 1e-3, 0.25
TEMPERATURES = np.array([600.0, 800.0, 1000.0, 1200.0])


def law(temperature):
    return D0 * np.exp(-EA / (BOLTZMANN * np.asarray(temperature)))


def measured(values, spread=0.05):
    return [Estimate(v, (v * np.exp(-spread), v * np.exp(spread)), 20) for v in values]


def test_an_exact_law_comes_back():
    result = conductivity(TEMPERATURES, measured(law(TEMPERATURES)), 20, 984.7)
    assert result.activation_energy.value == pytest.approx(EA, rel=1e-9)
    assert result.diffusivity_cm2_per_s.value == pytest.approx(law(300.0), rel=1e-9)
    sigma = nernst_einstein(law(300.0), 20, 984.7, 300.0)
    assert result.sigma_mS_per_cm.value == pytest.approx(sigma, rel=1e-9)
    assert result.minus_log10_sigma.value == pytest.approx(-np.log10(sigma), rel=1e-9)
    low, high = result.minus_log10_sigma.interval
    assert 10**-high == pytest.approx(result.sigma_mS_per_cm.interval[0])
    assert low < result.minus_log10_sigma.value < high
    assert result.minus_log10_sigma.n == 4


def test_agrees_with_pymatgen_at_the_new_temperature():
    analyzer = pytest.importorskip("pymatgen.analysis.diffusion.analyzer")
    from pymatgen.core import Structure

    generator = np.random.default_rng(0)
    structure = Structure(9.0 * np.eye(3), ["Li"] * 5 + ["S"] * 3, generator.random((8, 3)))
    values = law(TEMPERATURES) * np.exp(generator.normal(scale=0.2, size=4))
    theirs = analyzer.get_extrapolated_conductivity(TEMPERATURES, values, 300.0, structure, "Li")
    ours = conductivity(TEMPERATURES, measured(values), 5, 729.0)
    assert ours.sigma_mS_per_cm.value == pytest.approx(theirs, rel=1e-4)


def test_conductivity_of_a_wire_of_charges():
    """Twice the charge carries four times the current; twice the volume half of it."""
    base = nernst_einstein(1e-7, 10, 500.0, 300.0)
    assert nernst_einstein(1e-7, 10, 500.0, 300.0, charge=2) == pytest.approx(4 * base)
    assert nernst_einstein(1e-7, 10, 1000.0, 300.0) == pytest.approx(base / 2)


def test_two_temperatures_are_not_a_line():
    estimates = [*measured(law(TEMPERATURES[2:])), Estimate.missing("below detection", interval=(0.0, 1e-6))]
    result = conductivity(np.array([1000.0, 1200.0, 600.0]), estimates, 20, 984.7)
    for found in (result.sigma_mS_per_cm, result.minus_log10_sigma, result.activation_energy):
        assert found.reason == "fewer than 3 usable temperatures"
        assert "600 K below detection" in found.detail
    repeated = conductivity(np.array([1000.0, 1000.0, 1200.0]), measured(law([1000, 1000, 1200])), 20, 984.7)
    assert repeated.sigma_mS_per_cm.reason == "fewer than 3 usable temperatures"
    with pytest.raises(ValueError, match="3 different temperatures"):
        arrhenius(TEMPERATURES[:2], measured(law(TEMPERATURES[:2])))


def test_where_nothing_moves_the_cold_bounds_the_conductivity():
    """D falls on cooling: sigma(300 K) is below what the smallest upper end gives, and never a wild number."""
    still = [Estimate.missing("below detection", interval=(0.0, bound)) for bound in (2e-6, 5e-6, 4e-6, 9e-6)]
    result = conductivity(TEMPERATURES, still, 20, 984.7)
    assert result.minus_log10_sigma.reason == "fewer than 3 usable temperatures"
    assert result.diffusivity_cm2_per_s.interval == (0.0, 2e-6)
    sigma = nernst_einstein(2e-6, 20, 984.7, 300.0)
    assert result.sigma_mS_per_cm.interval == (0.0, pytest.approx(sigma))
    assert result.minus_log10_sigma.interval == (pytest.approx(-np.log10(sigma)), np.inf)
    assert result.activation_energy.interval == (-np.inf, np.inf)


def test_a_point_weighs_by_its_own_error():
    """The vague point is far off the line; the line does not follow it."""
    values = law(TEMPERATURES) * np.array([8.0, 1.0, 1.0, 1.0])
    vague = [*measured(values[:1], spread=2.5), *measured(values[1:], spread=0.05)]
    found = conductivity(TEMPERATURES, vague, 20, 984.7)
    assert found.activation_energy.value == pytest.approx(EA, abs=0.005)
    assert found.line.straight


def test_points_off_a_line_speak_by_their_scatter():
    bent = law(TEMPERATURES) * np.array([1.0, 1.5, 1.0, 0.6])
    on, off = (conductivity(TEMPERATURES, measured(v), 20, 984.7) for v in (law(TEMPERATURES), bent))
    assert on.line.straight and not off.line.straight
    assert "scatter" in off.activation_energy.note
    width = lambda e: e.interval[1] - e.interval[0]  # noqa: E731
    assert width(off.activation_energy) > 10 * width(on.activation_energy)


def test_open_intervals_open_the_result():
    estimates = measured(law(TEMPERATURES))
    estimates[1] = Estimate(estimates[1].value, (0.0, np.inf), 20)
    result = conductivity(TEMPERATURES, estimates, 20, 984.7)
    assert result.sigma_mS_per_cm.interval == (0.0, np.inf)
    assert np.isfinite(result.minus_log10_sigma.value)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("temperatures", [[800.0, 1000.0, 1200.0], [600.0, 700.0, 800.0, 1000.0, 1200.0]])
def test_intervals_hold_the_truth_and_three_points_are_wider(seed, temperatures):
    generator, truth = np.random.default_rng(seed), -np.log10(nernst_einstein(law(300.0), 20, 984.7, 300.0))
    held, energy = [], []
    for _ in range(300):
        values = law(temperatures) * np.exp(generator.normal(scale=0.2, size=len(temperatures)))
        result = conductivity(np.array(temperatures), measured(values, spread=0.4), 20, 984.7)
        held.append(result.minus_log10_sigma.interval[0] < truth < result.minus_log10_sigma.interval[1])
        energy.append(result.activation_energy.interval[0] < EA < result.activation_energy.interval[1])
    assert np.mean(held) >= 0.95
    assert np.mean(energy) >= 0.95


def test_scatter_of_three_points_is_multiplied_by_the_t_quantile():
    values = law([800, 1000, 1200]) * np.array([1.0, 1.2, 1.0])
    three = conductivity(np.array([800.0, 1000.0, 1200.0]), measured(values, 1e-6), 20, 984.7)
    low, high = three.minus_log10_sigma.interval
    assert high - low > 4.0  # decades
