"""Labelled frames in DeePMD folders, split by folder, so that near-duplicates never lie on both sides.

Frames of one folder come from one batch of short runs and repeat each other; folders are iterations of an active learning.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from grannfield.data.dataset import FrameSet, gather
from grannfield.data.formats import read
from grannfield.trajectory import Trajectory
from grannfield.units import formula

RULE = """whole folders: of those of the composition with most frames, in the order of their names, the last is the test, \
the one before it the validation, the others train"""


class SetsNotFound(LookupError):
    """A folder does not hold the labelled sets that a study needs."""


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """The labelled frames of one folder."""

    name: str
    run: Trajectory

    @property
    def composition(self) -> str:
        return formula(self.run.z)

    @cached_property
    def frames(self) -> FrameSet:
        return gather([self.run], [np.flatnonzero(np.asarray(self.run.labelled))])

    @property
    def about(self) -> dict[str, Any]:
        volume = np.abs(np.linalg.det(self.run.cell))
        found = {"name": self.name, "composition": self.composition, "atoms": len(self.run.z), "frames": len(self.frames)}
        found |= {"volume_A3": [float(volume.min()), float(volume.max())], "sha256": self.frames.sha256}
        return found | {"rms_force_eV_per_A": float(np.sqrt((self.frames.forces**2).mean())), "source": source_of(self.frames)}


@dataclass(frozen=True, eq=False)
class Sets:
    """All sets of a folder with their parts in a study."""

    train: tuple[LabelledSet, ...]
    validation: LabelledSet
    test: LabelledSet
    others: tuple[LabelledSet, ...]
    """Of other compositions, never trained on."""

    @cached_property
    def training(self) -> FrameSet:
        """The training frames; `origin` counts the folders."""
        return gather([one.run for one in self.train], [np.flatnonzero(np.asarray(one.run.labelled)) for one in self.train])

    def roles(self) -> Iterator[tuple[str, LabelledSet]]:
        """Every set with its part."""
        yield from (("train", one) for one in self.train)
        yield "validation", self.validation
        yield "test", self.test
        yield from (("other", one) for one in self.others)


def read_sets(folder: Path, species: Sequence[str]) -> list[LabelledSet]:
    """Every DeePMD folder below a folder, by name; `species` are the types of sets without type_map.raw.

    SetsNotFound when there is none; TrajectoryError names the file of a set that is damaged or has no labels.
    """
    if not folder.is_dir():
        raise SetsNotFound(f"--data {folder}: there is no such folder; name one that holds DeePMD sets (type.raw, set.000/)")
    found = []
    for path in sorted(file.parent for file in folder.rglob("type.raw")):
        run = read(path, format="deepmd", species=None if (path / "type_map.raw").is_file() else species)
        if not np.asarray(run.labelled).any():
            raise SetsNotFound(f"{path} has no frame with energy and forces; leave it out of {folder}")
        found.append(LabelledSet(path.relative_to(folder).as_posix(), run))
    if not found:
        raise SetsNotFound(f"--data {folder} holds no DeePMD set: a folder with type.raw and set.000/coord.npy")
    return found


def divided(found: Sequence[LabelledSet], test: str = "", validation: str = "") -> Sets:
    """The sets with their parts by RULE, or with the test and validation folders named.

    SetsNotFound where fewer than three folders share a composition, or a name is none of them.
    """
    frames: Counter[str] = Counter()
    for one in found:
        frames[one.composition] += len(one.frames)
    main = frames.most_common(1)[0][0]
    same = [one for one in found if one.composition == main]
    names = [one.name for one in same]
    for option, name in (("--test", test), ("--validation", validation)):
        if name and name not in names:
            raise SetsNotFound(f"{option} {name}: no set of {main} is called so; there are {', '.join(names)}")
    if len(same) < 3 or (test and test == validation):
        raise SetsNotFound(f"{', '.join(names)} of {main}: three folders are needed, to train, validate and test on")
    tested = test or [name for name in names if name != validation][-1]
    validated = validation or [name for name in names if name != tested][-1]
    by = {one.name: one for one in same}
    train = tuple(one for one in same if one.name not in (tested, validated))
    return Sets(train, by[validated], by[tested], tuple(one for one in found if one.composition != main))


def nearest(frames: FrameSet, others: FrameSet, same: bool = False) -> np.ndarray:
    """[M] Å: how far each frame is from the nearest of other frames, rms over atoms of minimum-image displacements.

    In fractional coordinates and the frame's own cell, a common translation removed; `same`: the two are one set, a frame is not
    its own neighbour.

    >>> pos = np.array([[[0.0, 0, 0], [2, 0, 0]], [[3.9, 0, 0], [2.1, 0, 0]]])
    >>> two = FrameSet([3, 3], pos, np.tile(4 * np.eye(3), (2, 1, 1)), np.zeros(2), np.zeros((2, 2, 3)), np.zeros((2, 2), int))
    >>> nearest(two, two, same=True).round(3).tolist()
    [0.1, 0.1]
    """
    there = others.pos @ np.linalg.inv(others.cell)
    found = np.empty(len(frames))
    for k, (pos, cell) in enumerate(zip(frames.pos, frames.cell, strict=True)):
        step = there - pos @ np.linalg.inv(cell)
        step -= np.rint(step)
        step -= step.mean(axis=1, keepdims=True)
        distance = np.sqrt(((step @ cell) ** 2).sum(axis=2).mean(axis=1))
        if same:
            distance[k] = np.inf
        found[k] = distance.min()
    return found


def source_of(frames: FrameSet) -> str:
    """What published set the frames are, by their hash; empty for frames that are not known."""
    text = resources.files("grannfield.studies").joinpath("sources.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)["source"]
    return next((str(one["about"]) for one in known if frames.sha256 in one["sha256"]), "")
