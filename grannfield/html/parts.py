"""What a number is made of, as small tables: whatever a results file keeps beside a score, in words and with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from grannfield.score import significant

UNITS = {
    "meV_per_A": "meV/Å",
    "meV_per_atom": "meV/atom",
    "A_per_ps": "Å/ps",
    "eV_per_A": "eV/Å",
    "ms_per_step": "ms/step",
    "K": "K",
    "ps": "ps",
    "A": "Å",
    "s": "s",
    "fs": "fs",
}
"""How the end of a key says its unit, longest first."""
FIRST = ("temperature_K", "replica", "pair", "element", "way")
"""Keys that say of what a row is, before all others."""
DROPPED = frozenset({"curve", "test"})
"""What a page shows elsewhere: as a plot, and as the verdict."""
MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """A few rows of text under a caption."""

    caption: str
    head: list[str]
    rows: list[list[str]]

    def as_json(self) -> dict[str, Any]:
        return {"caption": self.caption, "head": self.head, "rows": self.rows}


def words(key: str) -> str:
    """A key of a results file as a heading.

    >>> words("mae_meV_per_A"), words("temperature_K"), words("by_pair")
    ('mae (meV/Å)', 'temperature (K)', 'by pair')
    """
    for end, unit in UNITS.items():
        if key.endswith("_" + end):
            return f"{key[: -len(end) - 1].replace('_', ' ')} ({unit})"
    return key.replace("_", " ")


def is_estimate(value: Any) -> bool:
    """Whether a dictionary is a number with its interval, as `Estimate.parts` writes it."""
    return isinstance(value, Mapping) and "value" in value and bool({"interval", "reason"} & set(value))


def estimate_text(value: Mapping[str, Any]) -> str:
    """A number with its interval and n, or the reason for none.

    >>> estimate_text({"value": 0.3, "interval": [0.1, 0.6], "n": 20, "reason": ""})
    '0.3 [0.1, 0.6] (n=20)'
    >>> estimate_text({"value": None, "interval": [None, 1e-6], "n": 0, "reason": "below detection"})
    'n/a: below detection, at most 1.00e-06'
    """
    low, high = (value.get("interval") or (None, None))[:2]
    number = value.get("value")
    if not isinstance(number, int | float):
        bound = f", at most {significant(high)}" if _finite(high) else f", at least {significant(low)}" if _finite(low) else ""
        return f"n/a: {value.get('reason') or 'undefined'}{bound}"
    between = f" [{_end(low, '-∞')}, {_end(high, '∞')}]" if _finite(low) or _finite(high) else ""
    return f"{significant(number)}{between}" + (f" (n={value['n']})" if value.get("n") else "")


def text_of(value: Any) -> str:
    """Anything a results file keeps, in one cell.

    >>> text_of([1, 2.5]), text_of(None), text_of(True), text_of({"a": 1})
    ('1, 2.5', '', 'yes', 'a 1')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return significant(value)
    if is_estimate(value):
        return estimate_text(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{words(str(key))} {text_of(item)}" for key, item in value.items() if item not in (None, "", {}, []))
    if isinstance(value, Sequence) and not isinstance(value, str):
        most = 3 if value and isinstance(value[0], Mapping) else 12
        shown = ", ".join(text_of(item) for item in value[:most])
        return shown + (f", … ({len(value)} in all)" if len(value) > most else "")
    return str(value)


def tables_of(parts: Mapping[str, Any]) -> list[Table]:
    """The parts of a score: single values together in one table, rows and nested values in a table each."""
    single: list[list[str]] = []
    found: list[Table] = []
    for key, value in parts.items():
        if key in DROPPED or value in (None, "", {}, []):
            continue
        if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            found.append(_rows(words(key), value))
        elif isinstance(value, Mapping) and not is_estimate(value):
            found.append(_nested(words(key), value))
        else:
            single.append([words(key), text_of(value)])
    head = [Table("Beside it", ["what", "value"], single)] if single else []
    return head + sorted(found, key=lambda table: table.caption != "by run")


def _rows(caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A list of records: a column for each key that says anything; an interval goes with its value."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    together = {"value", "interval", "reason"} <= set(keys)
    hidden = {"interval", "reason", "n"} if together else set()
    shown = [k for k in keys if k not in hidden and any(row.get(k) not in (None, "", {}, []) or k == "value" for row in rows)]
    shown.sort(key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST) + (key != "value"))
    made = [[text_of(row) if k == "value" and together else text_of(row.get(k)) for k in shown] for row in rows[:MOST_ROWS]]
    more = f" (first {MOST_ROWS} of {len(rows)})" if len(rows) > MOST_ROWS else ""
    return Table(caption + more, [words(key) for key in shown], made)


def _nested(caption: str, values: Mapping[str, Any]) -> Table:
    """A dictionary: a row for each value, keys of dictionaries within it joined; a table where all rows have the same keys."""
    items = list(values.items())
    inner = [set(value) for _, value in items if isinstance(value, Mapping) and not is_estimate(value)]
    if len(inner) == len(items) > 0 and all(keys == inner[0] for keys in inner) and len(inner[0]) <= 6:
        keys = list(items[0][1])
        return Table(caption, ["", *map(words, keys)], [[words(str(k)), *(text_of(v[key]) for key in keys)] for k, v in items])
    rows = [[name, text] for name, value in _flat(values) if (text := text_of(value))]
    more = f" (first {MOST_ROWS} of {len(rows)})" if len(rows) > MOST_ROWS else ""
    return Table(caption + more, ["what", "value"], rows[:MOST_ROWS])


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{before}{words(str(key))}"
        if isinstance(value, Mapping) and not is_estimate(value):
            found += _flat(value, f"{name}, ")
        else:
            found.append((name, value))
    return found


def _finite(x: Any) -> TypeGuard[float]:
    return isinstance(x, int | float) and math.isfinite(x)


def _end(x: Any, infinite: str) -> str:
    return significant(x) if _finite(x) else infinite
