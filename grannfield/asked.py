"""What a call of the suite asks for, from its options: models, materials, protocol; every mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from grannfield import provenance
from grannfield.controls import every as every_control
from grannfield.data.material import load_material, materials
from grannfield.forcefield import registered
from grannfield.given import GivenRuns, given_runs
from grannfield.harness import Bench
from grannfield.lammps.library import LammpsError
from grannfield.plugin import VIA_LAMMPS, ModelNotFound, Named, find, find_calculator, with_kin
from grannfield.precision import labelled
from grannfield.presets import PRESETS, items, usable_device
from grannfield.report.results import Results
from grannfield.session import Session


class OptionError(ValueError):
    """Options that make no sense; the message says what would."""


def asked(option: Callable[[str], Any], reports: Path, known: dict[str, Any]) -> Session:
    """The session that options (by their names, as in `presets.OPTIONS`) ask for; OptionError, in one line, for wrong ones.

    `known` is what another process has found out about the machine, instead of what is seen here.
    """
    try:
        device = usable_device(option("--device"))
        models, given, engine = _under_test(option, reports, device)
        formulas = items(option("--material")) or _own(models, given) or materials()
        chosen = [load_material(name) for name in formulas]
        for one, material in product(given, chosen):
            one.read(material)
    except (LookupError, ValueError, FileNotFoundError, LammpsError) as problem:
        raise OptionError(str(problem.args[0])) from problem
    _require_files_of_their_own(models, reports)
    protocol = _protocol(option, device, known, engine)
    bench = Bench(PRESETS[option("--preset")], option("--seed"), device, reports / "store")
    return Session(
        reports, bench, models, chosen, option("--reference"), option("--split"), option("--gate"), protocol,
        option("--precision"), {one.label: one for one in given},
    )  # fmt: skip


def _under_test(option: Callable[[str], Any], reports: Path, device: str) -> tuple[list[Named], list[GivenRuns], str]:
    """Models, calculators and motion made elsewhere under the labels of their results, and the engine where it is not ours."""
    calculators = [find_calculator(text) for text in dict.fromkeys(option("--calculator"))]
    given = [given_runs(path) for path in dict.fromkeys(option("--trajectories"))]
    names = _models(option("--model"), reports, bool(calculators or given))
    models, engine = [find(spec, reports / "checkpoints") for spec in names], ""
    if precision := option("--precision"):  # beside the results in the weights' own precision, not instead of them
        models = [replace(m, label=f"{m.label} {labelled(precision, device)}") for m in models]
        if any(m.kind == "control" for m in models):
            raise OptionError("--precision is for networks; a control computes in double precision")
        if calculators:
            raise OptionError("--precision is for models of this package; a calculator is told by its own arguments")
    if option("--engine") == "lammps":
        engine, models, calculators = _through_lammps(models, calculators)
    moved = [Named(str(one.path.parent), one.label, one.path, kind="trajectories", kin=one.kin) for one in given]
    return with_kin([*models, *calculators, *moved], option("--kin")), given, engine


def _own(models: list[Named], given: list[GivenRuns]) -> list[str]:
    """Materials of motion made elsewhere, where nothing else is asked for."""
    return list(dict.fromkeys(name for one in given for name in one.materials)) if len(models) == len(given) else []


def _through_lammps(models: list[Named], calculators: list[Named]) -> tuple[str, list[Named], list[Named]]:
    """What the engine is called, and the models and calculators that it moves; LookupError where there is no LAMMPS."""
    from grannfield.lammps.library import open_lammps
    from grannfield.lammps.runs import engine_name

    open_lammps().close()
    if named := [m.label for m in models if m.kind == "control"]:
        raise OptionError(f"--engine lammps is for force fields; {named[0]} tests the suite with the package's own engine")
    through = [replace(m, label=m.label + VIA_LAMMPS, engine="lammps") for m in [*models, *calculators]]
    return engine_name(), through[: len(models)], through[len(models) :]


def _models(values: list[str], reports: Path, others: bool) -> list[str]:
    """Names given; SchNet without any, unless there are `others`.

    `all` becomes every registered model that has weights, `controls` every control.
    """
    names: list[str] = []
    for name in items(values) or ([] if others else ["schnet"]):
        if name == "controls":
            names += every_control()
        elif name == "all":
            names += [known for known in registered() if _has_weights(known, reports)]
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def _has_weights(name: str, reports: Path) -> bool:
    try:
        find(name, reports / "checkpoints")
    except ModelNotFound:
        return False
    return True


def _require_files_of_their_own(models: list[Named], reports: Path) -> None:
    files = [Results(m.label).path(reports) for m in models]
    twice = {m.label for m, file in zip(models, files, strict=True) if files.count(file) > 1}
    if twice:
        cure = "rename one file, folder or label, or write --calculator LABEL=pkg.mod:factory(...)"
        raise OptionError(f"two models would both be called {', '.join(sorted(twice))}; {cure}")


def _protocol(option: Callable[[str], Any], device: str, known: dict[str, Any], engine: str) -> dict[str, Any]:
    """What makes two sets of scores comparable."""
    preset, stamp = PRESETS[option("--preset")], provenance.stamp(device) | known
    return {
        "preset": preset.name,
        "described": preset.described,
        "ramp_ps": preset.ramp_ps,
        "length_ps": preset.length_ps,
        "seed": option("--seed"),
        "split": option("--split"),
        "reference": option("--reference"),
        "device": device,
        "hardware": stamp["hardware"],
        **({"engine": engine} if engine else {}),
    }
