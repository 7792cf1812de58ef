"""Foundation models that are made in two steps, as factories for `--calculator`: weights from a file, then a calculator.

Potentials whose calculator takes a file by itself (CHGNet, SevenNet, MACE, MatterSim, UPET) need none of this. Written from the
documentation of the packages and tested against stand-ins of them, not against their weights.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


def orb(
    weights: str, model: str = "orb_v3_conservative_inf_omat", device: str = "cpu", precision: str = "float32-highest"
) -> Any:
    """ORB's calculator for a file of weights; model: the function of `orb_models.forcefield.pretrained` they belong to.

    Source: https://github.com/orbital-materials/orb-models (README, "Usage with ASE calculator" and "Finetuning"). From 0.6 on
    the function gives an adapter beside the network.
    """
    pretrained = _module("orb_models.forcefield.pretrained", "orb-models")
    make = getattr(pretrained, model, None)
    if make is None:
        raise ValueError(f"orb_models.forcefield.pretrained has no {model}; it names its models in ORB_PRETRAINED_MODELS")
    made = make(weights_path=_file(weights), device=device, precision=precision)
    if isinstance(made, tuple):
        network, adapter = made
        calculators = _module("orb_models.forcefield.inference.calculator", "orb-models>=0.6")
        return calculators.ORBCalculator(network, atoms_adapter=adapter, device=device)
    return _module("orb_models.forcefield.calculator", "orb-models").ORBCalculator(made, device=device)


def matgl(folder: str) -> Any:
    """MatGL's calculator (M3GNet, CHGNet, TensorNet, ...) for a folder with a saved potential.

    Source: https://github.com/materialsvirtuallab/matgl (README, "Usage"; matgl.ext.ase.PESCalculator).
    """
    potential = _module("matgl", "matgl").load_model(_file(folder, folder=True))
    return _module("matgl.ext.ase", "matgl").PESCalculator(potential)


def uma(checkpoint: str, task: str = "omat", device: str = "cpu") -> Any:
    """fairchem's calculator for a file of UMA; task: the level of theory it answers for, `omat` for inorganic crystals.

    Source: https://facebookresearch.github.io/fairchem (ASE calculator; fairchem.core.pretrained_mlip.load_predict_unit).
    """
    core = _module("fairchem.core", "fairchem-core>=2")
    path, loader = _file(checkpoint), _module("fairchem.core.calculate.pretrained_mlip", "fairchem-core>=2")
    unit = loader.load_predict_unit(path, device=device)
    return core.FAIRChemCalculator(unit, task_name=task)


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ImportError(f"{name} cannot be imported ({problem}); pip install '{package}'") from problem


def _file(path: str, folder: bool = False) -> str:
    """A path that exists; FileNotFoundError for one that would make a package download something, or fail later."""
    there = Path(path).expanduser()
    if not (there.is_dir() if folder else there.is_file()):
        raise FileNotFoundError(f"there is no {'folder' if folder else 'file'} {path} with weights; nothing is downloaded")
    return str(there)
