"""How a table is written: Markdown, LaTeX, CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from grannfield.files import write_atomically

LINE = "<br>"
"""Between the lines of a cell in Markdown; elsewhere a cell is one line."""
COMMANDS = {
    "²": r"\textsuperscript{2}",
    "Å": r"\AA{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "·": r"$\cdot$",
    "³": r"\textsuperscript{3}",
}


def write_table(path: Path, frame: pd.DataFrame, text: str) -> list[Path]:
    """Write a table as path.md (`text`), path.csv and path.tex (the frame); the paths written."""
    written = []
    for suffix, content in (("md", text), ("csv", csv(frame)), ("tex", latex(frame))):
        written.append(path.with_name(f"{path.name}.{suffix}"))
        write_atomically(written[-1], content)
    return written


def csv(frame: pd.DataFrame) -> str:
    """Comma-separated values with the headings of the table."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def markdown(frame: pd.DataFrame) -> str:
    """A Markdown table; cells are text and pipes in them are escaped."""
    safe = frame.map(lambda x: str(x).replace("|", "\\|").replace("\n", " "))
    return str(tabulate(safe.to_dict("list"), headers="keys", tablefmt="github", disable_numparse=True)) + "\n"


def latex(frame: pd.DataFrame) -> str:
    """A LaTeX table (booktabs), with the few characters beyond ASCII as commands."""
    text = str(frame.to_latex(index=False, escape=True))
    for character, command in COMMANDS.items():
        text = text.replace(character, command)
    return text
