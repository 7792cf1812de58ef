"""Small fields with random weights, biases and statistics, and small crystals: what the tests of models are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from grannfield.forcefield import ForceField, create, to_precision

CUTOFF = 5.0
SKEWED = np.array([[3.2, 0.0, 0.0], [0.8, 3.4, 0.0], [0.4, 0.9, 3.6]])
"""Thinner than the cut-off in every direction: atoms are their own neighbours."""
WIDE = np.diag([6.0, 7.0, 5.5])

SMALL: dict[str, dict[str, Any]] = {
    "cgcnn": {"num_features": 12, "num_gaussians": 8, "num_graph_conv_layers": 2, "fc_feat_size": 10, "num_fc_layers": 2},
    "deeper_gatgnn": {"num_features": 10, "num_edge_features": 8, "dim1": 8, "dim2": 6, "gc_count": 2},
    "dimenet": {"hidden_channels": 8, "num_blocks": 2, "num_bilinear": 3, "num_spherical": 4, "num_radial": 3},
    "dimenet_pp": {
        "hidden_channels": 8,
        "num_blocks": 2,
        "int_emb_size": 6,
        "basis_emb_size": 4,
        "out_emb_channels": 10,
        "num_spherical": 4,
        "num_radial": 3,
    },
    "equiformer": {
        "irreps_node_embedding": "8x0e+4x1e",
        "num_layers": 2,
        "number_of_basis": 8,
        "fc_neurons": [6, 6],
        "irreps_feature": "12x0e",
        "irreps_head": "4x0e+2x1e",
        "num_heads": 2,
        "irreps_mlp_mid": "10x0e+5x1e",
    },
    "escn": {"num_layers": 2, "lmax": 3, "mmax": 2, "sphere_channels": 6, "hidden_channels": 8, "edge_channels": 5},
    "forcenet": {"hidden_channels": 12, "num_interactions": 2, "num_freqs": 6, "decoder_hidden_channels": 10},
    "gns_tat": {"num_features": 16, "num_gaussians": 8, "num_attn_layers": 2},
    "leftnet": {"num_layers": 2, "hidden_channels": 12, "num_radial": 8},
    "schnet": {"hidden_channels": 16, "num_filters": 12, "num_interactions": 2, "num_gaussians": 8},
    "scn": {
        "num_interactions": 2,
        "lmax": 4,
        "sphere_channels": 6,
        "sphere_channels_reduce": 4,
        "hidden_channels": 8,
        "num_basis_functions": 5,
    },
}
"""Sizes at which a prediction takes milliseconds."""


def small(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, **settings: Any) -> ForceField:
    """A small field with random weights, so that no bias, statistic or last layer is idle."""
    torch.manual_seed(seed)
    field = to_precision(create(name, **{**SMALL[name], "cutoff": CUTOFF, **settings}), torch.float64)
    with torch.no_grad():
        for key, p in field.named_parameters():
            if p.requires_grad and (key.endswith("bias") or not p.any()):
                p.normal_(std=0.3)
        for key, buffer in field.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return to_precision(field, dtype).eval()


def atoms(n: int = 4, seed: int = 0, cell: np.ndarray = SKEWED, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, pos and cell of n atoms of three elements at random places, at least `apart` Å from each other."""
    rng = np.random.default_rng(seed)
    z, inverse = rng.choice([3, 15, 16], n), np.linalg.inv(cell)
    pos: list[np.ndarray] = []
    while len(pos) < n:
        new = rng.uniform(size=3) @ cell
        gaps = np.array([p - new for p in pos]).reshape(-1, 3) @ inverse
        if not (np.linalg.norm((gaps - np.round(gaps)) @ cell, axis=1) < apart).any():
            pos.append(new)
    return z, np.array(pos), cell
