"""Force fields of other packages: any ASE calculator, named by the function that makes it.

`package.module:factory(arguments)` is imported and called with literal arguments; nothing of it is evaluated as code. The
calculator then stands where a model of this package stands: in molecular dynamics, in the benchmarks, as the maker of a
reference. What identifies it is the call, the versions of the packages it comes from, and the weights found in it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from grannfield import units
from grannfield.call import CalculatorNotMade, Call, parsed
from grannfield.forcefield import ForceField, Prediction, UnsupportedElement
from grannfield.graph import AtomGraph
from grannfield.report.kinship import by_call, by_weights

__all__ = ["CalculatorField", "CalculatorNotMade", "calculator_field", "fingerprint", "networks"]

NO_NEIGHBORS = 0.5
"""Å. A cut-off within which no atom has a neighbour: a calculator searches for its own."""
ROUTE = 1
"""Raised when the way from positions to a calculator's numbers changes: part of what identifies a calculator."""
TABLES = ("type_map", "type_dict", "z_table", "element_types", "allowed_atomic_numbers")
"""Attributes in which calculators keep the elements they know, by number or symbol."""
DEPTH = 3
"""How far below a calculator its networks are looked for: `calculator.models[0]`, `calculator.potential.model`."""
ALONE = 3.0
"""Å, edge of the simple cubic crystal in which an element is tried alone."""


class CalculatorField(ForceField):
    """An ASE calculator as a force field: energies in eV and forces in eV/Å, one structure after the other.

    The calculator chooses its own device and precision; the motion stays on the processor. Raises UnsupportedElement for
    elements it does not know; whatever else it raises comes through.
    """

    symmetry = "the calculator's own"

    def __init__(self, calculator: Any, call: Call) -> None:
        super().__init__(NO_NEIGHBORS)
        self.calculator, self.call, self.spec, self.name = calculator, call, call.text, call.factory
        self.default_dtype = torch.get_default_dtype()
        """What the calculator's own package set, or left, as torch's default: put back while it computes."""
        self.networks = networks(calculator)
        self.elements = known_elements(calculator)
        known = by_weights([fingerprint(network) for network in self.networks])
        if known is None and any(isinstance(x, str) for x in call.arguments):  # accelerated, they are kept otherwise
            known = by_call(call.package, call.arguments)
        self.known_as = "" if known is None else known.full_name
        """The published potential whose weights these are, or that was asked for by its name; empty for any other."""

    def identified(self) -> dict[str, Any]:
        """What determines its numbers: the call, versions, weights and files, to stand in `settings`."""
        return {
            "calculator": self.call.canonical,
            "weights": weights_digest(self.networks),
            "packages": versions(self.call, self.calculator, self.networks),
            "files": self.call.files(),
            "route": ROUTE,
        }

    @property
    def dtype(self) -> torch.dtype:
        """Of the first weight found; double for a calculator without a network. ValueError for one below float32."""
        first = next((p.dtype for network in self.networks for p in network.parameters() if p.is_floating_point()), None)
        if first in (torch.float16, torch.bfloat16):
            raise ValueError(f"{self.name} computes in {first}; ask its factory for float32 or float64 in the arguments")
        return torch.float64 if first is None else first

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for network in self.networks for p in network.parameters())

    @property
    def computes_on(self) -> str:
        """The device of the calculator's network; cpu where it has none."""
        return next((str(p.device) for network in self.networks for p in network.parameters()), "cpu")

    def predict(self, graph: AtomGraph, *, stress: bool = False, create_graph: bool = False) -> Prediction:
        """Energy, forces and, when asked, stress of every structure in the graph; its neighbours are not used.

        ValueError for training: a calculator's answers cannot be differentiated.
        """
        if create_graph:
            raise ValueError(f"{self.name} is an ASE calculator: it cannot be trained here")
        from ase import Atoms

        energies, forces, stresses = [], [], []
        batch, z, pos = (x.cpu().numpy() for x in (graph.batch, graph.z, graph.pos.double()))
        for b, (cell, pbc) in enumerate(zip(graph.cell.double().cpu().numpy(), graph.pbc.cpu().numpy(), strict=True)):
            atoms = Atoms(z[batch == b], pos[batch == b], cell=cell, pbc=pbc)
            energy, force, tension = self._answer(atoms, stress)
            energies.append(energy)
            forces.append(force)
            stresses.append(tension)
        tensor = lambda x: torch.from_numpy(np.asarray(x, float)).to(graph.pos.device)  # noqa: E731
        return Prediction(tensor(energies), tensor(np.concatenate(forces)), tensor(np.stack(stresses)) if stress else None)

    def _answer(self, atoms: Any, stress: bool) -> tuple[float, np.ndarray, Any]:
        """Energy, forces [n,3] and stress [3,3] of ASE atoms; ValueError for forces of another shape."""
        offered = getattr(self.calculator, "implemented_properties", ())
        try:
            with self._own_defaults():
                atoms.calc = self.calculator
                energy = float(atoms.get_potential_energy(force_consistent="free_energy" in offered))
                forces = np.array(atoms.get_forces(), dtype=float)
                tension = np.array(atoms.get_stress(voigt=False), dtype=float) if stress else None
        except UnsupportedElement:
            raise
        except Exception as problem:
            if unknown := self._unknown(atoms.numbers, problem):
                names = ", ".join(map(units.symbol, unknown))
                raise UnsupportedElement(f"{self.name} does not know {names} ({problem})") from problem
            raise
        if forces.shape != (len(atoms), 3):
            raise ValueError(f"{self.name} gives forces {forces.shape} for {len(atoms)} atoms")
        return energy, forces, tension

    @contextmanager
    def _own_defaults(self) -> Iterator[None]:
        """Some packages set torch's default type for the whole process: theirs while they compute, ours after."""
        ours = torch.get_default_dtype()
        torch.set_default_dtype(self.default_dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(ours)

    def _unknown(self, numbers: np.ndarray, problem: Exception) -> list[int]:
        """Which elements are to blame for an exception: those that fail alone, where others do not or it names them."""
        there = sorted({int(z) for z in numbers})
        failing = [z for z in there if not self._knows(z)]
        named = [z for z in failing if re.search(rf"\b({units.symbol(z)}|{z})\b", str(problem))]
        return failing if named or len(failing) < len(there) else []

    def _knows(self, z: int) -> bool:
        from ase import Atoms

        atoms = Atoms([z], cell=[ALONE] * 3, pbc=True)
        try:
            with self._own_defaults():
                atoms.calc = self.calculator
                atoms.get_forces()
        except Exception:  # whatever it raises: it cannot say anything about this element
            return False
        return True


def calculator_field(spec: str) -> CalculatorField:
    """The force field of `package.module:factory(arguments)`; CalculatorNotMade says which part of it does not work."""
    call, ours = parsed(spec), torch.get_default_dtype()
    try:
        calculator = call.make()
        if not (hasattr(calculator, "get_forces") and hasattr(calculator, "get_potential_energy")):
            raise CalculatorNotMade(f"--calculator {spec!r} made a {type(calculator).__name__}, which is not an ASE calculator")
        offered = getattr(calculator, "implemented_properties", ["energy", "forces"])
        if missing := {"energy", "forces"} - set(offered):
            raise CalculatorNotMade(
                f"--calculator {spec!r} has no {' and no '.join(sorted(missing))}; it offers {', '.join(offered)}"
            )
        return CalculatorField(calculator, call)
    finally:
        torch.set_default_dtype(ours)


def networks(calculator: Any) -> list[nn.Module]:
    """The torch networks in a calculator, itself included: in its attributes, and in those of what they hold.

    >>> from types import SimpleNamespace
    >>> len(networks(SimpleNamespace(models=[nn.Linear(1, 1), nn.Linear(1, 1)], inner=SimpleNamespace(net=nn.Identity()))))
    3
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def visit(item: Any, depth: int) -> None:
        if id(item) in seen or isinstance(item, (str, bytes, np.ndarray, torch.Tensor, type)):
            return
        seen.add(id(item))
        if isinstance(item, nn.Module):
            found.setdefault(id(item), item)
            return
        held = item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else None
        held = list(getattr(item, "__dict__", {}).values()) if held is None else list(held)
        if depth < DEPTH:
            for one in held:
                visit(one, depth + 1)

    visit(calculator, 0)
    return list(found.values())


def known_elements(calculator: Any) -> tuple[int, ...] | None:
    """Atomic numbers a calculator says it knows, where it keeps a table under a usual name; None where it does not.

    >>> from types import SimpleNamespace
    >>> known_elements(SimpleNamespace(type_map={3: 0, 16: 1})), known_elements(SimpleNamespace(element_types=("Li", "S")))
    ((3, 16), (3, 16))
    """
    for name in TABLES:
        table = getattr(calculator, name, None)
        table = getattr(table, "zs", table)
        if not isinstance(table, (Mapping, list, tuple, set)) or not table:
            continue
        try:
            numbers = {units.number(x) if isinstance(x, str) else int(x) for x in table}
        except (TypeError, ValueError):
            continue
        if all(0 < z <= 118 for z in numbers):
            return tuple(sorted(numbers))
    return None


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())


def weights_digest(found: Iterable[nn.Module]) -> str:
    """SHA-256 of all tensors in the state of networks; empty where there is none."""
    digest, some = hashlib.sha256(), False
    for network in found:
        for key, tensor in sorted(network.state_dict().items()):
            if isinstance(tensor, torch.Tensor) and not tensor.is_sparse and not tensor.is_quantized:
                digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_bytes(tensor))
                some = True
    return digest.hexdigest() if some else ""


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's parameters whatever they are called: what a published potential is recognised by."""
    each = sorted(hashlib.sha256(f"{tuple(p.shape)}".encode() + _bytes(p)).hexdigest() for p in network.parameters())
    return hashlib.sha256("".join(each).encode()).hexdigest()


def versions(call: Call, calculator: Any, found: Iterable[nn.Module]) -> dict[str, str]:
    """Versions of the packages a calculator comes from; of a module that belongs to none, the SHA-256 of its file.

    torch, NumPy and ASE are left out beside another package: numbers do not change with them beyond rounding.
    """
    modules = {call.module, type(calculator).__module__, *(type(m).__module__ for network in found for m in network.modules())}
    owners = metadata.packages_distributions()
    told: dict[str, str] = {}
    for name in sorted(modules):
        top = name.partition(".")[0]
        if top in ("torch", "numpy", "ase", "builtins", "grannfield") and top != call.package:
            continue
        if top in owners:
            told |= {owner: metadata.version(owner) for owner in owners[top]}
        elif file := getattr(sys.modules.get(name), "__file__", None):
            told[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return dict(sorted(told.items()))
