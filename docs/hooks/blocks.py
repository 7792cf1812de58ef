"""Fenced blocks of the documentation: what each is, and what is to be done with it.

After the language of a fence stands what becomes of the block:

- `run`: executed by the tests; `run slow`: only when all blocks are asked for.
- `norun: REASON`: not executed, for this reason.
- `file=NAME`: written to NAME in the page's folder before the blocks after it are run.
- `output`: what the block before printed; `...` stands for anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\w+)(?P<mark>[^\n`]*)\n(?P<text>.*?)^ *(?P=ticks) *$", re.MULTILINE | re.DOTALL
)
PROGRAMS = ("grannfield", "pytest")
"""Programs whose commands are checked, and run in the process of the tests."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    mark: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.mark in ("run", "run slow")

    @property
    def slow(self) -> bool:
        return self.mark == "run slow"

    @property
    def reason(self) -> str:
        """Why it is not run; empty where nothing is said."""
        return self.mark.removeprefix("norun:").strip() if self.mark.startswith("norun:") else ""

    @property
    def file(self) -> str:
        """Name of the file it is the contents of."""
        return self.mark.removeprefix("file=") if self.mark.startswith("file=") else ""

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, comments left out."""
        joined = self.text.replace("\\\n", " ")
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order.

    >>> [(b.language, b.mark, b.text) for b in blocks("```shell run\\ngrannfield models\\n```\\n")]
    [('shell', 'run', 'grannfield models\\n')]
    """
    for found in FENCE.finditer(text):
        margin = len(found["indent"])
        body = "".join(line[margin:] if line[:margin].isspace() else line for line in found["text"].splitlines(keepends=True))
        yield Block(found["language"], found["mark"].strip(), body, text.count("\n", 0, found.start()) + 1)


def without_marks(text: str) -> str:
    """The page as it is shown: the name of a file above its block, nothing of the other marks."""

    def shown(found: re.Match[str]) -> str:
        mark = found["mark"].strip()
        title = f' title="{mark.removeprefix("file=")}"' if mark.startswith("file=") else ""
        head = f"{found['indent']}{found['ticks']}{found['language']}{title}\n"
        return f"{head}{found['text']}{found['indent']}{found['ticks']}"

    return FENCE.sub(shown, text)
