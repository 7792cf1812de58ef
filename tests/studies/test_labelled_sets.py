"""DeePMD folders of varying volume: read, split by folder, scored through the same neighbour matrices as one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grannfield.data.compact import ENERGY_BITS
from grannfield.data.predicted import FORCE_BITS
from grannfield.motion import Subject
from grannfield.plugin import Named
from grannfield.studies import forces
from grannfield.studies.labelled_sets import SetsNotFound, divided, nearest, read_sets
from grannfield.testing import LennardJones
from grannfield.trajectory import TrajectoryError

from .made import FIELD, SPECIES, deepmd, four_sets


def test_whole_folders_go_to_one_side(tmp_path: Path) -> None:
    found = read_sets(four_sets(tmp_path), SPECIES)
    sets = divided(found)
    assert [(role, one.name) for role, one in sets.roles()] == [
        ("train", "iter.0"), ("validation", "iter.1"), ("test", "iter.2"), ("other", "other"),
    ]  # fmt: skip
    assert len(sets.training) == 6 and sets.others[0].composition == "Li3P1S4"
    named = divided(found, test="iter.0")
    assert named.test.name == "iter.0" and named.validation.name == "iter.2" and named.train[0].name == "iter.1"
    assert sets.test.about["source"] == "" and sets.test.about["volume_A3"][0] < sets.test.about["volume_A3"][1]


def test_varying_cells_keep_their_own_neighbours(tmp_path: Path) -> None:
    """The field that made the labels one by one finds them again in a set of many volumes, to the precision that is kept."""
    (one,) = read_sets(deepmd(tmp_path / "a", [0, 0, 0, 0, 1, 2, 3, 3], 6, seed=1).parent, SPECIES)
    assert len(np.unique(np.linalg.det(one.frames.cell).round(3))) == 6
    subject = Subject(Named("lj", "lj", None), LennardJones(**FIELD))
    forces.make(subject, one.frames, tmp_path, "cpu")
    found = forces.judged(subject, one.frames, tmp_path, "a")
    assert found is not None and found.origin is None  # unordered
    assert np.abs(found.forces - one.frames.forces).max() <= 0.5 ** (FORCE_BITS + 1) + 1e-9
    assert np.abs(found.energy - one.frames.energy).max() <= 0.5 ** (ENERGY_BITS + 1) + 1e-9
    assert found.force_errors.r2.value > 0.999 and found.force_errors.r2.n == 6


def test_a_double_is_found_whatever_its_cell_wraps(tmp_path: Path) -> None:
    (one,) = read_sets(deepmd(tmp_path / "a", [0, 0, 0, 0, 1, 2, 3, 3], 5, seed=1).parent, SPECIES)
    moved = one.frames[np.array([3])]
    shifted = type(moved)(
        moved.z, moved.pos + moved.cell[0, 0] + 0.3, moved.cell, moved.energy, moved.forces, moved.origin
    )  # fmt: skip
    assert nearest(shifted, one.frames)[0] < 1e-9
    within = nearest(one.frames, one.frames, same=True)
    assert within.min() > 0.05 and len(within) == 5


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetsNotFound, match="there is no such folder"):
        read_sets(tmp_path / "nowhere", SPECIES)
    with pytest.raises(SetsNotFound, match="holds no DeePMD set"):
        read_sets(tmp_path, SPECIES)
    found = read_sets(four_sets(tmp_path), SPECIES)
    with pytest.raises(SetsNotFound, match=r"--test iter.7: no set of .* there are iter.0, iter.1, iter.2"):
        divided(found, test="iter.7")
    with pytest.raises(SetsNotFound, match="three folders are needed"):
        divided(found[1:])
    with pytest.raises(SetsNotFound, match="three folders are needed"):
        divided(found, test="iter.0", validation="iter.0")
    with pytest.raises(TrajectoryError, match="only 2 species are known"):
        read_sets(tmp_path, ("Li", "Ge"))
    (tmp_path / "iter.0" / "set.000" / "force.npy").unlink()
    with pytest.raises(SetsNotFound, match="has no frame with energy and forces"):
        read_sets(tmp_path, SPECIES)
