"""Harmonics, rotations of them, edge frames and point sets against e3nn, stored constants and what they mean."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grannfield.nn.harmonics import (
    Constant,
    WignerRows,
    degrees_and_orders,
    sphere_grid,
    sphere_points,
    spherical_harmonics,
    turned_harmonics,
)
from grannfield.nn.spherical import EdgeGaussians, SphereGrid, fixed_frames, random_frames
from grannfield.testing import stored
from tests.models.by_hand import grid, harmonics, wigner

PARITY = Path(__file__).parents[1] / "parity" / "escn_l2m2.npz.xz"


def rotations(n: int = 20) -> Tensor:
    """n at random, and the 24 of the cube, for 8 of which alpha and gamma are not defined."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(n, 3, 3)))[0]
    orders = [p for p in np.ndindex(3, 3, 3) if len(set(p)) == 3]
    cube = np.array([np.eye(3)[list(p)] * (1 - 2 * np.array(s)) for p in orders for s in np.ndindex(2, 2, 2)])
    return torch.from_numpy(np.concatenate([q * np.linalg.det(q)[:, None, None], cube[np.linalg.det(cube) > 0]]))


def directions() -> Tensor:
    """Random edges, the six along the axes, and the one direction at which the fixed rule has no limit: [1, n, 3]."""
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    singular = -torch.arange(1, 4).double().div(6).sqrt().unsqueeze(0)
    return torch.cat(
        [torch.from_numpy(np.random.default_rng(1).normal(size=(40, 3))), 3 * axes, singular, 2 * singular]
    ).unsqueeze(0)


def test_harmonics_are_those_of_e3nn() -> None:
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 3)))
    torch.testing.assert_close(spherical_harmonics(8, points), harmonics(8, points), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (1, 1), (2, 1), (4, 4), (6, 2), (8, 3)])
def test_wigner_rows_are_those_of_e3nn(lmax: int, mmax: int) -> None:
    turns = rotations()
    rows, full = WignerRows(lmax, mmax)(turns), wigner(lmax, turns)
    assert rows.dtype == torch.float64
    l, m = degrees_and_orders(lmax)
    for order in range(-mmax, mmax + 1):
        for degree in range(lmax + 1):
            block = slice(degree**2, (degree + 1) ** 2)
            expected = full[:, degree**2 + degree + order, block] if degree >= abs(order) else 0 * full[:, 0, block]
            torch.testing.assert_close(rows[:, mmax + order, block], expected, rtol=0, atol=1e-11)
    assert len(l) == len(m) == rows.shape[-1]


def test_harmonics_of_a_turned_point_are_turned_harmonics() -> None:
    r, points = rotations(1)[0], torch.from_numpy(np.random.default_rng(2).normal(size=(9, 3)))
    left, right = spherical_harmonics(8, points @ r.T), spherical_harmonics(8, points) @ turned_harmonics(8, r).T
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("lmax", "longitudes"), [(2, 7), (4, 9), (6, 15), (8, 12)])
def test_grid_is_that_of_e3nn(lmax: int, longitudes: int) -> None:
    to, back = (t.flatten(0, 1) for t in sphere_grid(lmax, 2 * (lmax + 1), longitudes))
    for ours, theirs in zip((to, back), grid(lmax, longitudes), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_a_grid_gives_back_coefficients_and_knows_a_constant() -> None:
    kept = torch.tensor([0, 2, 6, 3, 7, 1, 5])  # |m| <= 1: three longitudes are enough
    few = SphereGrid(2, 3, kept).double()
    c = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 7, 5)))
    torch.testing.assert_close(few.coefficients(few.values(c)), c, rtol=0, atol=1e-13)
    one = SphereGrid(3, 9).double()
    assert abs(float(one.unit.value[0]) - math.sqrt(4 * math.pi)) < 1e-13
    assert float(one.unit.value[1:].abs().max()) < 1e-13
    with pytest.raises(ValueError, match="even number of latitudes, not 7"):
        sphere_grid(2, 7, 7)


def test_constants_of_the_parity_file() -> None:
    file = stored(PARITY)
    points, y, mu = (torch.from_numpy(file[f"c/{name}"]) for name in ("sphere_points", "sphere_Y_0", "gaussian_offset"))
    torch.testing.assert_close(sphere_points(32), points, rtol=0, atol=1e-13)
    torch.testing.assert_close(spherical_harmonics(2, sphere_points(32)), y, rtol=0, atol=1e-13)
    torch.testing.assert_close(EdgeGaussians(4.5, 0.375, 1.0).double().centers.value, mu, rtol=0, atol=1e-13)
    assert EdgeGaussians(6.0, 0.02, 1.0).count == 300


def test_constants_keep_their_digits_and_stay_out_of_checkpoints() -> None:
    third = torch.tensor([1.0], dtype=torch.float64) / 3
    box = torch.nn.ModuleList([Constant(third), Constant(third, counted=True), Constant(third, double=True)])
    assert [c.value.dtype for c in box] == [torch.float32, torch.float32, torch.float64]  # type: ignore[union-attr]
    box = box.double().float().double()
    assert all(torch.equal(c.value, third) for c in box)  # type: ignore[arg-type]
    assert not box.state_dict() and [p.requires_grad for p in box.parameters()] == [False]
    box.load_state_dict({})


@pytest.mark.parametrize("rule", [fixed_frames, random_frames])
def test_frames_turn_edges_to_the_y_axis(rule) -> None:  # type: ignore[no-untyped-def]
    v = directions()
    for edge_vec in (v, v.float()):
        r = rule(edge_vec)
        u = torch.nn.functional.normalize(edge_vec.double(), dim=-1)
        y = torch.tensor([0.0, 1.0, 0.0]).double().expand_as(u)
        torch.testing.assert_close((r @ u.unsqueeze(-1)).squeeze(-1), y, rtol=0, atol=1e-12)
        torch.testing.assert_close(r @ r.mT, torch.eye(3).double().expand_as(r), rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.linalg.det(r), torch.ones(r.shape[:2]).double(), rtol=0, atol=1e-12)


def test_fixed_frames_repeat_and_turn_slowly_with_the_edge() -> None:
    v = directions()[:, :-2]
    assert torch.equal(fixed_frames(v), fixed_frames(v))
    shifted = fixed_frames(v + 1e-6 * torch.randn(v.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert 1e-8 < float((shifted - fixed_frames(v)).abs().max()) < 1e-3


def test_random_frames_follow_the_published_recipe() -> None:
    v = directions()
    torch.manual_seed(5)
    drawn = random_frames(v)[0].numpy()
    torch.manual_seed(5)
    draws = torch.rand(v.shape, dtype=torch.float64)[0].numpy() - 0.5
    for r, w, edge in zip(drawn, draws, v[0].numpy(), strict=True):
        u, w = edge / np.linalg.norm(edge), w / np.linalg.norm(w)
        b, c = np.array([-w[1], w[0], w[2]]), np.array([w[0], -w[2], w[1]])
        w = b if abs(w @ u) > abs(b @ u) else w
        w = c if abs(w @ u) > abs(c @ u) else w
        z = np.cross(u, w) / np.linalg.norm(np.cross(u, w))
        y = np.cross(u, z) / np.linalg.norm(np.cross(u, z))
        np.testing.assert_allclose(r, [z, u, -y], rtol=0, atol=1e-12)
    assert not np.allclose(drawn, random_frames(v)[0].numpy())
