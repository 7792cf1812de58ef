"""The controls as force fields: each has the fault it is named for, of the size it says, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.analysis.errors import force_errors
from grannfield.controls import UnknownControl, every, parsed, table
from grannfield.controls.analytic import AnalyticField
from grannfield.controls.faulty import FIELDS, control_field
from grannfield.data.material import load_material
from grannfield.forcefield import UnsupportedElement
from grannfield.md.simulate import Protocol, simulate
from grannfield.neighbors import neighbor_graph
from grannfield.plugin import ModelNotFound, find, identity, open_model
from grannfield.report.columns import COLUMNS

MATERIALS = ("Li3PS4", "Li4GeS4", "LGPS")
CONSERVATIVE = ("exact", "drift", "fusing", "zero")


def shaken(name: str, seed: int = 0, size: float = 0.15):
    structure = load_material(name).structure
    return structure, structure.pos + size * np.random.default_rng(seed).normal(size=structure.pos.shape)


def answer(field, structure, pos):
    found = field.predict(neighbor_graph(structure.z, pos, structure.cell, field.cutoff))
    return float(found.energy), found.forces.numpy()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("material", MATERIALS)
def test_forces_are_the_slope_of_the_energy_or_not_as_claimed(name: str, material: str) -> None:
    field = control_field(f"control:{name}")
    structure, pos = shaken(material)
    along, step = np.random.default_rng(1).normal(size=pos.shape), 1e-4
    ahead, behind = (answer(field, structure, pos + sign * step * along)[0] for sign in (1, -1))
    slope, force = -(ahead - behind) / (2 * step), float((answer(field, structure, pos)[1] * along).sum())
    assert field.conservative == (name in CONSERVATIVE)
    if name in CONSERVATIVE:
        assert force == pytest.approx(slope, abs=1e-3)
    else:
        assert abs(force - slope) > 1e-3


@pytest.mark.parametrize("name", FIELDS)
def test_repeats_itself_batched_or_not_and_moves_with_the_cell(name: str) -> None:
    field = control_field(f"control:{name}")
    structure, pos = shaken("Li3PS4")
    energy, forces = answer(field, structure, pos)
    assert np.array_equal(forces, answer(field, structure, pos)[1])
    _, other = shaken("Li3PS4", seed=3)
    from grannfield.graphset import GraphSet

    graphs = GraphSet.build(structure.z, np.stack([other, pos]), np.stack([structure.cell] * 2), field.cutoff)
    both = field.predict(graphs.batch(slice(0, 2)))
    assert both.forces.numpy()[len(pos) :] == pytest.approx(forces, abs=1e-10)
    assert float(both.energy[1]) == pytest.approx(energy)
    if name != "drift":
        assert answer(field, structure, pos + np.array([11.0, -7.0, 3.0]))[1] == pytest.approx(forces, abs=1e-9)
        assert np.abs(forces.sum(axis=0)).max() < 1e-9, "no net force"


def test_noise_has_the_errors_that_follow_from_its_size() -> None:
    """s sqrt(2) sin: rms s, mean 2 sqrt(2)/pi s, R² = 1 - s²/var(F); on 100 thermally shaken frames."""
    structure = load_material("Li4GeS4").structure
    exact, noisy = control_field("control:exact"), control_field("control:noise=0.2")
    predicted, reference = [], []
    for seed in range(100):
        _, pos = shaken("Li4GeS4", seed)
        reference.append(answer(exact, structure, pos)[1])
        predicted.append(answer(noisy, structure, pos)[1])
    found = force_errors(np.stack(predicted), np.stack(reference), structure.z)
    assert found.rmse.value == pytest.approx(0.2, rel=0.03)
    assert found.mae.value == pytest.approx(0.2 * 2 * np.sqrt(2) / np.pi, rel=0.03)
    assert found.r2.value == pytest.approx(1 - 0.04 / np.var(reference), abs=2e-3)
    assert found.slope.value == pytest.approx(1.0, abs=0.01)


def test_the_swirl_has_the_curl_it_says() -> None:
    """F = s c x u: two entries ±s/sqrt(3) and so on: |A|² = 2 s² for each framework atom, by differences on all of them."""
    structure, pos = shaken("Li3PS4")
    exact, swirling = control_field("control:exact"), control_field("control:nonconservative=0.3")
    n, step = len(pos), 1e-3
    jacobian = np.zeros((3 * n, 3 * n))
    for k in range(3 * n):
        move = np.zeros(3 * n)
        move[k] = step
        ahead, behind = (
            answer(swirling, structure, pos + s * move.reshape(n, 3))[1]
            - answer(exact, structure, pos + s * move.reshape(n, 3))[1]
            for s in (1, -1)
        )
        jacobian[:, k] = ((ahead - behind) / (2 * step)).ravel()
    antisymmetric = 0.5 * (jacobian - jacobian.T)
    framework = int((structure.z != 3).sum())
    assert (antisymmetric**2).sum() == pytest.approx(2 * 0.3**2 * (framework - 1), rel=1e-6), "minus that of the mean"
    assert jacobian == pytest.approx(antisymmetric, abs=1e-9)


def test_the_drifting_cell_coasts_at_the_speed_it_says() -> None:
    """NVE from rest: after PUSH_LENGTH the centre of mass moves at 1.5 Å/ps, and the total energy is kept."""
    structure = load_material("Li3PS4").structure
    protocol = Protocol(100.0, length=2000.0, ramp=0.0, interval=20.0, drop=0.0, ensemble="nve")
    run = simulate(control_field("control:drift"), structure.z, structure.pos, structure.cell, protocol, [0])[0]
    assert run.failure is None
    assert run.drift == pytest.approx(1.5, rel=0.02), "Å/ps"
    assert abs(run.energy_drift) / len(structure.z) * 1e6 < 0.1


@pytest.mark.parametrize("material", MATERIALS)
def test_the_analytic_field_holds_its_crystal_at_1200_K(material: str) -> None:
    structure = load_material(material).structure
    protocol = Protocol(1200.0, length=600.0, ramp=200.0, interval=20.0)
    run = simulate(AnalyticField(), structure.z, structure.pos, structure.cell, protocol, [1])[0]
    assert run.failure is None and run.drift < 1e-9
    framework = structure.z != 3
    away = run.trajectory.pos[:, framework] - structure.pos[framework]
    assert np.sqrt((away**2).sum(-1).mean()) < 0.8


def test_atoms_fuse_where_the_wall_gives_way() -> None:
    structure = load_material("Li3PS4").structure
    protocol = Protocol(1000.0, length=1000.0, ramp=200.0, interval=10.0)
    run = simulate(control_field("control:fusing"), structure.z, structure.pos, structure.cell, protocol, [0])[0].trajectory
    lithium, sulphur = structure.z == 3, structure.z == 16
    gap = run.pos[:, lithium][:, :, None] - run.pos[:, sulphur][:, None]
    gap -= np.rint(gap @ np.linalg.inv(structure.cell)) @ structure.cell
    assert np.linalg.norm(gap, axis=-1).min() < 1.2


def test_a_crystal_that_is_none_of_the_materials_is_refused() -> None:
    field = AnalyticField()
    structure = load_material("Li3PS4").structure
    with pytest.raises(UnsupportedElement, match="knows the cells of"):
        field.predict(neighbor_graph(structure.z[::-1].copy(), structure.pos, structure.cell, field.cutoff))
    with pytest.raises(ValueError, match="is a control"):
        field.predict(neighbor_graph(structure.z, structure.pos, structure.cell, field.cutoff), stress=True)


def test_names_strengths_and_what_is_wrong_with_them() -> None:
    assert every() == [f"control:{name}" for name in table()]
    assert parsed("control:noise").label == "control:noise=0.05" and parsed("control:zero").label == "control:zero"
    for spec, cure in (
        ("control:nois", "there are exact, replay"),
        ("control:noise=lots", "write a number above 0, in eV/Å"),
        ("control:noise=-1", "write a number above 0"),
        ("control:zero=2", "it has no strength"),
    ):
        with pytest.raises(UnknownControl, match=cure):
            parsed(spec)
    with pytest.raises(ModelNotFound, match="control:exact"):
        find("no-such-model", Path("nowhere"))
    with pytest.raises(ValueError, match="motion without a force field"):
        control_field("control:replay")
    named = find("control:noise=0.10", Path("nowhere"))
    assert (named.label, named.kind, named.motion_only) == ("control:noise=0.1", "control", False)
    assert find("control:hopper", Path("nowhere")).motion_only
    keys = {
        identity(open_model(n), n) for n in (find(f"control:{x}", Path(".")) for x in ("noise", "noise=0.1", "exact", "zero"))
    }
    assert len(keys) == 4


def test_the_table_names_columns_that_there_are() -> None:
    for name, row in table().items():
        assert set(row["required"]) | set(row["caught_by"]) | set(row["not_by"]) - {"*"} <= set(COLUMNS), name
        assert not set(row["required"]) & set(row["not_by"]), name
        assert row["not_by"] and (row["required"] or row["not_by"] == ["*"]), name
    assert torch.get_default_dtype() == torch.float32
