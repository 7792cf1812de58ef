"""`package.module:factory(arguments)`: how a calculator is named on a command line, taken apart and called, never evaluated."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLE = "write pkg.mod:factory(key=value), for instance 'ase.calculators.lj:LennardJones(sigma=2.2, rc=5.0)'"
DEVICE = ("device", "use_device")
"""Keywords that say where a calculator computes, not what."""


class CalculatorNotMade(ValueError):
    """What was named is not a factory of an ASE calculator, or its package is not installed."""


@dataclass(frozen=True)
class Call:
    """A factory with the literal arguments it is called with."""

    text: str
    """As it was written."""
    module: str
    factory: str
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def arguments(self) -> list[Any]:
        """Values of all arguments but the device."""
        return [*self.positional, *(value for key, value in self.keywords.items() if key not in DEVICE)]

    @property
    def canonical(self) -> str:
        """The same call however it was spaced, quoted or ordered, without the device.

        >>> parsed('a.b:Make("x", k = 1.0, device="cpu")').canonical
        "a.b:Make('x', k=1.0)"
        """
        named = [f"{key}={value!r}" for key, value in sorted(self.keywords.items()) if key not in DEVICE]
        return f"{self.module}:{self.factory}({', '.join([*map(repr, self.positional), *named])})"

    @property
    def label(self) -> str:
        """What tables call a calculator that nobody named: factory and arguments, files by their stem.

        >>> parsed("ase.calculators.lj:LennardJones(sigma=2.2, rc=5)").label, parsed('m.c:MACECalculator("runs/my.model")').label
        ('LennardJones-2.2-5', 'MACE-my')
        """
        name = self.factory.removesuffix("Calculator").removesuffix("_calculator") or self.factory
        said = [Path(x).stem if isinstance(x, str) and ("/" in x or Path(x).is_file()) else str(x) for x in self.arguments]
        return "-".join([name, *(re.sub(r"[^\w.+]+", "_", text).strip("_") for text in said)])

    def files(self) -> dict[str, str]:
        """SHA-256 of every file that an argument names."""
        paths = [Path(x).expanduser() for x in _texts(self.arguments)]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if _is_file(path)}

    def require_installed(self) -> None:
        """CalculatorNotMade when the package is not there; nothing of it is imported."""
        _search_here()
        if importlib.util.find_spec(self.package) is None:
            raise CalculatorNotMade(
                f"--calculator {self.text!r}: {self.module} cannot be imported (no package called {self.package} is installed)"
            )

    def make(self) -> Any:
        """What the factory returns; CalculatorNotMade, with the factory's own words, when it returns nothing."""
        _search_here()
        try:
            factory = getattr(importlib.import_module(self.module), self.factory)
        except ImportError as problem:
            raise CalculatorNotMade(f"--calculator {self.text!r}: {self.module} cannot be imported ({problem})") from problem
        except AttributeError:
            raise CalculatorNotMade(f"--calculator {self.text!r}: {self.module} has no {self.factory}") from None
        try:
            return factory(*self.positional, **self.keywords)
        except Exception as problem:  # somebody else's code: whatever it raises says why there is no calculator
            said = str(problem) if isinstance(problem, TypeError) else f"{type(problem).__name__}: {problem}"
            raise CalculatorNotMade(f"--calculator {self.text!r}: {said}") from problem


def parsed(text: str) -> Call:
    """The call of a text, nothing imported; CalculatorNotMade, with an example, for one that is no such call."""
    module, colon, call = text.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        raise CalculatorNotMade(f"--calculator {text!r} names no module; {EXAMPLE}")
    try:
        tree = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise CalculatorNotMade(f"--calculator {text!r}: {call!r} is no call; {EXAMPLE}") from None
    function = tree.func if isinstance(tree, ast.Call) else tree
    if not isinstance(function, ast.Name):
        raise CalculatorNotMade(f"--calculator {text!r}: {call!r} is no call of a function by its name; {EXAMPLE}")
    positional, keywords = _literals(tree, text) if isinstance(tree, ast.Call) else ((), {})
    return Call(text, module, function.id, positional, keywords)


def _literals(call: ast.Call, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call, all literals."""
    keywords = {}
    try:
        positional = tuple(ast.literal_eval(node) for node in call.args)
        for node in call.keywords:
            if node.arg is None:
                raise ValueError
            keywords[node.arg] = ast.literal_eval(node.value)
    except ValueError:
        raise CalculatorNotMade(f"--calculator {text!r}: arguments must be literals such as 2.5, 'name' or [1, 2]") from None
    return positional, keywords


def _search_here() -> None:
    """A module in the current folder is found, after all that is installed."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()


def _texts(values: Any) -> list[str]:
    """All texts in nested literals."""
    if isinstance(values, str):
        return [values]
    inside = values.values() if isinstance(values, dict) else values if isinstance(values, (list, tuple, set)) else ()
    return [text for value in inside for text in _texts(value)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path at all
        return False


def assignment(text: str) -> tuple[str, Any]:
    """Key and value of one `--set KEY=VALUE`; a value that is no Python literal is a string. ValueError without an equals sign.

    >>> assignment("cutoff=5.5"), assignment("norm=layer")
    (('cutoff', 5.5), ('norm', 'layer'))
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text!r} should be KEY=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
