"""Checks of a TOML table: every key known, present and of its type, with errors that name the cure."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TableError(ValueError):
    """A description file has a missing, unknown or impossible entry."""


def read_table(path: Path) -> dict[str, Any]:
    """The contents of a TOML file; TableError names the file and the line that does not parse."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise TableError(f"{path} is not valid TOML: {problem}") from None


def checked(values: Mapping[str, Any], keys: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table with defaults filled in; `keys` maps a name to its type, or to (type, default) when it may be left out.

    Raises TableError for an unknown key (with the nearest known one), a missing key, or a wrong type.

    >>> checked({"charge": 1}, {"charge": float, "note": (str, "")}, "x.toml")
    {'charge': 1.0, 'note': ''}
    >>> checked({"chrage": 1}, {"charge": float}, "x.toml")
    Traceback (most recent call last):
    grannfield.data.table.TableError: x.toml: unknown key 'chrage'; did you mean 'charge'?
    """
    for key in values:
        if key not in keys:
            raise TableError(f"{where}: unknown key {key!r}; {suggestion(key, keys)}")
    result = {}
    for key, rule in keys.items():
        kind, required = (rule[0], False) if isinstance(rule, tuple) else (rule, True)
        if key not in values:
            if required:
                raise TableError(f"{where}: the key {key!r} is missing; add it ({kind.__name__})")
            result[key] = rule[1]
            continue
        value = values[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TableError(f"{where}: {key} = {value!r} should be a {kind.__name__}")
        result[key] = value
    return result


def suggestion(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """A "did you mean" for a mistyped name, or the list of what there is.

    >>> suggestion("lgsp", ["LGPS", "Li3PS4"])
    "did you mean 'LGPS'?"
    """
    by_lower = {key.lower(): key for key in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
