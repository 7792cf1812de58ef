"""Descriptions of materials: found by name, extended by the user, refused with a cure."""

import shutil

import numpy as np
import pytest

from grannfield.data import material as catalogue
from grannfield.data.checksum import ChecksumError
from grannfield.data.material import UnknownMaterialError, datasets_folder, load_material, materials, read_material
from grannfield.data.structure import StructureError, read_structure, write_structure
from grannfield.data.table import TableError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of beta-Li3PS4 under another name, in a user folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRANNFIELD_DATASETS", str(tmp_path / "mine"))
    copy = tmp_path / "mine" / "Mine"
    shutil.copytree(datasets_folder() / "Li3PS4", copy)
    edit(copy, 'formula = "Li3PS4"', 'formula = "Mine"')
    edit(copy, 'short = "beta-Li3PS4"', 'short = "M"')
    return copy


def edit(folder, old, new):
    path = folder / "material.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("name", ["LGPS", "lgps", "Li10GeP2S12", "LI10GEP2S12"])
def test_names(name):
    assert load_material(name).formula == "Li10GeP2S12"


@pytest.mark.parametrize(("name", "message"), [("LPGS", "did you mean 'LGPS'"), ("NaCl", "there are: .*Li4GeS4")])
def test_unknown_name(name, message):
    with pytest.raises(UnknownMaterialError, match=message):
        load_material(name)


def test_unknown_reference():
    with pytest.raises(LookupError, match="has no reference 'aimd'; there are: surrogate-sevennet-0"):
        load_material("LGPS").reference("aimd")


def test_user_materials_are_found(folder):
    assert materials()[-1] == "Mine"
    mine = load_material("m")
    assert mine.path.parent == folder and mine.trajectory(mine.reference().run(1000)).n_atoms == 32


def test_a_folder_that_is_not_there(monkeypatch):
    monkeypatch.setenv("GRANNFIELD_DATASETS", "/does/not/exist")
    with pytest.raises(FileNotFoundError, match=r"GRANNFIELD_DATASETS names .*exist"):
        materials()


def test_a_material_defined_twice(folder):
    edit(folder, 'short = "M"', 'short = "LGPS"')
    with pytest.raises(TableError, match="defined twice"):
        load_material("lgps")


def test_a_user_adds_a_reference_to_a_shipped_material(folder):
    extra = folder.parent / "Li3PS4"
    extra.mkdir()
    block = (folder / "material.toml").read_text(encoding="utf-8").split("[[reference]]")[1]
    block = "[[reference]]" + block.replace("surrogate-sevennet-0", "pbe", 1).replace('"surrogate"', '"aimd"')
    (extra / "references.toml").write_text(block.replace("SevenNet-0 (11Jul2024)", "VASP PBE"), encoding="utf-8")
    for run in folder.glob("*.h5"):
        shutil.copy(run, extra)
    found = load_material("Li3PS4")
    assert [reference.label for reference in found.references] == [
        "surrogate: SevenNet-0 (11Jul2024)",
        "AIMD: VASP PBE",
    ]
    assert found.reference("pbe").run(1000).path.parent == extra
    (extra / "references.toml").write_text(block.replace('"pbe"', '"surrogate-sevennet-0"'), encoding="utf-8")
    with pytest.raises(TableError, match="is also in"):
        load_material("Li3PS4")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("timestep_fs", "timestep", r"unknown key 'timestep'; did you mean 'timestep_fs'"),
        ("timestep_fs = 2.0\n", "", "the key 'timestep_fs' is missing"),
        ("timestep_fs = 2.0", 'timestep_fs = "2"', r"timestep_fs = '2' should be a float"),
        ("timestep_fs = 2.0", "timestep_fs = = 2", "not valid TOML"),
        ('["Li", "P"]', '["Li", "Q"]', "'Q' is not a chemical symbol"),
        ('["Li", "P"]', '["Li"]', "should be pairs"),
        ('kind = "surrogate"', 'kind = "surogate"', "kind 'surogate'; use one of aimd"),
        ("drop = 0.3", "drop = 30", "not a share"),
        ("interval_fs = 10", "interval_fs = 0", "interval_fs = 0 should be positive"),
        ('ligand = "S"', 'ligands = "S"', r"\[tetrahedra\]: unknown key 'ligands'; did you mean 'ligand'"),
        ('"structure.toml" =', '"structur.toml" =', r"\[sha256\] does not list 'structure.toml'"),
    ],
)  # fmt: skip
def test_mistakes_in_the_description(folder, old, new, message):
    edit(folder, old, new)
    with pytest.raises(TableError, match=message) as caught:
        read_material(folder / "material.toml")
    assert "material.toml" in str(caught.value)


def test_an_element_the_structure_does_not_hold(folder):
    edit(folder, '["Li", "P"]', '["Li", "Ge"]')
    with pytest.raises(TableError, match=r"names Ge, which structure\.toml"):
        _ = read_material(folder / "material.toml").structure


def test_checksums(folder):
    run = folder / "surrogate-sevennet-0_1000K.h5"
    content = bytearray(run.read_bytes())
    content[-1] ^= 1
    run.write_bytes(bytes(content))
    with pytest.raises(ChecksumError, match=r"1000K\.h5 has SHA-256 [0-9a-f]{64}, but .* says [0-9a-f]{64}"):
        load_material("Mine").reference().run(1000).trajectory()
    run.unlink()
    with pytest.raises(FileNotFoundError, match=r"1000K\.h5 is missing, but .*material\.toml lists it"):
        load_material("Mine").reference().run(1000).trajectory()
    with open(folder / "structure.toml", "a", encoding="utf-8") as file:
        file.write("# a note\n")
    with pytest.raises(ChecksumError, match=r"structure\.toml has SHA-256"):
        _ = load_material("Mine").structure


def test_a_run_that_is_not_the_one_described(folder):
    edit(folder, "interval_fs = 10", "interval_fs = 2")
    with pytest.raises(TableError, match=r"10 ps at 10 fs, but .* says 10 ps at 2 fs"):
        load_material("Mine").reference().run(1000).trajectory()
    with pytest.raises(TableError, match="order of the atoms"):
        load_material("LGPS").trajectory(load_material("Mine").reference().run(1200))


def test_structure_files(tmp_path):
    material = load_material("LGPS")
    write_structure(tmp_path / "s.toml", material.structure)
    assert np.allclose(read_structure(tmp_path / "s.toml").pos, material.structure.pos, atol=1e-8)
    assert material.structure.trajectory().pos.shape == (1, 50, 3)
    for text, message in (
        ("cell = 1", "atoms"),
        ('cell = [[1,0,0],[0,1,0],[1,1,0]]\natoms = [["Li", 0, 0, 0]]', "no volume"),
        ('cell = [[1,0,0],[0,1,0],[0,0,1]]\natoms = [["Lj", 0, 0, 0]]', "not a chemical symbol"),
        ('cell = [[1,0],[0,1]]\natoms = [["Li", 0, 0, 0]]', "should be"),
    ):
        (tmp_path / "s.toml").write_text(text, encoding="utf-8")
        with pytest.raises(StructureError, match=message):
            read_structure(tmp_path / "s.toml")
    with pytest.raises(FileNotFoundError):
        read_structure(tmp_path / "absent.toml")


def test_an_installed_package_carries_its_datasets(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "grannfield"
    shutil.copytree(datasets_folder() / "Li4GeS4", package / "datasets" / "Li4GeS4")
    (tmp_path / "site-packages" / "datasets").mkdir()  # another distribution of that name
    monkeypatch.setattr(catalogue, "__file__", str(package / "data" / "material.py"))
    assert catalogue.datasets_folder() == package.resolve() / "datasets"
