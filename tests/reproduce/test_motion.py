"""The store of runs: by what a run is known, and who made it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from grannfield import motion, provenance
from grannfield.data.material import load_material
from grannfield.forcefield import create, to_precision
from grannfield.harness import PREDICTION_CODE
from grannfield.md import simulate as engine
from grannfield.motion import MOTION_CODE, Motion, Subject, motions
from grannfield.plugin import Named
from tests.reproduce.small import MOMENT, TINY

PACKAGE = Path(motion.__file__).parent
ASIDE = {"progress", "files", "provenance", "memory", "trajectory", "recipe", "graphset", "checkpoint"}
"""What moves nothing: bars, files, the type in which results are returned, the loss of training and its frames; weights, however
they are kept, are in a key by their hash."""


def everything_behind(start: str) -> set[str]:
    """Modules of the package that one imports, directly or not, by top name."""
    open_, seen = [start], set[str]()
    while open_:
        name = open_.pop()
        path = PACKAGE / (name.replace(".", "/") + ".py")
        path = path if path.exists() else PACKAGE / name.replace(".", "/") / "__init__.py"
        if name in seen or not path.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grannfield"):
                base = str(node.module).removeprefix("grannfield").strip(".")
                open_ += [base] if base else []
                open_ += [f"{base}.{alias.name}".strip(".") for alias in node.names]
    return {name.split(".")[0] for name in seen}


@pytest.mark.parametrize(("start", "code"), [("md.simulate", MOTION_CODE), ("graphset", ("graphset.py", *PREDICTION_CODE))])
def test_the_key_follows_all_code_that_decides_a_result(start: str, code: tuple[str, ...]) -> None:
    named = {part.removesuffix(".py") for part in code}
    assert everything_behind(start) - ASIDE <= named
    assert {"models", "nn", "forcefield", "precision", "graph", "neighbors", "all_pairs"} <= named
    assert all((PACKAGE / part).exists() for part in code)


def subject(**settings: Any) -> Subject:
    import torch

    torch.manual_seed(0)
    return Subject(Named("schnet", "schnet", None), create("schnet", **TINY | settings).eval())


def planned(of: Subject | None = None, seed: int = 0) -> Motion:
    material = load_material("Li3PS4")
    (found,) = motions(of or subject(), material, material.reference(), MOMENT, seed)
    return found


def test_a_run_is_known_by_what_decides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = planned().key
    assert planned().key == key and planned(seed=1).key != key and planned(subject(num_filters=4)).key != key
    double = subject()
    to_precision(double.field, "float64")
    assert planned(double).key != key
    monkeypatch.setattr(provenance, "code_hash", lambda *parts: "other")
    assert planned().key != key


def test_a_run_begun_on_one_machine_and_ended_on_another_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STEPS_PER_FILE", 10)
    one = planned()

    def sit(machine: str, stop_at: int | None) -> None:
        monkeypatch.setattr(provenance, "hardware", lambda device: f"{machine} ({device})")
        real, calls = engine.Blocks.__call__, 0

        def counting(self: Any, *args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return real(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(engine.Blocks, "__call__", counting)
            one.simulated(tmp_path, "cpu")

    for machine, stop_at in (("A", 1), ("B", 5), ("B", 5), ("C", None)):
        if stop_at is None:
            sit(machine, None)
        else:
            with pytest.raises(KeyboardInterrupt):
                sit(machine, stop_at)
            assert not one.made(tmp_path)
    assert one.made(tmp_path)
    assert [stamp["hardware"] for stamp in one.made_on(tmp_path)] == ["B (cpu)", "C (cpu)"], "A has moved nothing"
    assert {"versions", "date"} <= set(one.made_on(tmp_path)[0]) and "from" not in one.made_on(tmp_path)[0]
