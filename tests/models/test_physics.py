"""What every model owes to physics, whatever its architecture: measured in double precision against what it claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grannfield.forcefield import ForceField, Prediction, create, load, registered, save, to_precision, weights_hash
from grannfield.graph import collate
from grannfield.neighbors import brute_force, neighbor_graph
from tests.models.small import CUTOFF, SKEWED, SMALL, WIDE, atoms, small

MODELS = sorted(set(SMALL) & set(registered()))
CONSERVATIVE = [name for name in MODELS if registered()[name].conservative]
CONTINUOUS = [name for name in MODELS if registered()[name].claims.continuous]
EXACT = [name for name in MODELS if registered()[name].claims.rotation == "exact"]


def predict(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True, **wanted: bool) -> Prediction:
    return field.predict(neighbor_graph(z, pos, cell, field.cutoff, pbc), **wanted)


def energy(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: Any = True) -> float:
    return float(predict(field, z, pos, cell, pbc).energy[0])


def test_all_models_are_here() -> None:
    assert set(MODELS) == set(registered())


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_forces_are_minus_the_slope_of_the_energy(name: str) -> None:
    field, (z, pos, cell) = small(name), atoms(apart=1.0)
    forces = predict(field, z, pos, cell).forces.numpy()
    rng, h = np.random.default_rng(3), 1e-4
    for direction in rng.normal(size=(6, *pos.shape)):
        far, near = (
            energy(field, z, pos + s * h * direction, cell) - energy(field, z, pos - s * h * direction, cell) for s in (2, 1)
        )
        slope = (8 * near - far) / (12 * h)
        assert abs(slope + (forces * direction).sum()) < 1e-5 * np.sqrt(np.square(forces).sum())
    assert np.abs(forces.sum(axis=0)).max() < 1e-11 * max(1, np.abs(forces).max()) and np.abs(forces).max() > 1e-4


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_stress_is_the_slope_under_strain(name: str) -> None:
    field, (z, pos, cell) = small(name), atoms(apart=1.0)
    stress = predict(field, z, pos, cell, stress=True).stress
    assert stress is not None
    rng, h = np.random.default_rng(4), 1e-5
    for strain in rng.normal(size=(4, 3, 3)):  # not symmetric: a rotation may cost nothing
        up, down = (energy(field, z, pos @ (np.eye(3) + s), cell @ (np.eye(3) + s)) for s in (h * strain, -h * strain))
        slope = (up - down) / (2 * h) / np.linalg.det(cell)
        assert abs(slope - (stress[0].numpy() * strain).sum()) < 1e-5 * np.linalg.norm(stress[0].numpy())


@pytest.mark.parametrize("name", [n for n in MODELS if n not in CONSERVATIVE])
def test_direct_forces_have_no_stress(name: str) -> None:
    with pytest.raises(ValueError, match="predicts forces directly"):
        predict(small(name), *atoms(), stress=True)


@pytest.mark.parametrize("name", MODELS)
def test_translation_wrapping_and_permutation(name: str) -> None:
    field, (z, pos, cell) = small(name), atoms(5, apart=1.0)
    rng = np.random.default_rng(1)
    order, moved = rng.permutation(len(z)), rng.integers(-4, 5, (len(z), 3)) @ cell
    here = predict(field, z, pos, cell)
    cases = {
        "translation": ((z, pos + np.array([1.7, -12.3, 0.4]), cell), here.forces),
        "wrapping": ((z, pos + moved, cell), here.forces),
        "permutation": ((z[order], pos[order], cell), here.forces[order]),
    }
    for case, (changed, forces) in cases.items():
        there = predict(field, *changed)
        assert float(abs(there.energy - here.energy)) < 1e-9 * max(1.0, float(abs(here.energy))), case
        assert float((there.forces - forces).abs().max()) < 1e-9 * max(1.0, float(here.forces.abs().max())), case
    other = z.copy()
    other[0] = 8
    changed_by = abs(energy(field, other, pos, cell) - float(here.energy[0]))
    assert changed_by > 1e-5 * abs(float(here.energy[0])), "the energy does not depend on the elements"


@pytest.mark.parametrize("name", EXACT)
def test_rotation_and_reflection(name: str) -> None:
    field, (z, pos, cell) = small(name), atoms(5, apart=1.0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    here = predict(field, z, pos, cell)
    for turn in (rotation, -rotation):
        there = predict(field, z, pos @ turn, cell @ turn)
        by_energy = float(abs(there.energy - here.energy))
        by_force = float((there.forces - here.forces @ torch.tensor(turn)).abs().max())
        if turn is rotation or field.claims.reflection:
            assert by_energy < 1e-10 and by_force < 1e-10
        else:
            assert by_energy > 1e-10  # the claim says no more than is true


@pytest.mark.parametrize("name", MODELS)
def test_supercell_has_the_energy_of_its_cells(name: str) -> None:
    field, (z, pos, cell) = small(name), atoms(apart=1.0)
    counts = np.array([2, 1, 3])
    corners = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    large = (np.tile(z, 6), (corners[:, None] + pos).reshape(-1, 3), cell * counts[:, None])
    wanted = {"stress": True} if field.conservative else {}
    one, six = predict(field, z, pos, cell, **wanted), predict(field, *large, **wanted)
    torch.testing.assert_close(six.energy, 6 * one.energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(six.forces, one.forces.repeat(6, 1), rtol=0, atol=1e-9)
    torch.testing.assert_close(six.stress, one.stress, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_energy_is_continuous_where_atoms_cross_the_cutoff(name: str) -> None:
    """A pair alone, and a third atom that leaves the surroundings of two others."""
    field, gap = small(name), 1e-7
    z = np.array([3, 16, 15])
    for n, others in ((2, 0.0), (3, 2.5)):
        at = [
            energy(field, z[:n], np.array([[0, 0, 0], [r, 0, 0], [0.3, others, 0.1]])[:n], 30 * np.eye(3), False)
            for r in (CUTOFF - gap, CUTOFF, CUTOFF + gap, 0.7 * CUTOFF)
        ]
        assert abs(at[0] - at[2]) < 1e-7 and abs(at[1] - at[2]) < 1e-7
        assert abs(at[3] - at[2]) > 1e-5, "the bond has no energy"


@pytest.mark.parametrize("name", MODELS)
def test_an_atom_without_neighbours_is_finite(name: str) -> None:
    field = small(name)
    alone = predict(field, np.array([3]), np.zeros((1, 3)), 30 * np.eye(3), False)
    assert torch.isfinite(alone.energy).all() and torch.isfinite(alone.forces).all()
    if field.conservative:
        assert not alone.forces.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_repeated_calls_agree_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    field, frame = small(name, dtype=dtype), atoms(12, 2, WIDE, apart=1.2)
    first, *others = [predict(field, *frame) for _ in range(3)]
    assert first.energy.dtype == torch.float64 and first.forces.dtype == dtype
    assert all(torch.equal(first.energy, o.energy) and torch.equal(first.forces, o.forces) for o in others)


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_is_its_structures(name: str) -> None:
    """Structures of different size and number of neighbours, so rows are padded and sums run by index."""
    field = small(name)
    frames = [atoms(3, 3, apart=1.0), atoms(9, 4, WIDE, apart=1.2), atoms(1, 5)]
    graphs = [neighbor_graph(*frame, CUTOFF) for frame in frames]
    assert len({g.neighbors.shape[1] for g in graphs}) == 3
    single = [field.predict(g) for g in graphs]
    together = field.predict(collate(graphs))
    for key in ("energy", "forces", "atomic_energies"):
        expected = torch.cat([getattr(p, key) for p in single])
        torch.testing.assert_close(getattr(together, key), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_loss_on_forces_has_finite_gradients(name: str, published: bool) -> None:
    """On a crystal with symmetric sites, where norms and frames are at their singular points, and on a disordered one."""
    field = small(name, as_published=published).train()
    rock_salt = np.array([[x, y, w] for x in (0, 2.6) for y in (0, 2.6) for w in (0, 2.6)], float)
    perfect = (np.array([3, 16, 16, 3, 16, 3, 3, 16]), rock_salt, 5.2 * np.eye(3))
    for frame in (perfect, atoms(5, apart=1.0)):
        field.zero_grad()
        prediction = field.predict(neighbor_graph(*frame, CUTOFF), create_graph=True)
        (prediction.energy.sum() + prediction.forces.square().sum()).backward()
        gradients = {key: p.grad for key, p in field.named_parameters() if p.requires_grad and not key.startswith("unused")}
        assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients.values())
    alive = sum(g is not None and bool(g.any()) for g in gradients.values())
    assert alive > 0.7 * len(gradients)  # l > 0 is still empty in the first layer of some


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_hold_all_of_a_model(name: str, published: bool, tmp_path: Path) -> None:
    field = small(name, dtype=torch.float32, as_published=published)
    save(field, tmp_path / "field.safetensors")
    again = load(tmp_path / "field.safetensors")
    assert weights_hash(again) == weights_hash(field) and again.settings == field.settings
    if not (published and name in ("scn", "escn")):  # those draw random edge frames
        frame = atoms(apart=1.0)
        assert torch.equal(predict(again, *frame).forces, predict(field, *frame).forces)


@pytest.mark.parametrize("name", MODELS)
def test_double_precision_is_kept(name: str) -> None:
    """Constants of the architecture made in single precision would show as a difference of 1e-8 and more after the cast."""
    field = small(name)
    there = to_precision(to_precision(create(name, **field.settings), torch.float32), torch.float64)
    there.load_state_dict(field.state_dict())
    frame = atoms(apart=1.0)
    torch.testing.assert_close(predict(there.eval(), *frame).forces, predict(field, *frame).forces, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_elements_beyond_the_tables_are_refused(name: str) -> None:
    field = create(name, **SMALL[name])
    assert field.elements is not None and {3, 15, 16, 32} <= set(field.elements)
    with pytest.raises(ValueError, match="does not know"):
        field.require_elements(np.array([3, 118]))
    cell = SKEWED * 2
    last = np.array([max(field.elements)])
    assert torch.isfinite(predict(to_precision(field, torch.float64).eval(), last, np.zeros((1, 3)), cell).energy).all()


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_padding_is_inert(name: str, published: bool) -> None:
    """More columns than needed, as a fixed shape has, change nothing; in training neither, where batches have statistics."""
    if published and name in ("scn", "escn"):
        pytest.skip("draws random edge frames")
    z, pos, cell = atoms(6, apart=1.0)
    exact = neighbor_graph(z, pos, cell, CUTOFF)
    width = exact.neighbors.shape[1]
    roomy = neighbor_graph(z, pos, cell, CUTOFF, capacity=width + 5)
    fixed = brute_force(z, torch.tensor(pos)[None], torch.tensor(cell)[None], CUTOFF, capacity=width + 3)
    for training in (False, True):
        field = small(name, as_published=published, **({"alpha_drop": 0.0} if name == "equiformer" else {})).train(training)
        here = field.predict(exact)
        for graph in (roomy, fixed):
            there = field.predict(graph)
            torch.testing.assert_close(there.energy, here.energy, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(there.forces, here.forces, rtol=1e-9, atol=1e-9)
