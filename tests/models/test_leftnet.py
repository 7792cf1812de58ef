"""LEFTNet: what the published frames and messages do wrong, and that the default mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, pair_values, pair_vectors
from grannfield.models.leftnet import _normal, _normal_of_positions
from grannfield.neighbors import neighbor_graph
from grannfield.nn.radial import cosine_cutoff
from grannfield.testing import StoredInput, parity_field, stored
from tests.models.small import CUTOFF, WIDE, atoms, small
from tests.models.test_physics import energy, predict

STORED = Path(__file__).parents[1] / "parity" / "leftnet.npz.xz"


def stored_graph(structure: str = "A") -> AtomGraph:
    return StoredInput.read(stored(STORED), structure, 4.5).graph


def stored_field(published: bool) -> ForceField:
    field = parity_field(STORED)
    field.as_published = published
    return field


def moved(graph: AtomGraph, pos: Tensor) -> AtomGraph:
    """The same structure at other positions, or with other images of its atoms."""
    return neighbor_graph(graph.z.numpy(), pos.numpy(), graph.cell[0].numpy(), graph.cutoff)


@pytest.mark.parametrize("published", [True, False])
def test_translation_and_wrapping_change_the_published_prediction_alone(published: bool) -> None:
    """By about what was measured with the paper's package: 0.06 of an energy of 254, 0.004 in forces of about 1."""
    field, graph = stored_field(published), stored_graph()
    wrapped = graph.pos.clone()
    wrapped[3] += graph.cell[0, 0]
    here = field.predict(graph)
    assert 250 < abs(float(stored_field(True).predict(graph).energy[0])) < 260
    shift = graph.pos.new_tensor([0.7, -1.3, 2.1])
    for name, pos in (("shifted", graph.pos + shift), ("wrapped", wrapped)):
        there = field.predict(moved(graph, pos))
        by_energy = float(abs(there.energy - here.energy))
        by_force = float((there.forces - here.forces).abs().max())
        if published:
            assert by_energy > 1e-4 and by_force > 1e-4, name
        else:
            assert by_energy < 1e-11 and by_force < 1e-11, name
        if published and name == "shifted":
            assert 0.04 < by_energy < 0.08 and 0.003 < by_force < 0.005


def test_messages_do_not_jump_at_the_cutoff_whatever_the_biases() -> None:
    """The bias of the radial filter is zero in a fresh network; then the published messages fade as well."""
    z, pos, cell = np.array([3, 16]), np.zeros((2, 3)), 30 * np.eye(3)

    def jump(field: ForceField) -> tuple[float, float]:
        at = []
        for r in (CUTOFF - 1e-7, CUTOFF + 1e-7):
            pos[1, 0] = r
            prediction = predict(field, z, pos, cell, False)
            at.append((float(prediction.energy[0]), float(prediction.forces[1, 0])))
        return abs(at[0][0] - at[1][0]), abs(at[0][1] - at[1][1])

    published, default = small("leftnet", as_published=True), small("leftnet")
    assert min(jump(published)) > 1e-3 and max(jump(default)) < 1e-10
    with torch.no_grad():
        for message in published.messages:
            message.gain.bias.zero_()
    assert max(jump(published)) < 1e-10


def test_energy_and_forces_of_a_crystal_have_no_steps_by_default() -> None:
    """Along a line on which neighbours come and go: the largest step falls with the spacing."""
    z, pos, cell = atoms(apart=1.3)
    way = np.array([[0.0, 0, 0], [0, 0, 0], [1.0, 0.7, -0.4], [0, 0, 0]])
    steps = {}
    for published in (True, False):
        field = small("leftnet", as_published=published)
        for n in (20, 80):
            at = [predict(field, z, pos + t * way, cell) for t in np.linspace(0, 0.3, n + 1)]
            values = np.array([[*p.energy.tolist(), *p.forces.flatten().tolist()] for p in at])
            steps[published, n] = np.abs(np.diff(values, axis=0)).max(0)
    assert steps[False, 80].max() < 0.4 * steps[False, 20].max()
    assert steps[True, 80].max() > 0.7 * steps[True, 20].max()


def normal(graph: AtomGraph) -> Tensor:
    edge_vec = graph.edge_vectors()
    fade = pair_values(cosine_cutoff(pair_vectors(edge_vec, graph).norm(dim=-1), graph.cutoff), graph)
    return _normal(graph, edge_vec, edge_vec / edge_vec.norm(dim=-1, keepdim=True), fade)


def test_normals_turn_with_the_edges() -> None:
    graph = stored_graph()
    k, u = normal(graph), torch.nn.functional.normalize(graph.edge_vectors(), dim=-1)
    assert float((k * u).sum(-1).abs().max()) < 1e-14 and float(k.norm(dim=-1).max()) < 1
    assert float(k.norm(dim=-1)[graph.mask].median()) > 0.7
    back = k.flatten(0, 1)[graph.reverse.flatten()].view_as(k)
    torch.testing.assert_close(back[graph.mask], -k[graph.mask])  # so that u x k is the same from both ends


def test_normals_vanish_where_nothing_tells_them() -> None:
    """A pair alone, a row of atoms, and sites with inversion; for the published one, an atom and its image."""
    salt = np.array([[x, y, w] for x in (0, 2.6) for y in (0, 2.6) for w in (0, 2.6)], float)
    pair = neighbor_graph(np.array([3, 16]), np.array([[0, 0, 0], [1.0, 2.0, 0.5]]), 30 * np.eye(3), CUTOFF, False)
    row = neighbor_graph(np.array([3, 16, 3]), np.array([[0.0, 0, 0], [2, 0, 0], [4.5, 0, 0]]), 30 * np.eye(3), CUTOFF, False)
    for graph in (pair, row, neighbor_graph(np.array([3, 16, 16, 3, 16, 3, 3, 16]), salt, 5.2 * np.eye(3), CUTOFF)):
        assert float(normal(graph).abs().max()) < 1e-12
    graph = neighbor_graph(*atoms(apart=1.0), CUTOFF)
    itself = graph.neighbors == torch.arange(4).view(-1, 1)
    k = _normal_of_positions(graph)
    assert (itself & graph.mask).any() and not k[itself].any()
    torch.testing.assert_close(k[~itself].norm(dim=-1), torch.ones(int((~itself).sum()), dtype=k.dtype))


def test_published_normals_are_read_in_the_precision_of_the_positions() -> None:
    """Far from the origin the cross product of rounded positions loses its digits."""
    z, pos, cell = atoms(9, 4, WIDE, apart=1.2)
    graph = neighbor_graph(z, pos + 300 * cell.sum(0), cell, CUTOFF)
    double, single = (small("leftnet", dtype=t, as_published=True) for t in (torch.float64, torch.float32))
    torch.testing.assert_close(single.predict(graph).forces.double(), double.predict(graph).forces, rtol=0, atol=2e-5)


def test_forces_are_no_gradient() -> None:
    field, (z, pos, cell) = small("leftnet"), atoms(5, apart=1.0)
    forces = predict(field, z, pos, cell).forces.numpy()
    assert np.abs(forces.sum(0)).max() > 1e-3
    direction, h = np.random.default_rng(2).normal(size=pos.shape), 1e-4
    slope = (energy(field, z, pos + h * direction, cell) - energy(field, z, pos - h * direction, cell)) / (2 * h)
    assert slope != pytest.approx(-(forces * direction).sum(), rel=1e-2)


@pytest.mark.parametrize("published", [True, False])
def test_an_asymmetric_graph_is_read_alike(published: bool) -> None:
    field, graph = small("leftnet", as_published=published), neighbor_graph(*atoms(apart=1.0), CUTOFF)
    ours, other = field.predict(graph), field.predict(replace(graph, symmetric=False))
    torch.testing.assert_close(ours.forces, other.forces, rtol=0, atol=1e-13)
    capped = field.predict(neighbor_graph(*atoms(apart=1.0), CUTOFF, max_neighbors=7))
    assert torch.isfinite(capped.forces).all() and not torch.equal(capped.forces, ours.forces)


def test_training_and_prediction_agree() -> None:
    """Without a gradient an activation overwrites its input; with one it must not."""
    field, graph = small("leftnet"), neighbor_graph(*atoms(apart=1.0), CUTOFF)
    assert torch.equal(field.predict(graph, create_graph=True).forces.detach(), field.predict(graph).forces)
