"""How tables are written: Markdown, CSV (wide and long), LaTeX, HTML."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from grannfield.files import write_atomically
from grannfield.report import escape
from grannfield.report.escape import UNBROKEN, html, md, tex
from grannfield.report.table import RECORD, Cell, Page, Table

FORMS = (".md", ".csv", "-long.csv", ".tex", ".html")
LINE = "<br>"
"""Between the lines of a cell in Markdown."""
WIDEST_PADDED = 130
"""Characters of a Markdown row up to which its columns are aligned in the source."""
LONG = 32
"""Characters above which a line of a cell is broken in HTML."""
META = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">'
MOST_ROWS = 36
"""Of a LaTeX table on one page."""


def write_page(folder: Path, page: Page, forms: Iterable[str] = FORMS) -> list[Path]:
    """Write a page below a folder as NAME.md, NAME.csv, NAME-long.csv, NAME.tex and NAME.html; the paths written."""
    made = dict(zip(FORMS, (markdown, wide_csv, long_csv, latex, html_page), strict=True))
    written = []
    for suffix, write in ((form, made[form]) for form in forms):
        written.append(folder / f"{page.name}{suffix}")
        write_atomically(written[-1], write(page))
    return written


def markdown(page: Page) -> str:
    """A page as Markdown."""
    parts = [f"# {md(page.title)}", *map(_md, page.head)]
    for table in page.tables:
        parts += [f"## {md(table.title)}"] if table.title else []
        parts += [markdown_table(table).rstrip()] if table.rows else []
        parts += map(_md, table.notes)
    for heading, entries in page.foot:
        parts += [f"## {md(heading)}", entries_md(entries)]
    return "\n\n".join(parts) + "\n"


def entries_md(entries: Iterable[tuple[str, str]]) -> str:
    """Terms and what is said of them, as a list."""
    return "\n".join(f"- **{md(term)}**: {_md(text)}" if term else f"- {_md(text)}" for term, text in entries)


def _md(text: str) -> str:
    return escape.prose(text, md, escape.md_code)


def _tex(text: str) -> str:
    return escape.prose(text, tex, escape.tex_code)


def _html(text: str) -> str:
    return escape.prose(text, html, escape.html_code)


def markdown_table(table: Table) -> str:
    """The rows of a table as Markdown, without title and notes."""
    rows = [[md(name) for name in table.headings], *([_markdown_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(rows[0]))]
    padded = sum(widths) + 3 * len(widths) <= WIDEST_PADDED
    if padded:
        rows = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) if padded else '---' for width in widths)}|")
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    first, *rest = map(md, cell.lines or ("",))
    if not cell.n:
        return LINE.join([first, *rest])
    small = ", ".join([f"n={md(cell.n)}", *rest])
    number = first.replace(" ", UNBROKEN).replace(f"{UNBROKEN}[", " [")
    return f"{number}{LINE}<sub>{small}</sub>"


def wide_csv(page: Page) -> str:
    """A row for each row of the tables, cells as they are read."""
    return _csv(page.wide())


def long_csv(page: Page) -> str:
    """A row for each number, or reason for none, with columns that a machine reads: the names in RECORD."""
    return _csv([RECORD, *([_machine(record.get(name, "")) for name in RECORD] for record in page.records)])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _machine(value: Any) -> str:
    """A number in full, nothing for one that there is not."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def latex(page: Page) -> str:
    """Tables with booktabs, one after the other, to be read with \\input; plain ASCII."""
    parts = [f"% {tex(page.title)}: needs \\usepackage{{booktabs,graphicx}}"]
    for table in page.tables:
        for start in range(0, len(table.rows), MOST_ROWS):
            parts.append(_latex_table(page, table, start))
    return "\n\n".join(parts) + "\n"


def _latex_table(page: Page, table: Table, start: int) -> str:
    title = ": ".join(text for text in (page.title, table.title) if text)
    caption = ". ".join(text.rstrip(".") for text in (title + " (continued)" * (start > 0), table.caption) if text)
    rows = table.rows[start : start + MOST_ROWS]
    body = "\n".join(" & ".join(map(_latex_cell, row)) + r" \\" for row in rows)
    head = " & ".join(_stacked([tex(line) for line in _broken(name)]) for name in table.headings)
    notes = rf"\par\medskip\raggedright\footnotesize {' '.join(map(_tex, table.notes))}" if table.notes else ""
    return rf"""\begin{{table}}[htbp]
\centering
\caption{{{tex(caption)}.}}
\resizebox{{\ifdim\width>\linewidth \linewidth\else \width\fi}}{{!}}{{%
\begin{{tabular}}{{{"l" * len(table.headings)}}}
\toprule
{head} \\
\midrule
{body}
\bottomrule
\end{{tabular}}}}
{notes}
\end{{table}}""".replace("\n\n", "\n")


def _latex_cell(cell: Cell) -> str:
    first, *rest = map(tex, cell.lines or ("",))
    if not cell.n:
        return _stacked([first, *rest])
    return _stacked([first, rf"{{\scriptsize {', '.join([f'n={tex(cell.n)}', *rest])}}}"])


def _stacked(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else "\\shortstack[l]{" + "\\\\".join(lines) + "}"


def _broken(heading: str) -> list[str]:
    """A heading in lines of a word or two."""
    return textwrap.wrap(heading, 14, break_long_words=False, break_on_hyphens=False) or [""]


def html_page(page: Page) -> str:
    """A page of plain tables in HTML, complete in one file; the board to click on is index.html."""
    style = resources.files("grannfield.report").joinpath("page.css").read_text(encoding="utf-8").strip()
    body = [f"<h1>{html(page.title)}</h1>", *(f"<p>{_html(text)}</p>" for text in page.head)]
    body += [html_table(table) for table in page.tables]
    for heading, entries in page.foot:
        items = "\n".join(f"<dt>{html(term)}</dt><dd>{_html(text)}</dd>" for term, text in entries)
        body.append(f"<h2>{html(heading)}</h2>\n<dl>\n{items}\n</dl>")
    head = f"{META}\n<title>{html(page.title)}</title>"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<style>\n{style}\n</style>\n</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def html_table(table: Table) -> str:
    """A table with its heading and notes, to stand inside a page."""
    names = "".join(f'<th scope="col">{html(name)}</th>' for name in table.headings)
    k = len(table.stub)
    rows = ["<tr>" + "".join(_html_cell(cell, i < k) for i, cell in enumerate(row)) + "</tr>" for row in table.rows]
    caption = f"<caption>{html(table.caption)}</caption>\n" if table.caption else ""
    title = f"<h2>{html(table.title)}</h2>\n" if table.title else ""
    notes = "".join(f"\n<p class=note>{_html(text)}</p>" for text in table.notes)
    body = "\n".join(rows)
    if not table.rows:
        return title + notes.strip()
    head = f"<thead><tr>{names}</tr></thead>\n"
    return f"{title}<div class=table><table>\n{caption}{head}<tbody>\n{body}\n</tbody>\n</table></div>{notes}"


def _html_cell(cell: Cell, names_row: bool) -> str:
    first, *rest = map(html, cell.lines or ("",))
    small = f"{LINE}<small>{', '.join([f'n={html(cell.n)}', *rest])}</small>"
    text = first + small if cell.n else LINE.join([first, *rest])
    if names_row:
        return f'<th scope="row">{text}</th>'
    title = f' title="{html(cell.full)}"' if cell.full and cell.full != cell.text else ""
    long = " class=long" if max(map(len, cell.lines or ("",))) > LONG else ""
    return f"<td{title}{long}>{text}</td>"
