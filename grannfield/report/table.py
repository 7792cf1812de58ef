"""A table before it is written: rows of cells, each with short lines for the eye and a record for a machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

RECORD = (
    "model", "material", "preset", "column", "part", "temperature_K", "value", "low", "high", "n", "unit", "reason", "detail",
    "verdict", "against_reference", "source", "reference", "weights", "note",
)  # fmt: skip
"""Columns of the long form. Empty low and high: no interval; `verdict` is the column's own, `against_reference` that of the test,
`source` "measured" or "published", `weights` the hash of what moved the atoms."""
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What stands at one place of a table."""

    lines: tuple[str, ...] = ()
    n: str = ""
    """Sample size, shown in small print."""
    full: str = ""
    """All there is to say, for the form that has the room (the title of a cell in HTML); empty: no more than the lines."""
    records: tuple[Record, ...] = ()
    """What the long form says of it, by the names in RECORD."""

    @property
    def text(self) -> str:
        """In one line.

        >>> Cell(("0.5 ± 0.1", "stable"), "20").text
        '0.5 ± 0.1 (n=20); stable'
        """
        first, *rest = self.lines or ("",)
        return "; ".join([f"{first} (n={self.n})" if self.n else first, *rest])


def plain(text: object, **record: Any) -> Cell:
    """A cell of words, or of a number that is exact."""
    return Cell((str(text),) if str(text) else (), records=(record,) if record else ())


@dataclass(frozen=True)
class Table:
    """One table: `stub` are the headings of what names a row, `columns` those of the rest."""

    title: str
    caption: str
    stub: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """Each as long as stub and columns together."""
    notes: tuple[str, ...] = ()
    """Below the table: n and conditions, in sentences."""

    def __post_init__(self) -> None:
        wide = len(self.stub) + len(self.columns)
        if any(len(row) != wide for row in self.rows):
            raise ValueError(f"table {self.title!r} has {wide} columns, and a row with another number of cells")

    @property
    def headings(self) -> tuple[str, ...]:
        return (*self.stub, *self.columns)

    def without_empty_columns(self) -> Table:
        """The same without columns in which no cell says anything."""
        k = len(self.stub)
        kept = [i for i in range(len(self.columns)) if any(row[k + i].lines for row in self.rows)]
        rows = tuple((*row[:k], *(row[k + i] for i in kept)) for row in self.rows)
        return replace(self, columns=tuple(self.columns[i] for i in kept), rows=rows)


@dataclass(frozen=True)
class Page:
    """What goes into one set of files: tables, with the words before and after them."""

    name: str
    """Of the files, below the reports folder, without a suffix."""
    title: str
    head: tuple[str, ...] = ()
    """Sentences that stand before the tables: what the reference is."""
    tables: tuple[Table, ...] = ()
    foot: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """After them: headings, each with (term, text)."""
    more: tuple[Record, ...] = field(default=(), repr=False)
    """Records of the long form that no cell shows."""

    @property
    def records(self) -> list[Record]:
        """Of the long form, in the order of the cells."""
        shown = [record for table in self.tables for row in table.rows for cell in row for record in cell.records]
        return [*shown, *self.more]

    def wide(self) -> list[list[str]]:
        """Headings and rows of all tables side by side, one row for each stub that any of them has."""
        stub = self.tables[0].stub if self.tables else ()
        joined: dict[tuple[str, ...], dict[str, str]] = {}
        headings: list[str] = []
        for table in self.tables:
            k, own = len(table.stub), [_distinct(name, table.title, headings) for name in table.columns]
            headings += own
            for row in table.rows:
                values = joined.setdefault(tuple(cell.text for cell in row[:k]), {})
                values |= dict(zip(own, (cell.text for cell in row[k:]), strict=True))
        rows = [[*key, *(values.get(name, "") for name in headings)] for key, values in joined.items()]
        return [[*stub, *headings], *rows]

    def frame(self) -> DataFrame:
        """The same as a frame of texts."""
        from pandas import DataFrame

        head, *rows = self.wide()
        return DataFrame(rows, columns=head)


def _distinct(name: str, title: str, taken: Sequence[str]) -> str:
    return f"{title}: {name}" if name in taken else name


def measured(value: float, interval: tuple[float, float] | None = None) -> str:
    """A number rounded to what its interval allows, with the half-width where both sides are about the same.

    >>> measured(0.97420, (0.97111, 0.97696)), measured(0.6667, (0.2228, 0.9567)), measured(3.0009, (2.925, 3.155))
    ('0.974 ± 0.003', '0.67 [0.22, 0.96]', '3.00 [2.92, 3.15]')
    >>> measured(5.83e-5, (3.89e-5, 8.73e-5)), measured(1.97e-5, (8.96e-6, 3.05e-5)), measured(1.23456)
    ('5.8 [3.9, 8.7]·10⁻⁵', '(2.0 ± 1.1)·10⁻⁵', '1.23')
    >>> measured(6e-5, (1e-9, 1e-3)), measured(0.0, (0.0, 0.0)), measured(2.0, (1.0, float("inf")))
    ('6.00·10⁻⁵ [1.0·10⁻⁹, 0.0010]', '0', '2.00 [1.0, inf]')
    """
    low, high = interval or (value, value)
    half = max(high - value, value - low)
    if half <= 0:
        return significant(value)
    biggest = max(abs(value), abs(low), abs(high))
    if not math.isfinite(half) or (low > 0 and high > 1e3 * low) or half > 100 * max(abs(value), 1.0):
        return f"{significant(value)} [{significant(low, 2)}, {significant(high, 2)}]"
    power = math.floor(math.log10(abs(value))) if value else math.floor(math.log10(biggest))
    if biggest < 1e-3 or biggest >= 1e6:
        scale = 10.0**power
        text = _rounded(value / scale, low / scale, high / scale)
        return (f"({text})" if "±" in text else text) + f"·10{_raised(power)}"
    return _rounded(value, low, high)


def _rounded(value: float, low: float, high: float) -> str:
    half = max(high - value, value - low)
    power = math.floor(math.log10(half))
    even = abs((high - value) - (value - low)) <= 0.15 * half
    digits = max(0, -power + (half / 10.0**power < 2.5 or not even))
    v, a, b, h = (f"{x + 0.0:.{digits}f}" for x in (value, low, high, half))
    v, a, b = (x.lstrip("-") if float(x) == 0 else x for x in (v, a, b))
    return f"{v} ± {h}" if even else f"{v} [{a}, {b}]"


def significant(x: float, digits: int = 3) -> str:
    """A number to so many digits, powers of ten written out.

    >>> significant(0.0123456), significant(1234.5), significant(4.7e-05), significant(-math.inf), significant(1e-3, 2)
    ('0.0123', '1234', '4.70·10⁻⁵', '-inf', '0.0010')
    """
    if not math.isfinite(x) or x == 0:
        return f"{x:g}"
    if abs(x) < 1e-3 or abs(x) >= 1e6:
        figures, power = f"{x:.{digits - 1}e}".split("e")
        return f"{figures}·10{_raised(int(power))}"
    before = math.floor(math.log10(abs(x))) + 1
    return f"{x:.{max(0, digits - before)}f}"


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _raised(power: int) -> str:
    return str(power).translate(RAISED)


def common(values: Iterable[str], otherwise: str = "") -> str:
    """What all of them say, or something else where they differ.

    >>> common(["a", "a"]), common(["a", "b"], "several")
    ('a', 'several')
    """
    found = set(values)
    return found.pop() if len(found) == 1 else otherwise
