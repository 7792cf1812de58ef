"""Device operations of one evaluation at the size of Table 1 on LGPS, search of fixed shape included."""

from __future__ import annotations

import torch

from grannfield.all_pairs import AllPairs
from grannfield.data.material import load_material
from grannfield.forcefield import create
from grannfield.neighbors import neighbor_graph
from grannfield.testing import count_operations


def operations(name: str) -> tuple[int, int]:
    """Operations and host synchronisations of energy and forces."""
    start, field = load_material("LGPS").structure, create(name).eval()
    widest = neighbor_graph(start.z, start.pos, start.cell, field.cutoff).neighbors.shape[1]
    search = AllPairs(start.z, torch.tensor(start.cell)[None], field.cutoff, capacity=widest + 8)
    pos = torch.tensor(start.pos)[None]
    return count_operations(lambda: field.predict(search(pos)))[:2]
