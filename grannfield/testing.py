"""Known answers: parity with stored reference outputs, and a Lennard-Jones field to test everything else with.

`python -m grannfield.testing parity FILE.npz.xz` prints one line for each structure of a parity file.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from grannfield.forcefield import ForceField, create, registered, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import graph_from_edges, neighbor_graph

PARITY = Path(__file__).parent / "parity"
"""One MODEL.toml each: our keyword for every setting that a parity file states (`name.0` is the first of a list), and how the
names of its weights become names in our state dict, regular expressions applied in order, '' for constants that are ours.
`.W` and `.b` are renamed for all."""


class LennardJones(ForceField):
    """Lennard-Jones atoms whose force is switched smoothly to zero between `switch` and `cutoff`.

    phi(r) = 1/r^a becomes Phi(r) = 1/r^a - A/3 (r-s)^3 - B/4 (r-s)^4 - C beyond the switch s, with A, B, C such that force and
    its slope vanish at the cut-off (van der Spoel & van Maaren, J. Chem. Theory Comput. 2, 1 (2006), 10.1021/ct0502256).
    epsilon in eV, sigma, switch and cutoff in Å; the same for every element.
    """

    def __init__(self, epsilon: float = 0.0104, sigma: float = 3.4, cutoff: float = 7.0, switch: float = 5.5) -> None:
        super().__init__(cutoff)
        self.epsilon, self.sigma, self.switch = epsilon, sigma, switch

    def _power(self, r: Tensor, a: int) -> Tensor:
        s, c = self.switch, self.cutoff
        first = -a * ((a + 4) * c - (a + 1) * s) / (c ** (a + 2) * (c - s) ** 2)
        second = a * ((a + 3) * c - (a + 1) * s) / (c ** (a + 2) * (c - s) ** 3)
        constant = 1 / c**a - first / 3 * (c - s) ** 3 - second / 4 * (c - s) ** 4
        x = (r - s).clamp(min=0)
        return r**-a - first / 3 * x**3 - second / 4 * x**4 - constant

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(edge_vec, dim=-1)
        energy = 4 * self.epsilon * (self.sigma**12 * self._power(r, 12) - self.sigma**6 * self._power(r, 6))
        return 0.5 * (energy * graph.mask).sum(dim=1)


FREE = {
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "expand",
        "permute",
        "transpose",
        "t",
        "movedim",
        "diagonal",
        "unfold",
    ),
    *("select", "slice", "narrow", "unsqueeze", "squeeze", "split", "split_with_sizes", "chunk", "unbind", "as_strided"),
    *("detach", "alias", "lift_fresh", "is_same_size", "sym_size", "sym_stride", "_local_scalar_dense"),
    *("empty", "empty_like", "empty_strided", "new_empty"),
}
"""ATen operations that launch no kernel: views, metadata, empty allocations."""
WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"),
    *("unique_dim", "_unique2", "unique_consecutive"),
}
"""ATen operations whose result decides what the host does next."""


def operation(func: Any) -> str:
    """Name of an ATen operation, whether or not in place."""
    name: str = func._schema.name.split("::")[-1]
    return name.rstrip("_") if name.endswith("_") else name


class _Operations(TorchDispatchMode):
    """Counts what is dispatched below autograd, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.syncs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        base = operation(func)
        by_mask = base in ("index", "index_put") and any(
            torch.is_tensor(x) and x.dtype in (torch.bool, torch.uint8) for x in (args[1] or [])
        )
        self.syncs += base in WAITING or by_mask
        self.ops[base] += base not in FREE
        return func(*args, **(kwargs or {}))


def count_operations(call: Callable[[], Any]) -> tuple[int, int, Counter[str]]:
    """Device operations and host synchronisations that a call asks for, once warm: exact, and the same on any machine.

    >>> x = torch.ones(2, 2)
    >>> count_operations(lambda: (x @ x).T.sum().item())[:2]
    (2, 1)
    """
    call()
    with _Operations() as counter:
        call()
    return counter.ops.total(), counter.syncs, +counter.ops


def model_of(path: Path) -> str:
    """The longest registered name that a parity file's name begins with; ValueError when there is none."""
    fitting = [name for name in registered() if path.name.startswith(name)]
    if not fitting:
        raise ValueError(f"{path.name} does not begin with the name of a model ({', '.join(registered())})")
    return max(fitting, key=len)


def stored(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a parity file, NPZ or NPZ within xz; with `same_as`, those of the file of that name it does not have too."""
    with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as opened:
        content = io.BytesIO(opened.read())
    with np.load(content, allow_pickle=False) as file:
        arrays = {key: np.asarray(file[key]) for key in file}
    base = arrays.pop("same_as", None)
    return arrays if base is None else stored(path.with_name(str(base))) | arrays


def parity_field(path: Path, dtype: torch.dtype = torch.float64) -> ForceField:
    """The force field of a parity file, published behaviour, with the stored weights."""
    name = model_of(path)
    table = tomllib.loads((PARITY / f"{name}.toml").read_text(encoding="utf-8"))
    file = stored(path)
    stated = json.loads(str(file["settings_json"]))
    weights = {key[2:]: torch.from_numpy(np.array(value)) for key, value in file.items() if key.startswith("w/")}
    field = create(name, **{ours: _stated(stated, theirs) for ours, theirs in table["settings"].items()}, as_published=True)
    state: dict[str, Tensor] = {}
    for key, value in weights.items():
        for pattern, ours in table["keys"].items():
            key = re.sub(pattern, ours, key)
        if key:
            state[re.sub(r"\.b$", ".bias", re.sub(r"\.W$", ".weight", key))] = value
    current = field.state_dict()
    unknown = sorted(set(state) - set(current))
    if unknown:
        raise ValueError(f"{path.name} holds weights that {name} has no place for: {', '.join(unknown)}")
    missing = sorted(key for key in set(current) - set(state) if not key.startswith("scale."))
    if missing:
        raise ValueError(f"{path.name} lacks weights that {name} needs: {', '.join(missing)}")
    field = to_precision(field, dtype)
    field.load_state_dict({key: state[key].reshape(current[key].shape) if key in state else current[key] for key in current})
    return field.eval()


def _stated(settings: dict[str, Any], name: str) -> Any:
    key, _, index = name.partition(".")
    return settings[key][int(index)] if index else settings[key]


@dataclass(frozen=True)
class StoredInput:
    """One structure, or batch of structures, of a parity file, in either of its two key styles."""

    graph: AtomGraph
    slot: Tensor
    """[E] slot of each stored edge."""

    @classmethod
    def read(cls, file: dict[str, np.ndarray], structure: str, cutoff: float) -> StoredInput:
        """With our own neighbour search; with the stored edges only where a cap left fewer of them."""
        source = structure
        while f"{source}/positions" not in file:  # lgps_cap12 and batch_train_mode state only what differs
            source = source.rpartition("_")[0]
        edges = structure if _has_edges(file, structure) else source
        one = lambda place, *names: np.asarray(next(file[f"{place}/{n}"] for n in names if f"{place}/{n}" in file))  # noqa: E731
        z, pos, cell = one(source, "Z", "atomic_numbers"), one(source, "positions"), one(source, "cell").reshape(-1, 3, 3)
        batch = one(source, "batch")
        i, j = one(edges, "edge_dst", "edge_target"), one(edges, "edge_src", "edge_source")
        shift = one(edges, "edge_shift").reshape(-1, 3)
        graphs, slots, first = [], np.empty(len(i), np.int64), 0
        for b in range(len(cell)):
            atoms, mine = batch == b, batch[i] == b
            graph = neighbor_graph(z[atoms], pos[atoms], cell[b], cutoff)
            if graph.n_edges != mine.sum():
                graph = graph_from_edges(z[atoms], pos[atoms], cell[b], cutoff, i[mine] - first, j[mine] - first, shift[mine])
            graphs.append(graph)
            first += int(atoms.sum())
        joined = collate(graphs)
        centre, column = (x.numpy() for x in joined.mask.nonzero(as_tuple=True))
        crossed = joined.shift.numpy()[centre, column].astype(int)
        ours = {
            key: int(c * joined.mask.shape[1] + k)
            for key, c, k in zip(_names(centre, joined.neighbors.numpy()[centre, column], crossed), centre, column, strict=True)
        }
        try:
            slots[:] = [ours[key] for key in _names(i, j, shift.astype(int))]
        except KeyError as edge:
            raise ValueError(f"{structure} stores the edge {edge}, which no neighbour search finds") from None
        return cls(joined, torch.from_numpy(slots))

    def by_slot(self, values: np.ndarray, dtype: torch.dtype) -> Tensor:
        """Stored edge values [E, ...] in the neighbour matrix [N, K, ...], zero in padded slots."""
        matrix = torch.zeros(self.graph.mask.numel(), *values.shape[1:], dtype=dtype)
        matrix[self.slot] = torch.from_numpy(values).to(dtype)
        return matrix.view(*self.graph.mask.shape, *values.shape[1:])


def _has_edges(file: dict[str, np.ndarray], structure: str) -> bool:
    return any(f"{structure}/edge_{name}" in file for name in ("dst", "target"))


def _names(i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> list[tuple[int, ...]]:
    return [(a, b, *s) for a, b, s in zip(i.tolist(), j.tolist(), shift.tolist(), strict=True)]


def parity(path: str | Path, dtype: torch.dtype = torch.float64) -> dict[str, tuple[float, float]]:
    """Errors of energy and forces for each structure of a file: max|x - ref| / max(1, max|ref|)."""
    path = Path(path)
    errors: dict[str, tuple[float, float]] = {}
    file = stored(path)
    for structure in sorted({key.split("/")[0] for key in file if key.endswith("/energy")}):
        field: Any = parity_field(path, dtype)
        given = StoredInput.read(file, structure, field.cutoff)
        if f"{structure}/edge_rot" in file:
            field.frames = partial(_given, given.by_slot(file[f"{structure}/edge_rot"], dtype))
        if f"{structure}/edge_resolution" in file:
            field.closeness = partial(_given, given.by_slot(file[f"{structure}/edge_resolution"], dtype))
        prediction = field.train(structure.endswith("train_mode")).predict(given.graph)
        pairs = ((prediction.energy, file[f"{structure}/energy"]), (prediction.forces, file[f"{structure}/forces"]))
        energy, forces = (
            float(np.abs(ours.detach().double().numpy() - ref).max() / max(1.0, np.abs(ref).max())) for ours, ref in pairs
        )
        errors[structure] = energy, forces
    return errors


def _given(stored: Tensor, _: Tensor) -> Tensor:
    return stored


def main(arguments: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m grannfield.testing", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("parity", help="compare a model with stored float64 outputs")
    command.add_argument("file", type=Path, help="parity file; its name begins with the model's")
    command.add_argument(
        "--precision", choices=("float64", "float32"), default="float64", help="of the network (default: float64)"
    )
    options = parser.parse_args(arguments)
    try:
        errors = parity(options.file, getattr(torch, options.precision))
    except (ValueError, KeyError, FileNotFoundError) as problem:
        parser.exit(2, f"parity: {problem.args[0] if isinstance(problem, (ValueError, KeyError)) else problem}\n")
    for structure, (energy, forces) in errors.items():
        print(f"{structure} energy {energy:.1e} forces {forces:.1e}")


if __name__ == "__main__":
    main()
