"""Entries of references in the files that list them: a run is added to a TOML file as text, whatever else stands there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from grannfield.data.checksum import sha256_of_file
from grannfield.data.compact import LABELLED, Rounding
from grannfield.data.reference import Reference, parse_reference
from grannfield.data.table import TableError, read_table
from grannfield.files import write_atomically

RUN = "[[reference.run]]"
REFERENCE = "[[reference]]"
HEAD = re.compile(r"\s*\[\[?[\w.\"-]+\]\]?\s*(#.*)?$")
"""A line that begins a table."""


def listing(folder: Path) -> Path:
    """The file of a material's folder that lists its references: material.toml where it stands there, else references.toml."""
    own = folder / "material.toml"
    return own if own.is_file() else folder / "references.toml"


def listed(folder: Path, formula: str) -> dict[str, Reference]:
    """The references that a material's folder lists, by name; TableError for a malformed file."""
    path = listing(folder)
    blocks = read_table(path).get("reference", []) if path.is_file() else []
    found = [parse_reference(block, folder, str(path), formula) for block in blocks]
    return {reference.name: reference for reference in found}


def kept_as(kind: str) -> Rounding | None:
    """How the runs of a reference of some kind are kept: a potential's compactly, all others with every digit of a plain file.

    A potential's run can be made again; nobody's calculations are rounded further than float32 and float16 do.
    """
    return LABELLED if kind == "surrogate" else None


def run_entry(path: Path, values: dict[str, Any]) -> str:
    """The [[reference.run]] block of a stored run, with the SHA-256 of its file."""
    return _block(RUN, {"file": path.name, **values, "sha256": sha256_of_file(path)})


def reference_entry(values: dict[str, Any]) -> str:
    """The [[reference]] block of a reference, without runs."""
    return _block(REFERENCE, values)


def _block(head: str, values: dict[str, Any]) -> str:
    text = lambda x: json.dumps(x, ensure_ascii=False) if isinstance(x, str) else f"{x:.12g}"  # noqa: E731
    return "\n".join([head, *(f"{key} = {text(value)}" for key, value in values.items())]) + "\n"


def enter(folder: Path, about: dict[str, Any], run: str, instead_of: str = "") -> Path:
    """Add a [[reference.run]] block to the reference `about["name"]` of a folder, made from `about` where it is not listed.

    `instead_of`: the file of a run that goes. Everything else in the file stays as it is written. Raises TableError, and
    changes nothing, when the file would not say exactly that afterwards. The caller holds the lock of the folder.
    """
    path = listing(folder)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    wanted = tomllib.loads(before)
    blocks: list[dict[str, Any]] = wanted.setdefault("reference", [])
    new = tomllib.loads(run.replace("reference.run", "run"))["run"][0]
    known = next((block for block in blocks if block["name"] == about["name"]), None)
    if known is None:
        after = "\n".join(filter(None, [before, reference_entry(about), run]))
        blocks.append({**tomllib.loads(reference_entry(about))["reference"][0], "run": [new]})
    else:
        after = _inserted(before, blocks.index(known), run, instead_of)
        known["run"] = [old for old in known["run"] if old["file"] != instead_of or not instead_of] + [new]
    if tomllib.loads(after) != wanted:
        raise TableError(f"{path} is written in a way that a run cannot be added to; add this to {about['name']!r}:\n{run}")
    write_atomically(path, after)
    return path


def _inserted(text: str, which: int, run: str, instead_of: str) -> str:
    """The text with a run at the end of its reference number `which`, and without the run of the file `instead_of`."""
    lines = text.splitlines()
    heads = [k for k, line in enumerate(lines) if HEAD.match(line)] + [len(lines)]
    name = lambda k: lines[k].split("#")[0].strip() if k < len(lines) else ""  # noqa: E731
    references = [n for n, k in enumerate(heads) if name(k) == REFERENCE]
    if which >= len(references):
        return text
    n = references[which] + 1
    gone = range(0)
    while name(heads[n]) == RUN:
        if instead_of and _file_of(lines[heads[n] : heads[n + 1]]) == instead_of:
            gone = range(heads[n], heads[n + 1])
        n += 1
    end = heads[n]
    while end > 0 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1  # what stands above the next header belongs to that
    kept = [(k, line) for k, line in enumerate(lines) if k not in gone]
    before, after = ([line for k, line in kept if (k < end) == first] for first in (True, False))
    while before and not before[-1].strip():
        before.pop()
    return "\n".join([*before, "", *run.splitlines(), *after]) + "\n"


def _file_of(part: list[str]) -> str:
    try:
        return str(tomllib.loads("\n".join(part[1:])).get("file", ""))
    except tomllib.TOMLDecodeError:
        return ""
