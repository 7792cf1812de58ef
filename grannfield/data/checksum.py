"""SHA-256 sums that tie a number to the bytes it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_verified: set[tuple[str, int, int, str]] = set()


class ChecksumError(ValueError):
    """A file is not the one its material.toml describes."""


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_arrays(arrays: Mapping[str, np.ndarray], text: str = "") -> str:
    """SHA-256 of named arrays (name, type, shape and values, sorted by name) and of an optional text.

    >>> a = sha256_of_arrays({"x": np.zeros(2)})
    >>> a == sha256_of_arrays({"x": np.zeros(2)}), a == sha256_of_arrays({"x": np.zeros(3)})
    (True, False)
    """
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"|{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def verify(path: Path, expected: str, described_in: str) -> None:
    """Check a file against its SHA-256, once per process and version of the file.

    Raises FileNotFoundError when it is missing and ChecksumError, naming both sums, when it differs.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but {described_in} lists it; restore it or remove its entry")
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns, expected)
    if key in _verified:
        return
    found = sha256_of_file(path)
    if found != expected:
        raise ChecksumError(
            f"{path} has SHA-256 {found}, but {described_in} says {expected}; the file was changed or damaged: "
            "fetch it again, or, if the change is meant, write the new sum there"
        )
    _verified.add(key)
