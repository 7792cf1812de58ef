"""Force fields: a function from neighbour vectors to atomic energies, and everything that follows from it once.

A model writes `forward`; `predict` holds the only gradient in the package. Checkpoints are safetensors files whose header
carries JSON, so loading one never executes code.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from grannfield import units
from grannfield.checkpoint import CheckpointError, header_of, pack, require_finite, unpack
from grannfield.files import write_atomically
from grannfield.graph import AtomGraph, net_by_slot, sum_by_graph
from grannfield.nn.scale import AtomicScale
from grannfield.precision import NETWORK, checked, matrix_products

SHORT = 256
"""Numbers of a parameter from which on it can be halved; fewer cost nothing."""


class UnsupportedElement(ValueError):
    """A structure holds an element the force field was not made for."""


@dataclass(frozen=True)
class Prediction:
    """What a force field says of a graph."""

    energy: Tensor
    """[B] eV, double precision."""
    forces: Tensor
    """[N, 3] eV/Å."""
    stress: Tensor | None = None
    """[B, 3, 3] eV/Å³, positive under tension (ASE's sign); None unless asked for."""
    atomic_energies: Tensor | None = None
    """[N] eV."""


@dataclass(frozen=True)
class Claims:
    """What an architecture says of itself, for `grannfield check` to measure."""

    rotation: Literal["exact", "approximate", "none"] = "exact"
    """Whether energies and forces follow a rotation: to rounding, roughly, or not at all."""
    reflection: bool = True
    """Whether mirror images have the same energy; judged only where the rotation is exact."""
    continuous: bool = True
    """Whether the energy is a continuous function of the positions, atoms crossing the cut-off included."""


class ForceField(nn.Module):
    """Base of all force fields.

    A subclass sets `cutoff` and writes `forward(z, graph, edge_vec)`, z [N], edge_vec [N,K,3] Å, giving atomic energies
    [N]; a direct-force model sets `conservative = False` and gives (atomic energies [N], forces [N,3]). Outputs are in the
    network's own units; `scale` turns them into eV and eV/Å.
    """

    conservative: ClassVar[bool] = True
    """Whether forces are the gradient of the energy."""
    symmetry: ClassVar[str] = "E(3)-invariant"
    """What the architecture claims, in the words of Table 1."""
    claims: ClassVar[Claims] = Claims()
    """The same in terms that can be measured."""
    inferred: ClassVar[bool] = False
    """Whether the sizes behind Table 1 are not published and were inferred from its parameter count."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        self.scale = AtomicScale()
        self.name = type(self).__name__
        self.settings: dict[str, Any] = {}
        self.elements: tuple[int, ...] | None = None
        """Atomic numbers the field knows: those of its tables, after training those it was trained on; None for any."""
        self.provenance: dict[str, Any] = {}
        """How the weights came to be: training data, budget, hardware."""
        self.tf32 = False
        """Whether a float32 network multiplies in TF32; a choice of the user (`to_precision`), which no checkpoint remembers."""

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward(z, graph, edge_vec) -> atomic energies [N]")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's numbers: that of its first floating-point weight (double for one without any)."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float64)

    @property
    def precision(self) -> str:
        """Name of the precision of its arithmetic, see `grannfield.precision`; ValueError for a network below float32."""
        return "tf32" if self.tf32 and self.dtype == torch.float32 else _named(self.dtype)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def require_elements(self, z: Any) -> None:
        """Raise UnsupportedElement when atoms z [N] hold an element outside `elements`."""
        if self.elements is not None:
            unknown = sorted(set(np.unique(np.asarray(z)).tolist()) - set(self.elements))
            if unknown:
                raise UnsupportedElement(
                    f"{self.name} does not know {', '.join(map(units.symbol, unknown))}; it knows {_spelled(self.elements)}"
                )

    def predict(self, graph: AtomGraph, *, stress: bool = False, create_graph: bool = False) -> Prediction:
        """Energy, forces and, when asked, stress of every structure in the graph.

        One derivative of the summed energy by the neighbour vectors gives both: F_i is the sum over the slots of atom i
        minus the sum over the slots that point at it; stress = 1/V sum_slots v (x) dE/dv. `create_graph` keeps the
        derivative differentiable, for training; the loss then has to be differentiated under the same `matrix_products`.
        A direct-force model returns its own forces; it has no stress (ValueError).

        Only the network and its derivative follow `precision` where that is TF32: vectors, energy sum, forces from slots and
        stress are never below float32, whatever the process allows.
        """
        if stress and not self.conservative:
            raise ValueError(f"{self.name} predicts forces directly; it has no energy gradient and so no stress")
        precision, device = self.precision, graph.pos.device
        with matrix_products("float32", device):
            network = matrix_products(precision, device) if precision == "tf32" else nullcontext()
            return self._predict(graph, stress, create_graph, network)

    def _predict(self, graph: AtomGraph, stress: bool, create_graph: bool, network: AbstractContextManager[None]) -> Prediction:
        """`predict`, with the context that the network and its derivative are to be evaluated in."""
        edge_vec = graph.edge_vectors(self.dtype).detach()
        if not self.conservative:
            with torch.set_grad_enabled(create_graph):
                with network:
                    atomic, forces = self(graph.z, graph, edge_vec)
                atomic = self.scale(atomic, graph.z)
                return Prediction(sum_by_graph(atomic, graph), forces * self.scale.scale.to(forces.dtype), None, atomic)
        with torch.enable_grad(), network:
            edge_vec.requires_grad_()
            atomic = self.scale(self(graph.z, graph, edge_vec), graph.z)
            energy = sum_by_graph(atomic, graph)
            if energy.requires_grad:
                (by_vector,) = torch.autograd.grad(energy.sum(), edge_vec, create_graph=create_graph, materialize_grads=True)
            else:  # an energy that does not depend on the positions: no force
                by_vector = torch.zeros_like(edge_vec)
        virial = None
        if stress:
            outer = torch.einsum("nka,nkb->nab", edge_vec, by_vector)
            virial = sum_by_graph(outer, graph) / torch.linalg.det(graph.cell).abs().view(-1, 1, 1)
            virial = 0.5 * (virial + virial.transpose(1, 2))
        forces = net_by_slot(by_vector, graph)
        if create_graph:
            return Prediction(energy, forces, virial, atomic)
        return Prediction(energy.detach(), forces, None if virial is None else virial.detach(), atomic.detach())


def _spelled(elements: tuple[int, ...]) -> str:
    """Symbols of atomic numbers; runs of more than four as `H to Xe`.

    >>> _spelled((3, 15, 16)), _spelled((*range(1, 55), 57))
    ('Li, P, S', 'H to Xe, La')
    """
    text, left = [], list(elements)
    while left:
        run = next((n for n, z in enumerate(left) if z != left[0] + n), len(left))
        names = [units.symbol(z) for z in left[: run if run > 4 else 1]]
        text.append(f"{names[0]} to {names[-1]}" if run > 4 else names[0])
        left = left[len(names) :]
    return ", ".join(text)


_REGISTRY: dict[str, type[ForceField]] = {}


def register(name: str) -> Callable[[type[ForceField]], type[ForceField]]:
    """Class decorator: make a force field known by name; its keyword defaults are the configuration of Table 1."""

    def add(cls: type[ForceField]) -> type[ForceField]:
        other = _REGISTRY.get(name, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):  # a file run twice replaces itself
            raise ValueError(f"two models are registered as {name!r}: {other} and {cls}")
        _REGISTRY[name] = cls
        return cls

    return add


def registered() -> dict[str, type[ForceField]]:
    """All registered models by name."""
    import grannfield.models  # noqa: F401  (registers them)

    return dict(sorted(_REGISTRY.items()))


def create(name: str, **settings: Any) -> ForceField:
    """A registered model with fresh weights; ValueError names the models or settings there are."""
    known = registered()
    if name not in known:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(known)}")
    signature = inspect.signature(known[name])
    unknown = sorted(set(settings) - set(signature.parameters))
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(signature.parameters)}")
    field = known[name](**settings)
    field.name = name
    field.settings = {key: settings.get(key, parameter.default) for key, parameter in signature.parameters.items()}
    return field


def split_name(spec: str) -> tuple[str, str]:
    """('schnet', 'published') of `schnet@published`, ('schnet', 'default') of `schnet`; ValueError for another behaviour."""
    name, at, behaviour = spec.partition("@")
    if at and behaviour != "published":
        raise ValueError(f"{spec!r}: after the @ only `published` is known")
    return name, behaviour or "default"


def reduced_settings(name: str) -> dict[str, Any]:
    """Settings of a model that trains on a CPU in minutes; empty where the size of Table 1 does."""
    text = resources.files("grannfield.models").joinpath("reduced.toml").read_text(encoding="utf-8")
    settings: dict[str, Any] = tomllib.loads(text).get(name, {})
    return settings


def is_reduced(field: ForceField) -> bool:
    """Whether a registered model has fewer parameters than at the size of Table 1, its keyword defaults."""
    known = registered().get(field.name)
    if known is None:
        return False
    signature = inspect.signature(known).parameters
    if all(field.settings.get(key, p.default) == p.default for key, p in signature.items() if key != "as_published"):
        return False
    with torch.random.fork_rng(devices=[]):
        return field.n_parameters < create(field.name, as_published=field.settings.get("as_published", False)).n_parameters


def weights_hash(field: ForceField) -> str:
    """SHA-256 of a field's name, settings and every weight, and of TF32 where asked for: what identifies it in a result."""
    about = [field.name, field.settings, *(["tf32"] if field.precision == "tf32" else [])]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for key, tensor in sorted(field.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(field: ForceField, path: str | Path, *, halved: bool = False) -> None:
    """Write a registered model's weights, settings, elements and provenance as one safetensors file, atomically.

    `halved`: parameters of SHORT numbers or more as 16-bit floats, half the size; the file then holds other weights, rounded to
    11 bits, which are computed with in single precision. Forces of the shipped models move by 0.1 to 1.6 meV/Å rms for it.
    """
    if field.name not in registered():
        raise CheckpointError(f"{field.name} is not a registered model, so a file could not say how to rebuild it")
    header = header_of(field.name, field.settings, field.elements, field.provenance)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in field.state_dict().items()}
    if halved:
        long = {key: p.detach().cpu() for key, p in field.named_parameters() if p.numel() >= SHORT}
        tensors |= {key: p.half().contiguous() for key, p in long.items()}
        if any((p.half().isinf() & p.isfinite()).any() for p in long.values()):
            raise CheckpointError(f"{path}: weights above 65,504 do not fit into 16 bits; write them without `halved`")
    write_atomically(Path(path), pack(header, tensors))


def load(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> ForceField:
    """The force field of a checkpoint, in eval mode.

    FileNotFoundError for a missing file; CheckpointError, naming the file, for one that is truncated, is no GraNNField
    checkpoint, comes from a later version, or whose weights were changed or are not finite. dtype sets the precision of the
    network, by default that of the file (scale and shift are always double).
    """
    header, tensors = unpack(path)
    try:
        field = create(header["model"], **header["settings"])
    except ValueError as problem:
        raise CheckpointError(f"{path} cannot be rebuilt: {problem}") from problem
    try:
        to_precision(field, _kept_in(field, tensors)).load_state_dict(tensors)
    except RuntimeError as problem:
        raise CheckpointError(f"{path} does not fit {header['model']} {header['settings']}: {problem}") from problem
    if header.get("elements") is not None:
        field.elements = tuple(header["elements"])
    field.provenance = header.get("provenance", {})
    require_finite(path, {key: p for key, p in field.named_parameters() if p.requires_grad})
    return to_precision(field, dtype).to(device).eval()


def _kept_in(field: ForceField, tensors: dict[str, Tensor]) -> torch.dtype | None:
    """The type of a network whose weights these are: single precision where they were halved."""
    found = {tensors[key].dtype for key, _ in field.named_parameters() if key in tensors}
    return torch.float32 if torch.float16 in found else next(iter(found), None)


def to_precision(field: ForceField, precision: str | torch.dtype | None) -> ForceField:
    """The same field with its network in another precision, `float32`, `tf32` or `float64`; scale and shift stay double.

    None changes nothing. A torch type, too, may say which, but what is asked for by name is done or ValueError says why not: a
    field without weights is float64, and no network is below float32, for its numbers are those of its geometry.
    """
    if precision is not None:
        name = checked(precision) if isinstance(precision, str) else _named(precision)
        scale = {key: tensor.clone() for key, tensor in field.scale.state_dict().items()}
        field.to(NETWORK[name])
        field.scale.to(torch.float64).load_state_dict(scale)
        field.tf32 = name == "tf32"
        if isinstance(precision, str) and field.precision != name:
            raise ValueError(f"{field.name} has no weights: it computes in {field.precision}, not in {name}")
    return field


def _named(dtype: torch.dtype) -> str:
    """The precision of networks of a torch type."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"a network in {dtype}: geometry is never below float32; use float32, tf32 or float64")
    return str(dtype).removeprefix("torch.")
