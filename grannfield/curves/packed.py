"""Curves in one NumPy file: arrays as they are, everything else as JSON that knows which class it was."""

from __future__ import annotations

import io
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from grannfield.curves import kinds

CLASSES: dict[str, Any] = {
    name: thing
    for name, thing in vars(kinds).items()
    if isinstance(thing, type) and (is_dataclass(thing) or hasattr(thing, "_fields"))
}


def packed(thing: Any) -> bytes:
    """The bytes of an .npz file that holds nested dataclasses, named tuples, dictionaries, lists, tuples, arrays and scalars.

    >>> unpacked(packed({("Li", "x"): (1.0, [None, np.arange(2)])}))
    {('Li', 'x'): (1.0, [None, array([0, 1])])}
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_described(thing, arrays))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, about=np.array(text), **arrays)
    return buffer.getvalue()


def unpacked(content: bytes) -> Any:
    """What `packed` was given; ValueError for bytes that are no such file."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _rebuilt(json.loads(str(arrays["about"])), arrays)
    except Exception as problem:  # zip, zlib, JSON, a class that is no more: whatever a damaged or older file brings up
        raise ValueError(f"these are no curves: {problem!r}") from problem


def _described(thing: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(thing, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = thing
        return {"array": name}
    if isinstance(thing, np.generic):
        return thing.item()
    if is_dataclass(thing) and not isinstance(thing, type):
        return {"class": type(thing).__name__, "of": {f.name: _described(getattr(thing, f.name), arrays) for f in fields(thing)}}
    if hasattr(thing, "_asdict"):
        return {"class": type(thing).__name__, "of": {key: _described(value, arrays) for key, value in thing._asdict().items()}}
    if isinstance(thing, dict):
        return {"dict": [[_described(key, arrays), _described(value, arrays)] for key, value in thing.items()]}
    if isinstance(thing, tuple):
        return {"tuple": [_described(item, arrays) for item in thing]}
    if isinstance(thing, list):
        return [_described(item, arrays) for item in thing]
    return thing


def _rebuilt(text: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(text, list):
        return [_rebuilt(item, arrays) for item in text]
    if not isinstance(text, dict):
        return text
    if "array" in text:
        return arrays[text["array"]]
    if "tuple" in text:
        return tuple(_rebuilt(item, arrays) for item in text["tuple"])
    if "dict" in text:
        return {_rebuilt(key, arrays): _rebuilt(value, arrays) for key, value in text["dict"]}
    return CLASSES[text["class"]](**{key: _rebuilt(value, arrays) for key, value in text["of"].items()})
