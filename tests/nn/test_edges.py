"""Arrays of edges: what both ends bring, products with factors and harmonics, and arithmetic that overwrites."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grannfield.neighbors import neighbor_graph
from grannfield.nn.edge_products import edge_products, plan
from grannfield.nn.ends import Ends
from grannfield.nn.irreps import Irreps, couplings
from grannfield.nn.overwriting import plus, plus_product, silu, times
from tests.models.small import CUTOFF, atoms


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("symmetric", [True, False])
def test_both_ends_are_added(symmetric: bool) -> None:
    graph = replace(neighbor_graph(*atoms(3, apart=1.0), CUTOFF), symmetric=symmetric)
    x, ends = random(3, 2, 2), Ends.of(graph)
    i = torch.arange(3).unsqueeze(1).expand_as(graph.neighbors)
    expected = x[graph.neighbors, 0] + x[i, 1]
    torch.testing.assert_close(ends.sums(x), expected.flatten(0, 1))
    weight = torch.randn(expected.shape, dtype=torch.float64) * graph.mask.unsqueeze(-1)
    ours, direct = ((weight * y.view_as(weight)).sum() for y in (ends.sums(x).sin(), expected.sin()))
    (by_x,) = torch.autograd.grad(ours, x, create_graph=True)
    (direct_by_x,) = torch.autograd.grad(direct, x, create_graph=True)
    torch.testing.assert_close(by_x, direct_by_x)
    for second in zip(*(torch.autograd.grad(g.square().sum(), x) for g in (by_x, direct_by_x)), strict=True):
        torch.testing.assert_close(*second)


@pytest.mark.parametrize(
    ("features", "degrees", "wanted"),
    [({0: 3, 1: 2}, [0, 1], [0, 1]), ({0: 2, 1: 2, 2: 1}, [0, 1, 2], [0, 1, 2]), ({0: 2, 2: 1}, [0, 1], [0]), ({0: 3}, [0], [0])],
)
def test_products_and_their_slopes(features: Irreps, degrees: list[int], wanted: list[int]) -> None:
    """Also where a feature or a harmonic enters none: its derivative is zero."""
    paths = couplings(features, degrees, wanted)
    q = random(4, sum((2 * degree + 1) * channels for degree, channels in features.items()))
    f, y = random(4, sum(path.channels for path in paths)), random(4, sum(2 * degree + 1 for degree in degrees if degree))
    blocks = q.split([(2 * degree + 1) * channels for degree, channels in features.items()], dim=1)
    by_degree = {l: block.unflatten(1, (2 * l + 1, -1)) for l, block in zip(features, blocks, strict=True)}
    harmonics = dict(zip([l for l in degrees if l], y.split([2 * l + 1 for l in degrees if l], dim=1), strict=True))
    expected: list[list[Tensor]] = [[q[:, :0]] for _ in range(1 + len(degrees))]
    for (l1, l2, l3, _), factor in zip(paths, f.split([path.channels for path in paths], dim=1), strict=True):
        product = by_degree[l1] * factor.unsqueeze(1)
        if l3 == 0 and l1:
            product = (product * harmonics[l2].unsqueeze(2)).sum(1, keepdim=True)
        expected[1 + degrees.index(l2) if l3 else 0].append(product.flatten(1))
    scalars, first, *others = (torch.cat(part, dim=1) for part in expected)
    arranged = plan(paths, features, degrees)
    ours = edge_products(q, f, y, arranged)
    joined = torch.cat([first, scalars, torch.ones_like(q[:, :1])], dim=1)
    for part, direct in zip(ours, [scalars, joined, *others], strict=True):
        torch.testing.assert_close(part, direct)
    made = lambda *given: edge_products(*given, arranged)  # noqa: E731
    assert torch.autograd.gradcheck(made, (q, f, y)) and torch.autograd.gradgradcheck(made, (q, f, y))


def test_arguments_are_overwritten_only_without_a_gradient() -> None:
    x, y, square = random(3, 3), random(3, 3), random(3, 3)
    expected = [x * torch.sigmoid(x), x + y, x * y, x + y @ square]
    calls = [silu, lambda x: plus(x, y), lambda x: times(x, y), lambda x: plus_product(x, y, square)]
    for call, wanted in zip(calls, expected, strict=True):
        kept = x.detach().clone()
        torch.testing.assert_close(call(x), wanted)
        assert torch.equal(x, kept)
        with torch.no_grad():
            found = call(kept)
        torch.testing.assert_close(found, wanted)
        assert found.data_ptr() == kept.data_ptr()
