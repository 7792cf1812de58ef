"""Frames searched once and drawn in batches against graphs built one by one."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from grannfield.forcefield import ForceField, create, to_precision
from grannfield.graph import AtomGraph, collate
from grannfield.graphset import GraphSet
from grannfield.neighbors import neighbor_graph
from grannfield.recipe import loss_of
from grannfield.testing import LennardJones

CUTOFF = 4.0
N = 7


def frames(seed: int = 0, m: int = 5) -> dict[str, np.ndarray]:
    """m frames of 7 atoms in cells of different size, so that the number of neighbours differs between frames."""
    rng = np.random.default_rng(seed)
    cell = np.stack([np.diag([5.0, 5.5, 6.0]) * (1 + 0.12 * f) + rng.uniform(-0.4, 0.4, (3, 3)) for f in range(m)])
    pos = rng.uniform(size=(m, N, 3)) @ cell + rng.integers(-3, 4, (m, N, 3)) @ cell
    labels = {"energy": rng.normal(size=m), "forces": rng.normal(size=(m, N, 3))}
    return {"z": rng.choice([3, 15, 16], N), "pos": pos, "cell": cell, **labels}


def one_by_one(data: dict[str, np.ndarray], index: list[int]) -> AtomGraph:
    per_frame = [{key: data[key][f] for key in ("pos", "cell", "energy", "forces")} for f in index]
    return collate([neighbor_graph(data["z"], cutoff=CUTOFF, **frame) for frame in per_frame])


def small() -> ForceField:
    torch.manual_seed(0)
    settings = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 2, "num_gaussians": 6, "cutoff": CUTOFF}
    return to_precision(create("schnet", **settings), torch.float64)


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (np.array([3, 0, 3]), [3, 0, 3]),
        (torch.tensor([4]), [4]),
        (slice(1, 4), [1, 2, 3]),
        (slice(3, 99), [3, 4]),
    ],
)
def test_a_batch_equals_graphs_built_one_by_one(chosen: np.ndarray | torch.Tensor | slice, index: list[int]) -> None:
    data = frames()
    expected, batch = one_by_one(data, index), GraphSet.build(cutoff=CUTOFF, **data).batch(chosen)
    for name in ("z", "pos", "cell", "pbc", "batch", "energy", "forces"):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name
        assert getattr(batch, name).dtype == getattr(expected, name).dtype, name
    k = expected.neighbors.shape[1]
    for name in ("neighbors", "shift", "mask"):
        assert torch.equal(getattr(batch, name)[:, :k], getattr(expected, name)), name
    assert not batch.mask[:, k:].any() and batch.n_graphs == len(index) and batch.atoms_per_graph == N
    for field in (small(), LennardJones(sigma=2.0, cutoff=CUTOFF, switch=3.0)):
        ours, theirs = (field.predict(g, stress=True) for g in (batch, expected))
        for name in ("energy", "forces", "stress", "atomic_energies"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-12, atol=1e-12)


def test_padding_is_inert() -> None:
    """Padded slots are their own reverse and belong to no pair; every pair points at a slot and its reverse."""
    data = frames()
    index = np.array([4, 0])
    graph = GraphSet.build(cutoff=CUTOFF, **data).batch(index)
    slots = torch.arange(graph.mask.numel()).view_as(graph.mask)
    assert (~graph.mask).any(dim=1).any() and graph.pair_mask is not None and (~graph.pair_mask).any(), "nothing is padded"
    assert torch.equal(graph.reverse[~graph.mask], slots[~graph.mask])
    assert (graph.pair[~graph.mask] == len(graph.pair_slots)).all() and (graph.pair[graph.mask] < len(graph.pair_slots)).all()
    vectors = graph.edge_vectors()
    assert torch.equal(
        vectors[~graph.mask], torch.tensor([CUTOFF, 0, 0], dtype=torch.float64).expand(int((~graph.mask).sum()), 3)
    )
    torch.testing.assert_close(vectors.view(-1, 3)[graph.reverse[graph.mask]], -vectors[graph.mask])
    real = graph.pair_slots[graph.pair_mask]
    assert torch.equal(graph.reverse.view(-1)[real[:, 0]], real[:, 1])
    assert torch.equal(real.reshape(-1).sort().values, slots[graph.mask])


def test_gradients_of_the_weights_do_not_see_the_padding() -> None:
    """The training loss by a padded batch and by graphs built one by one: same gradients of every weight."""
    data = frames()
    gradients = []
    for graph in (GraphSet.build(cutoff=CUTOFF, **data).batch(np.array([4, 1])), one_by_one(data, [4, 1])):
        field = small()
        prediction = field.predict(graph, create_graph=True)
        loss_of(prediction.energy, prediction.forces, graph.energy, graph.forces, field.scale.scale).backward()
        gradients.append({name: p.grad for name, p in field.named_parameters()})
    for name, expected in gradients[1].items():
        assert expected is not None and expected.abs().max() > 0, name
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cells_away", [100, 127, 128, 40_000])
def test_atoms_far_away_keep_their_neighbours(cells_away: int) -> None:
    data = frames(m=2)
    near = GraphSet.build(cutoff=CUTOFF, **data)
    data["pos"] = data["pos"].copy()
    data["pos"][1, 2] += cells_away * data["cell"][1, 0]
    far = GraphSet.build(cutoff=CUTOFF, **data)
    length = [s.batch(slice(0, 2)).edge_vectors().norm(dim=-1).sort(dim=1).values for s in (near, far)]
    torch.testing.assert_close(length[0], length[1], rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [126, 130])
def test_more_atoms_than_a_byte_can_number(n: int) -> None:
    pos = np.stack([np.arange(n) * 3.0, np.zeros(n), np.zeros(n)], axis=1)[None]
    graph = GraphSet.build(np.full(n, 3), pos, np.diag([3.0 * n, 9, 9])[None], CUTOFF).batch(slice(0, 1))
    ring = {((i + 1) % n, (i - 1) % n) for i in range(n)}
    assert {(int(a), int(b)) for a, b in graph.neighbors} <= ring | {(b, a) for a, b in ring}


def test_without_labels_they_are_zero_and_to_moves_everything() -> None:
    data = frames()
    bare = GraphSet.build(data["z"], data["pos"], data["cell"], CUTOFF)
    assert not bare.energy.any() and not bare.forces.any() and len(bare) == 5
    moved = bare.to("cpu")
    for f in fields(GraphSet):
        a, b = getattr(bare, f.name), getattr(moved, f.name)
        assert torch.equal(a, b) if torch.is_tensor(a) else a == b, f.name
