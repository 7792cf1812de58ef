"""Weights under which a check means something."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from grannfield.contract.alive import SIZE, Case, alive
from grannfield.contract.samples import samples
from grannfield.contract.subjects import FieldSubject, rms
from grannfield.contract.weights import Vacuous, enliven, find_gain, raw_forces, shared
from grannfield.forcefield import ForceField, create
from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.nn.norm import BatchNorm
from tests.contract.fields import faded

CELLS = samples(0)


class Sleeping(ForceField):
    """A small network with all that freshly made networks have against them: a last layer of zeros, as DimeNet, tiny
    embeddings, as SCN, batch statistics and a frozen constant."""

    def __init__(self) -> None:
        super().__init__(5.0)
        self.elements = tuple(range(1, 90))
        self.embedding = nn.Embedding(90, 8)
        self.message, self.last = nn.Linear(8, 8), nn.Linear(8, 1)
        self.bn = BatchNorm(8)
        self.constant = nn.Parameter(torch.full((2, 2), 1e-3), requires_grad=False)
        nn.init.uniform_(self.embedding.weight, -1e-3, 1e-3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.message.bias)

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        fade = (faded(edge_vec, self.cutoff) * graph.mask).unsqueeze(-1)
        x = self.embedding(z)
        for _ in range(2):
            x = x + torch.tanh(self.bn(self.message((x[graph.neighbors] * fade).sum(dim=1) + 3 * fade.sum(dim=1))))
        return self.last(x).squeeze(-1)


def sleeping(seed: int = 0) -> ForceField:
    torch.manual_seed(seed)
    return Sleeping()


def force(field: ForceField) -> float:
    cell = CELLS.gamma
    with torch.no_grad():
        return rms(raw_forces(field.eval(), neighbor_graph(cell.z, cell.pos, cell.cell, field.cutoff)))


def test_a_sleeping_network_wakes() -> None:
    field = sleeping()
    assert force(field) == 0.0, "the test's field is not asleep"
    weights = enliven(field, [*CELLS], seed=3)
    assert weights.woken == 4  # embedding, last layer, bias of the messages, bias of the normalisation
    assert SIZE[0] < weights.rms_force < SIZE[1] and force(field) == pytest.approx(weights.rms_force)
    findings = alive(Case(FieldSubject(field, "sleeping", must_couple=True), CELLS, 0), seeded=True)
    assert not [finding.sentence for finding in findings if finding.failed]


def test_the_scale_of_the_output_is_left_alone_and_so_are_constants() -> None:
    field = sleeping()
    enliven(field, [*CELLS], seed=3)
    state = field.state_dict()
    assert float(state["scale.scale"]) == 1.0 and not state["scale.shift"].any()
    assert torch.equal(state["constant"], torch.full((2, 2), 1e-3))
    assert float(state["bn.running_var"].min()) > 0 and not torch.equal(state["bn.running_var"], torch.ones(8))
    assert field.bn.momentum == 0.1 and not field.training


def test_weights_are_those_of_the_seed() -> None:
    states = []
    for seed in (1, 1, 2):
        field = sleeping()
        enliven(field, [*CELLS], seed)
        states.append(field.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["last.weight"], states[2]["last.weight"])


def test_a_network_that_cannot_wake_is_vacuous() -> None:
    field = sleeping()
    for parameter in field.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(Vacuous, match="zero, or not finite"):
        enliven(field, [*CELLS], seed=0)


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        (lambda g: 1e-5 * g**3, True),
        (lambda g: 1e6 * g**4, True),
        (lambda g: 0.7, True),
        (lambda g: float("inf") if g > 0.3 else 40 * g**2, True),
        (lambda g: 1e-9 * g, False),
        (lambda g: 1e-3 if g < 5 else 1e3, False),
    ],
)
def test_the_search_for_a_gain(size: Callable[[float], float], inside: bool) -> None:
    gain, found = find_gain(size)
    assert found == size(gain)
    assert (0.5 <= found <= 2.0) == inside


def test_weights_are_shared_where_both_have_them() -> None:
    torch.manual_seed(0)
    small = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 8}
    one, other, wider = create("schnet", **small), create("schnet", **small), create("schnet", **small | {"num_filters": 6})
    assert all(torch.equal(one.state_dict()[key], value) for key, value in shared(one, other).state_dict().items())
    mixed = shared(one, wider).state_dict()
    assert torch.equal(mixed["embedding.weight"], one.state_dict()["embedding.weight"])
    assert mixed["interactions.0.in2f.weight"].shape == (6, 8)
