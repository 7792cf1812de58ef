"""Files of evidence: where they are, whether they are the ones, and why they are not."""

from __future__ import annotations

from pathlib import Path

from grannfield.data.checksum import sha256_of_file


class NotKept(LookupError):
    """A run, prediction or sample behind a number is not on this machine, or was never kept."""


class Altered(ValueError):
    """A file of evidence is not the one that the results point to."""


def located(folders: tuple[Path, ...], path: str) -> Path:
    """A file of evidence in the first folder that has it; NotKept says where it was looked for and how it is made."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise Altered(f"{path} leaves the folders of evidence: the results file was altered")
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    places = " nor in ".join(str(folder) for folder in folders)
    raise NotKept(f"{path} is neither in {places}: the evidence was not shipped; score the model again to make it")


def checked(path: Path, sha256: str) -> Path:
    """The same path; Altered when the file is not the one that the results point to."""
    found = sha256_of_file(path)
    if found != sha256:
        raise Altered(f"{path} has SHA-256 {found[:12]}..., the results point to {sha256[:12]}...: the file was altered")
    return path


def matching(folders: tuple[Path, ...], path: str, sha256: str) -> Path:
    """A file of evidence in the first folder where it is the one that the results point to; NotKept or Altered where none is."""
    first = located(folders, path)
    there = (folder / path for folder in folders if (folder / path).is_file())
    return next((one for one in there if sha256_of_file(one) == sha256), None) or checked(first, sha256)
