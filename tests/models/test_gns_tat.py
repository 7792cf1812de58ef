"""What GNS-TAT leaves out, stacks and differentiates by hand, against the plain arithmetic."""

from __future__ import annotations

import pytest
import torch

from grannfield.models.gns_tat import GNSTAT, Attention, Edges, _joint, _Scaled, _Updated
from grannfield.neighbors import neighbor_graph
from grannfield.nn.incidence import to_neighbors
from tests.models.operations import operations
from tests.models.small import CUTOFF, atoms, small


def test_operations() -> None:
    found, waits = operations("gns_tat")
    assert found <= 600 and waits == 0


def edges_and_filters(field: GNSTAT) -> tuple[Edges, torch.Tensor, torch.Tensor]:
    graph = neighbor_graph(*atoms(5, apart=1.0), CUTOFF)
    edge_vec = graph.edge_vectors()
    direction = field._directions(edge_vec, graph).transpose(1, 2)
    ones = edge_vec.new_ones(len(graph.z), 1, graph.neighbors.shape[1])
    edges = Edges(direction, ones, to_neighbors(graph), field.asked(graph))
    first = Edges(direction, ones, edges.neighbors, field.asked_first(graph))
    field.first = first  # type: ignore[assignment]
    return edges, field._filters(edge_vec, graph)[0], field.embedding(graph.z)


def test_the_first_layer_leaves_out_nothing_but_zeros() -> None:
    field = small("gns_tat")
    assert isinstance(field, GNSTAT)
    edges, filters, x = edges_and_filters(field)
    layer, weights = field.layers[0], field._weights()[0]
    assert isinstance(layer, Attention)
    short = layer(x, None, weights, filters, field.first)  # type: ignore[arg-type]
    whole = layer(x, x.new_zeros(len(x), 3, x.shape[1]), weights, filters, edges)
    for ours, expected in zip(short, whole, strict=True):
        torch.testing.assert_close(ours, expected)
    assert short[1].abs().max() > 1e-3


def test_stacked_layers_give_what_each_gives() -> None:
    """Parts of v come first, heads second; those along the edge before those along the neighbour's vectors."""
    field = small("gns_tat")
    assert isinstance(field, GNSTAT)
    layer = field.layers[1]
    assert isinstance(layer, Attention)
    weight, bias = _joint([[one.q, one.k, one.v] for one in field.layers])  # type: ignore[list-item]
    y = torch.randn(3, 16, dtype=torch.float64)
    values = layer.v(y).view(3, 8, 3, -1)[:, :, [0, 2, 1]].transpose(1, 2).flatten(1)
    expected = torch.cat([layer.q(y), layer.k(y), values], dim=1)
    torch.testing.assert_close(y @ weight[1].T + bias[1], expected)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_by_hand(order: int) -> None:
    torch.manual_seed(0)
    check = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
    n, k, f = 2, 3, 2
    shapes = ((n, f), (n, 3, f), (n, k, 3 * f), (n, 3, k), (n, k, f), (n, 3, 3 * f), (n, 3 * f))
    parts = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    ones = torch.ones(n, 1, k, dtype=torch.float64)
    assert check(lambda x, vec, *rest: _Updated.apply(x, vec, ones, *rest), parts)
    assert check(_Scaled.apply, (parts[1], parts[0]))
    x, vec, w, d, m, u, o = parts
    (u1, u2, u3), (o1, o2, o3) = u.chunk(3, -1), o.chunk(3, -1)
    message = (w.view(n, k, 3, f) + d.transpose(1, 2).unsqueeze(-1) * m.unsqueeze(2)).sum(dim=1)
    new_x, new_vec, _ = _Updated.apply(x, vec, ones, w, d, m, u, o)
    torch.testing.assert_close(new_x, x + (u1 * u2).sum(1) * o2 + o3)
    torch.testing.assert_close(new_vec, vec + message + u3 * o1.unsqueeze(1))
