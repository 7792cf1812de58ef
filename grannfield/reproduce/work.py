"""What each kind of piece does, whether it is done, and what it waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from grannfield import provenance
from grannfield.data.material import load_material
from grannfield.files import FolderBusy, locked
from grannfield.motion import Motion, Subject, constant_energy, hash_of, motions
from grannfield.plugin import Named
from grannfield.reproduce.plan import Piece
from grannfield.reproduce.scales import Scale
from grannfield.reproduce.state import State, StateError

SCORING_NEEDS = {
    "scipy": "scipy",
    "pandas": "pandas",
    "jinja2": "jinja2",
    "tabulate": "tabulate",
    "spglib": "spglib",
    "pymatgen.core": "pymatgen",
    "pymatgen.analysis.diffusion": "pymatgen-analysis-diffusion",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
}
"""Modules that the suite needs beyond what moves atoms, and what to install for each."""
LEAST_S = {"speed": 20.0, "train": 15.0, "md": 15.0, "score": 20.0}
"""Time left below which a piece of a kind is not begun: loading and warming up would take most of it."""
PATIENCE_S = 60.0
"""For the suite to end after it was interrupted."""


@dataclass
class Work:
    """One state folder on one machine."""

    state: State
    scale: Scale
    seed: int
    device: str
    subjects: dict[str, Subject] = field(default_factory=dict)

    def do(self, piece: Piece) -> None:
        """Work on a piece until it is done or an exception ends it."""
        {"speed": self.measure, "train": self.train, "md": self.simulate, "score": self.score}[piece.kind](piece)

    def done(self, piece: Piece) -> bool:
        """Whether what a piece makes is there: for speed by hardware, for MD and scores for the present weights and code."""
        if piece.kind == "train":
            return trained(self.checkpoint(piece.model))
        if piece.kind == "speed":
            return not self.unmeasured(piece)
        if not trained(self.checkpoint(piece.model)):
            return False
        if piece.kind == "md":
            return all(motion.made(self.store) for motion in self.motions_of(piece))
        made = list((self.state.reports / "results").glob(f"{piece.model}.json"))
        return bool(made) and self.state.of(piece.name).get("scored") == self.subject_of_scores(piece.model)

    def begun(self, piece: Piece) -> bool:
        """Whether a piece that is not done has left something to go on from."""
        if piece.kind == "train":
            return (self.checkpoint(piece.model).parent / "last.safetensors").exists()
        if piece.kind == "speed":
            return len(self.unmeasured(piece)) < len(sections())
        if piece.kind == "md" and trained(self.checkpoint(piece.model)):
            return any(
                m.made(self.store) or any((m.folder(self.store) / "partial").glob("*.npz")) for m in self.motions_of(piece)
            )
        return False

    def least_s(self, piece: Piece) -> float:
        """Seconds that must be left to begin a piece."""
        return LEAST_S[piece.kind] + (self.scale.speed_seconds if piece.kind == "speed" else 0.0)

    # speed

    @property
    def hardware(self) -> str:
        """What speeds belong to."""
        return provenance.hardware(self.device) if self.device.startswith("cuda") else provenance.processor()

    def unmeasured(self, piece: Piece) -> list[str]:
        """Sections of the speed suite that are still to be measured on this hardware."""
        measured = self.state.of(piece.name).get("measured", {}).get(self.hardware, [])
        return [section for section in sections() if section not in measured]

    def measure(self, piece: Piece) -> None:
        """Speed at Table 1's size, section by section, into reports/speed/<hardware>.json of the state.

        Comparisons with other packages are left to `grannfield speed`: those are not about the paper, and take minutes.
        """
        from grannfield.speed import write_speed

        for section in self.unmeasured(piece):
            write_speed(
                self.state.reports, self.scale.speed_rounds, [piece.model], device=self.device, only=[section],
                seconds=self.scale.speed_seconds,
            )  # fmt: skip
            by_hardware = self.state.of(piece.name).setdefault("measured", {})
            by_hardware[self.hardware] = [*by_hardware.get(self.hardware, []), section]
            self.state.write()

    # training

    def checkpoint(self, model: str) -> Path:
        return self.state.reports / "checkpoints" / model / "best.safetensors"

    def train(self, piece: Piece) -> None:
        """Training as `grannfield train` does it; when it is over only the best weights and the curve are kept."""
        import torch

        from grannfield.budget import device_clock
        from grannfield.data.dataset import frames
        from grannfield.forcefield import create
        from grannfield.train import fit

        material = load_material(self.scale.training)
        reference = material.reference()
        training = frames(material, reference, "train")
        validation = frames(material, reference, "validation", limit=self.scale.validation_frames)
        torch.manual_seed(self.seed)
        model = create(piece.model, **self.scale.settings_of(piece.model))
        source = {
            "material": material.formula,
            "reference": reference.label,
            "training_data": training.sha256,
            "split": "windows",
            "trained_on": list(dict.fromkeys(one["hardware"] for one in self.state.of(piece.name)["sittings"])),
        }
        folder = self.checkpoint(piece.model).parent
        fit(
            model, training, validation, folder, budget_s=60 * self.scale.train_minutes[piece.model], seed=self.seed,
            device=self.device, source=source, max_steps=self.scale.max_steps, clock=device_clock(self.device),
            halved=self.scale.halved,
        )  # fmt: skip
        (folder / "last.safetensors").unlink(missing_ok=True)
        self.subjects.pop(piece.model, None)

    # molecular dynamics

    @property
    def store(self) -> Path:
        return self.state.reports / "store"

    def subject(self, model: str) -> Subject:
        """The model as trained here, under the name by which the suite will find it."""
        if model not in self.subjects:
            from grannfield.forcefield import load

            path = self.checkpoint(model)
            self.subjects[model] = Subject(Named(model, model, path), load(path))
        return self.subjects[model]

    def motions(self, model: str) -> list[Motion]:
        """All that the suite will ask for."""
        found = []
        for name in self.scale.materials:
            about = load_material(name), load_material(name).reference(), self.scale.suite, self.seed
            found += [*motions(self.subject(model), *about), constant_energy(self.subject(model), *about)]
        return found

    def motions_of(self, piece: Piece) -> list[Motion]:
        """Those at a piece's temperature; with a material's first one go its runs at constant energy."""
        there = [m for m in self.motions(piece.model) if m.material.short == piece.material]
        nvt = [m for m in there if m.protocol.ensemble != "nve"]
        nve = [m for m in there if m.protocol.ensemble == "nve"]
        own = [m for m in nvt if m.protocol.temperature == piece.temperature]
        return own + (nve if own == nvt[:1] else [])

    def simulate(self, piece: Piece) -> None:
        """MD into the store that the suite reads."""
        for motion in self.motions_of(piece):
            motion.simulated(self.store, self.device)

    # scoring

    def subject_of_scores(self, model: str) -> str:
        """What scores are of: weights and runs; with others they are to be made again."""
        return hash_of(self.subject(model).identity, *(motion.key for motion in self.motions(model)))

    def score(self, piece: Piece) -> None:
        """The suite, in a process of its own, on the weights and runs of the state."""
        run_suite(self.suite_command(piece.model))
        if errors := errors_in(self.state.reports / "results" / f"{piece.model}.json"):
            raise RuntimeError(f"the suite ran into {len(errors)} errors, the first: {errors[0]}")
        self.state.of(piece.name)["scored"] = self.subject_of_scores(piece.model)

    def suite_command(self, model: str) -> list[str]:
        """The command line behind a score."""
        return [
            sys.executable, "-m", "grannfield.cli", "bench", "-q", "--model", model, "--material", ",".join(self.scale.materials),
            "--preset", self.scale.preset, "--seed", str(self.seed), "--device", self.device,
            "--reports", str(self.state.reports.resolve()),
        ]  # fmt: skip

    @cached_property
    def missing_for_scores(self) -> list[str]:
        """What is to be installed before anything can be scored here."""
        return [package for module, package in SCORING_NEEDS.items() if not _installed(module)]


def sections() -> tuple[str, ...]:
    """Of the speed suite, those about one model by itself, the ones that tell most first."""
    from grannfield.speed import SECTIONS

    return tuple(sorted((name for name in SECTIONS if name != "comparisons"), key=lambda name: name != "models"))


def trained(path: Path) -> bool:
    """Whether a checkpoint is the end of its training's whole budget; StateError, naming the file, when it cannot be read."""
    if not path.exists():
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["grannfield"])
            return "whole_budget" in header["provenance"]
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as problem:
        raise StateError(f"{path} cannot be read ({problem}); delete {path.parent} to train again") from problem


def errors_in(path: Path) -> list[str]:
    """Cells of a results file in which the model or the suite broke."""
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    return [f"{score['metric']} on {score['material']}: {score['reason']}" for score in scores if score.get("error")]


def run_suite(command: list[str]) -> None:
    """Run the suite to its end; RuntimeError when it could not run at all. An interruption is passed on to it and waited for."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    # A session of its own: Ctrl-C in a terminal reaches this process alone, which passes it on, once.
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, start_new_session=True) as suite:
        try:
            code = suite.wait()
        except BaseException:
            suite.send_signal(signal.SIGINT)
            try:
                suite.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                suite.kill()
            raise
    if code not in (0, 1):  # 1: tests failed, which the results tell
        raise RuntimeError(f"`{' '.join(command[1:])}` ended with code {code}; what it printed says why")


def busy(folder: Path) -> bool:
    """Whether another process works in a state folder."""
    if not folder.exists():
        return False
    try:
        with locked(folder):
            return False
    except FolderBusy:
        return True


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
