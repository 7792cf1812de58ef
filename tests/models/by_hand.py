"""SCN and eSCN written out edge by edge with e3nn's matrices: slow, and without the rearrangements of the package."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.forcefield import ForceField, to_precision
from grannfield.graph import AtomGraph
from grannfield.neighbors import neighbor_graph
from grannfield.nn.spherical import fixed_frames

silu = torch.nn.functional.silu


@contextmanager
def o3() -> Iterator[Any]:
    """e3nn.o3, in the default precision of which its constants are made: double; it warns of TorchScript when imported."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pytest.importorskip("e3nn.o3")
    finally:
        torch.set_default_dtype(before)


def roll(angle: Tensor) -> Tensor:
    """Matrices [..., 3, 3] of section 1.4: x' = cos x - sin z, z' = sin x + cos z."""
    c, s, one = angle.cos(), angle.sin(), torch.ones_like(angle)
    return torch.stack([c, 0 * c, -s, 0 * c, one, 0 * c, s, 0 * c, c], dim=-1).unflatten(-1, (3, 3))


def wigner(lmax: int, rotations: Tensor) -> Tensor:
    """D(R) [..., (lmax+1)², (lmax+1)²]."""
    with o3() as e3nn:
        return e3nn.Irreps([(1, (l, 1)) for l in range(lmax + 1)]).D_from_matrix(rotations)


def harmonics(lmax: int, points: Tensor) -> Tensor:
    """|p|^l Y_lm(p/|p|) [..., (lmax+1)²]."""
    with o3() as e3nn:
        return e3nn.spherical_harmonics(list(range(lmax + 1)), points, normalize=False)


def kept(lmax: int, mmax: int) -> list[tuple[int, int]]:
    return [(l, m) for l in range(lmax + 1) for m in range(-l, l + 1) if abs(m) <= mmax]


def grid(lmax: int, longitudes: int) -> tuple[Tensor, Tensor]:
    """to and from [points, (lmax+1)²] on 2 (lmax+1) latitudes."""
    shape = (2 * (lmax + 1), longitudes)
    with o3() as e3nn:
        to = e3nn.ToS2Grid(lmax, shape, normalization="integral")
        back = e3nn.FromS2Grid(shape, lmax, normalization="integral")
    return einsum(to), einsum(back)


def einsum(transform: Any) -> Tensor:
    return torch.einsum("mbi,am->bai", transform.shb, transform.sha).flatten(0, 1)


class ByHand:
    """The published network of a field's weights, on the edges of a graph given one by one."""

    def __init__(self, field: ForceField, graph: AtomGraph, frames: Tensor) -> None:
        """frames [N, K, 3, 3]."""
        self.w, self.settings, self.z = dict(field.named_parameters()), field.settings, graph.z
        self.lmax, self.mmax = field.settings["lmax"], field.settings["mmax"]
        self.t, column = graph.mask.nonzero(as_tuple=True)
        self.s = graph.neighbors[self.t, column]
        self.frames = frames[self.t, column]
        self.distance = graph.edge_vectors(torch.float64)[self.t, column].norm(dim=-1)
        self.cutoff = graph.cutoff

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def first(self) -> Tensor:
        x = torch.zeros(len(self.z), (self.lmax + 1) ** 2, self.settings["sphere_channels"], dtype=torch.float64)
        x[:, 0] = self.w["embedding.weight"][self.z]
        return x

    def edge_scalars(self, layer: str) -> Tensor:
        n = int(self.cutoff / self.settings["distance_resolution"])
        mu = torch.linspace(0, self.cutoff, n, dtype=torch.float64)
        width = self.settings["basis_width_scalar"] * (mu[1] - mu[0])
        g = torch.exp(-((self.distance.unsqueeze(1) - mu) ** 2) / (2 * width**2))
        elements = self.w[f"{layer}.source.weight"][self.z[self.s]] + self.w[f"{layer}.target.weight"][self.z[self.t]]
        return silu(self.linear(f"{layer}.mix", silu(elements + self.linear(f"{layer}.distance", g))))

    def summed(self, messages: Tensor, edges: Tensor | None = None) -> Tensor:
        out = torch.zeros(len(self.z), *messages.shape[1:], dtype=torch.float64)
        return out.index_add(0, self.t if edges is None else self.t[edges], messages)

    def point_wise(self, layer: str, x: Tensor, message: Tensor) -> Tensor:
        to, back = grid(self.lmax, 2 * (self.lmax + 1) + 1)
        g = torch.cat([to @ x, to @ message], dim=-1)
        for number in (1, 2):
            g = silu(self.linear(f"{layer}.step.linear{number}", g))
        return back.T @ self.linear(f"{layer}.step.linear3", g)

    def read_out(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = self.settings["num_sphere_samples"]
        k = torch.arange(n, dtype=torch.float64)
        theta, phi = 2 * math.pi * k / ((1 + math.sqrt(5)) / 2), torch.arccos(1 - 2 * (k + 0.5) / n)
        q = torch.stack([theta.cos() * phi.sin(), theta.sin() * phi.sin(), phi.cos()], dim=1)
        c = 1 / torch.stack([torch.exp(-((q - point).norm(dim=1) ** 2) / 0.15).sum() for point in q])
        p = q * (c * n / c.sum()).unsqueeze(1)
        f = harmonics(self.lmax, p) @ x
        values = []
        for name in ("energy", "force"):
            y = silu(self.linear(f"readout.{name}.linear2", silu(self.linear(f"readout.{name}.linear1", f))))
            values.append(self.linear(f"readout.{name}.linear3", y).squeeze(-1))
        return values[0].mean(1), torch.einsum("ns,sx->nx", values[1], p) / n


@torch.no_grad()
def scn(field: ForceField, graph: AtomGraph, frames: Tensor, resolution: Tensor) -> tuple[Tensor, Tensor]:
    """Atomic energies [N] and forces [N, 3]; resolution [N, K] holds 0 or 1."""
    net = ByHand(field, graph, frames)
    mmax, reduced = net.mmax, net.settings["sphere_channels_reduce"]
    at = resolution[graph.mask]
    angles = [t * math.pi / 2 for t in range(4 if net.settings["num_taps"] == -1 and mmax else 1)]
    x = net.first()
    for k in range(net.settings["num_interactions"]):
        block = f"blocks.{k}"
        edge = net.edge_scalars(f"{block}.edge")
        down = net.linear(f"{block}.down", x) if f"{block}.down.weight" in net.w else x
        m = torch.zeros_like(down)
        for r in range(net.settings["num_resolutions"]):
            degree = net.lmax if r == 0 else max(4, net.lmax - 2)
            size, own = (degree + 1) ** 2, kept(degree, mmax)
            rows, edges = [l * l + l + order for l, order in own], (at == r).nonzero().squeeze(1)
            name = f"{block}.messages.{r}"
            h = silu(net.linear(f"{name}.distance", edge[edges]))
            q = torch.zeros(len(edges), len(own), reduced, dtype=torch.float64)
            for phi in angles:
                turn = wigner(degree, roll(torch.tensor(phi, dtype=torch.float64)) @ net.frames[edges])[:, rows]
                ends = [(turn @ down[i[edges], :size]).flatten(1) for i in (net.s, net.t)]
                y = silu(net.linear(f"{name}.project", torch.cat(ends, dim=1))) * h
                y = silu(net.linear(f"{name}.linear2", silu(net.linear(f"{name}.linear1", y)))).unflatten(1, (len(own), reduced))
                for place, (l, order) in enumerate(own):
                    opposite = own.index((l, -order))
                    sign = (order < 0) - (order > 0)
                    q[:, place] += (math.cos(phi) * abs(order) + (order == 0)) * y[:, place] / len(angles)
                    q[:, place] += sign * math.sin(phi) * y[:, opposite] / len(angles)
            back = wigner(degree, net.frames[edges])[:, rows].transpose(1, 2)
            m[:, :size] += net.summed(back @ q, edges)
        new = net.point_wise(block, down, m)
        new = net.linear(f"{block}.up", new) if f"{block}.up.weight" in net.w else new
        x = x + new if k else new
    return net.read_out(x)


@torch.no_grad()
def escn(field: ForceField, graph: AtomGraph, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Atomic energies [N] and forces [N, 3]."""
    net = ByHand(field, graph, frames)
    lmax, mmax = net.lmax, net.mmax
    rows = {order: [l * l + l + order for l in range(abs(order), lmax + 1)] for order in range(-mmax, mmax + 1)}
    every = [l * l + l + m for l, m in kept(lmax, mmax)]
    to, back = (t[:, every] for t in grid(lmax, 2 * mmax + 1 if lmax != mmax else 2 * (mmax + 1) + 1))
    turn = wigner(lmax, net.frames)
    x = net.first()
    for k in range(net.settings["num_layers"]):
        edge = net.edge_scalars(f"layers.{k}.edge")
        y = torch.zeros(len(net.t), (lmax + 1) ** 2, x.shape[-1], dtype=torch.float64)
        for side, atoms in (("source", net.s), ("target", net.t)):
            u = turn @ x[atoms]
            for m in range(mmax + 1):
                name = f"layers.{k}.orders.{m}.{side}"
                gates = silu(net.linear(f"{name}.gate", edge)).chunk(2 if m else 1, dim=-1)

                def branch(number: int, order: int, name: str = name, u: Tensor = u, gates: Any = gates) -> Tensor:
                    inside = (u[:, rows[order]].flatten(1) @ net.w[f"{name}.first.{number}"].T) * gates[number]
                    return (inside @ net.w[f"{name}.second.{number}"].T).unflatten(1, (-1, u.shape[-1]))

                if m == 0:
                    y[:, rows[0]] += branch(0, 0)
                else:
                    y[:, rows[m]] += branch(0, m) - branch(1, -m)
                    y[:, rows[-m]] += branch(0, -m) + branch(1, m)
        active = back.T @ silu(to @ y[:, every])
        message = net.summed(turn[:, every].transpose(1, 2) @ active)
        new = net.point_wise(f"layers.{k}", x, message)
        x = x + new if k else new
    energy, forces = net.read_out(x)
    return 0.001 * energy, forces


def wild(field: ForceField, seed: int = 0, spread: float = 1.5) -> Any:
    """The field with random weights, in double precision, large enough for every activation to bend (as in the parity files)."""
    generator = torch.Generator().manual_seed(seed)
    field = to_precision(field, torch.float64).eval()
    with torch.no_grad():
        for name, p in field.named_parameters():
            if p.requires_grad:
                table = name.endswith(("embedding.weight", "source.weight", "target.weight"))
                size = 0.3 if name.endswith("bias") else 1.0 if table else spread / math.sqrt(p.shape[-1])
                p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return field


def turned(field: Any, graph: AtomGraph, angle: Any) -> Tensor:
    """Forces when all frames of the fixed rule are rolled about their edges by an angle, or each by its own [N, K]."""
    given, angle = field.frames, torch.as_tensor(angle, dtype=torch.float64)
    field.frames = lambda edge_vec: roll(angle) @ fixed_frames(edge_vec)
    try:
        return field.predict(graph).forces
    finally:
        field.frames = given


def change(forces: Tensor, others: Tensor) -> float:
    """Largest change of a force component, in units of the largest component."""
    return float((forces - others).abs().max() / others.abs().max())


def rotation_error(field: ForceField, z: np.ndarray, pos: np.ndarray, cell: np.ndarray) -> float:
    """How far forces are from turning with the crystal: the worst of four rotations."""
    here, worst = field.predict(neighbor_graph(z, pos, cell, field.cutoff)).forces, 0.0
    for seed in range(4):
        q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        q *= np.linalg.det(q)
        there = field.predict(neighbor_graph(z, pos @ q, cell @ q, field.cutoff)).forces
        worst = max(worst, change(there, here @ torch.tensor(q)))
    return worst
