"""Types are elements because something says so."""

from __future__ import annotations

import pytest

from grannfield.lammps.elements import MappingError, elements_of_types


def test_masses_labels_and_names_in_that_order_of_trust() -> None:
    assert elements_of_types([6.941, 72.61, 30.974, 32.065]).tolist() == [0, 3, 32, 15, 16]
    assert elements_of_types([0.0, 0.0], {1: "Ge", 2: "S_2"}).tolist() == [0, 32, 16]
    assert elements_of_types([2.014], {1: "Ow"}, ["H"]).tolist() == [0, 1]  # deuterium is hydrogen to a force field
    assert elements_of_types([6.94, 0.0], stated=["Li", "NULL"], used=[1]).tolist() == [0, 3, 0]
    assert elements_of_types([6.94, 0.0], used=[1]).tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    ("masses", "labels", "stated", "said"),
    [
        ([6.94], {}, ["Li", "S"], r"2 elements are named \(Li S\), but LAMMPS has 1 atom types"),
        ([32.06], {}, ["Li"], "type 1 is said to be Li, but its mass 32.06 is that of S"),
        ([32.06], {1: "Li"}, [], "type 1 is labelled Li, but its mass 32.06 is that of S"),
        ([208.99], {}, [], "no label and its mass 208.99 fits Bi and Po"),
        ([1.5], {1: "Ow"}, [], "its label 'Ow' is no chemical symbol and its mass 1.5 is that of no element .H is nearest."),
        ([0.0], {}, [], "no label and its mass is not set; name the elements in the order of the types, such as --elements"),
        ([0.0], {}, ["Xx"], "type 1: 'Xx' is not a chemical symbol"),
        ([0.0], {}, ["NULL"], "type 1 is said to be NULL, but there are atoms of it"),
    ],
)
def test_what_cannot_be_told_is_refused(masses: list[float], labels: dict[int, str], stated: list[str], said: str) -> None:
    with pytest.raises(MappingError, match=said):
        elements_of_types(masses, labels, stated)
