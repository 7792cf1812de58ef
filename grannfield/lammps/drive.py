"""A user's LAMMPS input script, run by LAMMPS with the forces of a force field."""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from grannfield.forcefield import ForceField
from grannfield.lammps.axes import Axes, axes_of_data_file
from grannfield.lammps.dumps import Dump, dumps_of
from grannfield.lammps.field import FIX, LammpsField
from grannfield.lammps.library import LammpsError, open_lammps
from grannfield.lammps.script import NOWHERE, VARIABLE, Pause, Script, paused


@dataclass
class Driven:
    """What became of a script."""

    steps: int
    """MD steps and minimisation steps."""
    evaluations: int
    seconds: float
    """Wall time of the whole script."""
    species: tuple[int, ...]
    """Atomic numbers of the types, in their order."""
    axes: Axes
    numbers: tuple[int, ...] = ()
    """Atomic numbers of the atoms."""
    dumps: dict[Path, Dump] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def drive(
    script: Path,
    field: ForceField,
    elements: Sequence[str] = (),
    *,
    arguments: Sequence[str] = (),
    device: str = "cpu",
    axes: Axes | None = None,
) -> Driven:
    """Run a LAMMPS input script with the forces of `field`; `arguments` are those of LAMMPS' own command line.

    The script is an ordinary one without a `pair_style`: the fix that brings the forces is added as soon as there is a box.
    Raises what went wrong in the force field as it was, LammpsError for what LAMMPS itself complains of, and for a script that
    has run without having asked for forces.
    """
    with tempfile.TemporaryDirectory(prefix="grannfield-") as folder:
        empty = Path(folder) / "empty.lammps"
        empty.write_text("")
        whole = paused(script, empty)
        if elements and whole.elements and tuple(elements) != whole.elements:
            raise LammpsError(
                f"--elements {' '.join(elements)}, but {script} says pair_coeff * * {' '.join(whole.elements)}; keep one of them"
            )
        lmp = open_lammps(arguments)
        try:
            driver = _Driver(lmp, whole, Path(folder), field, tuple(elements) or whole.elements, device, axes)
            return driver.run()
        finally:
            lmp.close()
            ctypes.CDLL(None).fflush(None)  # what LAMMPS has printed comes before what Python prints


class _Driver:
    """One script on its way."""

    def __init__(
        self, lmp: Any, script: Script, folder: Path, field: ForceField, elements: tuple[str, ...], device: str, axes: Axes | None
    ) -> None:
        self.lmp, self.script, self.folder, self.given = lmp, script, folder, axes
        self.forces = LammpsField(field, lmp, elements, device=device, axes=axes, fix=script.fix or FIX)
        self.start = time.monotonic()
        self.done = Driven(0, 0, 0.0, (), self.forces.axes)
        self.temperature: float | None = None
        """K, of the last thermostat."""

    def run(self) -> Driven:
        main, here = self.folder / self.script.path.name, self.folder / "resume.lammps"
        main.write_text(self.script.text, encoding="utf-8", errors="surrogateescape")
        self.lmp.command(f"variable {VARIABLE} string {NOWHERE}")
        self.forces.file(main)
        while (number := self.lmp.extract_variable(VARIABLE)) != NOWHERE:
            pause = self.script.pauses[int(number)]
            self.lmp.command(f"variable {VARIABLE} string {NOWHERE}")
            self._at(pause)
            here.write_text(self.script.resume(pause, main), encoding="utf-8")
            self.forces.file(here)
        self._look()
        done = self.done
        done.evaluations, done.seconds = self.forces.evaluations, time.monotonic() - self.start
        done.species = tuple(int(z) for z in self.forces.species[1:])
        done.numbers = self.forces.numbers
        if not done.evaluations:
            raise LammpsError(
                f"{self.script.path} came to its end without a run of atoms, or ran them without ever asking for forces; "
                "keep the commands that make the box, or a run, in the script itself, not both in an included file"
            )
        return done

    def _at(self, pause: Pause) -> None:
        """What there is to do where LAMMPS hands back."""
        name, words = pause.command.name, pause.command.words
        if pause.after and name == "read_data" and self.given is None and len(words) > 1:
            self._turn(Path(self._expanded(words[1])))
        if pause.after and name == "fix":
            self._note_temperature(words)
        self._look()
        if self.lmp.extract_setting("box_exist"):
            try:
                self.forces.prepare()
            except ValueError:  # after read_data masses and labels may still follow; before a run nothing may
                if not pause.after or name in ("run", "minimize"):
                    raise

    def _expanded(self, word: str) -> str:
        """A word with LAMMPS' variables in their places."""
        return str(self.lmp.expand(word)).strip("\"'") if "$" in word else word.strip("\"'")

    def _turn(self, data: Path) -> None:
        if not data.is_file():
            return  # compressed, or a file that only LAMMPS knows to find
        self.forces.axes = self.done.axes = axes_of_data_file(data)

    def _note_temperature(self, words: list[str]) -> None:
        """Temperature at the end of a thermostat's run."""
        for key, offset in (("temp", 2), ("langevin", 2)):
            if key in words[3:]:
                at = words.index(key, 3) + offset
                self._try_temperature(words, at)
                return
        if words[3].startswith("temp/"):
            self._try_temperature(words, 6 if words[3] == "temp/rescale" else 5)

    def _try_temperature(self, words: list[str], at: int) -> None:
        try:
            self.temperature = float(self._expanded(words[at]))
        except (IndexError, ValueError):
            return  # a variable that changes in time

    def _look(self) -> None:
        """Note dumps, steps and what a user should know."""
        if not self.lmp.extract_setting("box_exist"):
            return
        done = self.done
        done.steps = max(done.steps, int(self.lmp.extract_global("ntimestep")))
        timestep = round(1e3 * float(self.lmp.extract_global("dt")), 9)
        for dump in dumps_of(self.forces):
            done.dumps[dump.path] = replace(dump, temperature=self.temperature, timestep=timestep)
        style = self.lmp.extract_global("pair_style")
        if style not in (None, "none", "zero") and not any("pair_style" in note for note in done.notes):
            done.notes.append(f"the script has a pair_style {style}: its forces are added to those of {self.forces.field.name}")
