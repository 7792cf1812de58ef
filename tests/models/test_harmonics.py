"""Harmonics, rotations of them and point sets against e3nn and against what they mean."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from grannfield.nn.harmonics import (
    Constant,
    WignerRows,
    degrees_and_orders,
    sphere_grid,
    sphere_points,
    spherical_harmonics,
    turned_harmonics,
)


def o3() -> Any:
    """e3nn in double precision; it warns of TorchScript when imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("e3nn.o3")


@pytest.fixture(autouse=True)
def _double() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def rotations(n: int, seed: int = 0) -> torch.Tensor:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, 3, 3)))[0]
    return torch.from_numpy(q * np.linalg.det(q)[:, None, None])


def special_rotations() -> torch.Tensor:
    """The 24 of the cube: alpha and gamma are undefined for 8 of them."""
    signed = [np.eye(3)[list(p)] * np.array(s) for p in np.ndindex(3, 3, 3) if len(set(p)) == 3 for s in np.ndindex(2, 2, 2)]
    turns = [np.where(m == 0, 0.0, m) for p in signed for m in [p]]
    every = [
        np.eye(3)[list(p)] * (1 - 2 * np.array(s)) for p in np.ndindex(3, 3, 3) if len(set(p)) == 3 for s in np.ndindex(2, 2, 2)
    ]
    del signed, turns
    return torch.from_numpy(np.stack([m for m in every if np.linalg.det(m) > 0]))


def test_harmonics_are_those_of_e3nn() -> None:
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 3)))
    theirs = o3().spherical_harmonics(list(range(9)), points, normalize=False)
    ours = spherical_harmonics(8, points)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (1, 1), (2, 1), (4, 4), (6, 2), (8, 3)])
def test_wigner_rows_are_those_of_e3nn(lmax: int, mmax: int) -> None:
    turns = torch.cat([rotations(20), special_rotations()])
    full = o3().Irreps([(1, (l, 1)) for l in range(lmax + 1)]).D_from_matrix(turns)
    packed = WignerRows(lmax, mmax)(turns)
    l, m = degrees_and_orders(lmax, mmax)
    ours = torch.zeros(len(turns), len(l), (lmax + 1) ** 2)
    for row, (degree, order) in enumerate(zip(l.tolist(), m.tolist(), strict=True)):
        block = slice(degree**2, (degree + 1) ** 2)
        ours[:, row, block] = packed[:, mmax + order, block]
    torch.testing.assert_close(ours, full[:, l * l + l + m], rtol=0, atol=1e-11)


def test_rows():
    pass
