"""ForceNet: its harmonics, the filters of all its layers made at once, and the arithmetic that overwrites."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from grannfield.models.forcenet import _harmonics
from grannfield.neighbors import neighbor_graph
from tests.models.small import CUTOFF, atoms, small


def test_harmonics_are_the_published_ones() -> None:
    """Real parts of complex harmonics, in the order and with the factors of the published code."""
    n = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1)
    linear, square = _harmonics()
    ours = n @ linear + (n.unsqueeze(2) * n.unsqueeze(1)).flatten(1) @ square
    x, y, z = n.unbind(-1)
    pi = math.pi
    expected: list[Tensor] = [
        torch.full_like(x, 0.5 * math.sqrt(1 / pi)),
        0.5 * math.sqrt(3 / pi) * z,
        0.25 * math.sqrt(5 / pi) * (3 * z * z - 1),
        -math.sqrt(3 / (8 * pi)) * x,
        -math.sqrt(15 / (8 * pi)) * x * z,
        0.25 * math.sqrt(15 / (2 * pi)) * (x * x - y * y),
        -math.sqrt(3 / (8 * pi)) * y,
        -math.sqrt(15 / (8 * pi)) * y * z,
        0.5 * math.sqrt(15 / (2 * pi)) * x * y,
    ]
    torch.testing.assert_close(ours, torch.stack(expected, dim=-1), rtol=0, atol=1e-14)


def test_the_first_filters_are_those_of_the_two_layers_in_a_row() -> None:
    field = small("forcenet")
    edge = torch.randn(5, 36, dtype=torch.float64)
    for layer, filters, constant in zip(field.interactions, *field._first_filters(), strict=True):
        of_edge = layer.filter0.weight[:, : layer.filter0.out_features]
        expected = layer.basis(edge) @ of_edge.t() + layer.filter0.bias
        torch.testing.assert_close(edge @ filters + constant, expected, rtol=0, atol=1e-13)


def test_training_and_prediction_agree() -> None:
    """Without a gradient arrays of edges are overwritten; with one they must not be."""
    field, graph = small("forcenet"), neighbor_graph(*atoms(apart=1.0), CUTOFF)
    training = field.predict(graph, create_graph=True)
    torch.testing.assert_close(training.forces.detach(), field.predict(graph).forces, rtol=0, atol=1e-14)
    training.forces.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in field.parameters() if p.grad is not None)
