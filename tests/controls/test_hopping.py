"""Hopping with a known diffusivity: the formula against long walks and against lattices that are known by heart."""

from __future__ import annotations

import numpy as np
import pytest

from grannfield.analysis.diffusion import diffusion
from grannfield.controls.hopping import INTERVAL, SiteNetwork, hopping, known_diffusivity, known_minus_log10_sigma, places
from grannfield.data.material import load_material
from grannfield.units import BOLTZMANN, CM2_PER_S


def test_cubic_lattices_have_their_textbook_diffusivity() -> None:
    """Rate w along each of z edges of length a: D = z w a²/6."""
    a = 3.0
    simple = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)]) * a
    found = SiteNetwork.of(simple, 3 * a * np.eye(3))
    assert len(found.first) == 3 * 27 and found.diffusivity() == pytest.approx(a**2)
    cells = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])[:, None]
    face = ((cells + 0.5 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])) * a * 1.5).reshape(-1, 3)
    found = SiteNetwork.of(face, 3 * a * np.eye(3))
    edge = 1.5 * a / np.sqrt(2)
    assert len(found.first) == 6 * 32 and found.diffusivity() == pytest.approx(2 * edge**2)


def test_the_formula_is_the_diffusivity_of_long_walks() -> None:
    """beta-Li3PS4's sites are not alike, so that ions are carried back; 40 walks agree within three standard errors."""
    material = load_material("Li3PS4")
    structure = material.structure
    network = SiteNetwork.of(structure.pos[structure.z == 3], structure.cell)
    plain = float((network.vector**2).sum()) / len(network.sites) / 3
    assert network.diffusivity() < 0.99 * plain
    rate, frames, squared = 2e-3, 8000, []
    for seed in range(40):
        walk = places(network, rate, frames, np.random.default_rng(seed))
        squared.append(((walk[-1] - walk[0]) ** 2).sum(-1).mean())
    measured = np.mean(squared) / (6 * (frames - 1) * INTERVAL)
    assert measured == pytest.approx(rate * network.diffusivity(), rel=0.1)
    error = np.std(squared) / np.sqrt(40) / np.mean(squared)
    assert abs(measured / (rate * network.diffusivity()) - 1) < 3 * error


@pytest.mark.parametrize("name", ["Li3PS4", "Li4GeS4", "LGPS"])
def test_a_run_shows_the_known_diffusivity_and_every_site_holds_one_ion(name: str) -> None:
    material = load_material(name)
    run = hopping(material, 1000.0, 50_000.0, 1)
    found = diffusion(run, 3).diffusivity_cm2_per_s
    assert found.interval[0] < known_diffusivity(1000.0) * CM2_PER_S < found.interval[1]
    sites = material.structure.pos[material.structure.z == 3]
    walk = places(SiteNetwork.of(sites, material.structure.cell), 1e-3, 200, np.random.default_rng(0))
    gap = walk[-1][:, None] - sites
    gap -= np.rint(gap @ np.linalg.inv(material.structure.cell)) @ material.structure.cell
    assert np.array_equal(np.sort(np.linalg.norm(gap, axis=-1).argmin(1)), np.arange(len(sites)))
    assert np.linalg.norm(gap, axis=-1).min(1).max() < 1e-6


def test_known_values_follow_arrhenius_and_nernst_einstein() -> None:
    slope = np.log(known_diffusivity(1200.0) / known_diffusivity(800.0)) / (1 / 800 - 1 / 1200)
    assert slope * BOLTZMANN == pytest.approx(0.25)
    from grannfield.analysis.conductivity import conductivity
    from grannfield.analysis.uncertainty import Estimate

    material = load_material("LGPS")
    points = [known_diffusivity(t) * CM2_PER_S for t in (800.0, 1000.0, 1200.0)]
    found = conductivity(
        [800.0, 1000.0, 1200.0],
        [Estimate(d, (0.99 * d, 1.01 * d), 20) for d in points],
        20,
        material.structure.volume,
        charge=1.0,
    )
    assert found.minus_log10_sigma.value == pytest.approx(known_minus_log10_sigma(material), abs=1e-6)


def test_one_site_is_no_network() -> None:
    with pytest.raises(ValueError, match="no network"):
        SiteNetwork.of(np.zeros((1, 3)), 9 * np.eye(3))
