"""What is left of a plan and what it will cost: seconds of each piece, where they are known from, and disk.

Best known is what pieces of the same model took on this hardware in this state; then the speeds that its speed pieces measured,
at Table 1's size; then estimates, for a processor from estimates.toml, for a GPU from the goals of `grannfield speed`, corrected
by what pieces of other models took against theirs.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from grannfield.data.material import load_material
from grannfield.forcefield import reduced_settings, split_name
from grannfield.forecast import ATOMS, MATERIAL_S, MD_BYTES, NVE_BYTES, SCORE_S, START_S, Speed
from grannfield.forecast import Piece as Cost
from grannfield.reproduce.plan import Piece, named
from grannfield.reproduce.scales import parameters
from grannfield.speed.suite import slug

if TYPE_CHECKING:
    from grannfield.reproduce.work import Work

OWN, MEASURED, CORRECTED, ESTIMATED = (
    "pieces of this model",
    "measured speeds",
    "estimates, corrected by other pieces",
    "estimates",
)
"""Where seconds are known from, best first."""
PREPARE_S = 3.0
"""To build the neighbours of the frames trained on."""
TESTS = 90
"""Of the suite, for a model on three materials."""
MODEL_BYTES = 4.0
"""Of a weight in a checkpoint; half of that where it is rounded to 16 bits."""
RESULT_BYTES = 1.2e5
"""Of results and tables for a model."""


@dataclass(frozen=True)
class Expected:
    """What is left of a piece."""

    piece: Piece
    seconds: float
    source: str


def seconds_left(work: Work, pieces: Sequence[Piece]) -> list[Expected]:
    """What each of some pieces that are not done will take, all of them together asked once."""
    slow = {kind: _slowness(work, kind) for kind in ("md", "score", "speed", "train")}
    return [_expected(work, piece, slow) for piece in pieces]


def _expected(work: Work, piece: Piece, slow: dict[str, float]) -> Expected:
    speed, known = speed_of(work, piece.model)
    seconds, source = _guess(work, piece, speed), known
    if piece.kind == "train" and work.scale.budget == "time":
        source = "the budget"
    elif own := _own(work, piece, speed):
        seconds, source = seconds * own, OWN
    elif known == ESTIMATED and slow[piece.kind]:
        seconds, source = seconds * slow[piece.kind], CORRECTED
    return Expected(piece, max(seconds - _spent(work, piece), 1.0), source)


def _guess(work: Work, piece: Piece, speed: Speed) -> float:
    """Seconds of a whole piece at some speed."""
    scale, cuda = work.scale, work.device.startswith("cuda")
    if piece.kind == "train":
        steps = scale.steps(piece.model)
        minutes = scale.minutes(piece.model)
        frames = None if steps is None else steps * _step_size(work)
        inside = 60 * minutes if frames is None else min(60 * minutes, frames / samples_per_s(work, piece.model))
        return PREPARE_S + inside + (2 * _gpu()["compile_s"] if cuda else 0.0)
    if piece.kind == "speed":
        step = Speed(*_estimate(work, split_name(piece.model)[0], False), ESTIMATED).alone
        return START_S + 2 * scale.speed_seconds + 20 * step + (4 * _gpu()["compile_s"] if cuda else 0.0)
    costs = costs_of(work, piece)
    seconds = sum(map(speed.seconds, costs))
    if piece.kind == "score":
        return seconds + START_S + MATERIAL_S * len(scale.materials) + SCORE_S * TESTS
    return seconds + (_compiling(work, piece, len(costs)) if cuda else 0.0)


def _compiling(work: Work, piece: Piece, runs: int) -> float:
    """On a GPU: a cell is compiled with its first run, and recorded and captured with each of the others."""
    first = work.scale.suite.temperatures or load_material(piece.material).temperatures
    new = piece.temperature == first[0]
    return float(_gpu()["compile_s"] * new + _gpu()["repeated_s"] * (runs - new))


def costs_of(work: Work, piece: Piece) -> list[Cost]:
    """What a piece of MD or a score evaluates, in the terms of the suite's own forecast."""
    preset, found = work.scale.suite, []
    for name in work.scale.materials if piece.kind == "score" else (piece.material,):
        material = load_material(name)
        atoms, dt = len(material.structure.z), material.timestep
        about: dict[str, Any] = {"model": piece.model, "material": material.formula, "atoms": atoms}
        if piece.kind == "score":
            n = preset.curl_frames * preset.curl_directions * 8
            found += [
                Cost("predictions", what=c, evaluations=preset.test_frames, together=8, **about) for c in ("windows", "random")
            ]
            found += [Cost("curl", what="", evaluations=n, together=8, **about)]
            continue
        steps = 1e3 * (preset.length_ps + preset.ramp_ps) / dt
        disk = preset.replicas * 1e3 * preset.length_ps / (10.0 if preset.length_ps <= 10 else 20.0) * atoms * MD_BYTES
        found.append(Cost("MD", what="", evaluations=steps * preset.replicas, together=preset.replicas, disk=disk, **about))
        if piece.temperature == (preset.temperatures or material.temperatures)[0]:
            steps, n = 1e3 * preset.nve_ps / dt, preset.nve_runs
            found.append(Cost("NVE", what="", evaluations=steps * n, together=n, disk=n * steps / 2 * atoms * NVE_BYTES, **about))
    if piece.kind == "score":
        for n in (1, preset.batch):
            evaluations = n * (20 + preset.rounds * preset.steps_per_round)
            found.append(Cost("speed", piece.model, "", "", evaluations, ATOMS, together=n))
    return found


def speed_of(work: Work, model: str) -> tuple[Speed, str]:
    """Seconds of an evaluation of LGPS, alone and as a share of the scale's replicas, and where that is known from."""
    name, number = split_name(model)[0], work.scale.suite.replicas
    if not _small(work, name):
        steps = _measured(work).get("models", {}).get(name, {}).get("steps", {})
        ms = {int(n): 1e-3 * found["ms"]["median"] / int(n) for n, found in steps.items() if found.get("ms")}
        if 1 in ms:
            together = min(ms, key=lambda n: abs(n - number))
            return Speed(ms[1], ms[together], MEASURED), MEASURED
    return Speed(*_estimate(work, name, _small(work, name)), ESTIMATED), ESTIMATED


def samples_per_s(work: Work, model: str) -> float:
    """Frames a second of training: of this training so far, as measured, or estimated."""
    path = work.checkpoint(model).parent / "train.json"
    name, small = split_name(model)[0], _small(work, split_name(model)[0])
    if path.exists() and (rate := json.loads(path.read_text(encoding="utf-8")).get("samples_per_s")):
        return float(rate)
    entry = {} if small else _measured(work).get("training", {}).get(name, {})
    if rate := entry.get("samples_per_s_at_batch_2"):
        return float(rate)
    if work.device.startswith("cuda"):
        return float(_goals()[name]["batch_2"])
    table = _processor()
    rates = table["reduced_samples_per_s"] if small else table["samples_per_s"]
    if name in rates:
        return float(rates[name])
    return 1.0 / (table["training_costs"] * _estimate(work, name, small)[0])


def _estimate(work: Work, name: str, small: bool) -> tuple[float, float]:
    """Seconds of an evaluation, alone and as a share, of a machine that nobody has measured."""
    if work.device.startswith("cuda"):
        goal, number = _goals()[name], work.scale.suite.replicas
        alone = 0.1728 / goal["one"]
        return alone, max(alone / number, 0.1728 / goal["ninety"])
    table = _processor()
    seconds = 1e-3 * (table["reduced"] if small and name in table["reduced"] else table["table1"])[name]
    return seconds, seconds


def _small(work: Work, name: str) -> bool:
    """Whether a model is made smaller than Table 1's at this scale."""
    return name in work.scale.settings or (work.scale.reduced and bool(reduced_settings(name)))


def _own(work: Work, piece: Piece, speed: Speed) -> float:
    """What done pieces of the same model and kind took on this hardware, over what was guessed for them; 0 without any."""
    if piece.kind == "train":
        return 0.0
    prefix = f"{piece.kind}:{piece.model}"
    return _ratio(work, [name for name in work.state.pieces if f"{name}:".startswith(f"{prefix}:")])


def _slowness(work: Work, kind: str) -> float:
    """The same of a kind, all models together; 0 without any, and for training, whose rate each has for itself."""
    return 0.0 if kind == "train" else _ratio(work, [name for name in work.state.pieces if name.startswith(f"{kind}:")])


def _ratio(work: Work, names: Sequence[str]) -> float:
    spent = guessed = 0.0
    for name in names:
        sittings = work.state.of(name)["sittings"]
        if not sittings or any(one["ended"] != "done" or one.get("hardware") != work.machine for one in sittings):
            continue
        try:
            piece = named(name)
            guess = _guess(work, piece, speed_of(work, piece.model)[0])
        except (KeyError, LookupError, ValueError):  # a piece of a model or material that is not there any more
            continue
        spent, guessed = spent + work.state.of(name)["seconds"], guessed + guess
    return spent / guessed if guessed else 0.0


def _spent(work: Work, piece: Piece) -> float:
    """Seconds that a piece which is not done has made already: a training says so itself."""
    path = work.checkpoint(piece.model).parent / "train.json"
    if piece.kind != "train" or not path.exists():
        return 0.0
    return float(json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0))


def disk_of(work: Work, piece: Piece) -> float:
    """Bytes that a piece will leave."""
    if piece.kind == "train":
        if work.scale.sheds(piece.model):
            return 0.0  # in the end
        n = parameters(piece.model, json.dumps(work.scale.settings_of(piece.model)))
        return n * MODEL_BYTES / (2 if work.scale.halved else 1)
    if piece.kind == "md":
        return sum(one.disk for one in costs_of(work, piece))
    return RESULT_BYTES if piece.kind == "score" else 5e3


def _step_size(work: Work) -> int:
    from grannfield.recipe import RECIPES

    return RECIPES[work.scale.recipe].step_size


def _measured(work: Work) -> dict[str, Any]:
    """What speed pieces of the state have measured on this hardware."""
    path = work.state.reports / "speed" / f"{slug(work.hardware)}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


@cache
def _tables(package: str, file: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(package).joinpath(file).read_text(encoding="utf-8"))


def _processor() -> dict[str, Any]:
    return dict(_tables("grannfield.reproduce", "estimates.toml")["processor"])


def _gpu() -> dict[str, Any]:
    return dict(_tables("grannfield.reproduce", "estimates.toml")["gpu"])


def _goals() -> dict[str, Any]:
    return dict(_tables("grannfield.speed", "goals.toml")["gpu"])
