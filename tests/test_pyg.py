"""PyTorch Geometric's networks as force fields: the same physics written both ways, and what is said of classes that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from grannfield.contract.check import check_model
from grannfield.forcefield import ForceField, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph
from grannfield.plugin import ModelNotFound, resolve
from grannfield.pyg import NotAForceField
from tests.models.small import SKEWED, WIDE, atoms

NATIVE = '''
import torch
from grannfield.forcefield import ForceField

class Soft(ForceField):
    """Every pair within 4 Å pushes apart, by an amount that depends on what the atoms are."""
    def __init__(self):
        super().__init__(cutoff=4.0)
    def forward(self, z, graph, edge_vec):  # [N], the graph, [N, K, 3] in Å from i to j
        d = torch.linalg.vector_norm(edge_vec, dim=-1)
        return 1e-2 * (z[graph.neighbors] * (4.0 - d) ** 3 * graph.mask).sum(1)  # atomic energies [N] in eV
'''
PYG = '''
import torch
from torch_geometric.nn import MessagePassing, global_add_pool

class Soft(MessagePassing):
    """The same as messages along edges."""
    cutoff = 4.0  # Å: all periodic images within it are edges
    def __init__(self):
        super().__init__(aggr="add")
    def forward(self, data):  # z, pos, cell, batch, edge_index, edge_shift, edge_vec
        d = data.edge_vec.norm(dim=-1, keepdim=True)
        atomic = self.propagate(data.edge_index, x=data.z.to(d.dtype).unsqueeze(1), d=d)
        return global_add_pool(atomic, data.batch)  # energy of each structure in eV
    def message(self, x_j, d):
        return 1e-2 * x_j * (self.cutoff - d) ** 3

class FromPositions(Soft):
    """Reads positions and cells instead of the vectors it is given."""
    def forward(self, data):
        j, i = data.edge_index
        data.edge_vec = data.pos[j] - data.pos[i] + torch.einsum("ea,eab->eb", data.edge_shift, data.cell[data.batch[i]])
        return super().forward(data).squeeze(1)

class Direct(Soft):
    conservative = False
    def forward(self, data):
        return super().forward(data), data.edge_vec.new_ones(len(data.z), 3)

class NoCutoff(Soft):
    cutoff = None

class Blind(Soft):
    def forward(self, z, pos, batch=None):
        return pos.sum()

class Pair(Soft):
    def forward(self, data):
        return super().forward(data), data.pos

class PerAtom(Soft):
    def forward(self, data):
        return data.pos.sum(1)

class Wide(Soft):
    conservative = False
    def forward(self, data):
        return super().forward(data), data.pos.sum(1)

class Network(torch.nn.Module):
    """No message passing of PyTorch Geometric's, but a network that takes its batch."""
    elements = [3, 16]
    def __init__(self):
        super().__init__()
        self.cutoff, self.weight = torch.tensor(3.0), torch.nn.Parameter(torch.tensor(0.7))
    def forward(self, data):
        energy = (3.0 - data.edge_vec.norm(dim=-1)) ** 2
        return self.weight * torch.zeros(data.num_graphs, dtype=energy.dtype).index_add(0, data.batch[data.edge_index[1]], energy)
'''


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "native.py").write_text(NATIVE)
    (tmp_path / "pyg.py").write_text(PYG)
    return tmp_path


def crystals(cutoff: float = 4.0) -> AtomGraph:
    return collate([neighbor_graph(*atoms(n, n, cell, 1.0), cutoff) for n, cell in ((4, SKEWED), (9, WIDE))])


@pytest.mark.parametrize("cls", ["Soft", "FromPositions"])
def test_the_same_potential_written_both_ways(files: Path, cls: str) -> None:
    """Energies, forces and stress of two skewed crystals whose atoms have images of themselves as neighbours."""
    native, pyg = resolve(f"{files}/native.py:Soft"), to_precision(resolve(f"{files}/pyg.py:{cls}"), torch.float64)
    assert isinstance(pyg, ForceField) and (pyg.cutoff, pyg.name, pyg.conservative) == (4.0, cls, True)
    one, other = native.predict(crystals(), stress=True), pyg.predict(crystals(), stress=True)
    assert float(one.forces.abs().max()) > 0.1
    np.testing.assert_allclose(other.energy, one.energy, rtol=1e-12)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-12)
    assert one.stress is not None and other.stress is not None
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-14)
    alone = pyg.predict(neighbor_graph(*atoms(9, 9, WIDE, 1.0), 4.0))
    np.testing.assert_allclose(alone.forces, other.forces[4:], atol=1e-13)


def test_forces_of_its_own(files: Path) -> None:
    field = resolve(f"{files}/pyg.py:Direct")
    prediction = field.predict(crystals())
    assert not field.conservative and bool((prediction.forces == 1).all()) and prediction.energy.shape == (2,)
    with pytest.raises(ValueError, match="predicts forces directly"):
        field.predict(crystals(), stress=True)


def test_a_plain_network_and_its_precision(files: Path) -> None:
    field = resolve(f"{files}/pyg.py:Network")
    assert (field.precision, field.n_parameters, field.elements, field.cutoff) == ("float32", 1, (3, 16), 3.0)
    single = field.predict(crystals(3.0))
    double = to_precision(field, "float64").predict(crystals(3.0))
    assert 0 < float((single.energy - double.energy).abs().max()) < 1e-4 and double.energy.dtype == torch.float64


def test_a_network_keeps_the_contract(files: Path) -> None:
    report = check_model(f"{files}/pyg.py:Soft")
    assert not report["failed"], report["failed"]
    passed = {finding["check"] for finding in report["findings"] if finding["verdict"] == "pass"}
    assert {"rotation", "forces against the energy", "stress against the energy", "extensivity", "batch = single"} <= passed


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        ("NoCutoff", r"NoCutoff has no cutoff; set `self\.cutoff = 5\.0`"),
        ("Blind", r"Blind\.forward takes z, pos; without edges it would not see periodic images: write forward\(self, data\)"),
        ("Pair", "returns 2 things: for energy and forces write `conservative = False`"),
        ("PerAtom", r"returns a tensor \[13\] for 2 structures of 13 atoms; return one energy"),
        ("Wide", r"returns forces \[13\] for 13 atoms; return \[N,3\]"),
    ],
)
def test_what_is_missing_is_said(files: Path, cls: str, message: str) -> None:
    with pytest.raises(NotAForceField, match=message):
        resolve(f"{files}/pyg.py:{cls}").predict(crystals())


def test_only_networks_of_the_file_are_offered(files: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"called Sift; it has Soft, FromPositions, .*Wide, Network$"):
        resolve(f"{files}/pyg.py:Sift")
