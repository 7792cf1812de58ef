"""LAMMPS' axes and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grannfield.data.material import load_material
from grannfield.lammps.axes import Axes, axes_of_data_file
from grannfield.lammps.datafile import write_data_file


@pytest.mark.parametrize("seed", range(6))
def test_every_cell_becomes_lower_triangular_and_comes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) * 4  # left-handed ones too
    axes = Axes.of_cell(cell)
    there = axes.cell_into(cell)
    np.testing.assert_allclose(there, cell @ axes.turn, atol=1e-12)
    assert not np.triu(there, 1).any() and (np.diag(there) > 0).all()
    np.testing.assert_allclose(axes.back(there), cell, atol=1e-12)
    tensor = rng.normal(size=(3, 3))
    u, v = rng.normal(size=(2, 3))
    assert axes.into(u) @ axes.tensor_into(tensor) @ axes.into(v) == pytest.approx(u @ tensor @ v)


def test_a_cell_that_lammps_would_not_turn_is_left_alone() -> None:
    assert Axes.of_cell(np.array([[4.0, 0, 0], [1, 5, 0], [0.5, 0.2, 6]])).trivial
    with pytest.raises(ValueError, match="has no volume"):
        Axes.of_cell(np.ones((3, 3)))


def test_a_data_file_says_how_it_was_turned(tmp_path: Path) -> None:
    s, path = load_material("Li3PS4").structure, tmp_path / "a.data"
    axes = write_data_file(path, s.z, s.pos, s.cell)
    found = axes_of_data_file(path)
    assert found.known and found.source == "the first line of a.data"
    np.testing.assert_allclose(found.turn, axes.turn, atol=1e-15)


def test_general_triclinic_data_files_say_it_too_and_others_nothing(tmp_path: Path) -> None:
    cell = load_material("Li3PS4").structure.cell
    rows = "\n".join(f"{' '.join(map(repr, map(float, row)))} {name}vec" for name, row in zip("abc", cell, strict=True))
    path = tmp_path / "general.data"
    path.write_text(f"LAMMPS data\n\n1 atoms\n{rows}\n0 0 0 abc origin\n")
    np.testing.assert_allclose(axes_of_data_file(path).turn, Axes.of_cell(cell).turn)
    path.write_text("LAMMPS data\n\n1 atoms\n0 5 xlo xhi\n")
    assert not axes_of_data_file(path).known and axes_of_data_file(path).trivial


@pytest.mark.parametrize(("words", "said"), [("1 2", "stand 2 numbers"), ("1 0 0 0 1 0 0 0 2", "are no turn")])
def test_a_damaged_first_line_is_refused(tmp_path: Path, words: str, said: str) -> None:
    path = tmp_path / "bad.data"
    path.write_text(f"x; grannfield axes {words}\n")
    with pytest.raises(ValueError, match=said):
        axes_of_data_file(path)
    with pytest.raises(FileNotFoundError, match="no LAMMPS data file"):
        axes_of_data_file(tmp_path / "none.data")
