"""SchNet, DimeNet and DimeNet++ against PyTorch Geometric's with the same weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField
from grannfield.graph import AtomGraph, collate
from grannfield.neighbors import neighbor_graph
from tests.models.small import CUTOFF, SKEWED, WIDE, atoms, small

pytest.importorskip("torch_geometric")


def edges_of(graph: AtomGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours, centres and Cartesian shifts of all edges."""
    centre, slot = graph.mask.nonzero(as_tuple=True)
    across = torch.einsum("ea,eab->eb", graph.shift[centre, slot], graph.cell[graph.batch[centre]])
    return graph.neighbors[centre, slot], centre, across


def schnet_of(field: ForceField, edges: Any) -> Any:
    """PyTorch Geometric's SchNet; `edges(pos, batch)` gives (edge_index, distances)."""
    from torch_geometric.nn.models import SchNet
    from torch_geometric.nn.models.schnet import ShiftedSoftplus

    s = field.settings
    theirs = SchNet(
        s["hidden_channels"], s["num_filters"], s["num_interactions"], s["num_gaussians"], s["cutoff"], interaction_graph=edges
    ).double()  # fmt: skip
    ours = dict(field.named_modules())
    pairs = [(theirs.embedding, ours["embedding"]), (theirs.lin1, ours["head0"]), (theirs.lin2, ours["head1"])]
    for n, block in enumerate(theirs.interactions):
        layers = (block.mlp[0], block.mlp[2], block.conv.lin1, block.conv.lin2, block.lin)
        names = ("filter0", "filter1", "in2f", "f2out", "out")
        pairs += zip(layers, (ours[f"interactions.{n}.{key}"] for key in names), strict=True)
    for to, source in pairs:
        to.load_state_dict(source.state_dict())
    theirs.distance_expansion.offset = field.rbf.centers
    theirs.distance_expansion.coeff = float(field.rbf.coeff)
    for module in theirs.modules():
        if isinstance(module, ShiftedSoftplus):
            module.shift = math.log(2.0)  # theirs is rounded to single precision
    return theirs.eval()


@pytest.mark.parametrize("cap", [None, 9])
def test_schnet(cap: int | None) -> None:
    """On a batch of two cells; with a cap the graph is asymmetric and the direction of messages matters."""
    field = small("schnet")
    graph = collate([neighbor_graph(*atoms(n, n, cell), CUTOFF, max_neighbors=cap) for n, cell in ((4, SKEWED), (9, WIDE))])
    assert graph.symmetric == (cap is None)
    if cap is None:
        assert (graph.neighbors == torch.arange(13).view(-1, 1))[graph.mask].any(), "no atom is its own neighbour"
    j, centre, across = edges_of(graph)

    def edges(pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([j, centre]), (pos[j] + across - pos[centre]).norm(dim=1)

    pos = graph.pos.clone().requires_grad_()
    energy = schnet_of(field, edges)(graph.z, pos, graph.batch).squeeze(1)
    forces = -torch.autograd.grad(energy.sum(), pos)[0]
    prediction = field.predict(graph)
    torch.testing.assert_close(prediction.energy, energy.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prediction.forces, forces, rtol=1e-10, atol=1e-10)
    assert forces.abs().max() > 0.01


def dimenet_of(field: ForceField) -> Any:
    """PyTorch Geometric's model for molecules, with the angle of both at the middle atom and no bias above the atoms' sums."""
    from torch_geometric.nn.models import DimeNet, DimeNetPlusPlus

    s, double = field.settings, field.name == "dimenet_pp"
    common = {key: s[key] for key in ("num_blocks", "num_spherical", "num_radial", "cutoff", "envelope_exponent")}
    common |= {key: s[key] for key in ("num_before_skip", "num_after_skip", "num_output_layers")}
    if double:
        sizes = {key: s[key] for key in ("int_emb_size", "basis_emb_size", "out_emb_channels")}
        theirs = DimeNetPlusPlus(s["hidden_channels"], 1, **common, **sizes)
    else:

        class AngleAtTheMiddle(DimeNetPlusPlus):  # theirs takes the angle at the end atom in DimeNet alone
            __init__ = DimeNet.__init__

        theirs = AngleAtTheMiddle.__new__(AngleAtTheMiddle)
        _build(theirs, s["hidden_channels"], s["num_bilinear"], common)
    theirs = theirs.double()
    ours = {key.removeprefix("network."): p for key, p in field.state_dict().items() if key.startswith("network.")}
    theirs.load_state_dict({theirs_name(key): value for key, value in ours.items() if not key.endswith("up.bias")})
    return theirs.eval()


def _build(model: Any, hidden: int, n_bilinear: int, common: dict[str, Any]) -> None:
    """DimeNet's constructor on an object of another class: its `super().__init__()` needs the class itself."""
    from torch_geometric.nn.models import DimeNet

    plain = DimeNet(hidden, 1, num_bilinear=n_bilinear, **common)
    model.__dict__.update(plain.__dict__)


def theirs_name(key: str) -> str:
    for ours, theirs in (
        ("embedding.table.", "emb.emb."), ("embedding.rbf.", "emb.lin_rbf."), ("embedding.mix.", "emb.lin."),
        ("outputs.", "output_blocks."), (".dense.", ".lins."), (".final.", ".lin."), ("interactions.", "interaction_blocks."),
        (".first.", ".lin1."), (".second.", ".lin2."), (".before.", ".layers_before_skip."), (".after.", ".layers_after_skip."),
        (".skip.", ".lin."), (".bilinear", ".W"),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    for name in ("rbf1", "rbf2", "sbf1", "sbf2", "rbf", "sbf", "kj", "ji", "down", "up"):
        if "_blocks." in key:
            key = key.replace(f".{name}.", f".lin_{name}.")
    return key


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["dimenet", "dimenet_pp"])
def test_dimenets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a molecule, where the image of an atom cannot be confused with it; to the single precision of the basis' norms."""
    from torch_geometric.nn.models import dimenet

    field = small(name)
    with torch.no_grad():
        for key, p in field.named_parameters():
            if key.endswith("up.bias"):
                p.zero_()
    z, pos, _ = atoms(7, 2, np.diag([5.0, 5.0, 5.0]), apart=1.3)
    graph = neighbor_graph(z, pos, 30 * np.eye(3), CUTOFF, False)
    j, centre, _ = edges_of(graph)
    kj, ji = (t.flatten() for t in torch.meshgrid(torch.arange(len(j)), torch.arange(len(j)), indexing="ij"))
    follows = (centre[kj] == j[ji]) & (j[kj] != centre[ji])
    kj, ji = kj[follows], ji[follows]
    monkeypatch.setattr(dimenet, "radius_graph", lambda *_, **__: torch.stack([j, centre]))
    monkeypatch.setattr(dimenet, "triplets", lambda *_, **__: (centre, j, centre[ji], j[ji], j[kj], kj, ji))
    at = graph.pos.clone().requires_grad_()
    energy = dimenet_of(field)(graph.z, at).squeeze()
    forces = -torch.autograd.grad(energy, at)[0]
    prediction = field.predict(graph)
    assert float(energy.detach().abs()) > 1e-3
    torch.testing.assert_close(prediction.energy[0], energy.detach(), rtol=1e-5, atol=1e-6)
    assert float((prediction.forces - forces).abs().max()) < 1e-5 * float(forces.abs().max())
