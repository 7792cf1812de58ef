"""The models of the paper, one file each."""

from grannfield.models import cgcnn, deeper_gatgnn, dimenet, dimenet_pp, forcenet, gns_tat, schnet

__all__ = ["cgcnn", "deeper_gatgnn", "dimenet", "dimenet_pp", "forcenet", "gns_tat", "schnet"]
