"""The models of the paper, one file each."""

from grannfield.models import cgcnn, deeper_gatgnn, dimenet, dimenet_pp, equiformer, escn, forcenet, gns_tat, leftnet, schnet, scn

__all__ = [
    "cgcnn",
    "deeper_gatgnn",
    "dimenet",
    "dimenet_pp",
    "equiformer",
    "escn",
    "forcenet",
    "gns_tat",
    "leftnet",
    "schnet",
    "scn",
]
