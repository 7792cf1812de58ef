"""Every entry of the shipped datasets is whole, consistent and physically sensible."""

import re

import numpy as np
import pytest

from grannfield.data.material import datasets_folder, load_material, materials, read_material
from grannfield.data.reference import RunMissingError
from grannfield.data.store import read_attributes
from grannfield.data.structure import structure_from_cif
from grannfield.data.symmetry import SymmetryError, space_group_operations
from grannfield.trajectory import heights

SHIPPED = [read_material(path) for path in sorted(datasets_folder().glob("*/material.toml"))]
RUNS = [pytest.param(m, r, run, id=f"{m.formula}-{run.path.stem}") for m in SHIPPED for r in m.references for run in r.runs]
each_material = pytest.mark.parametrize("material", SHIPPED, ids=lambda material: material.formula)


def test_three_materials_in_under_3_mb():
    assert materials()[:3] == [material.formula for material in SHIPPED] == ["Li10GeP2S12", "Li3PS4", "Li4GeS4"]
    assert sum(path.stat().st_size for path in datasets_folder().rglob("*")) < 3e6


@each_material
def test_every_file_of_the_folder_is_described(material):
    described = {name for name, _ in material.sha256} | {run.path.name for r in material.references for run in r.runs}
    assert {path.name for path in material.path.parent.iterdir()} == described | {"material.toml"}


@each_material
def test_the_cif_and_the_structure_file_agree(material):
    ours, cif = material.structure, structure_from_cif(material.cif_file)
    assert np.allclose(ours.cell @ ours.cell.T, cif.cell @ cif.cell.T, atol=1e-6)
    for z, place in zip(ours.z, ours.fractional, strict=True):
        apart = cif.fractional[cif.z == z] - place
        assert np.linalg.norm((apart - np.rint(apart)) @ cif.cell, axis=1).min() < 1e-6
    assert sorted(ours.z) == sorted(cif.z)


@each_material
def test_space_group(material):
    group = space_group_operations(material)
    assert group.symbol == {"Li10GeP2S12": "P4_2mc"}.get(material.formula, "Pnma")
    assert group.rotations.shape == (8, 3, 3) and group.translations.shape == (8, 3)
    structure = material.structure
    for rotation, translation in zip(group.rotations, group.translations, strict=True):
        apart = (structure.fractional @ rotation.T + translation)[:, None] - structure.fractional[None]
        distance = np.linalg.norm((apart - np.rint(apart)) @ structure.cell, axis=-1)
        distance[structure.z[:, None] != structure.z[None]] = np.inf
        assert distance.min(axis=1).max() < material.symprec


def test_another_space_group_is_an_error():
    with pytest.raises(SymmetryError, match=r"Pm at symprec 0\.1.*names Pnma"):
        space_group_operations(load_material("Li3PS4"), symprec=0.1)


@pytest.mark.parametrize(("material", "reference", "run"), RUNS)
def test_run(material, reference, run):
    found = material.trajectory(run)  # checks the sum, the atoms, the length and the interval
    assert found.kind == "time" and found.time[0] in (0, run.interval_fs) and found.labelled.all()
    assert np.isfinite(found.energy).all() and np.ptp(found.energy) / found.n_atoms < 0.3
    assert found.temperature is not None
    assert abs(found.production(reference.drop).temperature.mean() / run.temperature - 1) < 0.03
    assert np.abs(found.forces).max() < 15
    steps = np.linalg.norm(np.diff(found.pos, axis=0), axis=-1)
    assert steps.max() < 0.25 * heights(found.cell).min()
    assert np.allclose(found.cell[0], material.structure.cell, atol=1e-9)


@pytest.mark.parametrize(("material", "reference", "run"), RUNS)
def test_a_run_starts_near_the_structure(material, reference, run):
    found, structure = material.trajectory(run), material.structure
    apart = (found.pos[0] - structure.pos) @ np.linalg.inv(structure.cell)
    framework = structure.z != 3
    apart -= np.rint(apart)
    apart -= apart[framework].mean(axis=0)
    moved = np.linalg.norm(apart @ structure.cell, axis=1)
    assert moved[framework].max() < 2.0 and np.median(moved[framework]) < 1.0  # 1 ps of heating; some PS4 turn
    assert moved[~framework].max() < 5.0


@pytest.mark.parametrize(("material", "reference", "run"), RUNS)
def test_no_frame_moves_while_forces_say_it_should(material, reference, run):
    """Forces belong to their frames: the acceleration from three positions follows them."""
    found = material.trajectory(run)
    light = found.z == 16
    acceleration = found.pos[2:, light] - 2 * found.pos[1:-1, light] + found.pos[:-2, light]
    assert np.corrcoef(acceleration.ravel(), found.forces[1:-1, light].ravel())[0, 1] > 0.8


@pytest.mark.parametrize(("material", "reference", "run"), RUNS)
def test_a_surrogate_is_called_one(material, reference, run):
    assert reference.label == "surrogate: SevenNet-0 (11Jul2024)"
    attributes = read_attributes(run.path)
    assert attributes["kind"] == reference.kind and attributes["maker"] == reference.maker
    assert (attributes["temperature"], attributes["seed"]) == (run.temperature, run.seed)
    words = f"{attributes} {material.trajectory(run).source} {reference} {material.notes}"
    assert not re.search("aimd|dft|/work", words.replace(str(material.path.parent), ""), re.IGNORECASE)


@each_material
def test_protocol_and_absent_temperatures(material):
    reference = material.reference()
    run = reference.run(1000)
    assert (run.ramp_ps, run.equilibration_ps, run.production_ps) == (1.0, 3.0, 7.0)
    assert material.temperatures == (800, 900, 1000, 1100, 1200) and material.timestep == 2.0
    assert reference.absence(1000) == "" and reference.temperatures == (800, 1000, 1200)
    with pytest.raises(RunMissingError, match=r"no run at 900 K \(there: .*1000.*or import it \(`grannfield data import`\)"):
        reference.run(900)
    with pytest.raises(RunMissingError, match="no repeat 1 at 1000 K"):
        reference.run(1000, repeat=1)
