"""Files of the paper's package, read as numbers: nothing in them is executed."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

STATES = ("modules", "state_dict", "model_state_dict", "model")
"""Where training files keep the network's weights; the paper's package says `modules`."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""What wrappers for several devices and for compilation put before every name."""
NUMBERS = {"f2", "f4", "f8", "i4", "i8"}


class ConversionError(ValueError):
    """A file is not one of the paper's package, or does not fit the model it is said to be of."""


class _Normalizer:
    """Stands for `grannfield.utils.statistics.Normalizer` of the paper's package: a mean and a standard deviation, no code."""

    mean: Any = None
    std: Any = None


class _NumpyType:
    """Stands for `numpy.dtype`: the name of a kind of number."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, _: Any) -> None:
        pass


def _numpy_number(kind: _NumpyType, raw: bytes | str) -> float:
    """Stands for NumPy's `scalar`: one plain number from its bytes."""
    if kind.code not in NUMBERS:
        raise pickle.UnpicklingError(f"a NumPy scalar of type {kind.code!r}")
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    return float(np.frombuffer(data, kind.code)[0])


def _bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, with which old pickles write bytes."""
    return str(text).encode("latin1")


STAND_INS: list[Any] = [
    (_Normalizer, "grannfield.utils.statistics.Normalizer"),
    (_NumpyType, "numpy.dtype"),
    (_numpy_number, "numpy.core.multiarray.scalar"),
    (_numpy_number, "numpy._core.multiarray.scalar"),
    (_bytes, "_codecs.encode"),
]
"""What such files name besides tensors, and our own harmless things that are put there instead."""


@dataclass(frozen=True)
class Published:
    """What a file of the paper's package holds."""

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    """By the package's own names, without wrappers' prefixes."""
    normalizers: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Mean and standard deviation of `energy` (eV per structure) and `forces` (eV/Å), where it holds them."""
    step: int | None = None
    """Of training, in a file that training goes on from: its weights are not averaged."""


def read_published(path: str | Path) -> Published:
    """Weights and normalisers of a `.pth.tar`; ConversionError for anything else, FileNotFoundError where there is none."""
    path = Path(path)
    loaded = load_numbers(path)
    if not isinstance(loaded, Mapping):
        raise ConversionError(f"{path} holds a {type(loaded).__name__}, not a state dict; save model.state_dict()")
    inner = next((loaded[key] for key in STATES if isinstance(loaded.get(key), Mapping)), loaded)
    weights = without_prefix({str(key): value for key, value in inner.items() if isinstance(value, Tensor)})
    if not weights:
        raise ConversionError(f"{path} holds no weights; its entries are {_listed(loaded)}")
    if odd := sorted(key for key, value in weights.items() if value.is_sparse or value.is_quantized or value.is_complex()):
        raise ConversionError(f"{path}: {', '.join(odd)} are sparse, quantised or complex; only plain numbers are read")
    step = loaded.get("step") if inner is not loaded else None
    return Published(
        path, hashlib.sha256(path.read_bytes()).hexdigest(), weights, normalizers_of(loaded.get("normalizers"), path),
        step if isinstance(step, int) else None,
    )  # fmt: skip


def load_numbers(path: Path) -> Any:
    """The content of a file of torch, through `weights_only` alone; ConversionError says which code a file would run."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with torch.serialization.safe_globals(STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        named = re.search(r"(?:GLOBAL|class|function|global) `?([\w.]+\.[\w.]+)", str(problem))
        if named:
            raise ConversionError(
                f"{path} is refused: it holds {named[1]}, code that reading would run, beside numbers; "
                f"in the package that made it: torch.save(model.state_dict(), 'weights.pth.tar')"
            ) from problem
        raise ConversionError(f"{path} cannot be read as weights alone: {_first_line(problem)}") from problem
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, OSError) as problem:
        raise ConversionError(
            f"{path} cannot be read as a file of torch ({_first_line(problem)}); it may be truncated"
        ) from problem


def without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights without what wrappers put before every name.

    >>> list(without_prefix({"module.module.lin.weight": torch.ones(1), "module.module.W": torch.ones(1)}))
    ['lin.weight', 'W']
    """
    for prefix in PREFIXES:
        if weights and all(key.startswith(prefix) for key in weights):
            return without_prefix({key.removeprefix(prefix): value for key, value in weights.items()})
    return weights


def normalizers_of(found: Any, path: Path) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of energy and forces; ConversionError where one is no finite number or not positive."""
    if not isinstance(found, Mapping):
        return {}
    told = {}
    for key, name in (("energy", "energy"), ("forces", "forces"), ("force", "forces")):
        if key not in found:
            continue
        one = found[key]
        mean, std = (one.get("mean"), one.get("std")) if isinstance(one, Mapping) else (one.mean, one.std)
        told[name] = (_one_number(mean, f"{path}: mean of {key}"), _one_number(std, f"{path}: std of {key}"))
        if not told[name][1] > 0:
            raise ConversionError(f"{path}: the standard deviation of {key} is {told[name][1]:g}; it must be positive")
    return told


def _one_number(value: Any, what: str) -> float:
    if value is None:
        raise ConversionError(f"{what} is not in the file")
    array = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
    if array.numel() == 0 or not torch.isfinite(array).all():
        raise ConversionError(f"{what} is {value!r}, not a finite number")
    if array.numel() > 1 and not torch.allclose(array, array.mean()):
        raise ConversionError(f"{what} is {array.tolist()}: one number is needed for all components")
    return float(array.mean())


def _listed(found: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key} ({type(value).__name__})" for key, value in list(found.items())[:12]) or "none"


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
