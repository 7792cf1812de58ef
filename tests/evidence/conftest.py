"""A small board with everything behind it: a piece of a reference run as the model's motion, forces of the shipped SchNet."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grannfield.data.checksum import sha256_of_file
from grannfield.data.dataset import FrameSet
from grannfield.data.predicted import write_predictions
from grannfield.evidence.again import made_again
from grannfield.evidence.kept import evidence_of, reference_data
from grannfield.evidence.subject import described_subject
from grannfield.harness import predict, unseen_frames
from grannfield.md.simulate import MDRun, Protocol
from grannfield.motion import run_pointers, store_runs
from grannfield.plugin import find, identity, open_model
from grannfield.presets import PRESETS
from grannfield.report.results import Results, read_results
from grannfield.score import Score

FORMULA, LGPS = "Li3PS4", "Li10GeP2S12"
LABEL = "toy"
MADE_ON = {"hardware": "a test", "versions": {"grannfield": "0.1.0", "code": "abc"}, "date": "2026-01-01 00:00 UTC"}
METRICS = {
    "md": ("rdf_mae", "rdf_wasserstein", "failed_share", "survival_ps"),
    "nve": ("nve_drift",),
    "windows": ("force_r2", "force_mae"),
    "random": ("force_r2_random",),
}


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reports folder with the results of one model and all that stands behind them; not to be changed."""
    reports = tmp_path_factory.mktemp("board")
    named = find("schnet", reports)
    field = open_model(named)
    preset = PRESETS["smoke"]
    about = {
        "name": "schnet", "kind": "model", "spec": "schnet", "kin": [], "identity": identity(field, named), "shipped": True,
        "precision": "float32", "conservative": True, "settings": field.settings, "provenance": field.provenance,
        "n_parameters": field.n_parameters, "potential": "", "elements": None, "symmetry": "", "reduced": False,
    }  # fmt: skip
    protocol = {
        "preset": "smoke", "described": preset.described, "length_ps": 1.0, "ramp_ps": 0.2, "seed": 0, "split": "windows",
        "reference": "", "device": "cpu", "hardware": "a test",
    }  # fmt: skip
    one, store = Results(LABEL, about, protocol), reports / "store"
    data = reference_data(FORMULA, "")
    pointers = moved(field, data, store)
    for column in ("windows", "random"):
        chosen, _ = unseen_frames(described_subject(one), data, column, preset.test_frames, 0)
        path = store / "predictions" / f"{column}.npz"
        if column == "windows":
            energy, forces = predict(field, chosen, "cpu", batch=25)
        write_predictions(path, energy, forces, MADE_ON | {"precision": f"float32, {column}"}, chosen.forces)
        pointer = {"kind": "predictions", "column": column, "path": f"predictions/{column}.npz", "frames_sha256": chosen.sha256}
        pointers[column] = [pointer | {"sha256": sha256_of_file(path)}]
    stamp = {"reference": data.reference.label, "reference_runs": {r.path.name: r.sha256 for r in data.reference.runs}}
    for kind, metrics in METRICS.items():
        for metric in metrics:
            one.add(Score(metric, LABEL, FORMULA, 1.0, n=1, provenance=stamp | {"evidence": pointers[kind]}))
    samples = {"rounds_s": [0.5, 0.4, 0.6, 0.55, 0.45], "steps_per_round": 10, "replicas": 1, "still_running_after": True}
    timed = {"evidence": [{"kind": "speed", "metric": "ns_per_day", "samples": "rounds_s"}], "speed_made_on": [MADE_ON]}
    one.add(Score("ns_per_day", LABEL, LGPS, 1.0, n=1, parts=samples, provenance=timed))
    made = made_again(evidence_of(one, reports))
    assert not [score.reason for score in made.scores.values() if score.error]
    made.write(reports)
    return reports


def moved(field, data, store):
    """Pointers to an NVT run of 100 frames and an NVE run of 40, cut from the reference; energies are the model's."""
    found = {}
    whole = data.trajectory(1000.0)
    for kind, n, interval in (("md", 100, 10.0), ("nve", 40, 4.0)):
        length = {"md": 1000.0, "nve": 500.0}[kind]
        protocol = Protocol(
            1000.0 if kind == "md" else 800.0, length, 0.0, interval=interval, drop=0.3 if kind == "md" else 0.0,
            ensemble="nvt" if kind == "md" else "nve",
        )  # fmt: skip
        part = whole[400 : 400 + n]
        energy = None
        if kind == "nve":
            origin = np.stack([np.zeros(n, dtype=int), np.arange(n)], axis=1)
            nothing = np.zeros_like(part.pos)
            energy = predict(field, FrameSet(part.z, part.pos, part.cell, np.zeros(n), nothing, origin), "cpu", batch=40)[0]
        warm = np.full(n, 900.0)
        run = replace(part, time=interval * np.arange(n), energy=energy, temperature=warm, forces=None, labelled=None)
        folder = store / "md" / hashlib.sha256(kind.encode()).hexdigest()[:24]
        store_runs(folder, [MDRun(protocol, 7, run, None, 1.0, 1e-7, 900.0)], [MADE_ON])
        found[kind] = [pointer | {"ended": "no failure"} for pointer in run_pointers(folder, store, protocol)]
    return found


@pytest.fixture
def reports(board: Path, tmp_path: Path) -> Path:
    """A copy of the board, to be tampered with."""
    return Path(shutil.copytree(board, tmp_path / "reports"))


@pytest.fixture
def stored(reports: Path) -> Results:
    return read_results(reports / "results" / f"{LABEL}.json")


def rewritten(reports: Path, old: str, new: str, times: int | None = None) -> None:
    """Replace a text everywhere in the results file, as a forger who keeps all hashes consistent would."""
    path = reports / "results" / f"{LABEL}.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new) if times is None else text.replace(old, new, times), encoding="utf-8")
    json.loads(path.read_text(encoding="utf-8"))
