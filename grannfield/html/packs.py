"""Data and code inside one HTML file: JSON that no tag can end, and gzipped packs that a page opens when it needs them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
from functools import cache
from importlib import resources
from typing import Any

from grannfield.files import compact_json

SCRIPT_ENDS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Characters that mean something to an HTML parser or that JavaScript once ended a line at."""


def safe_json(value: Any) -> str:
    """Compact JSON for a <script> element: nothing in it can end the element or open another.

    >>> safe_json({"name": "</script><b>"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"}'
    """
    text = compact_json(value)
    for character, escape in SCRIPT_ENDS.items():
        text = text.replace(character, escape)
    return text


def packed(text: str) -> str:
    """A text gzipped and written in base64: the same bytes every time, letters only.

    >>> gzip.decompress(base64.b64decode(packed("Li"))).decode()
    'Li'
    """
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def packed_json(value: Any) -> str:
    """A value as packed JSON."""
    return packed(compact_json(value))


def policy_hash(source: str) -> str:
    """What a Content-Security-Policy calls a script by, so that no other one runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def rounded(values: Any, digits: int = 4) -> Any:
    """Numbers (nested lists, arrays) to so many significant digits; NaN and infinity become None.

    >>> rounded([[1.23456789, float("nan")], 12345.6])
    [[1.235, None], 12350.0]
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, dict):
        return {key: rounded(item, digits) for key, item in values.items()}
    if isinstance(values, list | tuple):
        return [rounded(item, digits) for item in values]
    if isinstance(values, float):
        return float(f"{values:.{digits}g}") if math.isfinite(values) else None
    return values


@cache
def plotly() -> tuple[str, str]:
    """Source of plotly.js as the installed `plotly` package has it, and its version; ModuleNotFoundError where it is not."""
    try:
        source = resources.files("plotly.package_data").joinpath("plotly.min.js").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError) as problem:
        cure = "the HTML board draws with plotly, which is not installed: pip install 'grannfield[report]'"
        raise ModuleNotFoundError(cure, name="plotly") from problem
    first = source[:60].partition("plotly.js v")[2].split()
    return source, first[0] if first else "unknown"
