"""Evidence copied from the store to the folder that is tracked."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from grannfield.evidence.files import matching
from grannfield.evidence.kept import evidence_of
from grannfield.files import locked, write_atomically
from grannfield.report.results import Results


def files_behind(one: Results, reports: Path) -> dict[str, tuple[str, str]]:
    """Every file that the scores of a model point to: {path below the store: (SHA-256, kind)}."""
    found: dict[str, tuple[str, str]] = {}
    for pointers in evidence_of(one, reports).pointers.values():
        for pointer in pointers:
            if pointer.get("sha256"):
                found[pointer["path"]] = pointer["sha256"], pointer["kind"]
            if pointer.get("notes"):
                found[pointer["notes"]] = pointer["notes_sha256"], pointer["kind"]
    return found


def curve_path(one: Results, reports: Path) -> Path:
    """The tracked file with the learning curve of exactly the weights that were scored."""
    return evidence_of(one, reports).kept_in / f"curve-{str(one.model.get('identity'))[:12]}.csv"


def keep(one: Results, reports: Path) -> tuple[Path, dict[str, int]]:
    """Copy the files behind a model's scores into its tracked folder; the folder and the bytes of each kind.

    A run made again takes the place of the one kept before. NotKept or Altered, before anything is copied or removed, where a
    file is missing or nowhere the one that the results point to.
    """
    evidence = evidence_of(one, reports)
    wanted, sizes = files_behind(one, reports), Counter[str]()
    sources = {path: matching(evidence.folders, path, sha256) for path, (sha256, _) in wanted.items()}
    with locked(reports / "store" / "keeping" / evidence.kept_in.name, wait=True):
        for path, source in sources.items():
            target = evidence.kept_in / path
            if source != target:
                write_atomically(target, source.read_bytes())
            sizes[wanted[path][1]] += target.stat().st_size
        _prune(evidence.kept_in, {evidence.kept_in / path for path in sources} | {curve_path(one, reports)})
    return evidence.kept_in, dict(sorted(sizes.items()))


def _prune(folder: Path, wanted: set[Path]) -> None:
    """Remove what no score points to."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
