"""State dicts as the paper's package writes them, made from parity files by a table of its own, and files around them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grannfield.testing import stored

PARITY = Path(__file__).parents[1] / "parity"
FILES = sorted(PARITY.glob("*.npz.xz"))
BN = [(r"\.gamma$", ".weight"), (r"\.beta$", ".bias"), (r"\.mean$", ".running_mean"), (r"\.var$", ".running_var")]
LINEAR = [(r"\.W$", ".weight"), (r"\.b$", ".bias")]
RBF = [(r"^rbf\.centers$", "expansion.offset"), (r"^rbf\.coeff$", "expansion.coeff")]
DIRECTIONAL = [
    (r"^emb\.table$", "emb.emb.weight"),
    (r"^emb\.rbf\.", "emb.lin_rbf."),
    (r"^emb\.mix\.", "emb.lin."),
    (r"^int(\d+)\.(before|after)(\d+)\.first", r"interaction_blocks.\1.layers_\2_skip.\3.lin1"),
    (r"^int(\d+)\.(before|after)(\d+)\.second", r"interaction_blocks.\1.layers_\2_skip.\3.lin2"),
    (r"^int(\d+)\.bilinear$", r"interaction_blocks.\1.@"),
    (r"^int(\d+)\.skip\.", r"interaction_blocks.\1.lin."),
    (r"^int(\d+)\.", r"interaction_blocks.\1.lin_"),
    (r"^out(\d+)\.dense(\d+)\.", r"output_blocks.\1.lins.\2."),
    (r"^out(\d+)\.final\.", r"output_blocks.\1.lin."),
    (r"^out(\d+)\.", r"output_blocks.\1.lin_"),
    *LINEAR,
    (r"@$", "W"),
]
SPHERICAL = [
    (r"/([wWb])_?dist$", r".fc1_dist.\1"),
    (r"/([wWb])_attr$", r".fc1_edge_attr.\1"),
    (r"/emb_(source|target)$", r".\1_embedding.w"),
    (r"^atom_embedding$", "sphere_embedding.w"),
]
LAST = [(r"\.[wW]$", ".weight"), (r"\.b$", ".bias")]
TO_PUBLISHED: dict[str, list[tuple[str, str]]] = {
    "cgcnn": [
        (r"^embed\.khot$", ""),
        (r"^embed\.", "nuclear_embedding."),
        (r"^conv(\d+)\.msg\.", r"convs.\1.lin1."),
        (r"^conv(\d+)\.(bn|ln)\.", r"convs.\1.\g<2>1."),
        (r"^head0\.", "conv_to_fc.0."),
        (r"^head1\.", "fcs.0."),
        (r"^head2\.", "fcs.2."),
        (r"^head_out\.", "fc_out."),
        *RBF,
        *BN,
        *LINEAR,
    ],
    "schnet": [
        (r"^embed\.table$", "embedding.weight"),
        (r"^rbf\.centers$", "distance_expansion.offset"),
        (r"^rbf\.coeff$", ""),
        (r"^int(\d+)\.filter0\.", r"interactions.\1.mlp.0."),
        (r"^int(\d+)\.filter1\.", r"interactions.\1.mlp.2."),
        (r"^int(\d+)\.in2f\.", r"interactions.\1.conv.lin1."),
        (r"^int(\d+)\.f2out\.", r"interactions.\1.conv.lin2."),
        (r"^int(\d+)\.out\.", r"interactions.\1.lin."),
        (r"^head0\.", "lin1."),
        (r"^head1\.", "lin2."),
        *LINEAR,
    ],
    "dimenet": DIRECTIONAL,
    "dimenet_pp": DIRECTIONAL,
    "gns_tat": [
        (r"^embed\.table$", "embedding.weight"),
        (r"^attn(\d+)\.ln\.", r"attns.\1.layernorm."),
        (r"^attn(\d+)\.(\w+)\.([Wb])$", r"attns.\1.\2_proj.\3"),
        (r"^final_ln\.", "lyn."),
        (r"^final_vln\.", "lyn_vec."),
        (r"^head(\d+)\.(vec\d)\.", r"intms.intms_network.\1.\2_proj."),
        (r"^head(\d+)\.mlp0\.", r"intms.intms_network.\1.update_net.0."),
        (r"^head(\d+)\.mlp1\.", r"intms.intms_network.\1.update_net.2."),
        *RBF,
        *BN,
        *LINEAR,
    ],
    "deeper_gatgnn": [
        (r"^embed\.table$", "embedding.weight"),
        (r"^(UNUSED_)gatt(\d)\.assign\.", r"global_att_LAYER.bn_list.\2.lin."),
        (r"^(UNUSED_)gatt(\d)\.bn\.", r"global_att_LAYER.bn_list.\2.norm."),
        (r"^gatt(\d)\.", r"global_att_LAYER.global_mlp.\1."),
        (r"^pre_node\.", "pre_lin_list_N.0."),
        (r"^pre_edge\.", "pre_lin_list_E.0."),
        (r"^conv(\d+)\.W$", r"conv_list.\1.@"),
        (r"^conv(\d+)\.att$", r"conv_list.\1.att"),
        (r"^conv(\d+)\.mean_bias$", r"conv_list.\1.bias"),
        (r"^conv(\d+)\.bn\.", r"conv_list.\1.bn1."),
        (r"^dgn(\d+)\.assign\.", r"bn_list.\1.lin."),
        (r"^dgn(\d+)\.bn\.", r"bn_list.\1.norm."),
        (r"^post0\.", "post_lin_list.0."),
        (r"^out\.", "lin_out."),
        *RBF,
        *BN,
        *LINEAR,
        (r"@$", "W"),
    ],
    "forcenet": [
        (r"^table\.radius$", "atom_radii"),
        (r"^table\.features01$", "atom_map"),
        (r"^embed\.freq$", "embedding.0.smearing.freq_filter"),
        (r"^embed\.", "embedding.1."),
        (r"^edge\.freq$", "basis_fun.smearing_sine.freq_filter"),
        (r"^edge\.radial\.", "basis_fun.lin."),
        (r"^int(\d+)\.basis\.", r"interactions.\1.lin_basis."),
        (r"^int(\d+)\.filter0\.", r"interactions.\1.mlp_edge.0."),
        (r"^int(\d+)\.filter1\.", r"interactions.\1.mlp_edge.2."),
        (r"^int(\d+)\.filter2\.", r"interactions.\1.mlp_edge.4."),
        (r"^int(\d+)\.in\.", r"interactions.\1.lin."),
        (r"^int(\d+)\.node0\.", r"interactions.\1.mlp_trans.0."),
        (r"^int(\d+)\.bn\.", r"interactions.\1.mlp_trans.1."),
        (r"^int(\d+)\.node1\.", r"interactions.\1.mlp_trans.3."),
        (r"^int(\d+)\.self_scale$", r"interactions.\1.center_W@"),
        (r"^post\.", "lin."),
        (r"^force0\.", "decoder.decoder.0."),
        (r"^force_bn\.", "decoder.decoder.1."),
        (r"^force1\.", "decoder.decoder.3."),
        (r"^energy\.", "energy_mlp."),
        *BN,
        *LINEAR,
        (r"@$", ""),
    ],
    "leftnet": [
        (r"^atom_embedding$", "z_emb.w"),
        (r"^neighbour_embedding$", "neighbor_emb.embedding.w"),
        (r"^radial/(\w)1$", r"radial_lin.0.\1"),
        (r"^radial/(\w)2$", r"radial_lin.2.\1"),
        (r"^svector/", "S_vector.lin1.0."),
        (r"^lse/(\w)1$", r"lin.0.\1"),
        (r"^lse/(\w)2$", r"lin.2.\1"),
        (r"^layer(\d+)/msg/(\w)_A1$", r"message_layers.\1.inv_proj.0.\2"),
        (r"^layer(\d+)/msg/(\w)_A2$", r"message_layers.\1.inv_proj.2.\2"),
        (r"^layer(\d+)/msg/(\w)_x1$", r"message_layers.\1.x_proj.0.\2"),
        (r"^layer(\d+)/msg/(\w)_x2$", r"message_layers.\1.x_proj.2.\2"),
        (r"^layer(\d+)/msg/(\w)_rbf$", r"message_layers.\1.rbf_proj.\2"),
        (r"^layer(\d+)/fte/w_v$", r"FTEs.\1.equi_proj.w"),
        (r"^layer(\d+)/fte/(\w)1$", r"FTEs.\1.xequi_proj.0.\2"),
        (r"^layer(\d+)/fte/(\w)2$", r"FTEs.\1.xequi_proj.2.\2"),
        (r"^energy/", "last_layer."),
        (r"^force/w_v1$", "out_forces.output_network.0.vec1_proj.w"),
        (r"^force/w_v2$", "out_forces.output_network.0.vec2_proj.w"),
        (r"^force/(\w)1$", r"out_forces.output_network.0.update_net.0.\1"),
        (r"^force/(\w)2$", r"out_forces.output_network.0.update_net.2.\1"),
        *LAST,
    ],
    "scn": [
        (r"^layer(\d+)/msg(\d+)/(\w)_dist$", r"edge_blocks.\1.message_blocks.\2.fc1_dist.\3"),
        (r"^layer(\d+)/msg(\d+)/(\w)_proj$", r"edge_blocks.\1.message_blocks.\2.fc1_edge_proj.\3"),
        (r"^layer(\d+)/msg(\d+)/(\w)_([12])$", r"edge_blocks.\1.message_blocks.\2.fc\4_edge.\3"),
        (r"^layer(\d+)/W_(down|up)$", r"edge_blocks.\1.\2sample.w"),
        (r"^layer(\d+)/grid/(\w)(\d)$", r"edge_blocks.\1.fc\3_sphere.\2"),
        (r"^layer(\d+)/edge/", r"edge_blocks.\1.dist_block/"),
        (r"^(energy|force)/(\w)(\d)$", r"\1_fc\3.\2"),
        *SPHERICAL,
        *LAST,
    ],
    "escn": [
        (r"^layer(\d+)/(source|target)/m0/(\w)_dist$", r"layer_blocks.\1.message_block.so2_block_\2.fc1_dist0.\3"),
        (r"^layer(\d+)/(source|target)/m0/w([12])$", r"layer_blocks.\1.message_block.so2_block_\2.fc\3_m0.w"),
        (r"^layer(\d+)/(source|target)/m1/", r"layer_blocks.\1.message_block.so2_block_\2.so2_conv.0/"),
        (r"^layer(\d+)/(source|target)/m2/", r"layer_blocks.\1.message_block.so2_block_\2.so2_conv.1/"),
        (r"(so2_conv\.\d)/(\w)_dist$", r"\1.fc1_dist.\2"),
        (r"(so2_conv\.\d)/w([12])_([ri])$", r"\1.fc\2_\3.w"),
        (r"^layer(\d+)/edge/", r"layer_blocks.\1.message_block.edge_block/"),
        (r"^layer(\d+)/grid/w(\d)$", r"layer_blocks.\1.fc\2_sphere.w"),
        (r"^(energy|force)/(\w)(\d)$", r"\1_block.fc\3.\2"),
        *SPHERICAL,
        *LAST,
    ],
    "equiformer": [
        ("/", "."),
        (r"^atom_embed\.", "atom_embed.atom_type_lin."),
        (r"^block(\d+)\.", r"blocks.\1."),
        (r"\.bias_0e$", ".bias.0"),
    ],
}
"""From the keys of parity files to those of the package, read off its source."""
UNTOLD = {"scn": ("num_sphere_samples", "basis_width_scalar", "num_taps", "num_bands", "mmax"), "escn": ("basis_width_scalar",)}
"""Settings that neither shapes nor constants of a file tell."""


def settings(path: Path, model: str) -> dict[str, Any]:
    """What a user has to say of a parity file's network."""
    stated = json.loads(str(stored(path)["settings_json"]))
    told = {"cutoff": stated.get("cutoff", stated.get("max_radius"))}
    return told | {name: stated[name] for name in UNTOLD.get(model, ())}


def state_dict(path: Path, model: str) -> dict[str, Tensor]:
    """The weights of a parity file as the paper's package would name them, with the constants it keeps beside them."""
    state: dict[str, Tensor] = {}
    flat: dict[str, list[Tensor]] = {}
    file = stored(path)
    for key in (k for k in file if k.startswith("w/")):
        name, value = key[2:], torch.from_numpy(np.array(file[key]))
        for pattern, theirs in TO_PUBLISHED[model]:
            name = re.sub(pattern, theirs, name)
        if match := re.fullmatch(r"(.*)\.W_\d+e_in\d+_out\d+", name):
            flat.setdefault(match[1] + ".tp.weight", []).append(value.reshape(-1))
        elif name:
            state[name] = value
    if model == "escn":
        state["sphere_points"] = torch.from_numpy(np.array(file["c/sphere_points"]))
        state["distance_expansion.offset"] = torch.from_numpy(np.array(file["c/gaussian_offset"]))
    state |= {name: torch.cat(parts) for name, parts in flat.items()}
    for name in [key for key in state if key.endswith("running_mean")]:
        state[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(7)
    if model == "schnet":
        state |= {k.replace(".mlp.", ".conv.nn."): v for k, v in state.items() if ".mlp." in k}
    return state
