"""The same mathematics by other hands, with the same weights: what our speed is measured against.

PyTorch Geometric's SchNet, DimeNet (one einsum over every triplet) and DimeNet++ on edges from vesin, forces by autograd of
positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grannfield.forcefield import ForceField

Evaluation = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray]]
"""(z [N], pos [N,3] Å, cell [3,3] Å) to energy (eV) and forces [N,3] (eV/Å)."""


def evaluation(model: nn.Module, cutoff: float) -> Evaluation:
    """One evaluation as users of PyTorch Geometric write it: list, tensors, energy, gradient by positions.

    `model(z, pos, j, i, across)` gives the energy; j and i are neighbours and centres of all edges, `across` their cell shifts.
    """
    import vesin

    search = vesin.NeighborList(cutoff=cutoff, full_list=True)
    weight = next(model.parameters())

    def evaluate(z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> tuple[float, np.ndarray]:
        i, j, shift = search.compute(pos, cell, True, "ijS")
        where = torch.from_numpy(pos).to(weight).requires_grad_()
        number, centre, neighbor = (torch.from_numpy(x.astype(np.int64)).to(weight.device) for x in (z, i, j))
        across = torch.from_numpy(shift.astype(float) @ cell).to(weight)
        energy = model(number, where, neighbor, centre, across)
        (slope,) = torch.autograd.grad(energy, where)
        return float(energy.detach()), -slope.double().cpu().numpy()

    return evaluate


class PyGSchNet(nn.Module):
    """PyTorch Geometric's SchNet with the weights of ours."""

    def __init__(self, field: ForceField) -> None:
        super().__init__()
        from torch_geometric.nn.models import SchNet
        from torch_geometric.nn.models.schnet import ShiftedSoftplus

        s, ours = field.settings, dict(field.named_modules())
        basis: Any = ours["rbf"]
        sizes = (s["hidden_channels"], s["num_filters"], s["num_interactions"], s["num_gaussians"], s["cutoff"])
        self.model: Any = SchNet(*sizes, interaction_graph=self._given)
        self.model.to(device=basis.centers.device, dtype=field.dtype)
        self.edges: tuple[Tensor, Tensor] | None = None
        pairs = [(self.model.embedding, ours["embedding"]), (self.model.lin1, ours["head0"]), (self.model.lin2, ours["head1"])]
        for n, block in enumerate(self.model.interactions):
            layers = (block.mlp[0], block.mlp[2], block.conv.lin1, block.conv.lin2, block.lin)
            names = ("filter0", "filter1", "in2f", "f2out", "out")
            pairs += zip(layers, (ours[f"interactions.{n}.{key}"] for key in names), strict=True)
        for to, source in pairs:
            to.load_state_dict(source.state_dict())
        self.model.distance_expansion.offset = basis.centers
        self.model.distance_expansion.coeff = float(basis.coeff)
        for module in self.model.modules():
            if isinstance(module, ShiftedSoftplus):
                module.shift = math.log(2.0)  # theirs is rounded to single precision

    def _given(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        assert self.edges is not None
        return self.edges

    def forward(self, z: Tensor, pos: Tensor, j: Tensor, i: Tensor, across: Tensor) -> Tensor:
        return self.energies(z, pos, j, i, across, torch.zeros_like(z)).squeeze()

    def energies(self, z: Tensor, pos: Tensor, j: Tensor, i: Tensor, across: Tensor, batch: Tensor) -> Tensor:
        """[B] of several structures whose edges are numbered through; batch [N] is the structure of each atom."""
        self.edges = torch.stack([j, i]), (pos[j] + across - pos[i]).norm(dim=1)
        return self.model(z, pos, batch).squeeze(1)


class PyGDimeNet(nn.Module):
    """PyTorch Geometric's blocks of DimeNet or DimeNet++ with the weights of ours, on a periodic list of triplets.

    Their own `forward` knows no periodic images; this one has their blocks, the angle at the middle atom and the rule that
    leaves out a triplet only where it returns to the same image. DimeNet++ has no bias above the sums over neighbours: the
    field's must be zero for equal forces.
    """

    def __init__(self, field: ForceField) -> None:
        super().__init__()
        from torch_geometric.nn.models import DimeNet, DimeNetPlusPlus

        s = field.settings
        names = ("num_blocks", "num_spherical", "num_radial", "cutoff", "envelope_exponent")
        common = {key: s[key] for key in (*names, "num_before_skip", "num_after_skip", "num_output_layers")}
        if field.name == "dimenet":
            self.model: Any = DimeNet(s["hidden_channels"], 1, num_bilinear=s["num_bilinear"], **common)
        else:
            sizes = {key: s[key] for key in ("int_emb_size", "basis_emb_size", "out_emb_channels")}
            self.model = DimeNetPlusPlus(s["hidden_channels"], 1, **common, **sizes)
        self.model.to(next(field.parameters()))
        ours = {key.removeprefix("network."): p for key, p in field.state_dict().items() if key.startswith("network.")}
        self.model.load_state_dict({_theirs(key): value for key, value in ours.items() if not key.endswith("up.bias")})

    def forward(self, z: Tensor, pos: Tensor, j: Tensor, i: Tensor, across: Tensor) -> Tensor:
        return self.atomic(z, pos, j, i, across).sum()

    def atomic(self, z: Tensor, pos: Tensor, j: Tensor, i: Tensor, across: Tensor) -> Tensor:
        """What leaves the blocks, [N, 1]."""
        vectors = pos[j] + across - pos[i]
        kj, ji = periodic_triplets(j, i, across, len(z))
        first, second = vectors[ji], vectors[kj]
        angle = torch.atan2(torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(dim=-1))
        distance = vectors.norm(dim=-1)
        rbf, sbf = self.model.rbf(distance), self.model.sbf(distance, angle, kj)
        x = self.model.emb(z, rbf, i, j)
        energy = self.model.output_blocks[0](x, rbf, i, num_nodes=len(z))
        for interaction, output in zip(self.model.interaction_blocks, self.model.output_blocks[1:], strict=True):
            x = interaction(x, rbf, sbf, kj, ji)
            energy = energy + output(x, rbf, i, num_nodes=len(z))
        return energy


def periodic_triplets(j: Tensor, i: Tensor, across: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Numbers (kj, ji) of all pairs of edges k->j->i but those that return to the atom they came from, in the same cell."""
    order = torch.argsort(i, stable=True)
    count = torch.bincount(i, minlength=n)
    start = count.cumsum(0) - count
    ji = torch.arange(len(i), device=i.device).repeat_interleave(count[j])
    within = torch.arange(len(ji), device=i.device) - (count[j].cumsum(0) - count[j]).repeat_interleave(count[j])
    kj = order[start[j[ji]] + within]
    back = (j[kj] == i[ji]) & ((across[kj] + across[ji]).abs().amax(dim=1) < 1e-3)
    return kj[~back], ji[~back]


def _theirs(key: str) -> str:
    """Name of a weight in PyTorch Geometric's DimeNets."""
    for ours, theirs in (
        ("embedding.table.", "emb.emb."), ("embedding.rbf.", "emb.lin_rbf."), ("embedding.mix.", "emb.lin."),
        ("outputs.", "output_blocks."), (".dense.", ".lins."), (".final.", ".lin."), ("interactions.", "interaction_blocks."),
        (".first.", ".lin1."), (".second.", ".lin2."), (".before.", ".layers_before_skip."), (".after.", ".layers_after_skip."),
        (".skip.", ".lin."), (".bilinear", ".W"),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    if "_blocks." in key:
        for name in ("rbf1", "rbf2", "sbf1", "sbf2", "rbf", "sbf", "kj", "ji", "down", "up"):
            key = key.replace(f".{name}.", f".lin_{name}.")
    return key


RIVALS: dict[str, Callable[[ForceField], nn.Module]] = {"schnet": PyGSchNet, "dimenet": PyGDimeNet, "dimenet_pp": PyGDimeNet}
