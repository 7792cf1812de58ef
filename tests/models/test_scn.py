"""SCN against stored outputs, against itself written out edge by edge, and where its default is sounder than the publication."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import create
from grannfield.graph import AtomGraph
from grannfield.models import scn
from grannfield.neighbors import neighbor_graph
from grannfield.nn import sizes
from grannfield.testing import parity, parity_field, stored
from tests.models import by_hand
from tests.models.by_hand import change, rotation_error, turned, wild
from tests.models.small import atoms

FILES = [Path(__file__).parents[1] / "parity" / name for name in ("scn_l2.npz.xz", "scn_l2_1tap.npz.xz")]
SIZES = {
    "num_interactions": 2,
    "sphere_channels": 6,
    "sphere_channels_reduce": 4,
    "hidden_channels": 8,
    "num_basis_functions": 5,
    "num_sphere_samples": 32,
    "distance_resolution": 0.375,
    "cutoff": 4.0,
}
NEAR = 4
"""int(4.0 - 0.01) + 1 nearest neighbours send messages of the first resolution."""


def small(seed: int = 0, **settings: Any) -> Any:
    return wild(create("scn", **{"lmax": 4, **SIZES, **settings}), seed)


def crystal(seed: int = 0, n: int = 5, cap: int | None = None) -> AtomGraph:
    return neighbor_graph(*atoms(n, seed, apart=1.0), 4.0, max_neighbors=cap)


def ranks(graph: AtomGraph) -> Tensor:
    """Place of each neighbour in the order of distances [N, K]."""
    distance = graph.edge_vectors().norm(dim=-1).masked_fill(~graph.mask, math.inf)
    return (distance.unsqueeze(1) < distance.unsqueeze(2)).sum(-1)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_parity_with_stored_outputs_in_double_precision(path: Path) -> None:
    errors = parity(path)
    assert set(errors) == {"A", "B", "C"} and max(max(pair) for pair in errors.values()) <= 1e-12


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_parity_in_single_precision(path: Path) -> None:
    file = stored(path)
    for structure, (by_energy, by_force) in parity(path, torch.float32).items():
        largest = np.abs(file[f"{structure}/forces"]).max()
        assert 1e-9 < by_force * max(1.0, largest) / largest <= 5e-5 and by_energy <= 5e-5, structure


@pytest.mark.parametrize("key", ["layer0/W_up", "layer1/msg0/w_proj", "layer0/grid/b3", "layer1/edge/b_attr", "force/W2"])
def test_parity_sees_a_wrong_weight(tmp_path: Path, key: str) -> None:
    arrays = {name: value for name, value in stored(FILES[0]).items() if not name.startswith(("A", "C"))}
    arrays[f"w/{key}"] = arrays[f"w/{key}"] * (1 + 1e-4)
    np.savez(tmp_path / "scn.npz", **arrays)
    assert max(max(pair) for pair in parity(tmp_path / "scn.npz").values()) > 1e-8


@pytest.mark.parametrize("cap", [None, 9])
@pytest.mark.parametrize(
    ("lmax", "mmax", "resolutions", "taps", "reduced"),
    [(2, 1, 1, -1, 4), (3, 0, 1, 1, 6), (4, 1, 2, -1, 4), (5, 1, 2, 1, 6), (6, 0, 2, -1, 4), (7, 1, 2, -1, 6)],
)
def test_published_network_written_out_edge_by_edge(
    lmax: int, mmax: int, resolutions: int, taps: int, reduced: int, cap: int | None
) -> None:
    """With all neighbours, and with at most nine, so that some edges have no reverse."""
    sizes = {"lmax": lmax, "mmax": mmax, "num_resolutions": resolutions, "num_taps": taps, "sphere_channels_reduce": reduced}
    field, graph = small(**sizes, as_published=True), crystal(3, 4, cap)
    assert graph.symmetric == (cap is None)
    frames = field.frames(graph.edge_vectors(torch.float64))
    field.frames = lambda _: frames
    expected = by_hand.scn(field, graph, frames, (ranks(graph) >= (NEAR if resolutions == 2 else 1000)).long())
    with torch.no_grad():
        found = field(graph.z, graph, graph.edge_vectors(torch.float64))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11 * float(theirs.abs().max()))


def test_given_resolutions_replace_the_ranks() -> None:
    """As a parity file gives them: 0 or 1 for each edge, and 0 in padded slots."""
    field, graph = small(), crystal()
    before = field.predict(graph).forces
    near = (ranks(graph) >= NEAR).double() * graph.mask
    field.closeness = lambda _: near
    torch.testing.assert_close(field.predict(graph).forces, before, rtol=0, atol=1e-12)
    field.closeness = lambda distance: -distance
    assert change(field.predict(graph).forces, before) > 1e-2


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_neighbours_than_the_first_resolution_takes(n: int) -> None:
    """The second resolution then has no edges, and an atom alone none at all."""
    field = small()
    z, pos = np.array([3, 16][:n]), np.array([[0, 0, 0], [2.0, 0.5, 0.2]][:n])
    two = field.predict(neighbor_graph(z, pos, 30 * np.eye(3), 4.0, False))
    wide = field.predict(neighbor_graph(z, pos, 30 * np.eye(3), 4.0, False, capacity=9))
    assert torch.isfinite(two.forces).all()
    torch.testing.assert_close(two.forces, wide.forces, rtol=0, atol=1e-12)


def test_equal_distances_are_ranked_by_slot() -> None:
    """A perfect rock salt, all of whose ranks are ties: the same forces every time."""
    field = small()
    z, pos = np.array([3, 16, 16, 3, 16, 3, 3, 16]), np.array(list(np.ndindex(2, 2, 2))) * 2.6
    graph = neighbor_graph(z, pos, 5.2 * np.eye(3), 4.0)
    assert torch.equal(field.predict(graph).forces, field.predict(graph).forces)


def test_number_of_parameters_of_table_1() -> None:
    field, published = create("scn"), create("scn", as_published=True)
    assert published.n_parameters == 20_441_602 == field.n_parameters and field.cutoff == 6.0
    assert sum(p.numel() for p in field.blocks[0].parameters()) == 2_545_472
    assert sum(p.numel() for p in field.readout.energy.parameters()) == 33_153
    assert set(field.state_dict()) == set(published.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mmax": 2}, "mmax 0 or 1; it is 2"),
        ({"num_taps": 4}, "num_taps 1 or -1; it is 4"),
        ({"num_bands": 2}, "num_bands 1; it is 2"),
        ({"use_grid": False}, "use_grid True; it is False"),
        ({"num_resolutions": 3}, "num_resolutions 1 or 2; it is 3"),
        ({"lmax": 3}, "num_resolutions 2 needs lmax >= 4; it is 3"),
        ({"lmax": 0, "num_resolutions": 1}, "needs lmax >= 1; it is 0"),
        ({"atom_longitudes": 8}, "more than 8 longitudes; they are 8"),
    ],
)
def test_other_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_forces_do_not_change_from_call_to_call_but_published_ones_do() -> None:
    graph = crystal()
    field, published = small(), small(as_published=True)
    assert torch.equal(field.predict(graph).forces, field.predict(graph).forces)
    assert change(published.predict(graph).forces, published.predict(graph).forces) > 1e-3


@pytest.mark.parametrize(("published", "taps"), [(True, 4), (False, 8)])
def test_rolls_by_a_tap_change_nothing(published: bool, taps: int) -> None:
    field, graph = small(as_published=published), crystal()
    start = turned(field, graph, 0.0)
    assert change(turned(field, graph, 2 * math.pi / taps), start) < 1e-11
    assert change(turned(field, graph, math.pi / taps), start) > 1e-8


def test_without_m_no_roll_changes_anything() -> None:
    field, graph = small(mmax=0), crystal()
    assert change(turned(field, graph, 0.3), turned(field, graph, 0.0)) < 1e-11


def test_rolls_of_the_frames_change_less_than_published() -> None:
    """All by one angle, and each by its own; a single tap does not average over them."""
    graph = crystal()
    own = 6.28 * torch.rand(graph.mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def worst(**settings: Any) -> float:
        field = small(**settings)
        start = turned(field, graph, 0.0)
        return max(change(turned(field, graph, angle), start) for angle in (0.2, 0.5, own))

    assert worst() < 0.2 * worst(as_published=True) < worst(num_taps=1)


def test_rotations_are_respected_better_than_published() -> None:
    """By the finer grid of atoms; rolls matter less."""
    frame, sizes = atoms(5, 0, apart=1.0), {**SIZES, "lmax": 4, "num_sphere_samples": 128}

    def error(**settings: Any) -> float:
        return sum(rotation_error(wild(create("scn", **sizes, **settings), seed, 1.2), *frame) for seed in range(3))

    assert error() < 0.5 * min(error(atom_longitudes=11), error(as_published=True))


def test_edges_in_parts_are_edges_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    field, graph = small(), crystal()
    whole = field.predict(graph).forces
    monkeypatch.setitem(sizes.BUFFER, "cpu", 1)
    monkeypatch.setattr(scn, "LEAST_EDGES", 9)
    parts = field.predict(graph).forces
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-11 * float(whole.abs().max()))


def test_weights_have_the_gradient_of_the_loss() -> None:
    field, graph = small(), crystal()
    names = ["embedding.weight", "blocks.1.messages.0.project.weight", "blocks.1.messages.1.linear2.bias", "blocks.0.down.weight"]
    loss = lambda: field.predict(graph, create_graph=True).forces.square().sum()  # noqa: E731
    loss().backward()
    torch.testing.assert_close(field.predict(graph, create_graph=True).forces, field.predict(graph).forces, rtol=0, atol=1e-12)
    for name in names:
        p = dict(field.named_parameters())[name]
        step = torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        slope, values = float((p.grad * step).sum()), []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                p.add_(h * step)
                values.append(float(loss().detach()))
                p.sub_(h * step)
        assert abs((values[0] - values[1]) / 2e-5 - slope) < 1e-6 * abs(slope) + 1e-9, name


def test_parity_table_knows_the_weights_of_other_sizes(tmp_path: Path) -> None:
    """Names as in the specification, for two resolutions and channels that are not reduced."""
    stated = {**SIZES, "sphere_channels_reduce": 6, "lmax": 5, "mmax": 1, "num_resolutions": 2, "num_taps": 1, "num_bands": 1}
    stated |= {"use_grid": True, "basis_width_scalar": 1.0, "max_num_elements": 20}
    shapes: dict[str, tuple[int, ...]] = {"atom_embedding": (20, 6)}
    for k in range(2):
        edge = {"W_dist": (5, 10), "b_dist": (5,), "emb_source": (20, 5), "emb_target": (20, 5), "W_attr": (5, 5), "b_attr": (5,)}
        shapes |= {f"layer{k}/edge/{key}": shape for key, shape in edge.items()}
        for r, (kept, hidden) in enumerate([(16, 8), (13, 2)]):
            sizes = {"dist": (hidden, 5), "proj": (hidden, 2 * kept * 6), "1": (hidden, hidden), "2": (kept * 6, hidden)}
            shapes |= {f"layer{k}/msg{r}/w_{key}": shape for key, shape in sizes.items()}
            shapes |= {f"layer{k}/msg{r}/b_{key}": shape[:1] for key, shape in sizes.items()}
        for i, shape in enumerate([(12, 12), (12, 12), (6, 12)], 1):
            shapes |= {f"layer{k}/grid/w{i}": shape, f"layer{k}/grid/b{i}": shape[:1]}
    for head in ("energy", "force"):
        for i, shape in enumerate([(6, 6), (6, 6), (1, 6)], 1):
            shapes |= {f"{head}/W{i}": shape, f"{head}/b{i}": shape[:1]}
    rng = np.random.default_rng(0)
    weights = {f"w/{key}": rng.normal(size=shape) for key, shape in shapes.items()}
    np.savez(tmp_path / "scn_l5.npz", settings_json=np.array(json.dumps(stated)), **weights)
    field: Any = parity_field(tmp_path / "scn_l5.npz")
    assert field.n_parameters == sum(math.prod(shape) for shape in shapes.values())
    assert torch.equal(field.blocks[1].messages[1].linear2.weight, torch.from_numpy(weights["w/layer1/msg1/w_2"]))
    assert torch.equal(field.readout.force.linear3.bias, torch.from_numpy(weights["w/force/b3"]))
