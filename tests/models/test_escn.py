"""eSCN against stored outputs, against itself written out edge by edge, and where its default is sounder than the publication."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grannfield.contract.samples import gamma, skew
from grannfield.contract.weights import enliven
from grannfield.forcefield import create, load, save, to_precision
from grannfield.neighbors import neighbor_graph
from grannfield.nn import sizes
from grannfield.testing import parity, parity_field, stored
from tests.models import by_hand
from tests.models.by_hand import change, rotation_error, turned, wild
from tests.models.small import atoms

PARITY = Path(__file__).parents[1] / "parity" / "escn_l2m2.npz.xz"
SIZES = {
    "num_layers": 2,
    "sphere_channels": 6,
    "hidden_channels": 8,
    "edge_channels": 5,
    "num_sphere_samples": 32,
    "distance_resolution": 0.375,
    "cutoff": 4.0,
}


def small(seed: int = 0, **settings: Any) -> Any:
    return wild(create("escn", **{"lmax": 3, "mmax": 2, **SIZES, **settings}), seed)


def crystal(seed: int = 0, n: int = 5, cap: int | None = None) -> Any:
    return neighbor_graph(*atoms(n, seed, apart=1.0), 4.0, max_neighbors=cap)


def test_parity_with_stored_outputs_in_double_precision() -> None:
    errors = parity(PARITY)
    assert set(errors) == {"A", "B", "C"} and max(max(pair) for pair in errors.values()) <= 1e-12


def test_parity_in_single_precision() -> None:
    file = stored(PARITY)
    for structure, (by_energy, by_force) in parity(PARITY, torch.float32).items():
        largest = np.abs(file[f"{structure}/forces"]).max()
        assert 1e-9 < by_force * max(1.0, largest) / largest <= 5e-5 and by_energy <= 5e-5, structure


@pytest.mark.parametrize("key", ["layer1/source/m1/w2_i", "layer0/target/m0/w1", "layer0/grid/w3", "layer1/edge/emb_source"])
def test_parity_sees_a_wrong_weight(tmp_path: Path, key: str) -> None:
    arrays = {name: value for name, value in stored(PARITY).items() if not name.startswith(("A", "C"))}
    arrays[f"w/{key}"] = arrays[f"w/{key}"] * (1 + 1e-5)
    np.savez(tmp_path / "escn.npz", **arrays)
    assert max(max(pair) for pair in parity(tmp_path / "escn.npz").values()) > 1e-8


@pytest.mark.parametrize("cap", [None, 9])
@pytest.mark.parametrize(("lmax", "mmax"), [(1, 0), (2, 1), (2, 2), (3, 2), (4, 3)])
def test_published_network_written_out_edge_by_edge(lmax: int, mmax: int, cap: int | None) -> None:
    """With all neighbours, and with at most nine, so that some edges have no reverse."""
    field, graph = small(lmax=lmax, mmax=mmax, as_published=True), crystal(3, 4, cap)
    assert graph.symmetric == (cap is None)
    frames = field.frames(graph.edge_vectors(torch.float64))
    field.frames = lambda _: frames
    expected = by_hand.escn(field, graph, frames)
    with torch.no_grad():
        found = field(graph.z, graph, graph.edge_vectors(torch.float64))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11 * float(theirs.abs().max()))


def test_number_of_parameters_of_table_1() -> None:
    """The publication counts 128 points and their 49 harmonics."""
    field, published = create("escn"), create("escn", as_published=True)
    assert published.n_parameters == 34_284_032 and field.n_parameters == 34_277_376 and field.cutoff == 6.0
    assert sum(p.numel() for p in published.parameters() if p.requires_grad) == 34_277_376
    assert sum(p.numel() for p in field.layers[0].parameters()) == 4_274_944
    assert set(field.state_dict()) == set(published.state_dict())


def test_constants_survive_a_checkpoint(tmp_path: Path) -> None:
    field, graph = small(), crystal()
    save(field, tmp_path / "escn.safetensors")
    again = load(tmp_path / "escn.safetensors").double()
    assert torch.equal(field.predict(graph).forces, again.predict(graph).forces)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lmax": 2, "mmax": 3}, "mmax between 0 and lmax"),
        ({"message_longitudes": 4}, "more than 4 and 6 longitudes; they are 4"),
        ({"atom_longitudes": 6}, "and 6$"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_forces_do_not_change_from_call_to_call_but_published_ones_do() -> None:
    graph = crystal()
    field, published = small(), small(as_published=True)
    assert torch.equal(field.predict(graph).forces, field.predict(graph).forces)
    assert change(published.predict(graph).forces, published.predict(graph).forces) > 1e-3


@pytest.mark.parametrize(("published", "mmax", "longitudes"), [(True, 2, 5), (True, 3, 9), (False, 2, 25), (False, 3, 33)])
def test_rolls_by_a_step_of_the_message_grid_change_nothing(published: bool, mmax: int, longitudes: int) -> None:
    field, graph = small(mmax=mmax, as_published=published), crystal()
    start = turned(field, graph, 0.0)
    assert field.message.activation.points == 8 * longitudes
    assert change(turned(field, graph, 2 * math.pi / longitudes), start) < 1e-11
    assert change(turned(field, graph, math.pi / longitudes), start) > 1e-11


@pytest.mark.parametrize(("lmax", "mmax"), [(2, 1), (2, 2), (3, 2)])
def test_rolls_of_the_frames_change_less_than_published(lmax: int, mmax: int) -> None:
    """All by one angle, and each by its own."""
    graph = crystal()
    own = 6.28 * torch.rand(graph.mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    worst = {}
    for published in (True, False):
        field = small(lmax=lmax, mmax=mmax, as_published=published)
        start = turned(field, graph, 0.0)
        worst[published] = max(change(turned(field, graph, a), start) for a in (0.2, 0.5, own))
    assert worst[False] < 0.2 * worst[True]


def test_more_longitudes_leave_no_roll_error() -> None:
    field, graph = small(lmax=2, mmax=1, message_longitudes=61), crystal()
    assert change(turned(field, graph, 0.2), turned(field, graph, 0.0)) < 1e-4


def test_rotations_are_respected_better_than_published() -> None:
    """Each of the two finer grids matters."""
    frame, sizes = atoms(5, 0, apart=1.0), {**SIZES, "lmax": 3, "mmax": 2, "num_sphere_samples": 128}

    def error(**settings: Any) -> float:
        return sum(rotation_error(wild(create("escn", **sizes, **settings), seed, 1.2), *frame) for seed in range(3))

    assert error() < 0.5 * min(error(atom_longitudes=9), error(message_longitudes=5), error(as_published=True))


def test_edges_in_parts_are_edges_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    field, graph = small(), crystal()
    whole = field.predict(graph).forces
    monkeypatch.setitem(sizes.BUFFER, "cpu", 2 * graph.mask.shape[1] * field.message.activation.points * 6)
    parts = field.predict(graph).forces
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-11 * float(whole.abs().max()))


def test_forces_with_and_without_gradients_agree() -> None:
    """Without them activations overwrite their arguments."""
    field, graph = small(), crystal()
    torch.testing.assert_close(field.predict(graph, create_graph=True).forces, field.predict(graph).forces, rtol=0, atol=1e-12)


def test_weights_have_the_gradient_of_the_loss() -> None:
    field, graph = small(), crystal()
    names = ["embedding.weight", "layers.1.orders.1.source.first.1", "layers.0.edge.mix.weight", "readout.force.linear1.weight"]
    loss = lambda: field.predict(graph, create_graph=True).forces.square().sum()  # noqa: E731
    loss().backward()
    for name in names:
        p = dict(field.named_parameters())[name]
        step = torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        slope = float((p.grad * step).sum())
        values = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                p.add_(h * step)
                values.append(float(loss().detach()))
                p.sub_(h * step)
        assert abs((values[0] - values[1]) / 2e-5 - slope) < 1e-6 * abs(slope) + 1e-9, name


def test_parity_table_knows_the_weights_of_other_sizes(tmp_path: Path) -> None:
    """Names as in the specification, for lmax 4 and mmax 3."""
    own = {
        "num_layers",
        "sphere_channels",
        "hidden_channels",
        "edge_channels",
        "num_sphere_samples",
        "distance_resolution",
        "cutoff",
    }
    stated = {key: SIZES[key] for key in own} | {
        "lmax_list": [4],
        "mmax_list": [3],
        "basis_width_scalar": 1.0,
        "max_num_elements": 20,
    }
    n = {"C": 6, "H": 8, "X": 5, "K": int(4.0 / 0.375)}
    shapes: dict[str, tuple[int, ...]] = {"atom_embedding": (20, n["C"])}
    for k in range(2):
        edge = {
            "w_dist": (5, n["K"]),
            "b_dist": (5,),
            "emb_source": (20, 5),
            "emb_target": (20, 5),
            "w_attr": (5, 5),
            "b_attr": (5,),
        }
        shapes |= {f"layer{k}/edge/{key}": shape for key, shape in edge.items()}
        shapes |= {f"layer{k}/grid/w{i}": (6, 12 if i == 1 else 6) for i in (1, 2, 3)}
        for side in ("source", "target"):
            for m in range(4):
                width, gates = (5 - m) * 6, 16 if m else 8
                shapes |= {f"layer{k}/{side}/m{m}/w_dist": (gates, 5), f"layer{k}/{side}/m{m}/b_dist": (gates,)}
                for part in ("_r", "_i") if m else ("",):
                    shapes |= {f"layer{k}/{side}/m{m}/w1{part}": (8, width), f"layer{k}/{side}/m{m}/w2{part}": (width, 8)}
    for head in ("energy", "force"):
        shapes |= {f"{head}/w1": (6, 6), f"{head}/b1": (6,), f"{head}/w2": (6, 6), f"{head}/b2": (6,), f"{head}/w3": (1, 6)}
    rng = np.random.default_rng(0)
    weights = {f"w/{key}": rng.normal(size=shape) for key, shape in shapes.items()}
    np.savez(tmp_path / "escn_l4m3.npz", settings_json=np.array(json.dumps(stated)), **weights)
    field: Any = parity_field(tmp_path / "escn_l4m3.npz")
    assert (field.lmax, field.mmax, field.cutoff) == (4, 3, 4.0)
    assert field.n_parameters == sum(math.prod(shape) for shape in shapes.values()) + 32 * (3 + 25)
    imaginary = field.layers[1].orders[3].target.second[1]
    assert torch.equal(imaginary, torch.from_numpy(weights["w/layer1/target/m3/w2_i"]))


@pytest.mark.parametrize("mmax", [1, 2, 3])
def test_rolls_leave_less_than_a_thousandth_of_the_forces(mmax: int) -> None:
    """On seeded weights scaled until the network is far from linear."""
    cells = (gamma(0), skew())
    field = create("escn", num_layers=2, lmax=3, mmax=mmax, sphere_channels=8, hidden_channels=16, edge_channels=16)
    assert 0.3 < enliven(field, cells, 0).rms_force < 3
    field = to_precision(field, torch.float64).eval()
    graph = neighbor_graph(cells[0].z, cells[0].pos, cells[0].cell, field.cutoff)
    own = 6.28 * torch.rand(graph.mask.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = field.predict(graph).forces
    assert 0 < max(change(turned(field, graph, a), start) for a in (0.7, 2.0, own)) < 1e-3
