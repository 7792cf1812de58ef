"""MD that somebody ran elsewhere, described by a few lines of TOML, as runs that the suite scores like its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from grannfield.data.checksum import sha256_of_file
from grannfield.data.material import Material
from grannfield.data.table import TableError, checked, read_table
from grannfield.given.run import GivenRun, given_run
from grannfield.given.stated import NAME, SHARED, TOP_KEYS, Stated, stated_runs


@dataclass(frozen=True, eq=False)
class GivenRuns:
    """All runs of one model that was moved elsewhere."""

    path: Path
    """The trajectories.toml."""
    label: str
    made_by: str
    """Name of the force field behind them, where it is stated."""
    conservative: bool | None
    kin: tuple[str, ...]
    stated: tuple[Stated, ...]
    kept: dict[str, tuple[GivenRun, ...]] = field(default_factory=dict)

    @property
    def materials(self) -> tuple[str, ...]:
        """Formulas of the materials there are runs of."""
        return tuple(dict.fromkeys(one.material for one in self.stated))

    def read(self, material: Material) -> tuple[GivenRun, ...]:
        """The runs of a material, read once; TrajectoryError or TableError, naming file and cure, for what is none."""
        if material.formula not in self.kept:
            mine = [one for one in self.stated if one.material == material.formula]
            self.kept[material.formula] = tuple(given_run(one, material) for one in mine)
        return self.kept[material.formula]

    @cached_property
    def identity(self) -> str:
        """Hash of the description and of every file."""
        files = [sha256_of_file(path) for one in self.stated for path in one.paths if path.is_file()]
        words = [self.path.read_text(encoding="utf-8"), *files]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """What a results file says of the model behind them."""
        runs = [one for found in self.kept.values() for one in found]
        files = {name: sha for one in runs for name, sha in one.sha256.items()}
        notes = {one.stated.name: list(one.notes) for one in runs if one.notes}
        about = {"identity": self.identity, "files": files, "notes": notes, "potential": self.made_by}
        return about if self.conservative is None else about | {"conservative": self.conservative}

    @property
    def protocol(self) -> dict[str, Any]:
        """How they were made, in place of the preset."""
        texts = []
        for name in self.materials:
            found = self.kept.get(name, ())
            each = ", ".join(f"{one.trajectory.n_frames * one.trajectory.timestep / 1e3:.3g} ps at {one.stated.temperature:g} K"
                             for one in found)  # fmt: skip
            texts += [f"{name}: {each}"] * bool(each)
        about = {"preset": "given", "described": f"MD made elsewhere ({'; '.join(texts)})"}
        return about | {"length_ps": None, "ramp_ps": None, "hardware": "hardware not stated", "device": ""}


def given_runs(path: Path) -> GivenRuns:
    """What a folder's trajectories.toml describes, its files present and its keys known, but not read yet.

    FileNotFoundError or TableError, each with the file and the cure.
    """
    file = path / NAME if path.is_dir() or not path.exists() else path
    if not file.is_file():
        example = 'material = "LGPS", interval_fs = 20, then [[run]] blocks with file = "1000K.lammpstrj", temperature = 1000'
        raise FileNotFoundError(f"there is no {file}; write one: {example}")
    table = checked(read_table(file), TOP_KEYS, str(file))
    shared = {key: table[key] for key in SHARED if table[key] is not None}
    if not table["run"]:
        raise TableError(f"{file} has no [[run]]; each names a file and its temperature")
    stated = tuple(one for n, block in enumerate(table["run"], 1) for one in stated_runs(block, shared, file, n))
    names = [path for one in stated for path in one.paths]
    if twice := sorted({path.name for path in names if names.count(path) > 1}):
        raise TableError(f"{file} names {', '.join(twice)} more than once; a run counts once")
    label = table["label"] or file.resolve().parent.name
    return GivenRuns(file, label, table["made_by"], table["conservative"], tuple(map(str, table["kin"])), stated)
