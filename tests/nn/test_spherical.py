"""Steps of networks on functions on spheres: derivatives of those written by hand, parts, and what one number everywhere is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from grannfield.forcefield import create
from grannfield.nn import sizes, spherical
from grannfield.nn.about_edge import PointActivation, gated, orders_and_degrees
from grannfield.nn.sizes import sized_for
from grannfield.nn.spherical import EdgeScalars, FixedFrames, SphereGrid, edge_scalars, in_parts, with_constant
from tests.models.test_escn import crystal


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("lmax", "most", "longitudes"), [(0, 0, 1), (3, 0, 1), (2, 2, 7), (4, 2, 9)])
def test_point_activation_is_silu_of_the_values_on_a_grid(lmax: int, most: int, longitudes: int) -> None:
    """The latitudes first and then the longitudes are all points at once, in the order of the kept coefficients."""
    l, m = orders_and_degrees(lmax, most)
    grid, step = SphereGrid(lmax, longitudes, l * l + l + m).double(), PointActivation(lmax, most, longitudes).double()
    y = drawn(5, len(l), 3).detach()
    assert step.points == grid.points
    expected = grid.coefficients(torch.nn.functional.silu(grid.values(y)))
    torch.testing.assert_close(step(y), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("at_once", [8, 1000])
def test_point_activation_has_two_derivatives(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its edges go in parts: eight, and what is left."""
    step = PointActivation(1, 1, 4).double()
    monkeypatch.setitem(sizes.BUFFER, "cpu", at_once * step.points * 2)
    y = drawn(9, 4, 2)
    assert torch.autograd.gradcheck(step, (y,)) and torch.autograd.gradgradcheck(step, (y,))


@pytest.mark.parametrize(("branches", "p"), [(1, 1), (2, 2)])
def test_gated_ends_and_their_two_derivatives(branches: int, p: int) -> None:
    source, target, gates = drawn(branches, 3, p, 2), drawn(branches, 3, p, 2, seed=1), drawn(3, 2 * branches, 2, seed=2)
    expected = torch.cat([source, target]).permute(1, 2, 0, 3) * gates.unsqueeze(1)
    assert torch.equal(gated(source, target, gates), expected)
    assert torch.autograd.gradcheck(gated, (source, target, gates)) and torch.autograd.gradgradcheck(
        gated, (source, target, gates)
    )


def test_edge_scalars_of_all_layers_are_those_of_each() -> None:
    graph = crystal(4)
    layers = [EdgeScalars(7, 5, 20).double() for _ in range(3)]
    gaussians = drawn(len(graph.pair_slots), 7).detach()
    z, together = graph.z, edge_scalars(layers, gaussians, graph.z, graph)
    for layer, found in zip(layers, together, strict=True):
        pairs = spherical.pair_values(layer.distance(gaussians), graph)
        h = pairs + layer.source(z)[graph.neighbors] + layer.target(z).unsqueeze(1)
        expected = torch.nn.functional.silu(layer.mix(torch.nn.functional.silu(h)))
        torch.testing.assert_close(found, expected.flatten(0, 1), rtol=0, atol=1e-13)


def test_edges_go_in_parts_as_on_the_device_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sizes.BUFFER, "cpu", 30)
    seen: list[int] = []

    def step(x: Tensor) -> Tensor:
        seen.append(len(x))
        return 2 * x

    x = torch.arange(25.0)
    assert torch.equal(in_parts(step, 3, 8, x), 2 * x) and seen == [10, 10, 5]
    assert torch.equal(in_parts(step, 10, 8, x), 2 * x) and seen[3:] == [8, 8, 8, 1]  # never fewer than asked for
    with sized_for("cuda"):
        assert torch.equal(in_parts(step, 3, 8, x), 2 * x) and seen[7:] == [25]
    assert sizes.BUFFER == {"cpu": 30} and len(in_parts(step, 3, 8, x[:0])) == 0


def test_one_number_everywhere_is_added_to_every_value() -> None:
    grid, value = SphereGrid(2, 7).double(), torch.tensor([0.3, -2.0], dtype=torch.float64)
    x = drawn(9, 4, 2).detach()
    before = grid.values(x.flatten(1)).unflatten(1, (4, 2))
    after = grid.values(with_constant(x, value).flatten(1)).unflatten(1, (4, 2))
    torch.testing.assert_close(after, before + value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["escn", "scn"])
def test_a_copied_field_has_frames_of_its_own(name: str) -> None:
    """Its rule goes to another device with it."""
    field = create(name, lmax=4, **{"num_layers" if name == "escn" else "num_interactions": 1})
    other = copy.deepcopy(field)
    assert other.frames.__self__ is other.rule is not field.rule and isinstance(other.rule, FixedFrames)  # type: ignore[union-attr]
    assert math.isclose(float(other.rule.a.value.norm()), 1.0)  # type: ignore[union-attr, operator, arg-type]
