"""SchNet, DimeNet and DimeNet++ against PyTorch Geometric's with the same weights, on periodic crystals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph
from grannfield.speed.rivals import RIVALS, evaluation, periodic_triplets
from tests.models.small import CUTOFF, SKEWED, WIDE, atoms, small


def without_top_bias(name: str) -> ForceField:
    """A small field; DimeNet++ without the bias that PyTorch Geometric's has no place for."""
    field = small(name)
    with torch.no_grad():
        for key, p in field.named_parameters():
            if key.endswith("up.bias"):
                p.zero_()
    return field


def edges_of(graph: AtomGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours, centres and Cartesian shifts of all edges."""
    centre, slot = graph.mask.nonzero(as_tuple=True)
    across = torch.einsum("ea,eab->eb", graph.shift[centre, slot], graph.cell[graph.batch[centre]])
    return graph.neighbors[centre, slot], centre, across


@pytest.mark.parametrize("cap", [None, 9])
@pytest.mark.parametrize("name", RIVALS)
def test_energies_and_forces(name: str, cap: int | None) -> None:
    """On a batch of two cells; with a cap the graph is asymmetric and the direction of messages matters.

    The basis of the DimeNets has norms of single precision in ours, as published.
    """
    field = without_top_bias(name)
    cells = ((4, SKEWED), (9, WIDE))
    graph = collate([neighbor_graph(*atoms(n, n, cell, 1.0), CUTOFF, max_neighbors=cap) for n, cell in cells])
    assert graph.symmetric == (cap is None)
    if cap is None:
        assert (graph.neighbors == torch.arange(13).view(-1, 1))[graph.mask].any(), "no atom is its own neighbour"
    pos = graph.pos.clone().requires_grad_()
    energy = RIVALS[name](field).double()(graph.z, pos, *edges_of(graph))
    forces = -torch.autograd.grad(energy, pos)[0]
    prediction = field.predict(graph)
    tight = 1e-9 if name == "schnet" else 2e-5
    assert abs(float(prediction.energy.sum() - energy.detach())) < tight * max(1.0, abs(float(energy.detach())))
    assert float((prediction.forces - forces).abs().max()) < tight * float(forces.abs().max())
    assert forces.abs().max() > 1e-3


def test_evaluation_with_vesin_edges() -> None:
    field = small("schnet")
    z, pos, cell = atoms(9, 9, WIDE)
    energy, forces = evaluation(RIVALS["schnet"](field), CUTOFF)(z, pos, cell)
    prediction = field.predict(neighbor_graph(z, pos, cell, CUTOFF))
    assert energy == pytest.approx(float(prediction.energy[0]), abs=1e-9)
    np.testing.assert_allclose(forces, prediction.forces.numpy(), atol=1e-9)


@pytest.mark.parametrize("cap", [None, 7])
def test_triplets_are_all_pairs_of_edges_but_those_that_turn_back(cap: int | None) -> None:
    graph = neighbor_graph(*atoms(4, 1), CUTOFF, max_neighbors=cap)
    j, i, across = edges_of(graph)
    kj, ji = periodic_triplets(j, i, across, 4)
    expected = {
        (a, b)
        for a in range(len(j))
        for b in range(len(j))
        if i[a] == j[b] and not (j[a] == i[b] and bool((across[a] + across[b]).abs().max() < 1e-3))
    }
    assert set(zip(kj.tolist(), ji.tolist(), strict=True)) == expected and len(kj) == len(expected)
