"""Known answers: parity with stored reference outputs, and a Lennard-Jones field to test everything else with.

`python -m grannfield.testing parity FILE.npz` prints one line for each structure of a parity file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.forcefield import ForceField, create, registered, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import graph_from_edges, neighbor_graph

PARITY_SETTINGS: dict[str, dict[str, str]] = {
    "schnet": {k: k for k in ("hidden_channels", "num_filters", "num_interactions", "num_gaussians", "cutoff")}
}
"""Our keyword for each setting that a parity file of a model states."""

PARITY_KEYS: dict[str, list[tuple[str, str]]] = {
    "schnet": [(r"^embed\.table$", "embedding.weight"), (r"^int(\d+)\.", r"interactions.\1.")],
}
"""Model by model, how the names in a parity file become names in our state dict; `.W` and `.b` are renamed for all."""


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


def model_of(path: Path) -> str:
    """The longest registered name that a parity file's name begins with; ValueError when there is none."""
    fitting = [name for name in registered() if path.name.startswith(name)]
    if not fitting:
        raise ValueError(f"{path.name} does not begin with the name of a model ({', '.join(registered())})")
    return max(fitting, key=len)


def parity_field(path: Path, dtype: torch.dtype = torch.float64) -> ForceField:
    """The force field of a parity file, published behaviour, with the stored weights."""
    name = model_of(path)
    with np.load(path, allow_pickle=False) as file:
        stated = json.loads(str(file["settings_json"]))
        weights = {key[2:]: torch.from_numpy(np.array(file[key])) for key in file.files if key.startswith("w/")}
    wanted = PARITY_SETTINGS[name]
    field = create(name, **{ours: stated[theirs] for theirs, ours in wanted.items()}, as_published=True)
    state: dict[str, Tensor] = {}
    for key, value in weights.items():
        for pattern, ours in PARITY_KEYS[name]:
            key = re.sub(pattern, ours, key)
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


def parity_graph(file: Any, structure: str, cutoff: float) -> AtomGraph:
    """A stored input, with our own neighbour search; the stored edges only where a cap made them asymmetric."""
    source = structure if f"{structure}/positions" in file.files else structure.split("_cap")[0]
    z, pos, cell = (np.asarray(file[f"{source}/{key}"]) for key in ("Z", "positions", "cell"))
    batch = np.asarray(file[f"{source}/batch"])
    cell = cell.reshape(-1, 3, 3)
    if source != structure:
        i, j, shift = (np.asarray(file[f"{structure}/edge_{key}"]) for key in ("dst", "src", "shift"))
        return graph_from_edges(z, pos, cell[0], cutoff, i, j, shift)
    return collate([neighbor_graph(z[batch == b], pos[batch == b], cell[b], cutoff) for b in range(len(cell))])


def parity(path: str | Path, dtype: torch.dtype = torch.float64) -> dict[str, tuple[float, float]]:
    """Errors of energy and forces for each structure of a file: max|x - ref| / max(1, max|ref|)."""
    path = Path(path)
    field = parity_field(path, dtype)
    errors: dict[str, tuple[float, float]] = {}
    with np.load(path, allow_pickle=False) as file:
        for structure in sorted({key.split("/")[0] for key in file.files if key.endswith("/energy")}):
            if structure.endswith("train_mode"):
                continue
            prediction = field.predict(parity_graph(file, structure, field.cutoff))
            pairs = ((prediction.energy, file[f"{structure}/energy"]), (prediction.forces, file[f"{structure}/forces"]))
            energy, forces = (
                float(np.abs(ours.double().numpy() - ref).max() / max(1.0, np.abs(ref).max())) for ours, ref in pairs
            )
            errors[structure] = energy, forces
    return errors


def main(arguments: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m grannfield.testing", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("parity", help="compare a model with stored float64 outputs")
    command.add_argument("file", type=Path, help="parity file; its name begins with the model's")
    for structure, (energy, forces) in parity(parser.parse_args(arguments).file).items():
        print(f"{structure} energy {energy:.1e} forces {forces:.1e}")


if __name__ == "__main__":
    main()
