"""What each kind of piece does, whether it is done, and what it waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.data.material import load_material
from grannfield.files import FolderBusy
from grannfield.forcefield import split_name
from grannfield.motion import Motion, Subject, constant_energy, hash_of, motions
from grannfield.plugin import Named
from grannfield.reproduce import suite
from grannfield.reproduce.hands import in_hand
from grannfield.reproduce.plan import Piece
from grannfield.reproduce.scales import Scale
from grannfield.reproduce.sizes import trim
from grannfield.reproduce.state import State
from grannfield.reproduce.weights import remove, removed, trained

LEAST_S = {"speed": 20.0, "train": 15.0, "md": 15.0, "score": 20.0}
"""Time left below which a piece of a kind is not begun: loading and warming up would take most of it."""


@dataclass
class Work:
    """One state folder on one machine."""

    state: State
    scale: Scale
    seed: int
    device: str
    known: dict[str, tuple[int, Subject, list[Motion]]] = field(default_factory=dict)
    """Of each label: time of its weights, the model, and all its motions."""
    expected_s: float = 60.0
    """Of the piece being worked on, for what cannot say itself how far it is."""

    def do(self, piece: Piece) -> None:
        """Work on a piece until it is done or an exception ends it."""
        {"speed": self.measure, "train": self.train, "md": self.simulate, "score": self.score}[piece.kind](piece)

    def done(self, piece: Piece) -> bool:
        """Whether what a piece makes is there: for speed by hardware, for MD and scores for the present weights and code."""
        if piece.kind == "speed":
            return not self.unmeasured(piece)
        if not (self.removed(piece.model) or trained(self.checkpoint(piece.model))):
            return False
        if piece.kind == "md":
            return all(self.made(key) for key in self.keys_of(piece))
        if piece.kind == "score":
            return self.results(piece.model).exists() and self._scored(piece)
        return True

    def _scored(self, piece: Piece) -> bool:
        """Whether the results are of these weights and runs; a note about removed weights says so itself."""
        return bool(self.removed(piece.model)) or self.state.of(piece.name).get("scored") == self.subject_of_scores(piece.model)

    def begun(self, piece: Piece) -> bool:
        """Whether a piece that is not done has left something to go on from."""
        if piece.kind == "train":
            return (self.checkpoint(piece.model).parent / "last.safetensors").exists()
        if piece.kind == "speed":
            return len(self.unmeasured(piece)) < len(sections())
        if piece.kind == "md" and self.weights_at_hand(piece.model):
            folders = [motion.folder(self.store) for motion in self.motions_of(piece)]
            return any((folder / "done.json").exists() or any((folder / "partial").glob("*.npz")) for folder in folders)
        return False

    # speed

    @property
    def hardware(self) -> str:
        """What speeds belong to."""
        return self.machine if self.device.startswith("cuda") else provenance.processor()

    @cached_property
    def machine(self) -> str:
        """What computes: as sittings note it; a GPU without a name where there is none, which only a forecast asks for."""
        import torch

        if self.device.startswith("cuda") and not torch.cuda.is_available():
            return "a GPU that is not here"
        return provenance.hardware(self.device)

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
                seconds=self.scale.speed_seconds, comparing=False,
            )  # fmt: skip
            self.state.note(piece.name, partial(self._measured, section))

    def _measured(self, section: str, record: dict[str, Any]) -> None:
        by_hardware = record.setdefault("measured", {})
        by_hardware[self.hardware] = [*by_hardware.get(self.hardware, []), section]

    # training

    def checkpoint(self, model: str) -> Path:
        return self.state.reports / "checkpoints" / self.scale.label(model) / "best.safetensors"

    def removed(self, model: str) -> dict[str, Any] | None:
        """The note about the weights of a model, where they were too large to be kept."""
        return removed(self.checkpoint(model).parent)

    def weights_at_hand(self, model: str) -> bool:
        """Whether a model is trained and can still be computed with."""
        return self.removed(model) is None and trained(self.checkpoint(model))

    def train(self, piece: Piece) -> None:
        """Training as `grannfield train` does it; when it is over only the best weights and the curve are kept."""
        import torch

        from grannfield.budget import device_clock
        from grannfield.data.dataset import frames
        from grannfield.forcefield import create
        from grannfield.recipe import RECIPES
        from grannfield.train import fit

        material, scale = load_material(self.scale.training), self.scale
        reference, literal = material.reference(), scale.recipe == "paper"
        training = frames(material, reference, "train")
        validation = frames(material, reference, "validation", limit=None if literal else scale.validation_frames)
        torch.manual_seed(self.seed)
        model = create(split_name(piece.model)[0], **scale.settings_of(piece.model))
        source = {
            "material": material.formula,
            "reference": reference.label,
            "training_data": training.sha256,
            "split": "windows",
            "budget": scale.budget,
            "trained_on": list(dict.fromkeys(one["hardware"] for one in self.state.of(piece.name)["sittings"])),
        }
        folder = self.checkpoint(piece.model).parent
        fit(
            model, training, validation, folder, budget_s=60 * scale.minutes(piece.model), recipe=RECIPES[scale.recipe],
            seed=self.seed, device=self.device, source=source, max_steps=scale.steps(piece.model),
            clock=device_clock(self.device), halved=scale.halved,
        )  # fmt: skip
        (folder / "last.safetensors").unlink(missing_ok=True)

    # molecular dynamics

    @property
    def store(self) -> Path:
        return self.state.reports / "store"

    def made(self, key: str) -> bool:
        """Whether the store has the runs of a key."""
        return (self.store / "md" / key / "done.json").exists()

    def _known(self, model: str) -> tuple[int, Subject, list[Motion]]:
        """The model as trained here, under the name by which the suite will find it, and all runs that the suite will ask for."""
        label, path = self.scale.label(model), self.checkpoint(model)
        stamp = path.stat().st_mtime_ns  # another call may train it anew
        if label not in self.known or self.known[label][0] != stamp:
            from grannfield.forcefield import load

            subject = Subject(Named(label, label, path), load(path))
            self.known[label] = stamp, subject, []
            for name in self.scale.materials:
                about = load_material(name), load_material(name).reference(), self.scale.suite, self.seed
                self.known[label][2].extend([*motions(subject, *about), constant_energy(subject, *about)])
        return self.known[label]

    def subject(self, model: str) -> Subject:
        return self._known(model)[1]

    def motions(self, model: str) -> list[Motion]:
        """All that the suite will ask for."""
        return self._known(model)[2]

    def motions_of(self, piece: Piece) -> list[Motion]:
        """Those at a piece's temperature; with a material's first one go its runs at constant energy."""
        there = [m for m in self.motions(piece.model) if m.material.short == piece.material]
        nvt = [m for m in there if m.protocol.ensemble != "nve"]
        nve = [m for m in there if m.protocol.ensemble == "nve"]
        own = [m for m in nvt if m.protocol.temperature == piece.temperature]
        return own + (nve if own == nvt[:1] else [])

    def keys_of(self, piece: Piece) -> list[str]:
        """Of the runs of a piece: by what the store knows them."""
        note = self.removed(piece.model)
        return [m.key for m in self.motions_of(piece)] if note is None else list(note["runs"].get(piece.name, []))

    def simulate(self, piece: Piece) -> None:
        """MD into the store that the suite reads."""
        for motion in self.motions_of(piece):
            motion.simulated(self.store, self.device)

    # scoring

    def results(self, model: str) -> Path:
        return self.state.reports / "results" / f"{self.scale.label(model)}.json"

    def subject_of_scores(self, model: str) -> str:
        """What scores are of: weights and runs; with others they are to be made again."""
        return hash_of(self.subject(model).identity, *(motion.key for motion in self.motions(model)))

    def score(self, piece: Piece) -> None:
        """The suite, in a process of its own, on the weights and runs of the state."""
        label, scale = self.scale.label(piece.model), self.scale
        about = scale.materials, scale.preset, self.seed, self.device, self.state.reports
        suite.run_suite(suite.command(label, *about), self.expected_s, f"scoring {label}")
        trim(self.state.reports)
        if errors := suite.errors_in(self.results(piece.model)):
            raise RuntimeError(f"the suite ran into {len(errors)} errors, the first: {errors[0]}")
        scored = self.subject_of_scores(piece.model)
        self.state.note(piece.name, lambda record: record.update(scored=scored))

    @cached_property
    def missing_for_scores(self) -> list[str]:
        """What is to be installed before anything can be scored here."""
        return suite.missing()

    # weights that are not kept

    def shed(self, row: list[Piece]) -> bool:
        """Put a note in the place of the weights of a model too large to be kept, if all the pieces of its row are done."""
        model, (train, *rest) = row[0].model, row
        if not (
            self.scale.largest_kept
            and self.weights_at_hand(model)
            and self.scale.sheds(model)
            and all(self.done(piece) for piece in row)
        ):
            return False
        note = {"identity": self.subject(model).identity, "n_parameters": self.subject(model).field.n_parameters}
        note |= {"removed": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "scored": self.subject_of_scores(model)}
        note |= {"runs": {piece.name: self.keys_of(piece) for piece in rest if piece.kind == "md"}}
        try:
            with in_hand(self.state.folder, train.name):
                remove(self.checkpoint(model), note)
        except FolderBusy:
            return False
        self.known.pop(self.scale.label(model), None)
        return True


def sections() -> tuple[str, ...]:
    """Of the speed suite, those about one model by itself, the ones that tell most first."""
    from grannfield.speed import SECTIONS

    return tuple(sorted((name for name in SECTIONS if name != "comparisons"), key=lambda name: name != "models"))
