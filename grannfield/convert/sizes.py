"""Settings of a network, read from the shapes of its weights under the names of the paper's package."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor


class Shapes:
    """Sizes of named arrays; None, and settings that depend on it left to their defaults, where an array is not there."""

    def __init__(self, weights: dict[str, Tensor], told: dict[str, Any] | None = None) -> None:
        self.weights, self.told = weights, told or {}

    def of(self, name: str, axis: int) -> int | None:
        """Length of an array along an axis."""
        array = self.weights.get(name)
        return None if array is None or array.dim() <= axis else int(array.shape[axis])

    def count(self, pattern: str) -> int | None:
        """How many different numbers stand at the group of a pattern, in all names.

        >>> import torch
        >>> Shapes({"convs.0.W": torch.ones(1), "convs.1.W": torch.ones(1), "out": torch.ones(1)}).count(r"convs\\.(\\d+)\\.")
        2
        """
        found = {match[1] for name in self.weights if (match := re.match(pattern, name))}
        return len(found) or None

    def last(self, name: str) -> float | None:
        """Last number of an array."""
        array = self.weights.get(name)
        return None if array is None or array.numel() == 0 else round(float(array.reshape(-1)[-1]), 6)


def ratio(a: int | None, b: int | None) -> int | None:
    """a / b where both are known and it is whole."""
    return a // b if a and b and a % b == 0 else None


def _cgcnn(s: Shapes) -> dict[str, Any]:
    return {
        "num_features": s.of("nuclear_embedding.weight", 0),
        "num_gaussians": s.of("expansion.offset", 0),
        "num_graph_conv_layers": s.count(r"convs\.(\d+)\."),
        "fc_feat_size": s.of("conv_to_fc.0.weight", 0),
        "num_fc_layers": (s.count(r"fcs\.(\d+)\.") or 0) + 1,
    }


def _schnet(s: Shapes) -> dict[str, Any]:
    return {
        "hidden_channels": s.of("embedding.weight", 1),
        "num_filters": s.of("interactions.0.conv.lin1.weight", 0),
        "num_interactions": s.count(r"interactions\.(\d+)\."),
        "num_gaussians": s.of("distance_expansion.offset", 0),
        "cutoff": s.last("distance_expansion.offset"),
    }


def _directional(s: Shapes, spherical: str) -> dict[str, Any]:
    radial = s.of("rbf.freq", 0)
    return {
        "hidden_channels": s.of("emb.emb.weight", 1),
        "num_blocks": s.count(r"interaction_blocks\.(\d+)\."),
        "num_spherical": ratio(s.of(f"interaction_blocks.0.{spherical}.weight", 1), radial),
        "num_radial": radial,
        "num_before_skip": s.count(r"interaction_blocks\.0\.layers_before_skip\.(\d+)\."),
        "num_after_skip": s.count(r"interaction_blocks\.0\.layers_after_skip\.(\d+)\."),
        "num_output_layers": s.count(r"output_blocks\.0\.lins\.(\d+)\."),
    }


def _dimenet(s: Shapes) -> dict[str, Any]:
    return _directional(s, "lin_sbf") | {"num_bilinear": s.of("interaction_blocks.0.lin_sbf.weight", 0)}


def _dimenet_pp(s: Shapes) -> dict[str, Any]:
    return _directional(s, "lin_sbf1") | {
        "int_emb_size": s.of("interaction_blocks.0.lin_down.weight", 0),
        "basis_emb_size": s.of("interaction_blocks.0.lin_rbf1.weight", 0),
        "out_emb_channels": s.of("output_blocks.0.lin_up.weight", 0),
    }


def _gns_tat(s: Shapes) -> dict[str, Any]:
    return {
        "num_features": s.of("embedding.weight", 1),
        "num_gaussians": s.of("expansion.offset", 0),
        "num_attn_layers": s.count(r"attns\.(\d+)\."),
    }


def _deeper_gatgnn(s: Shapes) -> dict[str, Any]:
    return {
        "num_features": s.of("embedding.weight", 1),
        "num_edge_features": s.of("expansion.offset", 0),
        "dim1": s.of("pre_lin_list_N.0.weight", 0),
        "dim2": s.of("post_lin_list.0.weight", 0),
        "gc_count": s.count(r"conv_list\.(\d+)\."),
    }


def _forcenet(s: Shapes) -> dict[str, Any]:
    return {
        "hidden_channels": s.of("embedding.1.weight", 0),
        "num_interactions": s.count(r"interactions\.(\d+)\."),
        "num_freqs": ratio(s.of("embedding.1.weight", 1), 9),
        "decoder_hidden_channels": s.of("lin.weight", 0),
    }


def _leftnet(s: Shapes) -> dict[str, Any]:
    return {
        "hidden_channels": s.of("z_emb.weight", 1),
        "num_layers": s.count(r"message_layers\.(\d+)\."),
        "num_radial": s.of("radial_lin.0.weight", 1),
    }


def _gaussians(s: Shapes, weight: str) -> dict[str, Any]:
    """Cut-off and spacing of the Gaussians that SCN and eSCN expand distances in, their number being cutoff / spacing."""
    number, cutoff = s.of(weight, 1), float(s.told.get("cutoff") or s.last("distance_expansion.offset") or 6.0)
    if number is None or int(cutoff / 0.02) == number:
        return {"cutoff": cutoff}
    spacing = cutoff / number
    return {"cutoff": cutoff, "distance_resolution": spacing if int(cutoff / spacing) == number else cutoff / (number + 1e-9)}


def _scn(s: Shapes) -> dict[str, Any]:
    reduced, first = s.of("energy_fc2.weight", 0), "edge_blocks.0.message_blocks.0"
    coefficients = ratio(s.of(f"{first}.fc2_edge.weight", 0), reduced)
    return _gaussians(s, "edge_blocks.0.dist_block.fc1_dist.weight") | {
        "max_num_elements": s.of("sphere_embedding.weight", 0),
        "num_interactions": s.count(r"edge_blocks\.(\d+)\."),
        "lmax": ratio(coefficients - 1, 3) if coefficients else None,  # 3 l + 1 coefficients of order 0 and 1
        "num_resolutions": s.count(r"edge_blocks\.0\.message_blocks\.(\d+)\."),
        "sphere_channels": s.of("sphere_embedding.weight", 1),
        "sphere_channels_reduce": reduced,
        "hidden_channels": s.of(f"{first}.fc1_dist.weight", 0),
        "use_grid": "edge_blocks.0.fc1_sphere.weight" in s.weights,
        "num_basis_functions": s.of("edge_blocks.0.dist_block.fc1_dist.weight", 0),
    }


def _escn(s: Shapes) -> dict[str, Any]:
    first, channels = "layer_blocks.0.message_block", s.of("sphere_embedding.weight", 1)
    degrees = ratio(s.of(f"{first}.so2_block_source.fc1_m0.weight", 1), channels)
    return _gaussians(s, f"{first}.edge_block.fc1_dist.weight") | {
        "max_num_elements": s.of("sphere_embedding.weight", 0),
        "num_layers": s.count(r"layer_blocks\.(\d+)\."),
        "lmax": degrees - 1 if degrees else None,
        "mmax": s.count(r"layer_blocks\.0\.message_block\.so2_block_source\.so2_conv\.(\d+)\."),
        "sphere_channels": channels,
        "hidden_channels": s.of(f"{first}.so2_block_source.fc1_m0.weight", 0),
        "edge_channels": s.of(f"{first}.edge_block.fc1_dist.weight", 0),
        "num_sphere_samples": s.of("sphere_points", 0),
    }


def _equiformer(s: Shapes) -> dict[str, Any]:
    """Of a network of scalars and vectors, as the paper's; for higher degrees the settings have to be given."""
    scalars, both = s.of("blocks.0.norm_1.affine_bias", 0), s.of("blocks.0.norm_1.affine_weight", 0)
    middle, heads = s.of("blocks.0.ffn.fctp_1.bias.0", 0), s.of("blocks.0.ga.alpha_dot", 1)
    flat, project = s.of("blocks.0.ffn.fctp_1.tp.weight", 0), s.of("blocks.0.ga.proj.tp.weight", 0)
    feature, own = s.of("norm.affine_bias", 0), s.of("blocks.0.ga.alpha_dot", 2)
    radial = [s.of(f"edge_deg_embed.rad.net.{n}.weight", 0) for n in (0, 3)]
    settings: dict[str, Any] = {
        "num_layers": s.count(r"blocks\.(\d+)\."),
        "number_of_basis": s.of("rbf.mean", 1),
        "fc_neurons": radial if all(radial) else None,
        "irreps_feature": f"{feature}x0e" if feature else None,
        "num_heads": heads,
    }
    if not (scalars and both and middle and heads and flat and project and own) or both <= scalars:
        return settings
    vectors = both - scalars
    gated = ratio(flat - scalars * middle, vectors)
    of_head = ratio(project - heads * own * scalars, heads * vectors)
    settings["irreps_node_embedding"] = f"{scalars}x0e+{vectors}x1e"
    if gated and of_head:
        settings["irreps_mlp_mid"] = f"{middle - gated}x0e+{gated}x1e"
        settings["irreps_head"] = f"{own}x0e+{of_head}x1e"
    return settings


SIZES: dict[str, Callable[[Shapes], dict[str, Any]]] = {
    "cgcnn": _cgcnn,
    "deeper_gatgnn": _deeper_gatgnn,
    "dimenet": _dimenet,
    "dimenet_pp": _dimenet_pp,
    "equiformer": _equiformer,
    "escn": _escn,
    "forcenet": _forcenet,
    "gns_tat": _gns_tat,
    "leftnet": _leftnet,
    "schnet": _schnet,
    "scn": _scn,
}


def settings_of(model: str, weights: dict[str, Tensor], told: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings that shapes determine, `told` ones left out; what they do not (most cut-offs) keeps the paper's value."""
    found = SIZES[model](Shapes(weights, told))
    return {key: value for key, value in found.items() if value is not None and key not in (told or {})}
