"""What the default behaviour of the invariant models mends, each shown on the published arithmetic first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grannfield.forcefield import ForceField
from grannfield.graph import by_neighbor
from grannfield.neighbors import neighbor_graph
from grannfield.testing import stored
from tests.models.small import CUTOFF, SKEWED, WIDE, atoms, small
from tests.models.test_physics import energy, predict


def both(name: str, **settings: Any) -> tuple[ForceField, ForceField]:
    """The default and the published behaviour with the same weights, as far as both have them."""
    default, published = small(name, **settings), small(name, as_published=True, **settings)
    theirs = published.state_dict()
    default.load_state_dict({key: theirs[key] for key in default.state_dict()})
    return default, published


def jump(field: ForceField) -> float:
    """What the energy changes by when an atom leaves the surroundings of two others, eV."""
    at = [
        energy(field, np.array([3, 16, 15]), np.array([[0, 0, 0], [r, 0, 0], [0.3, 2.5, 0.1]]), 30 * np.eye(3), False)
        for r in (CUTOFF - 1e-7, CUTOFF + 1e-7)
    ]
    return abs(at[0] - at[1])


@pytest.mark.parametrize("name", ["cgcnn", "deeper_gatgnn", "gns_tat"])
def test_the_envelope_removes_a_jump_at_the_cutoff(name: str) -> None:
    default, published = both(name)
    assert jump(published) > 1e-4 and jump(default) < 1e-8


@pytest.mark.parametrize("name", ["cgcnn", "deeper_gatgnn", "gns_tat"])
def test_the_sum_over_atoms_makes_two_cells_twice_one(name: str) -> None:
    """The published energy does not know how many cells there are, and its forces shrink as they are more."""
    z, pos, cell = atoms(apart=1.0)
    double = (np.tile(z, 2), np.concatenate([pos, pos + cell[0]]), cell * np.array([[2], [1], [1]]))
    default, published = both(name)
    one, two = predict(published, z, pos, cell), predict(published, *double)
    torch.testing.assert_close(two.energy, one.energy)
    torch.testing.assert_close(two.forces, 0.5 * one.forces.repeat(2, 1))
    torch.testing.assert_close(predict(default, *double).energy, 2 * predict(default, z, pos, cell).energy)


def test_forcenet_has_a_bias_for_each_atom() -> None:
    z, pos, cell = atoms(apart=1.0)
    double = (np.tile(z, 2), np.concatenate([pos, pos + cell[0]]), cell * np.array([[2], [1], [1]]))
    default, published = both("forcenet")
    bias = float(published.energy.bias.detach())
    missing = 2 * energy(published, z, pos, cell) - energy(published, *double)
    assert abs(bias) > 0.01 and missing == pytest.approx(bias)
    assert energy(default, z, pos, cell) - energy(published, z, pos, cell) == pytest.approx((len(z) - 1) * bias)
    assert energy(default, *double) == pytest.approx(2 * energy(default, z, pos, cell))


@pytest.mark.parametrize("name", ["dimenet", "dimenet_pp"])
def test_angles_belong_to_the_gradient(name: str) -> None:
    default, published = both(name)
    z, pos, cell = atoms(apart=1.5, cell=WIDE)
    here, theirs = predict(default, z, pos, cell), predict(published, z, pos, cell)
    assert torch.equal(here.energy, theirs.energy)
    assert float((here.forces - theirs.forces).norm() / here.forces.norm()) > 0.02
    h, direction = 1e-4, np.random.default_rng(0).normal(size=pos.shape)
    slope = (energy(published, z, pos + h * direction, cell) - energy(published, z, pos - h * direction, cell)) / (2 * h)
    assert slope == pytest.approx(-(here.forces.numpy() * direction).sum(), rel=1e-4)
    assert slope != pytest.approx(-(theirs.forces.numpy() * direction).sum(), rel=1e-2)


@pytest.mark.parametrize("name", ["dimenet", "dimenet_pp"])
def test_collinear_atoms_have_the_right_forces(name: str) -> None:
    """The angle itself has no derivative at 0 and 180 degrees; its cosine does."""
    field = small(name)
    z, pos = np.array([3, 16, 3, 15]), np.array([[0, 0, 0], [2.1, 0, 0], [4.4, 0, 0], [1.0, 2.3, 0]])
    cell = 30 * np.eye(3)
    forces = predict(field, z, pos, cell, False).forces.numpy()
    h = 1e-4
    for place in np.ndindex(3, 3):
        step = np.zeros_like(pos)
        step[place] = h
        slope = (energy(field, z, pos + step, cell, False) - energy(field, z, pos - step, cell, False)) / (2 * h)
        assert abs(slope + forces[place]) < 1e-5 * np.abs(forces).max()
    line = predict(field, z[:3], pos[:3], cell, False).forces
    assert torch.isfinite(line).all() and float(line[:, 1:].abs().max()) < 1e-12 < float(line.abs().max())


def rotation_error(field: ForceField) -> float:
    z, pos, cell = atoms(5, apart=1.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    here, there = predict(field, z, pos, cell), predict(field, z, pos @ turn, cell @ turn)
    return float((there.forces - here.forces @ torch.tensor(turn)).norm() / here.forces.norm())


def test_gns_tat_has_no_preferred_direction() -> None:
    """Biases of vector channels break rotation; without them the anisotropic whitening still does, by less."""
    default, published = both("gns_tat")
    assert rotation_error(published) > 1e-2
    with torch.no_grad():
        for key, p in published.named_parameters():
            if ".vec" in key and key.endswith("bias"):
                p.zero_()
    assert 1e-7 < rotation_error(published) < 1e-2
    assert rotation_error(default) < 1e-10


def rock_salt(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pos = np.array([[x, y, w] for x in (0, 2.6) for y in (0, 2.6) for w in (0, 2.6)], float)
    return (
        np.array([3, 16, 16, 3, 16, 3, 3, 16]),
        pos + np.random.default_rng(0).normal(scale=noise, size=pos.shape),
        5.2 * np.eye(3),
    )


def test_gns_tat_feels_nothing_in_a_perfect_crystal() -> None:
    """Forces vanish by symmetry; lengths of vectors with a kink at zero turn rounding into forces."""
    default, published = both("gns_tat")
    with torch.no_grad():
        for key, p in published.named_parameters():
            if ".vec" in key and key.endswith("bias"):
                p.zero_()
    kicked = [float(predict(field, *rock_salt(1e-13)).forces.abs().max()) for field in (default, published)]
    typical = float(predict(default, *rock_salt(0.1)).forces.abs().max())
    assert kicked[0] < 1e-6 * typical and kicked[1] > 1e-2 * typical


def test_gatgnn_gathers_at_the_centre_when_a_cap_makes_edges_one_way() -> None:
    """A chain whose atoms keep one neighbour each: both ends know the middle, which knows one end. Published, the middle
    gathers from both ends and one end from nobody (the stored outputs of the capped input hold that arithmetic)."""
    default, _ = both("deeper_gatgnn")
    chain = np.array([[0, 0, 0], [2.0, 0, 0], [4.4, 0, 0]])
    capped, moved = (
        neighbor_graph(np.array([3, 16, 15]), chain + shift, 30 * np.eye(3), CUTOFF, False, max_neighbors=1)
        for shift in (0.0, np.array([[0], [0], [0.1]]))
    )
    assert capped.neighbors.squeeze(1).tolist() == [1, 0, 1] and not capped.symmetric
    turned = by_neighbor(capped)
    assert turned.mask.sum(dim=1).tolist() == [1, 2, 0] and turned.neighbors[1].tolist() == [0, 2]
    here, there = (default.predict(graph).atomic_energies for graph in (capped, moved))
    assert here is not None and there is not None
    assert (here != there).tolist() == [False, False, True]


def test_published_mean_models_give_their_energy_once_per_structure() -> None:
    """Atomic energies sum to the published E, also in a batch of cells of different size."""
    field = small("cgcnn", as_published=True)
    for n in (3, 7):
        frame = atoms(n, n, SKEWED if n == 3 else WIDE, apart=1.0)
        prediction = predict(field, *frame)
        assert prediction.atomic_energies is not None
        assert torch.equal(prediction.atomic_energies, prediction.atomic_energies[:1].expand(n))


def test_cgcnn_knows_the_elements_of_the_stored_table() -> None:
    file = stored(Path(__file__).parents[1] / "parity" / "cgcnn.npz.xz")
    assert np.array_equal(small("cgcnn").khot.numpy(), file["w/embed.khot"])
