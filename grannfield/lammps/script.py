"""A LAMMPS input script with pauses: places where LAMMPS hands back, so that Python can look and go on.

The script is run by LAMMPS' own reader, so that loops, labels, includes, variables and `if` mean what they always mean. What is
added are a few lines of LAMMPS' own language: at a pause a variable says which one it is and a `jump` into an empty file ends the
reading; a `jump` to the label after it takes it up again. Pauses stand after commands that make the box (the forces are then the
first of all fixes, so that `fix setforce` and its like act on them), and before and after everything that can run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "grannfield_pause"
NOWHERE = "none"
"""Its value where a script has come to its end."""
LABEL = "grannfield_pause_"
BOX = {"read_data", "read_restart", "create_box", "replicate"}
RUNS = {"run", "minimize", "rerun", "neb", "temper", "prd", "tad", "hyper", "dynamical_matrix", "third_order", "if", "include"}
"""Commands that run, or may run something."""
THERMOSTAT = re.compile(r"nvt\b.*|npt\b.*|langevin|temp/.*|press/berendsen|nve/.*")
PAIR_STYLE = "grannfield"


class ScriptError(ValueError):
    """An input script cannot be run with a force field."""


@dataclass(frozen=True)
class Command:
    """One logical line of a script."""

    text: str
    """All its physical lines."""
    line: int
    """Number of the first, from 1."""

    @property
    def words(self) -> list[str]:
        """Its words, without a comment and without the marks of continued lines."""
        joined = re.sub(r"&[ \t]*\n", " ", self.text)
        return re.sub(r"#.*", "", joined).split()

    @property
    def name(self) -> str:
        return self.words[0] if self.words else ""


@dataclass(frozen=True)
class Pause:
    """One place where LAMMPS hands back, and the command it stands beside."""

    number: int
    command: Command
    after: bool


@dataclass(frozen=True)
class Script:
    """A script with pauses, and what it says about the force field."""

    path: Path
    text: str
    pauses: tuple[Pause, ...]
    elements: tuple[str, ...]
    """From `pair_coeff * * Li Ge P S` under `pair_style grannfield`; else empty."""
    fix: str
    """Id of the `fix external pf/callback` that the script makes itself; else empty."""

    def resume(self, pause: Pause, here: Path) -> str:
        """The one line of a file that goes on after a pause of the script kept at `here`."""
        return f'jump "{here}" {LABEL}{pause.number}\n'


def commands_of(text: str) -> Iterator[Command]:
    """Logical lines: those continued by `&`, and those within triple quotes, as one.

    >>> [c.words for c in commands_of("run & # more\\n 5\\nprint \\"\\"\\"a\\nrun 5\\"\\"\\"\\n")][0]
    ['run', '&']
    >>> [c.words for c in commands_of("run &\\n 5 # five\\n")]
    [['run', '5']]
    """
    kept: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not kept:
            first = number
        kept.append(line)
        whole = "".join(kept)
        if whole.count('"""') % 2 or line.rstrip().endswith("&"):
            continue
        yield Command(whole, first)
        kept = []
    if kept:
        yield Command("".join(kept), first)


def paused(path: Path, empty: Path) -> Script:
    """The script of a file with its pauses, which read the file `empty`.

    FileNotFoundError, or ScriptError naming the line that cannot be run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no LAMMPS input script {path}")
    commands = list(commands_of(path.read_text(encoding="utf-8", errors="surrogateescape")))
    written: list[str] = []
    pauses: list[Pause] = []

    def pause(command: Command, after: bool) -> None:
        one = Pause(len(pauses), command, after)
        pauses.append(one)
        written.append(
            f"echo none # grannfield looks at the system\nvariable {VARIABLE} string {one.number}\n"
            f'jump "{empty}"\nlabel {LABEL}{one.number}\necho {echo}\n'
        )

    elements: tuple[str, ...] = ()
    ours, counting, echo = False, False, "log"
    fix = own_fix(commands)
    for command in commands:
        name, words = command.name, command.words
        if name == "pair_style":
            ours = words[1:2] == [PAIR_STYLE]
        if name == "echo" and len(words) > 1:
            echo = words[1]
        if ours and name in ("pair_style", "pair_coeff"):
            if name == "pair_coeff":
                elements = _coefficients(path, command)
            written.append("pair_style none\n" if name == "pair_style" else f"# {' '.join(words)}\n")
            continue
        counting = name == "next" or (counting and name != "jump")  # a `next` that is done swallows the jump after it
        if name in RUNS and not counting:
            pause(command, after=False)
        written.append(_ended(command, empty))
        if (name in RUNS | BOX or _is_fix(words)) and not counting:
            pause(command, after=True)
    return Script(path, "".join(written), tuple(pauses), elements, fix)


def _ended(command: Command, empty: Path) -> str:
    """A command as it is run: `quit`, which would end Python with it, ends the reading instead."""
    text = command.text if command.text.endswith("\n") else command.text + "\n"
    if command.name == "quit":
        return f'jump "{empty}"\n'
    if command.name == "if":
        return re.sub(r'(?<=\s)"?quit(\s+\d+)?"?(?=\s)', f"'jump \"{empty}\"'", text)
    return text


def _is_fix(words: list[str]) -> bool:
    """Whether a command is a fix worth a pause: a thermostat, whose temperature is noted, or the user's own fix external."""
    return words[:1] == ["fix"] and len(words) > 3 and (bool(THERMOSTAT.fullmatch(words[3])) or words[3] == "external")


def own_fix(commands: list[Command]) -> str:
    """Id of the fix external with callback that a script makes itself; empty without."""
    for command in commands:
        words = command.words
        if words[:1] == ["fix"] and words[3:5] == ["external", "pf/callback"]:
            return words[1]
    return ""


def _coefficients(path: Path, command: Command) -> tuple[str, ...]:
    words = command.words
    if words[1:3] != ["*", "*"] or len(words) < 4:
        raise ScriptError(
            f"{path}:{command.line}: {' '.join(words)}: under pair_style grannfield write pair_coeff * * and one element for "
            "each type, such as pair_coeff * * Li Ge P S"
        )
    return tuple(words[3:])
