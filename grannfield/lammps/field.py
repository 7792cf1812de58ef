"""A force field as the forces of one LAMMPS, through `fix external pf/callback`.

At every step LAMMPS hands over its atoms; they are put in the order of their ids and unwrapped, turned back into the axes the
structure was stored in, given to `predict`, and energy, forces and virial go back. Neighbours are searched here: LAMMPS' own
lists, its sorting of atoms and its `pair_style` play no part.

Whatever goes wrong meanwhile stops the run at that step: an exception cannot cross LAMMPS, so it is kept, LAMMPS is told to stop
and to report an error, and the exception goes on where LAMMPS returns.
"""

from __future__ import annotations

import ctypes
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grannfield.candidates import Candidates
from grannfield.forcefield import ForceField, Prediction, to_precision
from grannfield.graph import AtomGraph
from grannfield.lammps.axes import Axes, box_cell, decoded
from grannfield.lammps.elements import elements_of_types, labels_written
from grannfield.lammps.library import LammpsError, require_one_rank
from grannfield.neighbors import neighbor_graph

FIX = "grannfield"
"""Id of the fix that brings the forces."""
PRESSING = re.compile(r"(npt|nph)\b.*|nphug|press/.*|box/relax|msst|qbmsst")
"""Styles of fixes that need a pressure."""
VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""LAMMPS' order of the components of a virial."""


class NotFinite(RuntimeError):
    """A force field has given a NaN or infinite energy or force."""


class LammpsField:
    """A force field in a `lammps.lammps` instance, in metal units and one process.

    elements: symbols in the order of the types, needed only where type labels or masses do not tell them. axes: the turn between
    the structure as it was stored and LAMMPS' axes. Run commands through `command`, `commands` and `file` rather than through the
    instance: what goes wrong then arrives here as the exception it was. ValueError or LammpsError for what LAMMPS, as it is set
    up, cannot do with the force field.

    After each evaluation `watch(step, pos, forces, energy)` is called, if there is one; what it raises stops the run as well.
    """

    def __init__(
        self,
        field: ForceField,
        lmp: Any,
        elements: Sequence[str] = (),
        *,
        axes: Axes | None = None,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        fix: str = FIX,
        virial: bool = True,
        watch: Callable[[int, np.ndarray, np.ndarray, float], None] | None = None,
    ) -> None:
        self.field = to_precision(field, dtype).to(device).eval()
        self.lmp, self.elements, self.device, self.fix = require_one_rank(lmp), tuple(elements), device, fix
        self.axes, self.watch = axes or Axes.same(), watch
        self.has_stress = has_stress(self.field)
        self.virial = virial and self.has_stress
        self.evaluations = 0
        """How often forces were computed."""
        self.energy = float("nan")
        """eV, of the last evaluation."""
        self.problem: BaseException | None = None
        self.interrupt: BaseException | None = None
        self.species = np.zeros(1, dtype=np.int64)
        """[T + 1] atomic numbers of the types."""
        self.numbers: tuple[int, ...] = ()
        """Atomic numbers of the atoms before the last run, in no order."""
        self.search: tuple[bytes, Candidates] | None = None
        self.blank: tuple[int, Any] = (0, None)
        """Room for what LAMMPS may ask for and no network has: virials of atoms."""
        if lmp.extract_setting("box_exist"):
            self.prepare()

    # ---- commands

    def command(self, text: str) -> None:
        """Run one LAMMPS command; the exception that stopped it, or LammpsError with LAMMPS' own message."""
        words = text.split()
        if words and words[0] in ("run", "minimize", "rerun") and self.lmp.extract_setting("box_exist"):
            self.prepare()
        with self.running():
            self.lmp.command(text)

    def commands(self, text: str) -> None:
        """Run LAMMPS commands, one on each line."""
        for line in text.splitlines():
            if line.strip():
                self.command(line)

    def file(self, path: str | Path) -> None:
        """Run a LAMMPS input script in which the box is there already; `grannfield.lammps.drive` runs whole ones."""
        with self.running():
            self.lmp.file(str(path))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it LAMMPS may run: signals wait for the end of an evaluation, and what has gone wrong is raised at the end."""
        with self._signals_kept():
            try:
                yield
            except Exception as problem:  # LAMMPS raises plain Exception: raised again by its text, after ours where there is one
                if self.problem is None and self.interrupt is None:
                    raise LammpsError(_without_frame(problem)) from None
        self.raise_problem()

    def raise_problem(self) -> None:
        """Raise what has stopped LAMMPS in a callback, once; LAMMPS can be used again after it."""
        problem = self.problem or self.interrupt
        self.problem = self.interrupt = None
        if problem is None:
            return
        text = ctypes.create_string_buffer(4096)
        with suppress(Exception):  # an instance that is beyond use says so itself
            self.lmp.lib.lammps_get_last_error_message(self.lmp.lmp, text, len(text))
            self.lmp.command("timer timeout off")
        raise problem

    @contextmanager
    def _signals_kept(self) -> Iterator[None]:
        """Within it Ctrl-C and SIGTERM are remembered: between two lines of a callback an exception would be lost."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def keep(number: int, frame: Any) -> None:
            try:
                before[signal.Signals(number)](number, frame)  # type: ignore[operator, misc]
            except BaseException as problem:  # KeyboardInterrupt or what the process makes of SIGTERM: raised after the step
                self.interrupt = problem

        for number, old in before.items():
            if callable(old):
                signal.signal(number, keep)
        try:
            yield
        finally:
            for number, old in before.items():
                if callable(old):
                    signal.signal(number, old)

    # ---- before a run

    def prepare(self) -> None:
        """Make sure that LAMMPS can run with this force field: units, fix, elements, no barostat without a pressure."""
        style = self.lmp.extract_global("units")
        if style != "metal":
            raise LammpsError(
                f"LAMMPS is in units {style}; force fields work in eV and Å: write `units metal` (nothing is converted silently)"
            )
        if self.lmp.extract_setting("dimension") != 3:
            raise LammpsError("LAMMPS is set to dimension 2; force fields are for three dimensions")
        if not self.lmp.has_id("fix", self.fix):
            self.lmp.command(f"fix {self.fix} all external pf/callback 1 1")
            self._say_no_pair()
        self.lmp.set_fix_external_callback(self.fix, self._callback, None)
        self._refuse_pressure()
        self._name_types()

    def _say_no_pair(self) -> None:
        """Spare the user LAMMPS' warnings that without a pair_style nothing can be right."""
        if self.lmp.extract_global("pair_style") in (None, "none"):
            found = re.search(r"Communication cutoff = (\S+)", self.written("info comm out overwrite {}"))
            if found and float(found[1]) == 0.0:
                self.lmp.commands_list(["comm_modify cutoff 1.0", "atom_modify sort 0 0.0"])

    def _refuse_pressure(self) -> None:
        """LammpsError for a fix that needs a pressure where the force field has none."""
        if self.has_stress:
            return
        for name, style in self.fixes():
            if PRESSING.fullmatch(style):
                why = "it predicts forces directly, without an energy whose gradient the stress would be"
                if self.field.conservative:
                    why = "its calculator offers none"
                raise LammpsError(
                    f"fix {name} has the style {style}, which needs a pressure; {self.field.name} has no stress: {why}. "
                    "Use nve or nvt, or a model with stress (`grannfield models` lists those of direct forces as such)"
                )

    def fixes(self) -> list[tuple[str, str]]:
        """Id and style of every fix."""
        text = self.written("info fixes out overwrite {}")
        return re.findall(r"^Fix\[[^]]*\]:\s*(\S+),\s*style = ([^,\s]+)", text, re.MULTILINE)

    def written(self, command: str) -> str:
        """What a command writes to the file whose name it is given."""
        with tempfile.TemporaryDirectory(prefix="grannfield-") as folder:
            path = Path(folder) / "written"
            self.lmp.command(command.format(f'"{path}"'))
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _name_types(self) -> None:
        """Find the element of every type; MappingError where it cannot be told."""
        count, n = self.lmp.extract_setting("ntypes"), self.lmp.extract_setting("nlocal")
        if not n:
            return  # atoms may follow; there is nothing to compute until then
        of_type = self.lmp.numpy.extract_atom("mass")
        masses = [0.0] * count if of_type is None else [float(x) for x in np.ravel(of_type)[1 : count + 1]]
        labels = labels_written(self.written("labelmap write {}"))
        types = np.array(self.lmp.numpy.extract_atom("type")[:n])
        used = set(types.tolist())
        self.species = elements_of_types(masses, labels, self.elements, used)
        self.numbers = tuple(self.species[types].tolist())
        self.field.require_elements(self.species[sorted(used)])

    # ---- at every step

    def _callback(self, caller: Any, step: int, n: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        if self.problem is None and self.interrupt is None and n:
            try:
                self._fill(step, n, tag, x, f)
            except BaseException as problem:  # ctypes would print it and go on: kept for `raise_problem`, LAMMPS stopped
                self.problem = problem
        if self.problem is not None or self.interrupt is not None:
            f[:] = 0.0
            self._stop(step)

    def _stop(self, step: int) -> None:
        """Make LAMMPS end its run after this step and report an error to whoever started it."""
        problem = self.problem or self.interrupt
        said = f"{type(problem).__name__}: {problem}".replace("\n", " ")
        text = f"grannfield has stopped LAMMPS at step {step}: {said}"
        self._show_errors(
            False
        )  # it would be shown as an unknown fix: of all calls allowed within a run, only some keep an error
        self.lmp.lib.lammps_fix_external_get_force(self.lmp.lmp, text.encode())
        self._show_errors(True)
        self.lmp.lib.lammps_force_timeout(self.lmp.lmp)

    def _show_errors(self, shown: bool) -> None:
        if hasattr(self.lmp, "set_show_error"):
            self.lmp.set_show_error(shown)

    def _fill(self, step: int, n: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        """Forces f [n,3] of the atoms at x [n,3], and energy and virial."""
        low, high, xy, yz, xz, pbc, changing = self.lmp.extract_box()
        cell = box_cell(low, high, xy, yz, xz)
        if not (np.isfinite(cell).all() and np.isfinite(x).all()):
            raise NotFinite(f"positions or box have become NaN or infinite by step {step}; the run has exploded before")
        images = decoded(self.lmp.numpy.extract_atom("image")[:n], self.lmp.extract_setting("imageint"))
        order = np.argsort(tag, kind="stable")
        pos = self.axes.back((x - low + images @ cell)[order])
        z = self.species[self.lmp.numpy.extract_atom("type")[:n][order]]
        if not z.all():
            raise LammpsError(f"at step {step} there are atoms of a type without an element; name the elements of all types")
        graph = self._graph(z, pos, self.axes.back(cell), np.array(pbc, bool), bool(changing))
        prediction = self.field.predict(graph.to(self.device), stress=self.virial and self._answers(pbc))
        energy, forces = float(prediction.energy[0]), prediction.forces.detach().double().cpu().numpy()
        self.energy = energy
        self.evaluations += 1
        if self.watch is not None:
            self.watch(step, pos, forces, energy)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise NotFinite(f"{self.field.name} gives a NaN or infinite energy or force at step {step}")
        f[order] = self.axes.into(forces)
        self._tell(prediction, energy, order, cell)

    def _answers(self, pbc: Sequence[int]) -> bool:
        """Whether the force field has a stress in such a box: an ASE calculator only for crystals."""
        return not hasattr(self.field, "calculator") or all(pbc)

    def _graph(self, z: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray, changing: bool) -> AtomGraph:
        """Neighbours by a list of candidates that lasts many steps, or anew where the box changes."""
        if changing:
            return neighbor_graph(z, pos, cell, self.field.cutoff, pbc)
        key = z.tobytes() + cell.tobytes() + pbc.tobytes()
        if self.search is None or self.search[0] != key:
            self.search = key, Candidates(z, torch.from_numpy(cell.copy())[None], self.field.cutoff, pbc)
        return self.search[1](torch.from_numpy(np.ascontiguousarray(pos))[None])

    def _tell(self, prediction: Prediction, energy: float, order: np.ndarray, cell: np.ndarray) -> None:
        """Energy, virial and what belongs to single atoms; NaN for what the force field has not, lest 0 be taken for it."""
        lib, lmp, name = self.lmp.lib, self.lmp.lmp, self.fix.encode()
        lib.lammps_fix_external_set_energy_global(lmp, name, energy)
        each = np.full(len(order), np.nan)
        if prediction.atomic_energies is not None:
            each[order] = prediction.atomic_energies.detach().double().cpu().numpy()
        lib.lammps_fix_external_set_energy_peratom(lmp, name, each.ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
        virial = np.full((3, 3), np.nan)
        if prediction.stress is not None:
            stress = prediction.stress[0].detach().double().cpu().numpy()
            virial = -self.axes.tensor_into(stress) * abs(np.linalg.det(cell))
        lib.lammps_fix_external_set_virial_global(lmp, name, (ctypes.c_double * 6)(*(virial[k] for k in VOIGT)))
        lib.lammps_fix_external_set_virial_peratom(lmp, name, self._blank(len(order)))

    def _blank(self, n: int) -> Any:
        """[n][6] NaN, as C has it."""
        if self.blank[0] != n:
            row = (ctypes.c_double * 6)(*[float("nan")] * 6)
            pointer = ctypes.POINTER(ctypes.c_double)
            self.blank = n, (pointer * n)(*[ctypes.cast(row, pointer)] * n)
        return self.blank[1]


def has_stress(field: ForceField) -> bool:
    """Whether a force field has a stress: one with an energy gradient, or a calculator that offers one."""
    calculator = getattr(field, "calculator", None)
    return field.conservative if calculator is None else "stress" in getattr(calculator, "implemented_properties", ())


def _without_frame(problem: Exception) -> str:
    """LAMMPS' message on one line, without what it puts around it."""
    lines = [line.strip() for line in str(problem).splitlines() if not line.startswith("For more information")]
    lines = [line for line in lines if line.strip("^ ")]  # a line of marks points into the one above
    text = re.sub(r" \(src/[^)]*\)", "", "; ".join(lines).replace("ERROR: ", ""))
    return f"LAMMPS: {text}"
