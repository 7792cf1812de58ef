"""Materials of the benchmark: what `datasets/<formula>/material.toml` says, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grannfield.data.checksum import verify
from grannfield.data.reference import Reference, Run, check_atoms, parse_reference
from grannfield.data.structure import Structure, read_structure
from grannfield.data.table import TableError, checked, read_table, suggestion
from grannfield.trajectory import Trajectory
from grannfield.units import number, symbol

MATERIAL_KEYS: dict[str, Any] = {
    "formula": str,
    "short": (str, ""),
    "structure": str,
    "cif": (str, ""),
    "rdf_pairs": list,
    "temperatures": list,
    "timestep_fs": float,
    "licence": str,
    "source": str,
    "notes": (str, ""),
    "mobile": dict,
    "tetrahedra": (dict, {}),
    "space_group": (dict, {}),
    "sha256": dict,
    "reference": (list, []),
}
MOBILE_KEYS = {"element": str, "charge": float}
TETRAHEDRA_KEYS = {"centres": list, "ligand": str}
SPACE_GROUP_KEYS = {"symbol": str, "symprec": float}


class UnknownMaterialError(LookupError):
    """No dataset has that name."""


@dataclass(frozen=True)
class Material:
    """One ionic conductor: its structure, what moves in it, how it is simulated, and its references."""

    path: Path
    """The material.toml it was read from."""
    formula: str
    short: str
    """Short name, for instance "LGPS"; the formula when there is none."""
    mobile_ion: str
    mobile_charge: float
    """e."""
    rdf_pairs: tuple[tuple[str, str], ...]
    """Unordered pairs of species whose g(r) is shown."""
    tetrahedra: tuple[tuple[str, ...], str] | None
    """(centres, ligand) of the rigid units, for instance (("P", "Ge"), "S"); None when there are none."""
    temperatures: tuple[float, ...]
    """K, the temperatures of the full protocol, whether or not a reference run exists for each."""
    timestep: float
    """fs, of MD."""
    space_group: str
    """International symbol, empty when it is not checked."""
    symprec: float
    """Å, at which the structure has that space group."""
    licence: str
    source: str
    notes: str
    structure_file: Path
    cif_file: Path | None
    sha256: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]

    @cached_property
    def structure(self) -> Structure:
        """The ideal structure; its file is checked against its SHA-256 and its elements against the pairs named."""
        for name, expected in self.sha256:
            verify(self.path.parent / name, expected, str(self.path))
        structure = read_structure(self.structure_file)
        elements = {symbol(int(z)) for z in structure.z}
        named = {self.mobile_ion, *(name for pair in self.rdf_pairs for name in pair)}
        if absent := sorted(named - elements):
            raise TableError(f"{self.path} names {', '.join(absent)}, which {self.structure_file.name} does not hold")
        return structure

    def reference(self, name: str = "") -> Reference:
        """The reference of that name, or the first; LookupError names those there are."""
        for reference in self.references:
            if not name or reference.name.lower() == name.lower():
                return reference
        known = [reference.name for reference in self.references]
        raise LookupError(f"{self.formula} has no reference {name!r}; {suggestion(name, known)}")

    def trajectory(self, run: Run) -> Trajectory:
        """The frames of one of its runs, with the atoms checked against the structure."""
        found = run.trajectory()
        check_atoms(found, self.structure.z, str(run.path))
        return found


def datasets_folder() -> Path:
    """The folder of the shipped datasets: inside an installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "datasets", package.parent / "datasets")
    for folder in places:
        if any(folder.glob("*/material.toml")):
            return folder
    raise FileNotFoundError(f"no datasets in {places[0]} or {places[1]}; install grannfield again")


def user_datasets_folder() -> Path:
    """Where imported data go: $XDG_DATA_HOME/grannfield/datasets, by default under ~/.local/share."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "grannfield" / "datasets"


def search_folders() -> list[Path]:
    """Folders searched for materials: $GRANNFIELD_DATASETS (several, split as PATH is), the user's, the package's."""
    extra = [Path(part).expanduser() for part in os.environ.get("GRANNFIELD_DATASETS", "").split(os.pathsep) if part]
    for folder in extra:
        if not folder.is_dir():
            raise FileNotFoundError(f"GRANNFIELD_DATASETS names {folder}, which is no folder; create it or unset that")
    folders = (*extra, user_datasets_folder(), datasets_folder())
    return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))


def materials() -> list[str]:
    """Formulas of all materials in the searched folders, those of the package first."""
    shipped = datasets_folder().resolve()
    paths = sorted(_material_files(), key=lambda path: (path.parent.parent != shipped, path.parent.name))
    return list(dict.fromkeys(_names(path)[0] for path in paths))


def load_material(name: str) -> Material:
    """The material of a formula or short name, whatever the case.

    A folder may also extend a material defined elsewhere: `<folder>/<formula>/references.toml` with [[reference]]
    blocks adds to it, which is how imported AIMD stands beside what is shipped. Raises UnknownMaterialError with the
    nearest name, or TableError for a description that is incomplete or defines a name twice.

    >>> load_material("lgps").formula
    'Li10GeP2S12'
    """
    known: dict[str, list[Path]] = {}
    for path in _material_files():
        for alias in dict.fromkeys(_names(path)):
            known.setdefault(alias.lower(), []).append(path)
    if name.lower() not in known:
        names = sorted({alias for paths in known.values() for path in paths for alias in _names(path)})
        raise UnknownMaterialError(f"no material {name!r}; {suggestion(name, names)}")
    paths = known[name.lower()]
    if len(paths) > 1:
        raise TableError(
            f"{name!r} is defined twice, by {paths[0]} and {paths[1]}; give one another formula and short name, or "
            "keep only a references.toml there, which adds references to the other"
        )
    return read_material(paths[0])


def read_material(path: str | Path) -> Material:
    """The material of one material.toml, with the references added by other folders; TableError if malformed."""
    path = Path(path)
    where = str(path)
    table = checked(read_table(path), MATERIAL_KEYS, where)
    mobile = checked(table["mobile"], MOBILE_KEYS, f"{where}, [mobile]")
    group = checked(table["space_group"], SPACE_GROUP_KEYS, f"{where}, [space_group]") if table["space_group"] else None
    _check_elements(where, [mobile["element"]], *table["rdf_pairs"])
    if any(len(pair) != 2 for pair in table["rdf_pairs"]):
        raise TableError(f'{where}: rdf_pairs = {table["rdf_pairs"]} should be pairs, for instance [["Li", "S"]]')
    folder = path.parent
    for name in filter(None, (table["structure"], table["cif"])):
        if name not in table["sha256"]:
            raise TableError(f"{where}: [sha256] does not list {name!r}; add its SHA-256")
    return Material(
        path=path,
        formula=table["formula"],
        short=table["short"] or table["formula"],
        mobile_ion=mobile["element"],
        mobile_charge=mobile["charge"],
        rdf_pairs=tuple((a, b) for a, b in table["rdf_pairs"]),
        tetrahedra=_tetrahedra(where, table["tetrahedra"]),
        temperatures=tuple(float(t) for t in table["temperatures"]),
        timestep=table["timestep_fs"],
        space_group=group["symbol"] if group else "",
        symprec=group["symprec"] if group else 0.1,
        licence=table["licence"],
        source=table["source"],
        notes=table["notes"].strip(),
        structure_file=folder / table["structure"],
        cif_file=folder / table["cif"] if table["cif"] else None,
        sha256=tuple(table["sha256"].items()),
        references=_references(path, table),
    )


def reference_at(path: str | Path, material: Material) -> Reference:
    """The first reference of a material in a references.toml, or in a folder that holds <formula>/references.toml.

    FileNotFoundError when there is none for the material, TableError when it is malformed.
    """
    path = Path(path)
    file = path / material.formula / "references.toml" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; put [[reference]] blocks for {material.formula} there")
    blocks = checked(read_table(file), {"reference": list}, str(file))["reference"]
    if not blocks:
        raise TableError(f"{file} holds no [[reference]] block")
    return parse_reference(blocks[0], file.parent, str(file), material.formula)


def _material_files() -> Iterator[Path]:
    for folder in search_folders():
        yield from sorted(folder.glob("*/material.toml"))


def _names(path: Path) -> tuple[str, str]:
    table = read_table(path)
    formula = str(table.get("formula", path.parent.name))
    return formula, str(table.get("short", formula))


def _references(path: Path, table: dict[str, Any]) -> tuple[Reference, ...]:
    formula = table["formula"]
    blocks = [(path, block) for block in table["reference"]]
    for folder in search_folders():
        extra = folder / formula / "references.toml"
        if extra.is_file():
            listed = checked(read_table(extra), {"reference": list}, str(extra))["reference"]
            blocks += [(extra, block) for block in listed]
    references, origin = [], dict[str, Path]()
    for where, block in blocks:
        reference = parse_reference(block, where.parent, str(where), formula)
        if reference.name in origin:
            raise TableError(f"{where}: reference {reference.name!r} is also in {origin[reference.name]}; rename one")
        origin[reference.name] = where
        references.append(reference)
    return tuple(references)


def _tetrahedra(where: str, values: dict[str, Any]) -> tuple[tuple[str, ...], str] | None:
    if not values:
        return None
    table = checked(values, TETRAHEDRA_KEYS, f"{where}, [tetrahedra]")
    _check_elements(where, table["centres"], [table["ligand"]])
    return tuple(table["centres"]), table["ligand"]


def _check_elements(where: str, *groups: list[str]) -> None:
    for name in (name for group in groups for name in group):
        try:
            number(name)
        except (ValueError, TypeError) as problem:
            raise TableError(f"{where}: {problem}") from None
