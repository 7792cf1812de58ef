"""Equiformer against e3nn and against its own equations edge by edge, of degrees up to 2; what the default behaviour mends."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField, create, load, save
from grannfield.graph import AtomGraph, pair_values, pair_vectors
from grannfield.models.equiformer import AVERAGE_DEGREE, DegreeEmbedding
from grannfield.neighbors import neighbor_graph
from grannfield.nn.equivariant_attention import Attention, Edges, RadialNet, hidden_layers, stacked
from grannfield.nn.irreps import (
    Features,
    IrrepLinear,
    IrrepNorm,
    Irreps,
    couplings,
    directions_of,
    parse_irreps,
    unit_harmonics,
    wigner_3j,
)
from grannfield.nn.radial import cosine_cutoff
from tests.models.small import CUTOFF, SKEWED, atoms, small
from tests.models.test_physics import energy, predict

DEGREE_2 = {
    "irreps_node_embedding": "8x0e+4x1e+2x2e",
    "irreps_sh": "1x0e+1x1e+1x2e",
    "irreps_head": "4x0e+2x1e+2x2e",
    "irreps_mlp_mid": "10x0e+5x1e+3x2e",
}
DEGREES = {1: {}, 2: DEGREE_2}


@pytest.fixture(autouse=True)
def _double() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def o3() -> Any:
    """e3nn's operations; it warns of TorchScript when imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("e3nn.o3")


def flat(x: Features) -> Tensor:
    """Features in e3nn's order: degrees, then channels, then components."""
    return torch.cat([value.transpose(-1, -2).flatten(-2) for value in x.values()], dim=-1)


def by_degree(x: Tensor, irreps: Irreps) -> Features:
    parts = x.split([channels * (2 * degree + 1) for degree, channels in irreps.items()], dim=-1)
    return {
        degree: part.unflatten(-1, (channels, 2 * degree + 1)).transpose(-1, -2)
        for part, (degree, channels) in zip(parts, irreps.items(), strict=True)
    }


def theirs(irreps: Irreps) -> list[tuple[int, tuple[int, int]]]:
    return [(channels, (degree, 1)) for degree, channels in irreps.items()]


def coupled_by_e3nn(q: Features, y: Features, factors: Tensor, irreps: Irreps, wanted: Irreps) -> Features:
    """Coupled features of edges [E, ...], those of equal degree side by side, by e3nn's tensor product."""
    paths = couplings(irreps, y, wanted)
    inputs, edge = list(irreps), list(y)
    product = o3().TensorProduct(
        theirs(irreps),
        [(1, (degree, 1)) for degree in edge],
        [(path.channels, (path.l3, 1)) for path in paths],
        [(inputs.index(path.l1), edge.index(path.l2), n, "uvu", True) for n, path in enumerate(paths)],
        irrep_normalization="component",
        path_normalization="none",
        internal_weights=False,
        shared_weights=False,
    )
    out = product(flat(q), flat({degree: value.unsqueeze(-1) for degree, value in y.items()}), factors)
    blocks = out.split([path.channels * (2 * path.l3 + 1) for path in paths], dim=-1)
    found: Features = {}
    for path, block in zip(paths, blocks, strict=True):
        value = block.unflatten(-1, (path.channels, -1)).transpose(-1, -2)
        found[path.l3] = torch.cat([found[path.l3], value], dim=-1) if path.l3 in found else value
    return found


def attention_by_edges(
    layer: Attention, x: Features, rbf: Tensor, y: Features, fade: Tensor | None, graph: AtomGraph
) -> Features:
    """The attention as it is defined: every message made and mixed, then weighed and summed, atom after atom."""
    centre, slot = graph.mask.nonzero(as_tuple=True)
    neighbor = graph.neighbors[centre, slot]
    source, target = layer.source(x), layer.target(x)
    q = {degree: source[degree][neighbor] + target[degree][centre] for degree in x}
    edge_y = {degree: value[centre, slot] for degree, value in y.items()}
    factors = layer.radial.net(rbf) + layer.radial.offset
    message = layer.mix(coupled_by_e3nn(q, edge_y, pair_values(factors, graph)[centre, slot], layer.node, layer.head))
    heads = message[0].squeeze(1).unflatten(-1, (layer.heads, 2, -1))
    a, values = heads[:, :, 0], {0: heads[:, :, 1].unsqueeze(2)}
    values |= {d: v.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for d, v in message.items() if d}  # [E, heads, 2d+1, n]
    a = 1.531320475574866 * (0.6 * a + 0.4 * a * (2 * torch.sigmoid(a) - 1))
    logits = (a * layer.logit).sum(-1)
    out = []
    for atom in range(len(graph.z)):
        mine = centre == atom
        if fade is None:
            weight = torch.softmax(logits[mine], dim=0)
        else:
            c = fade[centre, slot][mine].unsqueeze(1)
            weight = c * c * logits[mine].exp() / (c * logits[mine].exp()).sum(0)
        out.append({d: torch.einsum("eh,ehkn->khn", weight, v[mine]).flatten(1) for d, v in values.items()})
    return layer.project({d: torch.stack([o[d] for o in out]) for d in values})


def inputs(field: ForceField, graph: AtomGraph) -> tuple[Tensor, Features, Tensor]:
    """Radial basis, harmonics and envelope as the model makes them."""
    edge_vec = graph.edge_vectors()
    distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
    y = unit_harmonics(edge_vec / edge_vec.norm(dim=-1, keepdim=True), field.degrees)
    return field.rbf(distance / field.cutoff), y, pair_values(cosine_cutoff(distance, field.cutoff), graph)


def on_slots(net: RadialNet, rbf: Tensor, graph: AtomGraph) -> Tensor:
    """The last hidden layer of a radial network and a one at every slot, [N * K, width + 1]."""
    hidden = hidden_layers([net], rbf)[0]
    return pair_values(torch.nn.functional.pad(hidden, (0, 1), value=1.0), graph).flatten(0, 1)


def randomised(field: ForceField) -> ForceField:
    with torch.no_grad():
        for p in field.parameters():
            p.add_(torch.randn_like(p), alpha=0.2)
    return field


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("degree", DEGREES)
def test_attention_is_that_of_its_edges(degree: int, published: bool) -> None:
    field = randomised(small("equiformer", **DEGREES[degree]))
    graph = neighbor_graph(*atoms(apart=1.0), CUTOFF)
    rbf, y, fade = inputs(field, graph)
    layer = field.blocks[0].attention
    x = {d: torch.randn(len(graph.z), 2 * d + 1, n) for d, n in layer.node.items()}
    edges = Edges.of(graph.edge_vectors(), field.degrees, graph, None if published else fade.flatten())
    nothing = {d: torch.zeros_like(value) for d, value in x.items()}
    with torch.no_grad():
        ours = layer(x, on_slots(layer.radial, rbf, graph), edges, stacked([layer])[0], nothing)
        direct = attention_by_edges(layer, x, rbf, y, None if published else fade, graph)
        again = layer(x, on_slots(layer.radial, rbf, graph), edges, stacked([field.blocks[1].attention, layer])[1], ours)
    for d in x:
        torch.testing.assert_close(again[d], 2 * ours[d])
        torch.testing.assert_close(ours[d], direct[d], rtol=0, atol=1e-12 * float(direct[d].abs().max()))
        assert direct[d].abs().max() > 1e-3


@pytest.mark.parametrize("degree", DEGREES)
def test_degree_embedding_is_that_of_its_edges(degree: int) -> None:
    field = randomised(small("equiformer", **DEGREES[degree]))
    graph = neighbor_graph(*atoms(apart=1.0), CUTOFF)
    rbf, y, fade = inputs(field, graph)
    layer: DegreeEmbedding = field.degree_embedding
    centre, slot = graph.mask.nonzero(as_tuple=True)
    constant = {d: torch.zeros(len(centre), 2 * d + 1, n) for d, n in layer.node.items()}
    constant[0] = constant[0] + layer.constant.weights["0"] + layer.constant.bias
    factors = pair_values(layer.radial.net(rbf) + layer.radial.offset, graph)[centre, slot]
    edge_y = {d: value[centre, slot] for d, value in y.items()}
    message = layer.project(coupled_by_e3nn(constant, edge_y, factors, layer.node, layer.node))
    for weight, given in ((fade, fade.flatten()), (graph.mask.to(fade.dtype), None)):
        edges = Edges.of(graph.edge_vectors(), field.degrees, graph, given)
        ours = layer(on_slots(layer.radial, rbf, graph), edges, torch.zeros(len(graph.z), layer.node[0]))
        for d, m in message.items():
            direct = torch.zeros_like(ours[d]).index_add(0, centre, m * weight[centre, slot].view(-1, 1, 1))
            torch.testing.assert_close(ours[d], direct / AVERAGE_DEGREE**0.5, rtol=0, atol=1e-12)


def test_wigner_symbols_are_those_of_e3nn() -> None:
    triples = [(a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), min(4, a + b) + 1)]
    assert len(triples) > 60
    for triple in triples:
        torch.testing.assert_close(wigner_3j(*triple), o3().wigner_3j(*triple), rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="do not couple"):
        wigner_3j(1, 1, 3)


def test_harmonics_are_those_of_e3nn_and_smooth() -> None:
    direction = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    ours = unit_harmonics(direction, range(5))
    for degree, value in ours.items():
        expected = o3().spherical_harmonics(degree, direction, normalize=True, normalization="component")
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-13)
    vectors = (2.0 * direction[:3]).requires_grad_()
    unit = lambda v: unit_harmonics(v / v.norm(dim=-1, keepdim=True), [3])[3]  # noqa: E731
    assert torch.autograd.gradcheck(unit, vectors) and torch.autograd.gradgradcheck(unit, vectors)


def test_linear_is_that_of_e3nn_without_its_factors() -> None:
    n_in, n_out = {0: 5, 1: 4, 2: 3}, {0: 6, 2: 2}
    ours, linear = IrrepLinear(n_in, n_out), o3().Linear(theirs(n_in), theirs(n_out), biases=True)
    torch.nn.init.normal_(ours.bias)
    with torch.no_grad():
        linear.weight.copy_(torch.cat([(w * len(w) ** 0.5).flatten() for w in ours.weights.values()]))
        linear.bias.copy_(ours.bias)
    x = torch.randn(7, 5 + 4 * 3 + 3 * 5)
    torch.testing.assert_close(flat(ours(by_degree(x, n_in))), linear(x), rtol=0, atol=1e-13)
    assert not IrrepLinear({0: 2}, {0: 2, 1: 3})({0: x[:, None, :2]})[1].any()


def test_norm_divides_by_the_root_of_the_mean_square() -> None:
    norm, x = IrrepNorm({0: 3, 1: 2}), {0: torch.randn(4, 1, 3), 1: torch.randn(4, 3, 2)}
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 6.0))
        norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    scalars = x[0] - x[0].mean(-1, keepdim=True)
    expected = scalars / (scalars.square().mean((1, 2), keepdim=True) + 1e-5).sqrt() * torch.tensor([1.0, 2, 3]) + norm.bias
    torch.testing.assert_close(norm(x)[0], expected)
    vectors = x[1] / (x[1].square().sum(1).mean(1) / 3 + 1e-5).sqrt().view(-1, 1, 1) * torch.tensor([4.0, 5])
    torch.testing.assert_close(norm(x)[1], vectors)


def test_norm_and_directions_have_the_slopes_of_their_second_order() -> None:
    """Written out by hand, for training to derive them once more."""
    norm, x = IrrepNorm({0: 3, 1: 2}), torch.randn(4, 3, 2, requires_grad=True)
    scaled = lambda v: norm({1: v}, scale=1.7)[1]  # noqa: E731
    torch.testing.assert_close(scaled(x), 1.7 * norm({1: x})[1], rtol=1e-4, atol=0)
    for function, given in ((scaled, x), (directions_of, torch.randn(5, 3, requires_grad=True))):
        assert torch.autograd.gradcheck(function, given) and torch.autograd.gradgradcheck(function, given)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_linear_adds_to_what_is_given(scale: float) -> None:
    for bias in (True, False):
        linear = IrrepLinear({0: 5, 1: 4}, {0: 6, 1: 3, 2: 2}, bias=bias)
        x, onto = ({d: torch.randn(7, 2 * d + 1, n) for d, n in irreps.items()} for irreps in ({0: 5, 1: 4}, {0: 6, 1: 3, 2: 2}))
        plain, mixed, added = linear({0: scale * x[0], 1: x[1]}), linear(x, scale=scale), linear(x, onto, scale)
        for d in onto:
            torch.testing.assert_close(mixed[d], plain[d])
            torch.testing.assert_close(added[d], onto[d] + plain[d])
        assert set(linear(x, {0: onto[0]})) == {0} and set(linear({0: x[0]})) == {0, 2}


def test_energy_and_force_loss_have_the_slopes_of_their_weights() -> None:
    """The second derivative that training takes goes through every step written out by hand."""
    field, graph = randomised(small("equiformer", **DEGREE_2)), neighbor_graph(*atoms(3, apart=1.0), CUTOFF)
    names = ["blocks.0.attention.logit", "blocks.0.attention.radial.offset", "blocks.0.attention.source.weights.1", "rbf.mean"]
    loss = lambda create: field.predict(graph, create_graph=create).forces.square().sum()  # noqa: E731
    chosen = [dict(field.named_parameters())[name] for name in names]
    for p, slope in zip(chosen, torch.autograd.grad(loss(True), chosen), strict=True):
        way, h, at = torch.randn_like(p), 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                p.add_(way, alpha=sign * h)
            at.append(float(loss(False).detach()))
            with torch.no_grad():
                p.sub_(way, alpha=sign * h)
        assert (at[0] - at[1]) / (2 * h) == pytest.approx(float((slope * way).sum()), rel=1e-5)


@pytest.mark.parametrize("text", ["8x0e+4x1o", "8x0e+4x0e", "8x0", "", "0x0e"])
def test_irreps_that_are_not_known_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not read like"):
        parse_irreps(text)


@pytest.mark.parametrize(
    "settings", [{"irreps_feature": "8x0e+4x1e"}, {"irreps_sh": "1x0e+2x1e"}, {"irreps_head": "4x0e+2x2e", "irreps_sh": "1x0e"}]
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="irreps"):
        small("equiformer", **settings)


def test_higher_degrees_turn_with_the_crystal_and_forces_are_slopes() -> None:
    field, (z, pos, cell) = randomised(small("equiformer", **DEGREE_2)), atoms(5, apart=1.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    here, there = predict(field, z, pos, cell), predict(field, z, pos @ turn, cell @ turn)
    assert float(abs(there.energy - here.energy)) < 1e-10
    torch.testing.assert_close(there.forces, here.forces @ torch.tensor(turn), rtol=0, atol=1e-10)
    mirror = np.diag([1.0, 1.0, -1.0])
    assert abs(energy(field, z, pos @ mirror, cell @ mirror) - float(here.energy[0])) > 1e-6
    direction, h = np.random.default_rng(2).normal(size=pos.shape), 1e-4
    slope = (energy(field, z, pos + h * direction, cell) - energy(field, z, pos - h * direction, cell)) / (2 * h)
    assert slope == pytest.approx(-(here.forces.numpy() * direction).sum(), rel=1e-5)


@pytest.mark.parametrize("degree", DEGREES)
def test_energy_and_force_of_a_pair_cross_the_cutoff_smoothly_only_by_default(degree: int) -> None:
    """A pair: the softmax does not fade its one message."""
    published = small("equiformer", as_published=True, **DEGREES[degree])
    default = small("equiformer", **DEGREES[degree])
    default.load_state_dict(published.state_dict())
    z, pos, cell = np.array([3, 16]), np.zeros((2, 3)), 30 * np.eye(3)

    def jump(field: ForceField, gap: float = 1e-7) -> tuple[float, float]:
        at = []
        for r in (CUTOFF - gap, CUTOFF + gap):
            pos[1, 0] = r
            prediction = predict(field, z, pos, cell, False)
            at.append((float(prediction.energy[0]), float(prediction.forces[1, 0])))
        return abs(at[0][0] - at[1][0]), abs(at[0][1] - at[1][1])

    assert jump(published)[0] > 1e-3
    assert jump(default)[0] < 1e-12 and jump(default)[1] < 1e-5


def test_energy_of_a_crystal_has_no_steps_by_default() -> None:
    """Along a line on which neighbours come and go; third differences see steps and kinks."""
    published, default = randomised(small("equiformer", as_published=True)), small("equiformer")
    default.load_state_dict(published.state_dict())
    (z, pos, cell), way = atoms(apart=1.3), np.array([[0.0, 0, 0], [0, 0, 0], [1.0, 0.7, -0.4], [0, 0, 0]])
    roughness = {}
    for field in (published, default):
        e = np.array([energy(field, z, pos + t * way, cell) for t in np.linspace(0, 0.3, 31)])
        roughness[field] = np.abs(np.diff(e, 3)).max() / np.abs(np.diff(e)).max()
    assert roughness[default] < 0.05 and roughness[published] > 1.0


def test_weights_are_dropped_in_training_alone() -> None:
    field, frame = small("equiformer", alpha_drop=0.5), atoms(apart=1.0)
    first = [float(predict(field.train(mode), *frame).energy[0]) for mode in (True, True, False, False)]
    assert first[0] != first[1] and first[2] == first[3]
    assert float(predict(small("equiformer", alpha_drop=0.0).train(), *frame).energy[0]) == first[3]


def test_an_asymmetric_graph_is_read_alike() -> None:
    """The same neighbours, once with the reverse slots and once without."""
    field, graph = small("equiformer"), neighbor_graph(*atoms(apart=1.0), CUTOFF)
    ours, other = field.predict(graph), field.predict(replace(graph, symmetric=False))
    torch.testing.assert_close(ours.energy, other.energy, rtol=1e-13, atol=0)
    torch.testing.assert_close(ours.forces, other.forces, rtol=0, atol=1e-12)
    capped = field.predict(neighbor_graph(*atoms(apart=1.0), CUTOFF, max_neighbors=7))
    assert torch.isfinite(capped.forces).all() and float(capped.forces.sum(0).abs().max()) < 1e-12


def test_settings_survive_a_checkpoint(tmp_path: Path) -> None:
    field = create("equiformer", irreps_node_embedding="8x0e", irreps_feature="8x0e", irreps_head="4x0e", irreps_mlp_mid="6x0e")
    save(field, tmp_path / "field.safetensors")
    again = load(tmp_path / "field.safetensors")
    assert again.settings == json.loads(json.dumps(field.settings)) and again.settings["fc_neurons"] == [64, 64]
    assert [b.shortcut for b in again.blocks] == [None] * 6  # as many scalars everywhere: nothing to change
    graph = neighbor_graph(*atoms(2, cell=2 * SKEWED, apart=2.0), again.cutoff)
    assert torch.equal(again.predict(graph).forces, field.eval().predict(graph).forces)
