"""A scale of seconds: one layer of SchNet, forty steps of training, sixty of MD."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grannfield.cli import main
from grannfield.data import dataset
from grannfield.presets import PRESETS, Preset
from grannfield.reproduce import work
from grannfield.reproduce.scales import SCALES, Scale

TINY = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 8, "cutoff": 4.0}
SMALL = Scale(
    what="a test",
    preset="moment",
    training="Li3PS4",
    materials=("Li3PS4",),
    reduced=False,
    speed_seconds=0.1,
    speed_rounds=1,
    train_minutes={"schnet": 60.0},
    validation_frames=2,
    settings={"schnet": TINY},
    max_steps=12,
)
MOMENT = Preset("moment", 10, (1000.0,), 0.1, 0.02, 1, nve_ps=0.02)
TRAIN, MD, SCORE = "train:schnet", "md:schnet:beta-Li3PS4:1000K", "score:schnet"


FRAMES = dataset.frames


def few(*arguments: Any, limit: int | None = None, **named: Any) -> Any:
    """No more frames than a step or two needs: their neighbours are what would take time."""
    return FRAMES(*arguments, limit=min(limit or 24, 24), **named)


def install(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Make the scale known as `test`, with pieces worth beginning whatever time is left."""
    monkeypatch.setitem(PRESETS, "moment", MOMENT)
    monkeypatch.setattr(dataset, "frames", few)
    monkeypatch.setitem(SCALES, "test", replace(SMALL, **changes))
    for kind in work.LEAST_S:
        monkeypatch.setitem(work.LEAST_S, kind, 0.0)


def reproduce(state: Path, *arguments: str) -> int:
    return main(["reproduce", "--scale", "test", "--state", str(state), *arguments])


def pieces(state: Path) -> dict[str, Any]:
    """What the state says of each piece."""
    content: dict[str, Any] = json.loads((state / "pieces.json").read_text())
    return {name: record for name, record in content.items() if name != "format"}


def endings(state: Path, name: str) -> list[str]:
    return [sitting["ended"] for sitting in pieces(state)[name]["sittings"]]


def program(state: Path, *arguments: str, before: str = "", preset: str = "moment", **changes: Any) -> list[str]:
    """A process of its own that does the same; `before` runs first."""
    source = f"""
import sys
{before}
from grannfield.data import dataset
real = dataset.frames
dataset.frames = lambda *arguments, limit=None, **named: real(*arguments, limit=min(limit or 24, 24), **named)
from grannfield.presets import PRESETS, Preset
PRESETS["moment"] = {MOMENT!r}
from grannfield.reproduce import work
from grannfield.reproduce.scales import SCALES, Scale
work.LEAST_S.update(dict.fromkeys(work.LEAST_S, 0.0))
SCALES["test"] = {replace(SMALL, preset=preset, **changes)!r}
from grannfield.cli import main
sys.exit(main(["reproduce", "--scale", "test", "--state", {str(state)!r}, *{list(arguments)!r}]))
"""
    return [sys.executable, "-c", source]
