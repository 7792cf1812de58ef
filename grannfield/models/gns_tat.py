"""GNS-TAT as the paper's package has it: the equivariant transformer of TorchMD-NET (Thölke & De Fabritiis, arXiv:2202.02541)
with the equivariant layer norm of pre-training via denoising (Zaidi et al., arXiv:2206.00133)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from grannfield.forcefield import ForceField, register
from grannfield.graph import AtomGraph, atoms_by_graph, graph_values, neighbor_values, pair_values, pair_vectors
from grannfield.nn.mlp import glorot_linear
from grannfield.nn.radial import GaussianBasis, cosine_cutoff

HEADS = 8
WHITENING = 1e-5
SMALLEST_NORM = 0.1
"""Of vector channels in the default head: their length is sqrt(v² + this²), smooth where a site's symmetry makes v vanish."""


@register("gns_tat")
class GNSTAT(ForceField):
    """Attention over neighbours that updates scalars and vectors of every atom.

    Defaults are those of Table 1: 1,968,872 parameters as published; 1,965,543 without the biases of vector channels.

    Differs from the published arithmetic:
    - linear layers on vectors have no bias, which singles out the direction (1, 1, 1);
    - the whitening of the last vectors is regularised by 3e-5 in every direction instead of 2e-5, 3e-5, 4e-5 along x, y, z;
    - lengths of vectors are smooth at zero, where a perfect crystal's are and the published forces amplify rounding;
    - C(d) also multiplies the messages to the vectors, so the energy does not jump when an atom crosses the cut-off;
    - the energy is the sum over atoms instead of their mean.
    """

    def __init__(
        self,
        num_features: int = 128,
        num_gaussians: int = 100,
        num_attn_layers: int = 8,
        cutoff: float = 6.0,
        as_published: bool = False,
    ) -> None:
        super().__init__(cutoff)
        self.as_published = as_published
        self.elements = tuple(range(1, 100))
        self.embedding = nn.Embedding(100, num_features)
        self.rbf = GaussianBasis(num_gaussians, cutoff, trainable=True)
        self.layers = nn.ModuleList(Attention(num_features, num_gaussians, as_published) for _ in range(num_attn_layers))
        self.final_ln = nn.LayerNorm(num_features)
        self.final_vln = VectorNorm(num_features, as_published)
        widths = (num_features, num_features // 2, 1)
        self.head = nn.ModuleList(Gated(a, b, as_published) for a, b in pairwise(widths))

    def forward(self, z: Tensor, graph: AtomGraph, edge_vec: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(pair_vectors(edge_vec, graph), dim=-1)
        rbf = self.rbf(distance)
        envelope = cosine_cutoff(distance, self.cutoff).unsqueeze(-1)
        direction = self._directions(edge_vec, graph)
        x = self.embedding(z)
        vec = x.new_zeros(x.shape[0], 3, x.shape[1])
        for layer in self.layers:
            dx, dvec = layer(x, vec, rbf, envelope, direction, graph)
            x, vec = x + dx, vec + dvec
        x, vec = self.final_ln(x), self.final_vln(vec)
        x, vec = self.head[0](x, vec)
        atomic = self.head[1](silu(x), vec)[0].squeeze(-1)
        return atomic / graph_values(atoms_by_graph(graph), graph).to(atomic.dtype) if self.as_published else atomic

    def _directions(self, edge_vec: Tensor, graph: AtomGraph) -> Tensor:
        """Unit vectors [N,K,3]; as published those to an atom's own images keep their length."""
        length = torch.linalg.vector_norm(edge_vec, dim=-1, keepdim=True)
        if self.as_published:
            own = torch.arange(len(edge_vec), device=edge_vec.device).view(-1, 1)
            length = torch.where((graph.neighbors == own).unsqueeze(-1), 1.0, length)
        return edge_vec / length


class Attention(nn.Module):
    """One update of scalars x [N,F] and vectors [N,3,F]; heads own contiguous slices of the features."""

    def __init__(self, num_features: int, num_gaussians: int, as_published: bool) -> None:
        super().__init__()
        f = num_features
        self.as_published = as_published
        self.ln = nn.LayerNorm(f)
        self.q, self.k = glorot_linear(f, f), glorot_linear(f, f)
        self.v, self.o = glorot_linear(f, 3 * f), glorot_linear(f, 3 * f)
        self.vec = glorot_linear(f, 3 * f, bias=as_published)
        self.dk, self.dv = glorot_linear(num_gaussians, f), glorot_linear(num_gaussians, 3 * f)

    def forward(
        self, x: Tensor, vec: Tensor, rbf: Tensor, envelope: Tensor, direction: Tensor, graph: AtomGraph
    ) -> tuple[Tensor, Tensor]:
        (n, k), f = graph.neighbors.shape, x.shape[1]
        heads = (n, k, HEADS, f // HEADS)
        y = self.ln(x)
        u1, u2, u3 = self.vec(vec).chunk(3, dim=-1)
        dot = (u1 * u2).sum(dim=1)
        dk = pair_values(silu(self.dk(rbf)), graph)
        logits = (self.q(y).unsqueeze(1) * neighbor_values(self.k(y), graph) * dk).view(heads).sum(dim=-1)
        attention = silu(logits) * pair_values(envelope, graph)
        dv = silu(self.dv(rbf)).view(-1, HEADS, 3, f // HEADS)
        if not self.as_published:
            dv = torch.cat([dv[:, :, :1], dv[:, :, 1:] * envelope.view(-1, 1, 1, 1)], dim=2)
        values = neighbor_values(self.v(y), graph) * pair_values(dv.flatten(1), graph)
        to_scalar, along_vector, along_edge = values.view(n, k, HEADS, 3, -1).unbind(dim=3)
        scalar = (to_scalar * attention.unsqueeze(-1)).sum(dim=1).view(n, f)
        carried = (neighbor_values(vec, graph) * along_vector.reshape(n, k, 1, f)).sum(dim=1)
        o1, o2, o3 = self.o(scalar).chunk(3, dim=-1)
        dvec = u3 * o1.unsqueeze(1) + carried + direction.transpose(1, 2) @ along_edge.reshape(n, k, f)
        return dot * o2 + o3, dvec


class VectorNorm(nn.Module):
    """Whitening of an atom's vectors: (V V^T / F + regulariser)^(-1/2) V, mean over features removed, in double precision."""

    def __init__(self, num_features: int, as_published: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        # The published regulariser is added twice, once as diag(1, 2, 3) and once as the unit matrix.
        self.regulariser = [WHITENING * r for r in ((2.0, 3.0, 4.0) if as_published else (3.0, 3.0, 3.0))]

    def forward(self, vec: Tensor) -> Tensor:
        centred = (vec - vec.mean(dim=-1, keepdim=True)).double()
        regulariser = torch.diag(torch.tensor(self.regulariser, dtype=torch.float64)).to(vec.device)
        covariance = centred @ centred.transpose(1, 2) / vec.shape[-1] + regulariser
        return (_InverseSqrt.apply(covariance) @ centred).to(vec.dtype) * self.weight


class _InverseSqrt(torch.autograd.Function):
    """A^(-1/2) of symmetric positive matrices [N,3,3].

    Its derivative comes from S dS + dS S = dA with S = A^(1/2), which is regular where eigenvalues coincide (the derivative of
    eigenvectors is not), and is itself made of differentiable steps.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(a)
        root = (vectors * values.rsqrt().unsqueeze(-2)) @ vectors.transpose(-1, -2)
        ctx.save_for_backward(a)
        return root

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (a,) = ctx.saved_tensors
        inverse = _InverseSqrt.apply(a)
        root = a @ inverse
        by_root = -inverse @ (0.5 * (grad + grad.transpose(-1, -2))) @ inverse
        one = torch.eye(3, dtype=a.dtype, device=a.device)
        sylvester = torch.einsum("nij,kl->nikjl", root, one) + torch.einsum("ij,nkl->nikjl", one, root)
        return torch.linalg.solve(sylvester.reshape(-1, 9, 9), by_root.reshape(-1, 9, 1)).view_as(a)


class Gated(nn.Module):
    """Scalars and vectors to fewer of both: scalars see the lengths of the vectors, vectors are multiplied by gates."""

    def __init__(self, n_in: int, n_out: int, as_published: bool) -> None:
        super().__init__()
        self.smallest = 0.0 if as_published else SMALLEST_NORM
        self.vec1 = glorot_linear(n_in, n_in, bias=as_published)
        self.vec2 = nn.Linear(n_in, n_out, bias=as_published)
        nn.init.xavier_uniform_(self.vec2.weight)
        self.mlp0, self.mlp1 = glorot_linear(2 * n_in, n_in), glorot_linear(n_in, 2 * n_out)

    def forward(self, x: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.vec1(vec)
        length = torch.linalg.vector_norm(torch.cat([seen, torch.full_like(seen[:, :1], self.smallest)], dim=1), dim=1)
        s, gate = self.mlp1(silu(self.mlp0(torch.cat([x, length], dim=-1)))).chunk(2, dim=-1)
        return s, gate.unsqueeze(1) * self.vec2(vec)
